import ClientProtocol
import Ensemble
import Jute
import Transactions
import Vocabulary
import Znodes

/// A client's connection, seen from its server.
final class ServedClient {
    enum Phase { case establishing, established, ending }

    /// What is not answered yet: writes that are out; reads that wait behind them; a sync that is
    /// out, and behind it everything.
    enum Queued {
        case write
        case sync
        case waiting(cxid: Int32, ClientRequest)

        var holdsBackWrites: Bool {
            switch self {
            case .write, .waiting(_, .read): false
            case .sync, .waiting: true
            }
        }
    }

    let connection: Connection
    let watcher: WatcherID
    var session: SessionID
    var timeoutMilliseconds: Int32
    var phase = Phase.establishing
    var queue: [Queued] = []
    var isClosed = false
    var isTouched = false

    init(
        _ connection: Connection, watcher: WatcherID, session: SessionID,
        timeoutMilliseconds: Int32
    ) {
        self.connection = connection
        self.watcher = watcher
        self.session = session
        self.timeoutMilliseconds = timeoutMilliseconds
    }
}

/// Whom the outcome of a transaction concerns.
enum Waiting {
    case client(ServedClient, cxid: Int32)
    case session(ServedClient)
    case closing(ServedClient, cxid: Int32)
}

/// What the shell does for clients: sessions, the order of replies, watches.
extension SimulatedServer: WatchSink {
    // MARK: Connections

    func received(_ message: ClientMessage, on connection: Connection) {
        if case .connect(let session, let seen, let timeout) = message {
            return handshake(connection, session, seen, timeout)
        }
        guard let client = clientConnections[connection.id], client.phase == .established else {
            return
        }
        touch(client)
        guard case .request(let cxid, let request) = message else { return }
        let isHeldBack =
            if case .read = request {
                !client.queue.isEmpty && world.plant != .readBeforeWrites
            } else {
                // A write could be done before a sync, which waits for a quorum's word.
                client.queue.contains(where: \.holdsBackWrites)
            }
        if isHeldBack {
            client.queue.append(.waiting(cxid: cxid, request))
        } else {
            handle(cxid, request, client)
        }
    }

    private func handle(_ cxid: Int32, _ request: ClientRequest, _ client: ServedClient) {
        switch request {
        case .write(let op, let body): propose(op, body, cxid, client)
        case .read(let path, let watch): read(cxid, path, watch, client)
        case .sync: sync(cxid, client)
        case .close: endSession(cxid, client)
        }
    }

    private func endSession(_ cxid: Int32, _ client: ServedClient) {
        client.phase = .ending
        client.queue.append(.write)
        let session = client.session
        if peer.isLeading {
            let zxid = peer.proposeSessionEnd(session, cxid: cxid)
            inFlight.append((zxid, .closing(client, cxid: cxid)))
        } else {
            peer.forward(
                session, cxid: cxid, op: .closeSession, body: Span<UInt8>(), identities: [])
            forwarded[session, default: []].append((cxid, .closing(client, cxid: cxid)))
        }
    }

    private func touch(_ client: ServedClient) {
        guard peer.isLeading else {
            client.isTouched = true
            return
        }
        guard let slot = peer.proposer.tracker.slot(of: client.session) else { return }
        peer.proposer.tracker.touch(slot, now: clock)
    }

    private func handshake(
        _ connection: Connection, _ session: SessionID, _ seen: Zxid, _ timeout: Int32
    ) {
        let side = connection.side(.server(index))
        let latest = max(position, Zxid(epoch: peer.currentEpoch, counter: 0))
        let isBehind = seen > latest && world.plant != .acceptClientsAhead
        guard peer.serving != nil, !isBehind else { return world.close(connection, from: side) }
        nextWatcher += 1
        let client = ServedClient(
            connection, watcher: nextWatcher, session: session, timeoutMilliseconds: timeout)
        clientConnections[connection.id] = client
        watchers[client.watcher] = client
        if session == .none { return beginSession(client) }
        if let other = bySession[session] { drop(other) }
        guard !peer.isLeading else {
            let isValid = peer.adopt(session, timeoutMilliseconds: timeout, owner: .here)
            return isValid ? establish(client) : refuse(client)
        }
        if let other = revalidating[session] { drop(other) }
        revalidating[session] = client
        client.queue.append(.write)
        peer.revalidate(session, timeoutMilliseconds: timeout)
    }

