package import Vocabulary

/// How a learner is brought to the leader's history, by where its own one ends.
///
/// Source: ZooKeeper, `LearnerHandler.syncFollower`, `queueCommittedProposals`.
package enum SyncPlan: Equatable, Sendable {
    /// DIFF: the learner's history is a part of ours; send what is committed behind `after`.
    case diff(after: Zxid)
    /// TRUNC: the learner has transactions that nobody else has. It cuts its log behind `to`; then
    /// send what is committed behind that.
    case trunc(to: Zxid)
    /// The learner is older than what is kept in memory: look into the logs.
    case readLogs
    /// SNAP: send everything.
    case snap

    /// Decides by the committed transactions that are kept in memory.
    ///
    /// `committed`: their zxids in order, the last transaction of the tree at the end.
    /// `lastProcessed`: the zxid of the tree.
    /// `canReadLogs`: whether the logs may be used at all.
    package static func decide(
        peer: Zxid, committed: some Sequence<Zxid>, lastProcessed: Zxid, canReadLogs: Bool
    ) -> SyncPlan {
        if peer == lastProcessed { return .diff(after: peer) }
        var walk = SyncWalk(peer: peer)
        for zxid in committed {
            if let plan = walk.visit(zxid) { return plan }
        }
        // Without transactions in memory the tree's zxid is all that is known of them. With them it
        // says less than the last one: it can be the start of our epoch, ahead of a learner that
        // has more than we have.
        if walk.isBeforeAll, lastProcessed < peer { _ = walk.visit(lastProcessed) }
        return walk.end ?? (canReadLogs ? .readLogs : .snap)
    }
}

/// Compares a learner's last zxid with the leader's transactions, one by one in their order, until
/// it is clear where their histories part.
///
/// 1. Ours is the learner's last one: DIFF.
/// 2. Ours is behind it, and it is the start of an epoch, which is no transaction: DIFF.
/// 3. Ours is behind it and of a later epoch: whether the learner's last one was committed cannot be
///    told from here: SNAP.
/// 4. Ours is behind it and of the same epoch: nobody else has the learner's last one: TRUNC to the
///    one before ours.
/// 5. There are no more of ours, so nobody else has it either: TRUNC to our last one. The start of
///    an epoch cannot be cut off: SNAP.
package struct SyncWalk {
    private let peer: Zxid
    /// The last one met that is not behind the learner's.
    private var previous: Zxid?

    package init(peer: Zxid) { self.peer = peer }

    /// Nothing was met at or before the learner's last zxid, and so nothing is known.
    package var isBeforeAll: Bool { previous == nil }

    /// The plan if no more transactions follow; nil if nothing is known.
    package var end: SyncPlan? {
        previous.map { peer.counter == 0 ? .snap : .trunc(to: $0) }
    }

    /// The plan, as soon as this transaction decides it; nil before.
    package mutating func visit(_ zxid: Zxid) -> SyncPlan? {
        if zxid <= peer {
            previous = zxid
            return zxid == peer ? .diff(after: peer) : nil
        }
        // The first one kept: what was between it and the learner is not known.
        guard let previous else { return nil }
        if peer.counter == 0 { return .diff(after: peer) }
        return zxid.epoch == peer.epoch ? .trunc(to: previous) : .snap
    }
}
