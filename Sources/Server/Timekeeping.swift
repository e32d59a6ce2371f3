import Configuration
import Ensemble
import Jute
import Logging
import Vocabulary
import Znodes

/// What time brings: sessions that expire, znodes whose time is over.
extension ZooKeeperServer {
    func expireSessions() {
        // After a pause of the whole process, signs of life wait unread in the sockets: they are
        // heard first.
        let isLate = now > expiryDue + 1000
        expiryDue = now + expiryMilliseconds
        guard !isLate else { return }
        expireLocalSessions()
        guard peer.isLeading else { return }
        for session in proposer.tracker.expire(now: Int64(now)) {
            logger.info("session expired", metadata: ["session": "\(session)"])
            statistics.staleSessionsExpired += 1
            peer.proposeSessionEnd(session)
        }
    }

    /// Containers that are empty and TTL znodes that were left alone go.
    func sweepZnodes() {
        guard peer.isLeading else { return }
        let interval = configuration.containerCheckIntervalMilliseconds
        let perMinute = configuration.containerMaxPerMinute
        let limit = max(1, Int(Double(perMinute) * Double(interval) / 60_000))
        let paths = database.expiredZnodes(
            now: Clock.milliseconds,
            neverUsedMilliseconds: Int64(configuration.containerMaxNeverUsedIntervalMilliseconds),
            limit: min(limit, perMinute))
        for path in paths {
            var request = ByteBuffer()
            request.appendField(path.span)
            let origin = Proposer.Origin(
                session: .none, cxid: 0, identities: [], time: Clock.milliseconds)
            do throws(JuteError) {
                try peer.propose(.deleteContainer, body: request.span, from: origin)
            } catch {
                preconditionFailure("a path is a whole request: \(error)")
            }
        }
    }
}
