public import Jute
public import Vocabulary

/// What a packet between a learner and its leader says.
///
/// Source: ZooKeeper, `Leader`.
public enum QuorumPacketType: Int32, CaseIterable, Sendable {
    case request = 1
    case proposal = 2
    case ack = 3
    case commit = 4
    case ping = 5
    case revalidate = 6
    case sync = 7
    case inform = 8
    case commitAndActivate = 9
    case newLeader = 10
    case followerInfo = 11
    case upToDate = 12
    case diff = 13
    case trunc = 14
    case snap = 15
    case observerInfo = 16
    case leaderInfo = 17
    case ackEpoch = 18
    case informAndActivate = 19
}

/// A packet of a quorum connection, read in place.
///
///     int type, long zxid, buffer data, vector<Id> authinfo
///
/// Nothing in front says how long it is: `measure` finds where it ends.
/// Source: ZooKeeper, `zookeeper.jute`, module `server.quorum`.
public struct QuorumPacket: ~Escapable {
    /// A `QuorumPacketType`, or anything: servers ignore the types they do not know.
    public let number: Int32
    public let zxid: Zxid
    public let data: Span<UInt8>?
    public let authInfo: AuthInfoField

    public var type: QuorumPacketType? { QuorumPacketType(rawValue: number) }

    /// How much of the bytes is the next packet; its data has at most the limits' bytes.
    public static func measure(
        _ bytes: Span<UInt8>, limits: JuteLimits = .default
    ) throws(QuorumProtocolError) -> StreamPart {
        var reader = JuteReader(bytes, limits: limits)
        do throws(QuorumProtocolError) {
            _ = try QuorumPacket(reading: &reader)
            return .whole(bytes: bytes.count - reader.remaining)
        } catch {
            return try StreamPart(error, in: bytes.count)
        }
    }

    @_lifetime(copy reader)
    public init(reading reader: inout JuteReader) throws(QuorumProtocolError) {
        number = try reader.int()
        zxid = try reader.zxid()
        data = try reader.optionalField()
        authInfo = try AuthInfoField(reading: &reader)
    }

    /// The data of a packet that must have some.
    @_lifetime(copy self)
    public func requireData() throws(QuorumProtocolError) -> Span<UInt8> {
        guard let data else { throw .malformed(.unexpectedNull) }
        return data
    }
}

/// A `vector<Id>` as it was sent: who the client behind a request is.
public struct AuthInfoField: ~Escapable {
    /// The encoded vector, count included.
    public let bytes: Span<UInt8>

    /// More identities than any client has; without a limit a peer could keep the walk going.
    public static let identitiesMax = 4096
    /// The longest vector.
    public static let bytesMax = 1_048_576

    @_lifetime(copy reader)
    public init(reading reader: inout JuteReader) throws(QuorumProtocolError) {
        let whole = reader.rest
        let count = try reader.count()
        guard count <= Self.identitiesMax else { throw .tooManyIdentities(count) }
        for _ in 0..<count {
            _ = try reader.optionalField()
            _ = try reader.optionalField()
            let taken = whole.count - reader.remaining
            guard taken <= Self.bytesMax else { throw .invalidLength(taken) }
        }
        bytes = whole.extracting(first: whole.count - reader.remaining)
    }

    /// The identities; nil for a null vector. One without a scheme is nobody and left out, one
    /// without an id has an empty one.
    public func decoded() -> [Identity]? {
        var reader = JuteReader(bytes, limits: .frame)
        do throws(JuteError) {
            guard let count = try reader.readCount() else { return nil }
            var list: [Identity] = []
            for _ in 0..<count {
                let scheme = try reader.readOptionalString()
                let id = try reader.readOptionalString()
                if let scheme { list.append(Identity(scheme: scheme, id: id ?? "")) }
            }
            return list
        } catch {
            preconditionFailure("the bytes were walked before: \(error)")
        }
    }
}

extension ByteBuffer {
    /// A whole packet without authinfo, as all but requests are.
    public mutating func appendQuorumPacket(
        _ type: QuorumPacketType, zxid: Zxid, data: Span<UInt8>? = nil
    ) {
        append(type.rawValue)
        append(zxid)
        if let data { appendField(data) } else { appendNull() }
        appendNull()
    }

    /// Starts a packet whose data is appended next; `endQuorumPacket` fills in its length.
    public mutating func beginQuorumPacket(_ type: QuorumPacketType, zxid: Zxid) -> Int {
        append(type.rawValue)
        append(zxid)
        append(Int32(0))
        return count
    }

    /// - Parameter start: what `beginQuorumPacket` returned.
    public mutating func endQuorumPacket(_ start: Int) {
        endQuorumData(start)
        appendNull()
    }

    /// Ends the data; authinfo must follow.
    mutating func endQuorumData(_ start: Int) {
        overwrite(Int32(truncatingIfNeeded: count - start), at: start - 4)
    }
}
