package import Vocabulary

extension Election {
    /// A server's history, as far as an election compares it.
    package struct History: Hashable, Sendable {
        /// The last logged transaction; `none` (-1): no data, so no vote.
        package var lastZxid: Zxid
        /// The last epoch whose leader's history was accepted.
        package var currentEpoch: Int64

        package init(lastZxid: Zxid, currentEpoch: Int64) {
            self.lastZxid = lastZxid
            self.currentEpoch = currentEpoch
        }
    }

    /// A candidate and its history. Greater is better: peer epoch, then zxid, then server id.
    ///
    /// The peer epoch decides before the zxid does: it is not the zxid's own epoch. A server that
    /// accepted epoch 5 without a transaction in it is ahead of one with more transactions of
    /// epoch 4, which that leader never committed.
    /// Source: ZooKeeper, `FastLeaderElection.totalOrderPredicate`.
    package struct Vote: Hashable, Comparable, Sendable {
        package var leader: ServerID
        package var zxid: Zxid
        package var peerEpoch: Int64

        package init(leader: ServerID, zxid: Zxid, peerEpoch: Int64) {
            self.leader = leader
            self.zxid = zxid
            self.peerEpoch = peerEpoch
        }

        /// What an observer proposes: the smallest vote there is.
        package static let nobody = Vote(
            leader: ServerID(rawValue: .min), zxid: Zxid(rawValue: .min), peerEpoch: .min)

        package static func < (a: Vote, b: Vote) -> Bool {
            (a.peerEpoch, a.zxid, a.leader) < (b.peerEpoch, b.zxid, b.leader)
        }
    }

    /// What servers tell each other on the election port, decoded. The shell adds its
    /// configuration's text to what it sends, and takes it off what it receives.
    package struct Notification: Hashable, Sendable {
        /// What the sender is doing; nil: a number that means nothing.
        package var state: ServerState?
        package var vote: Vote
        /// The sender's round, `electionEpoch` on the wire.
        package var round: Int64
        /// Of the message's format: 0 of the two that carry none, 1, or 2 as sent today.
        package var version: Int32

        package static let currentVersion: Int32 = 2

        package init(
            state: ServerState?, vote: Vote, round: Int64, version: Int32 = currentVersion
        ) {
            self.state = state
            self.vote = vote
            self.round = round
            self.version = version
        }
    }

    /// `fastleader.*` and what Apache fixes.
    package struct Timing: Equatable, Sendable {
        /// Until a server says again what it said: `fastleader.minNotificationInterval`. Doubles
        /// with each repetition.
        package var minNotificationInterval: Duration = .milliseconds(200)
        /// Where the doubling ends: `fastleader.maxNotificationInterval`.
        package var maxNotificationInterval: Duration = .seconds(60)
        /// How long a quorum waits for better votes than its own.
        package var finalizeWait: Duration = .milliseconds(200)

        package init() {}
    }

    /// Who may vote: the voters of the active configuration and, while a reconfiguration is on its
    /// way, those of the configuration last seen. Then a quorum is one in both.
    package struct Electorate: Equatable, Sendable {
        package let active: QuorumVerifier
        /// Of the configuration last seen, when that is newer than the active one.
        package let lastSeen: QuorumVerifier?
        /// Of the active configuration. They learn who leads.
        package let observers: [ServerID]
        /// The voters of both, in the order of their ids.
        package let voters: [ServerID]

        package init(
            active: QuorumVerifier, lastSeen: QuorumVerifier? = nil, observers: [ServerID] = []
        ) {
            self.active = active
            self.lastSeen = lastSeen
            voters = Set(active.voters + (lastSeen?.voters ?? [])).sorted()
            // A reconfiguration may be about to give an observer its vote; until then it asks
            // as a voter and need not be told.
            self.observers = observers.filter { [voters] in !voters.contains($0) }.sorted()
        }

        package func hasVoter(_ server: ServerID) -> Bool { voters.contains(server) }

        package func isQuorum(where holds: (ServerID) -> Bool) -> Bool {
            active.isQuorum(where: holds) && lastSeen?.isQuorum(where: holds) ?? true
        }
    }
}
