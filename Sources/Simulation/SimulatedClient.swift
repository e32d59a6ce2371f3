import ClientProtocol
import Jute
import Vocabulary

/// A client with a session: writes unique values, reads, syncs, watches; moves between servers. It
/// believes nothing: each answer is compared with the journal.
final class SimulatedClient {
    private enum Asked {
        case write(floor: Zxid, Journal.Condition?)
        case read(path: Int, watch: Bool, floor: Zxid?)
        case sync
        case close
    }

    let index: Int
    /// Asks for reconfigurations, too.
    let administers: Bool
    private unowned let world: World
    private var connection: Connection?
    private var isConnected = false
    /// It has asked for the end of its session.
    private var isEnding = false
    private var attempts = 0
    private var session = SessionID.none
    private var lastZxidSeen = Zxid.zero
    private var cxid: Int32 = 0
    private var asked: [(cxid: Int32, what: Asked)] = []
    /// By path: the state in which it was read.
    private var watches: [Int: Zxid] = [:]
    /// What it believes of a path's version.
    private var versions: [Int32]
    private var lastHeard = 0
    private var nextReconfiguration = 0
    var writesSinceMending = 0
    /// It asks for nothing more.
    var rests = false

    init(_ index: Int, administers: Bool, world: World) {
        self.index = index
        self.administers = administers
        self.world = world
        versions = Array(repeating: 0, count: SimulatedPaths.count)
    }

    var isIdle: Bool { isConnected && asked.isEmpty }

    private var party: Party { .client(index) }

    func begin() {
        connect()
        act()
        watchOverConnection()
    }

    // MARK: Connecting

    /// Goes to any server; tries another one if there is no answer.
    private func connect() {
        guard connection == nil else { return }
        let server = world.random.below(world.servers.count)
        attempts += 1
        let attempt = attempts
        world.schedule(in: 2 * world.delay()) { [unowned self] in
            guard attempt == attempts else { return }
            guard world.servers[server].isUp else { return connectLater() }
            let connection = world.connect(.client, party, .server(server))
            self.connection = connection
            lastHeard = world.now
            let request = ClientMessage.connect(
                session, lastZxidSeen: lastZxidSeen,
                timeoutMilliseconds: world.setup.sessionTimeoutMilliseconds)
            world.send(.request(request), on: connection, from: 0)
        }
    }

    private func connectLater() {
        attempts += 1
        let attempt = attempts
        world.schedule(in: 10_000 + world.random.below(world.setup.tickMilliseconds * 500)) {
            [unowned self] in
            if attempt == attempts { connect() }
        }
    }

    private func disconnect() {
        if let connection = connection.take() { world.close(connection, from: 0) }
        // Whether or not the server has heard of it.
        if isEnding { session = .none }
        (isConnected, isEnding) = (false, false)
        asked = []
        watches = [:]
        connectLater()
    }

    /// Pings, and leaves a server that says nothing.
    private func watchOverConnection() {
        let interval = Int(world.setup.sessionTimeoutMilliseconds) * 1000 / 3
        world.schedule(in: interval) { [unowned self] in
            watchOverConnection()
            guard let connection else { return }
            let patience = isConnected && asked.isEmpty ? 8 * interval : 2 * interval
            guard world.now - lastHeard < max(patience, 1_000_000) else { return disconnect() }
            if isConnected { world.send(.request(.ping), on: connection, from: 0) }
        }
    }

    // MARK: Asking

    private func act() {
        world.schedule(in: world.random.within(1...max(1, world.setup.thinkMax))) {
            [unowned self] in
            act()
            guard isConnected, !isEnding, !rests, let connection else { return }
            if world.isFailing, world.random.chance(percent: world.setup.wanderPercent) {
                return disconnect()
            }
            guard asked.count < world.setup.pipelineMax else { return }
            ask(connection)
        }
    }

