internal import CUV
internal import Glibc

/// Told when the work of a loop turn is done, before its output is sent.
public protocol TurnDelegate: AnyObject {
    /// Called after the callbacks of sockets and wake-ups, and again after those of timers: what
    /// it appends to streams goes out in the same turn.
    func turnEnded(_ loop: EventLoop)
}

/// One libuv loop, confined to the thread that runs it.
///
/// A turn has a fixed order:
///
///     timers -> turnEnded, flush -> wait for the kernel -> sockets, wake-ups -> turnEnded, flush -> closed handles
///
/// The flush sends what every stream gathered in the turn with one system call per stream, which
/// costs an eighth of a write per reply. It stands twice because timers run before the wait in
/// libuv up to 1.44 and after it later; a flush without dirty streams costs nothing.
public final class EventLoop {
    let uv: UnsafeMutablePointer<uv_loop_t>
    /// Where every stream of this loop reads to: the bytes are consumed before the next read.
    let readBuffer: UnsafeMutablePointer<CChar>
    static let readBufferBytes = 65536

    private let prepare: UnsafeMutablePointer<uv_prepare_t>
    private let check: UnsafeMutablePointer<uv_check_t>
    private let housekeeping: UnsafeMutablePointer<uv_timer_t>

    /// Unowned references are safe here: a stream leaves this list in the flush of the same turn,
    /// and the close callback that ends its life runs after that flush.
    private var dirty: [Unmanaged<Stream>] = []
    private var flushing: [Unmanaged<Stream>] = []
    /// A flush has told an owner that its stream is drained.
    var hasNews = false
    /// Streams with much idle memory in their output, and streams that wait for their peer's end.
    private var watched: [Stream] = []

    public var turnDelegate: (any TurnDelegate)?

    /// Ignores SIGPIPE for the whole process: a peer that is gone is an error of the write.
    public init() throws(UVError) {
        signal(SIGPIPE, SIG_IGN)
        uv = .allocate(capacity: 1)
        let result = uv_loop_init(uv)
        guard result == 0 else {
            uv.deallocate()
            throw UVError(code: result)
        }
        readBuffer = .allocate(capacity: Self.readBufferBytes)
        prepare = .allocate(capacity: 1)
        check = .allocate(capacity: 1)
        housekeeping = .allocate(capacity: 1)
        // These three cannot fail: they only touch the loop's own lists.
        uv_prepare_init(uv, prepare)
        uv_check_init(uv, check)
        uv_timer_init(uv, housekeeping)
        let unowned = Unmanaged.passUnretained(self).toOpaque()
        prepare.pointee.data = unowned
        check.pointee.data = unowned
        housekeeping.pointee.data = unowned
        uv_prepare_start(prepare) { EventLoop.of($0?.pointee.data) { $0.endTurn() } }
        uv_check_start(check) { EventLoop.of($0?.pointee.data) { $0.endTurn() } }
    }

    /// Every open handle holds its loop, so only the loop's own handles are left here.
    deinit {
        uv_close(UnsafeMutableRawPointer(prepare).assumingMemoryBound(to: uv_handle_t.self), nil)
        uv_close(UnsafeMutableRawPointer(check).assumingMemoryBound(to: uv_handle_t.self), nil)
        uv_close(
            UnsafeMutableRawPointer(housekeeping).assumingMemoryBound(to: uv_handle_t.self), nil)
        uv_run(uv, UV_RUN_DEFAULT)
        let result = uv_loop_close(uv)
        precondition(result == 0, "no handle outlives its loop")
        prepare.deallocate()
        check.deallocate()
        housekeeping.deallocate()
        readBuffer.deallocate()
        uv.deallocate()
    }

    @inline(__always)
    private static func of(_ data: UnsafeMutableRawPointer?, _ body: (EventLoop) -> Void) {
        guard let data else { return }
        Unmanaged<EventLoop>.fromOpaque(data)._withUnsafeGuaranteedRef(body)
    }

    /// Milliseconds of the monotonic clock, read once per turn.
    public var nowMilliseconds: UInt64 { uv_now(uv) }

    /// Reads the clock again, after work that took long.
    public func refreshNow() { uv_update_time(uv) }

    /// Runs turns until `stop()`.
    public func run() {
        withExtendedLifetime(self) { _ = uv_run(uv, UV_RUN_DEFAULT) }
    }

    /// Ends `run()` with the current turn; only from the loop's thread.
    public func stop() { uv_stop(uv) }

    // MARK: The end of a turn

    private func endTurn() {
        repeat {
            turnDelegate?.turnEnded(self)
            hasNews = false
            guard !dirty.isEmpty else { return }
            swap(&dirty, &flushing)
            for stream in flushing { stream._withUnsafeGuaranteedRef { $0.flush() } }
            flushing.removeAll(keepingCapacity: true)
            // A drained stream lets its owner go on with work that this turn must end, too.
        } while hasNews || !dirty.isEmpty
    }

    func addDirty(_ stream: Stream) { dirty.append(Unmanaged.passUnretained(stream)) }

    // MARK: Housekeeping

    private static let housekeepingMilliseconds: UInt64 = 500

    /// Calls the stream's `keepHouse` from time to time.
    func watch(_ stream: Stream) {
        stream.watchIndex = watched.count
        watched.append(stream)
        guard watched.count == 1 else { return }
        uv_timer_start(
            housekeeping, { EventLoop.of($0?.pointee.data) { $0.keepHouse() } },
            Self.housekeepingMilliseconds, Self.housekeepingMilliseconds)
    }

    /// Ends the calls.
    func unwatch(_ stream: Stream) {
        guard let index = stream.watchIndex, let last = watched.popLast() else { return }
        stream.watchIndex = nil
        if last !== stream {
            watched[index] = last
            last.watchIndex = index
        }
        if watched.isEmpty { uv_timer_stop(housekeeping) }
    }

    private func keepHouse() {
        for stream in watched { stream.keepHouse() }
    }
}
