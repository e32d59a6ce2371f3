package import Vocabulary

/// Decides when proposals are committed: when a quorum has them on disk, in their order.
///
/// The leader's part of the broadcast phase, without the network. A standalone server walks the
/// same way with a quorum of one.
/// Source: ZooKeeper, `Leader.processAck`, `Leader.tryToCommit`.
package struct Broadcast: Reducer {
    package enum Event: Equatable {
        /// A proposal has its place in the order.
        case proposed(Zxid)
        /// A server has everything up to this proposal on its disk.
        case acknowledged(upTo: Zxid, by: ServerID)
    }

    package enum Effect: Equatable {
        /// Apply everything up to this proposal; a quorum holds it.
        case commit(upTo: Zxid)
    }

    private let quorum: QuorumVerifier
    package private(set) var lastProposed: Zxid
    package private(set) var lastCommitted: Zxid
    /// Looked up, never iterated: hash order differs per process.
    private var acknowledged: [ServerID: Zxid] = [:]

    /// `lastZxid`: where the history stands, all of it committed.
    package init(quorum: QuorumVerifier, lastZxid: Zxid) {
        self.quorum = quorum
        lastProposed = lastZxid
        lastCommitted = lastZxid
    }

    package mutating func step(_ event: Event, into effects: inout [Effect]) {
        switch event {
        case .proposed(let zxid):
            precondition(zxid > lastProposed, "proposals are made in order")
            lastProposed = zxid
        case .acknowledged(let zxid, let server):
            // Beyond what was proposed, or behind what the server said before: it cannot mean it.
            guard zxid <= lastProposed, zxid > acknowledged[server] ?? .none else { break }
            acknowledged[server] = zxid
            guard zxid > lastCommitted else { break }
            let committed = highestHeldByQuorum(atMost: zxid)
            guard committed > lastCommitted else { break }
            lastCommitted = committed
            effects.append(.commit(upTo: committed))
        }
        assert(lastCommitted <= lastProposed, "nothing is committed that was not proposed")
    }

    /// The voters' acknowledgements are the only positions where the answer can lie.
    private func highestHeldByQuorum(atMost limit: Zxid) -> Zxid {
        var best = lastCommitted
        for voter in quorum.voters {
            guard let candidate = acknowledged[voter].map({ min($0, limit) }), candidate > best
            else { continue }
            if quorum.isQuorum(where: { acknowledged[$0] ?? .none >= candidate }) {
                best = candidate
            }
        }
        return best
    }
}
