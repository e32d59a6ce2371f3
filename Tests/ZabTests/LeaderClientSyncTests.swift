import Testing
import Vocabulary
import Zab

/// A client's sync, at the leader. ZooKeeper: `Leader.processSync`, which does not ask the quorum.
@Suite struct `A leader answers syncs` {
    private func sync(_ counter: UInt32 = 0) -> Leader.Event {
        .syncRequested(after: zxid(5, counter))
    }

    private func echo(_ number: Int) -> Leader.Event { .pingEchoed(link(number)) }

    @Test func `a sync is answered when a quorum has echoed a ping that was sent after it came`() {
        var one = LeaderScenario.serving(2, 3)
        #expect(one.step(sync()) == pings(2, 3))
        #expect(one.step(echo(3)) == [.answerSyncs(upTo: 1)])
        #expect(one.step(echo(2)).isEmpty)
    }

    @Test func `of five voters two others are needed`() {
        var one = LeaderScenario.serving(
            2, 3, 4, electorate: .init(active: majority(1, 2, 3, 4, 5)))
        #expect(one.step(sync()) == pings(2, 3, 4))
        #expect(one.step(echo(2)).isEmpty)
        #expect(one.step(echo(4)) == [.answerSyncs(upTo: 1)])
    }

    @Test func `echoes of earlier pings confirm nothing`() {
        var one = LeaderScenario.serving(2)
        one.step(.timerExpired(.halfTick))
        one.step(.timerExpired(.halfTick))
        #expect(one.step(sync()) == pings(2))
        #expect(one.step(echo(2)).isEmpty)
        #expect(one.step(echo(2)).isEmpty)
        #expect(one.step(echo(2)) == [.answerSyncs(upTo: 1)])
    }

    @Test func `a later ping confirms as well as the one that was sent for it`() {
        var one = LeaderScenario.serving(2)
        one.step(sync())
        #expect(one.step(.timerExpired(.halfTick)) == [armHalfTick] + pings(2))
        #expect(one.step(echo(2)) == [.answerSyncs(upTo: 1)])
        #expect(one.step(echo(2)).isEmpty)
    }

    @Test func `syncs that come during a round share the next one`() {
        var one = LeaderScenario.serving(2)
        #expect(one.step(sync()) == pings(2))
        #expect(one.step(sync()).isEmpty)
        #expect(one.step(sync()).isEmpty)
        #expect(one.step(echo(2)) == [.answerSyncs(upTo: 1)] + pings(2))
        #expect(one.step(sync()).isEmpty)
        #expect(one.step(echo(2)) == [.answerSyncs(upTo: 3)] + pings(2))
        #expect(one.step(echo(2)) == [.answerSyncs(upTo: 4)])
        #expect(one.step(sync()) == pings(2))
    }

