import Ensemble
import EventLoop
import Jute
import Logging
import QuorumProtocol
import Vocabulary

/// The quorum port: learners that come while this server leads, and the leader that it dials.
final class QuorumNetwork {
    private let loop: EventLoop
    private let logger: Logger
    unowned let peer: QuorumPeer
    private var listeners: [Listener] = []
    private var linkCount = 0
    fileprivate var streams: [LinkID: LinkStream] = [:]
    private var dirty: [QuorumLink] = []
    /// Counts roles: what was dialed for an earlier one is not for this one.
    private var role = 0

    init(loop: EventLoop, peer: QuorumPeer, logger: Logger) {
        self.loop = loop
        self.peer = peer
        self.logger = logger
    }

    // MARK: Listening and dialing

    func listen(on own: [ServerAddress], onAllAddresses: Bool) {
        var ports: Set<UInt16> = []
        for address in own {
            if onAllAddresses, !ports.insert(address.port).inserted { continue }
            do throws(UVError) {
                let listener = try Listener(
                    loop: loop, host: onAllAddresses ? nil : address.host, port: address.port,
                    backlog: 128
                ) { [unowned self] in accept($0) }
                listener.onError = { [unowned self] in
                    logger.warning("accepting failed", metadata: ["reason": "\($0)"])
                }
                listeners.append(listener)
            } catch {
                // Without learners the role ends by itself, and the next one tries again.
                logger.error(
                    "cannot listen for learners",
                    metadata: ["address": "\(address)", "reason": "\(error)"])
            }
        }
    }

    private func newLink(_ stream: Stream) -> QuorumLink {
        linkCount += 1
        let link = QuorumLink(id: LinkID(rawValue: linkCount))
        let linkStream = LinkStream(network: self, link: link, stream: stream)
        streams[link.id] = linkStream
        stream.delegate = linkStream
        return link
    }

    private func accept(_ stream: Stream) {
        let link = newLink(stream)
        peer.accepted(link)
        stream.startReading()
    }

    func dial(_ addresses: [ServerAddress], milliseconds: UInt64) {
        let role = role
        guard !addresses.isEmpty else { return peer.dialFailed() }
        Dialer(loop: loop, addresses: addresses, milliseconds: milliseconds) {
            [unowned self] stream in
            guard role == self.role else {
                stream?.close()
                return
            }
            guard let stream else { return peer.dialFailed() }
            peer.connected(newLink(stream))
            stream.startReading()
        }.start()
    }

    /// No learner comes any more; the links are closed one by one.
    func endRole() {
        role += 1
        for listener in listeners { listener.close() }
        listeners = []
    }

    // MARK: Links

    func peerName(_ link: QuorumLink) -> String {
        streams[link.id].map { "\($0.stream.peer)" } ?? "?"
    }

    func markDirty(_ link: QuorumLink) { dirty.append(link) }

    /// Moves what the links gathered in this turn to their streams.
    func flush() {
        for link in dirty {
            guard !link.output.isEmpty, let stream = streams[link.id]?.stream else { continue }
            if stream.output.isEmpty {
                swap(&stream.output, &link.output)
            } else {
                stream.output.append(link.output.bytes)
                link.output.removeAll()
            }
            stream.markDirty()
        }
        dirty.removeAll(keepingCapacity: true)
    }

    func close(_ link: QuorumLink) {
        guard let stream = streams[link.id]?.stream else { return }
        if !link.output.isEmpty {
            stream.output.append(link.output.bytes)
            link.output.removeAll()
        }
        stream.closeAfterFlush()
    }

    /// Bytes of the link that the peer has not taken yet.
    func unsentBytes(_ link: QuorumLink) -> Int {
        link.output.count + (streams[link.id]?.stream.unsentBytes ?? 0)
    }

    /// Calls once when everything the link has to send is with the kernel.
    func whenDrained(_ link: QuorumLink, _ body: @escaping () -> Void) {
        guard let stream = streams[link.id] else { return }
        stream.drained = body
        stream.stream.notifyWhenDrained()
    }
}

private final class LinkStream: StreamDelegate {
    unowned let network: QuorumNetwork
    let link: QuorumLink
    let stream: Stream
    var drained: (() -> Void)?

    init(network: QuorumNetwork, link: QuorumLink, stream: Stream) {
        self.network = network
        self.link = link
        self.stream = stream
    }

    func stream(_ stream: Stream, received bytes: Span<UInt8>) {
        guard !link.isClosed else { return }
        network.peer.received(bytes, on: link)
    }

    func streamDrained(_ stream: Stream) { drained.take()?() }

    func streamEnded(_ stream: Stream, error: UVError?) {
        network.peer.closed(link)
        stream.close()
    }

    func streamClosed(_ stream: Stream) {
        network.peer.closed(link)
        drained = nil
        network.streams[link.id] = nil
    }
}