    private func beginSession(_ client: ServedClient) {
        sessionCount += 1
        client.session = SessionID(
            rawValue: id.rawValue << 56 | Int64(incarnation) << 32 | sessionCount)
        client.queue.append(.write)
        let timeout = client.timeoutMilliseconds
        if peer.isLeading {
            let zxid = peer.proposeSession(client.session, timeoutMilliseconds: timeout)
            inFlight.append((zxid, .session(client)))
        } else {
            var body = ByteBuffer()
            body.append(timeout)
            peer.forward(
                client.session, cxid: 0, op: .createSession, body: body.span, identities: nil)
            forwarded[client.session, default: []].append((0, .session(client)))
        }
    }

    func revalidated(_ session: SessionID, isValid: Bool) {
        guard let client = revalidating.removeValue(forKey: session), !client.isClosed else {
            return
        }
        guard isValid else { return refuse(client) }
        if let other = bySession[session] { drop(other) }
        begin(client)
    }

    func sessionMoved(_ session: SessionID) {
        if let client = bySession[session] { drop(client) }
    }

    private func establish(_ client: ServedClient) {
        client.phase = .established
        bySession[client.session] = client
        tell(client, .connected(client.session))
    }

    /// The session that was asked about may go on, or has begun.
    private func begin(_ client: ServedClient) {
        establish(client)
        goOn(client)
    }

    private func refuse(_ client: ServedClient) {
        tell(client, .connected(.none))
        drop(client)
    }

    func tell(_ client: ServedClient, _ message: ServerMessage) {
        guard !client.isClosed, isAlive() else { return }
        let connection = client.connection
        world.send(.reply(message), on: connection, from: connection.side(.server(index)))
    }

    func drop(_ client: ServedClient) {
        guard !client.isClosed else { return }
        forget(client)
        world.close(client.connection, from: client.connection.side(.server(index)))
    }

    private func forget(_ client: ServedClient) {
        client.isClosed = true
        clientConnections[client.connection.id] = nil
        watchers[client.watcher] = nil
        database.watches.removeAll(of: client.watcher)
        if bySession[client.session] === client { bySession[client.session] = nil }
        if revalidating[client.session] === client { revalidating[client.session] = nil }
    }

    func clientGone(_ connection: Connection) {
        if let client = clientConnections[connection.id] { forget(client) }
    }

    /// The role is over.
    func forgetClients() {
        let clients = clientConnections.values.sorted { $0.watcher < $1.watcher }
        for client in clients { drop(client) }
        inFlight = []
        forwarded = [:]
        revalidating = [:]
        syncing = []
    }

    func takeTouchedSessions(_ body: (SessionID, _ timeoutMilliseconds: Int32) -> Void) {
        let touched = clientConnections.values.filter { $0.isTouched && $0.phase == .established }
        for client in touched.sorted(by: { $0.watcher < $1.watcher }) {
            client.isTouched = false
            body(client.session, client.timeoutMilliseconds)
        }
    }

    // MARK: Sessions in time

    var expiryMilliseconds: Int64 { Int64(min(world.setup.tickMilliseconds, 500)) }

    func scheduleExpiry() {
        world.schedule(in: Int(expiryMilliseconds) * 1_000_000 / speed, at: self) {
            [unowned self] in
            scheduleExpiry()
            let isLate = clock > expiryDue + 1000
            expiryDue = clock + expiryMilliseconds
            guard !isLate, peer.isLeading else { return }
            for session in peer.proposer.tracker.expire(now: clock) {
                world.note("\(title) expires \(session)")
                peer.proposeSessionEnd(session)
            }
        }
    }

    // MARK: Requests

    private func propose(_ op: OpCode, _ body: [UInt8], _ cxid: Int32, _ client: ServedClient) {
        client.queue.append(.write)
        guard peer.isLeading else {
            peer.forward(
                client.session, cxid: cxid, op: op, body: body.span, identities: [])
            forwarded[client.session, default: []].append((cxid, .client(client, cxid: cxid)))
            return
        }
        let origin = Proposer.Origin(
            session: client.session, cxid: cxid, identities: [], time: wallClock)
        do throws(JuteError) {
            let zxid = try peer.propose(op, body: body.span, from: origin)
            if world.plant == .answerProposals {
                client.queue.removeLast()
                return tell(client, .written(cxid: cxid, zxid, .ok))
            }
            inFlight.append((zxid, .client(client, cxid: cxid)))
        } catch {
            preconditionFailure("clients send whole requests: \(error)")
        }
    }

