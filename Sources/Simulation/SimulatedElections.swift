import Ensemble
import QuorumProtocol
import Vocabulary

/// The election port of a simulated server.
extension SimulatedServer {
    func send(_ notification: ElectionNotification, to server: ServerID) {
        guard isAlive() else { return }
        let other = Int(server.rawValue) - 1
        if let connection = elections[other] {
            world.mix(UInt64(bitPattern: notification.zxid.rawValue))
            world.send(
                .notification(notification), on: connection,
                from: connection.side(.server(index)))
        } else {
            waiting[other] = notification
            dialElection(other)
        }
    }

    /// There is one connection between two servers, dialed by the one with the larger id; when the
    /// other one dials, it dials back.
    ///
    /// `isIntroduced`: it has said itself where it is.
    func dialElection(_ other: Int, isIntroduced: Bool = false) {
        let target = world.servers[other]
        guard isIntroduced || knows(target.id) else { return peer.peerUnreachable(target.id) }
        guard dialing.insert(other).inserted else { return }
        world.reach(target, from: self, isAccepted: { _ in true }) { [unowned self] isReached in
            dialing.remove(other)
            guard isReached else { return peer.peerUnreachable(target.id) }
            guard other < index else {
                return world.schedule(in: 0, at: target) { [unowned self] in
                    target.introduced(index)
                }
            }
            let connection = world.connect(.election, .server(index), .server(other))
            keep(connection, to: other)
            world.schedule(in: 0, at: target) { [unowned self] in
                target.keep(connection, to: index)
            }
        }
    }

    private func introduced(_ smaller: Int) {
        if let older = elections.removeValue(forKey: smaller) {
            world.close(older, from: older.side(.server(index)))
        }
        dialElection(smaller, isIntroduced: true)
    }

    /// Whether a configuration says where this server is.
    func knows(_ server: ServerID) -> Bool {
        peer.configuration?.member(server) != nil || peer.lastSeen?.member(server) != nil
    }

    private func keep(_ connection: Connection, to other: Int) {
        let side = connection.side(.server(index))
        guard connection.ends[side].isOpen else { return }
        if let older = elections[other] {
            world.close(older, from: older.side(.server(index)))
        }
        elections[other] = connection
        if let notification = waiting.removeValue(forKey: other) {
            world.send(.notification(notification), on: connection, from: side)
        }
        peer.peerConnected(world.servers[other].id)
    }
}
