import UnitTestSupport
import Vocabulary
import Zab

/// What follows an election, in a few lines: learners join their leader, a quorum of them
/// establishes an epoch, the leader writes, a quorum commits, silence ends a role.
extension ElectionWorld {
    mutating func beginLooking(_ server: Int, with event: Election.Event) throws {
        members[server].heard = early(server)
        members[server].proposed = nil
        if server < setup.voterCount { candidacies.insert(members[server].candidacy) }
        try step(server, event)
    }

    /// What counts of the time before: the last word of those that looked already.
    private func early(_ server: Int) -> [(sender: Int, letter: Letter)] {
        let heard = members[server].heard
        return members.indices.compactMap { sender in
            heard.last { $0.sender == sender }
        }
        .filter { $0.letter.notification.state == .looking }
    }

    /// Another connection: what was heard on the last one may not be the last word.
    mutating func forgetEarly(_ server: Int, from other: Int) {
        guard members[server].role.state != .looking else { return }
        members[server].heard.removeAll { $0.sender == other }
    }

    mutating func endRole(_ server: Int) throws {
        members[server].role = Role()
        try beginLooking(server, with: .roleEnded(members[server].history))
    }

    mutating func take(_ state: ServerState, _ leader: Int, at server: Int) {
        roleCount += 1
        members[server].role = Role(state: state, leader: leader, number: roleCount)
        if state == .leading {
            schedule(.leaderGivesUp(server, role: roleCount), in: Self.leaderPatience)
        } else {
            schedule(.joining(server, role: roleCount, attempt: 1), in: delay())
        }
    }

    mutating func join(_ server: Int, attempt: Int) throws {
        let leader = members[server].role.leader
        let takesIt =
            members[leader].isUp && members[leader].role.state == .leading
            && connections[line(server, leader)] != nil
        guard takesIt else {
            guard attempt < Self.joinsMax else { return try endRole(server) }
            schedule(
                .joining(server, role: members[server].role.number, attempt: attempt + 1),
                in: Self.joinInterval)
            return
        }
        let isEstablished = members[leader].role.isEstablished
        // A voter that is ahead must not help to establish what would cut its history.
        guard
            isEstablished || server >= setup.voterCount
                || members[leader].history.knows(members[server].history)
        else { return try endRole(server) }
        members[server].role.hasJoined = true
        members[leader].role.joined[server] = members[server].role.number
        guard !isEstablished else {
            members[server].history = members[leader].history
            return establish(server)
        }
        guard isQuorum(where: { $0 == leader || isJoined($0, to: leader) }) else { return }
        try establishEpoch(of: leader)
    }

    func isJoined(_ server: Int, to leader: Int) -> Bool {
        members[leader].role.joined[server] == members[server].role.number
            && members[server].role.state != .looking && connections[line(server, leader)] != nil
    }

    mutating func establishEpoch(of leader: Int) throws {
        let learners = members.indices.filter { $0 != leader && isJoined($0, to: leader) }
        let known = (learners + [leader]).map { members[$0].history.currentEpoch }
        guard let epoch = known.max().map({ $0 + 1 }) else { return }
        note("\(leader + 1) establishes epoch \(epoch)")
        guard leaderOfEpoch.updateValue(leader, forKey: epoch) == nil else {
            throw failure("epoch \(epoch) is established twice")
        }
        guard members[leader].history.knows(committed) else {
            throw failure(
                "\(leader + 1) leads with \(members[leader].history), without \(committed)")
        }
        epochCount += 1
        members[leader].history.currentEpoch = epoch
        members[leader].role.isEstablished = true
        try step(leader, .epochEstablished(epoch))
        for learner in learners {
            members[learner].history = members[leader].history
            establish(learner)
        }
    }

    mutating func establish(_ learner: Int) {
        let role = members[learner].role
        schedule(
            .established(
                members[learner].history.currentEpoch, at: learner, role: role.number),
            in: delay())
    }

    mutating func beat() throws {
        for server in members.indices where members[server].isUp {
            let role = members[server].role
            let isFine =
                switch role.state {
                case .looking: true
                case .leading:
                    !role.isEstablished
                        || isQuorum { $0 == server || isJoined($0, to: server) }
                case .following, .observing:
                    !role.hasJoined
                        || isJoined(server, to: role.leader)
                            && members[role.leader].role.state == .leading
                }
            members[server].role.heartbeatsMissed = isFine ? 0 : role.heartbeatsMissed + 1
            if members[server].role.heartbeatsMissed > 2 {
                try endRole(server)
            } else if role.state == .leading, role.isEstablished {
                write(as: server)
            }
        }
        try checkBeliefs()
    }

    /// One more transaction, which some learners get.
    mutating func write(as leader: Int) {
        guard random.chance(percent: 50) else { return }
        let history = members[leader].history
        let isFirst = history.lastZxid.epoch != history.currentEpoch
        members[leader].history.lastZxid =
            isFirst ? Zxid(epoch: history.currentEpoch, counter: 1) : history.lastZxid.next
        for learner in members.indices where isJoined(learner, to: leader) && learner != leader {
            guard members[learner].role.isEstablished, random.chance(percent: 70) else { continue }
            members[learner].history = members[leader].history
        }
        let held = members[leader].history
        if isQuorum(where: { members[$0].history == held }) { committed = held }
    }
}

extension Election.History {
    func knows(_ other: Election.History) -> Bool {
        (other.currentEpoch, other.lastZxid) <= (currentEpoch, lastZxid)
    }
}
