import ClientProtocol
import Configuration
import DequeModule
import EventLoop
import Jute
import Logging
import Vocabulary
import Znodes

/// One client's connection: frames in, replies out in the order of the requests.
///
///     fresh --connect request--> establishing --session committed--> established --> ending
///       |                                                               ^     |        |
///       +--four-letter word--> closing          re-attached at once ----+     +-----> closing
///
/// A read waits while a write of the same session is out, so that the session sees its own writes;
/// other sessions' reads do not. What waits is kept as the frame it came in, and read again when
/// its turn comes. The head of `queue` is a write that is still out, unless the client does not
/// read: then everything that is due waits here, so that one reply at most is beyond the limit.
final class ClientConnection: StreamDelegate {
    enum Phase {
        case fresh
        /// The transaction of the session is on its way; further frames wait.
        case establishing
        case established
        /// The client asked for the end of its session: nothing behind that is answered.
        case ending
        case closing
    }

    /// A request that has no reply yet.
    enum Pending {
        case write
        /// Waits to be in step with the leader; nothing stands behind it.
        case sync
        /// A write that is applied; its reply waits for what is in front of it.
        case reply(xid: Int32, zxid: Zxid, ErrorCode, body: [UInt8], arrival: UInt64)
        /// Something to be answered when the writes in front of it are.
        case frame([UInt8], arrival: UInt64)
        /// A write whose body is no record.
        case failure(xid: Int32, ErrorCode, arrival: UInt64)

        var isSync: Bool {
            if case .sync = self { true } else { false }
        }

        var isWrite: Bool {
            if case .write = self { true } else { false }
        }
    }

    /// Replies beyond this many bytes wait for the client to read what it has.
    static let outputBytesMax = 1 << 20
    /// A client that does not read its watch events is cut off here.
    static let unreadBytesMax = 64 << 20

    unowned(unsafe) let server: ZooKeeperServer
    let stream: Stream
    let watcher: WatcherID
    var phase = Phase.fresh
    var session = SessionID.none
    /// Where the session is tracked; nil at a learner, where the leader tracks it.
    var sessionSlot: SessionTracker.Slot?
    /// Where a local session is tracked.
    var localSlot: SessionTracker.Slot?
    /// When the leader was last told of this connection.
    var touchRound: UInt32 = 0
    var timeoutMilliseconds: Int32 = 0
    /// Whether the client sent the readOnly field; it gets it back only then.
    var sentReadOnly = false
    var identities: [Identity]
    var queue: Deque<Pending> = []
    /// Bytes of frames that are not whole or not yet due.
    private var stash = ByteBuffer()
    private var isParsing = false
    private var isWaitingForOutput = false
    private var isSyncing = false
    /// The server has too much to do; this connection waits until it has less.
    var isThrottled = false
    var statistics = ConnectionStatistics()

    init(server: ZooKeeperServer, stream: Stream, watcher: WatcherID) {
        self.server = server
        self.stream = stream
        self.watcher = watcher
        identities = [Identity(scheme: "ip", id: stream.peer.host)]
        statistics.established = Clock.milliseconds
    }

    // MARK: Receiving

    func stream(_ stream: Stream, received bytes: Span<UInt8>) {
        server.statistics.bytesReceived += bytes.count
        guard stash.isEmpty else {
            stash.append(bytes)
            parseStash()
            if !canGoOn { stream.pauseReading() }
            return
        }
        guard canGoOn else {
            // What is not due stays in the kernel, not here.
            stash.append(bytes)
            return stream.pauseReading()
        }
        isParsing = true
        let consumed = parse(bytes)
        isParsing = false
        guard phase != .closing, consumed < bytes.count else { return }
        stash.append(bytes.extracting(droppingFirst: consumed))
        if !canGoOn { stream.pauseReading() }
    }

    private var canGoOn: Bool {
        @inline(__always) get {
            (phase == .established || phase == .fresh) && !isWaitingForOutput && !isThrottled
                && !isSyncing
        }
    }

