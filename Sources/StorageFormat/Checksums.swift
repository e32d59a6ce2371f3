import CZlib

/// The running checksum of txn records and snapshots.
///
/// Source: ZooKeeper, `FileTxnLog`, `SnapStream`: `java.util.zip.Adler32`, zero-extended to a long.
public struct Adler32: Sendable {
    private var state: uLong = 1

    public init() {}

    /// The sum so far as the `long` that stands in files.
    public var value: Int64 { Int64(UInt32(truncatingIfNeeded: state)) }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress else { return }
        state = adler32_z(state, start.assumingMemoryBound(to: UInt8.self), bytes.count)
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

/// The running checksum of node digests: zlib's CRC-32.
///
/// Source: ZooKeeper, `DigestCalculator`.
public struct CRC32: Sendable {
    private var state: uLong = 0

    public init() {}

    public var value: UInt32 { UInt32(truncatingIfNeeded: state) }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress else { return }
        state = crc32_z(state, start.assumingMemoryBound(to: UInt8.self), bytes.count)
    }

    public mutating func update(_ bytes: Span<UInt8>) {
        bytes.withUnsafeBytes { update($0) }
    }
}
