import Jute
import QuorumProtocol
import Vocabulary
import Zab

/// An ensemble of whole servers and its clients in virtual time. One seed decides everything; the
/// same seed is the same run.
///
/// First anything may fail; then all is mended, and the ensemble has to serve again and to agree.
final class World {
    typealias Time = Setup.Time

    struct Happening {
        /// Nobody: of the world.
        var server: Int?
        var incarnation: Int
        var body: () throws -> Void
    }

    private(set) var setup: Setup
    let plant: Plant?
    let prints: Bool
    var random: SeededGenerator
    private(set) var now: Time = 0
    private var agenda = Agenda<Happening>()
    private(set) var happenings = 0
    /// Of all that happens.
    private(set) var digest: UInt64 = 0xcbf2_9ce4_8422_2325

    private(set) var servers: [SimulatedServer] = []
    private(set) var clients: [SimulatedClient] = []
    var connections: [Connection] = []
    private var connectionCount = 0
    /// By `from * count + to`.
    var isCut: [Bool]
    var isFailing = true
    var journal: Journal
    var lastValue: Int64 = 0
    var statistics = Statistics()

    struct Statistics {
        var acknowledged = 0
        var reads = 0
        var syncReads = 0
        var events = 0
        var crashes = 0
        var snapshotsSent = 0
        var truncations = 0
        var refusedTruncations = 0
    }

    init(setup: Setup, random: SeededGenerator, plant: Plant?, prints: Bool) {
        self.setup = setup
        self.random = random
        self.plant = plant
        self.prints = prints
        let count = setup.serverCount
        isCut = Array(repeating: false, count: count * count)
        journal = Journal(setup.firstConfiguration)
        for index in 0..<count { servers.append(SimulatedServer(index, world: self)) }
        for index in 0..<setup.clientCount {
            clients.append(SimulatedClient(index, administers: false, world: self))
        }
        if setup.reconfigures {
            clients.append(SimulatedClient(setup.clientCount, administers: true, world: self))
        }
    }

    // MARK: Time

    func schedule(in delay: Time, _ body: @escaping () throws -> Void) {
        agenda.add(Happening(server: nil, incarnation: 0, body: body), at: now + delay)
    }

    /// Something that a server notices, unless it crashes before; a paused one notices it late.
    func schedule(
        in delay: Time, at server: SimulatedServer, _ body: @escaping () throws -> Void
    ) {
        agenda.add(
            Happening(server: server.index, incarnation: server.incarnation, body: body),
            at: now + delay)
    }

    func delay() -> Time { random.within(setup.delayMin...setup.delayMax) }

    func note(_ text: @autoclosure () -> String) {
        if prints { print("\(Self.text(now))  \(text())") }
    }

    static func text(_ time: Time) -> String {
        let fraction = String(1_000_000 + time % 1_000_000).dropFirst()
        return "\(time / 1_000_000).\(fraction)"
    }

    func mix(_ value: UInt64) { digest = (digest ^ value) &* 0x100_0000_01b3 }

    func mix(_ bytes: [UInt8]) {
        var sum = UInt64(bytes.count)
        for byte in bytes { sum = (sum ^ UInt64(byte)) &* 0x100_0000_01b3 }
        mix(sum)
    }

    func failure(_ text: String) -> Journal.Failure { Journal.Failure(description: text) }

    // MARK: Running

    func run() throws {
        for server in servers { try server.start() }
        for client in clients { client.begin() }
        schedule(in: setup.faultInterval) { [unowned self] in try fail() }
        try advance { $0.now >= $0.setup.faultsEnd }
        try mend()
        setup.calm()
        let mended = now
        for client in clients { client.writesSinceMending = 0 }
        try advance { $0.servesAll || $0.now - mended > $0.patience }
        guard servesAll else {
            throw failure("no progress \(patience / 1000) ms after mending: \(situation)")
        }
        for client in clients { client.rests = true }
        // The last events are on their way, and a session may expire meanwhile.
        var isAtRest = false
        while !isAtRest {
            try advance { $0.isQuiet || $0.now - mended > 2 * $0.patience }
            guard isQuiet else { throw failure("no end of what was begun: \(situation)") }
            let end = now + 2 * setup.delayMax
            try advance { $0.now > end }
            isAtRest = isQuiet
        }
        try compareServers()
    }