    private func ask(_ connection: Connection) {
        if administers, world.isFailing, world.now >= nextReconfiguration {
            return reconfigure(connection)
        }
        let path = world.random.below(SimulatedPaths.count)
        switch world.random.below(100) {
        case ..<45: write(path, connection)
        case ..<75:
            read(path, watch: world.random.chance(percent: 40), floor: nil, connection)
        case ..<98:
            let floor = world.journal.lastCommitted
            send(.sync, .sync, connection)
            read(path, watch: false, floor: floor, connection)
        default:
            guard world.isFailing else { return write(path, connection) }
            send(.close, .close, connection)
            isEnding = true
        }
    }

    private func write(_ path: Int, _ connection: Connection) {
        var expected: (path: Int, version: Int32)?
        if world.random.chance(percent: 40) { expected = (path, versions[path]) }
        let version = expected?.version ?? -1
        let op: OpCode
        let body: [UInt8]
        switch world.random.below(10) {
        case ..<4:
            op = .setData
            body = Requests.set(path, value(), version)
        case ..<7:
            (op, expected) = (.create, nil)
            body = Requests.create(path, value())
        case ..<8:
            op = .delete
            body = Requests.delete(path, version)
        default:
            (op, expected) = (.multi, nil)
            body = Requests.setBoth(
                path, world.random.below(SimulatedPaths.count), value(), value())
        }
        send(
            .write(op, body: body),
            .write(
                floor: world.journal.lastCommitted,
                version < 0 ? nil : expected.map { .version(path: $0.path, $0.version) }),
            connection)
    }

    private func reconfigure(_ connection: Connection) {
        nextReconfiguration =
            world.now + world.random.below(2 * world.setup.reconfigurationInterval)
        let request = world.drawReconfiguration()
        world.note("client \(index + 1) asks for \(request)")
        send(
            .write(.reconfig, body: request.body),
            .write(
                floor: world.journal.lastCommitted,
                request.expected.map { .configuration($0) }),
            connection)
    }

    private func value() -> Int64 {
        world.lastValue += 1
        return world.lastValue
    }

    private func read(_ path: Int, watch: Bool, floor: Zxid?, _ connection: Connection) {
        // A path that is watched already would be watched from two states.
        let watch = watch && watches[path] == nil && !isWatchOnItsWay(path)
        send(
            .read(path: path, watch: watch), .read(path: path, watch: watch, floor: floor),
            connection)
    }

    private func isWatchOnItsWay(_ path: Int) -> Bool {
        asked.contains {
            if case .read(path, true, _) = $0.what { true } else { false }
        }
    }

    private func send(_ request: ClientRequest, _ what: Asked, _ connection: Connection) {
        cxid += 1
        asked.append((cxid, what))
        world.send(.request(.request(cxid: cxid, request)), on: connection, from: 0)
    }

    // MARK: Answers

    func received(_ chunk: Chunk, on connection: Connection) throws {
        guard connection === self.connection else { return }
        lastHeard = world.now
        guard case .reply(let message) = chunk else { return disconnect() }
        switch message {
        case .connected(let session):
            world.note("client \(index + 1) has session \(session)")
            self.session = session
            guard session != .none else { return disconnect() }
            isConnected = true
        case .written(let cxid, let zxid, let error):
            let what = try take(cxid)
            try see(zxid)
            world.mix(UInt64(bitPattern: zxid.rawValue))
            if case .close = what { return disconnect() }
            guard case .write(let floor, let condition) = what else { throw misplaced(cxid) }
            world.statistics.acknowledged += 1
            writesSinceMending += 1
            try world.journal.acknowledged(
                zxid, error: error, session: session, cxid: cxid, floor: floor,
                condition: condition)
        case .read(let cxid, let zxid, let value, let version):
            guard case .read(let path, let watch, let floor) = try take(cxid) else {
                throw misplaced(cxid)
            }
            try see(zxid)
            world.mix(UInt64(bitPattern: value ?? -1))
            world.statistics.reads += 1
            if floor != nil { world.statistics.syncReads += 1 }
            try world.journal.read(
                path, value: value, version: version, at: zxid, floor: floor)
            versions[path] = version
            if watch { watches[path] = zxid }
        case .synced(let cxid, _):
            guard case .sync = try take(cxid) else { throw misplaced(cxid) }
        case .fired(let path, let zxid):
            // Of a watch whose reply is still on its way, if none is known: not before that.
            guard let registered = watches.removeValue(forKey: path) else {
                throw world.failure("client \(index + 1): an event of a path nobody watches")
            }
            guard zxid > registered else {
                throw world.failure("client \(index + 1): an event of what it had seen")
            }
        }
    }

