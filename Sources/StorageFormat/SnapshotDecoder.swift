public import Jute
import Vocabulary

/// Why a snapshot cannot be used.
public enum SnapshotDamage: Error, Equatable, Sendable {
    /// The stream ends inside a field or before its seal.
    case truncated
    case notASnapshot(magic: Int32)
    case unknownVersion(Int32)
    case invalidCount(Int32)
    case invalidField(JuteError)
    case checksumMismatch(stored: Int64, computed: Int64)
    case badSeal
    /// So many bytes behind the first seal are no known sections.
    case unknownSections(bytes: Int)
    case refused(RestoreError)
}

extension SnapshotDamage: CustomStringConvertible {
    public var description: String {
        switch self {
        case .truncated: "the file ends too early"
        case .notASnapshot(let magic):
            "not a snapshot: it begins with 0x\(String(UInt32(bitPattern: magic), radix: 16))"
        case .unknownVersion(let version): "version \(version) of the format is unknown"
        case .invalidCount(let count): "a count is \(count)"
        case .invalidField(let error): "a field cannot be decoded (\(error))"
        case .checksumMismatch(let stored, let computed):
            "the checksum is 0x\(String(stored, radix: 16)), the bytes give 0x\(String(computed, radix: 16))"
        case .badSeal: "a seal does not end with its path"
        case .unknownSections(let bytes): "\(bytes) bytes at the end are no known sections"
        case .refused(let error): "\(error)"
        }
    }
}

/// Takes a snapshot's uncompressed stream in pieces and hands what is in it to a `RestoreTarget`.
///
/// Which sections follow the znodes depends on the settings of the server that wrote the file, and
/// nothing in the file says so: the bytes left behind the first seal tell it.
public struct SnapshotDecoder {
    private enum Phase {
        case header
        case sessionCount
        case sessions(left: Int32)
        case aclCount
        case acls(left: Int32)
        case nodes
        case seal
        case sections
        case end
    }

    private let limits: JuteLimits
    private var phase = Phase.header
    private var sum = Adler32()
    /// How many bytes were taken: where damage was found.
    public private(set) var offset = 0
    public private(set) var nodes = 0
    public private(set) var sections = SnapshotSections()

    /// More bytes behind the first seal are no sections, whatever follows.
    private static let sectionsBytesMax = 4096

    public init(limits: JuteLimits) { self.limits = limits }

    /// The stream was read to its end and all of it was right.
    public var isFinished: Bool { if case .end = phase { true } else { false } }

    /// Takes what is whole in `bytes`, which begin where the last call stopped.
    ///
    /// - Parameters:
    ///   - bytes: the stream from `offset` on.
    ///   - isLast: nothing follows `bytes`; the decoder is finished or has thrown.
    ///   - target: gets what was decoded.
    /// - Returns: how many bytes it took.
    /// - Throws: why the snapshot cannot be used.
    public mutating func consume<Target: RestoreTarget & ~Copyable>(
        _ bytes: Span<UInt8>, isLast: Bool, into target: inout Target
    ) throws(SnapshotDamage) -> Int {
        var reader = JuteReader(bytes, limits: limits)
        var taken = 0
        var summed = 0
        while !isFinished {
            do throws(SnapshotDamage) {
                switch phase {
                case .seal:
                    // Again after a piece that ended in the seal: then nothing is left to sum up.
                    sum.update(bytes.extracting(summed..<taken))
                    summed = taken
                    try readSeal(&reader)
                    phase = .sections
                case .sections:
                    let rest = reader.remaining
                    guard isLast else {
                        guard rest <= Self.sectionsBytesMax else {
                            throw .unknownSections(bytes: rest)
                        }
                        throw .truncated  // How many bytes are left is not known yet.
                    }
                    sum.update(bytes.extracting(summed..<taken))
                    summed = bytes.count
                    try readSections(&reader)
                    phase = .end
                case .header, .sessionCount, .sessions, .aclCount, .acls, .nodes, .end:
                    try readItem(&reader, into: &target)
                }
            } catch {
                guard error == .truncated, !isLast else { throw error }
                break
            }
            let now = bytes.count - reader.remaining
            offset += now - taken
            taken = now
        }
        sum.update(bytes.extracting(min(summed, taken)..<taken))
        return taken
    }

    /// Reads one item of the phase and enters the next phase behind the last one.
    private mutating func readItem<Target: RestoreTarget & ~Copyable>(
        _ reader: inout JuteReader, into target: inout Target
    ) throws(SnapshotDamage) {
        switch phase {
        case .header:
            try Self.readHeader(&reader)
            phase = .sessionCount
        case .sessionCount:
            phase = .sessions(left: try Self.readCount(&reader))
        case .sessions(left: 0):
            phase = .aclCount
        case .sessions(let left):
            try Self.readSession(&reader, into: &target)
            phase = .sessions(left: left - 1)
        case .aclCount:
            phase = .acls(left: try Self.readCount(&reader))
        case .acls(left: 0):
            phase = .nodes
        case .acls(let left):
            try Self.readACL(&reader, into: &target)
            phase = .acls(left: left - 1)
        case .nodes:
            if try readNode(&reader, into: &target) { nodes += 1 } else { phase = .seal }
        case .seal, .sections, .end:
            preconditionFailure("these phases are read with their checksum")
        }
    }

