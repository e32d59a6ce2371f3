internal import CUV
internal import Glibc
public import Jute

/// What a connection tells its owner. Every call comes on the loop's thread; closing the stream
/// inside any of them is allowed.
public protocol StreamDelegate: AnyObject {
    /// Bytes arrived; they are valid during the call only.
    func stream(_ stream: Stream, received bytes: Span<UInt8>)

    /// Everything is with the kernel again after a time when the peer read too slowly.
    func streamDrained(_ stream: Stream)

    /// The peer has ended its side (nil) or the connection broke. Nothing more will be received;
    /// the delegate closes the stream when it is done with it.
    func streamEnded(_ stream: Stream, error: UVError?)

    /// The last call: the descriptor is closed.
    func streamClosed(_ stream: Stream)
}

/// A TCP connection.
///
/// The handle inside libuv owns this object from its creation until the close callback, so that
/// no callback can meet a freed one; whoever opens a stream must see to it that it is closed. The
/// delegate is held strongly until `streamClosed`, which ends a cycle between the two.
public final class Stream {
    /// How far the connection is on its way to the end; it never goes back.
    private enum Phase: Comparable {
        case open
        /// `closeAfterFlush` was called: what is queued still goes out.
        case flushing
        /// All is sent and so is our FIN; what the peer still sends is thrown away.
        case lingering
        /// libuv closes the handle.
        case closing
    }

    public var delegate: (any StreamDelegate)?
    public let peer: SocketAddress

    /// What is to be sent. Append, then call `markDirty()`.
    public var output = ByteBuffer()

    public let loop: EventLoop
    private let tcp: UnsafeMutablePointer<uv_tcp_t>
    private var phase = Phase.open
    private var isDirty = false
    private var hasEnded = false
    /// The place in the loop's list of streams to look after.
    var watchIndex: Int?
    private var wasFlushedLately = false
    private var owesDrained = false
    /// The bytes that libuv is sending, while `write` is not nil.
    private var inFlight = ByteBuffer()
    private var write: UnsafeMutablePointer<uv_write_t>?
    /// When flushing or lingering ends at the latest, in the loop's milliseconds.
    private var deadline: UInt64 = 0

    /// Output memory up to here stays with an idle stream.
    private static let idleOutputBytesMax = 4096
    /// Output memory up to here stays with a busy stream.
    private static let busyOutputBytesMax = 262_144
    /// How long a peer may take to read what was queued when we decided to close.
    private static let flushMilliseconds: UInt64 = 30_000
    /// How long a peer may take to end its side after we ended ours.
    private static let lingerMilliseconds: UInt64 = 2000

