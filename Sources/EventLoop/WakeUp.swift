internal import CUV
internal import Synchronization

/// Lets other threads call a handler on the loop's thread.
///
/// Signals that come together are one call, and each signal is followed by a call. The handle owns
/// this object until `close()`.
///
/// `@unchecked Sendable`: other threads only reach `signal()`, which touches libuv under the lock
/// and only while the handle is open; the rest belongs to the loop's thread.
public final class WakeUp: @unchecked Sendable {
    private let uv = UnsafeMutablePointer<uv_async_t>.allocate(capacity: 1)
    private let isOpen = Mutex(true)
    /// Let go by the loop's own thread: the last reference to this object may fall on another.
    private var loop: EventLoop?
    private var handler: (() -> Void)?

    public init(loop: EventLoop, handler: @escaping () -> Void) throws(UVError) {
        self.loop = loop
        self.handler = handler
        let result = uv_async_init(loop.uv, uv) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<WakeUp>.fromOpaque(data)._withUnsafeGuaranteedRef { $0.handler?() }
        }
        guard result == 0 else { throw UVError(code: result) }
        uv.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    deinit { uv.deallocate() }

    /// Wakes the loop; from any thread. Does nothing after `close()`.
    public func signal() {
        isOpen.withLock { isOpen in
            if isOpen { _ = uv_async_send(uv) }
        }
    }

    /// Ends the calls; from the loop's thread.
    public func close() {
        let wasOpen = isOpen.withLock { isOpen in
            defer { isOpen = false }
            return isOpen
        }
        guard wasOpen else { return }
        handler = nil
        uv_close(UnsafeMutableRawPointer(uv).assumingMemoryBound(to: uv_handle_t.self)) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<WakeUp>.fromOpaque(data).takeRetainedValue().loop = nil
        }
    }
}
