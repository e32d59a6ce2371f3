internal import DequeModule
package import Vocabulary

/// A follower or an observer: takes over its leader's history, then follows it write by write.
///
///     connecting -> greeting -> agreeing -> syncing -> persisting -> synced -> following
///         |            |           |          |            |           |          |
///         +------------+-----------+----------+-- left ----+-----------+----------+
///
/// One value for each time that the server follows. The shell keeps the transactions: each proposal
/// is in its log's queue, in order, before its event comes here.
///
/// Source: ZooKeeper, `Learner`, `Follower`, `Observer`.
package struct Learner: Reducer {
    package enum Timer: Hashable, Sendable {
        /// Dial the leader again.
        case redial
        /// Half a tick: has anything come?
        case halfTick
    }

    package enum SyncMode: Equatable, Sendable {
        /// DIFF: what follows continues our history.
        case diff
        /// TRUNC: first cut it behind this zxid.
        case trunc(Zxid)
        /// SNAP: a whole tree follows in the stream.
        case snap(Zxid)
    }

    package enum Event: Equatable, Sendable {
        case started
        case connected
        /// Dialing failed, or the connection ended.
        case disconnected
        /// LEADERINFO
        case epochOffered(Int64)
        case acceptedEpochSaved
        case syncBegun(SyncMode)
        /// The log is cut and the tree is what it holds.
        case truncated
        /// The disk does not lead to where the log was to be cut. Nothing was changed, and the link
        /// is closed.
        case truncationRefused
        /// The tree of SNAP is complete.
        case snapshotReceived
        /// PROPOSAL
        case proposed(Zxid)
        /// COMMIT, or COMMITANDACTIVATE
        case committed(Zxid)
        /// INFORM, or INFORMANDACTIVATE: proposed and committed.
        case informed(Zxid)
        /// NEWLEADER
        case historyEnded(epoch: Int64)
        /// The history is on the disk.
        case historyPersisted
        case currentEpochSaved
        /// UPTODATE
        case admitted
        /// PING
        case pinged(Zxid)
        /// Any other packet came.
        case heard
        case flushed(upTo: Zxid)
        /// A configuration is active in which another server leads, or this one is something else.
        case roleChanged
        case timerExpired(Timer)
    }

    package enum Effect: Equatable, Sendable {
        /// Dial the leader; `connected` or `disconnected` follows.
        case connect(ServerID)
        /// FOLLOWERINFO or OBSERVERINFO
        case introduce(acceptedEpoch: Int64)
        /// `acceptedEpochSaved` follows when it is on the disk.
        case saveAcceptedEpoch(Int64)
        case saveCurrentEpoch(Int64)
        /// ACKEPOCH; a nil epoch says that it had been promised before.
        case acknowledgeEpoch(lastZxid: Zxid, currentEpoch: Int64?)
        /// Cut the log behind this zxid, and make the tree what is left: `truncated` follows, or
        /// `truncationRefused`.
        case truncate(to: Zxid)
        /// Forget the tree: what follows is the history from its beginning.
        case forgetTree
        /// Forget the tree and read it from the stream: `snapshotReceived` follows.
        case receiveSnapshot(Zxid)
        /// Apply the proposals up to this one.
        case apply(upTo: Zxid)
        /// Bring all that was received to the disk, by a snapshot of the tree if it came whole;
        /// `historyPersisted` follows. Until then nothing is applied.
        case persistHistory(asSnapshot: Bool)
        /// From now on proposals go to the log; those that are not applied yet, at once.
        case startLogging
        /// ACK
        case acknowledge(Zxid)
        /// The leader's epoch is established: serve clients.
        case serve(epoch: Int64)
        /// PING with the sessions that were heard from.
        case echoPing(Zxid)
        case arm(Timer, after: Duration)
        case disarm(Timer)
        /// Leave the leader; always the last effect.
        case leave(Departure)
    }

    package enum Departure: Equatable, Sendable {
        case leaderUnreachable
        case disconnected
        case silence
        /// The leader's epoch is below what was promised.
        case staleEpoch(Int64)
        /// A packet that means nothing where it came.
        case outOfPlace(Stage)
        /// A proposal does not follow the last one.
        case gap(after: Zxid, Zxid)
        /// By the active configuration the role is another one.
        case reconfigured
        /// A commit that is not the oldest proposal's.
        case unexpectedCommit(Zxid)
    }

    package enum Stage: Equatable, Sendable {
        case idle
        case connecting
        /// Introduced; waits for the epoch.
        case greeting
        case savingAcceptedEpoch
        /// Has promised; waits to hear how it is synchronised.
        case agreeing
        /// Cuts its log, or reads a tree.
        case restoring
        case syncing
        /// Brings the history to the disk.
        case persisting
        case savingCurrentEpoch
        /// Has acknowledged the history; waits for UPTODATE.
        case synced
        case following
        case left
    }

    private static let redialsMax = 7
    private static let redialMin = Duration.milliseconds(10)
    private static let redialMax = Duration.milliseconds(100)

    private let leader: ServerID
    private let isObserver: Bool
    private let history: Election.History
    private var acceptedEpoch: Int64
    private let timing: LinkTiming

    package private(set) var stage = Stage.idle
    private var mode = SyncMode.diff
    private var redials = 0
    /// The log cannot be brought to the leader's history, which therefore replaces it as a whole.
    private var startsAnew = false
    /// The epoch that the leader has offered.
    private var epoch: Int64 = -1
    /// Where the history ends that proposals continue; nil: behind a tree that may hold more than
    /// its zxid says.
    private var lastProposed: Zxid?
    private var lastCommitted = Zxid.none
    /// Proposed and not committed.
    private var pending: Deque<Zxid> = []
    /// On their way to our disk, or there and not acknowledged.
    private var unacknowledged: Deque<Zxid> = []
    private var flushed = Zxid.none
    /// Half ticks without a packet.
    private var silence = 0

    /// `leader`: whom the election has found. `history`: where our log ends, and the last epoch that
    /// was established here. `acceptedEpoch`: the highest epoch that was promised.
    package init(
        leader: ServerID, isObserver: Bool, history: Election.History, acceptedEpoch: Int64,
        timing: LinkTiming
    ) {
        self.leader = leader
        self.isObserver = isObserver
        self.history = history
        self.acceptedEpoch = acceptedEpoch
        self.timing = timing
    }

    package mutating func step(_ event: Event, into effects: inout [Effect]) {
        guard stage != .left else { return }  // What was on its way when it left.
        switch event {
        case .started:
            precondition(stage == .idle, "one Learner starts once")
            stage = .connecting
            effects.append(.arm(.halfTick, after: timing.tick / 2))
            effects.append(.connect(leader))
        case .connected:
            stage = .greeting
            silence = 0
            effects.append(.introduce(acceptedEpoch: acceptedEpoch))
        case .disconnected:
            guard stage == .connecting else { return leave(.disconnected, into: &effects) }
            redial(into: &effects)
        case .timerExpired(.redial):
            if stage == .connecting { effects.append(.connect(leader)) }
        case .timerExpired(.halfTick):
            passHalfTick(into: &effects)
        case .roleChanged: leave(.reconfigured, into: &effects)
        case .flushed(let zxid):
            flushed = max(flushed, zxid)
            acknowledgeFlushed(into: &effects)

        case .acceptedEpochSaved:
            precondition(stage == .savingAcceptedEpoch, "saved when it was asked for")
            acceptedEpoch = epoch
            agree(currentEpoch: history.currentEpoch, into: &effects)
        case .truncated, .snapshotReceived:
            precondition(stage == .restoring, "restored when it was asked for")
            stage = .syncing
        case .truncationRefused:
            precondition(stage == .restoring, "refused when it was asked for")
            startsAnew = true
            stage = .connecting
            effects.append(.connect(leader))
        case .historyPersisted:
            precondition(stage == .persisting, "persisted when it was asked for")
            stage = .savingCurrentEpoch
            if isTreeWhole { effects.append(.startLogging) }
            effects.append(.saveCurrentEpoch(epoch))
        case .currentEpochSaved:
            precondition(stage == .savingCurrentEpoch, "saved when it was asked for")
            acknowledgeHistory(into: &effects)

        case .epochOffered, .syncBegun, .proposed, .committed, .informed, .historyEnded,
            .admitted, .pinged, .heard:
            silence = 0
            receive(event, into: &effects)
        }
    }

    /// What the leader sends, stage by stage.
    private mutating func receive(_ event: Event, into effects: inout [Effect]) {
        switch (stage, event) {
        case (.greeting, .epochOffered(let offered)):
            receiveEpoch(offered, into: &effects)
        case (.agreeing, .syncBegun(let mode)):
            beginSync(mode, into: &effects)

        case (.syncing, .proposed(let zxid)), (.persisting, .proposed(let zxid)),
            (.savingCurrentEpoch, .proposed(let zxid)), (.synced, .proposed(let zxid)),
            (.following, .proposed(let zxid)):
            propose(zxid, into: &effects)
        case (.syncing, .committed(let zxid)), (.persisting, .committed(let zxid)),
            (.savingCurrentEpoch, .committed(let zxid)), (.synced, .committed(let zxid)),
            (.following, .committed(let zxid)):
            commit(zxid, into: &effects)
        case (.syncing, .informed(let zxid)), (.persisting, .informed(let zxid)),
            (.savingCurrentEpoch, .informed(let zxid)), (.synced, .informed(let zxid)),
            (.following, .informed(let zxid)):
            propose(zxid, into: &effects)
            if stage != .left { commit(zxid, into: &effects) }

        case (.syncing, .historyEnded(let ended)):
            guard ended == epoch else { return leave(.staleEpoch(ended), into: &effects) }
            stage = .persisting
            effects.append(.persistHistory(asSnapshot: isTreeWhole))
        case (.synced, .admitted):
            stage = .following
            // Apache's leaders expect an answer to this, too.
            effects.append(.acknowledge(Zxid(epoch: epoch, counter: 0)))
            effects.append(.serve(epoch: epoch))
        case (.following, .pinged(let zxid)):
            effects.append(.echoPing(zxid))

        case (_, .pinged), (_, .heard):
            break  // Before UPTODATE nobody waits for an echo.
        case (.following, .admitted), (.following, .epochOffered), (.following, .syncBegun),
            (.following, .historyEnded):
            break  // Apache's learners take no notice either.
        case (_, .epochOffered), (_, .syncBegun), (_, .proposed), (_, .committed), (_, .informed),
            (_, .historyEnded), (_, .admitted):
            leave(.outOfPlace(stage), into: &effects)
        case (_, .started), (_, .connected), (_, .disconnected), (_, .acceptedEpochSaved),
            (_, .truncated), (_, .truncationRefused), (_, .snapshotReceived),
            (_, .historyPersisted), (_, .currentEpochSaved), (_, .flushed), (_, .roleChanged),
            (_, .timerExpired):
            preconditionFailure("the leader sends no such thing")
        }
    }

    // MARK: Finding the leader

    private mutating func redial(into effects: inout [Effect]) {
        // It was elected a moment ago and may not listen yet.
        guard redials < Self.redialsMax else {
            return leave(.leaderUnreachable, into: &effects)
        }
        let delay = min(Self.redialMin * (1 << redials), Self.redialMax)
        redials += 1
        effects.append(.arm(.redial, after: delay))
    }

    private mutating func receiveEpoch(_ offered: Int64, into effects: inout [Effect]) {
        epoch = offered
        if offered > acceptedEpoch {
            stage = .savingAcceptedEpoch
            effects.append(.saveAcceptedEpoch(offered))
        } else if offered == acceptedEpoch {
            agree(currentEpoch: nil, into: &effects)
        } else {
            leave(.staleEpoch(offered), into: &effects)
        }
    }

    /// From here on no leader of an earlier epoch can count on this server.
    private mutating func agree(currentEpoch: Int64?, into effects: inout [Effect]) {
        stage = .agreeing
        effects.append(
            .acknowledgeEpoch(
                lastZxid: startsAnew ? .zero : history.lastZxid, currentEpoch: currentEpoch))
    }

    // MARK: Taking over its history

    private mutating func beginSync(_ mode: SyncMode, into effects: inout [Effect]) {
        self.mode = mode
        switch mode {
        case .diff where startsAnew:
            lastCommitted = .zero
            lastProposed = .zero
            stage = .syncing
            effects.append(.forgetTree)
        case .diff:
            lastCommitted = history.lastZxid
            lastProposed = history.lastZxid
            stage = .syncing
        case .trunc where startsAnew: leave(.outOfPlace(stage), into: &effects)
        case .trunc(let zxid):
            lastCommitted = zxid
            lastProposed = zxid
            stage = .restoring
            effects.append(.truncate(to: zxid))
        case .snap(let zxid):
            lastCommitted = zxid
            stage = .restoring
            effects.append(.receiveSnapshot(zxid))
        }
    }

    /// Whether a proposal that comes now continues the history. What does not must never reach the
    /// log: the shell asks before it queues one.
    ///
    /// Deviation: Apache's learners only warn of a gap, and lack a transaction from then on.
    package func accepts(_ zxid: Zxid) -> Bool {
        switch stage {
        case .idle, .connecting, .greeting, .savingAcceptedEpoch, .agreeing, .restoring, .left:
            return false
        case .syncing, .persisting, .savingCurrentEpoch, .synced, .following:
            guard zxid.epoch <= epoch else { return false }
            guard let last = lastProposed else { return true }
            return zxid.epoch > last.epoch || zxid.rawValue == last.rawValue &+ 1
        }
    }

    private mutating func propose(_ zxid: Zxid, into effects: inout [Effect]) {
        guard accepts(zxid) else {
            return leave(.gap(after: lastProposed ?? .none, zxid), into: &effects)
        }
        lastProposed = zxid
        pending.append(zxid)
        if !isObserver { unacknowledged.append(zxid) }
    }

    private mutating func commit(_ zxid: Zxid, into effects: inout [Effect]) {
        // A tree that was read while its leader wrote may hold what is now repeated.
        guard pending.first == zxid else {
            return leave(.unexpectedCommit(zxid), into: &effects)
        }
        pending.removeFirst()
        lastCommitted = zxid
        switch stage {
        case .persisting, .savingCurrentEpoch: break  // Applied when the history is on the disk.
        default: effects.append(.apply(upTo: zxid))
        }
    }

    /// Everything of the leader's history is on our disk, and so is its epoch: only now may it
    /// count on us.
    private mutating func acknowledgeHistory(into effects: inout [Effect]) {
        stage = .synced
        effects.append(.acknowledge(Zxid(epoch: epoch, counter: 0)))
        effects.append(.apply(upTo: lastCommitted))
        // What was committed before needs no word of ours.
        while let first = unacknowledged.first, first <= lastCommitted {
            unacknowledged.removeFirst()
        }
        acknowledgeFlushed(into: &effects)
    }

    private mutating func acknowledgeFlushed(into effects: inout [Effect]) {
        guard stage == .synced || stage == .following else { return }
        while let first = unacknowledged.first, first <= flushed {
            unacknowledged.removeFirst()
            effects.append(.acknowledge(first))
        }
    }

    // MARK: Time

    /// A tree comes from the leader, piece by piece.
    private var isReceiving: Bool {
        if case .snap = mode { true } else { false }
    }

    /// The tree does not continue the one on the disk.
    private var isTreeWhole: Bool { isReceiving || startsAnew }

    private mutating func passHalfTick(into effects: inout [Effect]) {
        effects.append(.arm(.halfTick, after: timing.tick / 2))
        let patience: Int
        switch stage {
        // Busy with its own disk, it does not listen.
        case .restoring where !isReceiving: return
        case .restoring: patience = timing.initLimit
        case .persisting, .savingAcceptedEpoch, .savingCurrentEpoch: return
        case .idle, .connecting, .greeting, .agreeing, .syncing: patience = timing.initLimit
        case .synced, .following, .left: patience = timing.syncLimit
        }
        silence += 1
        if silence > 2 * patience {
            leave(stage == .connecting ? .leaderUnreachable : .silence, into: &effects)
        }
    }

    private mutating func leave(_ reason: Departure, into effects: inout [Effect]) {
        stage = .left
        effects.append(.disarm(.redial))
        effects.append(.disarm(.halfTick))
        effects.append(.leave(reason))
    }
}
