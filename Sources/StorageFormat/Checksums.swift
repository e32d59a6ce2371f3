import CDeflate

// Both checksums are zlib's, computed by libdeflate: with the processor's vector instructions they
// cost a tenth, and every write takes several of them.

/// The running checksum of txn records and snapshots.
///
/// Source: ZooKeeper, `FileTxnLog`, `SnapStream`: `java.util.zip.Adler32`, zero-extended to a long.
public struct Adler32: Sendable {
    private var state: UInt32 = 1

    public init() {}

    /// The sum so far as the `long` that stands in files.
    public var value: Int64 { Int64(state) }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress else { return }
        state = libdeflate_adler32(state, start, bytes.count)
    }

    public mutating func update(_ bytes: Span<UInt8>) {
        bytes.withUnsafeBytes { update($0) }
    }

    public static func of(_ bytes: UnsafeRawBufferPointer) -> Int64 {
        var sum = Adler32()
        sum.update(bytes)
        return sum.value
    }

    public static func of(_ bytes: Span<UInt8>) -> Int64 {
        bytes.withUnsafeBytes { of($0) }
    }
}

/// The running checksum of node digests: CRC-32 with zlib's polynomial.
///
/// Source: ZooKeeper, `DigestCalculator`.
public struct CRC32: Sendable {
    public private(set) var value: UInt32

    /// Goes on where another one stopped; 0 is the beginning.
    public init(continuing value: UInt32 = 0) { self.value = value }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress else { return }
        value = libdeflate_crc32(value, start, bytes.count)
    }

    public mutating func update(_ bytes: Span<UInt8>) {
        bytes.withUnsafeBytes { update($0) }
    }
}
