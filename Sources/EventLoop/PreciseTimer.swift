internal import CUV
internal import Glibc

/// A timer of the kernel's, for those who count in microseconds: libuv's own timers count whole
/// milliseconds, and cost nothing where that will do. Ends with its last reference.
public final class PreciseTimer {
    private let loop: EventLoop
    private let descriptor: Int32
    private let uv = UnsafeMutablePointer<uv_poll_t>.allocate(capacity: 1)
    private var handler: (() -> Void)?
    private var isClosed = false

    public init(loop: EventLoop) throws(UVError) {
        self.loop = loop
        descriptor = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_NONBLOCK | TFD_CLOEXEC))
        let result = descriptor < 0 ? -errno : uv_poll_init(loop.uv, uv, descriptor)
        guard result == 0 else {
            if descriptor >= 0 { Glibc.close(descriptor) }
            uv.deallocate()
            isClosed = true
            throw UVError(code: result)
        }
        uv.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        uv_poll_start(uv, Int32(UV_READABLE.rawValue)) { handle, _, _ in
            guard let data = handle?.pointee.data else { return }
            // Counted: the handler may drop the last other reference.
            Unmanaged<PreciseTimer>.fromOpaque(data).takeUnretainedValue().fire()
        }
    }

    deinit { close() }

    /// Calls the handler once; a pending call is replaced.
    public func start(afterNanoseconds delay: UInt64, _ handler: @escaping () -> Void) {
        guard !isClosed else { return }
        self.handler = handler
        var time = itimerspec()
        // Zero would disarm it.
        let delay = max(1, delay)
        time.it_value.tv_sec = Int(delay / 1_000_000_000)
        time.it_value.tv_nsec = Int(delay % 1_000_000_000)
        timerfd_settime(descriptor, 0, &time, nil)
    }

    private func fire() {
        var expirations: UInt64 = 0
        guard read(descriptor, &expirations, 8) == 8 else { return }
        let handler = handler
        self.handler = nil
        handler?()
    }

    public func close() {
        guard !isClosed else { return }
        isClosed = true
        handler = nil
        uv_close(UnsafeMutableRawPointer(uv).assumingMemoryBound(to: uv_handle_t.self)) {
            $0?.deallocate(as: uv_poll_t.self)
        }
        Glibc.close(descriptor)
    }
}
