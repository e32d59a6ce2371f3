import Configuration
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
        for session in proposer.tracker.expire(now: Int64(now)) {
            logger.info("session expired", metadata: ["session": "\(session)"])
            statistics.staleSessionsExpired += 1
            propose {
                proposer.proposeSessionEnd(session, cxid: 0, time: Clock.milliseconds, into: &$0)
            }
        }
    }

    /// Containers that are empty and TTL znodes that were left alone go.
    func sweepZnodes() {
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
            propose {
                guard
                    let zxid = try? proposer.propose(
                        .deleteContainer, body: request.span, from: origin, into: &$0)
                else { preconditionFailure("a path is a whole request") }
                return zxid
            }
        }
    }
}
