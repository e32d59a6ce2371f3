import CProcess
import ClientProtocol
import Configuration
package import Ensemble
import EventLoop
import Jute
import Logging
package import QuorumProtocol
import Storage
package import StorageFormat
import Transactions
package import Vocabulary
package import Zab
import Znodes

/// How the core of a server reaches its disk and the network.
extension ZooKeeperServer: QuorumPeerHost {
    // MARK: Disk

    package func append(_ batch: LogBatch) {
        txnLog.append(batch)
        if ensemble != nil, let serving = peer.serving {
            statistics.roles.logged(batch, as: serving, wallClock: wallClockOfTurn)
        }
        if snapshots.countLogged(records: batch.recordCount, bytes: batch.buffer.count) {
            txnLog.roll()
        }
    }

    package func settleLog() {
        txnLog.settle()
        takeFlushed()
    }

    package func saveAcceptedEpoch(_ epoch: Int64) {
        orFail { () throws(StorageError) in try ensemble?.epochFiles.saveAccepted(epoch) }
    }

    package func saveCurrentEpoch(_ epoch: Int64) {
        orFail { () throws(StorageError) in try ensemble?.epochFiles.saveCurrent(epoch) }
    }

    package func truncateLog(to zxid: Zxid) -> Bool {
        settleLog()
        snapshots.settle()
        do throws(StorageError) {
            _ = try directories.truncate(after: zxid, limits: juteLimits)
        } catch {
            guard case .cannotTruncate = error.reason else { fail(error) }
            logger.warning("log not truncated", metadata: ["reason": "\(error)"])
            return false
        }
        logger.info("log truncated", metadata: ["zxid": "\(zxid)"])
        return true
    }

    package func reload() -> [LogBatch] {
        snapshots.settle()
        database.reset()
        let report = orFail { () throws(StorageError) in
            var target = database
            return try Recovery.restore(
                directories, options: RecoveryOptions(configuration, limits: juteLimits),
                into: &target)
        }
        logger.info("reloaded", metadata: ["zxid": "\(database.lastProcessedZxid)"])
        return report.recent
    }

    /// What the disk refuses ends the process.
    private func orFail<Result>(_ body: () throws(StorageError) -> Result) -> Result {
        do throws(StorageError) {
            return try body()
        } catch {
            fail(error)
        }
    }

    package func writeSnapshot() { snapshots.writeForLeader() }

    package func considerSnapshot() { snapshots.considerSnapshot() }

    // MARK: Network

    package func dial(_ leader: ServerID) { ensemble?.dial(leader) }

    package func markDirty(_ link: QuorumLink) { ensemble?.quorum.markDirty(link) }

    package func close(_ link: QuorumLink) { ensemble?.quorum.close(link) }

    package func send(_ notification: ElectionNotification, to server: ServerID) {
        ensemble?.election.send(notification, to: server)
    }

    package func readHistory(for link: QuorumLink, after peer: Zxid, upTo last: Zxid) {
        guard let ensemble else { return }
        let thread = SyncTransfer(wake: diskWake)
        begin(thread, for: link, isSnapshot: false)
        thread.sendHistory(
            directories, after: peer, upTo: last,
            sizeLimitFactor: ensemble.settings.snapshotSizeFactor, limits: juteLimits
        ) { txn, buffer in
            let zxid = LogFormat.zxid(ofTxn: txn)
            buffer.appendQuorumPacket(.proposal, zxid: zxid, data: txn)
            buffer.appendQuorumPacket(.commit, zxid: zxid)
        }
    }

    package func readSnapshot(for link: QuorumLink) {
        snapshots.whenFree { [unowned self] in
            guard !link.isClosed else { return false }
            peer.snapshotBegins(for: link)
            let thread = SyncTransfer(wake: diskWake)
            begin(thread, for: link, isSnapshot: true)
            thread.sendSnapshot(database.freeze())
            return true
        }
    }

    private func begin(_ thread: SyncTransfer, for link: QuorumLink, isSnapshot: Bool) {
        guard let ensemble else { return }
        ensemble.transfers.append(
            LinkTransfer(
                link: link, thread: thread, isSnapshot: isSnapshot, network: ensemble.quorum,
                peer: peer
            ) { [unowned self] transfer, frozen in
                ensemble.transfers.removeAll { $0 === transfer }
                guard let frozen else { return }
                database.thaw(frozen)
                snapshots.frozenViewEnded()
            })
    }

    // MARK: Time

