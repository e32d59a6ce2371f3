package import Vocabulary

/// What a quorum is: more than half of the voters.
///
/// Source: ZooKeeper, `QuorumMaj`.
package struct QuorumVerifier: Equatable, Sendable {
    /// In the order of their ids.
    package let voters: [ServerID]

    package init(voters: [ServerID]) {
        precondition(!voters.isEmpty, "nobody can agree on anything")
        self.voters = voters.sorted()
    }

    package func isQuorum(where holds: (ServerID) -> Bool) -> Bool {
        voters.count(where: holds) * 2 > voters.count
    }
}
