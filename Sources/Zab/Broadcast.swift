package import Vocabulary

/// Decides when proposals are committed: when a quorum has them on disk, in their order.
///
/// The leader's part of the broadcast phase, without the network. A standalone server walks the
/// same way with a quorum of one.
///
/// A reconfiguration, and everything proposed behind it, needs a quorum of the old and one of the
/// new configuration. When it is committed, the new one alone counts.
/// Source: ZooKeeper, `Leader.processAck`, `Leader.tryToCommit`.
package struct Broadcast: Reducer {
    package enum Event: Equatable {
        /// A proposal has its place in the order, and so have all before it.
        case proposed(Zxid)
        /// The last proposal is the configuration in which this is a quorum.
        case reconfigProposed(QuorumVerifier)
        /// A server has everything up to this proposal on its disk.
        case acknowledged(upTo: Zxid, by: ServerID)
        /// A server has come anew, and may have to give up what it acknowledged before.
        case returned(ServerID)
    }

    package enum Effect: Equatable {
        /// Apply everything up to this proposal; a quorum holds it.
        case commit(upTo: Zxid)
        /// Apply the reconfiguration at this place; its quorum counts from now on.
        case commitReconfig(Zxid)
    }

    private struct Reconfiguration: Equatable {
        var zxid: Zxid
        var quorum: QuorumVerifier
    }

    private var quorum: QuorumVerifier
    /// Proposed and not committed; there is never a second one.
    private var reconfiguration: Reconfiguration?
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
        case .reconfigProposed(let quorum):
            precondition(reconfiguration == nil, "one reconfiguration at a time")
            reconfiguration = Reconfiguration(zxid: lastProposed, quorum: quorum)
        case .acknowledged(let zxid, let server):
            // Beyond what was proposed, or behind what the server said before: it cannot mean it.
            guard zxid <= lastProposed, zxid > acknowledged[server] ?? .none else { break }
            acknowledged[server] = zxid
            guard zxid > lastCommitted else { break }
            commit(into: &effects)
        case .returned(let server):
            acknowledged[server] = nil
        }
        assert(lastCommitted <= lastProposed, "nothing is committed that was not proposed")
    }

    /// Whether the server has everything up to this proposal on its disk, as far as it has said.
    package func has(_ server: ServerID, acknowledged zxid: Zxid) -> Bool {
        acknowledged[server] ?? .none >= zxid
    }

    private mutating func commit(into effects: inout [Effect]) {
        let limit = reconfiguration.map { Zxid(rawValue: $0.zxid.rawValue - 1) } ?? lastProposed
        let held = highestHeld(by: quorum, atMost: limit)
        if held > lastCommitted {
            lastCommitted = held
            effects.append(.commit(upTo: held))
        }
        guard let next = reconfiguration, holds(next.zxid, quorum), holds(next.zxid, next.quorum)
        else { return }
        lastCommitted = next.zxid
        quorum = next.quorum
        reconfiguration = nil
        effects.append(.commitReconfig(next.zxid))
        // What came behind it may have waited for the old quorum only.
        commit(into: &effects)
    }

    private func holds(_ zxid: Zxid, _ quorum: QuorumVerifier) -> Bool {
        quorum.isQuorum { has($0, acknowledged: zxid) }
    }

    /// The voters' acknowledgements are the only positions where the answer can lie.
    private func highestHeld(by quorum: QuorumVerifier, atMost limit: Zxid) -> Zxid {
        var best = lastCommitted
        for voter in quorum.voters {
            guard let candidate = acknowledged[voter].map({ min($0, limit) }), candidate > best
            else { continue }
            if holds(candidate, quorum) { best = candidate }
        }
        return best
    }
}
