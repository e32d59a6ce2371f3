import ClientProtocol
internal import DequeModule
package import Jute
package import QuorumProtocol
package import StorageFormat
import Transactions
package import Vocabulary
package import Zab
package import Znodes

/// One server of an ensemble without its sockets, disks and clients: it interprets what the reducer
/// of its role decides, keeps the transactions, and applies them.
///
/// A standalone server is the same with a quorum of one.
///
/// Events that come while effects are performed wait, so that a step always runs to completion.
package final class QuorumPeer {
    package struct Settings: Sendable {
        package var peer: Peer.Settings
        package var proposer: Proposer.Options
        package var tickMilliseconds: Int32
        /// `commitLogCount`
        package var keptTxns: Int
        /// Whether learners may be served from the logs on the disk.
        package var readsLogs: Bool
        /// `forceSnapshotSync`
        package var alwaysSendsSnapshots: Bool
        /// `syncEnabled`: whether an observer keeps its history on its disk.
        package var observerLogs: Bool
        package var packetLimits: JuteLimits
        /// `standaloneEnabled`: a reconfiguration must leave two voters.
        package var standaloneEnabled: Bool
        /// Acknowledgements of zxids that are a multiple of this are measured; 0 and less: none.
        package var ackLoggingFrequency: Int

        package init(
            peer: Peer.Settings, proposer: Proposer.Options, tickMilliseconds: Int32,
            keptTxns: Int = 500, readsLogs: Bool = true, alwaysSendsSnapshots: Bool = false,
            observerLogs: Bool = true, packetLimits: JuteLimits = .default,
            standaloneEnabled: Bool = true, ackLoggingFrequency: Int = 0
        ) {
            self.peer = peer
            self.proposer = proposer
            self.tickMilliseconds = tickMilliseconds
            self.keptTxns = keptTxns
            self.readsLogs = readsLogs
            self.alwaysSendsSnapshots = alwaysSendsSnapshots
            self.observerLogs = observerLogs
            self.packetLimits = packetLimits
            self.standaloneEnabled = standaloneEnabled
            self.ackLoggingFrequency = ackLoggingFrequency
        }
    }

    package let id: ServerID
    let settings: Settings
    package let database: Database
    /// Of the leader, while it serves.
    package internal(set) var proposer: Proposer
    /// It owns this, so it is there as long; from `attach` on. Not weak: that would slow down every
    /// retain of the server.
    private unowned(unsafe) var hostIfAttached: (any QuorumPeerHost)?
    var host: any QuorumPeerHost {
        guard let hostIfAttached else { preconditionFailure("attached before it starts") }
        return hostIfAttached
    }

    private var peer: Peer
    private var inbox: [Peer.Event] = []
    private var effects: [Peer.Effect] = []
    private var isStepping = false
    private var isStopped = false

    var window: TxnWindow
    /// What clients are served as; nil: they are not.
    package internal(set) var serving: ServerState?
    /// The active one; nil: a standalone server's.
    package internal(set) var configuration: EnsembleConfiguration?
    /// The newest one that was proposed, perhaps not active yet.
    package internal(set) var lastSeen: EnsembleConfiguration?
    let isStandalone: Bool
    /// A server without data must not vote; any history makes it a server with data.
    var hasData: Bool
    private var reply = ByteBuffer()

    // Leading
    /// In the order in which they came.
    package internal(set) var links: [QuorumLink] = []
    var syncsAnswered = 0
    /// Who asked for a sync, in order; nil: a client of this server.
    var syncsWaiting: Deque<QuorumLink?> = []
    /// At an observer master: whose client wants to go on with its session, in order; nil: one of
    /// this server's.
    var revalidationsWaiting: Deque<QuorumLink?> = []
    /// At an observer master: sessions that observers have heard from.
    var relayedTouches: [(session: SessionID, timeoutMilliseconds: Int32)] = []
    /// At an observer master: who is to lead by the reconfiguration that is being committed.
    var designatedLeader: ServerID?
    var proposals = ByteBuffer()
    var commits = ByteBuffer()
    var informs = ByteBuffer()

    // Learning
    /// What NEWLEADER carried.
    var offered: EnsembleConfiguration?
    var leaderLink: QuorumLink?
    var isLogging = true
    /// A tree of which only a part has come, or whose transactions are not in the log.
    var isTreeBroken = false
    /// Whether the disk has what the tree has, apart from what is on its way there. An observer that
    /// keeps no log goes on with its tree all the same.
    var isTreeKept = true
    var snapshotReader: SnapshotStreamReader?
    /// A part of a leader's tree has come, and more must follow.
    package var isReceivingTree: Bool { snapshotReader != nil }
    var snapshotZxid = Zxid.none
    var awaitedFlush: Zxid?
    var lastAppended = Zxid.none
    /// Where the log ended before a leader's tree came.
    var logEnd = Zxid.none

    /// A server of an ensemble.
    ///
    /// `lastSeen`: a newer configuration that was proposed and is not known to be active.
    /// `lastZxid`: of the log; `none`: there is no data, and nobody said that this is meant so.
    /// `recent`: the last transactions of the logs, all applied.
    /// Throws when the servers can never agree.
    package init(
        id: ServerID, configuration: EnsembleConfiguration, lastSeen: EnsembleConfiguration?,
        lastZxid: Zxid, epochs: Peer.Epochs, recent: [LogBatch], database: Database,
        settings: Settings
    ) throws(QuorumVerifier.Fault) {
        self.id = id
        self.configuration = configuration
        self.lastSeen = lastSeen ?? configuration
        self.database = database
        self.settings = settings
        isStandalone = false
        hasData = lastZxid != .none
        window = TxnWindow(keptCount: settings.keptTxns)
        window.adopt(recent)
        peer = Peer(
            id: id, lastZxid: lastZxid, epochs: epochs,
            electorate: try Election.Electorate(configuration, lastSeen: lastSeen),
            configVersion: configuration.version, settings: settings.peer)
        proposer = Self.newProposer(database, settings, lastZxid: database.lastProcessedZxid)
    }

    /// A standalone server.
    package init(
        standalone id: ServerID, database: Database, settings: Settings
    ) {
        self.id = id
        self.database = database
        self.settings = settings
        isStandalone = true
        hasData = true
        window = TxnWindow(keptCount: 0)
        peer = Peer(standalone: id, lastZxid: database.lastProcessedZxid)
        proposer = Self.newProposer(database, settings, lastZxid: database.lastProcessedZxid)
    }

    static func newProposer(
        _ database: Database, _ settings: Settings, lastZxid: Zxid
    ) -> Proposer {
        Proposer(
            database, tracker: SessionTracker(tickMilliseconds: settings.tickMilliseconds),
            options: settings.proposer, lastZxid: lastZxid)
    }

    package func attach(to host: any QuorumPeerHost) {
        hostIfAttached = host
        adoptConfiguration()
    }

    package var state: ServerState { peer.state }
    package var currentEpoch: Int64 { peer.epochs.current }
    package var currentVote: Election.Vote { peer.currentVote }
    func accepts(_ zxid: Zxid) -> Bool { peer.learner?.accepts(zxid) ?? false }
    package var round: Int64 { peer.round }
    package var lastProposed: Zxid { proposer.lastZxid }
    /// Of learners and of clients here, at the leader.
    package var pendingSyncs: Int { syncsWaiting.count }
    /// Whether this server turns requests into transactions.
    package var isLeading: Bool { serving == .leading }
    package var leader: Leader? { peer.leader }
    package var observerMaster: ObserverMaster? { peer.observerMaster }
    /// Whether this server keeps its history on its disk.
    var keepsHistory: Bool { state != .observing || settings.observerLogs }

    // MARK: Events

    /// Begins to look for a leader; a standalone server begins to serve.
    package func start() {
        if isStandalone {
            beginLeading(lastZxid: database.lastProcessedZxid)
        } else {
            forgetSeen(behind: database.lastProcessedZxid)
            post(.started)
        }
    }

    /// Ends all links and takes part in nothing any more. The log may be closed behind it.
    package func stop() {
        isStopped = true
        serving = nil
        for link in links { close(link) }
        if let link = leaderLink.take() { close(link) }
    }

    package func expired(_ timer: Peer.Timer) {
        if timer == .leader(.halfTick) { closeUnintroduced() }
        post(.timerExpired(timer))
    }

    package func peerConnected(_ server: ServerID) { post(.peerConnected(server)) }
    package func peerUnreachable(_ server: ServerID) { post(.peerUnreachable(server)) }

    package func received(_ notification: ElectionNotification, from server: ServerID) {
        adoptNewer(notification.configuration)
        let vote = Election.Vote(
            leader: notification.leader, zxid: notification.zxid,
            peerEpoch: notification.peerEpoch)
        post(
            .notificationReceived(
                .init(
                    state: notification.state, vote: vote, round: notification.electionEpoch,
                    version: notification.version),
                from: server))
    }

    /// Everything up to this transaction is on our disk.
    package func flushed(upTo zxid: Zxid) {
        let before = window.flushed
        window.flushed = max(before, zxid)
        switch state {
        case .leading:
            measureAcks(from: before.next, through: zxid, by: id)
            post(.leader(.flushed(upTo: zxid)))
        case .following, .observing:
            post(.learner(.flushed(upTo: zxid)))
            if let awaited = awaitedFlush, zxid >= awaited {
                awaitedFlush = nil
                post(.learner(.historyPersisted))
            }
        case .looking: break
        }
    }

    /// The work of this turn of the loop: what was proposed in it goes to the log and to learners.
    package func turnEnded() {
        guard !isStopped, let batch = window.seal() else { return }
        if isLeading {
            sendProposals(of: batch)
            append(batch)
            post(.leader(.proposed(upTo: batch.lastZxid)))
        } else if isLogging {
            append(batch)
        }
    }

    func append(_ batch: LogBatch) {
        lastAppended = batch.lastZxid
        host.append(batch)
    }

    func post(_ event: Peer.Event) {
        guard !isStopped else { return }
        inbox.append(event)
        guard !isStepping else { return }
        isStepping = true
        var next = 0
        while next < inbox.count {
            let event = inbox[next]
            next += 1
            peer.step(event, into: &effects)
            for effect in effects { perform(effect) }
            effects.removeAll(keepingCapacity: true)
        }
        inbox.removeAll(keepingCapacity: true)
        isStepping = false
    }

    // MARK: Effects

    private func perform(_ effect: Peer.Effect) {
        switch effect {
        case .send(let notification, let server): send(notification, to: server)
        case .arm(let timer, let delay): host.arm(timer, after: delay)
        case .disarm(let timer): host.disarm(timer)
        case .lead:
            beginRole()
            adoptConfiguration()
            host.roleBegan(as: .leading, leader: id)
        case .learn(let leader, let state):
            beginRole()
            host.roleBegan(as: state, leader: leader)
        case .leader(let effect): perform(effect)
        case .learner(let effect): perform(effect)
        case .leave(let reason): endRole(reason)
        }
    }

    private func send(_ notification: Election.Notification, to server: ServerID) {
        host.send(
            ElectionNotification(
                state: notification.state ?? .looking, leader: notification.vote.leader,
                zxid: notification.vote.zxid, electionEpoch: notification.round,
                peerEpoch: notification.vote.peerEpoch,
                configuration: configuration?.text ?? ""),
            to: server)
    }

    private func beginRole() {
        // An observer without a log must never begin one: there would be a hole in front of it.
        isLogging = keepsHistory
        isTreeBroken = false
        awaitedFlush = nil
        // The log is settled: what was cut off since must not be waited for.
        lastAppended = .none
        offered = nil
        syncsAnswered = 0
    }

    /// The tree tells the active configuration.
    func adoptConfiguration() {
        guard let configuration else { return }
        database.setConfiguration(
            configuration.text, version: configuration.version, time: host.wallClock)
    }

    /// Afterwards the tree holds what the log does, committed or not: that is what the next election
    /// is told.
    private func endRole(_ reason: Peer.Departure) {
        let wasLeading = isLeading
        serving = nil
        host.roleEnded(reason)
        for link in links { close(link) }
        links = []
        if let link = leaderLink.take() { close(link) }
        syncsWaiting = []
        revalidationsWaiting = []
        relayedTouches = []
        snapshotReader = nil
        if isTreeBroken || isUnkeptTreeLogging {
            host.settleLog()
            reload()
        } else {
            if isLogging, let batch = window.seal() { append(batch) }
            host.settleLog()
            while let next = window.nextToApply {
                applyTxn(next)
                if wasLeading { proposer.applied(database.lastProcessedZxid) }
            }
        }
        forgetSeen(behind: database.lastProcessedZxid)
        post(.roleEnded(lastZxid: hasData ? database.lastProcessedZxid : .none))
    }

    /// An observer without a log that becomes anything else, also a server that is no member, must
    /// not go on behind what it never kept.
    private var isUnkeptTreeLogging: Bool { !isTreeKept && !isObserver }

    /// Whether an election makes this server an observer.
    private var isObserver: Bool {
        configuration?.observers.contains(id) == true && lastSeen?.participants.contains(id) != true
    }

    func close(_ link: QuorumLink) {
        guard !link.isClosed else { return }
        link.isClosed = true
        host.close(link)
    }

    func reload() {
        window.removeAll()
        window.adopt(host.reload())
        isTreeBroken = false
        isTreeKept = true
    }

    // MARK: Applying

    func apply(upTo zxid: Zxid) {
        while let next = window.nextToApply, next.zxid <= zxid { applyTxn(next) }
        host.considerSnapshot()
    }

    /// Applies one transaction and tells the host, which may at once propose others.
    private func applyTxn(_ position: TxnWindow.Position) {
        reply.removeAll(keepingAtMost: 1 << 20)
        var outcome: Database.Applied?
        _ = position.batch.txn(at: position.offset) { txn in
            do {
                outcome = try database.apply(txn, reply: &reply)
            } catch {
                preconditionFailure("transaction \(position.zxid) cannot be applied: \(error)")
            }
        }
        window.advance()
        guard let applied = outcome else { return }
        if isLeading {
            proposer.applied(applied.header.zxid)
            if applied.header.type == .closeSession {
                proposer.tracker.remove(applied.header.session)
            }
        }
        host.applied(applied, reply: reply.bytes)
    }
}
