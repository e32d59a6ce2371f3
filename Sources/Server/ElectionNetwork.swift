import EventLoop
import Jute
import Logging
import QuorumProtocol
import Vocabulary
import Zab

/// The election port: one connection with each server, whoever dialed it, and notifications on it.
///
/// Of what waits for a connection only the newest notification counts. A server that cannot be
/// reached is reported once for each attempt; nobody is dialed without a reason.
final class ElectionNetwork {
    /// How the rest of the server hears of it.
    struct Events {
        var received: (ElectionNotification, ServerID) -> Void
        var connected: (ServerID) -> Void
        var unreachable: (ServerID) -> Void
    }

    private let loop: EventLoop
    private let id: ServerID
    private let logger: Logger
    private let dialMilliseconds: UInt64
    private let greetingMilliseconds: UInt64
    private let keepsAlive: Bool
    private let events: Events
    private var listeners: [Listener] = []
    /// Where each server listens, the active configuration first.
    private var addresses: [ServerID: [ServerAddress]] = [:]
    private var ownAddresses: [ServerAddress] = []
    private var connections: [ServerID: ElectionConnection] = [:]
    /// The newest notification for a server without a connection.
    private var waiting: [ServerID: ElectionNotification] = [:]
    private var dialing: Set<ServerID> = []
    /// Accepted, and not yet known.
    private var strangers: [ElectionConnection] = []
    private var anonymousCount: Int64 = 0
    private var isClosed = false

    /// So many connections may be silent about who they are.
    private static let strangersMax = 1000

    init(
        loop: EventLoop, id: ServerID, dialMilliseconds: Int, greetingMilliseconds: Int,
        keepsAlive: Bool, logger: Logger, events: Events
    ) {
        self.loop = loop
        self.id = id
        self.logger = logger
        self.dialMilliseconds = UInt64(max(1, dialMilliseconds))
        self.greetingMilliseconds = UInt64(max(1, greetingMilliseconds))
        self.keepsAlive = keepsAlive
        self.events = events
    }

    func listen(on own: [ServerAddress], onAllAddresses: Bool) throws(UVError) {
        ownAddresses = own
        for listener in listeners { listener.close() }
        listeners = []
        var ports: Set<UInt16> = []
        for address in own {
            if onAllAddresses, !ports.insert(address.port).inserted { continue }
            let listener = try Listener(
                loop: loop, host: onAllAddresses ? nil : address.host, port: address.port,
                backlog: 128
            ) { [unowned self] in accept($0) }
            listener.onError = { [unowned self] in
                logger.warning("accepting failed", metadata: ["reason": "\($0)"])
            }
            listeners.append(listener)
        }
    }

    /// Where the servers are from now on; names are resolved with each attempt.
    func know(_ addresses: [ServerID: [ServerAddress]]) { self.addresses = addresses }

    func close() {
        isClosed = true
        for listener in listeners { listener.close() }
        for connection in Array(connections.values) + strangers { connection.close() }
    }

    // MARK: Sending

    func send(_ notification: ElectionNotification, to server: ServerID) {
        if let connection = connections[server] { return connection.send(notification) }
        waiting[server] = notification
        dial(server)
    }

    private func dial(_ server: ServerID, at told: [ServerAddress] = []) {
        guard !isClosed, server != id, !dialing.contains(server) else { return }
        var candidates = addresses[server] ?? []
        for address in told where !candidates.contains(address) { candidates.append(address) }
        guard !candidates.isEmpty else { return events.unreachable(server) }
        dialing.insert(server)
        Dialer(loop: loop, addresses: candidates, milliseconds: dialMilliseconds) {
            [unowned self] stream in
            dialing.remove(server)
            guard let stream else {
                logger.debug(
                    "server cannot be reached", metadata: ["server": "\(server.rawValue)"])
                return events.unreachable(server)
            }
            dialed(server, stream)
        }.start()
    }

    private func dialed(_ server: ServerID, _ stream: Stream) {
        guard !isClosed else { return stream.close() }
        let connection = ElectionConnection(network: self, stream: stream, server: server)
        InitialMessage(server: id, addresses: ownAddresses).append(to: &stream.output)
        stream.markDirty()
        switch ElectionConnections.afterDialing(server, from: id) {
        case .keep: keep(connection)
        // It dials back as soon as it has read who we are.
        case .close, .closeAndDial: stream.closeAfterFlush()
        }
    }

    private func keep(_ connection: ElectionConnection) {
        guard let server = connection.server else { return }
        if let older = connections[server], older !== connection { older.close() }
        connections[server] = connection
        if keepsAlive { connection.stream.setKeepAlive(delaySeconds: 60) }
        connection.stream.startReading()
        if let notification = waiting.removeValue(forKey: server) {
            connection.send(notification)
        }
        events.connected(server)
    }