    /// A stream without a descriptor: `adopt` or `connect` gives it one.
    init(loop: EventLoop, peer: SocketAddress) {
        self.loop = loop
        self.peer = peer
        tcp = .allocate(capacity: 1)
        let result = uv_tcp_init(loop.uv, tcp)
        precondition(result == 0, "without a socket of its own, a handle is only memory")
        tcp.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    deinit { tcp.deallocate() }

    private var handle: UnsafeMutablePointer<uv_handle_t> {
        UnsafeMutableRawPointer(tcp).assumingMemoryBound(to: uv_handle_t.self)
    }

    private var uvStream: UnsafeMutablePointer<uv_stream_t> {
        UnsafeMutableRawPointer(tcp).assumingMemoryBound(to: uv_stream_t.self)
    }

    /// The stream of a handle inside a callback; the handle holds it, so no reference is counted.
    @inline(__always)
    private static func of(_ data: UnsafeMutableRawPointer?, _ body: (Stream) -> Void) {
        guard let data else { return }
        Unmanaged<Stream>.fromOpaque(data)._withUnsafeGuaranteedRef(body)
    }

    // MARK: Opening

    /// Takes over a connected descriptor; the descriptor is closed if that fails.
    func adopt(descriptor: Int32) throws(UVError) {
        let result = uv_tcp_open(tcp, descriptor)
        guard result == 0 else {
            Glibc.close(descriptor)
            close()
            throw UVError(code: result)
        }
        setNoDelay(true)
    }

    /// Starts to connect; `completion` is called once unless this throws.
    func connect(
        to address: UnsafePointer<sockaddr>, completion: @escaping (UVError?) -> Void
    ) throws(UVError) {
        let request = ConnectRequest(completion: completion)
        let result = uv_tcp_connect(request.uv, tcp, address) { uv, status in
            guard let data = uv?.pointee.data else { return }
            let request = Unmanaged<ConnectRequest>.fromOpaque(data).takeRetainedValue()
            request.completion(status == 0 ? nil : UVError(code: status))
        }
        guard result == 0 else {
            close()
            throw UVError(code: result)
        }
        request.uv.pointee.data = Unmanaged.passRetained(request).toOpaque()
        setNoDelay(true)
    }

    private final class ConnectRequest {
        let uv = UnsafeMutablePointer<uv_connect_t>.allocate(capacity: 1)
        let completion: (UVError?) -> Void
        init(completion: @escaping (UVError?) -> Void) { self.completion = completion }
        deinit { uv.deallocate() }
    }

    /// Sends small segments at once. On from the start.
    public func setNoDelay(_ isOn: Bool) { uv_tcp_nodelay(tcp, isOn ? 1 : 0) }

    /// Lets the kernel probe a silent peer after `delaySeconds`; nil turns that off.
    public func setKeepAlive(delaySeconds: UInt32?) {
        uv_tcp_keepalive(tcp, delaySeconds == nil ? 0 : 1, delaySeconds ?? 0)
    }

    // MARK: Reading

    /// Starts or resumes reading.
    public func startReading() {
        guard phase == .open, !hasEnded else { return }
        read()
    }

    /// Leaves further bytes with the kernel, whose window then slows the peer down.
    public func pauseReading() {
        guard phase < .lingering else { return }
        uv_read_stop(uvStream)
    }

    private func read() {
        // The only errors are an already reading and a closing handle.
        _ = uv_read_start(
            uvStream,
            { handle, _, buffer in
                Stream.of(handle?.pointee.data) {
                    buffer?.pointee = uv_buf_init(
                        $0.loop.readBuffer, UInt32(EventLoop.readBufferBytes))
                }
            },
            { handle, count, buffer in
                Stream.of(handle?.pointee.data) { stream in
                    if count > 0, let base = buffer?.pointee.base {
                        stream.received(UnsafeRawBufferPointer(start: base, count: count))
                    } else if count < 0 {
                        let isEnd = count == Int(UV_EOF.rawValue)
                        stream.end(isEnd ? nil : UVError(code: Int32(truncatingIfNeeded: count)))
                    }
                }
            })
    }

    @inline(__always)
    private func received(_ bytes: UnsafeRawBufferPointer) {
        guard phase == .open else { return }
        delegate?.stream(self, received: Span(_unsafeBytes: bytes))
    }

    private func end(_ error: UVError?) {
        guard phase == .open, !hasEnded, let delegate else { return close() }
        hasEnded = true
        uv_read_stop(uvStream)
        if error != nil { output.removeAll(keepingAtMost: 0) }
        delegate.streamEnded(self, error: error)
    }

    // MARK: Writing

    /// What was appended and is not yet with the kernel.
    public var unsentBytes: Int { output.count + tcp.pointee.write_queue_size }

    /// Sends the output at the end of this loop turn.
    @inline(__always)
    public func markDirty() {
        guard !isDirty, phase < .lingering else { return }
        isDirty = true
        loop.addDirty(self)
    }

    /// Asks for `streamDrained` once all that was appended is with the kernel, also when it takes
    /// everything at once.
    public func notifyWhenDrained() {
        owesDrained = true
        markDirty()
    }

    /// Sends the output as far as the kernel takes it; the loop calls this once per turn.
    func flush() {
        isDirty = false
        // Of a write that is under way, the end marks the stream dirty again.
        guard phase < .lingering, write == nil else { return }
        if !output.isEmpty {
            wasFlushedLately = true
            var buffer = buffer(of: output, from: 0)
            let result = uv_try_write(uvStream, &buffer, 1)
            let sent = Int(max(0, result))
            if result < 0, result != UV_EAGAIN.rawValue {
                return end(UVError(code: result))
            } else if sent < output.count {
                return sendRest(from: sent)
            }
            output.removeAll(keepingAtMost: Self.busyOutputBytesMax)
            if output.capacity > Self.idleOutputBytesMax { watch() }
        }
        if owesDrained {
            owesDrained = false
            loop.hasNews = true
            delegate?.streamDrained(self)
        }
        if phase == .flushing, output.isEmpty { linger() }
    }

    private func buffer(of bytes: borrowing ByteBuffer, from start: Int) -> uv_buf_t {
        let rest = UnsafeMutableRawBufferPointer(mutating: bytes.bytes)
        // A system call sends less than 2 GiB anyway.
        let count = UInt32(min(rest.count - start, Int(Int32.max)))
        return uv_buf_init(
            rest.baseAddress.map { ($0 + start).assumingMemoryBound(to: CChar.self) }, count)
    }

    /// Hands the output behind `start` over to libuv, which sends it as the peer reads.
    private func sendRest(from start: Int) {
        owesDrained = true
        var rest = buffer(of: output, from: start)
        swap(&output, &inFlight)
        assert(output.isEmpty, "one write at a time is under way")
        let request = UnsafeMutablePointer<uv_write_t>.allocate(capacity: 1)
        write = request
        let result = uv_write(request, uvStream, &rest, 1) { request, status in
            Stream.of(request?.pointee.handle.pointee.data) { $0.writeEnded(status: status) }
        }
        if result < 0 { writeEnded(status: result) }
    }

    private func writeEnded(status: Int32) {
        write?.deallocate()
        write = nil
        inFlight.removeAll(keepingAtMost: 0)
        guard phase < .lingering else { return }
        if status < 0 { return end(UVError(code: status)) }
        markDirty()
    }

    // MARK: What time brings

    private func watch() {
        if watchIndex == nil { loop.watch(self) }
    }

    /// Gives memory back that was not used since the last call, and ends what takes too long.
    func keepHouse() {
        switch phase {
        case .open where !wasFlushedLately && output.isEmpty:
            output.removeAll(keepingAtMost: 0)
            loop.unwatch(self)
        case .flushing, .lingering:
            if loop.nowMilliseconds >= deadline { close() }
        case .open, .closing:
            break
        }
        wasFlushedLately = false
    }

    // MARK: Closing

    /// The stream is on its way to the end; what is appended now may not be sent.
    public var isClosing: Bool { phase > .open }

    /// Closes at once and drops the output. `streamClosed` follows in a later callback.
    public func close() {
        guard phase < .closing else { return }
        phase = .closing
        output.removeAll(keepingAtMost: 0)
        uv_close(handle) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<Stream>.fromOpaque(data).takeRetainedValue().closed()
        }
    }

    private func closed() {
        assert(!isDirty && write == nil, "the last flush and the last write come before the close")
        loop.unwatch(self)
        let delegate = delegate
        self.delegate = nil
        delegate?.streamClosed(self)
    }

    /// Sends what is queued, then FIN, then closes; reading stops at once.
    public func closeAfterFlush() {
        guard phase == .open else { return }
        if hasEnded, output.isEmpty, write == nil { return close() }
        uv_read_stop(uvStream)
        markDirty()
        phase = .flushing
        deadline = loop.nowMilliseconds + Self.flushMilliseconds
        watch()
    }

    /// Ends our side and waits for the peer to end its own.
    ///
    /// Closing while the peer still sends would make the kernel answer with a reset, and a reset
    /// throws away what is sent but not yet received: the last reply would be lost.
    private func linger() {
        var descriptor: Int32 = -1
        guard !hasEnded, uv_fileno(handle, &descriptor) == 0,
            shutdown(descriptor, Int32(SHUT_WR)) == 0
        else { return close() }
        phase = .lingering
        deadline = loop.nowMilliseconds + Self.lingerMilliseconds
        output.removeAll(keepingAtMost: 0)
        read()
    }
}