    private func parseStash() {
        guard !isParsing, canGoOn, !stash.isEmpty else { return }
        isParsing = true
        var bytes = stash.take()
        let consumed = parse(bytes.span)
        isParsing = false
        guard phase != .closing else { return }
        if consumed == bytes.count {
            bytes.removeAll(keepingAtMost: 0)
        } else {
            bytes.removeFirst(consumed)
        }
        stash = bytes
        if !canGoOn { stream.pauseReading() }
    }

    /// Goes on with what waits here, then with what waits in the kernel.
    func resume() {
        parseStash()
        if canGoOn { stream.startReading() }
    }

    /// Handles the whole frames, as far as they are due, and says how many bytes they were.
    private func parse(_ bytes: Span<UInt8>) -> Int {
        var offset = 0
        while canGoOn, bytes.count &- offset >= 4 {
            let prefix = bytes.extracting(offset..<(offset &+ 4))
            let length = Int(Int32(bigEndianBytes: prefix))
            if phase == .fresh, let word = FourLetterWord(prefix) {
                stream.output.append(utf8: server.answer(word))
                finish()
                return bytes.count
            }
            guard length >= 0, length <= server.configuration.juteMaxBufferBytes else {
                server.log(.warning, "frame too long", self, ["bytes": "\(length)"])
                close()
                return offset
            }
            guard bytes.count &- offset &- 4 >= length else { break }
            let frame = bytes.extracting((offset &+ 4)..<(offset &+ 4 &+ length))
            offset &+= 4 &+ length
            if phase == .fresh {
                server.handshake(self, frame)
            } else {
                handle(frame)
            }
        }
        return offset
    }

    private func handle(_ frame: Span<UInt8>) {
        statistics.received += 1
        server.statistics.packetsReceived += 1
        if let sessionSlot {
            server.proposer.tracker.touch(sessionSlot, now: Int64(server.now))
        } else if localSlot != nil || touchRound != server.touchRound {
            server.touch(self)
        }
        var reader = JuteReader(frame, limits: server.juteLimits)
        guard let header = try? RequestHeader(reading: &reader) else { return close() }
        server.handle(header, reader.rest, frame, from: self)
        if stream.output.count > Self.outputBytesMax { waitForOutput() }
    }

    private func waitForOutput() {
        guard !isWaitingForOutput, phase != .closing else { return }
        isWaitingForOutput = true
        stream.pauseReading()
        stream.notifyWhenDrained()
    }

    func throttle() {
        guard !isThrottled else { return }
        isThrottled = true
        stream.pauseReading()
    }

    // MARK: Replying

    /// A reply that is only a header.
    @inline(__always)
    func reply(xid: Int32, zxid: Zxid, error: ErrorCode, arrival: UInt64) {
        stream.output.appendHeaderFrame(xid: xid, zxid: zxid, error: error)
        stream.markDirty()
        sent(xid: xid, zxid: zxid, arrival: arrival, bytes: 20)
    }

    /// A reply with a record, which `body` writes.
    @inline(__always)
    func reply(
        xid: Int32, zxid: Zxid, error: ErrorCode = .ok, arrival: UInt64,
        _ body: (inout ByteBuffer) -> Void
    ) {
        let frame = stream.output.beginFrame()
        stream.output.appendReplyHeader(xid: xid, zxid: zxid, error: error)
        body(&stream.output)
        stream.output.endFrame(frame)
        stream.markDirty()
        sent(xid: xid, zxid: zxid, arrival: arrival, bytes: stream.output.count - frame)
    }

    @inline(__always)
    private func sent(xid: Int32, zxid: Zxid, arrival: UInt64, bytes: Int) {
        let latency = Int64(bitPattern: server.now &- arrival)
        statistics.answered(xid: xid, zxid: zxid, latency: latency, now: server.now)
        server.statistics.answered(latency: latency, bytes: bytes)
    }

    /// Answers a write that is applied: the first in the queue without a reply.
    func answerWrite(
        xid: Int32, zxid: Zxid, error: ErrorCode, arrival: UInt64, body: UnsafeRawBufferPointer
    ) {
        guard case .write? = queue.first else {
            // The client reads too slowly even for what is in front of this.
            queue[place { $0.isWrite }] = .reply(
                xid: xid, zxid: zxid, error, body: Array(body), arrival: arrival)
            return
        }
        dequeue()
        reply(xid: xid, zxid: zxid, error: error, arrival: arrival) { $0.append(body) }
        answerWaiting()
    }

