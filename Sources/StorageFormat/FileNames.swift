public import Vocabulary

/// How the stream inside a snapshot file is compressed.
public enum SnapshotCompression: Sendable {
    case none
    case gzip
    case snappy

    /// What the method adds to the name of the file.
    public var suffix: String {
        switch self {
        case .none: ""
        case .gzip: ".gz"
        case .snappy: ".snappy"
        }
    }
}

/// `log.<zxid>`: the zxid is that of the first record.
///
/// Source: ZooKeeper, `Util.makeLogName`, `Util.getZxidFromName`.
/// Deviation: a name with a further part (`log.5.bak`) is no log, because an operator who renames a
/// file wants it out of the way.
public struct LogFileName: Equatable, Sendable {
    public var zxid: Zxid

    public init(zxid: Zxid) { self.zxid = zxid }

    /// nil if `name` is not the name of a log.
    public init?(_ name: some StringProtocol) {
        let parts = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0].elementsEqual("log".utf8), let zxid = Zxid(hex: parts[1])
        else { return nil }
        self.zxid = zxid
    }

    public var text: String { "log." + zxid.hex }
}

/// `snapshot.<zxid>`, `snapshot.<zxid>.gz` or `snapshot.<zxid>.snappy`.
///
/// Source: ZooKeeper, `Util.makeSnapshotName`, `SnapStream.getStreamMode`.
/// Deviation: other suffixes are no snapshots, as for logs.
public struct SnapshotFileName: Equatable, Sendable {
    public var zxid: Zxid
    public var compression: SnapshotCompression

    public init(zxid: Zxid, compression: SnapshotCompression) {
        self.zxid = zxid
        self.compression = compression
    }

    /// nil if `name` is not the name of a snapshot.
    public init?(_ name: some StringProtocol) {
        let parts = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 2 || parts.count == 3, parts[0].elementsEqual("snapshot".utf8),
            let zxid = Zxid(hex: parts[1])
        else { return nil }
        self.zxid = zxid
        if parts.count == 2 {
            compression = .none
        } else if parts[2].elementsEqual("gz".utf8) {
            compression = .gzip
        } else if parts[2].elementsEqual("snappy".utf8) {
            compression = .snappy
        } else {
            return nil
        }
    }

    public var text: String { "snapshot." + zxid.hex + compression.suffix }

    /// Where the snapshot is written before it is whole.
    public var temporaryText: String { text + Self.temporarySuffix }

    private static let temporarySuffix = ".tmp"

    /// Whether `name` is that of a snapshot whose writing was interrupted.
    public static func isTemporary(_ name: String) -> Bool {
        name.hasSuffix(temporarySuffix)
            && SnapshotFileName(name.dropLast(temporarySuffix.utf8.count)) != nil
    }
}

extension Zxid {
    /// Hex digits of a position, no sign; nil for anything else.
    fileprivate init?(hex digits: some Collection<UInt8>) {
        guard let first = digits.first, first != UInt8(ascii: "+"), first != UInt8(ascii: "-"),
            let value = Int64(String(decoding: digits, as: UTF8.self), radix: 16)
        else { return nil }
        self.init(rawValue: value)
    }
}
