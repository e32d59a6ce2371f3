public import Jute
public import Vocabulary

/// What a snapshot stream is restored into, in the order of the calls.
public protocol SnapshotStreamTarget: ~Copyable {
    mutating func receiveSession(_ id: SessionID, timeoutMilliseconds: Int32)
    mutating func receiveACL(_ id: Int64, _ list: [ACL])
    /// A znode; null data is nil. False if it cannot be part of the tree: the stream ends.
    mutating func receiveNode(
        path: Span<UInt8>, data: Span<UInt8>?, aclID: Int64, stat: StatPersisted
    ) -> Bool
}

/// Takes the snapshot behind a SNAP packet in pieces. It has neither a length nor a checksum:
/// reading it is the only way to find the packets behind it.
///
///     int n, n x (long session, int timeout)
///     int n, n x (long id, vector<ACL>)
///     znodes (ustring path, buffer data, long acl, StatPersisted), ustring "/"
///     ustring "BenWasHere"
///
/// Source: ZooKeeper, `SerializeUtils.deserializeSnapshot`, `Learner.syncWithLeader`.
public struct SnapshotStreamReader: Sendable {
    private enum Phase: Equatable {
        case sessionCount
        case sessions(left: Int32)
        case aclCount
        case acls(left: Int32)
        case nodes
        case signature
        case end
    }

    public static let signature = "BenWasHere"
    private static let terminator = UInt8(ascii: "/")

    private let limits: JuteLimits
    private var phase = Phase.sessionCount
    public private(set) var nodes = 0

    public init(limits: JuteLimits = .default) { self.limits = limits }

    /// The signature was read: what follows are packets again.
    public var isFinished: Bool { phase == .end }

    /// The longest item: a znode's path and data, or an ACL. What is longer is refused before
    /// a stranger's count makes anybody gather it.
    private var itemBytesMax: Int { 2 * limits.fieldBytesMax + 1024 }

    /// Takes the items that are whole in `bytes`, which begin where the last call stopped.
    ///
    /// - Returns: how many bytes it took.
    public mutating func consume<Target: SnapshotStreamTarget & ~Copyable>(
        _ bytes: Span<UInt8>, into target: inout Target
    ) throws(QuorumProtocolError) -> Int {
        var reader = JuteReader(bytes, limits: limits)
        var taken = 0
        while !isFinished {
            do throws(QuorumProtocolError) {
                try readItem(&reader, into: &target)
            } catch {
                guard case .needsMore(let need) = try StreamPart(error, in: bytes.count) else {
                    preconditionFailure("an error is never a whole message")
                }
                guard need - taken <= itemBytesMax else { throw .invalidLength(need - taken) }
                break
            }
            taken = bytes.count - reader.remaining
        }
        return taken
    }

    /// Reads one item of the phase and enters the next phase behind the last one.
    private mutating func readItem<Target: SnapshotStreamTarget & ~Copyable>(
        _ reader: inout JuteReader, into target: inout Target
    ) throws(QuorumProtocolError) {
        switch phase {
        case .sessionCount:
            phase = .sessions(left: try Self.readCount(&reader))
        case .sessions(left: 0):
            phase = .aclCount
        case .sessions(let left):
            let id = try reader.session()
            target.receiveSession(id, timeoutMilliseconds: try reader.int())
            phase = .sessions(left: left - 1)
        case .aclCount:
            phase = .acls(left: try Self.readCount(&reader))
        case .acls(left: 0):
            phase = .nodes
        case .acls(let left):
            let id = try reader.long()
            target.receiveACL(id, try reader.acls())
            phase = .acls(left: left - 1)
        case .nodes:
            if try Self.readNode(&reader, into: &target) {
                nodes += 1
            } else {
                phase = .signature
            }
        case .signature:
            let text = try reader.field()
            guard text.equals(Array(Self.signature.utf8).span) else { throw .badSignature }
            phase = .end
        case .end:
            preconditionFailure("nothing is read behind the signature")
        }
    }

    private static func readCount(
        _ reader: inout JuteReader
    ) throws(QuorumProtocolError) -> Int32 {
        let count = try reader.int()
        guard count >= 0 else { throw .invalidCount(count) }
        return count
    }

    /// - Returns: false at the path that ends the znodes.
    private static func readNode<Target: SnapshotStreamTarget & ~Copyable>(
        _ reader: inout JuteReader, into target: inout Target
    ) throws(QuorumProtocolError) -> Bool {
        let path = try reader.field()
        if path.count == 1, path[0] == terminator { return false }
        let data = try reader.optionalField()
        let aclID = try reader.long()
        let stat = try reader.statPersisted()
        guard target.receiveNode(path: path, data: data, aclID: aclID, stat: stat) else {
            throw .snapshotRefused
        }
        return true
    }
}

extension ByteBuffer {
    /// Ends the snapshot stream behind its last znode: the path that is no znode's, the signature.
    public mutating func appendSnapshotStreamEnd() {
        appendField("/")
        appendField(SnapshotStreamReader.signature)
    }
}
