import Testing
import Vocabulary
import Zab

/// ZooKeeper: `Leader.waitForNewLeaderAck`, `Leader.startZkServer`, `LearnerHandler.run`.
@Suite struct `A leader brings learners to its history` {
    @Test func `it serves when a quorum has the history on disk`() {
        var one = LeaderScenario.synchronising(2, 3)
        #expect(!one.leader.isServing)
        #expect(
            one.ack(2, zxid(5, 0)) == [.disarm(.step), .serve(epoch: 5), .sendUpToDate(link(2))])
        #expect(one.leader.isServing)
        #expect(one.leader.lastProposed == zxid(5, 0))
        #expect(one.leader.lastCommitted == zxid(5, 0))
    }

    @Test func `of five, all that have it by then are told, in the order of their links`() {
        var one = LeaderScenario.synchronising(
            4, 2, 3, electorate: .init(active: majority(1, 2, 3, 4, 5)))
        #expect(one.ack(2, zxid(5, 0)).isEmpty)
        #expect(
            one.ack(4, zxid(5, 0))
                == [
                    .disarm(.step), .serve(epoch: 5), .sendUpToDate(link(4)),
                    .sendUpToDate(link(2)),
                ])
    }

    @Test func `who has it later is told then, and once`() {
        var one = LeaderScenario.serving(2)
        #expect(one.arrive(3) == [.offerEpoch(5, to: link(3))])
        #expect(
            one.agree(3, zxid: zxid(4, 2)) == [.synchronise(link(3), from: zxid(4, 2))])
        #expect(one.ack(3, zxid(5, 0)) == [.sendUpToDate(link(3))])
        #expect(one.ack(3, zxid(5, 0)).isEmpty, "of UPTODATE, with the same zxid")
        #expect(one.ack(2, zxid(5, 0)).isEmpty)
    }

    @Test func `observers and strangers are served, and make no quorum`() {
        var one = LeaderScenario.synchronising(2)
        one.arrive(9)
        one.agree(9)
        one.arrive(3, observes: true)
        one.agree(3)
        one.arrive(1, on: 11)
        one.agree(11)
        #expect(one.ack(9, zxid(5, 0)).isEmpty)
        #expect(one.ack(3, zxid(5, 0)).isEmpty)
        #expect(one.ack(11, zxid(5, 0)).isEmpty)
        #expect(
            one.ack(2, zxid(5, 0))
                == [.disarm(.step), .serve(epoch: 5)]
                + [2, 9, 3, 11].map { .sendUpToDate(link($0)) })
    }

    @Test func `while a configuration is on its way both need a quorum`() {
        let electorate = Election.Electorate(
            active: majority(1, 2, 3), lastSeen: majority(3, 4, 5))
        var one = LeaderScenario.synchronising(2, 3, 4, 5, electorate: electorate)
        #expect(one.ack(4, zxid(5, 0)).isEmpty)
        #expect(one.ack(5, zxid(5, 0)).isEmpty, "a quorum of the one last seen alone")
        #expect(one.ack(2, zxid(5, 0)).prefix(2) == [.disarm(.step), .serve(epoch: 5)])

        var other = LeaderScenario.synchronising(2, 3, 4, 5, electorate: electorate)
        #expect(other.ack(2, zxid(5, 0)).isEmpty, "a quorum of the active one alone")
        #expect(other.ack(3, zxid(5, 0)).isEmpty)
        #expect(other.ack(4, zxid(5, 0)).prefix(2) == [.disarm(.step), .serve(epoch: 5)])
    }

    @Test func `who has it and is gone has it`() {
        var one = LeaderScenario.synchronising(
            2, 3, electorate: .init(active: majority(1, 2, 3, 4, 5)))
        one.ack(2, zxid(5, 0))
        one.step(.linkClosed(link(2)))
        #expect(
            one.ack(3, zxid(5, 0)) == [.disarm(.step), .serve(epoch: 5), .sendUpToDate(link(3))])
    }

    @Test func `one server's history is not on two disks`() {
        var one = LeaderScenario.synchronising(
            2, 3, electorate: .init(active: majority(1, 2, 3, 4, 5)))
        #expect(one.ack(2, zxid(5, 0)).isEmpty)
        #expect(one.ack(2, zxid(5, 0)).isEmpty)
        one.arrive(2, on: 12)
        one.agree(12, epoch: nil)
        #expect(one.ack(12, zxid(5, 0)).isEmpty)
        #expect(!one.leader.isServing)
    }

    @Test func `acks of the history that was sent mean nothing, before or after that of its end`() {
        var one = LeaderScenario.synchronising(2, 3)
        #expect(one.ack(2, zxid(4, 6)).isEmpty)
        #expect(one.ack(2, zxid(4, 7)).isEmpty)
        #expect(!one.leader.isServing)
        #expect(one.ack(2, zxid(5, 0)).contains(.serve(epoch: 5)))
        #expect(one.ack(2, zxid(4, 7)).isEmpty)
    }

    @Test func `an ack before the history was sent ends the link`() {
        var one = LeaderScenario.collecting(.init(active: majority(1, 2, 3, 4, 5)))
        one.arrive(2)
        #expect(one.ack(2, zxid(5, 0)) == [gone(2, .outOfPlace)])
        var two = LeaderScenario.establishing(2, 3)
        #expect(two.ack(2, zxid(5, 0)) == [gone(2, .outOfPlace)])
        two.agree(3, epoch: nil)
        #expect(two.ack(3, zxid(4, 7)) == [gone(3, .outOfPlace)], "it is still to be sent")
        #expect(two.ack(9, zxid(5, 0)).isEmpty, "a link that is not there")
    }

    @Test func `in step are those voters, of any configuration, that have the history`() {
        var one = LeaderScenario.serving(2)
        #expect([1, 2, 3].map { one.leader.isSynced(server($0)) } == [true, true, false])
        one.arrive(3)
        one.agree(3)
        #expect(!one.leader.isSynced(server(3)))
        one.ack(3, zxid(5, 0))
        #expect(one.leader.isSynced(server(3)))
        one.join(7)
        one.join(8, observes: true)
        #expect(one.leader.isSynced(server(7)), "it can become a voter")
        #expect(!one.leader.isSynced(server(8)), "it acknowledges nothing")
        one.step(.linkClosed(link(2)))
        #expect(!one.leader.isSynced(server(2)))
    }

    @Test func `learners are counted by their kind, once they are up to date`() {
        var one = LeaderScenario.serving(2)
        one.join(7)
        one.join(8, observes: true)
        one.join(9, observes: true)
        one.arrive(3)
        one.agree(3)
        #expect(one.leader.syncedCount(areObservers: false) == 2)
        #expect(one.leader.syncedCount(areObservers: true) == 2)
        #expect(one.leader.syncedNonVoterCount == 1)
    }
}
