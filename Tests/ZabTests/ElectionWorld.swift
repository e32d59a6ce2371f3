import UnitTestSupport
import Vocabulary
import Zab

/// An ensemble that elects its leaders, in virtual time. One seed decides the servers, the delays,
/// and what fails when; the same seed is the same run.
///
/// What it promises is what the world promises: notifications on one connection keep their order,
/// and are lost only with it; a server that crashes forgets everything but its history; a dead
/// process refuses connections, a cut line may stay silent. Beyond the election it plays, in a few
/// lines, what follows one: learners join their leader, a quorum of them establishes an epoch, the
/// leader writes, a quorum commits.
///
/// It watches from outside and counts quorums by itself.
struct ElectionWorld {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Microseconds since the beginning.
    typealias Time = Int

    /// What a seed draws before it begins.
    struct Setup {
        var voterCount = 3
        var observerCount = 0
        /// The group and the weight of each voter; nil: a majority.
        var groups: [(group: Int, weight: Int)]?
        var delayMin: Time = 0
        var delayMax: Time = 1000
        var faultsEnd: Time = 0
        var crashes = false
        var cuts = false
        /// A cut line says at once that nobody answers, although somebody lives at its other end.
        var cutsAreNoticed = false
        /// Until the faults end nobody hears anybody.
        var beginsCut = false
        /// Leaders give up for no reason to be seen.
        var resignations = false
        /// A new connection repeats what was sent last on an older one, as Apache's does.
        var repeatsStale = false

        init() {}

        init(drawnFrom random: inout SeededGenerator) {
            voterCount = 3 + random.below(5)
            observerCount = random.chance(percent: 25) ? 1 : 0
            if random.chance(percent: 25) {
                groups = (0..<voterCount).map { _ in (random.below(3), random.below(3)) }
                // Somebody must weigh something.
                groups?[0].weight = 1
            }
            delayMax = random.pick([1000, 20_000, 150_000, 500_000])
            faultsEnd = 4_000_000
            crashes = random.chance(percent: 75)
            cuts = random.chance(percent: 75)
            cutsAreNoticed = random.chance(percent: 50)
            resignations = random.chance(percent: 50)
            repeatsStale = random.chance(percent: 50)
        }
    }

    /// A notification with what the world knows about its sender.
    struct Letter {
        var notification: Election.Notification
        /// The sender's history when it wrote this.
        var history: Election.History
    }

    enum Happening {
        case arrived(Letter, from: Int, to: Int, connection: Int)
        case expired(Election.Timer, at: Int, arming: Int)
        case connecting(Int, Int)
        case connected(Int, to: Int, connection: Int)
        case refused(Int, by: Int)
        case joining(Int, role: Int, attempt: Int)
        case established(Int64, at: Int, role: Int)
        case leaderLost(Int, role: Int)
        case leaderGivesUp(Int, role: Int)
        case heartbeat
        case fault
    }

    struct Role {
        var state = ServerState.looking
        var leader = 0
        /// Tells the roles of one server apart.
        var number = 0
        /// A learner: it has found its leader.
        var hasJoined = false
        /// A learner: the leader has taken it. A leader: its epoch is established.
        var isEstablished = false
        /// Of a leader: which servers have joined, in which of their roles.
        var joined: [Int: Int] = [:]
        var heartbeatsMissed = 0
    }

    struct Member {
        let id: ServerID
        var election: Election
        var history: Election.History
        var isUp = false
        var role = Role()
        var armings: [Int] = [0, 0]
        /// What was delivered since this server began to look.
        var heard: [(sender: Int, letter: Letter)] = []
        /// What it proposed last.
        var proposed: Election.Notification?

        var candidacy: Election.Vote { candidacy(with: history) }

        func candidacy(with history: Election.History) -> Election.Vote {
            Election.Vote(
                leader: id, zxid: history.lastZxid, peerEpoch: history.currentEpoch)
        }
    }

    let setup: Setup
    var now: Time = 0
    var prints = false

