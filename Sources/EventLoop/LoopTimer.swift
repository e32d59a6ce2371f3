internal import CUV

/// Calls a handler after a while, on the loop's thread. Ends with its last reference.
public final class LoopTimer {
    private let loop: EventLoop
    private let uv = UnsafeMutablePointer<uv_timer_t>.allocate(capacity: 1)
    private var handler: (() -> Void)?
    private var repeats = false
    private var isClosed = false

    public init(loop: EventLoop) {
        self.loop = loop
        uv_timer_init(loop.uv, uv)
        uv.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    }

    deinit { close() }

    /// Starts, or starts again; a pending call is replaced. Counts from the turn's `now`.
    public func start(
        afterMilliseconds delay: UInt64, repeatMilliseconds: UInt64 = 0,
        _ handler: @escaping () -> Void
    ) {
        guard !isClosed else { return }
        self.handler = handler
        repeats = repeatMilliseconds > 0
        uv_timer_start(
            uv,
            { handle in
                guard let data = handle?.pointee.data else { return }
                // Counted: the handler may drop the last other reference.
                Unmanaged<LoopTimer>.fromOpaque(data).takeUnretainedValue().fire()
            }, delay, repeatMilliseconds)
    }

    private func fire() {
        let handler = handler
        if !repeats { self.handler = nil }
        handler?()
    }

    /// Cancels what is pending; it can be started again.
    public func stop() {
        guard !isClosed else { return }
        uv_timer_stop(uv)
        handler = nil
    }

    /// Cancels what is pending for good.
    public func close() {
        guard !isClosed else { return }
        isClosed = true
        handler = nil
        // Nothing calls back any more; libuv needs the memory until its callback, not the object.
        uv_close(UnsafeMutableRawPointer(uv).assumingMemoryBound(to: uv_handle_t.self)) {
            $0?.deallocate(as: uv_timer_t.self)
        }
    }
}

extension UnsafeMutablePointer where Pointee == uv_handle_t {
    /// Frees a handle that was allocated as its own type.
    func deallocate<Handle>(as _: Handle.Type) {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: Handle.self).deallocate()
    }
}
