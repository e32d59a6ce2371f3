import Testing
import Vocabulary
import Zab

/// ZooKeeper: `FastLeaderElection.lookForLeader` for votes of FOLLOWING and LEADING servers,
/// `Messenger.WorkerReceiver` for the answers.
@Suite struct `Election where some have settled` {
    // MARK: Joining in the same round

    @Test func `in the same round followers count by their leader alone, with its own word`() {
        var one = Scenario(1, of: 1...5)
        #expect(one.hear(following(vote(5, zxid: 0, epoch: 0)), from: 2).isEmpty)
        #expect(one.hear(following(vote(5, zxid: 7, epoch: 1)), from: 3).isEmpty)
        #expect(
            one.hear(leading(vote(5, zxid: 0, epoch: 2)), from: 5)
                == [.disarm(.resend), .follow(vote(5, zxid: 0, epoch: 2))])
        #expect(one.election.round == 1)
        #expect(one.election.currentVote == vote(5, zxid: 0, epoch: 2))
    }

    @Test func `in the same round those that look count too, if all is equal`() {
        var one = Scenario(1, of: 1...5)
        one.hear(looking(vote(5)), from: 4)
        #expect(one.hear(leading(vote(5)), from: 5).last == .follow(vote(5)))

        var other = Scenario(1, of: 1...5)
        other.hear(looking(vote(5)), from: 4)
        // Its epoch is established: that is another vote than 4's and ours.
        #expect(other.hear(leading(vote(5, epoch: 2)), from: 5).isEmpty)
    }

    @Test func `without the leader's own word nobody is followed`() {
        var one = Scenario(1, of: 1...5)
        for follower in [2, 3, 4] as [Int64] {
            #expect(one.hear(following(vote(5, epoch: 2)), from: follower).isEmpty)
        }
        // A leader that looks has lost its role.
        #expect(one.hear(looking(vote(5)), from: 5).last == resend)
    }

    @Test func `a follower that has settled on our proposal in our round adds to its quorum`() {
        var one = Scenario(1, of: 1...5)
        one.hear(looking(vote(5)), from: 4)
        #expect(one.hear(following(vote(5)), from: 3) == [finalizeWait])
    }

    @Test func `a vote that was counted and changes is counted no longer`() {
        var one = Scenario(1, of: 1...5)
        one.hear(looking(vote(5)), from: 4)
        #expect(one.hear(looking(vote(5)), from: 3) == [finalizeWait])
        #expect(one.hear(following(vote(2)), from: 3) == [.disarm(.finalizeWait)])
    }

    @Test func `followers of ours in our round make us lead`() {
        var two = Scenario(2)
        #expect(two.hear(following(vote(2)), from: 1) == [.disarm(.resend), .lead(vote(2))])
        var five = Scenario(5, of: 1...5)
        five.hear(following(vote(5, epoch: 3)), from: 1)
        five.hear(following(vote(5, epoch: 3)), from: 2)
        #expect(
            five.hear(following(vote(5, epoch: 3)), from: 3)
                == [.disarm(.resend), .lead(vote(5, epoch: 3))])
    }

    @Test func `followers from before a restart do not make us lead in another round`() {
        var three = Scenario(3)
        #expect(three.hear(following(vote(3), round: 6), from: 1).isEmpty)
        #expect(three.hear(following(vote(3), round: 6), from: 2).isEmpty)
        #expect(three.election.round == 1)
    }

    @Test func `without data followers do not make us lead`() {
        var three = Scenario(3, zxid: -1, epoch: 0)
        #expect(three.hear(following(vote(3)), from: 1).isEmpty)
        #expect(three.hear(following(vote(3)), from: 2).isEmpty)
    }

    // MARK: Joining another round

    @Test func `a running ensemble is joined in its round`() {
        var three = Scenario(3, zxid: 99)
        #expect(three.hear(following(vote(2, zxid: 0, epoch: 4), round: 7), from: 1).isEmpty)
        #expect(
            three.hear(leading(vote(2, zxid: 3, epoch: 4), round: 8), from: 2)
                == [.disarm(.resend), .follow(vote(2, zxid: 3, epoch: 4))])
        #expect(three.election.round == 8)
    }

    @Test func `a running ensemble of an earlier round is joined too`() {
        var three = Scenario(3)
        three.hear(looking(vote(3, zxid: 4), round: 9), from: 1)
        three.hear(leading(vote(2), round: 2), from: 2)
        #expect(three.hear(following(vote(2), round: 2), from: 1).last == .follow(vote(2)))
        #expect(three.election.round == 2)
    }

    @Test func `a joining server needs a quorum of those that have settled`() {
        var one = Scenario(1, of: 1...5)
        one.hear(leading(vote(5), round: 2), from: 5)
        #expect(one.hear(following(vote(5), round: 2), from: 4).isEmpty)
        #expect(one.hear(following(vote(5), round: 2), from: 4).isEmpty, "4 says it again")
        #expect(one.hear(following(vote(5), round: 2), from: 3).last == .follow(vote(5)))
    }

    @Test func `followers of different epochs do not add up`() {
        var one = Scenario(1, of: 1...5)
        one.hear(leading(vote(5, epoch: 3), round: 2), from: 5)
        one.hear(following(vote(5, epoch: 2), round: 2), from: 4)
        #expect(one.hear(following(vote(5, epoch: 2), round: 2), from: 3).isEmpty)
        #expect(
            one.hear(following(vote(5, epoch: 3), round: 2), from: 3).isEmpty, "5 and 3 agree")
        #expect(
            one.hear(following(vote(5, epoch: 3), round: 2), from: 4).last
                == .follow(vote(5, epoch: 3)))
    }

    @Test func `between a server with versions and one without only the leader counts`() {
        var one = Scenario(1)
        one.hear(leading(vote(3, epoch: 3), round: 2, version: 0), from: 3)
        #expect(
            one.hear(following(vote(3, epoch: 2), round: 2, version: 1), from: 2).last
                == .follow(vote(3, epoch: 2)))
        var two = Scenario(1)
        two.hear(leading(vote(3, epoch: 3), round: 2, version: 0), from: 3)
        #expect(two.hear(following(vote(3, epoch: 2), round: 2, version: 0), from: 2).isEmpty)
    }

    @Test func `the leader's own word counts only from the leader's mouth`() {
        var one = Scenario(1, of: 1...5)
        for follower in [2, 3, 4] as [Int64] {
            #expect(one.hear(leading(vote(5), round: 2), from: follower).isEmpty)
        }
    }

    @Test func `a result that names a server without a vote is ignored`() {
        var one = Scenario(1)
        #expect(one.hear(leading(vote(9)), from: 3).isEmpty)
        #expect(one.hear(following(vote(9)), from: 2).isEmpty)
    }

    @Test func `a server without data joins a running ensemble`() {
        var one = Scenario(1, zxid: -1, epoch: 0)
        one.hear(leading(vote(3), round: 2), from: 3)
        #expect(one.hear(following(vote(3), round: 2), from: 2).last == .follow(vote(3)))
    }

    // MARK: Observers and others without a vote

    private var withObserver: Election.Electorate {
        .init(active: majority(1, 2, 3), observers: [server(4)])
    }

    @Test func `an observer asks the voters with the smallest of votes`() {
        var four = Scenario(4, electorate: withObserver)
        #expect(four.start() == tell(looking(.nobody), 1, 2, 3) + [resend])
    }

    @Test func `an observer learns from those that have settled and observes`() {
        var four = Scenario(4, electorate: withObserver)
        four.start()
        four.hear(leading(vote(3, epoch: 2), round: 6), from: 3)
        #expect(
            four.hear(following(vote(3, epoch: 2), round: 6), from: 2)
                == [.disarm(.resend), .observe(vote(3, epoch: 2))])
    }

    @Test func `an observer never believes those that look, nor answers them`() {
        var four = Scenario(4, electorate: withObserver)
        four.start()
        // What voters tell while they look is the leader they have lost.
        for voter in [1, 2, 3] as [Int64] {
            #expect(four.hear(looking(vote(3), round: 2), from: voter).isEmpty)
        }
        #expect(four.hear(looking(vote(3), round: 0), from: 1).isEmpty)
        #expect(four.election.round == 1)
    }

    @Test func `a server that was removed follows without a vote`() {
        var five = Scenario(5, electorate: withObserver)
        let asks = Election.Vote(
            leader: Election.Vote.nobody.leader, zxid: Zxid(rawValue: 5), peerEpoch: 1)
        #expect(five.start() == tell(looking(asks), 1, 2, 3) + [resend])
        five.hear(leading(vote(3), round: 6), from: 3)
        #expect(five.hear(following(vote(3), round: 6), from: 1).last == .follow(vote(3)))
    }

    @Test func `a server that is no member votes with those that look, and corrects nobody`() {
        var five = Scenario(5, electorate: withObserver)
        five.start()
        #expect(
            five.hear(looking(vote(2)), from: 2) == tell(looking(vote(2)), 1, 2, 3) + [resend])
        #expect(
            five.hear(looking(vote(3)), from: 3)
                == tell(looking(vote(3)), 1, 2, 3) + [resend])
        #expect(five.hear(looking(vote(1)), from: 1).isEmpty)
        #expect(five.hear(looking(vote(1), round: 0), from: 1).isEmpty)
        #expect(five.hear(looking(vote(3)), from: 2) == [finalizeWait])
        #expect(five.step(.timerExpired(.finalizeWait)).last == .follow(vote(3)))
    }

    @Test func `a server that is no member goes by the rounds of members`() {
        var five = Scenario(5, electorate: withObserver)
        five.start()
        five.hear(leading(vote(3), round: 6), from: 3)
        five.hear(following(vote(3), round: 6), from: 1)
        #expect(five.election.round == 6)
        five.endRole()
        #expect(five.election.round == 1)
        five.hear(looking(vote(2), round: 4), from: 2)
        #expect(five.election.round == 4)
    }

    @Test func `what was only seen keeps nobody from a leader that there is`() {
        var one = Scenario(
            1, electorate: .init(active: majority(1, 2, 3), lastSeen: majority(1, 4, 5)))
        one.start()
        one.hear(leading(vote(3), round: 6), from: 3)
        #expect(one.hear(following(vote(3), round: 6), from: 2).last == .follow(vote(3)))
    }

    @Test func `a server without weight votes for another with the same history`() throws {
        let weights = [server(1): 1, server(2): 1, server(3): 0]
        let groups = try QuorumVerifier(groups: [[1, 2, 3].map(server)], weights: weights)
        var three = Scenario(3, electorate: .init(active: groups, lastSeen: majority(1, 2, 3)))
        three.start()
        #expect(three.hear(looking(vote(2)), from: 2).contains(tell(looking(vote(2)), 1)[0]))
    }

    @Test func `a server that takes back what it did not keep proposes what is left`() {
        var one = Scenario(1)
        let left = Election.History(lastZxid: Zxid(rawValue: 3), currentEpoch: 1)
        #expect(
            one.step(.historyReloaded(left))
                == tell(looking(vote(1, zxid: 3), round: 2), 2, 3) + [resend])
    }

    @Test func `observers are told the result without asking again`() {
        var one = Scenario(1, electorate: withObserver)
        one.start()
        one.hear(looking(vote(3)), from: 3)
        #expect(
            one.hear(looking(vote(3)), from: 2)
                == noMoreTimers + tell(following(vote(3)), 4) + [.follow(vote(3))])
    }

    // MARK: Answers

    @Test func `while it looks, a server without a vote is told our proposal and our round`() {
        var one = Scenario(1, electorate: withObserver)
        one.start()
        one.hear(looking(vote(2, zxid: 9)), from: 2)
        #expect(one.hear(looking(.nobody), from: 4) == tell(looking(vote(2, zxid: 9)), 4))
        one.step(.timerExpired(.finalizeWait))
        one.endRole()
        #expect(
            one.hear(looking(.nobody, round: 2), from: 4)
                == tell(looking(vote(1), round: 2), 4))
        // It would answer a laggard, and so on.
        #expect(one.hear(looking(.nobody, round: 3), from: 4).isEmpty)
    }

    /// Follows server 3, elected in round 6.
    private func follower() -> Scenario {
        var one = Scenario(1, electorate: withObserver)
        one.start()
        one.hear(leading(vote(3), round: 6), from: 3)
        #expect(one.hear(following(vote(3), round: 6), from: 2).last == .follow(vote(3)))
        return one
    }

    @Test func `a follower tells voters that look, and observers, whom it follows`() {
        var one = follower()
        let answer = following(vote(3), round: 6)
        #expect(one.hear(looking(vote(2, zxid: 99), round: 1), from: 2) == tell(answer, 2))
        #expect(one.hear(looking(vote(2, zxid: -1), round: 99), from: 2) == tell(answer, 2))
        #expect(one.hear(looking(.nobody), from: 4) == tell(answer, 4))
        let odd = Election.Notification(state: nil, vote: vote(2), round: 1)
        #expect(one.hear(odd, from: 9) == tell(answer, 9))
        #expect(one.hear(odd, from: 2).isEmpty)
        #expect(one.election.currentVote == vote(3))
    }

    @Test func `the answer has the established epoch and the zxid of the election`() {
        var one = follower()
        #expect(one.step(.epochEstablished(2)).isEmpty)
        #expect(
            one.hear(looking(vote(2)), from: 2) == tell(following(vote(3, epoch: 2), round: 6), 2))
    }

    @Test func `a leader answers that it leads`() {
        var two = Scenario(2, of: 1...2)
        #expect(two.hear(looking(vote(2)), from: 1).last == .lead(vote(2)))
        two.step(.epochEstablished(2))
        let answer = leading(vote(2, epoch: 2))
        #expect(two.hear(looking(vote(1), round: 4), from: 1) == tell(answer, 1))
    }

    @Test func `an observer answers that it observes`() {
        var four = Scenario(4, electorate: withObserver)
        four.start()
        four.hear(leading(vote(3), round: 6), from: 3)
        four.hear(following(vote(3), round: 6), from: 2)
        let answer = Election.Notification(state: .observing, vote: vote(3), round: 6)
        #expect(four.hear(looking(vote(1), round: 7), from: 1) == tell(answer, 1))
    }

    @Test func `what the settled say to one another has no answer, or it would never end`() {
        var one = follower()
        let observing = Election.Notification(state: .observing, vote: vote(3), round: 6)
        for sender in [2, 4, 9] as [Int64] {
            #expect(one.hear(following(vote(3), round: 6), from: sender).isEmpty)
            #expect(one.hear(leading(vote(2), round: 9), from: sender).isEmpty)
            #expect(one.hear(observing, from: sender).isEmpty)
        }
        #expect(one.hear(looking(vote(1)), from: 1).isEmpty, "in our own name")
    }

    @Test func `what is left of an election that is over does nothing`() {
        var one = follower()
        let left: [Election.Event] = [
            .timerExpired(.resend), .timerExpired(.finalizeWait), .peerConnected(server(2)),
            .peerUnreachable(server(3)), .electorateChanged(withObserver),
        ]
        for event in left { #expect(one.step(event).isEmpty) }
        #expect(one.election.currentVote == vote(3))
    }

    @Test func `a configuration that comes while settled counts for the next election`() {
        var one = follower()
        #expect(one.step(.electorateChanged(.init(active: majority(1, 5)))).isEmpty)
        #expect(one.endRole() == tell(looking(vote(1), round: 7), 5) + [resend])
    }

    // MARK: What was heard before looking

    /// Server 1, which has proposed itself in round 7, to servers 2 and 3.
    private let alone = tell(looking(vote(1), round: 7), 2, 3) + [resend]

    /// Server 2 looks first. It repeats itself to those only from whom it hears nothing, and it hears
    /// that server 1 follows somebody, then that it proposes itself.
    @Test func `what a voter said that looked first is heard as soon as this server looks`() {
        var one = follower()
        let better = vote(2, zxid: 9)
        #expect(
            one.hear(looking(better, round: 7), from: 2) == tell(following(vote(3), round: 6), 2))
        #expect(
            one.endRole()
                == alone + tell(looking(better, round: 7), 2, 3) + [resend, finalizeWait])
    }

    @Test func `whose vote was worse, or of an earlier round, is told ours at once`() {
        var one = follower()
        one.hear(looking(vote(3, zxid: 4), round: 7), from: 3)
        one.hear(looking(vote(2, zxid: 9), round: 5), from: 2)
        #expect(one.endRole() == alone + tell(looking(vote(1), round: 7), 2, 3))
    }

    @Test func `it is the last word that is heard, and on the connection that there is`() {
        for event in [
            .notificationReceived(following(vote(3), round: 6), from: server(2)),
            .peerConnected(server(2)), .peerUnreachable(server(2)),
        ] as [Election.Event] {
            var one = follower()
            one.hear(looking(vote(2, zxid: 9), round: 7), from: 2)
            one.step(event)
            #expect(one.endRole() == alone)
        }
    }

    @Test func `it is heard once, and from voters only`() throws {
        var one = follower()
        one.hear(looking(vote(2, zxid: 9), round: 7), from: 2)
        one.hear(looking(vote(9, zxid: 9), round: 7), from: 9)
        one.endRole()
        try #require(one.step(.timerExpired(.finalizeWait)).last == .follow(vote(2, zxid: 9)))
        #expect(one.endRole() == tell(looking(vote(1), round: 8), 2, 3) + [resend])
    }

    @Test func `what comes before the start does nothing`() {
        var one = Scenario(1, electorate: .init(active: majority(1, 2, 3)))
        #expect(one.hear(looking(vote(3), round: 8), from: 3).isEmpty)
        #expect(one.step(.peerConnected(server(3))).isEmpty)
        #expect(one.step(.peerUnreachable(server(2))).isEmpty)
        #expect(one.step(.electorateChanged(.init(active: majority(1, 2)))).isEmpty)
        #expect(one.start() == tell(looking(vote(1)), 2) + [resend])
    }
}
