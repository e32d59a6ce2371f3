public import Vocabulary

/// The constants of a snapshot's uncompressed stream.
///
///     header | sessions | ACL map | znodes, "/" | seal | [digest, seal] | [lastProcessedZxid, seal]
///
/// Source: ZooKeeper, `FileSnap`, `DataTree.serialize`, `SnapStream.sealStream`.
public enum SnapshotFormat {
    /// "ZKSN"
    public static let magic: Int32 = 0x5a4b_534e
    public static let version: Int32 = 2
    public static let dbid: Int64 = -1
    public static let digestVersion: Int32 = 2
    /// The path that ends the znodes, and every seal: the root itself is the empty path.
    public static let terminator = UInt8(ascii: "/")

    /// `long` Adler-32 of everything before it, `ustring` `/`.
    public static let sealBytes = 13
    /// `long` zxid, `int` version, `long` digest, seal.
    public static let digestSectionBytes = 20 + sealBytes
    /// `long` zxid, seal.
    public static let zxidSectionBytes = 8 + sealBytes

    /// How every uncompressed snapshot ends: the path of a seal.
    public static let lastBytes: [UInt8] = [0, 0, 0, 1, terminator]
    /// A shorter uncompressed file is no snapshot.
    public static let bytesMin = 10
    public static let gzipMagic: [UInt8] = [0x1f, 0x8b]
    /// `\x82SNAPPY\0`
    public static let snappyMagic: [UInt8] = [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]
    /// The magic, `int` version, `int` compatible version.
    public static let snappyHeaderBytes = 16

    /// What must be at the two ends of a file that may be read; cheaper than reading it.
    ///
    /// Source: ZooKeeper, `SnapStream.isValidSnapshot`.
    public static func isPlausible(
        _ compression: SnapshotCompression, bytes: Int, first: [UInt8], last: [UInt8]
    ) -> Bool {
        switch compression {
        case .none: bytes >= bytesMin && last.suffix(lastBytes.count).elementsEqual(lastBytes)
        case .gzip: first.starts(with: gzipMagic)
        case .snappy: first.starts(with: snappyMagic)
        }
    }
}

/// The sections that may follow the znodes. ZooKeeper 3.9 with its default settings demands both.
public struct SnapshotSections: Equatable, Sendable {
    public struct Digest: Equatable, Sendable {
        public var zxid: Zxid
        public var value: UInt64

        public init(zxid: Zxid, value: UInt64) {
            self.zxid = zxid
            self.value = value
        }
    }

    /// The tree's digest (version 2).
    public var digest: Digest?
    public var lastProcessedZxid: Zxid?

    public init(digest: Digest? = nil, lastProcessedZxid: Zxid? = nil) {
        self.digest = digest
        self.lastProcessedZxid = lastProcessedZxid
    }

    /// The most that sections take, with the end of the seal in front of them.
    public static let tailBytesMax =
        SnapshotFormat.digestSectionBytes + SnapshotFormat.zxidSectionBytes
        + SnapshotFormat.lastBytes.count

    /// Reads the sections from the end of an uncompressed snapshot alone, without their checksums:
    /// where seals end tells which there are.
    ///
    /// - Parameter tail: the last `tailBytesMax` bytes, or all of a shorter file.
    public init(tail: [UInt8]) {
        var end = tail.count
        func seal(endsAt end: Int) -> Bool {
            end >= 0
                && tail[..<end].suffix(SnapshotFormat.lastBytes.count)
                    .elementsEqual(SnapshotFormat.lastBytes)
        }
        func bigEndian(_ range: Range<Int>) -> UInt64 {
            tail[range].reduce(0) { $0 << 8 | UInt64($1) }
        }
        var zxid: Zxid?
        if seal(endsAt: end - SnapshotFormat.zxidSectionBytes) {
            end -= SnapshotFormat.zxidSectionBytes
            zxid = Zxid(rawValue: Int64(bitPattern: bigEndian(end..<end + 8)))
        }
        var digest: Digest?
        if seal(endsAt: end - SnapshotFormat.digestSectionBytes) {
            end -= SnapshotFormat.digestSectionBytes
            if bigEndian(end + 8..<end + 12) == UInt64(SnapshotFormat.digestVersion) {
                digest = Digest(
                    zxid: Zxid(rawValue: Int64(bitPattern: bigEndian(end..<end + 8))),
                    value: bigEndian(end + 12..<end + 20))
            }
        }
        self.init(digest: digest, lastProcessedZxid: zxid)
    }
}
