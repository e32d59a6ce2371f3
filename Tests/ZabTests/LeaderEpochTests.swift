import Testing
import Vocabulary
import Zab

/// ZooKeeper: `Leader.getEpochToPropose`, `Leader.waitForEpochAck`, `LearnerHandler.run`.
@Suite struct `A leader establishes its epoch` {
    // MARK: Collecting

    @Test func `it waits for promises, with itself as the first`() {
        var one = LeaderScenario()
        #expect(one.step(.started) == [armHalfTick, armStep])
        #expect(one.arrive(2) == [.saveAcceptedEpoch(5)])
    }

    @Test func `of five voters two others are needed`() {
        var one = LeaderScenario.collecting(.init(active: majority(1, 2, 3, 4, 5)))
        #expect(one.arrive(2).isEmpty)
        #expect(one.arrive(3) == [.saveAcceptedEpoch(5)])
    }

    @Test func `the epoch is above everything that was heard, whoever said it`() {
        var one = LeaderScenario.collecting()
        #expect(one.arrive(9, observes: true, epoch: 8).isEmpty)
        #expect(one.arrive(7, epoch: 11).isEmpty, "not in the configuration")
        #expect(one.arrive(8, observes: true, epoch: 3).isEmpty)
        #expect(one.arrive(2, epoch: 6) == [.saveAcceptedEpoch(12)])
        var two = LeaderScenario(accepted: 20)
        two.step(.started)
        #expect(two.arrive(2, epoch: 6) == [.saveAcceptedEpoch(21)])
    }

