import Testing
import Vocabulary
import Zab

/// A server follows or observes server 3, told event by event; each event gives its effects. Its
/// history ends at 4:7, unless it says otherwise, and the leader's epoch is 5.
struct LearnerScenario {
    var learner: Learner

    /// A learner that has not started.
    init(
        observes: Bool = false, zxid last: Zxid = zxid(4, 7), epoch: Int64 = 4,
        accepted: Int64 = 4
    ) {
        learner = Learner(
            leader: server(3), isObserver: observes,
            history: .init(lastZxid: last, currentEpoch: epoch), acceptedEpoch: accepted,
            timing: linkTiming)
    }

    /// It has introduced itself.
    static func greeting(observes: Bool = false, accepted: Int64 = 4) -> Self {
        var one = Self(observes: observes, accepted: accepted)
        one.step(.started)
        one.step(.connected)
        return one
    }

    /// It has promised epoch 5.
    static func agreeing(observes: Bool = false) -> Self {
        var one = greeting(observes: observes)
        one.step(.epochOffered(5))
        one.step(.acceptedEpochSaved)
        return one
    }

    /// It takes over the leader's history.
    static func syncing(observes: Bool = false, _ mode: Learner.SyncMode = .diff) -> Self {
        var one = agreeing(observes: observes)
        one.step(.syncBegun(mode))
        switch mode {
        case .diff: break
        case .trunc: one.step(.truncated)
        case .snap: one.step(.snapshotReceived)
        }
        return one
    }

    /// It brings the history to its disk.
    static func persisting(observes: Bool = false, _ mode: Learner.SyncMode = .diff) -> Self {
        var one = syncing(observes: observes, mode)
        one.step(.historyEnded(epoch: 5))
        return one
    }

    /// It waits for UPTODATE.
    static func synced(observes: Bool = false, _ mode: Learner.SyncMode = .diff) -> Self {
        var one = persisting(observes: observes, mode)
        one.step(.historyPersisted)
        one.step(.currentEpochSaved)
        return one
    }

    static func following(observes: Bool = false, _ mode: Learner.SyncMode = .diff) -> Self {
        var one = synced(observes: observes, mode)
        one.step(.admitted)
        return one
    }

    @discardableResult
    mutating func step(_ event: Learner.Event) -> [Learner.Effect] {
        learner.effects(of: event)
    }

    /// What the events give together.
    @discardableResult
    mutating func steps(_ events: Learner.Event...) -> [Learner.Effect] {
        events.flatMap { step($0) }
    }
}

func left(_ reason: Learner.Departure) -> [Learner.Effect] {
    [.disarm(.redial), .disarm(.halfTick), .leave(reason)]
}

let learnerHalfTick = Learner.Effect.arm(.halfTick, after: .seconds(1))
