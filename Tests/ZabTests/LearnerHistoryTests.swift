import Testing
import Vocabulary
import Zab

/// ZooKeeper: `Learner.registerWithLeader`, `Learner.syncWithLeader`.
@Suite struct `A learner takes over its leader's history` {
    // MARK: Finding the leader

    @Test func `it dials its leader and introduces itself with what it has promised`() {
        var one = LearnerScenario(accepted: 6)
        #expect(one.step(.started) == [learnerHalfTick, .connect(server(3))])
        #expect(one.step(.connected) == [.introduce(acceptedEpoch: 6)])
    }

    @Test func `a leader that does not listen yet is dialed again, ever later, and given up`() {
        var one = LearnerScenario()
        one.step(.started)
        for milliseconds in [10, 20, 40, 80, 100, 100, 100] {
            #expect(
                one.step(.disconnected) == [.arm(.redial, after: .milliseconds(milliseconds))])
            #expect(one.step(.timerExpired(.redial)) == [.connect(server(3))])
        }
        #expect(one.step(.disconnected) == left(.leaderUnreachable))
    }

    @Test func `once it is connected nothing is dialed again`() {
        var one = LearnerScenario()
        one.step(.started)
        one.step(.disconnected)
        one.step(.timerExpired(.redial))
        one.step(.connected)
        #expect(one.step(.timerExpired(.redial)).isEmpty)
        #expect(one.step(.disconnected) == left(.disconnected))
    }

    // MARK: The epoch

    @Test func `a new epoch is promised when it is saved, not before`() {
        var one = LearnerScenario.greeting()
        #expect(one.step(.epochOffered(5)) == [.saveAcceptedEpoch(5)])
        #expect(
            one.step(.acceptedEpochSaved)
                == [.acknowledgeEpoch(lastZxid: zxid(4, 7), currentEpoch: 4)])
    }

    @Test func `an epoch that had been promised is not promised again`() {
        var one = LearnerScenario.greeting(accepted: 5)
        #expect(
            one.step(.epochOffered(5))
                == [.acknowledgeEpoch(lastZxid: zxid(4, 7), currentEpoch: nil)])
    }

    @Test func `an epoch below what was promised is refused`() {
        var one = LearnerScenario.greeting(accepted: 6)
        #expect(one.step(.epochOffered(5)) == left(.staleEpoch(5)))
        var two = LearnerScenario.greeting(accepted: 0)
        #expect(two.step(.epochOffered(-1)) == left(.staleEpoch(-1)))
    }

    // MARK: DIFF

    @Test func `what continues the history is applied as it is committed`() {
        var one = LearnerScenario.agreeing()
        #expect(one.step(.syncBegun(.diff)).isEmpty)
        #expect(one.step(.proposed(zxid(4, 8))).isEmpty)
        #expect(one.step(.proposed(zxid(5, 1))).isEmpty)
        #expect(one.step(.committed(zxid(4, 8))) == [.apply(upTo: zxid(4, 8))])
        #expect(one.step(.committed(zxid(5, 1))) == [.apply(upTo: zxid(5, 1))])
        #expect(
            one.step(.historyEnded(epoch: 5)) == [.persistHistory(asSnapshot: false)])
    }

    @Test func `nothing is acknowledged before the history and then the epoch are on disk`() {
        var one = LearnerScenario.syncing()
        #expect(one.steps(.proposed(zxid(4, 8)), .flushed(upTo: zxid(4, 8))).isEmpty)
        #expect(
            one.step(.historyEnded(epoch: 5)) == [.persistHistory(asSnapshot: false)])
        #expect(one.step(.flushed(upTo: zxid(4, 8))).isEmpty)
        #expect(one.step(.historyPersisted) == [.saveCurrentEpoch(5)])
        #expect(one.step(.flushed(upTo: zxid(4, 8))).isEmpty)
        #expect(one.step(.currentEpochSaved).first == .acknowledge(zxid(5, 0)))
        #expect(one.learner.stage == .synced)
    }

    @Test func `an empty history is acknowledged like any other`() {
        var one = LearnerScenario.syncing()
        #expect(
            one.steps(.historyEnded(epoch: 5), .historyPersisted, .currentEpochSaved)
                == [
                    .persistHistory(asSnapshot: false), .saveCurrentEpoch(5),
                    .acknowledge(zxid(5, 0)), .apply(upTo: zxid(4, 7)),
                ])
    }

    @Test func `what is committed while the history goes to disk is applied behind it`() {
        var one = LearnerScenario.syncing()
        #expect(one.steps(.proposed(zxid(4, 8)), .proposed(zxid(5, 1))).isEmpty)
        one.step(.historyEnded(epoch: 5))
        #expect(one.step(.committed(zxid(4, 8))).isEmpty)
        #expect(one.steps(.proposed(zxid(5, 2)), .proposed(zxid(5, 3))).isEmpty)
        one.step(.historyPersisted)
        #expect(one.step(.committed(zxid(5, 1))).isEmpty)
        #expect(
            one.step(.currentEpochSaved)
                == [.acknowledge(zxid(5, 0)), .apply(upTo: zxid(5, 1))])
        #expect(one.step(.committed(zxid(5, 2))) == [.apply(upTo: zxid(5, 2))])
    }

    @Test func `what the history brought is acknowledged only if it is not committed`() {
        var one = LearnerScenario.syncing()
        #expect(
            one.steps(
                .proposed(zxid(5, 1)), .proposed(zxid(5, 2)), .proposed(zxid(5, 3)),
                .committed(zxid(5, 1)), .historyEnded(epoch: 5), .flushed(upTo: zxid(5, 2)),
                .historyPersisted, .currentEpochSaved)
                == [
                    .apply(upTo: zxid(5, 1)), .persistHistory(asSnapshot: false),
                    .saveCurrentEpoch(5), .acknowledge(zxid(5, 0)), .apply(upTo: zxid(5, 1)),
                    .acknowledge(zxid(5, 2)),
                ])
        #expect(one.step(.flushed(upTo: zxid(5, 3))) == [.acknowledge(zxid(5, 3))])
    }

    // MARK: TRUNC

    @Test func `the log is cut before anything else is taken`() {
        var one = LearnerScenario.agreeing()
        #expect(one.step(.syncBegun(.trunc(zxid(4, 5)))) == [.truncate(to: zxid(4, 5))])
        #expect(one.learner.stage == .restoring)
        #expect(one.step(.truncated).isEmpty)
        #expect(one.step(.proposed(zxid(4, 6))).isEmpty)
        #expect(one.step(.committed(zxid(4, 6))) == [.apply(upTo: zxid(4, 6))])
        #expect(
            one.steps(.historyEnded(epoch: 5), .historyPersisted, .currentEpochSaved)
                == [
                    .persistHistory(asSnapshot: false), .saveCurrentEpoch(5),
                    .acknowledge(zxid(5, 0)), .apply(upTo: zxid(4, 6)),
                ])
    }

    /// It was told to cut its log to 4:5, and its disk does not lead there.
    private static func refused() -> LearnerScenario {
        var one = LearnerScenario.agreeing()
        one.step(.syncBegun(.trunc(zxid(4, 5))))
        one.step(.truncationRefused)
        return one
    }

    @Test func `who cannot cut its log comes again as if it had no data`() {
        var one = LearnerScenario.agreeing()
        one.step(.syncBegun(.trunc(zxid(4, 5))))
        #expect(one.step(.truncationRefused) == [.connect(server(3))])
        #expect(one.step(.connected) == [.introduce(acceptedEpoch: 5)])
        // It has promised this epoch, and must not count twice.
        #expect(
            one.step(.epochOffered(5)) == [.acknowledgeEpoch(lastZxid: .zero, currentEpoch: nil)])
    }

    @Test func `a log that cannot be cut is kept until another history is on the disk`() {
        var one = Self.refused()
        one.steps(.connected, .epochOffered(5))
        #expect(one.step(.syncBegun(.diff)) == [.forgetTree])
        #expect(
            one.steps(.proposed(zxid(1, 1)), .committed(zxid(1, 1))) == [.apply(upTo: zxid(1, 1))])
        #expect(one.step(.historyEnded(epoch: 5)) == [.persistHistory(asSnapshot: true)])
        #expect(one.step(.historyPersisted) == [.startLogging, .saveCurrentEpoch(5)])
        #expect(
            one.step(.currentEpochSaved)
                == [.acknowledge(zxid(5, 0)), .apply(upTo: zxid(1, 1))])
    }

    @Test func `the history from its beginning has no gap at its beginning`() {
        var one = Self.refused()
        one.steps(.connected, .epochOffered(5), .syncBegun(.diff))
        #expect(!one.learner.accepts(zxid(0, 2)))
        #expect(one.learner.accepts(zxid(0, 1)))
    }

    @Test func `who has said that it has no data cannot be told to cut them`() {
        var one = Self.refused()
        one.steps(.connected, .epochOffered(5))
        #expect(one.step(.syncBegun(.trunc(zxid(4, 5)))).last == .leave(.outOfPlace(.agreeing)))
    }

    // MARK: SNAP

    @Test func `a tree is written as a snapshot, and the log goes on behind it`() {
        var one = LearnerScenario.agreeing()
        #expect(
            one.step(.syncBegun(.snap(zxid(5, 8)))) == [.receiveSnapshot(zxid(5, 8))])
        #expect(one.learner.stage == .restoring)
        #expect(one.step(.snapshotReceived).isEmpty)
        #expect(
            one.steps(.proposed(zxid(5, 9)), .proposed(zxid(5, 10)), .committed(zxid(5, 9)))
                == [.apply(upTo: zxid(5, 9))])
        #expect(one.step(.historyEnded(epoch: 5)) == [.persistHistory(asSnapshot: true)])
        #expect(one.step(.proposed(zxid(5, 11))).isEmpty)
        #expect(one.step(.historyPersisted) == [.startLogging, .saveCurrentEpoch(5)])
        #expect(
            one.step(.currentEpochSaved)
                == [.acknowledge(zxid(5, 0)), .apply(upTo: zxid(5, 9))])
        #expect(
            one.step(.flushed(upTo: zxid(5, 11)))
                == [.acknowledge(zxid(5, 10)), .acknowledge(zxid(5, 11))])
    }

    @Test func `behind a tree that was sent while it changed, proposals may repeat what it has`() {
        var one = LearnerScenario.syncing(.snap(zxid(5, 8)))
        #expect(
            one.steps(.proposed(zxid(5, 6)), .committed(zxid(5, 6)), .proposed(zxid(5, 7)))
                == [.apply(upTo: zxid(5, 6))])
        #expect(one.step(.proposed(zxid(5, 9))) == left(.gap(after: zxid(5, 7), zxid(5, 9))))
    }

    // MARK: UPTODATE

    @Test func `the start of the epoch is acknowledged twice`() {
        var one = LearnerScenario.synced()
        #expect(one.step(.admitted) == [.acknowledge(zxid(5, 0)), .serve(epoch: 5)])
        #expect(one.learner.stage == .following)
    }

    @Test func `pings are not echoed before it is up to date`() {
        var scenarios = [
            LearnerScenario.greeting(), .agreeing(), .syncing(), .persisting(), .synced(),
        ]
        for index in scenarios.indices {
            let stage = scenarios[index].learner.stage
            #expect(scenarios[index].step(.pinged(zxid(5, 0))).isEmpty, "\(stage)")
            #expect(scenarios[index].step(.heard).isEmpty, "\(stage)")
            #expect(scenarios[index].learner.stage == stage)
        }
        var one = LearnerScenario.following()
        #expect(one.step(.pinged(zxid(5, 4))) == [.echoPing(zxid(5, 4))])
        #expect(one.step(.heard).isEmpty)
    }

    @Test func `what comes between the end of the history and UPTODATE goes its ordinary way`() {
        var one = LearnerScenario.synced()
        #expect(one.step(.proposed(zxid(5, 1))).isEmpty)
        #expect(one.step(.committed(zxid(5, 1))) == [.apply(upTo: zxid(5, 1))])
        #expect(one.step(.flushed(upTo: zxid(5, 1))) == [.acknowledge(zxid(5, 1))])
        #expect(one.step(.admitted) == [.acknowledge(zxid(5, 0)), .serve(epoch: 5)])
    }

    // MARK: Out of place

    @Test func `the end of another epoch's history is none of ours`() {
        var one = LearnerScenario.syncing()
        #expect(one.step(.historyEnded(epoch: 4)) == left(.staleEpoch(4)))
        var two = LearnerScenario.syncing()
        #expect(two.step(.historyEnded(epoch: 6)) == left(.staleEpoch(6)))
    }

    @Test func `what means nothing where it comes ends it`() {
        let packets: [(Learner.Event, Set<Learner.Stage>)] = [
            (.epochOffered(5), [.greeting]),
            (.syncBegun(.diff), [.agreeing]),
            (.proposed(zxid(4, 8)), [.syncing, .persisting, .savingCurrentEpoch, .synced]),
            (.committed(zxid(4, 8)), [.syncing, .persisting, .savingCurrentEpoch, .synced]),
            (.informed(zxid(4, 8)), [.syncing, .persisting, .savingCurrentEpoch, .synced]),
            (.historyEnded(epoch: 5), [.syncing]),
            (.admitted, [.synced]),
        ]
        var savingCurrentEpoch = LearnerScenario.persisting()
        savingCurrentEpoch.step(.historyPersisted)
        var savingAcceptedEpoch = LearnerScenario.greeting()
        savingAcceptedEpoch.step(.epochOffered(5))
        var restoring = LearnerScenario.agreeing()
        restoring.step(.syncBegun(.trunc(zxid(4, 5))))
        for scenario in [
            LearnerScenario.greeting(), savingAcceptedEpoch, .agreeing(), restoring, .syncing(),
            .persisting(), savingCurrentEpoch, .synced(),
        ] {
            for (packet, stages) in packets {
                var one = scenario
                let stage = one.learner.stage
                let effects = one.step(packet)
                #expect(
                    (effects == left(.outOfPlace(stage))) == !stages.contains(stage),
                    "\(packet) in \(stage)")
            }
        }
    }

    @Test func `once it follows, what belongs to the beginning is taken no notice of`() {
        var one = LearnerScenario.following()
        for packet in [
            .epochOffered(6), .syncBegun(.snap(zxid(6, 0))), .historyEnded(epoch: 6), .admitted,
        ] as [Learner.Event] {
            #expect(one.step(packet).isEmpty)
        }
        #expect(one.learner.stage == .following)
    }
}
