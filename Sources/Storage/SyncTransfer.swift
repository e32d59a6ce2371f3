package import Jute
package import StorageFormat
import Synchronization
package import Vocabulary

/// Brings what one learner lacks from the disk or from a frozen view of the tree, piece by piece, on
/// a thread of its own: the loop neither waits for the disk nor walks a whole tree.
///
/// One job at a time: until its last event was taken there must be no other. Called from the loop's
/// thread only.
package final class SyncTransfer {
    package enum Event {
        /// The logs lead from the learner's last txn to ours: DIFF. Pieces follow, then `finished`.
        case usable
        /// They do not, or cannot be read: SNAP. The last event.
        case unusable(StorageError)
        case piece(Piece)
        /// Everything was handed over, or the transfer was cancelled. The source comes back so that
        /// its memory is released where it was made. The last event.
        case finished(source: (any SnapshotSource)?)
        /// What was handed over is not all. The last event.
        case failed(StorageError, source: (any SnapshotSource)?)

        fileprivate var isLast: Bool {
            switch self {
            case .usable, .piece: false
            case .unusable, .finished, .failed: true
            }
        }
    }

    /// A part of what goes to the learner, behind the parts before it. Who has it owns it.
    package final class Piece: @unchecked Sendable {
        package var buffer: ByteBuffer

        fileprivate init(_ buffer: consuming ByteBuffer) { self.buffer = buffer }
    }

    /// A piece is about so large: more by what does not go on in the next one, a txn or a znode.
    /// Small, because the loop's clients wait while it sends one.
    package static let pieceBytes = 64 << 10
    /// So many events wait; then the thread does.
    package static let waitingMax = 4

    private let wake: @Sendable () -> Void
    private var outbox: Outbox?
    private var thread: Thread?

    /// - Parameter wake: called on the transfer's thread when there is an event and was none before.
    package init(wake: @escaping @Sendable () -> Void) { self.wake = wake }

    /// Cancels and waits for the thread. Who has to release a source takes the last event before.
    deinit {
        cancel()
        thread.take()?.join()
    }

    /// Sends the txns behind the learner's last one from the logs, if nothing is missing in them.
    ///
    /// - Parameters:
    ///   - directories: hold the logs.
    ///   - peer: the learner's last zxid.
    ///   - last: the last txn to send, behind `peer`; committed.
    ///   - sizeLimitFactor: `snapshotSizeFactor`: how much larger than the newest snapshot the logs
    ///     may be; 0 is no limit.
    ///   - limits: the longest txn.
    ///   - encode: appends what the learner gets of a txn; called on the transfer's thread.
    package func sendHistory(
        _ directories: DataDirectories, after peer: Zxid, upTo last: Zxid, sizeLimitFactor: Double,
        limits: JuteLimits,
        encode: @escaping @Sendable (_ txn: Span<UInt8>, _ buffer: inout ByteBuffer) -> Void
    ) {
        let history = HistoryReader(
            directories: directories, peer: peer, last: last, limits: limits)
        start { outbox in
            do throws(StorageError) {
                try history.checkSize(sizeLimitFactor: sizeLimitFactor)
                // All of it once without sending: DIFF cannot be taken back.
                try history.forEachTxn { _ in !outbox.isCancelled }
            } catch {
                return .unusable(error)
            }
            _ = outbox.put(.usable)
            do throws(StorageError) {
                try history.send(to: outbox, encode)
                return .finished(source: nil)
            } catch {
                return .failed(error, source: nil)
            }
        }
    }

    /// Sends the state of a frozen view as the stream behind SNAP, without the signature at its end.
    package func sendSnapshot(_ source: any SnapshotSource) {
        start { outbox in
            do throws(Cancelled) {
                try source.encodeState(pieceBytes: Self.pieceBytes) { (bytes) throws(Cancelled) in
                    var piece = ByteBuffer(capacity: bytes.count)
                    piece.append(bytes)
                    guard outbox.put(.piece(Piece(piece))) else { throw Cancelled() }
                }
            } catch {
                // Nobody wants the rest; the source goes back all the same.
            }
            return .finished(source: source)
        }
    }

    private struct Cancelled: Error {}

    private func start(_ job: @escaping @Sendable (Outbox) -> Event) {
        precondition(thread == nil, "one job at a time: take its last event")
        let outbox = Outbox(wake: wake)
        self.outbox = outbox
        thread = Thread(name: "zk-sync") {
            // Not with the least priority: on a busy machine no learner would ever catch up.
            outbox.putLast(job(outbox))
        }
    }

    /// The next event, which makes room for another; nil if there is none now.
    package func take() -> Event? {
        guard let event = outbox?.take() else { return nil }
        if event.isLast {
            outbox = nil
            thread.take()?.join()
        }
        return event
    }

    /// Lets the thread stop soon, and forgets what it has put; the last event still comes.
    package func cancel() { outbox?.cancel() }
}

extension HistoryReader {
    fileprivate func send(
        to outbox: Outbox, _ encode: (Span<UInt8>, inout ByteBuffer) -> Void
    ) throws(StorageError) {
        var buffer = ByteBuffer()
        try forEachTxn { txn in
            encode(txn, &buffer)
            guard buffer.count >= SyncTransfer.pieceBytes else { return !outbox.isCancelled }
            return outbox.put(.piece(SyncTransfer.Piece(buffer.take())))
        }
        if !buffer.isEmpty { _ = outbox.put(.piece(SyncTransfer.Piece(buffer.take()))) }
    }
}

/// Events on their way from the transfer's thread to the loop's.
private final class Outbox: @unchecked Sendable {
    private let wake: @Sendable () -> Void
    private let monitor = Monitor()
    // Under the monitor; only `hasCancelled` is read without it.
    private var events: [SyncTransfer.Event] = []
    private let hasCancelled = Atomic(false)

    init(wake: @escaping @Sendable () -> Void) { self.wake = wake }

    var isCancelled: Bool { hasCancelled.load(ordering: .relaxed) }

    /// Waits for room.
    ///
    /// - Returns: false if the transfer is cancelled: then the event is dropped.
    func put(_ event: SyncTransfer.Event) -> Bool {
        let (isTaken, mustWake) = monitor.locked {
            while events.count >= SyncTransfer.waitingMax && !isCancelled { monitor.wait() }
            guard !isCancelled else { return (false, false) }
            events.append(event)
            return (true, events.count == 1)
        }
        if mustWake { wake() }
        return isTaken
    }

    /// Needs no room, and comes whatever was cancelled.
    func putLast(_ event: SyncTransfer.Event) {
        let mustWake = monitor.locked {
            events.append(event)
            return events.count == 1
        }
        if mustWake { wake() }
    }

    func take() -> SyncTransfer.Event? {
        monitor.locked {
            guard !events.isEmpty else { return nil }
            monitor.signal()
            return events.removeFirst()
        }
    }

    func cancel() {
        monitor.locked {
            hasCancelled.store(true, ordering: .relaxed)
            events.removeAll { !$0.isLast }
            monitor.signal()
        }
    }
}