    private func advance(until isDone: (World) -> Bool) throws {
        while !isDone(self) {
            guard let (time, happening) = agenda.next() else { throw failure("nothing happens") }
            now = time
            if let index = happening.server {
                let server = servers[index]
                guard server.isUp, server.incarnation == happening.incarnation else { continue }
                guard server.pausedUntil <= now else {
                    agenda.add(happening, at: server.pausedUntil)
                    continue
                }
                count(UInt64(index + 1))
                try happening.body()
                try server.stepEnded()
            } else {
                count(0)
                try happening.body()
            }
        }
    }

    private func count(_ party: UInt64) {
        happenings += 1
        mix(UInt64(now) << 8 | party)
    }

    /// Twice what a server waits for before it gives up a role, for a few roles in a row.
    private var patience: Time {
        let tick = setup.tickMilliseconds * 1000
        return 20_000_000 + 6 * tick * (setup.initLimit + setup.syncLimit)
            + 40 * (setup.delayMax + setup.flushMax)
    }

    /// Those of the last configuration.
    private var members: [SimulatedServer] { journal.membership.servers.map { servers[$0] } }

    /// Those, and outsiders that serve with them.
    private var serving: [SimulatedServer] {
        servers.filter { journal.membership.servers.contains($0.index) || $0.isServing }
    }

    /// All members follow one leader, and every client has written something.
    private var servesAll: Bool {
        let leaders = servers.filter { $0.isServing(as: .leading) }
        guard let leader = leaders.max(by: { $0.epoch < $1.epoch }) else { return false }
        return members.allSatisfy { $0.serves(in: leader.epoch) }
            && clients.allSatisfy { $0.writesSinceMending > 0 }
    }

    private var isQuiet: Bool {
        servesAll && clients.allSatisfy(\.isIdle)
            && serving.allSatisfy { $0.position == journal.lastCommitted }
    }

    private var situation: String {
        let servers = servers.map(\.description).joined(separator: "; ")
        let clients = clients.map(\.description).joined(separator: "; ")
        return "committed \(journal.lastCommitted), \(journal.membership.configuration.summary); "
            + "\(servers); \(clients)"
    }

    private func compareServers() throws {
        let serving = serving
        let expected = serving[0].walk()
        for server in serving.dropFirst() where server.walk() != expected {
            throw failure("\(server) and \(serving[0]) have different trees")
        }
        for client in clients { try client.checkWatchesAtRest() }
        for server in serving {
            try server.checkEphemerals()
            try checkConfiguration(of: server)
        }
    }

    /// What a server shows is the last configuration that was committed.
    private func checkConfiguration(of server: SimulatedServer) throws {
        let text = SimulatedPaths.configurationText(in: server.database)
        let last = journal.membership.configuration
        guard let shown = try? EnsembleConfiguration(text), shown.hasSameServers(as: last),
            shown.version == last.version || last.version == .zero
        else {
            let lines = text.split(separator: "\n").joined(separator: ", ")
            throw failure("\(server) shows \(lines), and \(last.summary) is committed")
        }
    }

    // MARK: Connections

    func connect(
        _ kind: Connection.Kind, _ a: Party, _ b: Party
    ) -> Connection {
        connectionCount += 1
        let ends = [a, b].map { party in
            Connection.End(party: party, incarnation: incarnation(party))
        }
        let connection = Connection(id: connectionCount, kind: kind, ends: ends)
        connections.append(connection)
        return connection
    }

    private func incarnation(_ party: Party) -> Int {
        switch party {
        case .server(let index): servers[index].incarnation
        case .client: 0
        }
    }

    /// Whether a line is cut in this direction.
    func isCut(from: Party, to: Party) -> Bool {
        guard case .server(let a) = from, case .server(let b) = to else { return false }
        return isCut[a * servers.count + b]
    }

