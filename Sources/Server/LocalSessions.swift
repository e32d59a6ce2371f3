import Configuration
import Ensemble
import Jute
import Logging
import Vocabulary
import Znodes

/// Sessions that only this server knows: they cost no transaction, and end by its clock or with its
/// role. Their clients cannot go on elsewhere.
///
/// They write like others; the leader takes their server's word for them. But they own nothing: a
/// session that creates an ephemeral znode becomes a global one first, where that is enabled.
///
/// Source: ZooKeeper, `UpgradeableSessionTracker`, `QuorumZooKeeperServer`.
extension ZooKeeperServer {
    var localSessionCount: Int { localSessions.count }

    /// Whether new sessions are local ones; without a leader they cannot be anything else.
    var beginsLocally: Bool { isReadOnly || ensemble?.settings.localSessionsEnabled ?? false }

    func beginLocalSession(_ connection: ClientConnection) {
        attachLocally(connection)
        establish(connection)
    }

    /// Goes on with a local session; false: there is none with the id of the connection's.
    func resumeLocalSession(_ connection: ClientConnection) -> Bool {
        guard localSessions.slot(of: connection.session) != nil else { return false }
        attachLocally(connection)
        establish(connection)
        return true
    }

    private func attachLocally(_ connection: ClientConnection) {
        connection.localSlot = localSessions.add(
            connection.session, timeoutMilliseconds: connection.timeoutMilliseconds,
            now: Int64(now))
    }

    /// Its client asks for its end. Everything in front of that is answered.
    func endLocalSession(_ connection: ClientConnection, xid: Int32, arrival: UInt64) {
        localSessions.remove(connection.session)
        connection.localSlot = nil
        connection.reply(xid: xid, zxid: lastZxid, error: .ok, arrival: arrival)
        connection.finish()
    }

    func expireLocalSessions() {
        for session in localSessions.expire(now: Int64(now)) {
            logger.info("local session expired", metadata: ["session": "\(session)"])
            statistics.staleSessionsExpired += 1
            localSessions.remove(session)
            connectionsBySession[session]?.close()
        }
    }

    /// The role is over. No connection is left.
    func forgetLocalSessions() { localSessions.removeAll() }

    // MARK: Upgrading

    /// Makes the session a global one if the write needs that: the transaction of the session goes in
    /// front of it. False: that is disabled, and the write is to be refused.
    ///
    /// A multi is never refused here: only where it becomes a transaction is it known which of its
    /// operations fails first.
    func upgrade(_ connection: ClientConnection, for op: OpCode, _ body: Span<UInt8>) -> Bool {
        guard let slot = connection.localSlot, Proposer.createsEphemeral(op, body: body) else {
            return true
        }
        guard ensemble?.settings.localSessionsUpgradingEnabled ?? false else { return op == .multi }
        logger.info("session upgraded", metadata: ["session": "\(connection.session)"])
        let timeout = localSessions.timeoutMilliseconds(slot)
        localSessions.remove(connection.session)
        connection.localSlot = nil
        if peer.isLeading {
            peer.proposeSession(connection.session, timeoutMilliseconds: timeout)
            connection.sessionSlot = proposer.tracker.slot(of: connection.session)
        } else {
            forwardSession(connection.session, timeoutMilliseconds: timeout, .nobody)
        }
        return true
    }
}
