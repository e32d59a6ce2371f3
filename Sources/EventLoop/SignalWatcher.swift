internal import CUV

/// Calls a handler on the loop's thread when the process gets a signal. Ends with its last
/// reference.
public final class SignalWatcher {
    private let loop: EventLoop
    private let uv = UnsafeMutablePointer<uv_signal_t>.allocate(capacity: 1)
    private var handler: (() -> Void)?

    public init(
        loop: EventLoop, signal: Int32, handler: @escaping () -> Void
    ) throws(UVError) {
        self.loop = loop
        self.handler = handler
        let initialised = uv_signal_init(loop.uv, uv)
        guard initialised == 0 else {
            uv.deallocate()
            self.handler = nil
            throw UVError(code: initialised)
        }
        uv.pointee.data = Unmanaged.passUnretained(self).toOpaque()
        let started = uv_signal_start(
            uv,
            { handle, _ in
                guard let data = handle?.pointee.data else { return }
                Unmanaged<SignalWatcher>.fromOpaque(data).takeUnretainedValue().handler?()
            }, signal)
        guard started == 0 else {
            close()
            throw UVError(code: started)
        }
    }

    deinit { close() }

    public func close() {
        guard handler != nil else { return }
        handler = nil
        uv_close(UnsafeMutableRawPointer(uv).assumingMemoryBound(to: uv_handle_t.self)) {
            $0?.deallocate(as: uv_signal_t.self)
        }
    }
}