    /// Sends something to the other end.
    func send(_ chunk: Chunk, on connection: Connection, from side: Int) {
        guard connection.ends[side].isOpen else { return }
        push(chunk, on: connection, to: 1 - side)
    }

    private func push(_ chunk: Chunk, on connection: Connection, to side: Int) {
        guard connection.ends[side].isOpen else { return }
        if case .bytes(let bytes) = chunk {
            mix(bytes)
            if setup.fragments, bytes.count > 1, random.chance(percent: 50) {
                let cut = 1 + random.below(bytes.count - 1)
                queue(.bytes(Array(bytes[..<cut])), on: connection, to: side)
                return queue(.bytes(Array(bytes[cut...])), on: connection, to: side)
            }
        }
        queue(chunk, on: connection, to: side)
    }

    private func queue(_ chunk: Chunk, on connection: Connection, to side: Int) {
        let arrival = max(connection.ends[side].lastArrival, now + delay())
        connection.ends[side].lastArrival = arrival
        connection.ends[side].incoming.append(chunk)
        scheduleArrival(on: connection, to: side, in: arrival - now)
    }

    private func scheduleArrival(on connection: Connection, to side: Int, in delay: Time) {
        let body = { [unowned self] in try arrive(on: connection, at: side) }
        switch connection.ends[side].party {
        case .server(let index): schedule(in: delay, at: servers[index], body)
        case .client: schedule(in: delay, body)
        }
    }

    private func arrive(on connection: Connection, at side: Int) throws {
        let end = connection.ends[side]
        guard end.isOpen, !end.incoming.isEmpty else { return }
        // Behind what waits already, too: the order stays.
        if end.stalled > 0 || isCut(from: connection.ends[1 - side].party, to: end.party) {
            connection.ends[side].stalled += 1
            return
        }
        let chunk = connection.ends[side].incoming.removeFirst()
        if case .end = chunk { connection.ends[side].isOpen = false }
        switch end.party {
        case .server(let index):
            guard end.incarnation == servers[index].incarnation else { return }
            try servers[index].received(chunk, on: connection)
        case .client(let index): try clients[index].received(chunk, on: connection)
        }
    }

    /// What a mended line kept back goes on.
    func resume(_ from: Int, _ to: Int) {
        for connection in connections {
            for side in 0...1 where connection.ends[side].party == .server(to) {
                guard connection.ends[1 - side].party == .server(from) else { continue }
                let stalled = connection.ends[side].stalled
                connection.ends[side].stalled = 0
                for _ in 0..<stalled {
                    let arrival = max(connection.ends[side].lastArrival, now + delay())
                    connection.ends[side].lastArrival = arrival
                    scheduleArrival(on: connection, to: side, in: arrival - now)
                }
            }
        }
    }

    /// One end is closed; the other hears of it behind what was sent.
    func close(_ connection: Connection, from side: Int) {
        guard connection.ends[side].isOpen else { return }
        connection.ends[side].isOpen = false
        connection.ends[side].incoming = []
        push(.end, on: connection, to: 1 - side)
        connections.removeAll { !$0.ends[0].isOpen && !$0.ends[1].isOpen }
    }

    /// Both ends lose the connection, and some of what is on its way.
    func reset(_ connection: Connection) {
        for side in 0...1 where connection.ends[side].isOpen {
            loseSome(of: connection, to: side)
            push(.end, on: connection, to: side)
        }
    }

    private func loseSome(of connection: Connection, to side: Int) {
        let kept = random.below(connection.ends[side].incoming.count + 1)
        connection.ends[side].incoming.removeSubrange(kept...)
        connection.ends[side].stalled = min(connection.ends[side].stalled, kept)
    }

    /// A process is gone: its connections end.
    func abandon(_ party: Party) {
        for connection in connections {
            for side in 0...1 where connection.ends[side].party == party {
                guard connection.ends[side].isOpen else { continue }
                loseSome(of: connection, to: 1 - side)
                close(connection, from: side)
            }
        }
    }
}
