public import Jute
public import Vocabulary

// What a learner and its leader say to each other before UPTODATE. DIFF, TRUNC, SNAP, UPTODATE and
// ACK are a type and a zxid only.
//
// Source: ZooKeeper, `Learner.registerWithLeader`, `LearnerHandler.run`.

/// The version of the protocol that has been in use since 3.4.
public let quorumProtocolVersion: Int32 = 0x10000

/// The data of FOLLOWERINFO and OBSERVERINFO: `long sid, int protocolVersion, long configVersion`.
///
/// Older servers end it earlier; data of fewer than 8 bytes is a learner without an id.
public struct LearnerInfo: Equatable, Sendable {
    /// Nil for a learner without an id.
    public var server: ServerID?
    public var protocolVersion: Int32?
    /// The version of the learner's active configuration.
    public var configVersion: Zxid?

    public init(server: ServerID, configVersion: Zxid) {
        self.server = server
        protocolVersion = quorumProtocolVersion
        self.configVersion = configVersion
    }

    public init(_ data: Span<UInt8>?) throws(QuorumProtocolError) {
        guard let data, data.count >= 8 else { return }
        var reader = JuteReader(data)
        server = try reader.server()
        if data.count >= 12 { protocolVersion = try reader.int() }
        if data.count >= 20 { configVersion = try reader.zxid() }
    }
}

/// The data of LEADERINFO: `int protocolVersion`.
public struct LeaderInfo: Equatable, Sendable {
    public var protocolVersion: Int32

    public init(_ data: Span<UInt8>?) throws(QuorumProtocolError) {
        protocolVersion = try Int32(firstOf: data)
    }
}

/// The data of ACKEPOCH: `int currentEpoch`.
public struct AckEpoch: Equatable, Sendable {
    /// Nil (-1 on the wire) if the learner had promised the epoch before: its acknowledgement
    /// must not count again.
    public var currentEpoch: Int64?

    public init(_ data: Span<UInt8>?) throws(QuorumProtocolError) {
        let epoch = try Int32(firstOf: data)
        guard epoch >= -1 else { throw .invalidEpoch(epoch) }
        currentEpoch = epoch == -1 ? nil : Int64(epoch)
    }
}

/// The data of NEWLEADER: the text of the leader's last seen configuration.
public struct NewLeader: Equatable, Sendable {
    /// Nil from leaders before 3.5, which send none.
    public var configuration: String?

    public init(_ data: Span<UInt8>?) {
        // A byte is no configuration either.
        guard let data, data.count > 1 else { return }
        configuration = String(lenientUTF8: data)
    }
}

extension Int32 {
    /// The `int` that data begins with; what follows is ignored.
    fileprivate init(firstOf data: Span<UInt8>?) throws(QuorumProtocolError) {
        guard let data else { throw .malformed(.unexpectedNull) }
        var reader = JuteReader(data)
        self = try reader.int()
    }
}

extension ByteBuffer {
    /// FOLLOWERINFO or OBSERVERINFO.
    public mutating func appendLearnerInfo(
        isObserver: Bool, acceptedEpoch: Int64, server: ServerID, configVersion: Zxid
    ) {
        let packet = beginQuorumPacket(
            isObserver ? .observerInfo : .followerInfo,
            zxid: Zxid(epoch: acceptedEpoch, counter: 0))
        append(server.rawValue)
        append(quorumProtocolVersion)
        append(configVersion)
        endQuorumPacket(packet)
    }

    /// LEADERINFO: the epoch that every learner has to promise.
    public mutating func appendLeaderInfo(newEpoch: Int64) {
        let packet = beginQuorumPacket(.leaderInfo, zxid: Zxid(epoch: newEpoch, counter: 0))
        append(quorumProtocolVersion)
        endQuorumPacket(packet)
    }

    /// ACKEPOCH.
    ///
    /// - Parameters:
    ///   - lastZxid: the last one in the learner's log.
    ///   - currentEpoch: nil if the epoch had been promised before.
    public mutating func appendAckEpoch(lastZxid: Zxid, currentEpoch: Int64?) {
        let packet = beginQuorumPacket(.ackEpoch, zxid: lastZxid)
        append(Int32(truncatingIfNeeded: currentEpoch ?? -1))
        endQuorumPacket(packet)
    }

    /// NEWLEADER: everything before it is the leader's history.
    public mutating func appendNewLeader(epoch: Int64, configuration: String) {
        let packet = beginQuorumPacket(.newLeader, zxid: Zxid(epoch: epoch, counter: 0))
        append(utf8: configuration)
        endQuorumPacket(packet)
    }

    /// UPTODATE: the learner may serve clients.
    public mutating func appendUpToDate() { appendQuorumPacket(.upToDate, zxid: .none) }
}
