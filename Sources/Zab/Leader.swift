internal import DequeModule
package import Vocabulary

/// A leader: establishes its epoch with a quorum, brings learners to its history, then decides what
/// is committed.
///
///     collecting --a quorum promised--> establishing --a quorum agreed--> synchronising
///         |                                |                                  |
///         |     (each within initLimit)    |                  a quorum has our history on disk
///         v                                v                                  v
///       resigned <------------------------------------------------------- serving
///                  no quorum in time, or none alive for syncLimit
///
/// One value for each time that the server leads. Its own history is on its disk before `started`.
///
/// The shell's part:
/// - A link is known here from `learnerArrived` to `linkClosed` or `disconnect`.
/// - `synchronise` decides by `SyncPlan` and sends; from then on the link gets every proposal and
///   every commit, in order, behind what `synchronise` sent.
///
/// Source: ZooKeeper, `Leader`, `LearnerHandler`.
package struct Leader: Reducer {
    package enum Timer: Hashable, Sendable {
        /// `initLimit` for what the epoch waits for.
        case step
        /// Half a tick: pings, and every second time a look at who is alive.
        case halfTick
    }

    /// What a learner says of itself.
    package struct Greeting: Equatable, Sendable {
        /// Nil: it has no id, and is served without being counted.
        package var server: ServerID?
        package var isObserver: Bool
        package var acceptedEpoch: Int64
        /// Of its active configuration; nil: it does not say.
        package var configVersion: Zxid?

        package init(
            server: ServerID?, isObserver: Bool, acceptedEpoch: Int64, configVersion: Zxid? = nil
        ) {
            self.server = server
            self.isObserver = isObserver
            self.acceptedEpoch = acceptedEpoch
            self.configVersion = configVersion
        }
    }

    /// A proposed configuration.
    package struct Reconfiguration: Equatable, Sendable {
        package var quorum: QuorumVerifier
        package var version: Zxid
        /// Whether this server votes in it, at the same address.
        package var keepsLeader: Bool

        package init(quorum: QuorumVerifier, version: Zxid, keepsLeader: Bool) {
            self.quorum = quorum
            self.version = version
            self.keepsLeader = keepsLeader
        }
    }

    package enum Event: Equatable, Sendable {
        case started
        case learnerArrived(LinkID, Greeting)
        /// ACKEPOCH; `currentEpoch` is nil if the epoch had been promised before.
        case epochAcknowledged(LinkID, lastZxid: Zxid, currentEpoch: Int64?)
        /// ACK: of NEWLEADER, of UPTODATE, or of a proposal.
        case acknowledged(LinkID, Zxid)
        case pingEchoed(LinkID)
        /// Any other packet came.
        case heard(LinkID)
        case linkClosed(LinkID)
        case acceptedEpochSaved
        case currentEpochSaved
        /// Proposals have their place in the order; all links that are synchronised got them.
        case proposed(upTo: Zxid)
        /// The last of the proposals is a reconfiguration.
        case reconfigProposed(Reconfiguration)
        /// The active configuration has this version.
        case configurationActivated(Zxid)
        /// By the active configuration another server is to lead.
        case replaced
        /// A voter that looks has a better candidate.
        case outvoted
        /// They are on our own disk.
        case flushed(upTo: Zxid)
        /// A client wants to be in step with the leader: with everything up to `after`, of which the
        /// last may not have been `proposed` here yet. Counted from 1.
        case syncRequested(after: Zxid)
        case timerExpired(Timer)
    }

    package enum Effect: Equatable, Sendable {
        /// `acceptedEpochSaved` follows when it is on the disk.
        case saveAcceptedEpoch(Int64)
        case saveCurrentEpoch(Int64)
        /// LEADERINFO
        case offerEpoch(Int64, to: LinkID)
        /// Bring the learner from this zxid to our history, then NEWLEADER.
        case synchronise(LinkID, from: Zxid)
        /// UPTODATE
        case sendUpToDate(LinkID)
        /// The epoch is established, our whole history is committed: serve clients.
        case serve(epoch: Int64)
        case commit(upTo: Zxid)
        /// The configuration becomes active. If `designated` is another server, nothing more is
        /// committed here.
        case commitReconfig(Zxid, designated: ServerID)
        case ping(LinkID)
        /// So many of the syncs that were requested are in step, counted from the first.
        case answerSyncs(upTo: Int)
        /// Close the link; it is forgotten here.
        case disconnect(LinkID, Disconnection)
        case arm(Timer, after: Duration)
        case disarm(Timer)
        /// Give up leading; always the last effect.
        case resign(Resignation)
    }

    package enum Disconnection: Equatable, Sendable {
        /// It knows a newer configuration.
        case knowsNewerConfiguration
        /// An epoch that leaves no room for the next one.
        case epochOutOfRange(Int64)
        /// Another link of the same server is here now.
        case replaced
        /// It is no observer, and this server only a follower.
        case noObserver
        /// Its history is ahead of ours.
        case isAhead(lastZxid: Zxid, currentEpoch: Int64)
        /// What it sent has no meaning where it stands.
        case outOfPlace
        /// It acknowledged what was not sent to it.
        case acknowledgedUnsent(Zxid)
        case silent
        /// A proposal waits for its acknowledgement for too long.
        case slow(Zxid)
    }

    package enum Resignation: Equatable, Sendable {
        /// `initLimit` is over.
        case noQuorumInTime(Phase.Name)
        /// By the active configuration another server leads.
        case replaced
        /// Before a quorum promised anything, a better candidate came: the others may follow that.
        case outvoted
        /// Too few voters are alive.
        case quorumLost
        /// The counter of this epoch's zxids is nearly used up: another epoch must begin.
        case zxidsUsedUp
    }

    package struct Phase {
        package enum Name: String, Sendable {
            case collecting, establishing, synchronising, serving
        }
    }

    private enum Stage: Equatable {
        case idle
        /// The highest epoch heard of, and the voters that have promised.
        case collecting(candidate: Int64, promised: Set<ServerID>)
        case savingAcceptedEpoch
        case establishing(agreed: Set<ServerID>)
        case savingCurrentEpoch
        case synchronising(synced: Set<ServerID>)
        case serving
        case resigned

        var name: Phase.Name {
            switch self {
            case .idle, .collecting, .savingAcceptedEpoch: .collecting
            case .establishing, .savingCurrentEpoch: .establishing
            case .synchronising: .synchronising
            case .serving, .resigned: .serving
            }
        }
    }

    /// Above this counter a leader makes room for the next epoch. Far from the end: what is on its
    /// way in one turn must still fit.
    package static let counterMax: UInt32 = 0xf000_0000
    /// An epoch fits into the high half of a signed zxid, and one more follows.
    package static let epochMax = Int64(Int32.max) - 1

    package let id: ServerID
    private let timing: LinkTiming
    private let history: Election.History
    private let confirmsSyncs: Bool
    private var isStandalone = false
    private var electorate: Election.Electorate
    private var configVersion: Zxid
    private let acceptedEpoch: Int64

    private var stage = Stage.idle
    /// The epoch of this leader, once a quorum has promised it.
    package private(set) var epoch: Int64 = -1
    private var broadcast: Broadcast
    private var broadcastEffects: [Broadcast.Effect] = []
    private var reconfiguration: Reconfiguration?
    /// False once another server is to lead.
    private var mayCommit = true
    /// In the order of arrival; they are few.
    private var links: [LearnerLink] = []
    private var halfTicks = 0
    private var syncs = SyncRounds()

    /// A leader with an epoch to establish.
    ///
    /// `history`: what is on its disk. `acceptedEpoch`: the highest epoch that it has promised.
    /// `configVersion`: of the active configuration. `confirmsSyncs`: whether a sync is answered
    /// only when a quorum has echoed a later ping.
    package init(
        id: ServerID, history: Election.History, acceptedEpoch: Int64,
        electorate: Election.Electorate, configVersion: Zxid = .zero, timing: LinkTiming,
        confirmsSyncs: Bool = true
    ) {
        self.id = id
        self.history = history
        self.acceptedEpoch = acceptedEpoch
        self.electorate = electorate
        self.configVersion = configVersion
        self.timing = timing
        self.confirmsSyncs = confirmsSyncs
        broadcast = Broadcast(quorum: electorate.active, lastZxid: history.lastZxid)
    }

    /// A standalone server: a quorum of one that goes on in the epoch of its last zxid.
    package init(standalone id: ServerID, lastZxid: Zxid) {
        self.init(
            id: id,
            history: Election.History(lastZxid: lastZxid, currentEpoch: lastZxid.epoch),
            acceptedEpoch: lastZxid.epoch,
            electorate: Election.Electorate(active: QuorumVerifier(voters: [id])),
            timing: LinkTiming(tick: .seconds(1), initLimit: 1, syncLimit: 1))
        stage = .serving
        epoch = lastZxid.epoch
        isStandalone = true
    }

    package var lastProposed: Zxid { broadcast.lastProposed }
    package var lastCommitted: Zxid { broadcast.lastCommitted }
    package var isServing: Bool { stage == .serving }

    /// Whether a server could count in a quorum now: it has our history, and a link on which it
    /// acknowledges. This server is one.
    package func isSynced(_ server: ServerID) -> Bool {
        server == id || links.contains { $0.server == server && !$0.isObserver && $0.isUpToDate }
    }

    /// Learners that were told UPTODATE.
    package func syncedCount(areObservers: Bool) -> Int {
        links.count { $0.isUpToDate && $0.isObserver == areObservers }
    }

    /// Followers among them that are no voters of the configurations that count.
    package var syncedNonVoterCount: Int {
        links.count { $0.isUpToDate && !$0.isObserver && !$0.isCounted }
    }

    package mutating func step(_ event: Event, into effects: inout [Effect]) {
        guard stage != .resigned else { return }  // What was on its way when it gave up.
        switch event {
        case .started:
            precondition(stage == .idle, "one Leader starts once")
            stage = .collecting(candidate: acceptedEpoch + 1, promised: [id])
            effects.append(.arm(.halfTick, after: timing.tick / 2))
            armStep(into: &effects)
            fixEpochIfPromised(into: &effects)
        case .acceptedEpochSaved:
            precondition(stage == .savingAcceptedEpoch, "saved when it was asked for")
            establish(into: &effects)
        case .currentEpochSaved:
            precondition(stage == .savingCurrentEpoch, "saved when it was asked for")
            synchronise(into: &effects)

        case .learnerArrived(let link, let greeting):
            greet(link, greeting, into: &effects)
        case .epochAcknowledged(let link, let lastZxid, let currentEpoch):
            receiveHistory(link, lastZxid, currentEpoch, into: &effects)
        case .acknowledged(let link, let zxid):
            receiveAck(link, zxid, into: &effects)
        case .pingEchoed(let link):
            guard let index = index(of: link) else { break }
            links[index].lastHeard = tick
            guard links[index].pingsEchoed < links[index].pingsSent else {
                return disconnect(index, .outOfPlace, into: &effects)
            }
            links[index].pingsEchoed += 1
            confirmSyncs(into: &effects)
        case .heard(let link):
            if let index = index(of: link) { links[index].lastHeard = tick }
        case .linkClosed(let link):
            links.removeAll { $0.id == link }

        case .proposed(let zxid):
            precondition(stage == .serving, "nothing is proposed before the epoch is established")
            deliver(.proposed(zxid), into: &effects)
            if zxid.counter >= Self.counterMax, !isStandalone {
                resign(.zxidsUsedUp, into: &effects)
            }
        case .reconfigProposed(let reconfiguration):
            self.reconfiguration = reconfiguration
            count(
                in: Election.Electorate(
                    active: electorate.active, lastSeen: reconfiguration.quorum))
            deliver(.reconfigProposed(reconfiguration.quorum), into: &effects)
        case .configurationActivated(let version): configVersion = version
        case .replaced: resign(.replaced, into: &effects)
        case .outvoted:
            guard case .collecting = stage else { break }
            resign(.outvoted, into: &effects)
        case .flushed(let zxid):
            deliver(.acknowledged(upTo: zxid, by: id), into: &effects)
        case .syncRequested(let zxid):
            requestSync(after: zxid, into: &effects)

        case .timerExpired(.step):
            switch stage {
            case .collecting, .savingAcceptedEpoch, .establishing, .savingCurrentEpoch,
                .synchronising:
                resign(.noQuorumInTime(stage.name), into: &effects)
            case .idle, .serving, .resigned: break  // Disarmed while its expiry was on the way.
            }
        case .timerExpired(.halfTick):
            passHalfTick(into: &effects)
        }
    }

    private func index(of link: LinkID) -> Int? { links.firstIndex { $0.id == link } }

    private func isCounted(_ learner: LearnerLink) -> Bool {
        guard !learner.isObserver, let server = learner.server else { return false }
        return electorate.hasVoter(server)
    }

    private func armStep(into effects: inout [Effect]) {
        effects.append(.arm(.step, after: timing.tick * timing.initLimit))
    }

    // MARK: The epoch

    private mutating func greet(
        _ link: LinkID, _ greeting: Greeting, into effects: inout [Effect]
    ) {
        if let index = index(of: link) { return disconnect(index, .outOfPlace, into: &effects) }
        if let version = greeting.configVersion, version > configVersion {
            return effects.append(.disconnect(link, .knowsNewerConfiguration))
        }
        // What a stranger says becomes everybody's epoch: it must leave room for the next one.
        guard (0..<Self.epochMax).contains(greeting.acceptedEpoch) else {
            return effects.append(.disconnect(link, .epochOutOfRange(greeting.acceptedEpoch)))
        }
        // Whoever runs with our id must not speak for our disk.
        let server = greeting.server == id ? nil : greeting.server
        if let server, let older = links.firstIndex(where: { $0.server == server }) {
            disconnect(older, .replaced, into: &effects)
        }
        var learner = LearnerLink(
            id: link, server: server, isObserver: greeting.isObserver, lastHeard: tick)
        learner.isCounted = isCounted(learner)
        links.append(learner)
        if case .collecting(var candidate, var promised) = stage {
            candidate = max(candidate, greeting.acceptedEpoch + 1)
            if let server, learner.isCounted { promised.insert(server) }
            stage = .collecting(candidate: candidate, promised: promised)
            fixEpochIfPromised(into: &effects)
        } else if stage != .savingAcceptedEpoch {
            offerEpoch(links.count - 1, into: &effects)
        }
    }

    /// The epoch is above everything that a quorum has ever promised: no earlier leader can commit
    /// with any quorum from now on.
    private mutating func fixEpochIfPromised(into effects: inout [Effect]) {
        guard case .collecting(let candidate, let promised) = stage,
            electorate.active.isQuorum(where: { promised.contains($0) })
        else { return }
        epoch = candidate
        stage = .savingAcceptedEpoch
        effects.append(.saveAcceptedEpoch(epoch))
    }

    private mutating func establish(into effects: inout [Effect]) {
        stage = .establishing(agreed: [id])
        armStep(into: &effects)
        for index in links.indices { offerEpoch(index, into: &effects) }
        fixHistoryIfAgreed(into: &effects)
    }

    private mutating func offerEpoch(_ index: Int, into effects: inout [Effect]) {
        links[index].stage = .offered
        links[index].lastHeard = tick  // Until now it has waited for us.
        effects.append(.offerEpoch(epoch, to: links[index].id))
    }

    private mutating func receiveHistory(
        _ link: LinkID, _ lastZxid: Zxid, _ currentEpoch: Int64?, into effects: inout [Effect]
    ) {
        guard let index = index(of: link) else { return }
        links[index].lastHeard = tick
        guard links[index].stage == .offered else {
            return disconnect(index, .outOfPlace, into: &effects)
        }
        links[index].stage = .agreed(lastZxid: lastZxid)
        guard case .establishing(var agreed) = stage else {
            if stage == .serving || stage.name == .synchronising {
                beginSync(index, into: &effects)
            }
            return
        }
        // Who had promised this epoch before may have promised it to another leader.
        guard let currentEpoch else { return }
        guard (currentEpoch, lastZxid) <= (history.currentEpoch, history.lastZxid) else {
            let reason = Disconnection.isAhead(lastZxid: lastZxid, currentEpoch: currentEpoch)
            return disconnect(index, reason, into: &effects)
        }
        if let server = links[index].server, links[index].isCounted { agreed.insert(server) }
        stage = .establishing(agreed: agreed)
        fixHistoryIfAgreed(into: &effects)
    }

    /// Nobody in a quorum is ahead of us: every committed write is in our history.
    private mutating func fixHistoryIfAgreed(into effects: inout [Effect]) {
        guard case .establishing(let agreed) = stage,
            electorate.active.isQuorum(where: { agreed.contains($0) })
        else { return }
        stage = .savingCurrentEpoch
        effects.append(.saveCurrentEpoch(epoch))
    }

    private mutating func synchronise(into effects: inout [Effect]) {
        stage = .synchronising(synced: [id])
        armStep(into: &effects)
        for index in links.indices { beginSync(index, into: &effects) }
        serveIfSynced(into: &effects)
    }

    private mutating func beginSync(_ index: Int, into effects: inout [Effect]) {
        guard case .agreed(let lastZxid) = links[index].stage else { return }
        links[index].stage = .syncing
        // 1. Server 2 acknowledges a proposal, and comes anew before that is committed.
        // 2. What is not committed is cut off its log, and sent again.
        // 3. We flush the proposal ourselves: with the old word of 2 that would be a quorum, and
        //    nobody but us has it.
        if let server = links[index].server { deliver(.returned(server), into: &effects) }
        links[index].lastHeard = tick
        effects.append(.synchronise(links[index].id, from: lastZxid))
    }

    private mutating func receiveAck(
        _ link: LinkID, _ zxid: Zxid, into effects: inout [Effect]
    ) {
        guard let index = index(of: link) else { return }
        links[index].lastHeard = tick
        if zxid == Zxid(epoch: epoch, counter: 0) {
            switch links[index].stage {
            case .syncing:
                links[index].stage = .synced
                receiveSynced(index, into: &effects)
            case .synced, .upToDate: break  // UPTODATE is acknowledged with the same zxid.
            case .arrived, .offered, .agreed: disconnect(index, .outOfPlace, into: &effects)
            }
            return
        }
        switch links[index].stage {
        case .syncing, .synced, .upToDate: break
        case .arrived, .offered, .agreed:
            return disconnect(index, .outOfPlace, into: &effects)
        }
        guard zxid <= broadcast.lastProposed else {
            return disconnect(index, .acknowledgedUnsent(zxid), into: &effects)
        }
        // Servers before 3.9 acknowledge the history that they were sent, too.
        guard zxid > links[index].acknowledged, zxid.epoch == epoch else { return }
        links[index].acknowledged = zxid
        guard let server = links[index].server, !links[index].isObserver else { return }
        deliver(.acknowledged(upTo: zxid, by: server), into: &effects)
    }

    private mutating func receiveSynced(_ index: Int, into effects: inout [Effect]) {
        if stage == .serving { return admit(index, into: &effects) }
        guard case .synchronising(var synced) = stage else { return }
        if let server = links[index].server, links[index].isCounted { synced.insert(server) }
        stage = .synchronising(synced: synced)
        serveIfSynced(into: &effects)
    }

    /// A quorum has our whole history on disk under our epoch: all of it is committed.
    private mutating func serveIfSynced(into effects: inout [Effect]) {
        guard case .synchronising(let synced) = stage,
            electorate.isQuorum(where: { synced.contains($0) })
        else { return }
        stage = .serving
        // What was seen last is completed with the epoch: its quorum has our history.
        if let next = electorate.lastSeen { count(in: Election.Electorate(active: next)) }
        broadcast = Broadcast(
            quorum: electorate.active, lastZxid: Zxid(epoch: epoch, counter: 0))
        effects.append(.disarm(.step))
        effects.append(.serve(epoch: epoch))
        for index in links.indices where links[index].stage == .synced {
            admit(index, into: &effects)
        }
    }

    private mutating func admit(_ index: Int, into effects: inout [Effect]) {
        links[index].stage = .upToDate
        links[index].lastHeard = tick
        links[index].received = broadcast.lastProposed
        effects.append(.sendUpToDate(links[index].id))
    }

    // MARK: Broadcast

    private mutating func deliver(_ event: Broadcast.Event, into effects: inout [Effect]) {
        guard stage == .serving else { return }
        broadcast.step(event, into: &broadcastEffects)
        for effect in broadcastEffects where mayCommit {
            switch effect {
            case .commit(let zxid): effects.append(.commit(upTo: zxid))
            case .commitReconfig(let zxid): commitReconfig(zxid, into: &effects)
            }
        }
        guard !broadcastEffects.isEmpty else { return }
        broadcastEffects.removeAll(keepingCapacity: true)
        confirmSyncs(into: &effects)  // What a new quorum has echoed may be enough.
        answerSyncs(into: &effects)
    }

    private mutating func commitReconfig(_ zxid: Zxid, into effects: inout [Effect]) {
        guard let reconfiguration = reconfiguration.take() else {
            preconditionFailure("what is committed was proposed")
        }
        count(in: Election.Electorate(active: reconfiguration.quorum))
        configVersion = reconfiguration.version
        let designated = reconfiguration.keepsLeader ? id : successor(at: zxid)
        mayCommit = designated == id
        effects.append(.commitReconfig(zxid, designated: designated))
    }

    private mutating func count(in electorate: Election.Electorate) {
        self.electorate = electorate
        for index in links.indices { links[index].isCounted = isCounted(links[index]) }
    }

    /// Who leads when this server may not: of the voters that have the reconfiguration one that has
    /// the most behind it; among those the lowest id.
    private func successor(at zxid: Zxid) -> ServerID {
        let candidates = links.filter { $0.isCounted && $0.acknowledged >= zxid }
        let most = candidates.map(\.acknowledged).max()
        return candidates.filter { $0.acknowledged == most }.compactMap(\.server).min()
            ?? electorate.active.voters[0]
    }

    // MARK: Syncs

    private mutating func requestSync(after zxid: Zxid, into effects: inout [Effect]) {
        syncs.request(after: zxid)
        confirmSyncs(into: &effects)
    }

    /// Confirms what it can, and begins the next round of pings when the last one is over.
    private mutating func confirmSyncs(into effects: inout [Effect]) {
        guard !syncs.isEmpty else { return }
        if !confirmsSyncs || electorate.isQuorum(where: { $0 == id }) {
            syncs.confirmAll()
            return answerSyncs(into: &effects)
        }
        if syncs.isRoundUnderWay {
            let hasQuorum = electorate.isQuorum { server in
                server == id
                    || links.contains {
                        $0.server == server && $0.isCounted && $0.hasEchoed
                    }
            }
            guard hasQuorum else { return }
            syncs.endRound()
            answerSyncs(into: &effects)
        }
        guard syncs.beginRound() else { return }
        for index in links.indices {
            links[index].awaitedPings = nil
            if links[index].isUpToDate, links[index].isCounted { ping(index, into: &effects) }
        }
    }

    private mutating func answerSyncs(into effects: inout [Effect]) {
        guard mayCommit, let count = syncs.answerable(committed: broadcast.lastCommitted)
        else { return }
        effects.append(.answerSyncs(upTo: count))
    }

    private mutating func ping(_ index: Int, into effects: inout [Effect]) {
        links[index].pingsSent += 1
        // Who has come since the round began confirms it as well: this ping is later, too.
        if syncs.isRoundUnderWay, links[index].awaitedPings == nil {
            links[index].awaitedPings = links[index].pingsSent
        }
        effects.append(.ping(links[index].id))
    }

    // MARK: Time

    private var tick: Int { halfTicks / 2 }

    private mutating func passHalfTick(into effects: inout [Effect]) {
        effects.append(.arm(.halfTick, after: timing.tick / 2))
        halfTicks += 1
        for index in links.indices.reversed() { checkLife(of: index, into: &effects) }
        for index in links.indices where links[index].isUpToDate { ping(index, into: &effects) }
        guard stage == .serving, halfTicks.isMultiple(of: 2) else { return }
        let isAlive = electorate.isQuorum { server in
            server == id
                || links.contains { $0.server == server && $0.isCounted && $0.hasAgreed }
        }
        if !isAlive { resign(.quorumLost, into: &effects) }
    }

    private mutating func checkLife(of index: Int, into effects: inout [Effect]) {
        let patience = links[index].isUpToDate ? timing.syncLimit : timing.initLimit
        guard tick - links[index].lastHeard <= patience else {
            return disconnect(index, .silent, into: &effects)
        }
        guard links[index].isUpToDate, !links[index].isObserver else { return }
        if let sample = links[index].sample, links[index].acknowledged < sample.zxid {
            guard halfTicks - sample.halfTick < 2 * timing.syncLimit else {
                return disconnect(index, .slow(sample.zxid), into: &effects)
            }
        } else {
            let isBehind =
                max(links[index].acknowledged, links[index].received) < broadcast.lastProposed
            links[index].sample =
                isBehind ? .init(zxid: broadcast.lastProposed, halfTick: halfTicks) : nil
        }
    }

    private mutating func disconnect(
        _ index: Int, _ reason: Disconnection, into effects: inout [Effect]
    ) {
        effects.append(.disconnect(links[index].id, reason))
        links.remove(at: index)
    }

    private mutating func resign(_ reason: Resignation, into effects: inout [Effect]) {
        stage = .resigned
        effects.append(.disarm(.step))
        effects.append(.disarm(.halfTick))
        effects.append(.resign(reason))
    }
}
