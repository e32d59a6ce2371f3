public import Jute
public import Vocabulary

/// The bytes of a txn log: a header, then records, then zeros or nothing.
///
/// Source: ZooKeeper, `FileTxnLog`, `Util.readTxnBytes`.
public enum LogFormat {
    /// "ZKLG"
    public static let magic: Int32 = 0x5a4b_4c47
    public static let version: Int32 = 2
    public static let headerBytes = 16
    /// The checksum and the length in front of a record's txn.
    public static let prefixBytes = 12
    /// What ends a record: `B`.
    public static let endOfRecord: UInt8 = 0x42
    /// A txn is at least its header: session, cxid, zxid, time, type.
    public static let txnBytesMin = 32
    /// Where the zxid stands in a txn.
    static let zxidOffset = 12

    /// `int` magic, `int` version, `long` dbid, which is always 0.
    public static func appendHeader(to buffer: inout ByteBuffer) {
        buffer.append(magic)
        buffer.append(version)
        buffer.append(Int64(0))
    }

    public static func checkHeader(_ bytes: Span<UInt8>) throws(LogDamage) {
        guard bytes.count >= headerBytes else { throw .shortHeader(bytes: bytes.count) }
        let magic = Int32(truncatingIfNeeded: bytes.bigEndian(at: 0, bytes: 4))
        guard magic == Self.magic else { throw .notALog(magic: magic) }
        let version = Int32(truncatingIfNeeded: bytes.bigEndian(at: 4, bytes: 4))
        guard version == Self.version else { throw .unknownVersion(version) }
    }

    /// The zxid in a txn's header; the txn has at least `txnBytesMin` bytes.
    public static func zxid(ofTxn txn: Span<UInt8>) -> Zxid {
        precondition(txn.count >= txnBytesMin, "the length was checked when the record was read")
        return Zxid(rawValue: Int64(bitPattern: txn.bigEndian(at: zxidOffset, bytes: 8)))
    }

    /// What stands at the start of `bytes`, which begin where a record may begin.
    ///
    /// The order of the checks decides what is an end and what is damage:
    /// 1. a negative or oversized length is damage;
    /// 2. a length of 0, a missing byte or a wrong end byte is the end of the file's records, as a
    ///    crash or the preallocation leaves it;
    /// 3. a whole record with a wrong checksum, or too short for a txn, is damage.
    ///
    /// - Parameters:
    ///   - bytes: the file from there on.
    ///   - isLast: nothing follows `bytes` in the file.
    ///   - limits: the longest txn.
    /// - Returns: the record, or that there is none.
    /// - Throws: the damage.
    public static func scan(
        _ bytes: Span<UInt8>, isLast: Bool, limits: JuteLimits
    ) throws(LogDamage) -> LogScan {
        guard bytes.count >= prefixBytes else {
            if !isLast { return .needMore(bytes: prefixBytes) }
            return .end(bytes.isAllZero ? .clean : .torn)
        }
        let checksum = Int64(bitPattern: bytes.bigEndian(at: 0, bytes: 8))
        let length = Int32(truncatingIfNeeded: bytes.bigEndian(at: 8, bytes: 4))
        guard length >= 0, Int(length) <= limits.fieldBytesMax else {
            throw .invalidLength(length, max: limits.fieldBytesMax)
        }
        if length == 0 { return .end(checksum == 0 ? .clean : .torn) }
        let end = prefixBytes + Int(length)
        guard bytes.count > end else {
            return isLast ? .end(.torn) : .needMore(bytes: end + 1)
        }
        guard bytes[end] == endOfRecord else { return .end(.torn) }
        let txn = bytes.extracting(prefixBytes..<end)
        let computed = Adler32.of(txn)
        guard computed == checksum else {
            throw .checksumMismatch(stored: checksum, computed: computed)
        }
        guard txn.count >= txnBytesMin else { throw .shortTxn(bytes: txn.count) }
        return .record(txn: prefixBytes..<end, bytes: end + 1)
    }
}

public enum LogScan: Equatable {
    /// A whole record of `bytes` bytes; the txn is at `txn`.
    case record(txn: Range<Int>, bytes: Int)
    /// The answer needs so many bytes from the start of the record.
    case needMore(bytes: Int)
    /// No record begins here: what follows in the file does not count.
    case end(LogEnd)
}

public enum LogEnd: Equatable, Sendable {
    /// The file ends, or its preallocated zeros begin.
    case clean
    /// A record begins and is not whole.
    case torn
}

/// What no crash leaves behind: such a log must not be read past.
public enum LogDamage: Error, Equatable, Sendable {
    case empty
    case shortHeader(bytes: Int)
    case notALog(magic: Int32)
    case unknownVersion(Int32)
    case invalidLength(Int32, max: Int)
    case checksumMismatch(stored: Int64, computed: Int64)
    case shortTxn(bytes: Int)
}

extension LogDamage: CustomStringConvertible {
    public var description: String {
        switch self {
        case .empty: "the file is empty"
        case .shortHeader(let bytes): "the header has \(bytes) of \(LogFormat.headerBytes) bytes"
        case .notALog(let magic):
            "not a txn log: it begins with 0x\(String(UInt32(bitPattern: magic), radix: 16))"
        case .unknownVersion(let version): "version \(version) of the format is unknown"
        case .invalidLength(let length, let max):
            "a record claims \(length) bytes; 1 to \(max) are possible"
        case .checksumMismatch(let stored, let computed):
            "a whole record has the checksum 0x\(String(stored, radix: 16)), its bytes give 0x\(String(computed, radix: 16))"
        case .shortTxn(let bytes): "a record of \(bytes) bytes is too short for a txn"
        }
    }
}

/// When and how far a log grows ahead of its records, so that a flush changes no file size.
///
/// Source: ZooKeeper, `FilePadding.calculateFileSizeWithPadding`.
public struct LogPreallocation: Equatable, Sendable {
    /// The step; 0 is no preallocation.
    public let bytes: Int
    /// A file grows when its end is so near.
    private static let nearBytes = 4096

    public init(bytes: Int) {
        precondition(bytes >= 0, "the configuration has no negative sizes")
        self.bytes = bytes
    }

    /// The size that a file of `size` bytes must have before a record is written at `position`.
    @inline(__always)
    public func size(forRecordAt position: Int, size: Int) -> Int {
        guard bytes > 0, position + Self.nearBytes >= size else { return size }
        if position > size { return (position + bytes) / bytes * bytes }
        return size + bytes
    }
}

extension Span where Element == UInt8 {
    fileprivate var isAllZero: Bool {
        for index in indices where self[index] != 0 { return false }
        return true
    }

    @inline(__always)
    fileprivate func bigEndian(at offset: Int, bytes: Int) -> UInt64 {
        var value: UInt64 = 0
        for index in offset..<offset + bytes { value = value << 8 | UInt64(self[index]) }
        return value
    }
}
