import Testing
import Vocabulary
import Zab

/// ZooKeeper: `LearnerHandler.syncFollower`, `LearnerHandler.queueCommittedProposals`.
@Suite struct `How a learner is synchronised` {
    /// The plan of a leader that keeps these transactions in memory. Its tree stands at the last
    /// of them, or at the start of its epoch when it serves and has written nothing.
    private func plan(
        _ peer: Zxid, committed: [Zxid], lastProcessed: Zxid? = nil, canReadLogs: Bool = true
    ) -> SyncPlan {
        SyncPlan.decide(
            peer: peer, committed: committed,
            lastProcessed: lastProcessed ?? committed.last ?? .zero, canReadLogs: canReadLogs)
    }

    private let kept = [zxid(3, 8), zxid(3, 9), zxid(5, 1), zxid(5, 2), zxid(5, 3)]

    // MARK: The learner ends where we do

    @Test func `who is where the tree is lacks nothing`() {
        #expect(plan(zxid(5, 3), committed: kept) == .diff(after: zxid(5, 3)))
        #expect(plan(.zero, committed: []) == .diff(after: .zero))
        // A leader that has written nothing in its epoch stands at the epoch's start.
        #expect(
            plan(zxid(6, 0), committed: kept, lastProcessed: zxid(6, 0)) == .diff(after: zxid(6, 0))
        )
    }

    @Test func `whose last transaction is ours lacks nothing, although our epoch has begun`() {
        #expect(
            plan(zxid(5, 3), committed: kept, lastProcessed: zxid(6, 0)) == .diff(after: zxid(5, 3))
        )
    }

    // MARK: It ends within what is kept

    @Test(arguments: 0...3)
    func `who ends at one of ours is sent what is behind it`(_ index: Int) {
        #expect(plan(kept[index], committed: kept) == .diff(after: kept[index]))
    }

    @Test func `what a learner has within an epoch and we have not is cut off`() {
        let gapped = [zxid(5, 1), zxid(5, 2), zxid(5, 7)]
        #expect(plan(zxid(5, 4), committed: gapped) == .trunc(to: zxid(5, 2)))
    }

    @Test func `where the epochs part the whole tree is sent`() {
        #expect(plan(zxid(3, 12), committed: kept) == .snap)
        #expect(plan(zxid(4, 1), committed: kept) == .snap)
    }

    @Test func `the start of an epoch is no transaction that could be cut off`() {
        #expect(plan(zxid(5, 0), committed: kept) == .diff(after: zxid(5, 0)))
        // Who led epoch 4 and wrote nothing has what was there before, and no more.
        #expect(plan(zxid(4, 0), committed: kept) == .diff(after: zxid(4, 0)))
    }

    // MARK: It is ahead

    @Test func `what is behind our end is cut off`() {
        #expect(plan(zxid(5, 9), committed: kept) == .trunc(to: zxid(5, 3)))
        #expect(plan(zxid(7, 1), committed: kept) == .trunc(to: zxid(5, 3)))
        #expect(plan(Zxid(rawValue: .max), committed: kept) == .trunc(to: zxid(5, 3)))
        #expect(plan(zxid(0, 4), committed: []) == .trunc(to: .zero))
    }

    @Test func `it is cut off behind our last transaction, also when our epoch has begun`() {
        #expect(
            plan(zxid(5, 9), committed: kept, lastProcessed: zxid(6, 0))
                == .trunc(to: zxid(5, 3)))
    }

    @Test func `an epoch that started behind our end leaves nothing to cut`() {
        #expect(plan(zxid(6, 0), committed: kept) == .snap)
        #expect(plan(zxid(6, 0), committed: kept, lastProcessed: zxid(7, 0)) == .snap)
        #expect(plan(zxid(1, 0), committed: []) == .snap)
    }

    // MARK: It is older than what is kept

    @Test func `who is behind what is kept is looked up in the logs, if they may be read`() {
        #expect(plan(zxid(3, 7), committed: kept) == .readLogs)
        #expect(plan(zxid(3, 7), committed: kept, canReadLogs: false) == .snap)
        #expect(plan(zxid(3, 0), committed: kept) == .readLogs)
        #expect(plan(.zero, committed: kept) == .readLogs)
        #expect(plan(.none, committed: kept) == .readLogs)
        #expect(plan(Zxid(rawValue: .min), committed: kept) == .readLogs)
    }

    @Test func `a leader that keeps nothing in memory has only its logs`() {
        #expect(plan(zxid(3, 7), committed: [], lastProcessed: zxid(5, 3)) == .readLogs)
        #expect(
            plan(zxid(3, 7), committed: [], lastProcessed: zxid(5, 3), canReadLogs: false)
                == .snap)
    }

    // MARK: The walk

    /// What the walk says to each transaction, up to its first plan.
    private func walk(_ peer: Zxid, _ zxids: [Zxid]) -> [SyncPlan?] {
        var walk = SyncWalk(peer: peer)
        var plans: [SyncPlan?] = []
        for zxid in zxids {
            plans.append(walk.visit(zxid))
            if plans.last != .some(nil) { break }
        }
        return plans
    }

    @Test func `the walk waits for the place where the histories part`() {
        #expect(walk(zxid(3, 9), kept) == [nil, .diff(after: zxid(3, 9))])
        #expect(walk(zxid(3, 10), kept) == [nil, nil, .snap])
        #expect(walk(zxid(4, 0), kept) == [nil, nil, .diff(after: zxid(4, 0))])
        #expect(walk(zxid(5, 4), kept) == [nil, nil, nil, nil, nil])
    }

    @Test func `a walk that begins behind the learner finds nothing out`() {
        #expect(walk(zxid(3, 7), kept) == [nil, nil, nil, nil, nil])
        // What was between the learner and the first one might have been cut away.
        #expect(walk(zxid(5, 0), [zxid(5, 1), zxid(5, 2)]) == [nil, nil])
        var late = SyncWalk(peer: zxid(3, 7))
        #expect(late.isBeforeAll)
        _ = late.visit(zxid(3, 8))
        #expect(late.isBeforeAll)
        var early = SyncWalk(peer: zxid(3, 7))
        _ = early.visit(zxid(3, 6))
        #expect(!early.isBeforeAll)
    }
}
