import ClientProtocol
import Configuration
import Ensemble
import Jute
import Logging
import Vocabulary
import Znodes

/// What each request does: writes become transactions, everything else is answered here, at once
/// or when the writes of the session in front of it are applied.
///
/// Source: ZooKeeper, `FinalRequestProcessor.processRequest`.
extension ZooKeeperServer {
    /// A request arrived.
    @inline(__always)
    func handle(
        _ header: RequestHeader, _ body: Span<UInt8>, _ frame: Span<UInt8>,
        from connection: ClientConnection
    ) {
        let op = OpCode(rawValue: header.type)
        if configuration.enforceAuthEnabled, op != .auth, op != .sasl,
            !isAuthenticated(connection)
        {
            connection.reply(
                xid: header.xid, zxid: lastZxid, error: .sessionClosedRequireAuth, arrival: now)
            return connection.finish()
        }
        if isReadOnly, refuseToWrite(op, xid: header.xid, connection) { return }
        switch op {
        case .create, .create2, .createContainer, .createTTL, .delete, .deleteContainer, .setData,
            .setACL, .reconfig, .multi:
            propose(op ?? .error, header, body, from: connection)
        case .closeSession where connection.localSlot != nil:
            answerOrQueue(header, body, frame, from: connection)
            if connection.phase == .established { connection.phase = .ending }
        case .closeSession:
            proposeSessionEnd(connection, xid: header.xid)
            connection.phase = .ending
        case .sync where ensemble != nil:
            sync(header, body, from: connection)
        case .auth:
            authenticate(header, body, connection)
        case .sasl:
            answerSASL(header, body, connection)
        default:
            answerOrQueue(header, body, frame, from: connection)
        }
    }

    @inline(__always)
    private func answerOrQueue(
        _ header: RequestHeader, _ body: Span<UInt8>, _ frame: Span<UInt8>,
        from connection: ClientConnection
    ) {
        if connection.queue.isEmpty {
            answer(header, body, from: connection, arrival: now)
        } else {
            connection.enqueue(.frame([UInt8](frame), arrival: now))
            throttleIfBusy(connection)
        }
    }

    private func isAuthenticated(_ connection: ClientConnection) -> Bool {
        let schemes = configuration.enforceAuthSchemes
        return connection.identities.contains { schemes.contains($0.scheme) }
    }

    /// Answers what is no write. All writes in front of it are applied.
    func answer(
        _ header: RequestHeader, _ body: Span<UInt8>, from connection: ClientConnection,
        arrival: UInt64
    ) {
        statistics.readLatency.record(Int64(bitPattern: now &- arrival))
        guard let op = OpCode(rawValue: header.type) else {
            return refuseUnknown(header, connection, arrival)
        }
        connection.statistics.lastOperation = op.shortName
        var call = Call(
            database: database, connection: connection, xid: header.xid, arrival: arrival,
            reader: JuteReader(body, limits: juteLimits))
        do throws(JuteError) {
            switch op {
            case .getData: try call.getData()
            case .exists: try call.exists()
            case .ping:
                connection.reply(xid: SpecialXid.ping, zxid: lastZxid, error: .ok, arrival: arrival)
            case .getChildren: try call.getChildren(withStat: false)
            case .getChildren2: try call.getChildren(withStat: true)
            case .getACL: try call.getACL()
            case .sync: try call.sync()
            case .multiRead: try call.multiRead()
            case .setWatches: try call.setWatches(withPersistent: false)
            case .setWatches2: try call.setWatches(withPersistent: true)
            case .addWatch: try call.addWatch()
            case .checkWatches: try call.checkWatches()
            case .removeWatches: try call.removeWatches()
            case .getEphemerals: try call.getEphemerals()
            case .getAllChildrenNumber: try call.getAllChildrenNumber()
            case .whoAmI: call.whoAmI()
            case .closeSession:
                endLocalSession(connection, xid: header.xid, arrival: arrival)
            case .createSession, .error, .notification, .check:
                refuseUnknown(header, connection, arrival)
            case .create, .create2, .createContainer, .createTTL, .delete, .deleteContainer,
                .setData, .setACL, .reconfig, .multi, .auth, .sasl:
                preconditionFailure("writes and authentication do not come here")
            }
        } catch {
            connection.reply(
                xid: header.xid, zxid: lastZxid, error: .marshallingError, arrival: arrival)
        }
    }

    /// No such request, or one that no client may send.
    private func refuseUnknown(
        _ header: RequestHeader, _ connection: ClientConnection, _ arrival: UInt64
    ) {
        log(.warning, "unknown request", connection, ["type": "\(header.type)"])
        connection.reply(xid: header.xid, zxid: .none, error: .unimplemented, arrival: arrival)
        connection.finish()
    }

    // MARK: Authentication

    /// Of one connection: each is compared with each entry of an ACL.
    private static let identitiesMax = 1000

    /// Answered on arrival, in front of whatever waits.
    private func authenticate(
        _ header: RequestHeader, _ body: Span<UInt8>, _ connection: ClientConnection
    ) {
        var reader = JuteReader(body, limits: juteLimits)
        guard let packet = try? AuthPacket(reading: &reader) else { return connection.close() }
        var credential: [UInt8]?
        if let bytes = packet.auth { credential = [UInt8](bytes) }
        let proven = authentication.identities(scheme: packet.scheme, auth: credential)
        guard let proven, connection.identities.count < Self.identitiesMax else {
            statistics.authFailures += 1
            log(.warning, "authentication failed", connection, ["scheme": "\(packet.scheme)"])
            connection.reply(xid: header.xid, zxid: .zero, error: .authFailed, arrival: now)
            return connection.finish()
        }
        for identity in proven where !connection.identities.contains(identity) {
            connection.identities.append(identity)
        }
        connection.reply(xid: header.xid, zxid: .zero, error: .ok, arrival: now)
    }

    /// Without SASL on this server the client gets a null token and stays what it is.
    private func answerSASL(
        _ header: RequestHeader, _ body: Span<UInt8>, _ connection: ClientConnection
    ) {
        connection.reply(xid: header.xid, zxid: .zero, arrival: now) { $0.appendNull() }
    }
}
