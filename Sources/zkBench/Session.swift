internal import EventLoop
internal import Glibc
internal import Jute
internal import Vocabulary

/// Nanoseconds of the monotonic clock.
@inline(__always)
func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}

/// Told what the server answers to a session.
protocol SessionDelegate: AnyObject {
    func sessionOpened(_ session: Session)
    /// An answer; `sentAt` is when its request was, or should have been, sent.
    func session(_ session: Session, answered kind: RequestKind, sentAt: UInt64, error: Int32)
    /// A watch event.
    func sessionNotified(_ session: Session)
    /// The connection is gone. `reason` is nil when we closed the session ourselves.
    func sessionEnded(_ session: Session, reason: String?)
}

/// One ZooKeeper session: it keeps what it asked in a ring, since the answers come in that order,
/// and looks at no more of an answer than its header.
final class Session: StreamDelegate {
    private enum State {
        case connecting
        case handshaking
        case open
        case closing
        case ended
    }

    unowned(unsafe) let delegate: any SessionDelegate
    let loop: EventLoop
    let index: Int
    /// Ping only, no work.
    let isIdle: Bool

    /// The part of a shared range of znodes that is still this session's to do.
    var work = StridedWork()

    private var stream: Stream?
    private var state = State.connecting
    private let timeoutMilliseconds: Int32

    /// What is asked and not yet answered, oldest first: time << 4 | kind.
    private var asked: UnsafeMutablePointer<UInt64>
    private var askedCapacity: Int
    private var askedFirst = 0
    private(set) var outstanding = 0
    private var nextXid: Int32 = 1
    private var firstXid: Int32 = 1

    /// The beginning of an answer whose header is not here completely.
    private var partial = ByteBuffer()
    /// Bytes of the current answer that nobody needs.
    private var bytesToSkip = 0
    private var lastSent: UInt64 = 0

    private static let headerBytes = 20
    private static let connectResponseBytes = 4 + 37
    private static let eventXid: Int32 = -1
    private static let pingXid: Int32 = -2

    /// When the bytes that are being worked on arrived.
    private(set) var now: UInt64 = 0

    init(
        loop: EventLoop, index: Int, depth: Int, isIdle: Bool, timeoutMilliseconds: Int32,
        delegate: any SessionDelegate
    ) {
        self.loop = loop
        self.index = index
        self.isIdle = isIdle
        self.timeoutMilliseconds = timeoutMilliseconds
        self.delegate = delegate
        askedCapacity = max(2, depth.nextPowerOf2)
        asked = .allocate(capacity: askedCapacity)
    }

    deinit { asked.deallocate() }

    var isOpen: Bool { state == .open }
    /// The server agreed to this session at some time.
    private(set) var wasOpen = false

    /// When the request was sent whose answer is next.
    var oldestSentAt: UInt64 { outstanding > 0 ? asked[askedFirst] >> 4 : now }

    // MARK: Opening and closing

    func connect(host: String, port: UInt16) {
        loop.connect(host: host, port: port) { [self] result in
            switch result {
            case .success(let stream): connected(stream)
            case .failure(let error): end("cannot connect: \(error)")
            }
        }
    }

    private func connected(_ stream: Stream) {
        self.stream = stream
        stream.delegate = self
        state = .handshaking
        stream.output.append(Int32(45))
        stream.output.append(Int32(0))  // Protocol version.
        stream.output.append(Int64(0))  // No zxid seen.
        stream.output.append(timeoutMilliseconds)
        stream.output.append(Int64(0))  // A new session ...
        stream.output.append(Int32(16))
        stream.output.append([UInt8](repeating: 0, count: 16))  // ... without a password.
        stream.output.append(false)
        stream.markDirty()
        stream.startReading()
    }

    /// Ends the session at the server, which then closes the connection.
    func close() {
        guard state == .open, let stream else { return }
        state = .closing
        push(.close, at: loop.nowMilliseconds)
        append(RequestKind.close, index: 0, to: stream)
    }

    private func end(_ reason: String?) {
        guard state != .ended else { return }
        let wasClosing = state == .closing
        state = .ended
        stream?.close()
        stream = nil
        delegate.sessionEnded(self, reason: wasClosing ? nil : reason)
    }

    /// Shows that the session lives when nothing else was sent lately.
    func pingIfQuiet(now: UInt64, templates: RequestTemplates) {
        guard state == .open, let stream else { return }
        guard now - lastSent > UInt64(timeoutMilliseconds) * 1_000_000 / 3 else { return }
        lastSent = now
        templates[.ping].append(
            to: &stream.output, xid: Self.pingXid, index: 0, directories: 1)
        stream.markDirty()
    }

    // MARK: Asking

    var templates: RequestTemplates?
    var directories = 1

    /// Asks for something about a znode. `sentAt` is when that should happen or happens.
    @inline(__always)
    func ask(_ kind: RequestKind, index: Int, sentAt: UInt64) {
        guard state == .open, let stream else { return }
        push(kind, at: sentAt)
        append(kind, index: index, to: stream)
    }

    /// Asks with one request about many znodes.
    func askMulti(sentAt: UInt64, nextIndex: () -> Int) {
        guard state == .open, let stream, let templates else { return }
        push(.multi, at: sentAt)
        templates[.multi].append(
            to: &stream.output, xid: takeXid(), directories: directories, nextIndex: nextIndex)
        stream.markDirty()
    }

