package import Vocabulary

/// Fast Leader Election, seen from one server: who leads, and so whether this server leads,
/// follows or observes.
///
///     idle --started--> looking --(a quorum agrees)--> settled --roleEnded--> looking ...
///
/// One value for the life of the process: the round only counts within it. Which leader is elected
/// decides how soon writes go on, never whether they are safe; that a new leader knows every
/// acknowledged write is ensured by the epochs that follow.
///
/// The shell's part:
/// - `send` goes out on the connection to that server or waits for one, in a queue of one place: a
///   newer notification replaces one that waits. Without a connection it dials.
/// - On one connection notifications keep their order.
/// - `arm` replaces a pending timer of that name; it may expire once more after `disarm`.
///
/// Source: ZooKeeper, `FastLeaderElection.lookForLeader`, `FastLeaderElection.Messenger`.
package struct Election: Reducer {
    package enum Timer: Equatable, Sendable {
        /// Nothing decisive was heard: say it again.
        case resend
        /// A quorum agrees and no better vote has come.
        case finalizeWait
    }

    package enum Event: Equatable, Sendable {
        /// The server is up and has read its history.
        case started
        /// It leads, follows or observes no longer; its history may have grown or been cut.
        case roleEnded(History)
        case notificationReceived(Notification, from: ServerID)
        case timerExpired(Timer)
        /// There is a connection to this server now, whoever dialed it.
        case peerConnected(ServerID)
        /// There is no connection to this server, and the last attempt to make one was refused
        /// or failed.
        case peerUnreachable(ServerID)
        /// The role has begun in earnest: the leader serves, or the learner was told UPTODATE.
        case epochEstablished(Int64)
        /// Another configuration was activated or seen.
        case electorateChanged(Electorate)
        /// Without a role the server has taken back what its disk does not hold.
        case historyReloaded(History)
    }

    package enum Effect: Equatable, Sendable {
        case send(Notification, to: ServerID)
        case arm(Timer, after: Duration)
        case disarm(Timer)
        /// Take the role that the vote gives this server.
        case lead(Vote)
        case follow(Vote)
        case observe(Vote)
    }

    private enum Phase: Equatable {
        case idle
        case looking
        /// Leading, following or observing.
        case settled(ServerState)
    }

    private let id: ServerID
    private let timing: Timing
    private var electorate: Electorate
    private var history: History
    private var phase = Phase.idle

    /// Counts elections, `logicalclock` in ZooKeeper. Not kept on disk: a restarted server begins
    /// again and catches up with what it hears.
    package private(set) var round: Int64 = 0
    /// The last result, which others are told; before the first, the server itself.
    package private(set) var currentVote: Vote

    // Of the election that is going on; each begins with these anew.
    private var proposal: Vote
    /// Votes of this round.
    private var ballots = Ballots()
    /// Votes of servers that have settled, of any round.
    private var outOfElection = Ballots()
    private var unreachable: Set<ServerID> = []
    private var resendInterval: Duration
    /// What voters said that began to look while this server still had a role: the last word of each
    /// on the connection that there is.
    private var early: [ServerID: Notification] = [:]
    /// A quorum agrees with the proposal, and `finalizeWait` is armed.
    private var isFinalizing = false

    package init(
        id: ServerID, history: History, electorate: Electorate, timing: Timing = Timing()
    ) {
        precondition(
            timing.minNotificationInterval > .zero, "without an interval resending never rests")
        self.id = id
        self.history = history
        self.electorate = electorate
        self.timing = timing
        currentVote = Vote(leader: id, zxid: history.lastZxid, peerEpoch: history.currentEpoch)
        proposal = .nobody
        resendInterval = timing.minNotificationInterval
    }

    package mutating func step(_ event: Event, into effects: inout [Effect]) {
        switch (phase, event) {
        case (.idle, .started):
            look(into: &effects)
        case (.settled, .roleEnded(let history)):
            self.history = history
            look(into: &effects)

        case (_, .notificationReceived(_, from: id)):
            break  // Somebody else runs with our id; whatever it says, we have not said it.
        case (.looking, .notificationReceived(let theirs, let sender)):
            if electorate.hasVoter(sender) {
                receive(theirs, from: sender, into: &effects)
            } else if asks(theirs), theirs.round <= round {
                // ZooKeeper's observers answer a laggard, and both would go on for ever.
                effects.append(.send(ours, to: sender))
            }
        case (.settled(let role), .notificationReceived(let theirs, let sender)):
            early[sender] = theirs.state == .looking ? theirs : nil
            if asks(theirs), theirs.state == .looking || !electorate.hasVoter(sender) {
                tellResult(role, to: sender, into: &effects)
            }

        case (.looking, .timerExpired(.resend)):
            resendInterval = min(resendInterval * 2, timing.maxNotificationInterval)
            broadcast(into: &effects)
        case (.looking, .timerExpired(.finalizeWait)):
            guard isFinalizing else { break }  // Disarmed while its expiry was on the way.
            conclude(proposal, into: &effects)

        case (.looking, .peerConnected(let peer)):
            greet(peer, into: &effects)
        case (.looking, .peerUnreachable(let peer)):
            guard electorate.hasVoter(peer) else { break }  // Nobody waits for it.
            unreachable.insert(peer)
            if isFinalizing, nobodyIsLeftToBeHeard { conclude(proposal, into: &effects) }

        case (.settled, .epochEstablished(let epoch)):
            // The zxid stays that of the election. Who joins later compares peer epochs and would
            // see two leaders if some of us still told the old one.
            currentVote.peerEpoch = epoch

        case (.looking, .electorateChanged(let electorate)):
            guard electorate != self.electorate else { break }
            // Votes of the old configuration count nothing in the new one.
            self.electorate = electorate
            look(into: &effects)
        case (.idle, .electorateChanged(let electorate)),
            (.settled, .electorateChanged(let electorate)):
            self.electorate = electorate

        case (.looking, .historyReloaded(let history)):
            self.history = history
            look(into: &effects)
        case (.settled, .historyReloaded):
            break  // It pauses, and `roleEnded` comes with it.

        case (.settled, .peerConnected(let peer)), (.settled, .peerUnreachable(let peer)):
            early[peer] = nil  // Who connects will ask.
        case (.settled, .timerExpired):
            break  // Of an election that is over.
        case (.idle, .notificationReceived), (.idle, .peerConnected), (.idle, .peerUnreachable):
            break  // The start sends to everybody, so who came early will be heard again.

        case (.idle, .roleEnded), (.idle, .timerExpired), (.idle, .epochEstablished),
            (.idle, .historyReloaded):
            preconditionFailure("nothing comes before the start")
        case (.looking, .started), (.settled, .started):
            preconditionFailure("one Election starts once")
        case (.looking, .roleEnded), (.looking, .epochEstablished):
            preconditionFailure("a server that looks has no role")
        }
        assertInvariants()
    }

    // MARK: Looking

    private mutating func look(into effects: inout [Effect]) {
        phase = .looking
        // Peers can claim any round and we catch up with it: at the end of the range the count
        // begins anew, as in Java, instead of stopping the server. A guest catches up with members:
        // they do not catch up with it.
        round = isGuest ? 1 : round &+ 1
        ballots = Ballots()
        outOfElection = Ballots()
        unreachable = []
        resendInterval = timing.minNotificationInterval
        disarmFinalizeWait(into: &effects)
        propose(candidacy, into: &effects)
        weigh(into: &effects)
        hearEarly(into: &effects)
    }

    /// Takes in what others said before this server looked.
    ///
    /// Deviation: ZooKeeper forgets it, and waits until they say it again. They may not do so as long
    /// as they are told votes worse than theirs:
    /// 1. Server 2 loses its quorum and looks; server 1, which still follows it, answers that.
    /// 2. Server 1 notices and looks, with a worse vote than server 2's.
    /// 3. Server 2 only repeats itself when it hears nothing, and it hears server 1 repeat itself.
    private mutating func hearEarly(into effects: inout [Effect]) {
        for voter in electorate.voters {
            guard phase == .looking, let theirs = early.removeValue(forKey: voter) else { continue }
            receiveVote(theirs, from: voter, into: &effects)
        }
        early = [:]
    }

    /// What this server proposes before it has heard of anybody better.
    private var candidacy: Vote {
        if isObserver { return .nobody }
        // Without weight it may be needed by what was seen last, and must not insist on itself.
        let stands = electorate.active.weight(of: id) != 0
        return Vote(
            leader: stands ? id : Vote.nobody.leader, zxid: history.lastZxid,
            peerEpoch: history.currentEpoch)
    }

    private var isObserver: Bool { electorate.observers.contains(id) }

    /// Observers do not vote, nor one without data: it has lost what it once acknowledged, and a
    /// quorum with it could miss that.
    private var mayVote: Bool { !isObserver && history.lastZxid != .none }

    /// No member of the configurations that it knows. It votes all the same: it may be one by a
    /// configuration that only others have seen, and they may need it. To all others it is nobody.
    private var isGuest: Bool { !isObserver && !electorate.hasVoter(id) }

    private mutating func propose(_ vote: Vote, into effects: inout [Effect]) {
        proposal = vote
        if mayVote { ballots[id] = ownBallot }
        broadcast(into: &effects)
    }

    private mutating func broadcast(into effects: inout [Effect]) {
        for voter in electorate.voters where voter != id {
            effects.append(.send(ours, to: voter))
        }
        effects.append(.arm(.resend, after: resendInterval))
    }

    private var ours: Notification { .init(state: .looking, vote: proposal, round: round) }

    private var ownBallot: Ballot {
        // Counted without a version, as all votes of the round.
        Ballot(vote: proposal, round: round, state: .looking, version: 0)
    }

    /// Tells a server that has just connected where we stand: what was sent before may have been
    /// lost with an older connection.
    ///
    /// Deviation: ZooKeeper sends the last notification again, which may be of an old round, and
    /// goes on waiting for as long as its back-off has grown.
    private mutating func greet(_ peer: ServerID, into effects: inout [Effect]) {
        guard peer != id, electorate.hasVoter(peer) else { return }
        unreachable.remove(peer)
        effects.append(.send(ours, to: peer))
        // A peer that connects again and again must not put off the resending to the others: an
        // interval that is the shortest is left to run.
        guard resendInterval > timing.minNotificationInterval else { return }
        resendInterval = timing.minNotificationInterval
        effects.append(.arm(.resend, after: resendInterval))
    }

    private mutating func receive(
        _ theirs: Notification, from sender: ServerID, into effects: inout [Effect]
    ) {
        unreachable.remove(sender)
        switch theirs.state {
        case .looking:
            receiveVote(theirs, from: sender, into: &effects)
        case .following, .leading:
            receiveResult(theirs, from: sender, into: &effects)
        case .observing, nil:
            break  // A voter does not observe; and what a number unknown to us means is not ours.
        }
    }

    /// A voter that looks as we do:
    ///
    /// 1. It is in an earlier round: it is told ours, and counts nothing.
    /// 2. It has no data, or its candidate has no vote: it counts nothing.
    /// 3. It is in a later round: we join that with the better of its vote and our candidacy.
    /// 4. It is in our round with a better vote: we take that.
    /// 5. It is in our round with a worse vote: it is told ours.
    /// 6. In 3 to 5, and when both agree already, its vote is counted.
    private mutating func receiveVote(
        _ theirs: Notification, from sender: ServerID, into effects: inout [Effect]
    ) {
        // Who has no vote learns from servers that have settled. ZooKeeper's observers count these
        // votes too: they find agreement on the leader that has just died and go back to it. And
        // answering a laggard here would echo for ever, because voters answer whoever has no vote.
        guard mayVote else { return }
        guard theirs.round >= round else { return correct(sender, into: &effects) }
        guard theirs.vote.zxid != .none, electorate.hasVoter(theirs.vote.leader) else { return }

        if theirs.round > round {
            round = theirs.round
            ballots = Ballots()
            propose(
                isBetter(theirs.vote, than: candidacy) ? theirs.vote : candidacy, into: &effects)
        } else if isBetter(theirs.vote, than: proposal) {
            propose(theirs.vote, into: &effects)
        } else if isBetter(proposal, than: theirs.vote) {
            // Deviation: ZooKeeper leaves it to the resending. But a server that has begun to look
            // before its peer did was not heard, and its vote would come a timer late. Each answer
            // of the two outranks what it answers, so they end.
            correct(sender, into: &effects)
        }
        let ballot = Ballot(
            vote: theirs.vote, round: theirs.round, state: .looking, version: 0)
        let isNews = ballots[sender] != ballot
        ballots[sender] = ballot
        // Deviation: in ZooKeeper a mere repetition prolongs the wait as well.
        if isNews { weigh(into: &effects) }
    }

    /// Members answer a guest whatever it says: it must not answer that.
    private func correct(_ sender: ServerID, into effects: inout [Effect]) {
        if !isGuest { effects.append(.send(ours, to: sender)) }
    }

    /// Ranks a vote, unless it is for a server that must not lead.
    private func isBetter(_ vote: Vote, than other: Vote) -> Bool {
        electorate.active.weight(of: vote.leader) != 0 && vote > other
    }

    /// Decides whether the proposal has won, after a ballot has changed.
    private mutating func weigh(into effects: inout [Effect]) {
        guard ballots.support(ownBallot, in: electorate) else {
            return disarmFinalizeWait(into: &effects)
        }
        guard !nobodyIsLeftToBeHeard else { return conclude(proposal, into: &effects) }
        isFinalizing = true
        effects.append(.arm(.finalizeWait, after: timing.finalizeWait))
    }

    /// Every other voter has voted for the proposal in this round, or cannot be reached: no better
    /// vote is to be expected. Of the leader itself we want to have heard: nobody can follow a
    /// server that is not there.
    ///
    /// Deviation: ZooKeeper always waits, so each fail-over costs it `finalizeWait`.
    private var nobodyIsLeftToBeHeard: Bool {
        electorate.voters.allSatisfy { voter in
            if let ballot = ballots[voter], ballot.agrees(with: ownBallot) { return true }
            return unreachable.contains(voter) && voter != proposal.leader
        }
    }

    private mutating func disarmFinalizeWait(into effects: inout [Effect]) {
        guard isFinalizing else { return }
        isFinalizing = false
        effects.append(.disarm(.finalizeWait))
    }

    /// A voter that leads or follows: there is a leader already, if a quorum says so and the leader
    /// itself does.
    ///
    /// 1. It is in our round: it counts together with those that still look.
    /// 2. In any case it counts together with those that have settled, in whichever round: then
    ///    we join theirs. The active configuration decides alone: what was only seen may never come
    ///    to be, and those who know nothing of it need not wait for the voters that it names.
    private mutating func receiveResult(
        _ theirs: Notification, from sender: ServerID, into effects: inout [Effect]
    ) {
        guard let state = theirs.state, electorate.hasVoter(theirs.vote.leader) else { return }
        let ballot = Ballot(
            vote: theirs.vote, round: theirs.round, state: state, version: theirs.version)
        outOfElection[sender] = ballot
        if theirs.round == round {
            var counted = ballot
            counted.version = 0
            let isNews = ballots[sender] != counted
            ballots[sender] = counted
            if ballots.support(ballot, in: electorate), leaderSaysSo(ballot, in: ballots) {
                return conclude(theirs.vote, into: &effects)
            }
            if isNews { weigh(into: &effects) }
            guard phase == .looking else { return }
        }
        if outOfElection.support(ballot, in: electorate.active),
            leaderSaysSo(ballot, in: outOfElection)
        {
            round = theirs.round
            conclude(theirs.vote, into: &effects)
        }
    }

    /// Followers may not have noticed yet that their leader is gone; its own word tells. When we are
    /// that leader, we are so only in the round that we are in.
    private func leaderSaysSo(_ ballot: Ballot, in ballots: Ballots) -> Bool {
        guard ballot.vote.leader != id else { return round == ballot.round && mayVote }
        return ballots[ballot.vote.leader]?.state == .leading
    }

    // MARK: Settling

    private mutating func conclude(_ vote: Vote, into effects: inout [Effect]) {
        precondition(electorate.hasVoter(vote.leader), "only a voter leads")
        let role: ServerState =
            vote.leader == id ? .leading : isObserver ? .observing : .following
        precondition(role != .leading || mayVote, "a server without a vote or data does not lead")
        phase = .settled(role)
        currentVote = vote
        effects.append(.disarm(.resend))
        disarmFinalizeWait(into: &effects)
        // Deviation: ZooKeeper's observers have to ask again, after as long as their back-off has
        // grown. Those that look are helped, the others ignore it.
        if !isObserver, electorate.hasVoter(id) {
            for observer in electorate.observers {
                tellResult(role, to: observer, into: &effects)
            }
        }
        switch role {
        case .leading: effects.append(.lead(vote))
        case .following: effects.append(.follow(vote))
        case .observing: effects.append(.observe(vote))
        case .looking: preconditionFailure("a result is a role")
        }
    }

    /// Whether a notification wants an answer. What a settled server sends is one.
    ///
    /// Deviation: ZooKeeper answers whoever has no vote, whatever it says. A voter that looks and
    /// an observer that has settled then answer each other until the election ends.
    private func asks(_ theirs: Notification) -> Bool {
        switch theirs.state {
        case .looking, nil: true
        case .following, .leading, .observing: false
        }
    }

    private func tellResult(_ state: ServerState, to peer: ServerID, into effects: inout [Effect]) {
        effects.append(.send(.init(state: state, vote: currentVote, round: round), to: peer))
    }

    // MARK: Invariants

    private func assertInvariants() {
        guard phase == .looking else {
            return assert(!isFinalizing, "only an election that goes on waits for its end")
        }
        assert(proposal >= candidacy, "a proposal never ranks below our own history")
        assert(
            ballots[id] == (mayVote ? ownBallot : nil),
            "our own vote is counted like any other, and only if we have one")
        assert(
            ballots.allSatisfy { (electorate.hasVoter($0) || $0 == id) && $1.round == round },
            "only votes of voters, cast in this round, are counted")
        assert(
            outOfElection.allSatisfy { server, _ in electorate.hasVoter(server) && server != id },
            "only voters are believed, and nobody on our own word")
        assert(
            isFinalizing == ballots.support(ownBallot, in: electorate),
            "the last wait goes on exactly while a quorum agrees")
        assert(
            !(isFinalizing && nobodyIsLeftToBeHeard), "nobody waits for those who cannot answer")
    }
}
