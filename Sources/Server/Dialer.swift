import EventLoop
import QuorumProtocol

/// Connects to a server at any of its addresses: all are tried at once, the first that answers wins.
///
/// Lives until it has called back. A name that cannot be resolved in time cannot be given up, so
/// its answer may come after the end; nobody waits for it.
final class Dialer {
    private let loop: EventLoop
    private let addresses: [ServerAddress]
    private let milliseconds: UInt64
    private var completion: ((Stream?) -> Void)?
    private var pending = 0
    private let timer: LoopTimer

    /// `completion`: gets the stream, which does not read yet, or nil; never called before `start`
    /// returns.
    init(
        loop: EventLoop, addresses: [ServerAddress], milliseconds: UInt64,
        completion: @escaping (Stream?) -> Void
    ) {
        self.loop = loop
        self.addresses = addresses
        self.milliseconds = milliseconds
        self.completion = completion
        timer = LoopTimer(loop: loop)
    }

    func start() {
        pending = addresses.count
        for address in addresses {
            loop.connect(host: address.host, port: address.port) { [self] result in
                pending -= 1
                switch result {
                case .success(let stream): finish(stream)
                case .failure: if pending == 0 { finish(nil) }
                }
            }
        }
        timer.start(afterMilliseconds: milliseconds) { [self] in finish(nil) }
    }

    private func finish(_ stream: Stream?) {
        guard let completion = completion.take() else {
            stream?.close()
            return
        }
        timer.close()
        completion(stream)
    }
}