    /// Replies come in the order of the requests.
    private func take(_ cxid: Int32) throws -> Asked {
        guard let first = asked.first, first.cxid == cxid else { throw misplaced(cxid) }
        asked.removeFirst()
        return first.what
    }

    private func misplaced(_ cxid: Int32) -> Journal.Failure {
        world.failure("client \(index + 1): the reply of request \(cxid) is out of place")
    }

    /// What a client has seen it goes on seeing, and the event of what it sees has come before.
    private func see(_ zxid: Zxid) throws {
        guard zxid >= lastZxidSeen else {
            throw world.failure("client \(index + 1) is shown \(zxid) behind \(lastZxidSeen)")
        }
        lastZxidSeen = zxid
        try checkWatches(upTo: zxid)
    }

    private func checkWatches(upTo zxid: Zxid) throws {
        for (path, registered) in watches.sorted(by: { $0.key < $1.key }) {
            let change = world.journal.firstChange(of: path, after: registered, upTo: zxid)
            guard let change else { continue }
            throw world.failure(
                "client \(index + 1) sees \(zxid) and was not told that \(change) has changed "
                    + SimulatedPaths.texts[path])
        }
    }

    func checkWatchesAtRest() throws { try checkWatches(upTo: world.journal.lastCommitted) }
}

extension SimulatedClient: CustomStringConvertible {
    var description: String {
        "client \(index + 1) \(isConnected ? "connected" : "not connected"), "
            + "waits for \(asked.count), wrote \(writesSinceMending)"
    }
}

/// The bodies of write requests.
private enum Requests {
    private static func bytes(_ write: (inout ByteBuffer) -> Void) -> [UInt8] {
        var buffer = ByteBuffer()
        write(&buffer)
        return Array(buffer.bytes)
    }

    static func create(_ path: Int, _ value: Int64) -> [UInt8] {
        let isEphemeral = path >= SimulatedPaths.firstEphemeral
        return bytes {
            $0.appendField(SimulatedPaths.texts[path])
            $0.append(Int32(8))
            $0.append(value)
            $0.append([ACL.open])
            $0.append((isEphemeral ? CreateMode.ephemeral : .persistent).rawValue)
        }
    }

    static func set(_ path: Int, _ value: Int64, _ version: Int32) -> [UInt8] {
        bytes {
            $0.appendField(SimulatedPaths.texts[path])
            $0.append(Int32(8))
            $0.append(value)
            $0.append(version)
        }
    }

    static func delete(_ path: Int, _ version: Int32) -> [UInt8] {
        bytes {
            $0.appendField(SimulatedPaths.texts[path])
            $0.append(version)
        }
    }

    /// Both or neither.
    static func setBoth(_ a: Int, _ b: Int, _ first: Int64, _ second: Int64) -> [UInt8] {
        bytes {
            for (path, value) in [(a, first), (b, second)] {
                $0.append(OpCode.setData)
                $0.append(false)
                $0.append(Int32(-1))
                $0.append(set(path, value, -1))
            }
            $0.append(Int32(-1))
            $0.append(true)
            $0.append(Int32(-1))
        }
    }
}
