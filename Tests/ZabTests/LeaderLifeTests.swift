import Testing
import Vocabulary
import Zab

/// ZooKeeper: `Leader.lead`, `LearnerHandler.ping`, `LearnerHandler.synced`, `SyncLimitCheck`.
@Suite struct `A leader watches over its learners` {
    private let pingBoth = [armHalfTick] + pings(2, 3)

    @Test func `each half tick those that are up to date get a ping`() {
        var one = LeaderScenario.serving(2, 3)
        one.join(9, observes: true)
        one.arrive(4)
        #expect(one.step(.timerExpired(.halfTick)) == pingBoth + pings(9))
        #expect(one.step(.timerExpired(.halfTick)) == pingBoth + pings(9))
    }

    @Test func `before it serves nobody gets one`() {
        var one = LeaderScenario.synchronising(
            2, 3, electorate: .init(active: majority(1, 2, 3, 4, 5)))
        one.ack(2, zxid(5, 0))
        #expect(one.step(.timerExpired(.halfTick)) == [armHalfTick])
        #expect(one.step(.timerExpired(.halfTick)) == [armHalfTick])
    }

    @Test func `more echoes than pings end the link`() {
        var one = LeaderScenario.serving(2, 3)
        #expect(one.step(.pingEchoed(link(2))) == [gone(2, .outOfPlace)])
        one.step(.timerExpired(.halfTick))
        #expect(one.step(.pingEchoed(link(3))).isEmpty)
        #expect(one.step(.pingEchoed(link(3))) == [gone(3, .outOfPlace)])
        #expect(one.step(.pingEchoed(link(3))).isEmpty, "a link that is not there")
    }

    // MARK: Silence

