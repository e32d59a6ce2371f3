public import Jute
public import Vocabulary

/// How messages of an election connection are told apart behind the initial one: an `int` length
/// and the message.
public enum ElectionFrame {
    /// The longest message.
    public static let messageBytesMax = 524_288
    /// The length in front of each message.
    public static let headerBytes = 4

    /// - Returns: the part that is the next frame, header included.
    public static func measure(_ bytes: Span<UInt8>) throws(QuorumProtocolError) -> StreamPart {
        guard bytes.count >= headerBytes else { return .needsMore(bytes: headerBytes) }
        var reader = JuteReader(bytes)
        let length = Int(try reader.int())
        guard length > 0, length <= messageBytesMax else { throw .invalidLength(length) }
        let whole = headerBytes + length
        return bytes.count < whole ? .needsMore(bytes: whole) : .whole(bytes: whole)
    }
}

/// What servers tell each other in an election: the sender's state and its vote.
///
///     int state, long leader, long zxid, long electionEpoch                        28 bytes
///     ..., long peerEpoch, int version                                             40 bytes
///     ..., int n, n bytes configuration                                            version 2
///
/// A message that cannot be read is ignored and its connection kept.
/// Source: ZooKeeper, `FastLeaderElection.Messenger.WorkerReceiver`, `buildMsg`.
public struct ElectionNotification: Equatable, Sendable {
    /// A `ServerState`, or anything: who may not vote gets an answer whatever its state.
    public var stateNumber: Int32
    public var leader: ServerID
    public var zxid: Zxid
    /// The sender's round.
    public var electionEpoch: Int64
    public var peerEpoch: Int64
    /// As votes are compared: 0 for messages of 28 and of 40 bytes.
    public var version: Int32
    /// The sender's configuration, not yet parsed; nil below version 2.
    public var configuration: String?

    public static let currentVersion: Int32 = 2
    private static let oldestBytes = 28
    private static let versionedBytes = 40

    public init(
        state: ServerState, leader: ServerID, zxid: Zxid, electionEpoch: Int64, peerEpoch: Int64,
        configuration: String
    ) {
        stateNumber = state.rawValue
        self.leader = leader
        self.zxid = zxid
        self.electionEpoch = electionEpoch
        self.peerEpoch = peerEpoch
        version = Self.currentVersion
        self.configuration = configuration
    }

    public var state: ServerState? { ServerState(rawValue: stateNumber) }

    /// Reads the message of one frame, all of it.
    public init(_ message: Span<UInt8>) throws(QuorumProtocolError) {
        let isOldest = message.count == Self.oldestBytes
        // Between the two lengths no version ever was.
        guard isOldest || message.count >= Self.versionedBytes else {
            throw .invalidLength(message.count)
        }
        var reader = JuteReader(message, limits: .frame)
        stateNumber = try reader.int()
        leader = try reader.server()
        zxid = try reader.zxid()
        electionEpoch = try reader.long()
        peerEpoch = isOldest ? zxid.epoch : try reader.long()
        version = 0
        guard message.count > Self.versionedBytes else { return }
        version = try reader.int()
        guard version > 1 else { return }
        configuration = String(lenientUTF8: try reader.field())
    }

    /// Appends a frame, in the shortest form that carries the fields.
    public func append(to buffer: inout ByteBuffer) {
        let start = buffer.count
        buffer.append(Int32(0))
        buffer.append(stateNumber)
        buffer.append(leader.rawValue)
        buffer.append(zxid)
        buffer.append(electionEpoch)
        if version > 0 || peerEpoch != zxid.epoch {
            buffer.append(peerEpoch)
            buffer.append(version)
        }
        if let configuration { buffer.appendField(configuration) }
        let length = buffer.count - start - ElectionFrame.headerBytes
        precondition(length <= ElectionFrame.messageBytesMax, "no peer reads a longer message")
        buffer.overwrite(Int32(length), at: start)
    }
}