    /// A sync takes its place. Nothing behind it is looked at before it is done: a write could be
    /// committed before, and a read between the two would see it.
    func enqueueSync() {
        enqueue(.sync)
        isSyncing = true
        stream.pauseReading()
    }

    /// Answers the sync, and goes on with what stands behind it.
    func answerSync(xid: Int32, zxid: Zxid, arrival: UInt64, body: UnsafeRawBufferPointer) {
        queue[place { $0.isSync }] = .reply(
            xid: xid, zxid: zxid, .ok, body: Array(body), arrival: arrival)
        isSyncing = false
        answerWaiting()
        resume()
    }

    private func place(_ isIt: (Pending) -> Bool) -> Int {
        guard let index = queue.firstIndex(where: isIt) else {
            preconditionFailure("what is waited for stands in the queue")
        }
        return index
    }

    /// The transaction of this connection's session is applied.
    func sessionBegun() {
        dequeue()
        answerWaiting()
    }

    /// Answers what is due: everything up to the next write that is still out, as far as the client
    /// keeps reading.
    private func answerWaiting() {
        while phase != .closing, !isWaitingForOutput, let next = queue.first {
            switch next {
            case .write, .sync: return
            case .reply(let xid, let zxid, let error, let body, let arrival):
                dequeue()
                reply(xid: xid, zxid: zxid, error: error, arrival: arrival) { $0.append(body) }
            case .frame(let bytes, let arrival):
                dequeue()
                var reader = JuteReader(bytes.span, limits: server.juteLimits)
                if let header = try? RequestHeader(reading: &reader) {
                    server.answer(header, reader.rest, from: self, arrival: arrival)
                }
            case .failure(let xid, let error, let arrival):
                dequeue()
                reply(xid: xid, zxid: server.lastZxid, error: error, arrival: arrival)
            }
            if stream.output.count > Self.outputBytesMax { waitForOutput() }
        }
        // The reply to closeSession is the last.
        if phase == .ending, queue.isEmpty { finish() }
    }

    private func dequeue() {
        queue.removeFirst()
        server.outstanding -= 1
    }

    func enqueue(_ pending: Pending) {
        queue.append(pending)
        server.outstanding += 1
    }

    /// Sends a watch event in front of every reply that comes later.
    func sendEvent(
        _ type: WatchEventType, path: UnsafeRawBufferPointer, zxid: Zxid
    ) {
        guard phase == .established || phase == .ending else { return }
        let before = stream.output.count
        stream.output.appendWatchEvent(type, path: path, zxid: zxid)
        server.statistics.watchBytes += stream.output.count - before
        stream.markDirty()
        statistics.sent += 1
        server.statistics.packetsSent += 1
        if stream.unsentBytes > Self.unreadBytesMax {
            server.log(.warning, "client does not read its events", self)
            close()
        }
    }

    // MARK: Ending

    /// Sends what is queued, then closes.
    func finish() {
        guard phase != .closing else { return }
        leave()
        stream.closeAfterFlush()
    }

    /// Closes at once.
    func close() {
        if phase != .closing { leave() }
        stream.close()
    }

    private func leave() {
        phase = .closing
        server.outstanding -= queue.count
        queue.removeAll()
        stash.removeAll(keepingAtMost: 0)
        server.left(self)
    }

    func streamDrained(_ stream: Stream) {
        guard isWaitingForOutput else { return }
        isWaitingForOutput = false
        answerWaiting()
        resume()
    }

    func streamEnded(_ stream: Stream, error: UVError?) { close() }

    func streamClosed(_ stream: Stream) { server.gone(self) }
}

extension Int32 {
    /// Four bytes, the most significant first.
    init(bigEndianBytes b: Span<UInt8>) {
        self = Int32(
            bitPattern: UInt32(b[0]) << 24 | UInt32(b[1]) << 16 | UInt32(b[2]) << 8 | UInt32(b[3]))
    }
}
