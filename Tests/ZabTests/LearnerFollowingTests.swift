import Testing
import Vocabulary
import Zab

/// ZooKeeper: `Follower.processPacket`, `Observer.processPacket`, `SendAckRequestProcessor`.
@Suite struct `A learner follows` {
    // MARK: Proposals and commits

    @Test func `a proposal is acknowledged when it is on disk`() {
        var one = LearnerScenario.following()
        #expect(one.step(.proposed(zxid(5, 1))).isEmpty)
        #expect(one.step(.flushed(upTo: zxid(5, 1))) == [.acknowledge(zxid(5, 1))])
        #expect(one.step(.flushed(upTo: zxid(5, 1))).isEmpty)
    }

    @Test func `one flush of many proposals acknowledges each, in order`() {
        var one = LearnerScenario.following()
        for counter in UInt32(1)...4 { one.step(.proposed(zxid(5, counter))) }
        #expect(
            one.step(.flushed(upTo: zxid(5, 3))) == (1...3).map { .acknowledge(zxid(5, $0)) })
        #expect(one.step(.flushed(upTo: zxid(5, 4))) == [.acknowledge(zxid(5, 4))])
    }

    @Test func `a commit does not wait for our disk, nor our word for the commit`() {
        var one = LearnerScenario.following()
        one.step(.proposed(zxid(5, 1)))
        #expect(one.step(.committed(zxid(5, 1))) == [.apply(upTo: zxid(5, 1))])
        #expect(one.step(.flushed(upTo: zxid(5, 1))) == [.acknowledge(zxid(5, 1))])
    }

    @Test func `a flush that is told before the proposal still counts`() {
        var one = LearnerScenario.following()
        #expect(one.step(.flushed(upTo: zxid(5, 2))).isEmpty)
        one.step(.proposed(zxid(5, 1)))
        one.step(.proposed(zxid(5, 2)))
        #expect(
            one.step(.flushed(upTo: zxid(5, 2)))
                == [.acknowledge(zxid(5, 1)), .acknowledge(zxid(5, 2))])
    }

    @Test func `a later epoch may begin anywhere behind an earlier one`() {
        var one = LearnerScenario.syncing()
        #expect(one.step(.proposed(zxid(5, 3))).isEmpty)
        #expect(one.step(.proposed(zxid(5, 4))).isEmpty)
    }

    @Test func `a proposal that does not follow the last one ends it`() {
        for next in [zxid(5, 1), zxid(5, 3), zxid(4, 9), zxid(6, 1), .none] {
            var one = LearnerScenario.following()
            one.step(.proposed(zxid(5, 1)))
            #expect(!one.learner.accepts(next))
            #expect(one.step(.proposed(next)) == left(.gap(after: zxid(5, 1), next)))
        }
    }

    @Test func `the first proposal continues the history that it was sent for`() {
        for next in [zxid(4, 7), zxid(4, 9), zxid(4, 1), zxid(6, 1)] {
            var diff = LearnerScenario.syncing()
            #expect(diff.step(.proposed(next)) == left(.gap(after: zxid(4, 7), next)))
        }
        var trunc = LearnerScenario.syncing(.trunc(zxid(4, 5)))
        #expect(trunc.step(.proposed(zxid(4, 8))) == left(.gap(after: zxid(4, 5), zxid(4, 8))))
        var snap = LearnerScenario.syncing(.snap(zxid(5, 5)))
        #expect(snap.step(.proposed(zxid(6, 1))) == left(.gap(after: .none, zxid(6, 1))))
        var last = LearnerScenario.syncing(.snap(.zero))
        last.step(.proposed(zxid(5, .max)))
        #expect(
            last.step(.proposed(zxid(6, 0))).last == .leave(.gap(after: zxid(5, .max), zxid(6, 0))))
    }

    @Test func `what is to reach the log must continue it`() {
        var one = LearnerScenario.syncing()
        #expect(one.learner.accepts(zxid(4, 8)))
        #expect(one.learner.accepts(zxid(5, 1)))
        #expect(!one.learner.accepts(zxid(4, 7)))
        #expect(!one.learner.accepts(zxid(4, 9)))
        one.step(.proposed(zxid(4, 8)))
        #expect(one.learner.accepts(zxid(4, 9)))
        one.step(.disconnected)
        #expect(!one.learner.accepts(zxid(4, 9)))
        #expect(!LearnerScenario.greeting().learner.accepts(zxid(4, 8)))
        #expect(!LearnerScenario.agreeing().learner.accepts(zxid(4, 8)))
    }

    @Test func `a commit that is not the oldest proposal's ends it`() {
        var none = LearnerScenario.following()
        #expect(none.step(.committed(zxid(5, 1))) == left(.unexpectedCommit(zxid(5, 1))))
        for wrong in [zxid(5, 2), zxid(4, 7)] {
            var one = LearnerScenario.following()
            one.step(.proposed(zxid(5, 1)))
            one.step(.proposed(zxid(5, 2)))
            #expect(one.step(.committed(wrong)) == left(.unexpectedCommit(wrong)))
        }
        var twice = LearnerScenario.following()
        twice.step(.proposed(zxid(5, 1)))
        twice.step(.committed(zxid(5, 1)))
        #expect(twice.step(.committed(zxid(5, 1))) == left(.unexpectedCommit(zxid(5, 1))))
        var busy = LearnerScenario.persisting()
        #expect(busy.step(.committed(zxid(5, 1))) == left(.unexpectedCommit(zxid(5, 1))))
    }

    // MARK: Observers

    @Test func `an observer says that it is one, and acknowledges the epoch like a follower`() {
        var one = LearnerScenario.greeting(observes: true)
        #expect(
            one.steps(
                .epochOffered(5), .acceptedEpochSaved, .syncBegun(.diff), .historyEnded(epoch: 5),
                .historyPersisted, .currentEpochSaved, .admitted)
                == [
                    .saveAcceptedEpoch(5),
                    .acknowledgeEpoch(lastZxid: zxid(4, 7), currentEpoch: 4),
                    .persistHistory(asSnapshot: false), .saveCurrentEpoch(5),
                    .acknowledge(zxid(5, 0)), .apply(upTo: zxid(4, 7)),
                    .acknowledge(zxid(5, 0)), .serve(epoch: 5),
                ])
    }

    @Test func `an observer applies what it is informed of and never acknowledges it`() {
        var one = LearnerScenario.following(observes: true)
        #expect(one.step(.informed(zxid(5, 1))) == [.apply(upTo: zxid(5, 1))])
        #expect(one.step(.informed(zxid(5, 2))) == [.apply(upTo: zxid(5, 2))])
        #expect(one.step(.flushed(upTo: zxid(5, 2))).isEmpty)
        #expect(one.step(.informed(zxid(5, 4))) == left(.gap(after: zxid(5, 2), zxid(5, 4))))
    }

    @Test func `an observer takes its history as proposals and commits`() {
        var one = LearnerScenario.syncing(observes: true)
        #expect(
            one.steps(.proposed(zxid(4, 8)), .committed(zxid(4, 8))) == [.apply(upTo: zxid(4, 8))])
        #expect(one.step(.informed(zxid(5, 1))) == [.apply(upTo: zxid(5, 1))])
        one.step(.historyEnded(epoch: 5))
        #expect(one.step(.informed(zxid(5, 2))).isEmpty)
        #expect(
            one.steps(.flushed(upTo: zxid(5, 2)), .historyPersisted, .currentEpochSaved)
                == [
                    .saveCurrentEpoch(5), .acknowledge(zxid(5, 0)), .apply(upTo: zxid(5, 2)),
                ])
    }

    @Test func `a proposal in front of what it is informed of is an unexpected commit`() {
        var one = LearnerScenario.following(observes: true)
        one.step(.proposed(zxid(5, 1)))
        #expect(one.step(.informed(zxid(5, 2))) == left(.unexpectedCommit(zxid(5, 2))))
    }

    // MARK: Silence

    /// Lets half ticks pass and says after how many of them it has left, and why.
    private func patience(
        _ scenario: LearnerScenario, _ before: (inout LearnerScenario) -> Void = { _ in }
    ) -> (halfTicks: Int, effects: [Learner.Effect]) {
        var one = scenario
        before(&one)
        for halfTicks in 1...100 {
            let effects = one.step(.timerExpired(.halfTick))
            guard effects == [learnerHalfTick] else {
                #expect(effects.first == learnerHalfTick)
                return (halfTicks, Array(effects.dropFirst()))
            }
        }
        return (.max, [])
    }

    @Test func `until the history is here a leader may be silent for initLimit`() {
        for scenario in [LearnerScenario.greeting(), .agreeing(), .syncing()] {
            let (halfTicks, effects) = patience(scenario)
            #expect(halfTicks == 7, "\(scenario.learner.stage)")
            #expect(effects == left(.silence))
        }
    }

    @Test func `a leader that cannot be reached in that time is left`() {
        var one = LearnerScenario()
        one.step(.started)
        let (halfTicks, effects) = patience(one)
        #expect(halfTicks == 7)
        #expect(effects == left(.leaderUnreachable))
    }

    @Test func `afterwards it may be silent for syncLimit`() {
        for scenario in [LearnerScenario.synced(), .following(), .following(observes: true)] {
            let (halfTicks, effects) = patience(scenario)
            #expect(halfTicks == 5, "\(scenario.learner.stage)")
            #expect(effects == left(.silence))
        }
    }

    @Test func `while it is busy with its own disk it does not listen`() {
        var saving = LearnerScenario.greeting()
        saving.step(.epochOffered(5))
        var restoring = LearnerScenario.agreeing()
        restoring.step(.syncBegun(.trunc(zxid(4, 5))))
        var savingCurrent = LearnerScenario.persisting()
        savingCurrent.step(.historyPersisted)
        for scenario in [saving, restoring, .persisting(), savingCurrent] {
            #expect(patience(scenario).halfTicks == .max, "\(scenario.learner.stage)")
        }
        var receiving = LearnerScenario.agreeing()
        receiving.step(.syncBegun(.snap(zxid(5, 0))))
        #expect(
            patience(receiving).halfTicks == 7, "a tree comes from the leader, not from the disk")
    }

    @Test func `the time that its own disk took is not the leader's silence`() {
        let cases: [(LearnerScenario, busy: Learner.Event, done: Learner.Event, Int)] = [
            (.greeting(), .epochOffered(5), .acceptedEpochSaved, 7),
            (.agreeing(), .syncBegun(.trunc(zxid(4, 5))), .truncated, 7),
            (.persisting(), .historyPersisted, .currentEpochSaved, 5),
        ]
        for (scenario, busy, done, expected) in cases {
            let (halfTicks, _) = patience(scenario) { one in
                one.step(busy)
                for _ in 0..<20 { one.step(.timerExpired(.halfTick)) }
                one.step(done)
            }
            #expect(halfTicks == expected, "\(done)")
        }
    }

    @Test func `every packet ends the silence`() {
        for packet in [
            .heard, .pinged(zxid(5, 0)), .proposed(zxid(5, 2)), .committed(zxid(5, 1)),
            .historyEnded(epoch: 5),
        ] as [Learner.Event] {
            let (halfTicks, _) = patience(.following()) { one in
                one.step(.proposed(zxid(5, 1)))
                for _ in 0..<4 { one.step(.timerExpired(.halfTick)) }
                one.step(packet)
            }
            #expect(halfTicks == 5, "\(packet)")
        }
        let (halfTicks, _) = patience(.following()) { one in
            for _ in 0..<4 { one.step(.timerExpired(.halfTick)) }
            one.step(.flushed(upTo: zxid(4, 7)))
        }
        #expect(halfTicks == 1, "our own disk is not the leader")
    }

    // MARK: The end

    @Test func `when the connection ends it leaves, wherever it was`() {
        var scenarios = [
            LearnerScenario.greeting(), .agreeing(), .syncing(), .persisting(), .synced(),
            .following(),
        ]
        for index in scenarios.indices {
            #expect(scenarios[index].step(.disconnected) == left(.disconnected))
            #expect(scenarios[index].learner.stage == .left)
        }
    }

    @Test func `a learner whose role is another one leaves, wherever it was`() {
        for scenario in [LearnerScenario.syncing(), .synced(), .following(observes: true)] {
            var one = scenario
            #expect(one.step(.roleChanged) == left(.reconfigured))
        }
    }

    @Test func `what comes after it has left does nothing`() {
        var one = LearnerScenario.persisting()
        one.step(.disconnected)
        let late: [Learner.Event] = [
            .started, .connected, .disconnected, .epochOffered(9), .acceptedEpochSaved,
            .syncBegun(.diff), .truncated, .snapshotReceived, .proposed(zxid(5, 1)),
            .committed(zxid(5, 1)), .informed(zxid(5, 1)), .historyEnded(epoch: 5),
            .historyPersisted, .currentEpochSaved, .admitted, .pinged(zxid(5, 0)), .heard,
            .flushed(upTo: zxid(5, 1)), .roleChanged, .timerExpired(.redial),
            .timerExpired(.halfTick),
        ]
        for event in late { #expect(one.step(event).isEmpty) }
    }
}
