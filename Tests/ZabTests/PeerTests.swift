import Testing
import Vocabulary
import Zab

/// ZooKeeper: `QuorumPeer.run`, `Leader.lead`, `Follower.followLeader`, `Observer.observeLeader`.
@Suite struct `A server in its roles` {
    /// One of three voters with a history up to 4:7, told event by event.
    private struct Scenario {
        var peer: Peer

        init(
            _ id: Int64, zxid last: Zxid = zxid(4, 7),
            epochs: Peer.Epochs = .init(accepted: 4, current: 4),
            electorate: Election.Electorate = threeVoters,
            settings: Peer.Settings = .init(timing: linkTiming)
        ) {
            peer = Peer(
                id: server(id), lastZxid: last, epochs: epochs, electorate: electorate,
                configVersion: .zero, settings: settings)
        }

        @discardableResult
        mutating func step(_ event: Peer.Event) -> [Peer.Effect] {
            peer.effects(of: event)
        }

        @discardableResult
        mutating func hear(_ notification: Election.Notification, from id: Int64) -> [Peer.Effect] {
            step(.notificationReceived(notification, from: server(id)))
        }

        /// What the events give together.
        mutating func leader(_ events: Leader.Event...) -> [Peer.Effect] {
            events.flatMap { step(.leader($0)) }
        }

        mutating func learner(_ events: Learner.Event...) -> [Peer.Effect] {
            events.flatMap { step(.learner($0)) }
        }
    }

    private func vote(
        _ leader: Int64, zxid last: Zxid = zxid(4, 7), epoch: Int64 = 4
    ) -> Election.Vote {
        .init(leader: server(leader), zxid: last, peerEpoch: epoch)
    }

    /// Server 3 leads: 1 and 2 agree with it.
    private func elected(
        epochs: Peer.Epochs = .init(accepted: 4, current: 4)
    ) -> (Scenario, effects: [Peer.Effect]) {
        var three = Scenario(3, epochs: epochs)
        three.step(.started)
        let vote = vote(3, epoch: epochs.current)
        three.hear(looking(vote), from: 1)
        let effects = three.hear(looking(vote), from: 2)
        return (three, effects)
    }

    /// Server 1 follows server 3.
    private func follower(
        epochs: Peer.Epochs = .init(accepted: 4, current: 4),
        settings: Peer.Settings = .init(timing: linkTiming)
    ) -> (Scenario, effects: [Peer.Effect]) {
        var one = Scenario(1, epochs: epochs, settings: settings)
        one.step(.started)
        one.hear(looking(vote(3)), from: 3)
        let effects = one.hear(looking(vote(3)), from: 2)
        return (one, effects)
    }

    private let noElectionTimers: [Peer.Effect] = [
        .disarm(.election(.resend)), .disarm(.election(.finalizeWait)),
    ]

    // MARK: Looking

