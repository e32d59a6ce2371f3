internal import CUV
internal import Glibc

/// Accepts TCP connections.
///
/// It keeps its own socket and only lets libuv watch it: libuv would close connections silently
/// when the process is out of descriptors, and asks the kernel for each peer's address again.
/// The handle owns this object until it is closed.
public final class Listener {
    /// What the kernel reported while accepting. `EMFILE` and `ENFILE`: a connection was closed
    /// because no descriptor is left for it.
    public var onError: ((UVError) -> Void)?
    /// Where it listens; a port 0 that was asked for is replaced by the one the kernel chose.
    public let address: SocketAddress

    private let loop: EventLoop
    private let descriptor: Int32
    private let poll = UnsafeMutablePointer<uv_poll_t>.allocate(capacity: 1)
    private var accept: ((Stream) -> Void)?
    private var isClosing = false
    /// Given up for a moment when the process is out of descriptors, to accept with it and close.
    private var reserve: Int32
    private let retry: LoopTimer

    /// So many at a time, so that a storm of connections does not starve those that are served.
    private static let acceptsPerTurnMax = 512
    /// The wait after an error that the next call would only repeat.
    private static let retryMilliseconds: UInt64 = 100

    public var port: UInt16 { address.port }

    /// Listens on `host` (a name or a number; nil: every address, IPv6 and IPv4, as Java does).
    public init(
        loop: EventLoop, host: String?, port: UInt16, backlog: Int32,
        accept: @escaping (Stream) -> Void
    ) throws(UVError) {
        self.loop = loop
        self.accept = accept
        do throws(UVError) {
            (descriptor, address) = try Self.listen(
                loop: loop, host: host, port: port, backlog: backlog)
        } catch {
            poll.deallocate()
            throw error
        }
        reserve = Self.openReserve()
        retry = LoopTimer(loop: loop)
        let result = uv_poll_init(loop.uv, poll, descriptor)
        guard result == 0 else {
            Glibc.close(descriptor)
            Glibc.close(reserve)
            poll.deallocate()
            throw UVError(code: result)
        }
        poll.pointee.data = Unmanaged.passRetained(self).toOpaque()
        watch()
    }

    private static func openReserve() -> Int32 { open("/dev/null", O_RDONLY | O_CLOEXEC) }

    // MARK: Opening

    private static func listen(
        loop: EventLoop, host: String?, port: UInt16, backlog: Int32
    ) throws(UVError) -> (Int32, SocketAddress) {
        if let host { return try listen(loop: loop, on: host, port: port, backlog: backlog) }
        do throws(UVError) {
            return try listen(loop: loop, on: "::", port: port, backlog: backlog)
        } catch {
            // A machine without IPv6 fails in ways of its own; these two mean the port.
            if error.code == UV_EADDRINUSE.rawValue || error.code == UV_EACCES.rawValue {
                throw error
            }
            return try listen(loop: loop, on: "0.0.0.0", port: port, backlog: backlog)
        }
    }

    private static func listen(
        loop: EventLoop, on host: String, port: UInt16, backlog: Int32
    ) throws(UVError) -> (Int32, SocketAddress) {
        let found = try ResolvedAddresses.resolveNow(loop: loop, host: host, port: port)
        guard let first = found.first else { throw UVError(code: UV_EAI_NONAME.rawValue) }
        let family = Int32(first.pointee.ai_family)
        let kind =
            Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
            | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(family, kind, 0)
        guard descriptor >= 0 else { throw .fromErrno(errno) }
        let on: Int32 = 1
        let off: Int32 = 0
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, [on], 4)
        if family == AF_INET6 {
            setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, [off], 4)
        }
        guard bind(descriptor, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0,
            Glibc.listen(descriptor, backlog) == 0
        else {
            let error = UVError.fromErrno(errno)
            Glibc.close(descriptor)
            throw error
        }
        return (descriptor, localAddress(of: descriptor))
    }

    private static func localAddress(of descriptor: Int32) -> SocketAddress {
        addressFilled { address, length in
            _ = getsockname(descriptor, address, length)
        }
    }

    private static func addressFilled(
        _ fill: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Void
    ) -> SocketAddress {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                fill($0, &length)
                return SocketAddress($0) ?? .unknown
            }
        }
    }

    // MARK: Accepting

    private func watch() {
        guard !isClosing else { return }
        let readable = Int32(UV_READABLE.rawValue)
        _ = uv_poll_start(poll, readable) { handle, _, _ in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<Listener>.fromOpaque(data)._withUnsafeGuaranteedRef { $0.acceptAll() }
        }
    }

    private func acceptAll() {
        for _ in 0..<Self.acceptsPerTurnMax where !isClosing {
            var connection: Int32 = -1
            let peer = Self.addressFilled { address, length in
                connection = cuv_accept(descriptor, address, length)
            }
            if connection >= 0 {
                deliver(connection, peer: peer)
            } else if !goOn(after: errno) {
                return
            }
        }
    }

    private func deliver(_ connection: Int32, peer: SocketAddress) {
        let stream = Stream(loop: loop, peer: peer)
        do throws(UVError) {
            try stream.adopt(descriptor: connection)
            accept?(stream)
        } catch {
            onError?(error)
        }
    }

    /// Whether there may be more to accept in this turn.
    private func goOn(after error: Int32) -> Bool {
        switch error {
        case EAGAIN:
            return false
        case EINTR, ECONNABORTED:
            return true
        case EMFILE, ENFILE:
            onError?(.fromErrno(error))
            if refuseOne() { return true }
        default:
            onError?(.fromErrno(error))
        }
        // The socket stays readable: without a pause the loop would turn at full speed.
        uv_poll_stop(poll)
        retry.start(afterMilliseconds: Self.retryMilliseconds) { [unowned self] in watch() }
        return false
    }

    /// Accepts one connection with the reserved descriptor and closes it: a client that is told
    /// tries another server, one that waits in the backlog does not.
    private func refuseOne() -> Bool {
        guard reserve >= 0 else {
            reserve = Self.openReserve()
            return false
        }
        Glibc.close(reserve)
        let refused = Glibc.accept(descriptor, nil, nil)
        if refused >= 0 { Glibc.close(refused) }
        reserve = Self.openReserve()
        return refused >= 0 || errno == EAGAIN
    }

    // MARK: Closing

    /// Accepts no more; connections that were accepted live on.
    public func close() {
        guard !isClosing else { return }
        isClosing = true
        retry.close()
        accept = nil
        onError = nil
        uv_poll_stop(poll)
        Glibc.close(descriptor)
        Glibc.close(reserve)
        let handle = UnsafeMutableRawPointer(poll).assumingMemoryBound(to: uv_handle_t.self)
        uv_close(handle) { handle in
            guard let data = handle?.pointee.data else { return }
            let listener = Unmanaged<Listener>.fromOpaque(data).takeRetainedValue()
            listener.poll.deallocate()
        }
    }
}