    // MARK: Receiving

    private func accept(_ stream: Stream) {
        guard strangers.count < Self.strangersMax else { return stream.close() }
        let connection = ElectionConnection(network: self, stream: stream, server: nil)
        strangers.append(connection)
        connection.expire(afterMilliseconds: greetingMilliseconds)
        stream.startReading()
    }

    fileprivate func introduced(_ connection: ElectionConnection, _ message: InitialMessage) {
        strangers.removeAll { $0 === connection }
        var server = message.server
        if server == .anonymousObserver {
            anonymousCount += 1
            server = ServerID(rawValue: -anonymousCount)
        }
        connection.server = server
        switch ElectionConnections.afterAccepting(server, at: id) {
        case .keep: keep(connection)
        case .close: connection.close()
        case .closeAndDial:
            connection.close()
            if let older = connections.removeValue(forKey: server) { older.close() }
            dial(server, at: message.dialable)
        }
    }

    fileprivate func received(
        _ notification: ElectionNotification, _ connection: ElectionConnection
    ) {
        guard let server = connection.server, connections[server] === connection else { return }
        events.received(notification, server)
    }

    fileprivate func malformed(_ connection: ElectionConnection, _ error: QuorumProtocolError) {
        logger.warning(
            "election message cannot be read",
            metadata: ["peer": "\(connection.stream.peer)", "reason": "\(error)"])
    }

    /// A server that is lost is dialed once: it may live, and if it does not, whoever waits for its
    /// vote has to know.
    fileprivate func lost(_ connection: ElectionConnection) {
        strangers.removeAll { $0 === connection }
        guard let server = connection.server, connections[server] === connection else { return }
        connections[server] = nil
        if addresses[server] != nil { dial(server) }
    }
}

/// One connection on the election port.
private final class ElectionConnection: StreamDelegate {
    unowned let network: ElectionNetwork
    let stream: Stream
    /// Nil until it has said who it is.
    var server: ServerID?
    private var input = ByteBuffer()
    /// The newest notification, while older bytes are still on their way.
    private var next: ElectionNotification?
    private var isSending = false
    private var timer: LoopTimer?

    init(network: ElectionNetwork, stream: Stream, server: ServerID?) {
        self.network = network
        self.stream = stream
        self.server = server
        stream.delegate = self
    }

    func expire(afterMilliseconds delay: UInt64) {
        let timer = LoopTimer(loop: stream.loop)
        timer.start(afterMilliseconds: delay) { [unowned self] in
            if server == nil { close() }
        }
        self.timer = timer
    }

    /// Sends at once, or in place of what still waits for the peer to read.
    func send(_ notification: ElectionNotification) {
        guard !isSending else {
            next = notification
            return
        }
        notification.append(to: &stream.output)
        isSending = true
        stream.notifyWhenDrained()
    }

    func close() {
        timer?.close()
        stream.close()
    }

    func stream(_ stream: Stream, received bytes: Span<UInt8>) {
        input.append(bytes)
        var gathered = input.take()
        do throws(QuorumProtocolError) {
            let used = try parse(gathered.span)
            gathered.removeFirst(used)
            input = gathered
        } catch {
            network.malformed(self, error)
            close()
            network.lost(self)
        }
    }

    /// Takes what is whole, and says how many bytes that was.
    private func parse(_ bytes: Span<UInt8>) throws(QuorumProtocolError) -> Int {
        var used = 0
        if server == nil {
            guard case .whole(let count) = try InitialMessage.measure(bytes) else { return 0 }
            var reader = JuteReader(bytes)
            let message = try InitialMessage(reading: &reader)
            used = count
            timer?.close()
            network.introduced(self, message)
        }
        while !stream.isClosing {
            let rest = bytes.extracting(droppingFirst: used)
            guard case .whole(let count) = try ElectionFrame.measure(rest) else { break }
            used += count
            // What cannot be read is skipped: a newer server may say more than we know.
            let frame = rest.extracting(ElectionFrame.headerBytes..<count)
            if let notification = try? ElectionNotification(frame) {
                network.received(notification, self)
            }
        }
        return used
    }

    func streamDrained(_ stream: Stream) {
        isSending = false
        if let notification = next.take() { send(notification) }
    }

    func streamEnded(_ stream: Stream, error: UVError?) {
        close()
        network.lost(self)
    }

    func streamClosed(_ stream: Stream) {
        timer?.close()
        timer = nil
    }
}
