import ClientProtocol
import Configuration
import EventLoop
import Jute
import Logging
import Vocabulary
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
        guard connectionTokens.take(now: now) else {
            statistics.connectionsDropped += 1
            return connection.close()
        }
        guard request.lastZxidSeen <= lastZxid else {
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
            connection.phase = .establishing
            proposeSession(connection.session, connection)
        } else {
            var password: [UInt8] = []
            if let bytes = request.password { password = [UInt8](bytes) }
            attach(connection, to: request.session, password: password)
        }
    }

    private func attach(
        _ connection: ClientConnection, to session: SessionID, password: [UInt8]
    ) {
        // Whatever the password: the session's other connection here is taken for dead.
        if let other = connectionsBySession[session] { other.close() }
        guard password == session.password, let slot = proposer.tracker.slot(of: session),
            !proposer.tracker.isClosing(slot)
        else { return refuse(connection) }
        connection.session = session
        proposer.tracker.add(
            session, timeoutMilliseconds: connection.timeoutMilliseconds, now: Int64(now))
        establish(connection, slot)
    }

    /// The session is over, or was never the client's: it must begin a new one.
    private func refuse(_ connection: ClientConnection) {
        connection.stream.output.appendConnectResponse(
            timeoutMilliseconds: 0, session: .none, password: [UInt8](repeating: 0, count: 16),
            readOnly: connection.sentReadOnly ? false : nil)
        connection.finish()
    }

    /// The transaction of a new session is applied.
    func sessionStarted(_ connection: ClientConnection) {
        guard connection.phase == .establishing,
            let slot = proposer.tracker.slot(of: connection.session)
        else { return }
        establish(connection, slot)
        connection.sessionBegun()
        connection.resume()
    }

    private func establish(_ connection: ClientConnection, _ slot: SessionTracker.Slot) {
        connection.sessionSlot = slot
        connection.phase = .established
        connectionsBySession[connection.session] = connection
        connection.stream.output.appendConnectResponse(
            timeoutMilliseconds: connection.timeoutMilliseconds, session: connection.session,
            password: connection.session.password,
            readOnly: connection.sentReadOnly ? false : nil)
        connection.stream.markDirty()
        connection.statistics.sent += 1
        statistics.packetsSent += 1
    }
}
