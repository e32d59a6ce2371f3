import ClientProtocol
import Configuration
import Ensemble
import EventLoop
import Jute
import Logging
package import Vocabulary
import Znodes

/// How a connection gets its session: a new one, or the one it had.
///
/// Source: ZooKeeper, `ZooKeeperServer.processConnectRequest`, `reopenSession`.
extension ZooKeeperServer {
    func handshake(_ connection: ClientConnection, _ frame: Span<UInt8>) {
        statistics.packetsReceived += 1
        statistics.connectionRequests += 1
        connection.statistics.received += 1
        var reader = JuteReader(frame, limits: juteLimits)
        guard let request = try? ConnectRequest(reading: &reader) else {
            log(.warning, "connect request cannot be read", connection)
            return connection.close()
        }
        guard connectionTokens.take(weight(of: request.session), now: now) else {
            statistics.connectionsDropped += 1
            return connection.close()
        }
        guard isServing, !leavesClientsToOthers else { return connection.close() }
        guard !isReadOnly || request.readOnly == true else {
            log(.info, "client wants more than reading", connection)
            return connection.close()
        }
        // Apache's leaders show clients the beginning of their epoch before they have a transaction.
        let latest =
            ensemble == nil ? lastZxid : max(lastZxid, Zxid(epoch: peer.currentEpoch, counter: 0))
        guard request.lastZxidSeen <= latest else {
            log(
                .warning, "client has seen a later zxid than this server", connection,
                ["seen": "\(request.lastZxidSeen)", "zxid": "\(lastZxid)"])
            return connection.close()
        }
        connection.sentReadOnly = request.readOnly != nil
        connection.timeoutMilliseconds = Int32(
            min(
                max(Int(request.timeoutMilliseconds), configuration.minSessionTimeoutMilliseconds),
                configuration.maxSessionTimeoutMilliseconds))
        connection.statistics.lastOperation = "SESS"
        if request.session == .none {
            connection.session = sessionIDs.take()
            if beginsLocally { return beginLocalSession(connection) }
            connection.phase = .establishing
            proposeSession(connection)
        } else {
            var password: [UInt8] = []
            if let bytes = request.password { password = [UInt8](bytes) }
            attach(connection, to: request.session, password: password)
        }
    }

    /// `none`: a new session.
    private func weight(of session: SessionID) -> Int {
        guard session == .none else { return sessionWeights.renewed }
        return beginsLocally ? sessionWeights.local : sessionWeights.global
    }

    private func attach(
        _ connection: ClientConnection, to session: SessionID, password: [UInt8]
    ) {
        // Other servers may know more of it: its client keeps it and looks for them.
        if isReadOnly, database.sessions[session] != nil { return connection.close() }
        // Whatever the password: the session's other connections here are taken for dead.
        connectionsBySession[session]?.close()
        revalidating[session]?.close()
        statistics.connectionRevalidations += 1
        guard password == session.password else { return refuse(connection) }
        connection.session = session
        if resumeLocalSession(connection) { return }
        let timeout = connection.timeoutMilliseconds
        if peer.isLeading {
            guard peer.adopt(session, timeoutMilliseconds: timeout, owner: .here) else {
                return refuse(connection)
            }
            establish(connection)
        } else if isReadOnly {
            refuse(connection)
        } else {
            connection.phase = .establishing
            revalidating[session] = connection
            connection.enqueue(.write)
            peer.revalidate(session, timeoutMilliseconds: timeout)
        }
    }

    /// Whether clients are served, be it only those that read.
    var isServing: Bool { peer.serving != nil || isReadOnly }

    /// A leader may have enough to do without clients; it answers four-letter words all the same.
    private var leavesClientsToOthers: Bool {
        peer.isLeading && ensemble?.settings.leaderServes == false
    }

    package func revalidated(_ session: SessionID, isValid: Bool) {
        guard let connection = revalidating.removeValue(forKey: session),
            connection.phase == .establishing
        else { return }
        guard isValid else { return refuse(connection) }
        // Another connection of the session may have come through meanwhile.
        if let other = connectionsBySession[session] { other.close() }
        establish(connection)
        connection.sessionBegun()
        connection.resume()
    }

    /// Deviation: Apache's leaders close the connection when they next hear from it.
    package func sessionMoved(_ session: SessionID) { connectionsBySession[session]?.close() }

    /// The session is over, or was never the client's: it must begin a new one.
    private func refuse(_ connection: ClientConnection) {
        connection.stream.output.appendConnectResponse(
            timeoutMilliseconds: 0, session: .none, password: [UInt8](repeating: 0, count: 16),
            readOnly: connection.sentReadOnly ? isReadOnly : nil)
        connection.finish()
    }

    /// The transaction of a new session is applied.
    func sessionStarted(_ connection: ClientConnection) {
        guard connection.phase == .establishing else { return }
        establish(connection)
        connection.sessionBegun()
        connection.resume()
    }

    /// A connection is heard from whose session is a local one, or, at a learner, of which the leader
    /// was not told since it was last told of any.
    func touch(_ connection: ClientConnection) {
        if let slot = connection.localSlot { return localSessions.touch(slot, now: Int64(now)) }
        connection.touchRound = touchRound
        touched.append(connection)
    }

    package func takeTouchedSessions(_ body: (SessionID, _ timeoutMilliseconds: Int32) -> Void) {
        for connection in touched {
            body(connection.session, connection.timeoutMilliseconds)
        }
        touched.removeAll(keepingCapacity: true)
        touchRound &+= 1
    }

    func establish(_ connection: ClientConnection) {
        connection.sessionSlot =
            peer.isLeading ? proposer.tracker.slot(of: connection.session) : nil
        connection.phase = .established
        connectionsBySession[connection.session] = connection
        connection.stream.output.appendConnectResponse(
            timeoutMilliseconds: connection.timeoutMilliseconds, session: connection.session,
            password: connection.session.password,
            readOnly: connection.sentReadOnly ? isReadOnly : nil)
        connection.stream.markDirty()
        connection.statistics.sent += 1
        statistics.packetsSent += 1
    }
}
