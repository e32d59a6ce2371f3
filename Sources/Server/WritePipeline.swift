import ClientProtocol
import Configuration
import DequeModule
import Ensemble
package import EventLoop
import Jute
import Logging
import Storage
import StorageFormat
import Transactions
import Vocabulary
package import Znodes

/// The way of a client's write: at the leader a transaction in this turn's batch, at a learner a
/// request to the leader; when it is applied, the reply.
extension ZooKeeperServer {
    // MARK: Proposing

    /// A client's write; its reply follows when it is applied.
    func propose(
        _ op: OpCode, _ header: RequestHeader, _ body: Span<UInt8>,
        from connection: ClientConnection
    ) {
        let waiting = Waiting.client(connection, xid: header.xid, op: op, arrival: now)
        guard upgrade(connection, for: op, body) else {
            return refuse(header.xid, .ephemeralOnLocalSession, connection)
        }
        do throws(JuteError) {
            if peer.isLeading {
                let origin = Proposer.Origin(
                    session: connection.session, cxid: header.xid,
                    identities: connection.identities, time: wallClock,
                    isLocal: connection.localSlot != nil)
                expect(try peer.propose(op, body: body, from: origin), waiting)
                if let exceeded = proposer.softQuotaExceeded { warnOfQuota(exceeded) }
            } else {
                // What the leader cannot read would never be answered.
                let error = try Proposer.check(op, body: body)
                guard error == .ok else { return refuse(header.xid, error, connection) }
                forward(
                    connection.session, header.xid, op, body, connection.identities, waiting)
            }
            connection.enqueue(.write)
        } catch {
            refuse(header.xid, .marshallingError, connection)
        }
        throttleIfBusy(connection)
    }

    private func expect(_ zxid: Zxid, _ waiting: Waiting) {
        inFlight.append(InFlight(zxid: zxid, waiting: waiting))
    }

    private func forward(
        _ session: SessionID, _ cxid: Int32, _ op: OpCode, _ body: Span<UInt8>,
        _ identities: [Identity]?, _ waiting: Waiting
    ) {
        peer.forward(session, cxid: cxid, op: op, body: body, identities: identities)
        forwarded[session, default: []].append(Forwarded(cxid: cxid, waiting: waiting))
    }

    /// Once a second at most: who goes beyond a limit goes on doing so.
    private func warnOfQuota(_ exceeded: String) {
        proposer.softQuotaExceeded = nil
        guard now >= quotaWarningDue else { return }
        quotaWarningDue = now + 1000
        logger.warning("quota exceeded", metadata: ["quota": "\(exceeded)"])
    }

    /// Answers without a transaction, behind the writes in front of it.
    private func refuse(_ xid: Int32, _ error: ErrorCode, _ connection: ClientConnection) {
        if connection.queue.isEmpty {
            connection.reply(xid: xid, zxid: lastZxid, error: error, arrival: now)
        } else {
            connection.enqueue(.failure(xid: xid, error, arrival: now))
        }
    }

    func proposeSession(_ connection: ClientConnection) {
        let timeout = connection.timeoutMilliseconds
        if peer.isLeading {
            let zxid = peer.proposeSession(connection.session, timeoutMilliseconds: timeout)
            expect(zxid, .session(connection))
        } else {
            forwardSession(
                connection.session, timeoutMilliseconds: timeout, .session(connection))
        }
        connection.enqueue(.write)
    }

    func forwardSession(_ session: SessionID, timeoutMilliseconds: Int32, _ waiting: Waiting) {
        var body = ByteBuffer()
        body.append(timeoutMilliseconds)
        forward(session, 0, .createSession, body.span, nil, waiting)
    }

    func proposeSessionEnd(_ connection: ClientConnection, xid: Int32) {
        let waiting = Waiting.closing(connection, xid: xid, arrival: now)
        if peer.isLeading {
            expect(peer.proposeSessionEnd(connection.session, cxid: xid), waiting)
        } else {
            forward(
                connection.session, xid, .closeSession, Span<UInt8>(), connection.identities,
                waiting)
        }
        connection.enqueue(.write)
    }

    /// A client wants to see everything that was acknowledged to anybody before.
    func sync(_ header: RequestHeader, _ body: Span<UInt8>, from connection: ClientConnection) {
        var reader = JuteReader(body, limits: juteLimits)
        var path: [UInt8]?
        do throws(JuteError) {
            if let bytes = try reader.readOptionalBytes() { path = [UInt8](bytes) }
        } catch {
            return refuse(header.xid, .marshallingError, connection)
        }
        connection.enqueueSync()
        syncing.append(
            Syncing(connection: connection, xid: header.xid, path: path, arrival: now))
        peer.sync(
            connection.session, cxid: header.xid, body: body, identities: connection.identities)
        throttleIfBusy(connection)
    }