    var random: SeededGenerator
    var members: [Member] = []
    var agenda = Agenda<Happening>()
    /// By `line`; nil: no connection.
    var connections: [Int?]
    var isCut: [Bool]
    /// By direction: when the last notification arrives, and which was sent last.
    var lastArrival: [Time]
    var lastSent: [Letter?]
    var connectionCount = 0
    var roleCount = 0
    var armingCount = 0
    var happeningCount = 0
    let electorate: Election.Electorate

    // What the checks remember.
    var candidacies: Set<Election.Vote> = []
    var leaderOfEpoch: [Int64: Int] = [:]
    var committed = Election.History(lastZxid: .zero, currentEpoch: 0)
    var electionCount = 0
    var epochCount = 0

    static let joinsMax = 5
    static let joinInterval: Time = 100_000
    static let leaderPatience: Time = 2_000_000
    static let heartbeatInterval: Time = 100_000
    /// More than this in one run is an echo that does not end.
    static let happeningsMax = 60_000

    init(setup: Setup, random: SeededGenerator) {
        self.setup = setup
        self.random = random
        let count = setup.voterCount + setup.observerCount
        let ids = (0..<count).map { ServerID(rawValue: Int64($0 + 1)) }
        let voters = Array(ids.prefix(setup.voterCount))
        let observers = Array(ids.dropFirst(setup.voterCount))
        var active = QuorumVerifier(voters: voters)
        if let groups = setup.groups {
            let members = (0..<3).map { group in
                zip(voters, groups).filter { $1.group == group }.map(\.0)
            }
            let weights = [ServerID: Int](
                uniqueKeysWithValues: zip(voters, groups.map(\.weight)))
            guard let verifier = try? QuorumVerifier(groups: members, weights: weights) else {
                preconditionFailure("a setup has weights that count")
            }
            active = verifier
        }
        electorate = Election.Electorate(active: active, observers: observers)
        connections = Array(repeating: nil, count: count * count)
        isCut = Array(repeating: false, count: count * count)
        lastArrival = Array(repeating: 0, count: count * count)
        lastSent = Array(repeating: nil, count: count * count)
        for id in ids {
            // Histories that differ, of which none is committed, and some epochs without writes.
            let epoch = Int64(self.random.below(3))
            let history = Election.History(
                lastZxid: Zxid(
                    epoch: Int64(self.random.below(Int(epoch) + 1)),
                    counter: UInt32(self.random.below(4))),
                currentEpoch: epoch)
            members.append(
                Member(
                    id: id,
                    election: Election(id: id, history: history, electorate: electorate),
                    history: history))
        }
    }

    // MARK: Running

    /// Starts everybody, lets things fail, mends all, and waits until the ensemble has settled.
    /// Returns how long that took after mending.
    mutating func run(patience: Time) throws -> Time {
        if setup.beginsCut { isCut = isCut.map { _ in true } }
        for server in members.indices { try start(server) }
        if setup.faultsEnd > 0 { schedule(.fault, in: 0) }
        schedule(.heartbeat, in: Self.heartbeatInterval)
        try advance { $0.now >= $0.setup.faultsEnd }
        note("mending")
        for server in members.indices {
            if !members[server].isUp { try start(server) }
            for other in members.indices where other != server { mend(server, other) }
        }
        let mended = now
        try advance { $0.isSettled || $0.now - mended > patience }
        guard isSettled else { throw failure("no leader \(patience / 1000) ms after mending") }
        return now - mended
    }

    mutating func advance(until isDone: (ElectionWorld) -> Bool) throws {
        while !isDone(self) {
            guard let (time, happening) = agenda.next() else { throw failure("nothing happens") }
            now = time
            happeningCount += 1
            guard happeningCount < Self.happeningsMax else { throw failure("an endless echo") }
            try perform(happening)
        }
    }

    /// Everybody follows one leader in its epoch.
    var isSettled: Bool {
        guard let leader = leader else { return false }
        let vote = members[leader].election.currentVote
        return members.indices.allSatisfy { server in
            let member = members[server]
            return member.isUp && member.role.isEstablished
                && member.election.currentVote.leader == vote.leader
                && member.election.currentVote.peerEpoch == vote.peerEpoch
        }
    }

