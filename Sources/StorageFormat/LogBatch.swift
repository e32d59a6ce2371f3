public import Jute
public import Vocabulary

/// Framed records on their way to the log: filled on the loop's thread, sealed, written and flushed
/// on the log thread, then handed back.
///
/// Whoever fills it is alone with it. From when it is given to the log until it comes back nothing
/// is appended, and the loop's thread may read its transactions while the log thread seals and
/// writes it: the checksums are the only bytes that sealing writes, and nobody else reads those.
public final class LogBatch: @unchecked Sendable {
    /// The records as they will stand in the file; the checksums are still 0 before the log thread
    /// has filled them in. Append only between `beginRecord` and `endRecord`.
    public var buffer: ByteBuffer
    /// `none` while there is no record.
    public private(set) var firstZxid = Zxid.none
    public private(set) var lastZxid = Zxid.none
    public private(set) var recordCount = 0
    /// Where the record begins that is being written.
    private var recordStart: Int?

    public init(capacity: Int = 0) { buffer = ByteBuffer(capacity: capacity) }

    public var isEmpty: Bool { recordCount == 0 }

    /// Whether a record was begun and not yet ended.
    public var isInRecord: Bool { recordStart != nil }

    // MARK: Filling

    /// Starts a record: the txn's bytes go into `buffer`.
    @inline(__always)
    public func beginRecord() {
        precondition(!isInRecord, "a record ends before the next one begins")
        recordStart = buffer.count
        buffer.append(Int64(0))
        buffer.append(Int32(0))
    }

    /// Ends the record.
    ///
    /// - Parameter zxid: that of the txn.
    @inline(__always)
    public func endRecord(zxid: Zxid) {
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
    public func cancelRecord() {
        guard let start = recordStart else { preconditionFailure("no record was begun") }
        buffer.truncate(to: start)
        recordStart = nil
    }

    /// Adds a record of a txn that came whole: from a leader, or from a log.
    public func appendTxn(_ txn: Span<UInt8>, zxid: Zxid) {
        beginRecord()
        buffer.append(txn)
        endRecord(zxid: zxid)
    }

    /// The batch empty, its memory kept for the next use unless it is more than `limit` bytes.
    public func removeAll(keepingAtMost limit: Int = 1 << 20) {
        precondition(!isInRecord, "a batch is emptied between records")
        buffer.removeAll(keepingAtMost: limit)
        firstZxid = .none
        lastZxid = .none
        recordCount = 0
    }

    // MARK: Reading

    // A record is named by the offset in `buffer` where it begins: the first one's is 0, and
    // `buffer.count` is behind the last one.

    /// Hands the txn of the record at `start` to `body`.
    ///
    /// Returns where the next record begins.
    @inline(__always)
    public func txn(at start: Int, _ body: (Span<UInt8>) -> Void) -> Int {
        let next = nextRecord(after: start)
        let txn = buffer.bytes[start + LogFormat.prefixBytes..<next - 1]
        body(Span(_unsafeBytes: UnsafeRawBufferPointer(rebasing: txn)))
        return next
    }

    /// The zxid of the record at `start`.
    public func zxid(at start: Int) -> Zxid {
        let offset = start + LogFormat.prefixBytes + LogFormat.zxidOffset
        return Zxid(rawValue: buffer.load(Int64.self, at: offset))
    }

    /// Where the record behind the one at `start` begins.
    @inline(__always)
    public func nextRecord(after start: Int) -> Int {
        // The byte is the end of the record.
        start + LogFormat.prefixBytes + Int(buffer.load(Int32.self, at: start + 8)) + 1
    }

    public func forEachTxn(_ body: (Span<UInt8>) -> Void) {
        var start = 0
        while start < buffer.count { start = txn(at: start, body) }
    }

    // MARK: Sealing

    /// Fills in the checksums.
    ///
    /// Another thread may read the transactions meanwhile, so `buffer` itself is only read: writing
    /// goes past it to the memory.
    ///
    /// - Parameter body: gets the size of each record in turn.
    public func seal(_ body: (Int) -> Void) {
        let bytes = buffer.bytes
        guard let memory = UnsafeMutableRawPointer(mutating: bytes.baseAddress) else { return }
        var start = 0
        while start < bytes.count {
            let next = nextRecord(after: start)
            let txn = bytes[start + LogFormat.prefixBytes..<next - 1]
            let sum = Adler32.of(UnsafeRawBufferPointer(rebasing: txn))
            memory.storeBytes(of: sum.bigEndian, toByteOffset: start, as: Int64.self)
            body(next - start)
            start = next
        }
    }
}