    @Test func `it looks for a leader before anything else`() {
        var one = Scenario(1)
        #expect(
            one.step(.started)
                == [
                    .send(looking(vote(1)), to: server(2)), .send(looking(vote(1)), to: server(3)),
                    .arm(.election(.resend), after: .milliseconds(200)),
                ])
        #expect(one.peer.state == .looking)
        #expect(one.peer.round == 1)
        #expect(
            one.step(.timerExpired(.election(.resend)))
                == [
                    .send(looking(vote(1)), to: server(2)), .send(looking(vote(1)), to: server(3)),
                    .arm(.election(.resend), after: .milliseconds(400)),
                ])
        #expect(
            one.step(.peerConnected(server(2)))
                == [
                    .send(looking(vote(1)), to: server(2)),
                    .arm(.election(.resend), after: .milliseconds(200)),
                ])
    }

    @Test func `nobody is left to be heard when the last one is gone`() {
        var three = Scenario(3)
        three.step(.started)
        three.hear(looking(vote(3)), from: 2)
        #expect(three.step(.peerUnreachable(server(1))).contains(.lead))
    }

    @Test func `a leader whom nobody has promised anything gives way to a better candidate`() {
        var two = Scenario(2)
        two.step(.started)
        two.hear(looking(vote(2)), from: 1)
        two.step(.peerUnreachable(server(3)))
        #expect(!two.hear(looking(vote(1)), from: 3).contains(.leave(.resigned(.outvoted))))
        #expect(two.hear(looking(vote(3)), from: 3).last == .leave(.resigned(.outvoted)))
    }

    @Test func `events of roles that it does not have do nothing`() {
        var one = Scenario(1)
        one.step(.started)
        #expect(one.leader(.acceptedEpochSaved, .flushed(upTo: zxid(4, 7))).isEmpty)
        #expect(one.learner(.disconnected, .flushed(upTo: zxid(4, 7))).isEmpty)
        #expect(one.step(.timerExpired(.leader(.halfTick))).isEmpty)
        #expect(one.step(.timerExpired(.learner(.halfTick))).isEmpty)
        #expect(one.peer.leader == nil)
        #expect(one.peer.learner == nil)
    }

    // MARK: Leading

    @Test func `elected, it leads from its own history and epochs`() {
        var (three, effects) = elected(epochs: .init(accepted: 6, current: 4))
        #expect(
            effects
                == noElectionTimers + [
                    .lead, .arm(.leader(.halfTick), after: .seconds(1)),
                    .arm(.leader(.step), after: .seconds(6)),
                ])
        #expect(three.peer.state == .leading)
        let greeting = Leader.Greeting(server: server(1), isObserver: false, acceptedEpoch: 4)
        #expect(
            three.leader(.learnerArrived(link(1), greeting)) == [.leader(.saveAcceptedEpoch(7))])
        #expect(three.peer.epochs == .init(accepted: 7, current: 4))
        #expect(
            three.leader(.acceptedEpochSaved)
                == [
                    .arm(.leader(.step), after: .seconds(6)),
                    .leader(.offerEpoch(7, to: link(1))),
                ])
        #expect(
            three.leader(
                .epochAcknowledged(link(1), lastZxid: zxid(4, 8), currentEpoch: 4))
                == [
                    .leader(
                        .disconnect(
                            link(1), .isAhead(lastZxid: zxid(4, 8), currentEpoch: 4)))
                ])
        let late = Leader.Greeting(server: server(2), isObserver: false, acceptedEpoch: 4)
        #expect(
            three.leader(
                .learnerArrived(link(2), late),
                .epochAcknowledged(link(2), lastZxid: zxid(4, 7), currentEpoch: 4))
                == [.leader(.offerEpoch(7, to: link(2))), .leader(.saveCurrentEpoch(7))])
        #expect(three.peer.epochs == .init(accepted: 7, current: 7))
    }

    /// Server 3 leads in epoch 5, with server 1.
    private func serving() -> Scenario {
        var (three, _) = elected()
        let greeting = Leader.Greeting(server: server(1), isObserver: false, acceptedEpoch: 4)
        _ = three.leader(
            .learnerArrived(link(1), greeting), .acceptedEpochSaved,
            .epochAcknowledged(link(1), lastZxid: zxid(4, 7), currentEpoch: 4),
            .currentEpochSaved)
        #expect(
            three.leader(.acknowledged(link(1), zxid(5, 0)))
                == [
                    .disarm(.leader(.step)), .leader(.serve(epoch: 5)),
                    .leader(.sendUpToDate(link(1))),
                ])
        return three
    }

    @Test func `when it serves, others are told the epoch`() {
        var three = serving()
        #expect(three.peer.leader?.isServing == true)
        #expect(three.peer.currentVote == vote(3, epoch: 5))
        #expect(
            three.hear(looking(vote(2)), from: 2)
                == [.send(leading(vote(3, epoch: 5)), to: server(2))])
    }

    @Test func `timers of the leader reach it, and no others`() {
        var three = serving()
        #expect(
            three.step(.timerExpired(.leader(.halfTick)))
                == [.arm(.leader(.halfTick), after: .seconds(1)), .leader(.ping(link(1)))])
        #expect(three.step(.timerExpired(.learner(.halfTick))).isEmpty)
        #expect(three.step(.timerExpired(.election(.resend))).isEmpty)
        #expect(three.learner(.disconnected).isEmpty)
    }

    @Test func `a leader that gives up leaves, tidies up and looks again`() {
        var three = serving()
        #expect(three.leader(.linkClosed(link(1))).isEmpty)
        three.step(.timerExpired(.leader(.halfTick)))
        #expect(
            three.step(.timerExpired(.leader(.halfTick)))
                == [
                    .arm(.leader(.halfTick), after: .seconds(1)), .disarm(.leader(.step)),
                    .disarm(.leader(.halfTick)), .leave(.resigned(.quorumLost)),
                ])
        #expect(three.peer.leader == nil)
        #expect(three.leader(.linkClosed(link(1)), .flushed(upTo: zxid(5, 1))).isEmpty)
        #expect(three.step(.timerExpired(.leader(.halfTick))).isEmpty)
        let candidacy = looking(vote(3, zxid: zxid(5, 1), epoch: 5), round: 2)
        #expect(
            three.step(.roleEnded(lastZxid: zxid(5, 1)))
                == [
                    .send(candidacy, to: server(1)), .send(candidacy, to: server(2)),
                    .arm(.election(.resend), after: .milliseconds(200)),
                ])
        #expect(three.peer.state == .looking)
        #expect(three.peer.epochs == .init(accepted: 5, current: 5))
    }

    @Test func `an epoch that was never established is not used again`() {
        var (three, _) = elected()
        let greeting = Leader.Greeting(server: server(1), isObserver: false, acceptedEpoch: 4)
        _ = three.leader(.learnerArrived(link(1), greeting), .acceptedEpochSaved)
        #expect(
            three.step(.timerExpired(.leader(.step))).last
                == .leave(.resigned(.noQuorumInTime(.establishing))))
        #expect(three.peer.epochs == .init(accepted: 5, current: 4))
        three.step(.roleEnded(lastZxid: zxid(4, 7)))
        three.hear(looking(vote(3), round: 2), from: 1)
        #expect(three.hear(looking(vote(3), round: 2), from: 2).contains(.lead))
        #expect(
            three.leader(.learnerArrived(link(2), greeting)) == [.leader(.saveAcceptedEpoch(6))])
    }

    @Test func `alone a server becomes leader without hearing anybody`() {
        var one = Scenario(1, electorate: .init(active: majority(1)))
        #expect(
            one.step(.started)
                == [
                    .arm(.election(.resend), after: .milliseconds(200)),
                    .disarm(.election(.resend)), .lead,
                    .arm(.leader(.halfTick), after: .seconds(1)),
                    .arm(.leader(.step), after: .seconds(6)), .leader(.saveAcceptedEpoch(5)),
                ])
        #expect(one.leader(.acceptedEpochSaved).last == .leader(.saveCurrentEpoch(5)))
        #expect(one.leader(.currentEpochSaved).last == .leader(.serve(epoch: 5)))
        #expect(one.peer.currentVote.peerEpoch == 5)
    }

    @Test func `a standalone server leads from the beginning`() {
        var alone = Peer(standalone: server(1), lastZxid: zxid(0, 7))
        #expect(alone.state == .leading)
        #expect(alone.leader?.isServing == true)
        var effects: [Peer.Effect] = []
        for event in [
            .leader(.proposed(upTo: zxid(0, 8))), .leader(.syncRequested(after: zxid(0, 8))),
            .leader(.flushed(upTo: zxid(0, 8))),
        ] as [Peer.Event] { alone.step(event, into: &effects) }
        #expect(effects == [.leader(.commit(upTo: zxid(0, 8))), .leader(.answerSyncs(upTo: 1))])
    }

    // MARK: Learning

    @Test func `who finds a leader follows it with its own history and epochs`() {
        var (one, effects) = follower(epochs: .init(accepted: 5, current: 4))
        #expect(
            effects
                == noElectionTimers + [
                    .learn(from: server(3), as: .following),
                    .arm(.learner(.halfTick), after: .seconds(1)),
                    .learner(.connect(server(3))),
                ])
        #expect(one.peer.state == .following)
        #expect(
            one.learner(.connected, .epochOffered(6), .acceptedEpochSaved)
                == [
                    .learner(.introduce(acceptedEpoch: 5)), .learner(.saveAcceptedEpoch(6)),
                    .learner(.acknowledgeEpoch(lastZxid: zxid(4, 7), currentEpoch: 4)),
                ])
        #expect(one.peer.epochs == .init(accepted: 6, current: 4))
        #expect(one.peer.learner?.stage == .agreeing)
    }

    @Test func `when it is up to date, others are told the epoch`() {
        var (one, _) = follower()
        _ = one.learner(
            .connected, .epochOffered(5), .acceptedEpochSaved, .syncBegun(.diff),
            .historyEnded(epoch: 5))
        #expect(one.learner(.historyPersisted) == [.learner(.saveCurrentEpoch(5))])
        #expect(one.peer.epochs == .init(accepted: 5, current: 5))
        _ = one.learner(.currentEpochSaved)
        #expect(one.peer.currentVote == vote(3))
        #expect(
            one.learner(.admitted)
                == [.learner(.acknowledge(zxid(5, 0))), .learner(.serve(epoch: 5))])
        #expect(one.peer.currentVote == vote(3, epoch: 5))
        #expect(
            one.hear(looking(vote(2)), from: 2)
                == [.send(following(vote(3, epoch: 5)), to: server(2))])
    }

    @Test func `an observer observes`() {
        var four = Scenario(
            4, electorate: .init(active: majority(1, 2, 3), observers: [server(4)]))
        four.step(.started)
        four.hear(leading(vote(3)), from: 3)
        #expect(
            four.hear(following(vote(3)), from: 2).dropFirst()
                == [
                    .learn(from: server(3), as: .observing),
                    .arm(.learner(.halfTick), after: .seconds(1)),
                    .learner(.connect(server(3))),
                ])
        #expect(four.peer.state == .observing)
        _ = four.learner(
            .connected, .epochOffered(5), .acceptedEpochSaved, .syncBegun(.diff),
            .historyEnded(epoch: 5), .historyPersisted, .currentEpochSaved, .admitted)
        #expect(
            four.learner(.informed(zxid(5, 1)), .flushed(upTo: zxid(5, 1)))
                == [.learner(.apply(upTo: zxid(5, 1)))], "and acknowledges nothing")
    }

    @Test func `a follower serves observers from when it serves until it leaves`() {
        var (one, _) = follower(settings: .init(timing: linkTiming, servesObservers: true))
        let observer = Leader.Greeting(server: server(4), isObserver: true, acceptedEpoch: 5)
        _ = one.learner(
            .connected, .epochOffered(5), .acceptedEpochSaved, .syncBegun(.diff),
            .historyEnded(epoch: 5), .historyPersisted, .currentEpochSaved)
        #expect(one.leader(.learnerArrived(link(4), observer)).isEmpty, "it has nothing to offer")
        #expect(
            one.learner(.admitted)
                == [
                    .learner(.acknowledge(zxid(5, 0))), .learner(.serve(epoch: 5)),
                    .arm(.leader(.halfTick), after: .seconds(1)),
                ])
        #expect(
            one.leader(.learnerArrived(link(4), observer))
                == [.leader(.offerEpoch(5, to: link(4)))])
        #expect(
            one.step(.timerExpired(.leader(.halfTick)))
                == [.arm(.leader(.halfTick), after: .seconds(1))])
        #expect(
            one.learner(.disconnected)
                == [
                    .disarm(.learner(.redial)), .disarm(.learner(.halfTick)),
                    .disarm(.leader(.halfTick)), .leave(.left(.disconnected)),
                ])
        #expect(one.peer.observerMaster == nil)
        #expect(one.leader(.learnerArrived(link(5), observer)).isEmpty)
    }

    @Test func `an observer pauses before it looks for another leader`() {
        var four = Scenario(
            4, electorate: .init(active: majority(1, 2, 3), observers: [server(4)]),
            settings: .init(
                timing: linkTiming, servesObservers: true, observerPause: .milliseconds(200)))
        four.step(.started)
        four.hear(leading(vote(3)), from: 3)
        four.hear(following(vote(3)), from: 2)
        _ = four.learner(
            .connected, .epochOffered(5), .acceptedEpochSaved, .syncBegun(.diff),
            .historyEnded(epoch: 5), .historyPersisted, .currentEpochSaved, .admitted)
        #expect(four.peer.observerMaster == nil)
        _ = four.learner(.disconnected)
        #expect(
            four.step(.roleEnded(lastZxid: zxid(5, 1)))
                == [.arm(.pause, after: .milliseconds(200))])
        #expect(four.peer.state == .looking)
        #expect(
            four.step(.timerExpired(.pause)).last
                == .arm(.election(.resend), after: .milliseconds(200)))
        #expect(four.peer.round == 2)
        #expect(
            four.hear(leading(vote(3, epoch: 5)), from: 3).isEmpty
                && four.hear(following(vote(3, epoch: 5)), from: 2).contains(
                    .learn(from: server(3), as: .observing))
        )
    }

    @Test func `timers of the learner reach it, and no others`() {
        var (one, _) = follower()
        #expect(
            one.learner(.disconnected)
                == [.arm(.learner(.redial), after: .milliseconds(10))])
        #expect(one.step(.timerExpired(.learner(.redial))) == [.learner(.connect(server(3)))])
        #expect(
            one.step(.timerExpired(.learner(.halfTick)))
                == [.arm(.learner(.halfTick), after: .seconds(1))])
        #expect(one.step(.timerExpired(.leader(.step))).isEmpty)
        #expect(one.leader(.acceptedEpochSaved).isEmpty)
    }

    @Test func `a learner that loses its leader leaves, tidies up and looks again`() {
        var (one, _) = follower()
        _ = one.learner(.connected, .epochOffered(5), .acceptedEpochSaved)
        #expect(
            one.learner(.disconnected)
                == [
                    .disarm(.learner(.redial)), .disarm(.learner(.halfTick)),
                    .leave(.left(.disconnected)),
                ])
        #expect(one.peer.learner == nil)
        #expect(one.learner(.disconnected, .syncBegun(.diff), .flushed(upTo: zxid(5, 1))).isEmpty)
        #expect(one.step(.timerExpired(.learner(.halfTick))).isEmpty)
        let candidacy = looking(vote(1, zxid: zxid(4, 9)), round: 2)
        #expect(
            one.step(.roleEnded(lastZxid: zxid(4, 9)))
                == [
                    .send(candidacy, to: server(2)), .send(candidacy, to: server(3)),
                    .arm(.election(.resend), after: .milliseconds(200)),
                ])
        #expect(one.peer.epochs == .init(accepted: 5, current: 4))
        one.hear(looking(vote(1, zxid: zxid(4, 9)), round: 2), from: 2)
        #expect(one.hear(looking(vote(1, zxid: zxid(4, 9)), round: 2), from: 3).contains(.lead))
    }

    @Test func `an epoch that was promised to one leader is not promised again to another`() {
        var (one, _) = follower()
        _ = one.learner(.connected, .epochOffered(5), .acceptedEpochSaved, .disconnected)
        one.step(.roleEnded(lastZxid: zxid(4, 6)))
        one.hear(looking(vote(3), round: 2), from: 3)
        #expect(
            one.hear(looking(vote(3), round: 2), from: 2).last == .learner(.connect(server(3))))
        #expect(
            one.learner(.connected, .epochOffered(5))
                == [
                    .learner(.introduce(acceptedEpoch: 5)),
                    .learner(.acknowledgeEpoch(lastZxid: zxid(4, 6), currentEpoch: nil)),
                ])
        var (other, _) = follower(epochs: .init(accepted: 6, current: 4))
        #expect(
            other.learner(.connected, .epochOffered(5)).last == .leave(.left(.staleEpoch(5))))
    }

    // MARK: Configurations

    @Test func `the configuration that is known when a role begins is the one of the role`() {
        var one = Scenario(1)
        one.step(.started)
        let changed = one.step(
            .electorateChanged(.init(active: majority(1)), version: zxid(3, 1)))
        #expect(changed.contains(.lead))
        #expect(one.leader(.acceptedEpochSaved).last == .leader(.saveCurrentEpoch(5)))
        let newer = Leader.Greeting(
            server: server(2), isObserver: true, acceptedEpoch: 4, configVersion: zxid(3, 2))
        #expect(
            one.leader(.learnerArrived(link(2), newer))
                == [.leader(.disconnect(link(2), .knowsNewerConfiguration))])
        let equal = Leader.Greeting(
            server: server(2), isObserver: true, acceptedEpoch: 4, configVersion: zxid(3, 1))
        #expect(
            one.leader(.learnerArrived(link(3), equal)) == [.leader(.offerEpoch(5, to: link(3)))])
    }

    @Test func `a leader takes back learners that know what was activated under it`() {
        var three = serving()
        let knows = Leader.Greeting(
            server: server(2), isObserver: false, acceptedEpoch: 5, configVersion: zxid(5, 0))
        #expect(three.step(.electorateChanged(threeVoters, version: zxid(5, 0))).isEmpty)
        #expect(
            three.leader(.learnerArrived(link(2), knows)) == [.leader(.offerEpoch(5, to: link(2)))])
    }

    @Test func `a configuration that comes during a role counts for the next election`() {
        var (one, _) = follower()
        #expect(
            one.step(.electorateChanged(.init(active: majority(1, 4)), version: zxid(5, 1)))
                .isEmpty)
        _ = one.learner(.connected, .disconnected)
        #expect(
            one.step(.roleEnded(lastZxid: zxid(4, 7)))
                == [
                    .send(looking(vote(1), round: 2), to: server(4)),
                    .arm(.election(.resend), after: .milliseconds(200)),
                ])
    }
}