    @Test func `who is silent for more than syncLimit is gone`() {
        var one = LeaderScenario.serving(2, 3)
        #expect(one.tick(heard: 2) == pingBoth + pingBoth)
        #expect(one.tick(heard: 2) == pingBoth + pingBoth)
        one.step(.heard(link(2)))
        #expect(one.step(.timerExpired(.halfTick)) == pingBoth)
        #expect(
            one.step(.timerExpired(.halfTick)) == [armHalfTick, gone(3, .silent)] + pings(2))
        #expect(one.tick(heard: 2) == [armHalfTick] + pings(2) + [armHalfTick] + pings(2))
    }

    @Test func `any packet is a sign of life`() {
        let packets: [Leader.Event] = [
            .heard(link(3)), .pingEchoed(link(3)), .acknowledged(link(3), zxid(5, 0)),
            .acknowledged(link(3), zxid(4, 7)),
        ]
        for packet in packets {
            var one = LeaderScenario.serving(2, 3)
            one.tick(heard: 2)
            one.tick(heard: 2)
            #expect(one.step(packet).isEmpty)
            one.tick(heard: 2)
            #expect(one.tick(heard: 2) == pingBoth + pingBoth, "\(packet)")
            one.step(.heard(link(2)))
            one.step(.timerExpired(.halfTick))
            #expect(one.step(.timerExpired(.halfTick)).contains(gone(3, .silent)), "\(packet)")
        }
    }

    @Test func `who is silent on its way has initLimit`() {
        var one = LeaderScenario.serving(2)
        one.arrive(3)  // It does not answer to LEADERINFO.
        one.arrive(9, observes: true)
        one.tick(heard: 2)
        one.agree(9)  // It does not acknowledge NEWLEADER.
        for _ in 0..<2 { #expect(!one.tick(heard: 2).contains(gone(3, .silent))) }
        #expect(one.tick(heard: 2).contains(gone(3, .silent)))
        #expect(one.tick(heard: 2).contains(gone(9, .silent)))
    }

    @Test func `the time in which a learner has waited for us is not its silence`() {
        var one = LeaderScenario.collecting(.init(active: majority(1, 2, 3, 4, 5)))
        one.arrive(2)
        for _ in 0..<3 { #expect(one.tick() == [armHalfTick, armHalfTick]) }
        one.arrive(3)
        one.step(.acceptedEpochSaved)
        for _ in 0..<3 { #expect(one.tick(heard: 3) == [armHalfTick, armHalfTick]) }
        one.agree(2)
        for _ in 0..<3 { #expect(one.tick(heard: 3) == [armHalfTick, armHalfTick]) }
        one.agree(3)
        one.step(.currentEpochSaved)
        for _ in 0..<3 { #expect(one.tick(heard: 3) == [armHalfTick, armHalfTick]) }
        one.ack(2, zxid(5, 0))
        for _ in 0..<3 { #expect(one.tick(heard: 3) == [armHalfTick, armHalfTick]) }
        #expect(one.ack(3, zxid(5, 0)).contains(.sendUpToDate(link(2))))
        for _ in 0..<2 { #expect(one.tick(heard: 3) == pingBoth + pingBoth) }
        #expect(one.tick(heard: 3).contains(gone(2, .silent)))
    }

    // MARK: A quorum

    @Test func `without a quorum the leader gives up at the next tick`() {
        var one = LeaderScenario.serving(2, 3)
        one.step(.linkClosed(link(2)))
        #expect(one.tick(heard: 3) == [armHalfTick] + pings(3) + [armHalfTick] + pings(3))
        #expect(one.step(.linkClosed(link(3))).isEmpty)
        #expect(one.step(.timerExpired(.halfTick)) == [armHalfTick])
        #expect(one.step(.timerExpired(.halfTick)) == [armHalfTick] + resigned(.quorumLost))
        #expect(!one.leader.isServing)
    }

    @Test func `silence loses a quorum, too`() {
        var one = LeaderScenario.serving(2)
        one.tick()
        one.tick()
        #expect(
            one.tick()
                == [armHalfTick] + pings(2) + [armHalfTick, gone(2, .silent)]
                + resigned(.quorumLost))
    }

    @Test func `observers and strangers keep no quorum`() {
        var one = LeaderScenario.serving(2)
        one.join(3, observes: true)
        one.join(9)
        one.join(1, on: 11)
        one.step(.linkClosed(link(2)))
        #expect(one.tick(heard: 3, 9, 11).last == .resign(.quorumLost))
    }

    @Test func `who is being synchronised keeps it, for it follows nobody else`() {
        var one = LeaderScenario.serving(2)
        one.step(.linkClosed(link(2)))
        one.arrive(3)
        one.agree(3)
        #expect(one.tick(heard: 3).last == armHalfTick)
        var two = LeaderScenario.serving(2)
        two.step(.linkClosed(link(2)))
        two.arrive(3)
        #expect(two.tick(heard: 3).last == .resign(.quorumLost), "it has promised nothing yet")
    }

    @Test func `a configuration that was completed with the epoch alone counts`() {
        var one = LeaderScenario.serving(
            2, 4, electorate: .init(active: majority(1, 2, 3), lastSeen: majority(1, 4, 5)))
        one.step(.linkClosed(link(2)))
        #expect(one.tick(heard: 4).last == .ping(link(4)))
        one.join(2, on: 12)
        one.step(.linkClosed(link(4)))
        #expect(one.tick(heard: 12).last == .resign(.quorumLost))
    }

    @Test func `before it serves the step decides, not the tick`() {
        var one = LeaderScenario.synchronising(2)
        one.step(.linkClosed(link(2)))
        #expect(one.tick() == [armHalfTick, armHalfTick])
    }

    // MARK: Slow disks

    @Test func `a proposal that is not acknowledged for syncLimit ends the link`() {
        var one = LeaderScenario.serving(2, 3)
        one.step(.proposed(upTo: zxid(5, 3)))
        one.ack(2, zxid(5, 3))
        one.ack(3, zxid(5, 2))
        #expect(one.tick(heard: 2, 3) == pingBoth + pingBoth, "5:3 is looked at from now on")
        one.step(.proposed(upTo: zxid(5, 9)))
        one.ack(2, zxid(5, 9))
        #expect(one.tick(heard: 2, 3) == pingBoth + pingBoth)
        #expect(
            one.step(.timerExpired(.halfTick))
                == [armHalfTick, gone(3, .slow(zxid(5, 3)))] + pings(2))
    }

    @Test func `when it is acknowledged in time the next one is looked at`() {
        var one = LeaderScenario.serving(2, 3)
        one.step(.proposed(upTo: zxid(5, 1)))
        for counter in UInt32(2)...8 {
            one.ack(2, zxid(5, counter - 1))
            #expect(one.tick(heard: 2, 3) == pingBoth + pingBoth)
            one.step(.proposed(upTo: zxid(5, counter)))
            one.ack(3, zxid(5, counter - 1))  // Always behind, never for long.
        }
    }

    @Test func `observers are not looked at, nor strangers spared`() {
        var one = LeaderScenario.serving(2)
        one.join(8, observes: true)
        one.join(9)
        one.step(.proposed(upTo: zxid(5, 1)))
        one.ack(2, zxid(5, 1))
        let effects = (0..<4).flatMap { _ in one.tick(heard: 2, 8, 9) }
        #expect(effects.contains(gone(9, .slow(zxid(5, 1)))))
        #expect(effects.count { if case .disconnect = $0 { true } else { false } } == 1)
    }

    @Test func `a learner need not acknowledge what came with its history`() {
        var one = LeaderScenario.serving(2)
        one.step(.proposed(upTo: zxid(5, 4)))
        one.ack(2, zxid(5, 4))
        one.step(.flushed(upTo: zxid(5, 4)))
        one.join(3)
        for _ in 0..<5 { #expect(one.tick(heard: 2, 3) == pingBoth + pingBoth) }
        one.step(.proposed(upTo: zxid(5, 5)))
        one.ack(2, zxid(5, 5))
        let effects = (0..<3).flatMap { _ in one.tick(heard: 2, 3) }
        #expect(effects.contains(gone(3, .slow(zxid(5, 5)))))
    }
}
