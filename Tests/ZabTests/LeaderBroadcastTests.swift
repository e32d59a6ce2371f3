import Testing
import Vocabulary
import Zab

/// ZooKeeper: `Leader.processAck`, `Leader.tryToCommit`, `Leader.getDesignatedLeader`.
@Suite struct `A leader broadcasts` {
    private func proposed(_ counter: UInt32) -> Leader.Event { .proposed(upTo: zxid(5, counter)) }
    private func flushed(_ counter: UInt32) -> Leader.Event { .flushed(upTo: zxid(5, counter)) }

    // MARK: Acks

    @Test func `a proposal is committed when a quorum has it on disk`() {
        var one = LeaderScenario.serving(2, 3)
        #expect(one.step(proposed(1)).isEmpty)
        #expect(one.ack(2, zxid(5, 1)).isEmpty)
        #expect(one.ack(3, zxid(5, 1)) == [.commit(upTo: zxid(5, 1))])
        #expect(one.step(flushed(1)).isEmpty)
        #expect(one.leader.lastCommitted == zxid(5, 1))
    }

    @Test func `our own disk counts like any other, and not before it has flushed`() {
        var one = LeaderScenario.serving(2)
        one.step(proposed(3))
        #expect(one.ack(2, zxid(5, 3)).isEmpty)
        #expect(one.step(flushed(1)) == [.commit(upTo: zxid(5, 1))])
        #expect(one.step(flushed(3)) == [.commit(upTo: zxid(5, 3))])
    }

    @Test func `a flush of what was there before commits nothing`() {
        var one = LeaderScenario.serving(2)
        one.step(proposed(1))
        one.ack(2, zxid(5, 1))
        #expect(one.step(.flushed(upTo: zxid(4, 7))).isEmpty)
        var two = LeaderScenario.synchronising(2)
        #expect(two.step(.flushed(upTo: zxid(4, 7))).isEmpty)
    }

    @Test func `alone a server commits what it has flushed`() {
        var one = LeaderScenario.serving(electorate: .init(active: majority(1)))
        #expect(one.step(proposed(2)).isEmpty)
        #expect(one.step(flushed(2)) == [.commit(upTo: zxid(5, 2))])
    }

