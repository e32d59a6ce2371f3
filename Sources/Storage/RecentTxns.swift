import StorageFormat
import Vocabulary

/// The last txns of a history, without gaps: what comes behind a gap starts anew.
struct RecentTxns {
    /// Oldest first; none is empty.
    private(set) var batches: [LogBatch] = []
    private let countMax: Int
    private var count = 0

    /// How many txns go into a batch.
    private static let batchTxnsMax = 50

    /// - Parameter count: so many are kept, and up to a batch more; 0 is none.
    init(count: Int) { countMax = count }

    /// Adds a txn whose zxid is not below that of the last one.
    ///
    /// - Parameters:
    ///   - txn: its bytes.
    ///   - zxid: its zxid.
    ///   - isNext: no txn is missing in front of it.
    mutating func append(_ txn: Span<UInt8>, zxid: Zxid, isNext: Bool) {
        guard countMax > 0 else { return }
        if !isNext, zxid != batches.last?.lastZxid {
            batches.removeAll()
            count = 0
        }
        if batches.last.map({ $0.recordCount >= Self.batchTxnsMax }) ?? true {
            batches.append(emptyBatch())
        }
        batches[batches.count - 1].appendTxn(txn, zxid: zxid)
        count += 1
    }

    /// The oldest batch, if the others are enough without it, or a new one.
    private mutating func emptyBatch() -> LogBatch {
        guard let oldest = batches.first, count - oldest.recordCount >= countMax else {
            return LogBatch()
        }
        count -= oldest.recordCount
        batches.removeFirst()
        oldest.removeAll()
        return oldest
    }
}

extension Zxid {
    /// Whether nothing can have been between: the next one of its epoch, or the first one of a
    /// later epoch.
    func isNext(after previous: Zxid) -> Bool {
        self == previous.next || (epoch > previous.epoch && counter == 1)
    }
}