    @Test func `observers and strangers do not promise for a quorum`() {
        var one = LeaderScenario.collecting()
        #expect(one.arrive(2, observes: true).isEmpty, "a voter that observes does not vote")
        #expect(one.arrive(9).isEmpty)
        let anonymous = Leader.Greeting(server: nil, isObserver: false, acceptedEpoch: 4)
        #expect(one.step(.learnerArrived(link(10), anonymous)).isEmpty)
        #expect(one.step(.learnerArrived(link(11), anonymous)).isEmpty, "nobody is replaced")
        #expect(one.arrive(3) == [.saveAcceptedEpoch(5)])
        #expect(
            one.step(.acceptedEpochSaved)
                == [armStep] + [2, 9, 10, 11, 3].map { .offerEpoch(5, to: link($0)) })
    }

    @Test func `somebody else with our id does not promise for us, nor for anybody`() {
        var one = LeaderScenario.collecting(.init(active: majority(1, 2, 3, 4)))
        #expect(one.arrive(1, epoch: 6).isEmpty)
        #expect(one.arrive(1, on: 11).isEmpty)
        #expect(one.arrive(2).isEmpty)
        #expect(one.arrive(3) == [.saveAcceptedEpoch(7)])
    }

    @Test func `one server that comes twice is not two`() {
        var one = LeaderScenario.collecting(.init(active: majority(1, 2, 3, 4, 5)))
        #expect(one.arrive(2).isEmpty)
        #expect(one.arrive(2, on: 12) == [gone(2, .replaced)])
        #expect(one.arrive(3) == [.saveAcceptedEpoch(5)])
    }

    @Test func `who has promised and gone has promised`() {
        var one = LeaderScenario.collecting(.init(active: majority(1, 2, 3, 4, 5)))
        one.arrive(2)
        #expect(one.step(.linkClosed(link(2))).isEmpty)
        #expect(one.arrive(3) == [.saveAcceptedEpoch(5)])
        #expect(one.step(.acceptedEpochSaved) == [armStep, .offerEpoch(5, to: link(3))])
    }

    @Test func `voters of the configuration last seen promise, but the active one decides`() {
        var one = LeaderScenario.collecting(
            .init(active: majority(1, 2, 3), lastSeen: majority(1, 4, 5)))
        #expect(one.arrive(4).isEmpty)
        #expect(one.arrive(5, epoch: 6).isEmpty)
        #expect(one.arrive(2) == [.saveAcceptedEpoch(7)])
        var other = LeaderScenario.collecting(
            .init(active: majority(1, 2, 3), lastSeen: majority(1, 4, 5)))
        #expect(other.arrive(2) == [.saveAcceptedEpoch(5)])
    }

    @Test func `a server alone needs nobody`() {
        var one = LeaderScenario(electorate: .init(active: majority(1)))
        #expect(one.step(.started) == [armHalfTick, armStep, .saveAcceptedEpoch(5)])
        #expect(one.step(.acceptedEpochSaved) == [armStep, .saveCurrentEpoch(5)])
        #expect(
            one.step(.currentEpochSaved) == [armStep, .disarm(.step), .serve(epoch: 5)])
        #expect(one.leader.isServing)
        #expect(one.leader.epoch == 5)
    }

    @Test func `nothing is offered before it is saved`() {
        var one = LeaderScenario.collecting()
        #expect(one.arrive(2) == [.saveAcceptedEpoch(5)])
        #expect(one.arrive(3, epoch: 9).isEmpty, "too late to raise it")
        #expect(
            one.step(.acceptedEpochSaved)
                == [armStep, .offerEpoch(5, to: link(2)), .offerEpoch(5, to: link(3))])
    }

    @Test func `who comes late is offered the epoch that there is`() {
        var one = LeaderScenario.establishing(2)
        #expect(one.arrive(3, epoch: 9) == [.offerEpoch(5, to: link(3))])
        #expect(one.agree(2) == [.saveCurrentEpoch(5)])
        #expect(one.arrive(9, observes: true) == [.offerEpoch(5, to: link(9))])
        one.step(.currentEpochSaved)
        #expect(one.arrive(8, observes: true) == [.offerEpoch(5, to: link(8))])
        one.ack(2, zxid(5, 0))
        #expect(one.leader.isServing)
        #expect(one.arrive(7, observes: true) == [.offerEpoch(5, to: link(7))])
    }

    // MARK: Who is not taken

    @Test func `who knows a newer configuration is refused`() {
        var one = LeaderScenario(version: zxid(3, 1))
        one.step(.started)
        #expect(one.arrive(3, version: zxid(3, 2)) == [gone(3, .knowsNewerConfiguration)])
        #expect(one.arrive(2, version: zxid(3, 1)) == [.saveAcceptedEpoch(5)])
    }

    @Test func `who is refused replaces nobody and raises nothing`() {
        var one = LeaderScenario.collecting(.init(active: majority(1, 2, 3, 4, 5)))
        one.arrive(2)
        #expect(
            one.arrive(2, on: 12, epoch: 50, version: zxid(3, 2))
                == [gone(12, .knowsNewerConfiguration)])
        #expect(one.arrive(3) == [.saveAcceptedEpoch(5)])
        #expect(
            one.step(.acceptedEpochSaved)
                == [armStep, .offerEpoch(5, to: link(2)), .offerEpoch(5, to: link(3))])
    }

    @Test func `an epoch that leaves no room is refused`() {
        var one = LeaderScenario.collecting()
        for epoch in [-1, Int64.min, Leader.epochMax, .max] {
            #expect(one.arrive(2, epoch: epoch) == [gone(2, .epochOutOfRange(epoch))])
        }
        #expect(one.arrive(2, epoch: Leader.epochMax - 1) == [.saveAcceptedEpoch(Leader.epochMax)])
        #expect(Zxid(epoch: Leader.epochMax + 1, counter: .max).epoch == Leader.epochMax + 1)
    }

    @Test func `who introduces itself twice is gone`() {
        var one = LeaderScenario.establishing(2, 3)
        #expect(one.arrive(2) == [gone(2, .outOfPlace)])
        #expect(one.agree(2).isEmpty, "it is forgotten")
        #expect(one.agree(3) == [.saveCurrentEpoch(5)])
    }

    @Test func `a second link of a server replaces the first, wherever that was`() {
        var one = LeaderScenario.synchronising(2, 3)
        #expect(one.arrive(2, on: 12) == [gone(2, .replaced), .offerEpoch(5, to: link(12))])
        #expect(one.ack(2, zxid(5, 0)).isEmpty)
        #expect(!one.leader.isServing)
        #expect(one.agree(12, epoch: nil) == [.synchronise(link(12), from: zxid(4, 7))])
        #expect(one.step(.linkClosed(link(2))).isEmpty)
        #expect(
            one.ack(12, zxid(5, 0))
                == [.disarm(.step), .serve(epoch: 5), .sendUpToDate(link(12))])
        #expect(
            one.arrive(2, on: 22, observes: true)
                == [gone(12, .replaced), .offerEpoch(5, to: link(22))])
    }

    // MARK: Establishing

    @Test func `a quorum that is not ahead establishes the epoch, once it is saved`() {
        var one = LeaderScenario.establishing(2, 3)
        #expect(one.agree(2, zxid: zxid(4, 7), epoch: 4) == [.saveCurrentEpoch(5)])
        #expect(one.agree(3, zxid: zxid(4, 5), epoch: 4).isEmpty)
        #expect(
            one.step(.currentEpochSaved)
                == [
                    armStep, .synchronise(link(2), from: zxid(4, 7)),
                    .synchronise(link(3), from: zxid(4, 5)),
                ])
    }

    @Test func `who had promised the epoch before does not count, and goes on with the others`() {
        var one = LeaderScenario.establishing(2, 3)
        #expect(one.agree(2, zxid: zxid(4, 6), epoch: nil).isEmpty)
        #expect(one.agree(3) == [.saveCurrentEpoch(5)])
        #expect(
            one.step(.currentEpochSaved)
                == [
                    armStep, .synchronise(link(2), from: zxid(4, 6)),
                    .synchronise(link(3), from: zxid(4, 7)),
                ])
    }

    @Test func `observers and strangers do not establish an epoch`() {
        var one = LeaderScenario.establishing(2)
        one.arrive(3, observes: true)
        one.arrive(9)
        one.arrive(1, on: 11)
        #expect(one.agree(3).isEmpty)
        #expect(one.agree(9).isEmpty)
        #expect(one.agree(11).isEmpty)
        #expect(one.agree(2) == [.saveCurrentEpoch(5)])
    }

    @Test func `voters of the configuration last seen do not establish an epoch`() {
        let electorate = Election.Electorate(
            active: majority(1, 2, 3), lastSeen: majority(1, 4, 5))
        var one = LeaderScenario.establishing(4, 5, 2, electorate: electorate)
        #expect(one.agree(4).isEmpty)
        #expect(one.agree(5).isEmpty)
        #expect(one.agree(2) == [.saveCurrentEpoch(5)])
        var other = LeaderScenario.establishing(4, 5, 2, electorate: electorate)
        #expect(other.agree(2) == [.saveCurrentEpoch(5)])
    }

    @Test(arguments: [(zxid(4, 8), 4), (zxid(4, 7), 5), (zxid(0, 0), 5)] as [(Zxid, Int64)])
    func `who is ahead is dropped, and asked by the next election`(_ last: Zxid, _ epoch: Int64) {
        var one = LeaderScenario.establishing(2, 3)
        #expect(
            one.agree(2, zxid: last, epoch: epoch)
                == [gone(2, .isAhead(lastZxid: last, currentEpoch: epoch))])
        #expect(one.agree(3) == [.saveCurrentEpoch(5)])
        // The epoch is established: what it has more, nobody has committed.
        one.arrive(2, on: 12)
        #expect(one.agree(12, zxid: last, epoch: epoch).isEmpty)
        #expect(
            one.step(.currentEpochSaved)
                == [
                    armStep, .synchronise(link(3), from: zxid(4, 7)),
                    .synchronise(link(12), from: last),
                ])
    }

    @Test func `a learner that says nothing of its epoch is not compared`() {
        var one = LeaderScenario.establishing(2, 3)
        #expect(one.agree(2, zxid: zxid(9, 9), epoch: nil).isEmpty)
        #expect(one.agree(3) == [.saveCurrentEpoch(5)])
    }

    @Test func `a longer history of an older epoch is not ahead`() {
        var one = LeaderScenario.establishing(2)
        #expect(one.agree(2, zxid: zxid(4, 9), epoch: 3) == [.saveCurrentEpoch(5)])
    }

    @Test func `a history out of place ends the link`() {
        var one = LeaderScenario.collecting(.init(active: majority(1, 2, 3, 4, 5)))
        one.arrive(2)
        #expect(one.agree(2) == [gone(2, .outOfPlace)], "nothing was offered")
        var two = LeaderScenario.establishing(2, 3)
        two.agree(2, epoch: nil)
        #expect(two.agree(2) == [gone(2, .outOfPlace)], "said already")
        #expect(two.agree(9).isEmpty, "a link that is not there")
    }

    @Test func `a history that comes late is synchronised at once`() {
        var one = LeaderScenario.synchronising(2)
        one.arrive(3)
        #expect(
            one.agree(3, zxid: zxid(4, 9), epoch: 4)
                == [.synchronise(link(3), from: zxid(4, 9))])
    }

    // MARK: In time

    @Test func `each step has initLimit, and then the leader gives up`() {
        var one = LeaderScenario.collecting()
        #expect(one.step(.timerExpired(.step)) == resigned(.noQuorumInTime(.collecting)))
        var two = LeaderScenario.establishing(2)
        #expect(two.step(.timerExpired(.step)) == resigned(.noQuorumInTime(.establishing)))
        var three = LeaderScenario.synchronising(2)
        #expect(three.step(.timerExpired(.step)) == resigned(.noQuorumInTime(.synchronising)))
    }

    @Test func `a disk that takes longer than initLimit ends it, too`() {
        var one = LeaderScenario.collecting()
        one.arrive(2)
        #expect(one.step(.timerExpired(.step)) == resigned(.noQuorumInTime(.collecting)))
        var two = LeaderScenario.establishing(2)
        two.agree(2)
        #expect(two.step(.timerExpired(.step)) == resigned(.noQuorumInTime(.establishing)))
    }

    @Test func `a step that expires late has nothing to end`() {
        var one = LeaderScenario.serving(2)
        #expect(one.step(.timerExpired(.step)).isEmpty)
    }

    @Test func `what comes after it has given up does nothing`() {
        var one = LeaderScenario.establishing(2)
        one.step(.timerExpired(.step))
        let late: [Leader.Event] = [
            .acceptedEpochSaved, .currentEpochSaved, .timerExpired(.step),
            .timerExpired(.halfTick), .linkClosed(link(2)), .heard(link(2)),
            .flushed(upTo: zxid(5, 1)), .proposed(upTo: zxid(5, 1)),
            .syncRequested(after: zxid(5, 1)), .pingEchoed(link(2)),
            .replaced, .configurationActivated(zxid(5, 1)),
        ]
        for event in late { #expect(one.step(event).isEmpty) }
        #expect(one.agree(2).isEmpty)
        #expect(one.ack(2, zxid(5, 0)).isEmpty)
        #expect(one.arrive(3).isEmpty)
        #expect(!one.leader.isServing)
    }
}
