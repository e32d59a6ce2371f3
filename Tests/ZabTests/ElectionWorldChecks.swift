import Vocabulary
import Zab

/// What must hold in each run, watched from outside.
extension ElectionWorld {
    mutating func conclude(
        _ server: Int, _ vote: Election.Vote, as effect: Election.Effect
    ) throws {
        let leader = Int(vote.leader.rawValue) - 1
        guard (0..<setup.voterCount).contains(leader) else {
            throw failure("\(server + 1) elects \(leader + 1), who has no vote")
        }
        guard weight(leader) > 0 else {
            throw failure("\(server + 1) elects \(leader + 1), who weighs nothing")
        }
        let role: ServerState =
            leader == server ? .leading : server < setup.voterCount ? .following : .observing
        let expected: Election.Effect =
            switch role {
            case .leading: .lead(vote)
            case .following: .follow(vote)
            default: .observe(vote)
            }
        guard effect == expected else { throw failure("\(server + 1): \(effect)") }
        try checkSupport(of: vote, at: server)
        electionCount += 1
        take(role, leader, at: server)
        try checkBeliefs()
        if role == .leading, isQuorum(where: { $0 == server }) { try establishEpoch(of: server) }
    }

    /// A result needs a quorum that has said so to this server since it began to look: for this
    /// history in this round, all of them with none that is better; or for this leader, as
    /// followers of it, with its own word.
    func checkSupport(of vote: Election.Vote, at server: Int) throws {
        let member = members[server]
        let round = member.election.round
        let leader = Int(vote.leader.rawValue) - 1
        func hasHeard(
            _ sender: Int, where holds: (Election.Notification) -> Bool
        ) -> Bool {
            member.heard.contains { $0.sender == sender && holds($0.letter.notification) }
        }
        func votes(_ voter: Int) -> Bool {
            guard voter != server else {
                return member.proposed?.vote == vote && member.proposed?.round == round
            }
            return hasHeard(voter) { $0.vote == vote && $0.round == round }
        }
        if server < setup.voterCount, votes(server), isQuorum(where: votes) {
            guard candidacies.contains(vote) else {
                throw failure("\(server + 1) elects \(vote), which never was a candidate")
            }
            for (sender, letter) in member.heard
            where letter.notification == .init(state: .looking, vote: vote, round: round) {
                let own = members[sender].candidacy(with: letter.history)
                guard own <= vote || weight(sender) == 0 else {
                    throw failure("\(server + 1) elects \(vote), but \(own) voted for it")
                }
            }
            return
        }
        let isTold =
            leader == server
            || hasHeard(leader) { $0.state == .leading && $0.vote.leader == vote.leader }
        let inRound = isQuorum { voter in
            votes(voter)
                || hasHeard(voter) {
                    $0.state != .looking && $0.vote.leader == vote.leader && $0.round == round
                }
        }
        let inEpoch = isQuorum { voter in
            hasHeard(voter) {
                $0.state != .looking && $0.vote.leader == vote.leader
                    && $0.vote.peerEpoch == vote.peerEpoch
            }
        }
        guard isTold, inRound || inEpoch else {
            throw failure("\(server + 1) elects \(vote) in round \(round) without a quorum")
        }
    }

    /// A quorum never believes in two leaders.
    func checkBeliefs() throws {
        let believed = members.indices.filter { leader in
            isQuorum {
                members[$0].isUp && members[$0].role.state != .looking
                    && members[$0].role.leader == leader
            }
        }
        guard believed.count < 2 else { throw failure("quorums believe in \(believed)") }
    }

    /// Counted from the setup: the reducer's own counting is what is being watched.
    func isQuorum(where holds: (Int) -> Bool) -> Bool {
        guard let groups = setup.groups else {
            return (0..<setup.voterCount).count(where: holds) > setup.voterCount / 2
        }
        var totals = [0, 0, 0]
        var held = [0, 0, 0]
        for (voter, (group, weight)) in groups.enumerated() {
            totals[group] += weight
            if weight > 0, holds(voter) { held[group] += weight }
        }
        let won = (0..<3).count { held[$0] > totals[$0] / 2 }
        return won > totals.count { $0 > 0 } / 2
    }

    func weight(_ voter: Int) -> Int { setup.groups.map { $0[voter].weight } ?? 1 }
}
