package import ClientProtocol
package import Configuration
import DequeModule
package import EventLoop
internal import Glibc
import Jute
package import Logging
import Storage
import SystemPackage
import Transactions
package import Vocabulary
import Zab
package import Znodes

/// A standalone server: the loop's thread owns everything here, and nothing here blocks.
///
/// One turn of the loop has a fixed order: frames are read and answered or become transactions;
/// the turn's transactions go to the log as one batch; what the log has flushed is committed,
/// applied and answered; then every connection's output is sent at once.
package final class ZooKeeperServer: TurnDelegate {
    package let configuration: ServerConfiguration
    let loop: EventLoop
    let logger: Logger
    let juteLimits: JuteLimits
    let authentication: Authentication

    // State
    let database: Database
    let proposer: Proposer
    private var broadcast: Broadcast
    private var broadcastEffects: [Broadcast.Effect] = []
    private let serverID = ServerID(rawValue: 1)
    var sessionIDs: SessionIDs

    // Disk
    let directories: DataDirectories
    private let directoryLock: DirectoryLock
    private let txnLog: TxnLog
    private let snapshots: SnapshotKeeper
    private var batch = LogBatch(capacity: 4096)
    private var spareBatches: [LogBatch] = []
    /// Flushed, in order, and not yet committed.
    private var flushedBatches: Deque<LogBatch> = []
    private var completions: [TxnLog.Completion] = []
    private let wakeUp: WakeUp

    // Clients
    private var listener: Listener?
    var connections: [ClientConnection?] = []
    private var freeWatchers: [WatcherID] = []
    var connectionCount = 0
    private var connectionsPerAddress: [[UInt8]: Int] = [:]
    var connectionsBySession: [SessionID: ClientConnection] = [:]
    private var sessionless: Deque<(deadline: UInt64, connection: ClientConnection)> = []
    private var throttled: [ClientConnection] = []
    var connectionTokens: TokenBucket
    /// Requests without a reply.
    var outstanding = 0
    /// Who waits for which transaction, in the order of the zxids.
    private var quotaWarningDue: UInt64 = 0
    private var inFlight: Deque<InFlight> = []
    private var body = ByteBuffer()

    // Time
    private let expiryTimer: LoopTimer
    private let sweepTimer: LoopTimer
    private let purgeTimer: LoopTimer
    private let farewellTimer: LoopTimer
    private var signals: [SignalWatcher] = []
    package private(set) var exitCode: ExitCode?

    var statistics = ServerStatistics()
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

    private struct InFlight {
        var zxid: Zxid
        var waiting: Waiting
    }

    /// Opens the data, or says why it cannot be opened. Nobody is served before `run`.
    package init(_ configuration: ServerConfiguration, logger: Logger) throws(StartError) {
        startedAt = Clock.milliseconds
        self.configuration = configuration
        self.logger = logger
        juteLimits = JuteLimits(
            fieldBytesMax: configuration.juteMaxBufferBytes + configuration.juteMaxBufferExtraBytes)
        authentication = Authentication(
            digestAlgorithm: configuration.digestAlgorithm.rawValue,
            isDigestEnabled: configuration.digestAuthEnabled,
            superDigest: configuration.superDigest)
        database = Database(seed: .random(in: 0...(.max)))
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
                directories,
                options: RecoveryOptions(
                    trustEmptySnapshot: configuration.snapshotTrustEmpty,
                    autocreate: configuration.dbAutocreate, limits: juteLimits),
                into: &target)
        } catch {
            throw .storage(error)
        }
        proposer = Proposer(
            database,
            tracker: SessionTracker(tickMilliseconds: Int32(configuration.tickTimeMilliseconds)),
            options: Proposer.Options(configuration))
        database.skipsACLs = configuration.skipACL
        broadcast = Broadcast(
            quorum: QuorumVerifier(voters: [serverID]), lastZxid: database.lastProcessedZxid)
        sessionIDs = SessionIDs(server: serverID, time: startedAt)
        connectionTokens = TokenBucket(
            capacity: configuration.connectionThrottleTokens,
            fillMilliseconds: configuration.connectionThrottleFillTimeMilliseconds,
            fillCount: configuration.connectionThrottleFillCount)

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
        mailbox.server = self
        loop.turnDelegate = self
        database.watchSink = self
        guard report.lastZxid != .none || database.tree.count > 4 || configuration.dbAutocreate
        else { throw .notInitialized }
        try finishRecovery(report)
    }

    /// Lets the wake-up find the server that does not exist yet when it is made. Not weak: a weak
    /// reference makes every retain of the server, on every request, three times as long, and the
    /// server lives as long as its loop.
    private final class WakeUpCall {
        unowned(unsafe) var server: ZooKeeperServer?
    }

    private func finishRecovery(_ report: RecoveryReport) throws(StartError) {
        statistics.startupSnapshotMilliseconds = report.snapshotMicroseconds / 1000
        statistics.startupLogMilliseconds = report.logMicroseconds / 1000
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
        let now = Int64(loop.nowMilliseconds)
        for (id, timeout) in database.sessions {
            proposer.tracker.add(id, timeoutMilliseconds: timeout, now: now)
        }
        do throws(StorageError) {
            try snapshots.begin(after: report)
        } catch {
            throw .storage(error)
        }
        // They have no session that could expire: they go by an ordinary transaction.
        for session in database.orphanedSessions {
            propose {
                proposer.proposeSessionEnd(session, cxid: 0, time: Clock.milliseconds, into: &$0)
            }
        }
    }

    /// Milliseconds of the loop's clock.
    var now: UInt64 { loop.nowMilliseconds }

    var lastZxid: Zxid { database.lastProcessedZxid }

    var listeningPort: UInt16 { listener?.port ?? 0 }

    // MARK: Running

    /// Listens, and serves until a signal or a failure ends it.
    package func run() throws(StartError) -> ExitCode {
        try listen()
        do throws(UVError) {
            for signal in [SIGTERM, SIGINT] {
                signals.append(
                    try SignalWatcher(loop: loop, signal: signal) { [unowned self] in shutDown() })
            }
        } catch {
            throw .loop(error)
        }
        startTimers()
        loop.run()
        return exitCode ?? .ok
    }

    private func listen() throws(StartError) {
        guard let port = configuration.clientPort else { throw .noClientPort }
        do throws(UVError) {
            let listener = try Listener(
                loop: loop, host: configuration.clientPortAddress, port: port,
                backlog: configuration.clientPortListenBacklog < 0
                    ? 4096 : Int32(configuration.clientPortListenBacklog)
            ) { [unowned self] in accept($0) }
            listener.onError = { [unowned self] in
                logger.warning("accepting failed", metadata: ["reason": "\($0)"])
            }
            self.listener = listener
            logger.info(
                "listening",
                metadata: [
                    "address": "\(configuration.clientPortAddress ?? "*")",
                    "port": "\(listener.port)", "dataDir": "\(configuration.dataDir)",
                    "version": "\(ServerVersion.text)",
                ])
        } catch {
            throw .listen(configuration.clientPortAddress, port, error)
        }
    }

    private func startTimers() {
        let tick = UInt64(configuration.tickTimeMilliseconds)
        expiryTimer.start(
            afterMilliseconds: min(tick, 500), repeatMilliseconds: min(tick, 500)
        ) { [unowned self] in
            expireSessions()
            expireSessionless()
            resumeThrottled()
            _ = database.tree.reclaim(atMost: 100_000)
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
        for timer in [expiryTimer, sweepTimer, purgeTimer] { timer.stop() }
        turnEnded(loop)
        txnLog.close()
        diskWorkEnded()
        for case let connection? in connections { connection.finish() }
        // Clients get their last replies in the flush of this turn; a slow one gets no more.
        farewellTimer.start(afterMilliseconds: connectionCount == 0 ? 0 : 200) { [unowned self] in
            logger.info("stopped", metadata: ["zxid": "\(lastZxid)"])
            loop.stop()
        }
    }

    /// The disk can no longer be trusted: nothing may be acknowledged from now on.
    private func fail(_ error: StorageError) -> Never {
        logger.critical("stopping at once", metadata: ["reason": "\(error)"])
        exitProcess(.storageFailed)
    }

    // MARK: Writing

    /// Writes a transaction into this turn's batch.
    @discardableResult
    private func propose(
        for waiting: Waiting = .nobody, _ write: (inout ByteBuffer) -> Zxid
    ) -> Zxid {
        batch.beginRecord()
        let zxid = write(&batch.buffer)
        batch.endRecord(zxid: zxid)
        inFlight.append(InFlight(zxid: zxid, waiting: waiting))
        return zxid
    }

    /// Turns a client's write into a transaction; its reply follows when it is applied.
    func propose(
        _ op: OpCode, _ header: RequestHeader, _ body: Span<UInt8>,
        from connection: ClientConnection
    ) {
        let origin = Proposer.Origin(
            session: connection.session, cxid: header.xid, identities: connection.identities,
            time: Clock.milliseconds)
        batch.beginRecord()
        do throws(JuteError) {
            let zxid = try proposer.propose(op, body: body, from: origin, into: &batch.buffer)
            expect(zxid, header.xid, op, connection)
        } catch .unexpectedNull {
            // The record can be read and still names nothing: a failure like any other.
            let zxid = proposer.proposeFailure(
                .marshallingError, from: origin, into: &batch.buffer)
            expect(zxid, header.xid, op, connection)
        } catch {
            batch.cancelRecord()
            refuseUndecodable(header.xid, connection)
        }
        if let exceeded = proposer.softQuotaExceeded { warnOfQuota(exceeded) }
        throttleIfBusy(connection)
    }

    /// Once a second at most: who goes beyond a limit goes on doing so.
    private func warnOfQuota(_ exceeded: String) {
        proposer.softQuotaExceeded = nil
        guard now >= quotaWarningDue else { return }
        quotaWarningDue = now + 1000
        logger.warning("quota exceeded", metadata: ["quota": "\(exceeded)"])
    }

    /// The transaction is written; the client's reply waits for it.
    private func expect(
        _ zxid: Zxid, _ xid: Int32, _ op: OpCode, _ connection: ClientConnection
    ) {
        batch.endRecord(zxid: zxid)
        let waiting = Waiting.client(connection, xid: xid, op: op, arrival: now)
        inFlight.append(InFlight(zxid: zxid, waiting: waiting))
        connection.enqueue(.write)
    }

    private func refuseUndecodable(_ xid: Int32, _ connection: ClientConnection) {
        if connection.queue.isEmpty {
            connection.reply(xid: xid, zxid: lastZxid, error: .marshallingError, arrival: now)
        } else {
            connection.enqueue(.failure(xid: xid, .marshallingError, arrival: now))
        }
    }

    func proposeSession(_ id: SessionID, _ connection: ClientConnection) {
        propose(for: .session(connection)) {
            proposer.proposeSession(
                id, timeoutMilliseconds: connection.timeoutMilliseconds, now: Int64(now),
                time: Clock.milliseconds, into: &$0)
        }
        connection.enqueue(.write)
    }

    func proposeSessionEnd(_ connection: ClientConnection, xid: Int32) {
        propose(for: .closing(connection, xid: xid, arrival: now)) {
            proposer.proposeSessionEnd(
                connection.session, cxid: xid, time: Clock.milliseconds, into: &$0)
        }
        connection.enqueue(.write)
    }

    // MARK: The turn

    package func turnEnded(_ loop: EventLoop) {
        guard !batch.isEmpty else { return }
        let full = batch
        batch = spareBatches.popLast() ?? LogBatch(capacity: 4096)
        step(.proposed(full.lastZxid))
        txnLog.append(full)
        if snapshots.countLogged(records: full.recordCount, bytes: full.buffer.count) {
            txnLog.roll()
        }
    }

    private func diskWorkEnded() {
        txnLog.takeCompletions(into: &completions)
        for completion in completions {
            switch completion {
            case .flushed(let batch, let duration):
                if let duration { recordFlush(microseconds: duration) }
                statistics.flushedBatchSize.record(Int64(batch.recordCount))
                flushedBatches.append(batch)
                step(.acknowledged(upTo: batch.lastZxid, by: serverID))
            case .failed(let error):
                fail(error)
            }
        }
        completions.removeAll(keepingCapacity: true)
        snapshots.jobEnded(&statistics)
        resumeThrottled()
    }

    private func recordFlush(microseconds: Int64) {
        statistics.fsyncTime.record(microseconds / 1000)
        let threshold = configuration.fsyncWarningThresholdMilliseconds
        if microseconds / 1000 > Int64(threshold) {
            logger.warning(
                "slow flush of the transaction log",
                metadata: ["milliseconds": "\(microseconds / 1000)"])
        }
    }

    private func step(_ event: Broadcast.Event) {
        broadcast.step(event, into: &broadcastEffects)
        for effect in broadcastEffects {
            switch effect {
            case .commit(let zxid): commit(upTo: zxid)
            }
        }
        broadcastEffects.removeAll(keepingCapacity: true)
    }

    private func commit(upTo zxid: Zxid) {
        while let first = flushedBatches.first, first.lastZxid <= zxid {
            flushedBatches.removeFirst()
            first.forEachTxn { apply($0) }
            first.removeAll()
            if spareBatches.count < 4 { spareBatches.append(first) }
        }
        snapshots.considerSnapshot()
    }

    // MARK: Applying

    private func apply(_ txn: Span<UInt8>) {
        let waiting = inFlight.removeFirst().waiting
        body.removeAll(keepingAtMost: 1 << 20)
        let applied: Database.Applied
        do {
            applied = try database.apply(txn, reply: &body)
        } catch {
            preconditionFailure("a transaction of our own cannot be applied: \(error)")
        }
        let header = applied.header
        proposer.applied(header.zxid)
        statistics.commits += 1
        if header.type == .closeSession { sessionEnded(header.session, waiting) }
        switch waiting {
        case .nobody: break
        case .client(let connection, let xid, let op, let arrival):
            guard connection.phase != .closing else { return }
            connection.statistics.lastOperation = op.shortName
            statistics.updateLatency.record(Int64(bitPattern: now &- arrival))
            if applied.error == .ok {
                connection.reply(xid: xid, zxid: header.zxid, arrival: arrival) {
                    $0.append(body.bytes)
                }
            } else {
                connection.reply(
                    xid: xid, zxid: header.zxid, error: applied.error, arrival: arrival)
            }
            connection.writeAnswered()
        case .session(let connection):
            sessionStarted(connection)
        case .closing(let connection, let xid, let arrival):
            guard connection.phase != .closing else { return }
            connection.statistics.lastOperation = OpCode.closeSession.shortName
            connection.reply(xid: xid, zxid: header.zxid, error: .ok, arrival: arrival)
            connection.finish()
        }
    }

    private func sessionEnded(_ session: SessionID, _ waiting: Waiting) {
        proposer.tracker.remove(session)
        guard let connection = connectionsBySession[session] else { return }
        connection.sessionSlot = nil
        if case .closing(let asking, _, _) = waiting, asking === connection { return }
        connection.close()
    }

    // MARK: Connections

    private func accept(_ stream: Stream) {
        let address = stream.peer.bytes
        let perAddress = connectionsPerAddress[address, default: 0]
        let isFull = configuration.maxCnxns > 0 && connectionCount >= configuration.maxCnxns
        let hasTooMany =
            configuration.maxClientCnxns > 0 && perAddress >= configuration.maxClientCnxns
        guard !isFull, !hasTooMany else {
            statistics.connectionsRejected += 1
            let reason = isFull ? "maxCnxns" : "maxClientCnxns"
            logger.warning(
                "connection refused", metadata: ["peer": "\(stream.peer)", "limit": "\(reason)"])
            return stream.close()
        }
        connectionsPerAddress[address] = perAddress + 1
        connectionCount += 1
        let watcher = freeWatchers.popLast() ?? WatcherID(connections.count)
        let connection = ClientConnection(server: self, stream: stream, watcher: watcher)
        if Int(watcher) == connections.count { connections.append(nil) }
        connections[Int(watcher)] = connection
        if configuration.clientTcpKeepAlive { stream.setKeepAlive(delaySeconds: 60) }
        let patience = UInt64(max(0, configuration.sessionlessTimeoutMilliseconds))
        sessionless.append((now + patience, connection))
        stream.delegate = connection
        stream.startReading()
    }

    /// The connection takes no part any more; its descriptor closes soon.
    func left(_ connection: ClientConnection) {
        database.watches.removeAll(of: connection.watcher)
        if connectionsBySession[connection.session] === connection {
            connectionsBySession[connection.session] = nil
        }
        connectionCount -= 1
        let address = connection.stream.peer.bytes
        let rest = connectionsPerAddress[address, default: 1] - 1
        connectionsPerAddress[address] = rest == 0 ? nil : rest
    }

    func gone(_ connection: ClientConnection) {
        connections[Int(connection.watcher)] = nil
        freeWatchers.append(connection.watcher)
    }

    private func expireSessionless() {
        while let first = sessionless.first {
            let isWaiting =
                first.connection.phase == .fresh || first.connection.phase == .establishing
            if isWaiting, first.deadline > now { return }
            sessionless.removeFirst()
            if isWaiting {
                statistics.sessionlessExpired += 1
                first.connection.close()
            }
        }
    }

    // MARK: Time

    private func expireSessions() {
        for session in proposer.tracker.expire(now: Int64(now)) {
            logger.info("session expired", metadata: ["session": "\(session)"])
            statistics.staleSessionsExpired += 1
            propose {
                proposer.proposeSessionEnd(session, cxid: 0, time: Clock.milliseconds, into: &$0)
            }
        }
    }

    /// Containers that are empty and TTL znodes that were left alone go.
    private func sweepZnodes() {
        let interval = configuration.containerCheckIntervalMilliseconds
        let perMinute = configuration.containerMaxPerMinute
        let limit = max(1, Int(Double(perMinute) * Double(interval) / 60_000))
        let paths = database.expiredZnodes(
            now: Clock.milliseconds,
            neverUsedMilliseconds: Int64(configuration.containerMaxNeverUsedIntervalMilliseconds),
            limit: min(limit, perMinute))
        for path in paths {
            var request = ByteBuffer()
            request.appendField(path)
            let origin = Proposer.Origin(
                session: .none, cxid: 0, identities: [], time: Clock.milliseconds)
            propose {
                guard
                    let zxid = try? proposer.propose(
                        .deleteContainer, body: request.span, from: origin, into: &$0)
                else { preconditionFailure("a path is a whole request") }
                return zxid
            }
        }
    }

    // MARK: Throttling

    func throttleIfBusy(_ connection: ClientConnection) {
        guard outstanding >= configuration.globalOutstandingLimit else { return }
        statistics.throttleWaits += 1
        connection.throttle()
        throttled.append(connection)
    }

    private func resumeThrottled() {
        guard !throttled.isEmpty, outstanding < configuration.globalOutstandingLimit else { return }
        let waiting = throttled
        throttled.removeAll(keepingCapacity: true)
        for connection in waiting where connection.phase != .closing {
            connection.isThrottled = false
            connection.resume()
        }
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

extension ZooKeeperServer: WatchSink {
    package func deliver(
        _ type: WatchEventType, path: UnsafeRawBufferPointer, zxid: Zxid, acl: Access,
        to watchers: [WatcherID]
    ) {
        statistics.watchEvents[Int(type.rawValue)].record(Int64(watchers.count))
        for watcher in watchers {
            guard let connection = connections[Int(watcher)],
                configuration.skipACL || acl.permits(.read, to: connection.identities)
            else { continue }
            connection.sendEvent(type, path: path, zxid: zxid)
        }
    }
}
