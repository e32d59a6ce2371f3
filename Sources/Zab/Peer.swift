package import Vocabulary

/// A server of an ensemble: it looks for a leader, then leads, follows or observes until that ends,
/// and looks again.
///
///     started -> LOOKING --election--> LEADING | FOLLOWING | OBSERVING
///                   ^                          |
///                   +-- roleEnded <- (shell tidies up) <- .leave
///
/// It holds the election for the life of the process and the reducer of the role it is in, and hands
/// events to them. Source: ZooKeeper, `QuorumPeer.run`.
package struct Peer: Reducer {
    package enum Timer: Hashable, Sendable {
        case election(Election.Timer)
        case leader(Leader.Timer)
        case learner(Learner.Timer)
        /// An observer has lost its leader, and looks for one after a random part of this time, so
        /// that not all observers come at once. The part is the host's choice.
        case pause
    }

    /// What a server can hold against its own disk.
    package struct Epochs: Equatable, Sendable {
        /// The highest epoch that was promised to anybody.
        package var accepted: Int64
        /// The last epoch whose leader's history was accepted.
        package var current: Int64

        package init(accepted: Int64, current: Int64) {
            self.accepted = accepted
            self.current = current
        }
    }

    package struct Settings: Equatable, Sendable {
        package var timing: LinkTiming
        package var electionTiming: Election.Timing
        package var confirmsSyncs: Bool
        /// Whether a follower serves observers.
        package var servesObservers: Bool
        /// An observer that has lost its leader looks for one after this time, at the latest.
        package var observerPause: Duration

        package init(
            timing: LinkTiming, electionTiming: Election.Timing = .init(),
            confirmsSyncs: Bool = true, servesObservers: Bool = false,
            observerPause: Duration = .zero
        ) {
            self.timing = timing
            self.electionTiming = electionTiming
            self.confirmsSyncs = confirmsSyncs
            self.servesObservers = servesObservers
            self.observerPause = observerPause
        }
    }

    package enum Event: Equatable, Sendable {
        case started
        case notificationReceived(Election.Notification, from: ServerID)
        case peerConnected(ServerID)
        case peerUnreachable(ServerID)
        /// Another configuration was activated or seen.
        case electorateChanged(Election.Electorate, version: Zxid)
        /// Of this server as a leader, or as an observer master.
        case leader(Leader.Event)
        case learner(Learner.Event)
        case timerExpired(Timer)
        /// After `leave`: nothing of the role is left, the log is settled and the tree is what it
        /// says.
        case roleEnded(lastZxid: Zxid)
        /// Without a role the tree became what the log says.
        case historyReloaded(lastZxid: Zxid)
    }

    package enum Effect: Equatable, Sendable {
        case send(Election.Notification, to: ServerID)
        case arm(Timer, after: Duration)
        case disarm(Timer)
        /// The role begins; its first effects follow.
        case lead
        case learn(from: ServerID, as: ServerState)
        case leader(Leader.Effect)
        case learner(Learner.Effect)
        /// The role is over: end what belongs to it, then tell `roleEnded`.
        case leave(Departure)
    }

    package enum Departure: Equatable, Sendable {
        case resigned(Leader.Resignation)
        case left(Learner.Departure)
    }

    private enum Role: Equatable {
        case none
        case leading(Leader)
        case learning(Learner)
        /// The shell tidies up.
        case ending

        static func == (a: Role, b: Role) -> Bool {
            switch (a, b) {
            case (.none, .none), (.leading, .leading), (.learning, .learning), (.ending, .ending):
                true
            default: false
            }
        }
    }

    package let id: ServerID
    private let settings: Settings
    private var election: Election
    private var role = Role.none
    /// Of a follower that serves.
    package private(set) var observerMaster: ObserverMaster?
    private var electorate: Election.Electorate
    private var configVersion: Zxid
    private var lastZxid: Zxid
    package private(set) var epochs: Epochs
    package private(set) var state = ServerState.looking

    // Emptied and refilled with each step, so that steps cost no memory.
    private var electionEffects: [Election.Effect] = []
    private var leaderEffects: [Leader.Effect] = []
    private var learnerEffects: [Learner.Effect] = []

    /// `lastZxid`: the last logged transaction; `none`: no data, so no vote. `configVersion`: of the
    /// active configuration.
    package init(
        id: ServerID, lastZxid: Zxid, epochs: Epochs, electorate: Election.Electorate,
        configVersion: Zxid, settings: Settings
    ) {
        self.id = id
        self.lastZxid = lastZxid
        self.epochs = epochs
        self.electorate = electorate
        self.configVersion = configVersion
        self.settings = settings
        election = Election(
            id: id, history: .init(lastZxid: lastZxid, currentEpoch: epochs.current),
            electorate: electorate, timing: settings.electionTiming)
    }

    /// A standalone server: it leads alone, without an election.
    package init(standalone id: ServerID, lastZxid: Zxid) {
        self.init(
            id: id, lastZxid: lastZxid,
            epochs: Epochs(accepted: lastZxid.epoch, current: lastZxid.epoch),
            electorate: Election.Electorate(active: QuorumVerifier(voters: [id])),
            configVersion: .zero,
            settings: Settings(timing: LinkTiming(tick: .seconds(1), initLimit: 1, syncLimit: 1)))
        role = .leading(Leader(standalone: id, lastZxid: lastZxid))
        state = .leading
    }

    /// The round of the election, as the log and the metrics tell it.
    package var round: Int64 { election.round }
    package var currentVote: Election.Vote { election.currentVote }

    /// The leader that this server is, if it is one.
    package var leader: Leader? {
        if case .leading(let leader) = role { leader } else { nil }
    }

    /// The learner that this server is, if it is one.
    package var learner: Learner? {
        if case .learning(let learner) = role { learner } else { nil }
    }

    package mutating func step(_ event: Event, into effects: inout [Effect]) {
        switch event {
        case .started:
            stepElection(.started, into: &effects)
        case .notificationReceived(let notification, let sender):
            stepElection(.notificationReceived(notification, from: sender), into: &effects)
            // Deviation: in ZooKeeper it leads on until its patience ends.
            // 1. Servers 1 and 2 look, 3 is not up yet: both vote for 2, and 2 does not wait for 3.
            // 2. Server 3 starts. Server 1, which has not heard 2's last word, joins it.
            // 3. Nobody follows server 2, and without this it would wait for `initLimit`.
            if isBetter(notification, from: sender) { stepLeader(.outvoted, into: &effects) }
        case .peerConnected(let peer):
            stepElection(.peerConnected(peer), into: &effects)
        case .peerUnreachable(let peer):
            stepElection(.peerUnreachable(peer), into: &effects)
        case .electorateChanged(let electorate, let version):
            self.electorate = electorate
            configVersion = version
            stepLeader(.configurationActivated(version), into: &effects)
            stepElection(.electorateChanged(electorate), into: &effects)
        case .leader(let event):
            stepLeader(event, into: &effects)
        case .learner(let event):
            stepLearner(event, into: &effects)
        case .timerExpired(.election(let timer)):
            stepElection(.timerExpired(timer), into: &effects)
        case .timerExpired(.leader(let timer)):
            stepLeader(.timerExpired(timer), into: &effects)
        case .timerExpired(.learner(let timer)):
            stepLearner(.timerExpired(timer), into: &effects)
        case .roleEnded(let lastZxid):
            precondition(role == .ending, "a role ends once, after it was left")
            let pause = state == .observing ? settings.observerPause : .zero
            role = .none
            state = .looking
            self.lastZxid = lastZxid
            guard pause == .zero else { return effects.append(.arm(.pause, after: pause)) }
            stepElection(.roleEnded(history), into: &effects)
        case .timerExpired(.pause):
            stepElection(.roleEnded(history), into: &effects)
        case .historyReloaded(let lastZxid):
            precondition(role == .none, "a role has its own history")
            self.lastZxid = lastZxid
            stepElection(.historyReloaded(history), into: &effects)
        }
    }

    // MARK: Looking

    /// A vote that would have won over the one that made this server lead.
    private func isBetter(
        _ theirs: Election.Notification, from sender: ServerID
    ) -> Bool {
        theirs.state == .looking && theirs.round >= election.round
            && electorate.hasVoter(sender) && electorate.active.weight(of: theirs.vote.leader) != 0
            && theirs.vote > election.currentVote
    }

    private mutating func stepElection(_ event: Election.Event, into effects: inout [Effect]) {
        election.step(event, into: &electionEffects)
        let pending = electionEffects
        electionEffects.removeAll(keepingCapacity: true)
        for effect in pending {
            switch effect {
            case .send(let notification, let peer):
                effects.append(.send(notification, to: peer))
            case .arm(let timer, let delay):
                effects.append(.arm(.election(timer), after: delay))
            case .disarm(let timer): effects.append(.disarm(.election(timer)))
            case .lead: lead(into: &effects)
            case .follow(let vote): learn(from: vote.leader, as: .following, into: &effects)
            case .observe(let vote): learn(from: vote.leader, as: .observing, into: &effects)
            }
        }
    }

    private var history: Election.History {
        Election.History(lastZxid: lastZxid, currentEpoch: epochs.current)
    }

    private mutating func lead(into effects: inout [Effect]) {
        state = .leading
        role = .leading(
            Leader(
                id: id, history: history, acceptedEpoch: epochs.accepted, electorate: electorate,
                configVersion: configVersion, timing: settings.timing,
                confirmsSyncs: settings.confirmsSyncs))
        effects.append(.lead)
        stepLeader(.started, into: &effects)
    }

    private mutating func learn(
        from leader: ServerID, as state: ServerState, into effects: inout [Effect]
    ) {
        self.state = state
        role = .learning(
            Learner(
                leader: leader, isObserver: state == .observing, history: history,
                acceptedEpoch: epochs.accepted, timing: settings.timing))
        effects.append(.learn(from: leader, as: state))
        stepLearner(.started, into: &effects)
    }

    // MARK: Leading and learning

    private mutating func stepLeader(_ event: Leader.Event, into effects: inout [Effect]) {
        if case .leading(var leader) = role {
            role = .none  // So that the value is changed in place.
            leader.step(event, into: &leaderEffects)
            role = .leading(leader)
        } else {
            // Nil: of a role that is over.
            observerMaster?.step(event, into: &leaderEffects)
        }
        for effect in leaderEffects {
            switch effect {
            case .arm(let timer, let delay): effects.append(.arm(.leader(timer), after: delay))
            case .disarm(let timer): effects.append(.disarm(.leader(timer)))
            case .saveAcceptedEpoch(let epoch):
                epochs.accepted = epoch
                effects.append(.leader(effect))
            case .saveCurrentEpoch(let epoch):
                epochs.current = epoch
                effects.append(.leader(effect))
            case .serve(let epoch):
                effects.append(.leader(effect))
                stepElection(.epochEstablished(epoch), into: &effects)
            case .resign(let reason):
                role = .ending
                effects.append(.leave(.resigned(reason)))
            default: effects.append(.leader(effect))
            }
        }
        leaderEffects.removeAll(keepingCapacity: true)
    }

    private mutating func stepLearner(_ event: Learner.Event, into effects: inout [Effect]) {
        guard case .learning(var learner) = role else { return }
        role = .none
        learner.step(event, into: &learnerEffects)
        role = .learning(learner)
        for effect in learnerEffects {
            switch effect {
            case .arm(let timer, let delay): effects.append(.arm(.learner(timer), after: delay))
            case .disarm(let timer): effects.append(.disarm(.learner(timer)))
            case .saveAcceptedEpoch(let epoch):
                epochs.accepted = epoch
                effects.append(.learner(effect))
            case .saveCurrentEpoch(let epoch):
                epochs.current = epoch
                effects.append(.learner(effect))
            case .serve(let epoch):
                effects.append(.learner(effect))
                stepElection(.epochEstablished(epoch), into: &effects)
                serveObservers(in: epoch, into: &effects)
            case .leave(let reason):
                if observerMaster.take() != nil {
                    effects.append(.disarm(.leader(.halfTick)))
                }
                role = .ending
                effects.append(.leave(.left(reason)))
            default: effects.append(.learner(effect))
            }
        }
        learnerEffects.removeAll(keepingCapacity: true)
    }

    private mutating func serveObservers(in epoch: Int64, into effects: inout [Effect]) {
        guard state == .following, settings.servesObservers else { return }
        observerMaster = ObserverMaster(
            epoch: epoch, configVersion: configVersion, timing: settings.timing)
        stepLeader(.started, into: &effects)
    }
}
