import ClientProtocol
import Configuration
import Ensemble
import EventLoop
import Logging
import Vocabulary
import Znodes

/// Serving clients that only read, while there is no leader.
///
/// Such clients get local sessions, which end when a leader is found; then all of them are cut off
/// and ask again. What they read is all that this server's log holds, committed or not.
///
/// Deviation: read-only clients get their sessions also where local sessions are disabled. Apache's
/// servers answer them with a record that is no connect response.
/// Source: ZooKeeper, `QuorumPeer.run`, `ReadOnlyZooKeeperServer`, `ReadOnlyRequestProcessor`.
extension ZooKeeperServer {
    /// A leader is looked for from now on.
    func awaitReadOnly() {
        guard let ensemble, ensemble.settings.readOnlyModeEnabled else { return }
        // Most elections are over by then.
        let patience = UInt64(max(2000, configuration.tickTimeMilliseconds))
        readOnlyTimer.start(afterMilliseconds: patience) { [unowned self] in
            guard peer.state == .looking else { return }
            isReadOnly = true
            statistics.beginRole()
            statistics.roles.roleBegan(now: now)
            logger.warning("serving read-only clients", metadata: ["zxid": "\(lastZxid)"])
        }
    }

    /// A leader was found.
    func endReadOnly() {
        readOnlyTimer.stop()
        guard isReadOnly else { return }
        isReadOnly = false
        closeConnections()
        forgetLocalSessions()
    }

    /// Answers what needs a leader; false: the request does not.
    func refuseToWrite(_ op: OpCode?, xid: Int32, _ connection: ClientConnection) -> Bool {
        switch op {
        case .create, .create2, .createContainer, .createTTL, .delete, .deleteContainer, .setData,
            .setACL, .reconfig, .multi, .check, .sync:
            connection.reply(xid: xid, zxid: lastZxid, error: .notReadOnly, arrival: now)
            return true
        default: return false
        }
    }

    /// Every connection, whatever it waits for.
    func closeConnections() {
        for case let connection? in connections where connection.phase != .closing {
            connection.close()
        }
    }
}
