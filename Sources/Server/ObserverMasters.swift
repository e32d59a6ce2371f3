package import Vocabulary

/// Whom an observer learns from where followers serve observers: one voter after the other, in an
/// order of its own, so that observers spread over them. The leader is among them and serves none;
/// who is refused goes on to the next one.
///
/// Source: ZooKeeper, `QuorumPeer.findLearnerMaster`.
package struct ObserverMasters {
    private var voters: [ServerID] = []
    private var order: [ServerID] = []
    private var next = 0

    package init() {}

    /// Nil if there are no voters. Other voters than the last time begin a new order.
    package mutating func next(
        of voters: [ServerID], using generator: inout some RandomNumberGenerator
    ) -> ServerID? {
        if voters != self.voters {
            self.voters = voters
            order = voters.shuffled(using: &generator)
            next = 0
        }
        guard !order.isEmpty else { return nil }
        defer { next = (next + 1) % order.count }
        return order[next]
    }
}