    /// Asks for what has no template.
    func askByHand(_ op: OpCode, sentAt: UInt64, body: (inout ByteBuffer) -> Void) {
        guard state == .open, let stream else { return }
        push(.byHand, at: sentAt)
        let start = stream.output.count
        stream.output.append(Int32(0))
        stream.output.append(takeXid())
        stream.output.append(op)
        body(&stream.output)
        stream.output.overwrite(Int32(stream.output.count - start - 4), at: start)
        stream.markDirty()
    }

    @inline(__always)
    private func append(_ kind: RequestKind, index: Int, to stream: Stream) {
        guard let templates else { return }
        templates[kind].append(
            to: &stream.output, xid: takeXid(), index: index, directories: directories)
        stream.markDirty()
    }

    @inline(__always)
    private func takeXid() -> Int32 {
        defer { nextXid = nextXid == .max ? 1 : nextXid + 1 }
        return nextXid
    }

    @inline(__always)
    private func push(_ kind: RequestKind, at time: UInt64) {
        if outstanding == askedCapacity { growAsked() }
        asked[(askedFirst &+ outstanding) & (askedCapacity &- 1)] =
            time << 4 | UInt64(kind.rawValue)
        outstanding &+= 1
        lastSent = time
    }

    /// Only an open load, which does not wait for answers, comes here.
    private func growAsked() {
        let larger = UnsafeMutablePointer<UInt64>.allocate(capacity: askedCapacity * 2)
        for position in 0..<outstanding {
            larger[position] = asked[(askedFirst + position) & (askedCapacity - 1)]
        }
        asked.deallocate()
        asked = larger
        askedCapacity *= 2
        askedFirst = 0
    }

    // MARK: Answers

    func stream(_ stream: Stream, received bytes: Span<UInt8>) {
        now = monotonicNanoseconds()
        bytes.withUnsafeBytes { bytes in
            var rest = bytes
            while !rest.isEmpty, self.stream != nil {
                if bytesToSkip > 0 {
                    let skipped = min(bytesToSkip, rest.count)
                    bytesToSkip -= skipped
                    rest = .init(rebasing: rest[skipped...])
                } else if partial.isEmpty, rest.count >= neededBytes(of: rest) {
                    rest = .init(rebasing: rest[take(rest)...])
                } else {
                    rest = gather(rest)
                }
            }
        }
    }

    /// How many bytes of an answer are looked at.
    @inline(__always)
    private func neededBytes(of answer: UnsafeRawBufferPointer) -> Int {
        state == .handshaking ? Self.connectResponseBytes : Self.headerBytes
    }

    /// Adds to a header that came in pieces; returns what is left.
    private func gather(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        let missing = neededBytes(of: bytes) - partial.count
        let used = min(missing, bytes.count)
        partial.append(UnsafeRawBufferPointer(rebasing: bytes[..<used]))
        if used == missing {
            let whole = partial.take()
            bytesToSkip = 0
            let taken = take(whole.bytes)
            assert(taken == whole.count, "behind the gathered header there is nothing yet")
        }
        return UnsafeRawBufferPointer(rebasing: bytes[used...])
    }

    /// Takes one answer whose header is complete; returns how many of the bytes belonged to it.
    @inline(__always)
    private func take(_ bytes: UnsafeRawBufferPointer) -> Int {
        let length = 4 + Int(Int32(bigEndian: bytes.loadUnaligned(as: Int32.self)))
        let here = min(length, bytes.count)
        bytesToSkip = length - here
        if state == .handshaking {
            opened(
                timeout: Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: Int32.self)))
        } else if length < Self.headerBytes {
            end("an answer of \(length) bytes")
        } else {
            let xid = Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: Int32.self))
            let error = Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: 16, as: Int32.self))
            answered(xid: xid, error: error)
        }
        return here
    }

    private func opened(timeout: Int32) {
        guard timeout > 0 else { return end("the server refused the session") }
        state = .open
        wasOpen = true
        lastSent = now
        delegate.sessionOpened(self)
    }

    @inline(__always)
    private func answered(xid: Int32, error: Int32) {
        if xid == Self.eventXid { return delegate.sessionNotified(self) }
        if xid == Self.pingXid { return }
        guard xid == firstXid, outstanding > 0 else {
            return end("an answer to \(xid) where \(firstXid) was due")
        }
        let entry = asked[askedFirst]
        askedFirst = (askedFirst &+ 1) & (askedCapacity &- 1)
        outstanding &-= 1
        firstXid = firstXid == .max ? 1 : firstXid &+ 1
        // A kind that was stored is a kind.
        let kind = RequestKind(rawValue: UInt8(truncatingIfNeeded: entry & 15)) ?? .byHand
        if kind != .close {
            delegate.session(self, answered: kind, sentAt: entry >> 4, error: error)
        }
    }

    func streamDrained(_ stream: Stream) {}
    func streamEnded(_ stream: Stream, error: UVError?) {
        end(error?.description ?? "the server closed the connection")
    }
    func streamClosed(_ stream: Stream) {}
}

/// A share of the indexes 0 ..< end: every `stride`-th.
struct StridedWork {
    private(set) var next = 0
    private(set) var end = 0
    private var stride = 1

    init() {}

    init(first: Int, stride: Int, end: Int) {
        next = first
        self.stride = stride
        self.end = end
    }

    /// The next index, until there is none.
    @inline(__always)
    mutating func take() -> Int? {
        guard next < end else { return nil }
        defer { next += stride }
        return next
    }
}

extension Int {
    /// The smallest power of two that is not below.
    var nextPowerOf2: Int { self <= 1 ? 1 : 1 << (Int.bitWidth - (self - 1).leadingZeroBitCount) }
}
