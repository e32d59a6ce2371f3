import Testing
import Vocabulary
import Zab

/// ZooKeeper: `FastLeaderElection.lookForLeader`, as long as everybody looks.
@Suite struct `Election among servers that look` {
    // MARK: Entering

    @Test func `a starting server proposes itself to every other voter`() {
        var two = Scenario(2, electorate: .init(active: majority(1, 2, 3)))
        #expect(two.start() == tell(looking(vote(2)), 1, 3) + [resend])
        #expect(two.election.round == 1)
        #expect(two.election.currentVote == vote(2))
    }

    @Test func `the only voter leads at once`() {
        var alone = Scenario(1, electorate: .init(active: majority(1)))
        #expect(alone.start() == [resend, .disarm(.resend), .lead(vote(1))])
    }

    @Test func `each election is a round of its own and forgets the votes of the last`() {
        var one = Scenario(1)
        one.hear(looking(vote(3)), from: 3)
        #expect(one.step(.timerExpired(.finalizeWait)).last == .follow(vote(3)))
        #expect(
            one.endRole(zxid: 7, epoch: 2)
                == tell(looking(vote(1, zxid: 7, epoch: 2), round: 2), 2, 3) + [resend])
        // With 3's vote of round 1 still there, 2's would make a quorum for 3.
        #expect(
            one.hear(looking(vote(3, zxid: 9, epoch: 2), round: 2), from: 2)
                == tell(looking(vote(3, zxid: 9, epoch: 2), round: 2), 2, 3)
                + [resend, finalizeWait])
    }

    @Test func `while a reconfiguration is on its way both configurations are asked and count`() {
        var one = Scenario(
            1, electorate: .init(active: majority(1, 2, 3), lastSeen: majority(1, 4, 5)))
        #expect(one.start() == tell(looking(vote(1)), 2, 3, 4, 5) + [resend])
        #expect(one.hear(looking(vote(1)), from: 2).isEmpty)
        #expect(one.hear(looking(vote(1)), from: 3).isEmpty)
        #expect(one.hear(looking(vote(1)), from: 4) == [finalizeWait])
    }

    @Test func `a voter of the next configuration only votes but does not stand`() {
        var four = Scenario(
            4, electorate: .init(active: majority(1, 2, 3), lastSeen: majority(1, 2, 4)))
        let nobody = Election.Vote(
            leader: Election.Vote.nobody.leader, zxid: Zxid(rawValue: 5), peerEpoch: 1)
        #expect(four.start() == tell(looking(nobody), 1, 2, 3) + [resend])
        #expect(
            four.hear(looking(vote(1)), from: 1) == tell(looking(vote(1)), 1, 2, 3) + [resend])
        #expect(four.hear(looking(vote(1)), from: 2) == [finalizeWait])
        #expect(
            four.step(.timerExpired(.finalizeWait)) == noMoreTimers + [.follow(vote(1))])
    }

    // MARK: Resending

    @Test func `who is not heard repeats itself, twice as long after each time, to a minute`() {
        var one = Scenario(1)
        for milliseconds in [400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000] {
            #expect(
                one.step(.timerExpired(.resend))
                    == tell(looking(vote(1)), 2, 3)
                    + [.arm(.resend, after: .milliseconds(milliseconds))])
        }
    }

    @Test func `the interval of resending is what was configured`() {
        var timing = Election.Timing()
        timing.minNotificationInterval = .milliseconds(30)
        timing.maxNotificationInterval = .milliseconds(50)
        var one = Scenario(1, electorate: .init(active: majority(1, 2)), timing: timing)
        #expect(one.start().last == .arm(.resend, after: .milliseconds(30)))
        #expect(
            one.step(.timerExpired(.resend)).last == .arm(.resend, after: .milliseconds(50)))
    }

    @Test func `the next election begins with the shortest interval`() {
        var one = Scenario(1)
        one.step(.timerExpired(.resend))
        one.hear(looking(vote(3)), from: 3)
        one.step(.timerExpired(.finalizeWait))
        #expect(one.endRole().last == resend)
    }

    @Test func `who connects is told where we stand, and resending begins anew`() {
        var one = Scenario(1)
        #expect(one.step(.peerConnected(server(3))) == tell(looking(vote(1)), 3))
        one.step(.timerExpired(.resend))
        #expect(one.step(.peerConnected(server(3))) == tell(looking(vote(1)), 3) + [resend])
        // Otherwise a peer that comes and goes would put off what the others are to hear.
        #expect(one.step(.peerConnected(server(3))) == tell(looking(vote(1)), 3))
        #expect(one.step(.peerConnected(server(9))).isEmpty)
        #expect(one.step(.peerConnected(server(1))).isEmpty)
    }

    // MARK: Votes that count nothing

    @Test func `a vote for a server that is not in the configuration counts nothing`() {
        var one = Scenario(1)
        #expect(one.hear(looking(vote(9, zxid: 99)), from: 3).isEmpty)
        #expect(one.hear(looking(vote(9, zxid: 99), round: 7), from: 3).isEmpty)
        #expect(one.election.round == 1)
    }

    @Test func `a server that is not in the configuration gets an answer and counts nothing`() {
        var one = Scenario(1)
        // Even this would be the better vote, and a quorum with ours.
        #expect(one.hear(looking(vote(3)), from: 9) == tell(looking(vote(1)), 9))
        #expect(one.hear(leading(vote(3)), from: 9).isEmpty)
        #expect(one.hear(looking(vote(3)), from: 2).first == .send(looking(vote(3)), to: server(2)))
    }

    @Test func `without data a server proposes itself and nobody may count it`() {
        var empty = Scenario(1, zxid: -1, epoch: 0)
        #expect(empty.hear(looking(vote(2)), from: 2).isEmpty)
        #expect(empty.hear(looking(vote(2), round: 4), from: 3).isEmpty)
        #expect(empty.election.round == 1)

        var two = Scenario(2, of: 1...2)
        #expect(two.hear(looking(vote(1, zxid: -1, epoch: 9)), from: 1).isEmpty)
        #expect(two.hear(looking(vote(1, zxid: -1, epoch: 9), round: 8), from: 1).isEmpty)
        #expect(two.election.round == 1)
    }

    @Test func `without data a server does not even lead itself`() {
        var alone = Scenario(1, zxid: -1, epoch: 0, electorate: .init(active: majority(1)))
        #expect(alone.start() == [resend])
    }

    @Test func `a state that means nothing is ignored, and so is a voter that observes`() {
        var one = Scenario(1)
        for state in [nil, ServerState.observing] {
            let odd = Election.Notification(state: state, vote: vote(3, zxid: 9), round: 1)
            #expect(one.hear(odd, from: 3).isEmpty)
        }
    }

    @Test func `a notification in our own name is not ours`() {
        var one = Scenario(1)
        #expect(one.hear(looking(vote(3, zxid: 9), round: 4), from: 1).isEmpty)
        #expect(one.hear(looking(vote(2, zxid: 9)), from: 1).isEmpty)
    }

    // MARK: Rounds

    @Test func `a vote of a later round is joined, and what was counted before is void`() {
        var one = Scenario(1, of: 1...5)
        one.hear(looking(vote(5)), from: 4)
        #expect(
            one.hear(looking(vote(5), round: 6), from: 3)
                == tell(looking(vote(5), round: 6), 2, 3, 4, 5) + [resend])
        #expect(one.election.round == 6)
        // With 4's vote of round 1 this would be a third one.
        #expect(one.hear(looking(vote(5), round: 6), from: 2) == [finalizeWait])
    }

    @Test func `in a later round our own history stands again if it is the better one`() {
        var two = Scenario(2, zxid: 8, of: 1...5)
        two.hear(looking(vote(3, zxid: 9)), from: 3)
        #expect(
            two.hear(looking(vote(1, zxid: 7), round: 2), from: 1)
                == tell(looking(vote(2, zxid: 8), round: 2), 1, 3, 4, 5) + [resend])
    }

    @Test func `a quorum that is lost to a later round ends the last wait`() {
        var one = Scenario(1, of: 1...5)
        one.hear(looking(vote(5)), from: 5)
        #expect(one.hear(looking(vote(5)), from: 4) == [finalizeWait])
        #expect(
            one.hear(looking(vote(3), round: 2), from: 3)
                == tell(looking(vote(3), round: 2), 2, 3, 4, 5)
                + [resend, .disarm(.finalizeWait)])
        #expect(one.step(.timerExpired(.finalizeWait)).isEmpty, "it was on its way")
    }

    @Test func `a laggard is told our round and counts nothing`() {
        var one = Scenario(1)
        one.hear(looking(vote(1, zxid: 4), round: 5), from: 2)
        #expect(
            one.hear(looking(vote(3, zxid: 99), round: 4), from: 3)
                == tell(looking(vote(1), round: 5), 3))
        // Its candidate does not matter for that, nor its data.
        #expect(
            one.hear(looking(vote(9, zxid: -1), round: 1), from: 3)
                == tell(looking(vote(1), round: 5), 3))
    }

    @Test func `a round at the end of its range does not stop the server`() {
        var one = Scenario(1)
        one.hear(looking(vote(3), round: .max), from: 3)
        #expect(one.election.round == .max)
        one.step(.timerExpired(.finalizeWait))
        #expect(one.endRole() == tell(looking(vote(1), round: .min), 2, 3) + [resend])
    }

    // MARK: Better votes

    @Test(arguments: [
        (vote(2, zxid: 1, epoch: 2), "a later peer epoch beats a longer history"),
        (vote(2, zxid: 6, epoch: 1), "a longer history beats a higher server id"),
        (vote(4, zxid: 5, epoch: 1), "with equal histories the higher id wins"),
        // The zxid's own epoch is 7; the peer epoch decides.
        (vote(2, zxid: 7 << 32, epoch: 1), "zxids are compared whole"),
    ])
    func `a better vote is taken and passed on`(better: Election.Vote, why: String) {
        var three = Scenario(3, of: 1...5)
        #expect(
            three.hear(looking(better), from: 2)
                == tell(looking(better), 1, 2, 4, 5) + [resend], "\(why)")
    }

    @Test(arguments: [
        vote(2, zxid: 99, epoch: 0), vote(2, zxid: 9 << 32, epoch: 0), vote(4, zxid: 4),
        vote(2),
    ])
    func `a worse vote is answered with ours, so that it need not wait for our resending`(
        worse: Election.Vote
    ) {
        var three = Scenario(3, of: 1...5)
        #expect(three.hear(looking(worse), from: 2) == tell(looking(vote(3)), 2))
    }

    @Test func `an equal vote is counted and not answered`() {
        var one = Scenario(1, of: 1...5)
        one.hear(looking(vote(5)), from: 5)
        #expect(one.hear(looking(vote(5)), from: 4) == [finalizeWait])
    }

    @Test func `a server of weight 0 is never voted for, however long its history`() throws {
        let quorum = try QuorumVerifier(
            groups: [[1, 2, 3].map(server)], weights: [server(3): 0])
        var one = Scenario(1, electorate: .init(active: quorum))
        one.start()
        #expect(one.hear(looking(vote(3, zxid: 9)), from: 3).isEmpty)
        #expect(
            one.hear(looking(vote(3, zxid: 9), round: 2), from: 3).first
                == .send(looking(vote(1), round: 2), to: server(2)))
        #expect(one.hear(looking(vote(1), round: 2), from: 2) == [finalizeWait])
    }

    // MARK: Counting

    @Test func `a quorum waits for better votes, then its candidate has won`() {
        var one = Scenario(1)
        #expect(
            one.hear(looking(vote(2)), from: 2)
                == tell(looking(vote(2)), 2, 3) + [resend, finalizeWait])
        #expect(one.step(.timerExpired(.finalizeWait)) == noMoreTimers + [.follow(vote(2))])
        #expect(one.election.currentVote == vote(2))
    }

    @Test func `the winner leads`() {
        var two = Scenario(2)
        two.hear(looking(vote(1)), from: 1)
        #expect(two.hear(looking(vote(2)), from: 1) == [finalizeWait])
        #expect(two.step(.timerExpired(.finalizeWait)) == noMoreTimers + [.lead(vote(2))])
    }

    @Test func `without a quorum nothing is concluded`() {
        var one = Scenario(1, of: 1...4)
        #expect(one.hear(looking(vote(4)), from: 4).last == resend, "half of four")
        #expect(one.step(.timerExpired(.finalizeWait)).isEmpty)
        #expect(one.step(.peerUnreachable(server(2))).isEmpty)
        #expect(one.step(.peerUnreachable(server(3))).isEmpty)
        // Who is gone is not waited for, but agrees with nothing.
        #expect(one.hear(looking(vote(1, zxid: 4), round: 2), from: 4).last == resend)
    }

    @Test func `a better vote in the last wait goes on with the election`() {
        var one = Scenario(1, of: 1...5)
        one.hear(looking(vote(4)), from: 4)
        #expect(one.hear(looking(vote(4)), from: 3) == [finalizeWait])
        #expect(
            one.hear(looking(vote(5)), from: 5)
                == tell(looking(vote(5)), 2, 3, 4, 5) + [resend, .disarm(.finalizeWait)])
    }

    @Test func `each new vote in the last wait begins it anew, a repeated one does not`() {
        var one = Scenario(1, of: 1...5)
        one.hear(looking(vote(5)), from: 5)
        #expect(one.hear(looking(vote(5)), from: 4) == [finalizeWait])
        #expect(one.hear(looking(vote(5)), from: 4).isEmpty)
        #expect(one.hear(looking(vote(3)), from: 3) == tell(looking(vote(5)), 3) + [finalizeWait])
    }

    @Test(arguments: [
        (vote(4, zxid: 5, epoch: 1), "zxid"), (vote(4, zxid: 6, epoch: 0), "peer epoch"),
    ])
    func `votes for one leader with different histories do not add up`(
        other: Election.Vote, difference: String
    ) {
        var one = Scenario(1, of: 1...5)
        one.hear(looking(vote(4, zxid: 6)), from: 4)
        #expect(one.hear(looking(other), from: 3) == tell(looking(vote(4, zxid: 6)), 3))
        #expect(one.hear(looking(vote(4, zxid: 6)), from: 2) == [finalizeWait])
    }

    @Test func `votes of servers from before the versions count like others`() {
        var one = Scenario(1)
        #expect(
            one.hear(looking(vote(2), version: 0), from: 2)
                == tell(looking(vote(2)), 2, 3) + [resend, finalizeWait])
    }

    // MARK: Nobody left to be heard

    @Test func `when everybody has voted alike nobody is waited for`() {
        var one = Scenario(1)
        one.hear(looking(vote(3)), from: 3)
        #expect(one.hear(looking(vote(3)), from: 2) == noMoreTimers + [.follow(vote(3))])
    }

    @Test func `who cannot be reached is not waited for`() {
        var one = Scenario(1)
        #expect(one.step(.peerUnreachable(server(3))).isEmpty)
        #expect(
            one.hear(looking(vote(2)), from: 2)
                == tell(looking(vote(2)), 2, 3)
                + [resend, .disarm(.resend), .follow(vote(2))])
    }

    @Test func `the last wait ends when the last one missing turns out to be gone`() {
        var two = Scenario(2)
        two.hear(looking(vote(2)), from: 1)
        #expect(two.step(.peerUnreachable(server(9))).isEmpty)
        #expect(two.step(.peerUnreachable(server(3))) == noMoreTimers + [.lead(vote(2))])
    }

    @Test func `who was unreachable and speaks or connects is waited for again`() {
        var one = Scenario(1, of: 1...4)
        one.step(.peerUnreachable(server(2)))
        one.step(.peerUnreachable(server(3)))
        one.hear(looking(vote(1)), from: 2)
        one.hear(looking(vote(4)), from: 4)
        one.step(.peerConnected(server(3)))
        #expect(one.hear(looking(vote(4)), from: 2) == [finalizeWait])
    }

    @Test func `the candidate itself must have been heard, or the wait goes on`() {
        var one = Scenario(1)
        one.step(.peerUnreachable(server(3)))
        #expect(
            one.hear(looking(vote(3)), from: 2)
                == tell(looking(vote(3)), 2, 3) + [resend, finalizeWait])
    }

    @Test func `who was unreachable in one election may be back in the next`() {
        var one = Scenario(1)
        one.step(.peerUnreachable(server(3)))
        one.hear(looking(vote(2)), from: 2)
        one.endRole()
        #expect(one.hear(looking(vote(2), round: 2), from: 2).last == finalizeWait)
    }

    // MARK: Another configuration

    @Test func `another configuration begins the election anew`() {
        var one = Scenario(1)
        one.hear(looking(vote(2)), from: 2)
        let electorate = Election.Electorate(active: majority(1, 2, 4))
        #expect(
            one.step(.electorateChanged(electorate))
                == [.disarm(.finalizeWait)] + tell(looking(vote(1), round: 2), 2, 4) + [resend])
        #expect(
            one.hear(looking(vote(3), round: 2), from: 3).first
                == .send(looking(vote(1, zxid: 5), round: 2), to: server(3)), "3 is a stranger now")
    }

    @Test func `the same configuration under another version changes nothing`() {
        var one = Scenario(1)
        #expect(
            one.step(.electorateChanged(.init(active: majority(3, 2, 1)))).isEmpty)
        #expect(one.election.round == 1)
    }
}
