import Testing
import Vocabulary
import Zab

/// ZooKeeper: `Leader.propose`, `Leader.tryToCommit`, `SyncedLearnerTracker`.
@Suite struct `Broadcast with a reconfiguration` {
    /// Servers 1, 2 and 3 vote; they are to be replaced by 3, 4 and 5 with proposal 5:2.
    private func replacing(_ quorum: QuorumVerifier = majority(3, 4, 5)) -> Broadcast {
        var broadcast = Broadcast(quorum: majority(1, 2, 3), lastZxid: zxid(5, 0))
        var effects: [Broadcast.Effect] = []
        for event in [
            .proposed(zxid(5, 2)), .reconfigProposed(quorum), .proposed(zxid(5, 4)),
        ] as [Broadcast.Event] {
            broadcast.step(event, into: &effects)
        }
        #expect(effects.isEmpty)
        return broadcast
    }

    private func ack(
        _ broadcast: inout Broadcast, _ counter: UInt32, by id: Int64
    ) -> [Broadcast.Effect] {
        var effects: [Broadcast.Effect] = []
        broadcast.step(.acknowledged(upTo: zxid(5, counter), by: server(id)), into: &effects)
        return effects
    }

    @Test func `it needs a quorum of the old and one of the new configuration`() {
        var broadcast = replacing()
        #expect(ack(&broadcast, 2, by: 1).isEmpty)
        #expect(ack(&broadcast, 2, by: 3) == [.commit(upTo: zxid(5, 1))], "1 and 3 of the old")
        #expect(ack(&broadcast, 2, by: 2).isEmpty, "all of the old, one of the new")
        #expect(ack(&broadcast, 2, by: 4) == [.commitReconfig(zxid(5, 2))])
        #expect(broadcast.lastCommitted == zxid(5, 2))
    }

    @Test func `a quorum of the new configuration alone commits nothing`() {
        var broadcast = replacing()
        for id in [3, 4, 5] as [Int64] { #expect(ack(&broadcast, 4, by: id).isEmpty) }
        #expect(broadcast.lastCommitted == zxid(5, 0))
        // It was there all the time, but only now is what comes before the reconfiguration held.
        #expect(
            ack(&broadcast, 2, by: 1)
                == [
                    .commit(upTo: zxid(5, 1)), .commitReconfig(zxid(5, 2)),
                    .commit(upTo: zxid(5, 4)),
                ])
    }

    @Test func `commits stop in front of it, whatever the old quorum has behind it`() {
        var broadcast = replacing()
        #expect(ack(&broadcast, 4, by: 1).isEmpty)
        #expect(ack(&broadcast, 4, by: 2) == [.commit(upTo: zxid(5, 1))])
        #expect(ack(&broadcast, 4, by: 3).isEmpty)
        #expect(broadcast.lastCommitted == zxid(5, 1))
    }

    @Test func `what is behind it needs the new quorum alone, once it is committed`() {
        var broadcast = replacing()
        _ = ack(&broadcast, 4, by: 1)
        _ = ack(&broadcast, 4, by: 2)
        _ = ack(&broadcast, 2, by: 3)
        #expect(ack(&broadcast, 2, by: 4) == [.commitReconfig(zxid(5, 2))])
        #expect(ack(&broadcast, 3, by: 5).isEmpty, "1 and 2 have it, and count no more")
        #expect(ack(&broadcast, 4, by: 4) == [.commit(upTo: zxid(5, 3))])
        #expect(ack(&broadcast, 4, by: 5) == [.commit(upTo: zxid(5, 4))])
    }

    @Test func `one ack can commit all: what is before it, itself, and what is behind`() {
        var broadcast = replacing()
        _ = ack(&broadcast, 4, by: 1)
        _ = ack(&broadcast, 4, by: 4)
        #expect(
            ack(&broadcast, 3, by: 3)
                == [
                    .commit(upTo: zxid(5, 1)), .commitReconfig(zxid(5, 2)),
                    .commit(upTo: zxid(5, 3)),
                ])
    }

    @Test func `a reconfiguration without anything before or behind it is one commit`() {
        var broadcast = Broadcast(quorum: majority(1), lastZxid: zxid(5, 0))
        var effects: [Broadcast.Effect] = []
        broadcast.step(.proposed(zxid(5, 1)), into: &effects)
        broadcast.step(.reconfigProposed(majority(1, 2)), into: &effects)
        #expect(ack(&broadcast, 1, by: 1).isEmpty)
        #expect(ack(&broadcast, 1, by: 2) == [.commitReconfig(zxid(5, 1))])
    }

    @Test func `when it is committed another one can follow`() {
        var broadcast = replacing(majority(1, 2))
        var effects: [Broadcast.Effect] = []
        _ = ack(&broadcast, 4, by: 1)
        #expect(
            ack(&broadcast, 4, by: 2)
                == [
                    .commit(upTo: zxid(5, 1)), .commitReconfig(zxid(5, 2)),
                    .commit(upTo: zxid(5, 4)),
                ])
        broadcast.step(.proposed(zxid(5, 5)), into: &effects)
        broadcast.step(.reconfigProposed(majority(2)), into: &effects)
        #expect(ack(&broadcast, 5, by: 2).isEmpty)
        #expect(ack(&broadcast, 5, by: 1) == [.commitReconfig(zxid(5, 5))])
        broadcast.step(.proposed(zxid(5, 6)), into: &effects)
        #expect(effects.isEmpty)
        #expect(ack(&broadcast, 6, by: 1).isEmpty)
        #expect(ack(&broadcast, 6, by: 2) == [.commit(upTo: zxid(5, 6))])
    }

    @Test func `it can give the weight to groups`() throws {
        let groups = try QuorumVerifier(
            groups: [[server(1), server(2)], [server(4)]], weights: [server(2): 0])
        var broadcast = replacing(groups)
        _ = ack(&broadcast, 2, by: 2)
        #expect(ack(&broadcast, 2, by: 3) == [.commit(upTo: zxid(5, 1))])
        #expect(ack(&broadcast, 2, by: 4).isEmpty, "one of two groups")
        #expect(ack(&broadcast, 2, by: 1) == [.commitReconfig(zxid(5, 2))])
    }

    @Test func `it is known how far a server has said that it is`() {
        var broadcast = replacing()
        _ = ack(&broadcast, 3, by: 4)
        #expect(broadcast.has(server(4), acknowledged: zxid(5, 3)))
        #expect(!broadcast.has(server(4), acknowledged: zxid(5, 4)))
        #expect(!broadcast.has(server(1), acknowledged: zxid(5, 1)))
    }
}