    /// Who leads an established epoch with a quorum behind it.
    var leader: Int? {
        members.indices.first { server in
            let role = members[server].role
            return members[server].isUp && role.state == .leading && role.isEstablished
                && isQuorum { $0 == server || isJoined($0, to: server) }
        }
    }

    /// Whether everybody that is up has a result which names somebody that is up.
    var hasNewLeader: Bool {
        members.indices.allSatisfy { server in
            let member = members[server]
            return !member.isUp
                || member.role.state != .looking && members[member.role.leader].isUp
        }
    }

    mutating func crash(_ server: Int) {
        note("\(server + 1) crashes")
        members[server].isUp = false
        members[server].role = Role()
        for other in members.indices where other != server && members[other].isUp {
            guard disconnect(server, other) else { continue }
            schedule(.refused(other, by: server), in: delay())
            let role = members[other].role
            if role.leader == server, role.state != .looking {
                schedule(.leaderLost(other, role: role.number), in: delay())
            }
        }
    }

    mutating func start(_ server: Int) throws {
        note("\(server + 1) starts with \(members[server].history)")
        members[server].isUp = true
        members[server].election = Election(
            id: members[server].id, history: members[server].history, electorate: electorate)
        members[server].role = Role()
        members[server].heard = []
        try beginLooking(server, with: .started)
        for other in members.indices where other != server {
            schedule(.connecting(server, other), in: delay())
        }
    }

    mutating func perform(_ happening: Happening) throws {
        switch happening {
        case .arrived(let letter, let sender, let server, let connection):
            guard connections[line(sender, server)] == connection else { break }
            members[server].heard.append((sender, letter))
            try step(
                server, .notificationReceived(letter.notification, from: members[sender].id))
        case .expired(let timer, let server, let arming):
            guard members[server].isUp, members[server].armings[timer.index] == arming else {
                break
            }
            try step(server, .timerExpired(timer))
        case .connecting(let server, let other):
            connect(server, other)
        case .connected(let server, let other, let connection):
            guard connections[line(server, other)] == connection else { break }
            forgetEarly(server, from: other)
            try step(server, .peerConnected(members[other].id))
        case .refused(let server, let other):
            guard members[server].isUp, connections[line(server, other)] == nil else { break }
            forgetEarly(server, from: other)
            try step(server, .peerUnreachable(members[other].id))
        case .joining(let server, let role, let attempt):
            guard members[server].role.number == role else { break }
            try join(server, attempt: attempt)
        case .established(let epoch, let server, let role):
            guard members[server].role.number == role else { break }
            members[server].role.isEstablished = true
            try step(server, .epochEstablished(epoch))
        case .leaderLost(let server, let role):
            guard members[server].role.number == role else { break }
            try endRole(server)
        case .leaderGivesUp(let server, let role):
            guard members[server].role.number == role, !members[server].role.isEstablished else {
                break
            }
            try endRole(server)
        case .heartbeat:
            try beat()
            schedule(.heartbeat, in: Self.heartbeatInterval)
        case .fault:
            guard now < setup.faultsEnd else { break }
            try fail()
            schedule(.fault, in: 20_000 + random.below(400_000))
        }
    }

    // MARK: The shell's part

    mutating func step(_ server: Int, _ event: Election.Event) throws {
        var effects: [Election.Effect] = []
        let wasLooking = members[server].role.state == .looking
        members[server].election.step(event, into: &effects)
        if prints {
            note("\(server + 1): \(event)")
            for effect in effects { note("    \(effect)") }
        }
        for (index, effect) in effects.enumerated() {
            switch effect {
            case .send(let notification, let id):
                let peer = Int(id.rawValue) - 1
                guard peer != server else { throw failure("\(id) sends to itself") }
                if notification.state == .looking, peer < setup.voterCount {
                    members[server].proposed = notification
                }
                send(notification, from: server, to: peer)
            case .arm(let timer, let duration):
                armingCount += 1
                members[server].armings[timer.index] = armingCount
                schedule(
                    .expired(timer, at: server, arming: armingCount), in: duration.microseconds)
            case .disarm(let timer):
                // Now and then its expiry is on the way already.
                if random.chance(percent: 90) { members[server].armings[timer.index] = 0 }
            case .lead(let vote), .follow(let vote), .observe(let vote):
                guard wasLooking, index == effects.count - 1 else {
                    throw failure("\(server + 1) concludes out of place: \(effects)")
                }
                try conclude(server, vote, as: effect)
            }
        }
    }