    private static func readHeader(_ reader: inout JuteReader) throws(SnapshotDamage) {
        let magic: Int32
        let version: Int32
        do throws(JuteError) {
            magic = try reader.readInt()
            version = try reader.readInt()
            _ = try reader.readLong()
        } catch {
            throw SnapshotDamage(error)
        }
        guard magic == SnapshotFormat.magic else { throw .notASnapshot(magic: magic) }
        guard version == SnapshotFormat.version else { throw .unknownVersion(version) }
    }

    private static func readCount(_ reader: inout JuteReader) throws(SnapshotDamage) -> Int32 {
        let count: Int32
        do throws(JuteError) { count = try reader.readInt() } catch { throw SnapshotDamage(error) }
        guard count >= 0 else { throw .invalidCount(count) }
        return count
    }

    private static func readSession<Target: RestoreTarget & ~Copyable>(
        _ reader: inout JuteReader, into target: inout Target
    ) throws(SnapshotDamage) {
        do throws(JuteError) {
            let id = SessionID(rawValue: try reader.readLong())
            let timeout = try reader.readInt()
            target.restoreSession(id, timeoutMilliseconds: timeout)
        } catch {
            throw SnapshotDamage(error)
        }
    }

    private static func readACL<Target: RestoreTarget & ~Copyable>(
        _ reader: inout JuteReader, into target: inout Target
    ) throws(SnapshotDamage) {
        do throws(JuteError) {
            let id = try reader.readLong()
            let list = try reader.readACLs() ?? []
            target.restoreACL(id, list)
        } catch {
            throw SnapshotDamage(error)
        }
    }

    /// - Returns: false at the path that ends the znodes.
    private func readNode<Target: RestoreTarget & ~Copyable>(
        _ reader: inout JuteReader, into target: inout Target
    ) throws(SnapshotDamage) -> Bool {
        let path: Span<UInt8>
        let data: Span<UInt8>?
        let aclID: Int64
        let stat: StatPersisted
        do throws(JuteError) {
            path = try reader.readBytes()
            if path.count == 1, path[0] == SnapshotFormat.terminator { return false }
            data = try reader.readOptionalBytes()
            aclID = try reader.readLong()
            stat = try reader.readStatPersisted()
        } catch {
            throw SnapshotDamage(error)
        }
        do throws(RestoreError) {
            try target.restoreNode(path: path, data: data, aclID: aclID, stat: stat)
        } catch {
            throw .refused(error)
        }
        return true
    }

    /// Reads a seal and compares it with the sum of everything before it.
    private func readSeal(_ reader: inout JuteReader) throws(SnapshotDamage) {
        let computed = sum.value
        let stored: Int64
        let isWhole: Bool
        do throws(JuteError) {
            stored = try reader.readLong()
            let path = try reader.readBytes()
            isWhole = path.count == 1 && path[0] == SnapshotFormat.terminator
        } catch {
            throw SnapshotDamage(error)
        }
        guard stored == computed else {
            throw .checksumMismatch(stored: stored, computed: computed)
        }
        guard isWhole else { throw .badSeal }
    }

    /// Reads what stands behind the first seal, to the end of the stream.
    ///
    /// The bytes left tell what it is: none nothing, 21 the zxid, 33 the digest, 54 both. Any other
    /// number can only begin with a digest of an old version, which is text of some length.
    private mutating func readSections(_ reader: inout JuteReader) throws(SnapshotDamage) {
        typealias Format = SnapshotFormat
        let bytes = reader.remaining
        if bytes != 0, bytes != Format.zxidSectionBytes {
            try readDigest(&reader, of: bytes)
        }
        if reader.remaining == Format.zxidSectionBytes {
            try readLastProcessedZxid(&reader)
        }
        guard reader.remaining == 0 else { throw .unknownSections(bytes: bytes) }
    }

    private mutating func readDigest(
        _ reader: inout JuteReader, of sectionsBytes: Int
    ) throws(SnapshotDamage) {
        typealias Format = SnapshotFormat
        let section = reader.rest
        let version: Int32
        do throws(JuteError) {
            let zxid = Zxid(rawValue: try reader.readLong())
            version = try reader.readInt()
            if version < Format.digestVersion {
                _ = try reader.readBytes()
            } else {
                sections.digest = .init(
                    zxid: zxid, value: UInt64(bitPattern: try reader.readLong()))
            }
        } catch {
            throw .unknownSections(bytes: sectionsBytes)
        }
        if version > Format.digestVersion { sections.digest = nil }
        try readSeal(&reader, behind: section)
    }

    private mutating func readLastProcessedZxid(
        _ reader: inout JuteReader
    ) throws(SnapshotDamage) {
        let section = reader.rest
        do throws(JuteError) {
            sections.lastProcessedZxid = Zxid(rawValue: try reader.readLong())
        } catch {
            throw SnapshotDamage(error)
        }
        try readSeal(&reader, behind: section)
    }

    /// Reads the seal of a section that begins where `section` does; the next seal covers this one.
    private mutating func readSeal(
        _ reader: inout JuteReader, behind section: Span<UInt8>
    ) throws(SnapshotDamage) {
        let bytes = section.count - reader.remaining
        sum.update(section.extracting(first: bytes))
        try readSeal(&reader)
        sum.update(section.extracting(bytes..<section.count - reader.remaining))
    }
}

extension SnapshotDamage {
    fileprivate init(_ error: JuteError) {
        if case .truncated = error { self = .truncated } else { self = .invalidField(error) }
    }
}
