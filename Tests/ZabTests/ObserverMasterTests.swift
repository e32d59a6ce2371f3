import Testing
import Vocabulary
import Zab

/// ZooKeeper: `ObserverMaster`, `LearnerHandler`.
@Suite struct `A follower that serves observers` {
    /// It follows in epoch 5, told event by event. A link has the number of the server at its other
    /// end.
    private struct Scenario {
        var master = ObserverMaster(epoch: 5, configVersion: zxid(3, 0), timing: linkTiming)

        /// With these observers up to date.
        init(_ observers: Int64...) {
            step(.started)
            for observer in observers {
                arrive(observer)
                agree(observer)
                ack(observer, zxid(5, 0))
            }
        }

        @discardableResult
        mutating func step(_ event: ObserverMaster.Event) -> [ObserverMaster.Effect] {
            master.effects(of: event)
        }

        @discardableResult
        mutating func arrive(
            _ id: Int64, on number: Int? = nil, observes: Bool = true, version: Zxid? = nil
        ) -> [ObserverMaster.Effect] {
            step(
                .learnerArrived(
                    link(number ?? Int(id)),
                    .init(
                        server: server(id), isObserver: observes, acceptedEpoch: 4,
                        configVersion: version)))
        }

        /// ACKEPOCH
        @discardableResult
        mutating func agree(_ number: Int64) -> [ObserverMaster.Effect] {
            step(
                .epochAcknowledged(
                    link(Int(number)), lastZxid: zxid(4, 7), currentEpoch: 4))
        }

        @discardableResult
        mutating func ack(_ number: Int64, _ zxid: Zxid) -> [ObserverMaster.Effect] {
            step(.acknowledged(link(Int(number)), zxid))
        }
    }

    @Test func `an observer is brought up to date without waiting for anybody`() {
        var scenario = Scenario()
        #expect(scenario.arrive(4) == [.offerEpoch(5, to: link(4))])
        #expect(scenario.agree(4) == [.synchronise(link(4), from: zxid(4, 7))])
        #expect(scenario.master.syncedCount == 0)
        #expect(scenario.ack(4, zxid(5, 0)) == [.sendUpToDate(link(4))])
        #expect(scenario.master.syncedCount == 1)
        // UPTODATE is acknowledged in the same way.
        #expect(scenario.ack(4, zxid(5, 0)) == [])
    }

    @Test func `an epoch that was promised before is as good`() {
        var scenario = Scenario()
        scenario.arrive(4)
        let effects = scenario.step(
            .epochAcknowledged(link(4), lastZxid: zxid(5, 2), currentEpoch: nil))
        #expect(effects == [.synchronise(link(4), from: zxid(5, 2))])
    }

    @Test func `a follower is refused`() {
        var scenario = Scenario()
        #expect(scenario.arrive(2, observes: false) == [gone(2, .noObserver)])
        #expect(scenario.agree(2) == [])
    }

    @Test func `who knows a newer configuration is refused until it is active here`() {
        var scenario = Scenario()
        #expect(
            scenario.arrive(4, version: zxid(5, 9)) == [gone(4, .knowsNewerConfiguration)])
        scenario.step(.configurationActivated(zxid(5, 9)))
        #expect(scenario.arrive(4, version: zxid(5, 9)) == [.offerEpoch(5, to: link(4))])
    }

    @Test func `an observer that comes anew replaces its older link`() {
        var scenario = Scenario(4)
        #expect(
            scenario.arrive(4, on: 9) == [gone(4, .replaced), .offerEpoch(5, to: link(9))])
        #expect(scenario.master.syncedCount == 0)
    }

    @Test func `the acknowledgement of a transaction ends the link`() {
        var scenario = Scenario(4, 6)
        #expect(scenario.ack(4, zxid(5, 1)) == [gone(4, .acknowledgedUnsent(zxid(5, 1)))])
        #expect(scenario.master.syncedCount == 1)
    }

    @Test func `packets out of place end the link`() {
        var scenario = Scenario(4)
        #expect(scenario.agree(4) == [gone(4, .outOfPlace)])
        scenario.arrive(4)
        #expect(scenario.ack(4, zxid(5, 0)) == [gone(4, .outOfPlace)])
        scenario.arrive(4)
        #expect(scenario.arrive(4) == [gone(4, .outOfPlace)])
    }

    @Test func `every half tick those that are up to date are asked for a sign of life`() {
        var scenario = Scenario(4, 6)
        scenario.arrive(8)
        #expect(scenario.step(.timerExpired(.halfTick)) == [armHalfTick] + pings(4, 6))
        scenario.step(.linkClosed(link(4)))
        #expect(scenario.step(.timerExpired(.halfTick)) == [armHalfTick] + pings(6))
    }

    @Test
    func `a silent observer is given up after syncLimit, one that catches up after initLimit`() {
        var scenario = Scenario(4, 6)
        scenario.arrive(8)
        var departures: [Int: [ObserverMaster.Effect]] = [:]
        for halfTick in 1...8 {
            scenario.step(.pingEchoed(link(6)))
            let effects = scenario.step(.timerExpired(.halfTick))
            departures[halfTick] = effects.filter {
                [gone(4, .silent), gone(8, .silent)].contains($0)
            }
        }
        #expect(
            departures.filter { !$0.value.isEmpty } == [
                6: [gone(4, .silent)], 8: [gone(8, .silent)],
            ])
        #expect(scenario.master.syncedCount == 1)
    }
}