    package func arm(_ timer: Peer.Timer, after delay: Duration) {
        ensemble?.arm(timer, after: delay)
    }

    package func disarm(_ timer: Peer.Timer) { ensemble?.disarm(timer) }

    package var clock: Int64 { Int64(loop.nowMilliseconds) }

    package var wallClock: Int64 {
        wallClockTurn = (now, Clock.milliseconds)
        return wallClockTurn.wallClock
    }

    /// The wall clock as this turn read it last: for figures, of which a turn has many. Not before the
    /// time that any transaction was given here.
    var wallClockOfTurn: Int64 {
        now == wallClockTurn.now ? wallClockTurn.wallClock : wallClock
    }

    // MARK: Roles

    package func roleBegan(as state: ServerState, leader: ServerID) {
        logger.info(
            "elected",
            metadata: [
                "leader": "\(leader.rawValue)", "as": "\(state)", "zxid": "\(lastZxid)",
                "round": "\(peer.round)",
            ])
        statistics.beginRole()
        statistics.roles.elected(as: state, now: now)
        endReadOnly()
        if state == .leading { ensemble?.listenForLearners() }
    }

    package func servingBegan(as state: ServerState) {
        expiryDue = loop.nowMilliseconds + expiryMilliseconds
        snapshots.isServing = true
        snapshots.considerSnapshot()
        // What reads the data and elects a leader may not be needed again for months; what welcomes
        // learners and clients, a moment later.
        cprocess_release_code()
        settlingTimer.start(afterMilliseconds: UInt64(configuration.tickTimeMilliseconds)) {
            cprocess_release_code()
        }
        guard let ensemble else { return }
        if state == .following { ensemble.listenForObservers() }
        statistics.roles.servingBegan(as: state, now: now)
        logger.info(
            "serving",
            metadata: [
                "as": "\(state)", "epoch": "\(peer.currentEpoch)", "zxid": "\(lastZxid)",
                "leader": "\(peer.currentVote.leader.rawValue)",
            ])
    }

    package func roleEnded(_ reason: Peer.Departure) {
        logger.warning("role ended", metadata: ["reason": "\(reason)"])
        statistics.roles.lookingBegan(now: now)
        snapshots.isServing = false
        ensemble?.endRole()
        closeConnections()
        forgetLocalSessions()
        inFlight.removeAll()
        forwarded.removeAll()
        revalidating.removeAll()
        syncing.removeAll()
        touched.removeAll()
        awaitReadOnly()
    }

    package func seen(_ configuration: EnsembleConfiguration) {
        ensemble?.know()
        guard let files = configurationFiles else { return }
        report(files.save(seen: configuration))
    }

    package func activated(_ configuration: EnsembleConfiguration) {
        logger.info("configuration active", metadata: ["version": "\(configuration.version)"])
        ensemble?.know()
        ensemble?.moved(to: configuration.member(peer.id))
        moveClientPort(to: configuration.member(peer.id)?.clientAddress)
        guard let files = configurationFiles else { return }
        let isAwaited = peer.lastSeen.map { $0.version > configuration.version } ?? false
        report(
            files.save(
                active: configuration, own: configuration.member(peer.id), isAwaited: isAwaited))
    }

    /// The ensemble goes on; this server would start with the older list of servers.
    private func report(_ failure: String?) {
        guard let failure else { return }
        logger.error("configuration not written", metadata: ["reason": "\(failure)"])
    }

    package func reached(_ milestone: Milestone) {
        switch milestone {
        case .syncBegan: statistics.roles.syncBegan(now: now)
        case .learnerSyncBegan(let way), .learnerSyncEnded(let way):
            statistics.roles.learnerSync(
                way, began: milestone == .learnerSyncBegan(way),
                inFlight: peer.links.count { $0.sync == way })
        case .revalidationAsked: statistics.roles.revalidateCount += 1
        case .acknowledged(let server, let time):
            statistics.roles.acknowledged(by: server, madeAt: time, wallClock: wallClockOfTurn)
        }
    }

    package func disconnected(_ link: QuorumLink, because reason: Leader.Disconnection) {
        logger.warning(
            "learner disconnected",
            metadata: ["server": "\(link.server?.rawValue ?? -1)", "reason": "\(reason)"])
    }

    package func malformed(_ link: QuorumLink, _ error: QuorumProtocolError) {
        logger.warning(
            "quorum packet cannot be read",
            metadata: [
                "peer": "\(ensemble?.quorum.peerName(link) ?? "")", "reason": "\(error)",
            ])
    }
}
