import Vocabulary

extension Election {
    /// A vote as it is counted: with who cast it comes what that server was doing.
    struct Ballot: Equatable {
        var vote: Vote
        var round: Int64
        var state: ServerState
        var version: Int32

        /// Whether two ballots stand for the same leader.
        ///
        /// 1. One of them is of a server still LOOKING: all must be equal, for such a vote is a
        ///    promise about this history in this round.
        /// 2. Neither is, and only one comes from a server that sends versions: the leader.
        /// 3. Neither is, otherwise: leader and peer epoch. The zxid is that of the election long
        ///    ago, the round that of whoever took part in it.
        ///
        /// Source: ZooKeeper, `Vote.equals`.
        func agrees(with other: Ballot) -> Bool {
            guard vote.leader == other.vote.leader else { return false }
            if state == .looking || other.state == .looking {
                return vote == other.vote && round == other.round
            }
            if (version > 0) != (other.version > 0) { return true }
            return vote.peerEpoch == other.vote.peerEpoch
        }
    }

    /// The last ballot of each server.
    struct Ballots: Equatable {
        /// Looked up, never iterated: hash order differs per process.
        private var cast: [ServerID: Ballot] = [:]

        subscript(server: ServerID) -> Ballot? {
            get { cast[server] }
            set { cast[server] = newValue }
        }

        /// Whether a quorum agrees with the ballot.
        func support(_ ballot: Ballot, in electorate: Electorate) -> Bool {
            electorate.isQuorum { cast[$0]?.agrees(with: ballot) ?? false }
        }

        func support(_ ballot: Ballot, in quorum: QuorumVerifier) -> Bool {
            quorum.isQuorum { cast[$0]?.agrees(with: ballot) ?? false }
        }

        func allSatisfy(_ holds: (ServerID, Ballot) -> Bool) -> Bool {
            cast.allSatisfy { holds($0.key, $0.value) }
        }
    }
}
