import ClientProtocol
package import Configuration
import DequeModule
import Ensemble
import EventLoop
internal import Glibc
import Jute
package import Logging
import QuorumProtocol
import Storage
import SystemPackage
import Transactions
import Vocabulary
import Zab
import Znodes

/// A server, alone or one of an ensemble: the loop's thread owns everything here, and nothing here
/// blocks while clients are served.
///
/// One turn of the loop has a fixed order: frames are read and answered or become transactions;
/// the turn's transactions go to the log and to learners as one batch; what a quorum has flushed is
/// committed, applied and answered; then every connection's output is sent at once.
package final class ZooKeeperServer: TurnDelegate {
    package let configuration: ServerConfiguration
    let loop: EventLoop
    let logger: Logger
    let juteLimits: JuteLimits
    let authentication: Authentication

    // State
    let database: Database
    let peer: QuorumPeer
    var sessionIDs: SessionIDs
    var proposer: Proposer { @inline(__always) get { peer.proposer } }

    /// Nil: no reconfiguration is allowed.
    let configurationFiles: ConfigurationFiles?
    /// Nil: a standalone server.
    let ensemble: EnsembleDevices?

    // Disk
    let directories: DataDirectories
    private let directoryLock: DirectoryLock
    let txnLog: TxnLog
    let snapshots: SnapshotKeeper
    var completions: [TxnLog.Completion] = []
    private let wakeUp: WakeUp
    /// Called on other threads when they have something for the loop.
    let diskWake: @Sendable () -> Void

    // Clients
    private var listener: Listener?
    /// As the active configuration of an ensemble says it.
    private var clientAddress: ServerAddress?
    var connections: [ClientConnection?] = []
    var freeWatchers: [WatcherID] = []
    var connectionCount = 0
    var connectionsPerAddress: [[UInt8]: Int] = [:]
    var connectionsBySession: [SessionID: ClientConnection] = [:]
    var sessionless: Deque<(deadline: UInt64, connection: ClientConnection)> = []
    var throttled: [ClientConnection] = []
    let sessionWeights: SessionWeights
    var connectionTokens: TokenBucket
    /// Requests without a reply.
    var outstanding = 0
    var quotaWarningDue: UInt64 = 0
    /// At the leader: who waits for which transaction, in the order of the zxids.
    var inFlight: Deque<InFlight> = []
    /// At a learner: who waits for what the leader makes of a request, in the order of the requests
    /// of each session.
    var forwarded: [SessionID: Deque<Forwarded>] = [:]
    /// Connections whose session the leader is asked about.
    var revalidating: [SessionID: ClientConnection] = [:]
    /// Who waits to be in step with the leader, in the order of the requests.
    var syncing: Deque<Syncing> = []
    /// At a learner: connections that were heard from since the leader was last told.
    var touched: [ClientConnection] = []
    var touchRound: UInt32 = 1
    /// Sessions that only this server knows.
    var localSessions: SessionTracker
    /// Whether clients that only read are served, for want of a leader.
    var isReadOnly = false

    // Time
    /// When sessions are looked at next, in milliseconds of the loop's clock.
    var expiryDue: UInt64 = 0
    private let expiryTimer: LoopTimer
    private let sweepTimer: LoopTimer
    private let purgeTimer: LoopTimer
    private let farewellTimer: LoopTimer
    let readOnlyTimer: LoopTimer
    let settlingTimer: LoopTimer
    private var signals: [SignalWatcher] = []
    package private(set) var exitCode: ExitCode?

    var statistics = ServerStatistics()
    /// The wall clock at a time of the loop's clock.
    var wallClockTurn: (now: UInt64, wallClock: Int64) = (.max, 0)
    let startedAt: Int64

    /// Whom the outcome of a transaction concerns.
    enum Waiting {
        case client(ClientConnection, xid: Int32, op: OpCode, arrival: UInt64)
        /// The connection whose session begins.
        case session(ClientConnection)
        /// The connection that asked for the end of its session.
        case closing(ClientConnection, xid: Int32, arrival: UInt64)
        case nobody
    }

    struct InFlight {
        var zxid: Zxid
        var waiting: Waiting
    }

    struct Forwarded {
        var cxid: Int32
        var waiting: Waiting
    }

    struct Syncing {
        var connection: ClientConnection
        var xid: Int32
        var path: [UInt8]?
        var arrival: UInt64
    }

    /// Opens the data, or says why it cannot be opened. Nobody is served before `run`.
    ///
    /// `configFile`: where the configuration was read; a reconfiguration changes it.
    package init(
        _ configuration: ServerConfiguration, configFile: String? = nil, logger: Logger
    ) throws(StartError) {
        startedAt = Clock.milliseconds
        configurationFiles =
            configuration.reconfigEnabled
            ? configFile.map { ConfigurationFiles(configFile: $0) } : nil
        // A file over the limit is an error of its write, not the end of the process by a signal.
        signal(SIGXFSZ, SIG_IGN)
        self.configuration = configuration
        self.logger = logger
        juteLimits = JuteLimits(
            fieldBytesMax: configuration.juteMaxBufferBytes + configuration.juteMaxBufferExtraBytes)
        authentication = Authentication(
            digestAlgorithm: configuration.digestAlgorithm.rawValue,
            isDigestEnabled: configuration.digestAuthEnabled,
            superDigest: configuration.superDigest)
        database = Database(seed: .random(in: 0...(.max)))
        localSessions = SessionTracker(
            tickMilliseconds: Int32(configuration.tickTimeMilliseconds))
        do throws(UVError) {
            loop = try EventLoop()
        } catch {
            throw .loop(error)
        }
        let report: RecoveryReport
        do throws(StorageError) {
            directories = try DataDirectories(
                dataDir: FilePath(configuration.dataDir),
                dataLogDir: FilePath(configuration.dataLogDir),
                autocreate: configuration.dataDirAutocreate)
            directoryLock = try directories.lock()
            var target = database
            report = try Recovery.restore(
                directories, options: RecoveryOptions(configuration, limits: juteLimits),
                into: &target)
        } catch {
            throw .storage(error)
        }
        if let settings = configuration.ensemble {
            let epochFiles = EpochFiles(directory: directories.snapshots)
            peer = try QuorumPeer(
                settings, configuration, database: database, report: report, epochFiles)
            ensemble = EnsembleDevices(
                settings, configuration, loop: loop, peer: peer, epochFiles: epochFiles,
                logger: logger)
        } else {
            peer = QuorumPeer(
                standalone: .standalone, database: database, settings: .init(configuration))
            ensemble = nil
        }
        database.skipsACLs = configuration.skipACL
        sessionIDs = SessionIDs(server: peer.id, time: startedAt)
        clientAddress = configuration.ensemble?.own.clientAddress
        sessionWeights = SessionWeights(configuration)
        connectionTokens = TokenBucket(configuration, sessionWeights)

        let mailbox = WakeUpCall()
        do throws(UVError) {
            wakeUp = try WakeUp(loop: loop) { mailbox.server?.diskWorkEnded() }
        } catch {
            throw .loop(error)
        }
        let wakeUp = wakeUp
        txnLog = TxnLog(
            directory: directories.logs, options: TxnLogOptions(configuration),
            wake: { wakeUp.signal() })
        snapshots = SnapshotKeeper(
            directories: directories, database: database, configuration: configuration,
            logger: logger, wake: { wakeUp.signal() })
        expiryTimer = LoopTimer(loop: loop)
        sweepTimer = LoopTimer(loop: loop)
        purgeTimer = LoopTimer(loop: loop)
        farewellTimer = LoopTimer(loop: loop)
        readOnlyTimer = LoopTimer(loop: loop)
        settlingTimer = LoopTimer(loop: loop)
        diskWake = { wakeUp.signal() }
        mailbox.server = self
        loop.turnDelegate = self
        database.watchSink = self
        peer.attach(to: self)
        let isUnwanted = report.lastZxid == .none && database.tree.count <= 4
        // In an ensemble the others may have the data.
        guard !isUnwanted || configuration.dbAutocreate || ensemble != nil else {
            throw .notInitialized
        }
        try finishRecovery(report)
    }

    /// Lets the wake-up find the server that does not exist yet when it is made. Not weak: a weak
    /// reference makes every retain of the server, on every request, three times as long, and the
    /// server lives as long as its loop.
    private final class WakeUpCall {
        unowned(unsafe) var server: ZooKeeperServer?
    }

    private func finishRecovery(_ report: RecoveryReport) throws(StartError) {
        statistics.recovered(
            snapshotMicroseconds: report.snapshotMicroseconds,
            logMicroseconds: report.logMicroseconds)
        for rejected in report.rejectedSnapshots {
            logger.warning("snapshot skipped", metadata: ["reason": "\(rejected)"])
        }
        for tail in report.tornTails {
            logger.warning(
                "torn record dropped",
                metadata: [
                    "file": "\(tail.file)", "offset": "\(tail.offset)", "bytes": "\(tail.bytes)",
                ])
        }
        if database.digestMismatches > 0 {
            logger.error(
                "the tree is not the one its transactions expect",
                metadata: ["mismatches": "\(database.digestMismatches)"])
        }
        logger.info(
            "restored",
            metadata: [
                "snapshot": "\(report.snapshot?.lastComponent?.string ?? "none")",
                "transactions": "\(report.txnsReplayed)", "znodes": "\(database.tree.count)",
                "sessions": "\(database.sessions.count)", "zxid": "\(database.lastProcessedZxid)",
                "milliseconds": "\((report.snapshotMicroseconds + report.logMicroseconds) / 1000)",
            ])
        do throws(StorageError) {
            try snapshots.begin(after: report)
        } catch {
            throw .storage(error)
        }
    }

    /// Freeing a hundred thousand blocks at once would be a pause that clients notice.
    static let reclaimedPerTurn = 500

    /// How often sessions are looked at: a tick, or half a second if that is shorter.
    var expiryMilliseconds: UInt64 { UInt64(min(configuration.tickTimeMilliseconds, 500)) }

    /// Milliseconds of the loop's clock.
    var now: UInt64 { loop.nowMilliseconds }

    var lastZxid: Zxid { database.lastProcessedZxid }

    var listeningPort: UInt16 { listener?.port ?? 0 }

    // MARK: Running

    /// Listens, and serves until a signal or a failure ends it.
    package func run() throws(StartError) -> ExitCode {
        try listen()
        try ensemble?.listen()
        do throws(UVError) {
            for signal in [SIGTERM, SIGINT] {
                signals.append(
                    try SignalWatcher(loop: loop, signal: signal) { [unowned self] in shutDown() })
            }
        } catch {
            throw .loop(error)
        }
        startTimers()
        if ensemble != nil { statistics.roles.lookingBegan(now: now) }
        awaitReadOnly()
        peer.start()
        loop.run()
        return exitCode ?? .ok
    }

    private func newListener(host: String?, port: UInt16) throws(UVError) -> Listener {
        let listener = try Listener(
            loop: loop, host: host, port: port,
            backlog: configuration.clientPortListenBacklog < 0
                ? 4096 : Int32(configuration.clientPortListenBacklog)
        ) { [unowned self] in accept($0) }
        listener.onError = { [unowned self] in
            logger.warning("accepting failed", metadata: ["reason": "\($0)"])
        }
        return listener
    }

    /// A reconfiguration has given this server another place for its clients; those that are
    /// connected stay.
    func moveClientPort(to address: ServerAddress?) {
        guard let address, address != clientAddress else { return }
        do throws(UVError) {
            let moved = try newListener(
                host: address.isWildcard ? nil : address.host, port: address.port)
            listener?.close()
            listener = moved
            clientAddress = address
            logger.info("listening", metadata: ["address": "\(address)"])
        } catch {
            logger.error(
                "cannot move the client port",
                metadata: ["address": "\(address)", "reason": "\(error)"])
        }
    }

    private func listen() throws(StartError) {
        guard let port = configuration.clientPort else { throw .noClientPort }
        do throws(UVError) {
            let listener = try newListener(host: configuration.clientPortAddress, port: port)
            self.listener = listener
            logger.info(
                "listening",
                metadata: [
                    "address": "\(configuration.clientPortAddress ?? "*")",
                    "port": "\(listener.port)", "dataDir": "\(configuration.dataDir)",
                    "zxid": "\(lastZxid)", "znodes": "\(database.tree.count)",
                    "sessions": "\(database.sessions.count)", "version": "\(ServerVersion.number)",
                ])
        } catch {
            throw .listen(configuration.clientPortAddress, port, error)
        }
    }

    private func startTimers() {
        expiryDue = now + expiryMilliseconds
        expiryTimer.start(
            afterMilliseconds: expiryMilliseconds, repeatMilliseconds: expiryMilliseconds
        ) { [unowned self] in
            expireSessions()
            expireSessionless()
            resumeThrottled()
            database.tree.reclaim(atMost: Self.reclaimedPerTurn)
        }
        let sweep = UInt64(max(1, configuration.containerCheckIntervalMilliseconds))
        sweepTimer.start(afterMilliseconds: sweep, repeatMilliseconds: sweep) { [unowned self] in
            sweepZnodes()
        }
        let purge = configuration.purgeInterval.milliseconds
        if purge > 0 {
            purgeTimer.start(afterMilliseconds: 1, repeatMilliseconds: purge) { [unowned self] in
                snapshots.purge()
            }
        }
    }

    /// Every write that reached the log is flushed, applied and answered; then the loop ends.
    private func shutDown() {
        guard exitCode == nil else { return }
        logger.info("stopping", metadata: ["zxid": "\(lastZxid)"])
        exitCode = .ok
        listener?.close()
        ensemble?.close()
        for timer in [expiryTimer, sweepTimer, purgeTimer, readOnlyTimer, settlingTimer] {
            timer.stop()
        }
        turnEnded(loop)
        txnLog.close()
        diskWorkEnded()
        peer.stop()
        for case let connection? in connections { connection.finish() }
        // Clients get their last replies in the flush of this turn; a slow one gets no more.
        farewellTimer.start(afterMilliseconds: connectionCount == 0 ? 0 : 200) { [unowned self] in
            logger.info("stopped", metadata: ["zxid": "\(lastZxid)"])
            loop.stop()
        }
    }

    /// The disk can no longer be trusted: nothing may be acknowledged from now on.
    func fail(_ error: StorageError) -> Never {
        logger.critical("stopping at once", metadata: ["reason": "\(error)"])
        exitProcess(.storageFailed)
    }

    // MARK: Logging

    func log(
        _ level: Logger.Level, _ message: Logger.Message, _ connection: ClientConnection,
        _ fields: Logger.Metadata = [:]
    ) {
        var fields = fields
        fields["peer"] = "\(connection.stream.peer)"
        if connection.session != .none { fields["session"] = "\(connection.session)" }
        logger.log(level: level, message, metadata: fields)
    }
}