    @Test func `acks of observers, of strangers and of our own id do not count`() {
        var one = LeaderScenario.serving(2)
        one.join(3, observes: true)
        one.join(9)
        one.join(1, on: 11)
        one.step(.learnerArrived(link(10), .init(server: nil, isObserver: false, acceptedEpoch: 4)))
        one.agree(10)
        one.ack(10, zxid(5, 0))
        one.step(proposed(1))
        for number in [3, 9, 10, 11] as [Int64] { #expect(one.ack(number, zxid(5, 1)).isEmpty) }
        #expect(one.ack(2, zxid(5, 1)).isEmpty)
        #expect(one.step(flushed(1)) == [.commit(upTo: zxid(5, 1))])
    }

    @Test func `one server on two links is one server`() {
        var one = LeaderScenario.serving(2)
        one.step(proposed(1))
        #expect(one.ack(2, zxid(5, 1)).isEmpty)
        one.join(2, on: 12)
        #expect(one.ack(12, zxid(5, 1)).isEmpty)
        #expect(one.step(flushed(1)) == [.commit(upTo: zxid(5, 1))])
    }

    @Test func `what a server has on disk it has, although its link is gone`() {
        var one = LeaderScenario.serving(2)
        one.step(proposed(1))
        one.ack(2, zxid(5, 1))
        one.step(.linkClosed(link(2)))
        #expect(one.ack(2, zxid(5, 1)).isEmpty)
        #expect(one.step(flushed(1)) == [.commit(upTo: zxid(5, 1))])
    }

    /// What was not committed is cut off its log before it is sent again.
    @Test func `what a server had on disk counts no longer when it has come anew`() {
        var one = LeaderScenario.serving(2)
        one.step(proposed(1))
        #expect(one.ack(2, zxid(5, 1)).isEmpty)
        one.join(2, on: 12)
        #expect(one.step(flushed(1)).isEmpty, "nobody else is known to have it")
        #expect(one.ack(12, zxid(5, 1)) == [.commit(upTo: zxid(5, 1))])
    }

    @Test func `an ack of what was not sent ends the link`() {
        var one = LeaderScenario.serving(2, 3)
        one.step(proposed(1))
        #expect(one.ack(2, zxid(5, 2)) == [gone(2, .acknowledgedUnsent(zxid(5, 2)))])
        #expect(one.ack(3, zxid(6, 0)) == [gone(3, .acknowledgedUnsent(zxid(6, 0)))])
        var two = LeaderScenario.synchronising(2)
        #expect(two.ack(2, zxid(5, 1)) == [gone(2, .acknowledgedUnsent(zxid(5, 1)))])
    }

    @Test func `an ack of another epoch is ignored`() {
        var one = LeaderScenario.serving(2)
        one.step(proposed(1))
        one.step(flushed(1))
        for zxid in [zxid(4, 9), zxid(0, 0), .none, Zxid(rawValue: .min)] {
            #expect(one.ack(2, zxid).isEmpty)
        }
        #expect(one.ack(2, zxid(5, 1)) == [.commit(upTo: zxid(5, 1))], "the link is still there")
    }

    @Test func `a learner may acknowledge proposals before the end of its history`() {
        var one = LeaderScenario.serving(2)
        one.step(proposed(1))
        one.arrive(3)
        one.agree(3)
        #expect(one.ack(3, zxid(5, 1)).isEmpty)
        #expect(one.step(flushed(1)) == [.commit(upTo: zxid(5, 1))])
        #expect(one.ack(3, zxid(5, 0)) == [.sendUpToDate(link(3))])
    }

    @Test func `before the counter ends the leader makes room for another epoch`() {
        var one = LeaderScenario.serving(2)
        #expect(one.step(proposed(Leader.counterMax - 1)).isEmpty)
        #expect(one.step(proposed(Leader.counterMax)) == resigned(.zxidsUsedUp))
    }

    // MARK: Standalone

    @Test func `a standalone server counts on from where its log ends`() {
        var alone = Leader(standalone: server(1), lastZxid: zxid(0, 7))
        #expect(alone.isServing)
        #expect(alone.lastProposed == zxid(0, 7))
        var effects: [Leader.Effect] = []
        for event in [
            .proposed(upTo: zxid(0, 9)), .flushed(upTo: zxid(0, 8)),
            .syncRequested(after: zxid(0, 9)), .flushed(upTo: zxid(0, 9)),
            .syncRequested(after: zxid(0, 9)),
        ] as [Leader.Event] { alone.step(event, into: &effects) }
        #expect(
            effects == [
                .commit(upTo: zxid(0, 8)), .commit(upTo: zxid(0, 9)), .answerSyncs(upTo: 1),
                .answerSyncs(upTo: 2),
            ])
    }

    @Test func `a standalone server has no other epoch to make room for`() {
        var alone = Leader(standalone: server(1), lastZxid: zxid(0, .max))
        var effects: [Leader.Effect] = []
        alone.step(.proposed(upTo: zxid(1, 0)), into: &effects)
        alone.step(.flushed(upTo: zxid(1, 0)), into: &effects)
        #expect(effects == [.commit(upTo: zxid(1, 0))])
        effects = []
        alone.step(.proposed(upTo: zxid(1, Leader.counterMax)), into: &effects)
        #expect(effects.isEmpty)
    }

    // MARK: Reconfiguration

    private func reconfig(
        _ counter: UInt32, to voters: Int64..., keepsLeader: Bool = true
    ) -> Leader.Event {
        .reconfigProposed(
            .init(
                quorum: QuorumVerifier(voters: voters.map(server)), version: zxid(5, counter),
                keepsLeader: keepsLeader))
    }

