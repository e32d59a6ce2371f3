internal import CUV
internal import Glibc

/// What a name resolved to; frees the list at its end.
final class ResolvedAddresses {
    private let list: UnsafeMutablePointer<addrinfo>?

    init(_ list: UnsafeMutablePointer<addrinfo>?) { self.list = list }

    deinit { uv_freeaddrinfo(list) }

    var first: UnsafeMutablePointer<addrinfo>? { list }

    static var hints: addrinfo {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        return hints
    }

    /// Waits for the answer: for numbers, and at the start.
    static func resolveNow(
        loop: EventLoop, host: String, port: UInt16
    ) throws(UVError) -> ResolvedAddresses {
        var request = uv_getaddrinfo_t()
        var hints = hints
        // Without a callback the call is synchronous.
        try UVError.check(uv_getaddrinfo(loop.uv, &request, nil, host, String(port), &hints))
        return ResolvedAddresses(request.addrinfo)
    }
}

extension EventLoop {
    /// Connects to a name or a number, trying each of its addresses in turn.
    ///
    /// `completion` is called once, never before this returns.
    public func connect(
        host: String, port: UInt16, completion: @escaping (Result<Stream, UVError>) -> Void
    ) {
        Connector(loop: self, completion: completion).start(host: host, port: port)
    }
}

/// One attempt to connect; kept alive by what it waits for.
private final class Connector {
    private let loop: EventLoop
    private let completion: (Result<Stream, UVError>) -> Void
    private let request = UnsafeMutablePointer<uv_getaddrinfo_t>.allocate(capacity: 1)
    private var addresses = ResolvedAddresses(nil)
    private var next: UnsafeMutablePointer<addrinfo>?

    init(loop: EventLoop, completion: @escaping (Result<Stream, UVError>) -> Void) {
        self.loop = loop
        self.completion = completion
    }

    deinit { request.deallocate() }

    func start(host: String, port: UInt16) {
        var hints = ResolvedAddresses.hints
        let result = uv_getaddrinfo(
            loop.uv, request,
            { request, status, list in
                guard let data = request?.pointee.data else { return }
                let connector = Unmanaged<Connector>.fromOpaque(data).takeRetainedValue()
                connector.resolved(status: status, ResolvedAddresses(list))
            }, host, String(port), &hints)
        guard result == 0 else { return fail(UVError(code: result)) }
        request.pointee.data = Unmanaged.passRetained(self).toOpaque()
    }

    /// Fails from a callback of its own, so that the caller is never called back too early.
    private func fail(_ error: UVError) {
        let timer = LoopTimer(loop: loop)
        timer.start(afterMilliseconds: 0) {
            timer.close()
            self.completion(.failure(error))
        }
    }

    private func resolved(status: Int32, _ found: ResolvedAddresses) {
        guard status == 0 else { return completion(.failure(UVError(code: status))) }
        addresses = found
        next = found.first
        tryNext(after: UVError(code: UV_EAI_NONAME.rawValue))
    }

    private func tryNext(after error: UVError) {
        guard let candidate = next?.pointee else { return completion(.failure(error)) }
        next = candidate.ai_next
        guard let address = candidate.ai_addr, let peer = SocketAddress(address) else {
            return tryNext(after: error)
        }
        let stream = Stream(loop: loop, peer: peer)
        do throws(UVError) {
            try stream.connect(to: address) { [self] error in
                if let error {
                    stream.close()
                    tryNext(after: error)
                } else {
                    completion(.success(stream))
                }
            }
        } catch {
            tryNext(after: error)
        }
    }
}
