import Glibc
package import Jute
import StorageFormat
package import Vocabulary

/// Framed records on their way to the log: filled on the loop's thread, written and flushed on the
/// log thread, then handed back. Whoever holds it owns it.
package final class LogBatch: @unchecked Sendable {
    /// The records as they will stand in the file; the checksums are still 0 before the log thread
    /// has filled them in. Append only between `beginRecord` and `endRecord`.
    package var buffer: ByteBuffer
    /// `none` while there is no record.
    package private(set) var firstZxid = Zxid.none
    package private(set) var lastZxid = Zxid.none
    package private(set) var recordCount = 0
    /// Where the record begins that is being written.
    private var recordStart: Int?

    package init(capacity: Int = 0) { buffer = ByteBuffer(capacity: capacity) }

    package var isEmpty: Bool { recordCount == 0 }

    /// Whether a record was begun and not yet ended.
    var isInRecord: Bool { recordStart != nil }

    /// Starts a record: the txn's bytes go into `buffer`.
    @inline(__always)
    package func beginRecord() {
        precondition(!isInRecord, "a record ends before the next one begins")
        recordStart = buffer.count
        buffer.append(Int64(0))
        buffer.append(Int32(0))
    }

    /// Ends the record.
    ///
    /// - Parameter zxid: that of the txn.
    @inline(__always)
    package func endRecord(zxid: Zxid) {
        guard let start = recordStart else { preconditionFailure("no record was begun") }
        let length = buffer.count - start - LogFormat.prefixBytes
        precondition(length >= LogFormat.txnBytesMin, "a txn has a header")
        buffer.overwrite(Int32(length), at: start + 8)
        buffer.append(LogFormat.endOfRecord)
        if recordCount == 0 { firstZxid = zxid }
        lastZxid = zxid
        recordCount += 1
        recordStart = nil
    }

    /// Gives up the record that was begun.
    package func cancelRecord() {
        guard let start = recordStart else { preconditionFailure("no record was begun") }
        buffer.truncate(to: start)
        recordStart = nil
    }

    /// The batch empty, its memory kept for the next use unless it is more than `limit` bytes.
    package func removeAll(keepingAtMost limit: Int = 1 << 20) {
        precondition(!isInRecord, "a batch is emptied between records")
        buffer.removeAll(keepingAtMost: limit)
        firstZxid = .none
        lastZxid = .none
        recordCount = 0
    }

    package func forEachTxn(_ body: (Span<UInt8>) -> Void) {
        let bytes = buffer.bytes
        var start = 0
        while start < bytes.count {
            let txn = start + LogFormat.prefixBytes
            let end = txn + Int(buffer.load(Int32.self, at: start + 8))
            body(Span(_unsafeBytes: UnsafeRawBufferPointer(rebasing: bytes[txn..<end])))
            start = end + 1
        }
    }

    /// Fills in the checksums.
    ///
    /// - Parameter body: gets the size of each record in turn.
    func seal(_ body: (Int) -> Void) {
        var start = 0
        while start < buffer.count {
            let txn = start + LogFormat.prefixBytes
            let end = txn + Int(buffer.load(Int32.self, at: start + 8))
            let sum = Adler32.of(UnsafeRawBufferPointer(rebasing: buffer.bytes[txn..<end]))
            buffer.overwrite(sum, at: start)
            body(end + 1 - start)
            start = end + 1
        }
    }
}
