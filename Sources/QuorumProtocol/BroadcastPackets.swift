public import Jute
public import Vocabulary

// What a learner and its leader say to each other while clients are served. PROPOSAL and INFORM
// carry a transaction; ACK, COMMIT and SYNC are a type and a zxid only.
//
// Source: ZooKeeper, `LearnerHandler.run`, `Learner`, `Leader`.

/// The data of REQUEST: a client's request, forwarded.
///
///     long sessionId, int cxid, int opcode, the body as the client sent it
public struct ForwardedRequest: ~Escapable {
    public let session: SessionID
    public let cxid: Int32
    /// An opcode, or anything: a learner may send what it wants.
    public let type: Int32
    public let body: Span<UInt8>

    @_lifetime(copy data)
    public init(_ data: Span<UInt8>) throws(QuorumProtocolError) {
        var reader = JuteReader(data)
        session = try reader.session()
        cxid = try reader.int()
        type = try reader.int()
        body = reader.rest
    }
}

/// The data of a learner's PING, walked in place: the sessions it heard from since the last one.
///
///     (long sessionId, int timeout)...
public struct TouchedSessions: ~Escapable {
    private var reader: JuteReader

    private static let entryBytes = 12

    /// - Throws: `invalidLength` unless every session is whole.
    @_lifetime(copy data)
    public init(_ data: Span<UInt8>) throws(QuorumProtocolError) {
        guard data.count.isMultiple(of: Self.entryBytes) else {
            throw .invalidLength(data.count)
        }
        reader = JuteReader(data)
    }

    /// The next session and its timeout; nil behind the last one.
    @_lifetime(self: copy self)
    public mutating func next() -> (session: SessionID, timeoutMilliseconds: Int32)? {
        guard reader.remaining > 0 else { return nil }
        do throws(QuorumProtocolError) {
            return (try reader.session(), try reader.int())
        } catch {
            preconditionFailure("the length was checked before: \(error)")
        }
    }
}

/// The data of a learner's REVALIDATE: `long sessionId, int timeout`.
public struct RevalidateRequest: Equatable, Sendable {
    public var session: SessionID
    public var timeoutMilliseconds: Int32

    public init(_ data: Span<UInt8>) throws(QuorumProtocolError) {
        var reader = JuteReader(data)
        session = try reader.session()
        timeoutMilliseconds = try reader.int()
    }
}

/// The data of a leader's REVALIDATE: `long sessionId, boolean valid`.
public struct RevalidateReply: Equatable, Sendable {
    public var session: SessionID
    public var isValid: Bool

    public init(_ data: Span<UInt8>) throws(QuorumProtocolError) {
        var reader = JuteReader(data)
        session = try reader.session()
        isValid = try reader.bool()
    }
}

/// The data of COMMITANDACTIVATE (`long designatedLeader`) and of INFORMANDACTIVATE, where the
/// transaction follows.
public struct Activation: ~Escapable {
    public let designatedLeader: ServerID
    /// Empty in COMMITANDACTIVATE.
    public let txn: Span<UInt8>

    @_lifetime(copy data)
    public init(_ data: Span<UInt8>) throws(QuorumProtocolError) {
        var reader = JuteReader(data)
        designatedLeader = try reader.server()
        txn = reader.rest
    }
}

extension ByteBuffer {
    /// REQUEST. The body is what the client sent, not encoded again; nil for its identities
    /// writes a null, as in the requests that open sessions.
    public mutating func appendRequest(
        session: SessionID, cxid: Int32, type: Int32, body: Span<UInt8>, identities: [Identity]?
    ) {
        appendRequestData(session: session, cxid: cxid, type: type, body: body)
        guard let identities else { return appendNull() }
        append(Int32(truncatingIfNeeded: identities.count))
        for identity in identities {
            appendField(identity.scheme)
            appendField(identity.id)
        }
    }

    /// REQUEST, from a learner's learner: with the identities as they came.
    public mutating func appendRequest(
        session: SessionID, cxid: Int32, type: Int32, body: Span<UInt8>, authInfo: AuthInfoField
    ) {
        appendRequestData(session: session, cxid: cxid, type: type, body: body)
        append(authInfo.bytes)
    }

    private mutating func appendRequestData(
        session: SessionID, cxid: Int32, type: Int32, body: Span<UInt8>
    ) {
        let packet = beginQuorumPacket(.request, zxid: .none)
        append(session)
        append(cxid)
        append(type)
        append(body)
        endQuorumData(packet)
    }

    /// Starts a learner's PING, which echoes the leader's zxid; `appendTouched` for each session
    /// and `endQuorumPacket` follow.
    public mutating func beginPing(zxid: Zxid) -> Int { beginQuorumPacket(.ping, zxid: zxid) }

    public mutating func appendTouched(_ session: SessionID, timeoutMilliseconds: Int32) {
        append(session)
        append(timeoutMilliseconds)
    }

    /// A learner's REVALIDATE.
    public mutating func appendRevalidate(_ session: SessionID, timeoutMilliseconds: Int32) {
        let packet = beginQuorumPacket(.revalidate, zxid: .none)
        append(session)
        append(timeoutMilliseconds)
        endQuorumPacket(packet)
    }

    /// A leader's REVALIDATE.
    public mutating func appendRevalidateReply(_ session: SessionID, isValid: Bool) {
        let packet = beginQuorumPacket(.revalidate, zxid: .none)
        append(session)
        append(isValid)
        endQuorumPacket(packet)
    }

    /// COMMITANDACTIVATE.
    public mutating func appendCommitAndActivate(zxid: Zxid, designatedLeader: ServerID) {
        let packet = beginQuorumPacket(.commitAndActivate, zxid: zxid)
        append(designatedLeader.rawValue)
        endQuorumPacket(packet)
    }

    /// INFORMANDACTIVATE.
    public mutating func appendInformAndActivate(
        zxid: Zxid, designatedLeader: ServerID, txn: Span<UInt8>
    ) {
        let packet = beginQuorumPacket(.informAndActivate, zxid: zxid)
        append(designatedLeader.rawValue)
        append(txn)
        endQuorumPacket(packet)
    }
}