    @Test func `a sync waits until what was proposed before it is committed`() {
        var one = LeaderScenario.serving(2, 3)
        one.step(.proposed(upTo: zxid(5, 2)))
        one.step(sync(2))
        #expect(one.step(echo(2)).isEmpty)
        one.step(.flushed(upTo: zxid(5, 2)))
        #expect(one.ack(2, zxid(5, 1)) == [.commit(upTo: zxid(5, 1))])
        #expect(
            one.ack(2, zxid(5, 2)) == [.commit(upTo: zxid(5, 2)), .answerSyncs(upTo: 1)])
    }

    @Test func `what is committed first waits for the echo`() {
        var one = LeaderScenario.serving(2, 3)
        one.step(.proposed(upTo: zxid(5, 1)))
        one.step(sync(1))
        one.step(.flushed(upTo: zxid(5, 1)))
        #expect(one.ack(3, zxid(5, 1)) == [.commit(upTo: zxid(5, 1))])
        #expect(one.step(echo(3)) == [.answerSyncs(upTo: 1)])
    }

    @Test func `answers keep the order of the syncs`() {
        var one = LeaderScenario.serving(2)
        one.step(.proposed(upTo: zxid(5, 1)))
        one.step(sync(1))
        one.step(sync(0))
        #expect(one.step(echo(2)) == pings(2), "the first one waits for its commit")
        #expect(one.step(echo(2)).isEmpty)
        one.ack(2, zxid(5, 1))
        #expect(
            one.step(.flushed(upTo: zxid(5, 1)))
                == [.commit(upTo: zxid(5, 1)), .answerSyncs(upTo: 2)])
    }

    @Test func `observers and strangers confirm nothing`() {
        var one = LeaderScenario.serving(2)
        one.join(3, observes: true)
        one.join(9)
        one.join(1, on: 11)
        #expect(one.step(sync()) == pings(2))
        one.step(.timerExpired(.halfTick))
        for number in [3, 9, 11] { #expect(one.step(echo(number)).isEmpty) }
        #expect(one.step(echo(2)) == [.answerSyncs(upTo: 1)])
    }

    @Test func `who is brought up to date during a round confirms it with its next ping`() {
        var one = LeaderScenario.serving(2)
        one.step(sync())
        one.step(.linkClosed(link(2)))
        one.join(3)
        #expect(one.step(.timerExpired(.halfTick)) == [armHalfTick] + pings(3))
        #expect(one.step(echo(3)) == [.answerSyncs(upTo: 1)])
    }

    @Test func `a link that replaces another starts anew`() {
        var one = LeaderScenario.serving(2)
        one.step(.timerExpired(.halfTick))
        one.step(sync())
        one.join(2, on: 12)
        one.step(.timerExpired(.halfTick))
        #expect(one.step(echo(2)).isEmpty)
        #expect(one.step(echo(12)) == [.answerSyncs(upTo: 1)])
    }

    @Test func `alone a server knows that nobody else leads`() {
        var one = LeaderScenario.serving(electorate: .init(active: majority(1)))
        #expect(one.step(sync()) == [.answerSyncs(upTo: 1)])
        one.step(.proposed(upTo: zxid(5, 1)))
        #expect(one.step(sync(1)).isEmpty)
        #expect(
            one.step(.flushed(upTo: zxid(5, 1)))
                == [.commit(upTo: zxid(5, 1)), .answerSyncs(upTo: 2)])
    }

    @Test func `without confirmation only commits are awaited`() {
        var one = LeaderScenario.serving(2, confirmsSyncs: false)
        #expect(one.step(sync()) == [.answerSyncs(upTo: 1)])
        one.step(.proposed(upTo: zxid(5, 1)))
        #expect(one.step(sync(1)).isEmpty)
        one.ack(2, zxid(5, 1))
        #expect(
            one.step(.flushed(upTo: zxid(5, 1)))
                == [.commit(upTo: zxid(5, 1)), .answerSyncs(upTo: 2)])
    }

    @Test func `a quorum of both configurations confirms while one is on its way`() {
        var one = LeaderScenario.serving(2)
        one.join(4)
        #expect(one.step(.proposed(upTo: zxid(5, 1))).isEmpty)
        one.step(
            .reconfigProposed(
                .init(quorum: majority(1, 4, 5), version: zxid(5, 1), keepsLeader: true)))
        #expect(one.step(sync()) == pings(2, 4))
        #expect(one.step(echo(2)).isEmpty)
        #expect(one.step(echo(4)) == [.answerSyncs(upTo: 1)])
    }

    @Test func `when the configuration shrinks to us, what waits for others is answered`() {
        var one = LeaderScenario.serving(2, 3)
        one.step(.proposed(upTo: zxid(5, 1)))
        one.step(
            .reconfigProposed(
                .init(quorum: majority(1), version: zxid(5, 1), keepsLeader: true)))
        #expect(one.step(sync(1)) == pings(2, 3))
        #expect(one.step(sync(1)).isEmpty)
        one.step(.flushed(upTo: zxid(5, 1)))
        #expect(
            one.ack(2, zxid(5, 1))
                == [.commitReconfig(zxid(5, 1), designated: server(1)), .answerSyncs(upTo: 2)])
        #expect(one.step(sync(1)) == [.answerSyncs(upTo: 3)])
    }

    @Test func `when the configuration grows again, the next sync asks the others`() {
        var one = LeaderScenario.serving(2, 3)
        one.step(.proposed(upTo: zxid(5, 1)))
        one.step(
            .reconfigProposed(
                .init(quorum: majority(1), version: zxid(5, 1), keepsLeader: true)))
        #expect(one.step(sync(1)) == pings(2, 3))
        one.step(.flushed(upTo: zxid(5, 1)))
        one.ack(2, zxid(5, 1))
        one.step(.proposed(upTo: zxid(5, 2)))
        one.step(
            .reconfigProposed(
                .init(quorum: majority(1, 2, 3), version: zxid(5, 2), keepsLeader: true)))
        #expect(one.step(sync(2)) == pings(2, 3))
        one.ack(2, zxid(5, 2))
        #expect(
            one.step(.flushed(upTo: zxid(5, 2)))
                == [.commitReconfig(zxid(5, 2), designated: server(1))])
        #expect(one.step(echo(2)).isEmpty, "of the round that was given up")
        #expect(one.step(echo(2)) == [.answerSyncs(upTo: 2)])
    }

    @Test func `a leader that may not commit any more answers no sync`() {
        var one = LeaderScenario.serving(2, 3)
        one.step(.proposed(upTo: zxid(5, 1)))
        one.step(
            .reconfigProposed(
                .init(quorum: majority(2, 3), version: zxid(5, 1), keepsLeader: false)))
        one.step(sync(1))
        one.step(echo(2))
        one.step(echo(3))
        one.ack(2, zxid(5, 1))
        #expect(
            one.ack(3, zxid(5, 1)) == [.commitReconfig(zxid(5, 1), designated: server(2))])
        #expect(one.step(sync(1)) == pings(2, 3))
        #expect(one.step(echo(2)).isEmpty)
        #expect(one.step(echo(3)).isEmpty)
    }
}