    mutating func send(_ notification: Election.Notification, from: Int, to: Int) {
        let letter = Letter(notification: notification, history: members[from].history)
        lastSent[direction(from, to)] = letter
        guard let connection = connections[line(from, to)] else {
            if !isCut[line(from, to)] ? !members[to].isUp : setup.cutsAreNoticed {
                schedule(.refused(from, by: to), in: delay())
            }
            return
        }
        deliver(letter, from: from, to: to, on: connection)
    }

    mutating func deliver(_ letter: Letter, from: Int, to: Int, on connection: Int) {
        // The order is TCP's: nothing arrives before what was sent before it.
        let arrival = max(now + delay(), lastArrival[direction(from, to)])
        lastArrival[direction(from, to)] = arrival
        agenda.add(.arrived(letter, from: from, to: to, connection: connection), at: arrival)
    }

    mutating func connect(_ a: Int, _ b: Int) {
        guard members[a].isUp, members[b].isUp, !isCut[line(a, b)], connections[line(a, b)] == nil
        else { return }
        connectionCount += 1
        connections[line(a, b)] = connectionCount
        for (one, other) in [(a, b), (b, a)] {
            lastArrival[direction(one, other)] = now
            if setup.repeatsStale, let stale = lastSent[direction(one, other)] {
                deliver(stale, from: one, to: other, on: connectionCount)
            }
            schedule(.connected(one, to: other, connection: connectionCount), in: delay())
        }
    }

    mutating func disconnect(_ a: Int, _ b: Int) -> Bool {
        defer { connections[line(a, b)] = nil }
        return connections[line(a, b)] != nil
    }

    // MARK: Faults

    mutating func fail() throws {
        let server = random.below(members.count)
        let other = (server + 1 + random.below(members.count - 1)) % members.count
        switch random.below(10) {
        case 0, 1:
            if setup.crashes, members[server].isUp { crash(server) }
        case 2:
            if setup.crashes, let leader { crash(leader) }
        case 3, 4:
            if !members[server].isUp { try start(server) }
        case 5:
            if setup.cuts { cut(server, other) }
        case 6:
            guard setup.cuts else { break }
            for peer in members.indices where peer != server { cut(server, peer) }
        case 7:
            if setup.cuts { mend(server, other) }
        case 8:
            guard setup.cuts else { break }
            for peer in members.indices where peer != server { mend(server, peer) }
        default:
            if setup.resignations, let leader { try endRole(leader) }
        }
    }

    mutating func cut(_ a: Int, _ b: Int) {
        note("\(a + 1) and \(b + 1) are cut")
        isCut[line(a, b)] = true
        guard disconnect(a, b), setup.cutsAreNoticed else { return }
        schedule(.refused(a, by: b), in: delay())
        schedule(.refused(b, by: a), in: delay())
    }

    mutating func mend(_ a: Int, _ b: Int) {
        isCut[line(a, b)] = false
        schedule(.connecting(a, b), in: delay())
    }

    mutating func delay() -> Time {
        let span = setup.delayMax - setup.delayMin
        // The extremes find more than what lies between them.
        return switch random.below(10) {
        case 0: setup.delayMin
        case 1: setup.delayMax
        default: setup.delayMin + random.below(span + 1)
        }
    }

    func failure(_ text: String) -> Failure {
        Failure(description: "after \(now / 1000) ms: \(text)")
    }

    func note(_ text: @autoclosure () -> String) {
        if prints { print("\(now / 1000) ms", text()) }
    }

    // MARK: Places

    mutating func schedule(_ happening: Happening, in time: Time) {
        agenda.add(happening, at: now + time)
    }

    /// Of a pair, whoever comes first.
    func line(_ a: Int, _ b: Int) -> Int { direction(min(a, b), max(a, b)) }

    func direction(_ from: Int, _ to: Int) -> Int { from * members.count + to }
}