    private func sync(_ cxid: Int32, _ client: ServedClient) {
        if world.plant == .answerSyncsAlone, client.queue.isEmpty {
            return tell(client, .synced(cxid: cxid, position))
        }
        client.queue.append(.sync)
        syncing.append((client, cxid))
        var body = ByteBuffer()
        body.appendField("/")
        peer.sync(client.session, cxid: cxid, body: body.span, identities: [])
    }

    func syncCompleted() {
        guard !syncing.isEmpty else { return }
        let (client, cxid) = syncing.removeFirst()
        guard !client.isClosed else { return }
        tell(client, .synced(cxid: cxid, database.lastProcessedZxid))
        goOn(client)
    }

    private func read(_ cxid: Int32, _ path: Int, _ watch: Bool, _ client: ServedClient) {
        var version: Int32 = 0
        let value = SimulatedPaths.value(of: path, in: database)
        if let handle = SimulatedPaths.find(path, in: database) {
            version = database.tree.stat(handle).version
        }
        if watch {
            SimulatedPaths.bytes[path].withUnsafeBytes {
                database.watches.add($0, watcher: client.watcher, modes: .data)
            }
        }
        let zxid = database.lastProcessedZxid
        tell(client, .read(cxid: cxid, zxid, value: value, version: version))
    }

    /// What the client waited for first is done: what waits behind it is next.
    private func goOn(_ client: ServedClient) {
        if !client.queue.isEmpty { client.queue.removeFirst() }
        while !client.isClosed, case .waiting(let cxid, let request)? = client.queue.first {
            client.queue.removeFirst()
            let behind = client.queue
            client.queue = []
            handle(cxid, request, client)
            client.queue += behind
        }
    }

    // MARK: Applying

    func applied(_ applied: Database.Applied, reply body: UnsafeRawBufferPointer) {
        guard !isDead else { return }
        let header = applied.header
        check { () throws(Journal.Failure) in
            try world.journal.applied(
                applied, parent: parent(of: header.zxid), database, at: title)
            switch peer.serving {
            case .leading:
                try world.checkQuorum(
                    "holds \(header.zxid), which \(title) commits",
                    of: world.journal.deciding(upTo: header.zxid)
                ) { $0.disk.holds(header.zxid) }
                try world.journal.leaderCommits(header.zxid, title)
            case .following, .observing:
                guard !world.journal.isCommitted(header.zxid) else { break }
                throw Journal.Failure(
                    description: "\(title) serves \(header.zxid), which is not committed")
            case .looking, nil: break
            }
        }
        let waiting = takeWaiting(header.zxid, header.session, header.cxid)
        if header.type == .closeSession { sessionEnded(header.session, waiting) }
        switch waiting {
        case nil: break
        case .session(let client):
            guard !client.isClosed else { break }
            begin(client)
        case .client(let client, let cxid):
            guard !client.isClosed else { break }
            // Its client goes on somewhere else, and this connection is of its past.
            guard applied.error != .sessionMoved else { return drop(client) }
            tell(client, .written(cxid: cxid, header.zxid, applied.error))
            goOn(client)
        case .closing(let client, let cxid):
            guard !client.isClosed else { break }
            tell(client, .written(cxid: cxid, header.zxid, .ok))
            drop(client)
        }
    }

    private func takeWaiting(_ zxid: Zxid, _ session: SessionID, _ cxid: Int32) -> Waiting? {
        if let first = inFlight.first, first.zxid == zxid { return inFlight.removeFirst().waiting }
        guard let first = forwarded[session]?.first, first.cxid == cxid else { return nil }
        forwarded[session]?.removeFirst()
        if forwarded[session]?.isEmpty == true { forwarded[session] = nil }
        return first.waiting
    }

    private func sessionEnded(_ session: SessionID, _ waiting: Waiting?) {
        guard let client = bySession[session] else { return }
        if case .closing(let asking, _)? = waiting, asking === client { return }
        drop(client)
    }

    func deliver(
        _ type: WatchEventType, path: UnsafeRawBufferPointer, zxid: Zxid, acl: Access,
        to watchers: [WatcherID]
    ) {
        guard let index = SimulatedPaths.index(of: path) else { return }
        for watcher in watchers {
            guard let client = self.watchers[watcher] else { continue }
            world.statistics.events += 1
            if world.plant == .loseWatches, world.statistics.events.isMultiple(of: 3) { continue }
            tell(client, .fired(path: index, zxid))
        }
    }
}