    @Test func `a reconfiguration needs both quorums, and stays with the leader that it keeps`() {
        var one = LeaderScenario.serving(2, 3)
        one.join(4)
        one.join(5)
        one.step(proposed(2))
        #expect(one.step(reconfig(2, to: 1, 4, 5)).isEmpty)
        one.step(proposed(3))
        one.step(flushed(3))
        #expect(one.ack(2, zxid(5, 3)) == [.commit(upTo: zxid(5, 1))])
        #expect(
            one.ack(4, zxid(5, 2)) == [.commitReconfig(zxid(5, 2), designated: server(1))])
        #expect(one.ack(5, zxid(5, 3)) == [.commit(upTo: zxid(5, 3))])
    }

    @Test func `the configuration that was committed is the one that learners are measured by`() {
        var one = LeaderScenario.serving(2)
        one.step(proposed(1))
        one.step(reconfig(1, to: 1, 2))
        #expect(one.arrive(3, version: zxid(5, 1)) == [gone(3, .knowsNewerConfiguration)])
        one.step(flushed(1))
        one.ack(2, zxid(5, 1))
        #expect(one.arrive(3, version: zxid(5, 1)) == [.offerEpoch(5, to: link(3))])
        #expect(one.arrive(4, version: zxid(5, 2)) == [gone(4, .knowsNewerConfiguration)])
    }

    @Test func `a leader that is left out names who has most, and commits nothing more`() {
        var one = LeaderScenario.serving(2, 3)
        one.step(proposed(1))
        one.step(reconfig(1, to: 2, 3, keepsLeader: false))
        one.step(proposed(3))
        one.ack(2, zxid(5, 2))
        one.step(flushed(3))
        #expect(
            one.ack(3, zxid(5, 3)) == [.commitReconfig(zxid(5, 1), designated: server(3))],
            "2 and 3 have 5:2 as well, but it is not ours to commit")
        #expect(one.ack(2, zxid(5, 3)).isEmpty)
        #expect(one.step(proposed(4)).isEmpty)
        #expect(one.ack(2, zxid(5, 4)).isEmpty, "it was sent")
    }

    @Test func `who has more behind it is named before a lower id`() {
        var one = LeaderScenario.serving(2, 3)
        one.step(proposed(1))
        one.step(reconfig(1, to: 2, 3, keepsLeader: false))
        one.step(proposed(3))
        one.step(flushed(3))
        one.ack(3, zxid(5, 2))
        #expect(
            one.ack(2, zxid(5, 1)) == [.commitReconfig(zxid(5, 1), designated: server(3))])
    }

    @Test func `when all that have it are gone the first voter is named`() {
        var one = LeaderScenario.serving(2, 3)
        one.join(4)
        one.join(5)
        one.step(proposed(1))
        one.step(reconfig(1, to: 2, 4, 5, keepsLeader: false))
        for number in [2, 4] {
            #expect(one.ack(Int64(number), zxid(5, 1)).isEmpty)
            one.step(.linkClosed(link(number)))
        }
        #expect(
            one.step(flushed(1)) == [.commitReconfig(zxid(5, 1), designated: server(2))])
    }

    /// 2 has no vote in it, 3 lacks it, and 4 only observes.
    @Test func `of the voters that have as much the one with the lowest id is named`() {
        var one = LeaderScenario.serving(2, 3)
        one.join(4, observes: true)
        for id in [5, 7, 6] as [Int64] { one.join(id) }
        one.step(proposed(1))
        one.step(reconfig(1, to: 3, 4, 5, 6, 7, keepsLeader: false))
        one.step(flushed(1))
        for id in [2, 4, 7, 5] as [Int64] { #expect(one.ack(id, zxid(5, 1)).isEmpty) }
        #expect(
            one.ack(6, zxid(5, 1)) == [.commitReconfig(zxid(5, 1), designated: server(5))])
    }

    @Test func `the configuration last seen is completed with the epoch, and commits alone`() {
        var one = LeaderScenario.serving(
            2, 4, electorate: .init(active: majority(1, 2, 3), lastSeen: majority(1, 4, 5)))
        one.step(proposed(1))
        #expect(one.step(flushed(1)).isEmpty)
        #expect(one.ack(2, zxid(5, 1)).isEmpty)
        #expect(one.ack(4, zxid(5, 1)) == [.commit(upTo: zxid(5, 1))])
    }

    @Test func `learners are measured by the version that became active`() {
        var one = LeaderScenario.serving(2)
        #expect(one.arrive(3, version: zxid(5, 0)) == [gone(3, .knowsNewerConfiguration)])
        #expect(one.step(.configurationActivated(zxid(5, 0))).isEmpty)
        #expect(one.arrive(3, version: zxid(5, 0)) == [.offerEpoch(5, to: link(3))])
    }

    @Test func `a leader that is replaced gives up`() {
        var one = LeaderScenario.serving(2)
        #expect(one.step(.replaced) == resigned(.replaced))
    }

    @Test func `while it is on its way a leader needs the new quorum alive, too`() {
        var one = LeaderScenario.serving(2, 3)
        one.join(4)
        one.step(proposed(1))
        one.step(reconfig(1, to: 1, 4))
        #expect(one.tick(heard: 2, 3, 4).last != .resign(.quorumLost))
        one.step(.linkClosed(link(4)))
        #expect(one.tick(heard: 2, 3).suffix(3) == resigned(.quorumLost))
    }
}
