import ClientProtocol
import Configuration
package import EventLoop
import Jute
import Logging
import Storage
import Transactions
import Vocabulary
import Zab
import Znodes

/// The way of a write: a transaction in this turn's batch, the log, the quorum, the tree, the
/// reply.
extension ZooKeeperServer {
    // MARK: Proposing

    /// Writes a transaction into this turn's batch.
    @discardableResult
    func propose(
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
        if database.tree.hasGarbage { database.tree.reclaim(atMost: Self.reclaimedPerTurn) }
        guard !batch.isEmpty else { return }
        let full = batch
        batch = spareBatches.popLast() ?? LogBatch(capacity: 4096)
        step(.proposed(full.lastZxid))
        txnLog.append(full)
        if snapshots.countLogged(records: full.recordCount, bytes: full.buffer.count) {
            txnLog.roll()
        }
    }

    func diskWorkEnded() {
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
            let record = applied.error == .ok ? body.bytes : Bytes(start: nil, count: 0)
            connection.answerWrite(
                xid: xid, zxid: header.zxid, error: applied.error, arrival: arrival, body: record)
        case .session(let connection):
            sessionStarted(connection)
        case .closing(let connection, let xid, let arrival):
            guard connection.phase != .closing else { return }
            connection.statistics.lastOperation = OpCode.closeSession.shortName
            connection.answerWrite(
                xid: xid, zxid: header.zxid, error: .ok, arrival: arrival,
                body: Bytes(start: nil, count: 0))
        }
    }

    private func sessionEnded(_ session: SessionID, _ waiting: Waiting) {
        proposer.tracker.remove(session)
        guard let connection = connectionsBySession[session] else { return }
        connection.sessionSlot = nil
        if case .closing(let asking, _, _) = waiting, asking === connection { return }
        connection.close()
    }
}
