import Ensemble
import EventLoop
import Jute
import Storage
import StorageFormat
import Vocabulary
import Zab
import Znodes

/// A history or a snapshot on its way from another thread to a learner, as fast as the learner
/// reads.
final class LinkTransfer {
    let link: QuorumLink
    private let thread: SyncTransfer
    private unowned let network: QuorumNetwork
    private unowned let peer: QuorumPeer
    private let isSnapshot: Bool
    private var isCancelled = false
    /// Called once, when the thread is done: with the frozen view, if it had one.
    private let ended: (LinkTransfer, FrozenDatabase?) -> Void
    private var isWaiting = false

    /// So much may wait for the learner before the thread is asked for more.
    private static let unsentBytesMax = 256 << 10

    init(
        link: QuorumLink, thread: SyncTransfer, isSnapshot: Bool, network: QuorumNetwork,
        peer: QuorumPeer, ended: @escaping (LinkTransfer, FrozenDatabase?) -> Void
    ) {
        self.link = link
        self.thread = thread
        self.isSnapshot = isSnapshot
        self.network = network
        self.peer = peer
        self.ended = ended
    }

    /// The thread may stop soon; what it holds comes back all the same.
    func cancel() {
        guard !isCancelled else { return }
        isCancelled = true
        thread.cancel()
    }

    /// Hands on what the thread has read, as far as the learner keeps up.
    func pump() {
        if link.isClosed { cancel() }
        while isCancelled || hasRoom, let event = thread.take() {
            switch event {
            case .usable: deliver(.usable)
            case .unusable:
                ended(self, nil)
                return deliver(.unusable)
            case .piece(let piece): deliver(.piece(piece.buffer.bytes))
            case .finished(let source):
                deliver(.finished(isSnapshot: isSnapshot))
                return ended(self, source as? FrozenDatabase)
            case .failed(_, let source):
                deliver(.failed)
                return ended(self, source as? FrozenDatabase)
            }
        }
    }

    private func deliver(_ transfer: Transfer) {
        if !isCancelled { peer.transferred(transfer, to: link) }
    }

    private var hasRoom: Bool {
        if network.unsentBytes(link) < Self.unsentBytesMax { return true }
        if !isWaiting {
            isWaiting = true
            network.whenDrained(link) { [weak self] in
                guard let self else { return }
                isWaiting = false
                pump()
            }
        }
        return false
    }
}
