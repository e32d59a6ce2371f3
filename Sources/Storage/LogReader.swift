import Jute
import StorageFormat
import Vocabulary

/// Reads a log's records from the first on.
struct LogReader: ~Copyable {
    private let file: OpenFile
    private let limits: JuteLimits
    private var window = ByteBuffer(capacity: Self.readBytes + 4096)
    /// How much of `window` was read already.
    private var consumed = 0
    /// Where `window` begins in the file.
    private var windowStart = 0
    private var isAtEnd = false

    private static let readBytes = 1 << 20

    private init(_ file: consuming OpenFile, limits: JuteLimits) {
        self.file = file
        self.limits = limits
    }

    /// Opens the log and checks its header.
    static func open(_ log: LogFile, limits: JuteLimits) throws(StorageError) -> LogReader {
        var reader = LogReader(try OpenFile(log.path), limits: limits)
        try reader.readHeader()
        return reader
    }

    private mutating func readHeader() throws(StorageError) {
        try fill()
        guard !window.isEmpty else { throw StorageError(file: file.path, reason: .log(.empty)) }
        do throws(LogDamage) {
            try LogFormat.checkHeader(window.span)
        } catch {
            throw StorageError(file: file.path, offset: 0, reason: .log(error))
        }
        consumed = LogFormat.headerBytes
    }

    /// Where the next record begins in the file.
    var position: Int { windowStart + consumed }

    private mutating func fill() throws(StorageError) {
        window.removeFirst(consumed)
        windowStart += consumed
        consumed = 0
        let count = try file.read(Self.readBytes, at: windowStart + window.count, into: &window)
        isAtEnd = count < Self.readBytes
    }

    /// Hands the txn of every whole record to `body`, with the offset of its record, until `body`
    /// says false.
    ///
    /// - Returns: how the records end, at `position`; nil if `body` stopped, behind its last record.
    mutating func readTxns(
        while body: (_ offset: Int, _ txn: Span<UInt8>) throws(StorageError) -> Bool
    ) throws(StorageError) -> LogEnd? {
        while true {
            let scan: LogScan
            do throws(LogDamage) {
                let rest = window.span.extracting(droppingFirst: consumed)
                scan = try LogFormat.scan(rest, isLast: isAtEnd, limits: limits)
            } catch {
                throw StorageError(
                    file: file.path, offset: Int64(position), reason: .log(error))
            }
            switch scan {
            case .record(let txn, let bytes):
                let range = consumed + txn.lowerBound..<consumed + txn.upperBound
                let goesOn = try body(position, window.span.extracting(range))
                consumed += bytes
                if !goesOn { return nil }
            case .needMore:
                try fill()
            case .end(let end):
                return end
            }
        }
    }

    /// How many bytes from `position` on are not the zeros of a preallocation.
    mutating func bytesBehindRecords() throws(StorageError) -> Int {
        let start = position
        var end = start
        while true {
            let bytes = window.bytes
            if let last = bytes[consumed...].lastIndex(where: { $0 != 0 }) {
                end = windowStart + last + 1
            }
            if isAtEnd { return end - start }
            consumed = window.count
            try fill()
        }
    }
}

extension LogFile {
    /// Whether a whole record is in the file, or damage that may hide one; not of a missing file.
    func holdsTxns() throws(StorageError) -> Bool {
        guard Directory.exists(path) else { return false }
        var reader: LogReader
        do throws(StorageError) {
            reader = try LogReader.open(self, limits: .frame)
        } catch {
            switch error.reason {
            case .log(.empty), .log(.shortHeader): return false
            case .log: return true
            default: throw error
            }
        }
        do throws(StorageError) {
            return try reader.readTxns { (_, _) in false } == nil
        } catch {
            guard case .log = error.reason else { throw error }
            return true
        }
    }
}