    package func syncCompleted() {
        guard let first = syncing.popFirst() else { return }  // Of a leader that counts otherwise.
        guard first.connection.phase != .closing else { return }
        var record = ByteBuffer()
        if let path = first.path { record.appendField(path.span) } else { record.appendNull() }
        first.connection.statistics.lastOperation = OpCode.sync.shortName
        first.connection.answerSync(
            xid: first.xid, zxid: lastZxid, arrival: first.arrival, body: record.bytes)
    }

    // MARK: The turn

    package func turnEnded(_ loop: EventLoop) {
        if database.tree.hasGarbage { database.tree.reclaim(atMost: Self.reclaimedPerTurn) }
        peer.turnEnded()
        ensemble?.quorum.flush()
    }

    func diskWorkEnded() {
        takeFlushed()
        if let outcome = snapshots.jobEnded() { snapshotEnded(outcome) }
        if let ensemble {
            for transfer in ensemble.transfers { transfer.pump() }
        }
        resumeThrottled()
    }

    private func snapshotEnded(_ outcome: SnapshotKeeper.Outcome) {
        if let milliseconds = outcome.milliseconds {
            statistics.snapshotTime.record(milliseconds)
        } else {
            statistics.snapshotErrors += 1
        }
        guard outcome.isForLeader else { return }
        // Without it there is nothing on our disk that a leader could count on.
        if let error = outcome.error { fail(error) }
        peer.snapshotWritten()
    }

    func takeFlushed() {
        var completions: [TxnLog.Completion] = []
        swap(&completions, &self.completions)
        txnLog.takeCompletions(into: &completions)
        for completion in completions {
            switch completion {
            case .flushed(let batch, let duration):
                if let duration { recordFlush(microseconds: duration) }
                statistics.flushedBatchSize.record(Int64(batch.recordCount))
                if ensemble != nil, let serving = peer.serving {
                    statistics.roles.flushed(batch, as: serving, wallClock: wallClockOfTurn)
                }
                peer.flushed(upTo: batch.lastZxid)
            case .failed(let error):
                fail(error)
            }
        }
        completions.removeAll(keepingCapacity: true)
        swap(&completions, &self.completions)
    }

    private func recordFlush(microseconds: Int64) {
        statistics.fsyncTime.record(microseconds / 1000)
        statistics.flushTime.record(microseconds / 1000)
        let threshold = configuration.fsyncWarningThresholdMilliseconds
        if microseconds / 1000 > Int64(threshold) {
            logger.warning(
                "slow flush of the transaction log",
                metadata: ["milliseconds": "\(microseconds / 1000)"])
        }
    }

    // MARK: Applying

    package func applied(_ applied: Database.Applied, reply body: UnsafeRawBufferPointer) {
        let header = applied.header
        let waiting = takeWaiting(for: header)
        if let serving = peer.serving {
            statistics.roles.applied(
                header, as: ensemble == nil ? nil : serving, wallClock: wallClockOfTurn)
        }
        if header.type == .closeSession { sessionEnded(header.session, waiting) }
        switch waiting {
        case .nobody: break
        case .client(let connection, let xid, let op, let arrival):
            guard connection.phase != .closing else { return }
            // Its client goes on somewhere else, and this connection is of its past.
            guard applied.error != .sessionMoved else { return connection.close() }
            connection.statistics.lastOperation = op.shortName
            statistics.updateLatency.record(Int64(bitPattern: now &- arrival))
            let record = applied.error == .ok ? body : Bytes(start: nil, count: 0)
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

    /// Whom the transaction was made for: at the leader told by its zxid, at a learner by the
    /// request.
    private func takeWaiting(for header: TxnHeader) -> Waiting {
        if let first = inFlight.first, first.zxid == header.zxid {
            return inFlight.removeFirst().waiting
        }
        guard !forwarded.isEmpty, let index = forwarded.index(forKey: header.session),
            forwarded.values[index].first?.cxid == header.cxid
        else { return .nobody }
        let waiting = forwarded.values[index].removeFirst().waiting
        if forwarded.values[index].isEmpty { forwarded.remove(at: index) }
        return waiting
    }

    private func sessionEnded(_ session: SessionID, _ waiting: Waiting) {
        guard let connection = connectionsBySession[session] else { return }
        connection.sessionSlot = nil
        if case .closing(let asking, _, _) = waiting, asking === connection { return }
        connection.close()
    }
}
