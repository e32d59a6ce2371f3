internal import DequeModule
import Jute
import StorageFormat
import Vocabulary

/// The transactions that a server keeps at hand, in the order of their zxids: the last ones that
/// were applied, those proposed behind them, and those of the turn that goes on.
///
///     | applied ... | proposed, not applied ... | open batch |
///     ^ oldest      ^ nextToApply               ^ of this turn, not yet on its way to the log
///
/// Learners are sent what they miss from here. Batches go to the log as they are and stay here: the
/// log thread changes nothing but their checksums.
struct TxnWindow {
    private var batches: Deque<LogBatch> = []
    /// Recycled, so that a turn costs no allocation.
    private var spares: [LogBatch] = []
    private var open: LogBatch?
    /// How many of `batches` are applied as a whole.
    private var appliedBatches = 0
    /// Where the next record to apply begins in the batch behind those.
    private var offset = 0
    private var appliedCount = 0
    private var appliedBytes = 0
    /// `commitLogCount`: so many applied transactions are kept, and at most some more.
    private let keptCount: Int
    /// The log thread is done with everything up to here.
    var flushed = Zxid.none

    private static let keptBytesMax = 64 << 20
    private static let sparesMax = 4
    /// A batch that once was large gives its memory back: hundreds of them are kept.
    private static let spareBytesMax = 64 << 10

    init(keptCount: Int) { self.keptCount = keptCount }

    // MARK: Filling

    /// The batch of this turn.
    var current: LogBatch {
        mutating get {
            if let open { return open }
            let batch = spares.popLast() ?? LogBatch(capacity: 1024)
            open = batch
            batches.append(batch)
            return batch
        }
    }

    /// Ends the turn's batch and hands it out for the log; nil if the turn has brought nothing.
    mutating func seal() -> LogBatch? {
        guard let batch = open, !batch.isEmpty else { return nil }
        open = nil
        passApplied()
        return batch
    }

    /// Takes over what the logs held at the start: applied, and at hand for learners.
    mutating func adopt(_ recent: [LogBatch]) {
        precondition(batches.isEmpty, "what was replayed comes first")
        for batch in recent where !batch.isEmpty {
            batches.append(batch)
            appliedBatches += 1
            appliedCount += batch.recordCount
            appliedBytes += batch.buffer.count
        }
        evict()
    }

    mutating func removeAll() { self = TxnWindow(keptCount: keptCount) }

    // MARK: Applying

    /// Where the oldest transaction that is not applied stands: its batch, and its offset there.
    struct Position {
        let batch: LogBatch
        let offset: Int
        var zxid: Zxid { batch.zxid(at: offset) }
    }

    /// Nil if everything is applied.
    var nextToApply: Position? {
        guard appliedBatches < batches.count, offset < batches[appliedBatches].buffer.count else {
            return nil
        }
        return Position(batch: batches[appliedBatches], offset: offset)
    }

    /// Counts the transaction at `nextToApply` as applied.
    mutating func advance() {
        offset = batches[appliedBatches].nextRecord(after: offset)
        appliedCount += 1
        passApplied()
    }

    /// Moves on behind a batch of which everything is applied, unless the turn still fills it.
    private mutating func passApplied() {
        guard appliedBatches < batches.count else { return }
        let batch = batches[appliedBatches]
        guard batch !== open, offset >= batch.buffer.count else { return }
        appliedBytes += batch.buffer.count
        appliedBatches += 1
        offset = 0
        evict()
    }

    private mutating func evict() {
        while appliedBatches > 0,
            appliedCount - batches[0].recordCount >= keptCount || appliedBytes > Self.keptBytesMax
        {
            let batch = batches.removeFirst()
            appliedBatches -= 1
            appliedCount -= batch.recordCount
            appliedBytes -= batch.buffer.count
            recycle(batch)
        }
    }

    private mutating func recycle(_ batch: LogBatch) {
        // A quorum of others may be so far ahead of our disk that the log thread still has it.
        guard spares.count < Self.sparesMax, batch.lastZxid <= flushed else { return }
        batch.removeAll(keepingAtMost: Self.spareBytesMax)
        spares.append(batch)
    }

    // MARK: Reading

    /// The zxids of the applied transactions.
    var appliedZxids: [Zxid] {
        var zxids: [Zxid] = []
        zxids.reserveCapacity(appliedCount)
        forEach(applied: true) { zxid, _ in zxids.append(zxid) }
        return zxids
    }

    /// Hands out the applied transactions behind `zxid`.
    func forEachApplied(after zxid: Zxid, _ body: (Zxid, Span<UInt8>) -> Void) {
        forEach(applied: true) { if $0 > zxid { body($0, $1) } }
    }

    /// Hands out those that are proposed and not applied; `sealedOnly`: not those of this turn.
    func forEachOutstanding(
        upTo last: Zxid = Zxid(rawValue: .max), sealedOnly: Bool = false,
        _ body: (Zxid, Span<UInt8>) -> Void
    ) {
        forEach(applied: false, upTo: last, sealedOnly: sealedOnly, body)
    }

    private func forEach(
        applied: Bool, upTo last: Zxid = Zxid(rawValue: .max), sealedOnly: Bool = false,
        _ body: (Zxid, Span<UInt8>) -> Void
    ) {
        let range =
            applied ? 0..<min(appliedBatches + 1, batches.count) : appliedBatches..<batches.count
        for index in range {
            let batch = batches[index]
            if sealedOnly, batch === open { return }
            let isPartly = index == appliedBatches
            var start = applied || !isPartly ? 0 : offset
            let end = applied && isPartly ? offset : batch.buffer.count
            while start < end {
                let zxid = batch.zxid(at: start)
                if zxid > last { return }
                start = batch.txn(at: start) { body(zxid, $0) }
            }
        }
    }
}
