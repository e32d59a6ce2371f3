public import Jute
public import Vocabulary

// The records that clients send, read in place. A null where a path must be is a JuteError.
//
// Source: ZooKeeper, `zookeeper.jute`, module `proto`.

/// The first frame of a connection.
public struct ConnectRequest: ~Escapable {
    public let protocolVersion: Int32
    public let lastZxidSeen: Zxid
    public let timeoutMilliseconds: Int32
    public let session: SessionID
    public let password: Span<UInt8>?
    /// Nil from clients before 3.4, which must not get the field back.
    public let readOnly: Bool?

    @_lifetime(copy reader)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        protocolVersion = try reader.readInt()
        lastZxidSeen = Zxid(rawValue: try reader.readLong())
        timeoutMilliseconds = try reader.readInt()
        session = SessionID(rawValue: try reader.readLong())
        password = try reader.readOptionalBytes()
        readOnly = reader.remaining > 0 ? try reader.readBool() : nil
    }
}

/// In front of every request but the first.
public struct RequestHeader: Equatable, Sendable {
    public var xid: Int32
    /// An opcode, or anything.
    public var type: Int32

    @inlinable @inline(__always)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        xid = try reader.readInt()
        type = try reader.readInt()
    }
}

/// `create`, `create2`, `createContainer` and `createTTL`.
public struct CreateRequest: ~Escapable {
    public let path: Span<UInt8>
    public let data: Span<UInt8>?
    public let acl: ACLField
    public let flags: Int32
    /// Milliseconds; -1 unless the request is a `createTTL`.
    public let ttlMilliseconds: Int64

    @_lifetime(copy reader)
    @inlinable @inline(__always)
    public init(reading reader: inout JuteReader, op: OpCode) throws(JuteError) {
        path = try reader.readBytes()
        data = try reader.readOptionalBytes()
        acl = try ACLField(reading: &reader)
        flags = try reader.readInt()
        ttlMilliseconds = op == .createTTL ? try reader.readLong() : -1
    }
}

/// A `vector<ACL>` as it was sent: most are compared as bytes and never decoded.
public struct ACLField: ~Escapable {
    /// The encoded vector, count included.
    public let bytes: Span<UInt8>

    @_lifetime(copy reader)
    @inlinable @inline(__always)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        bytes = try reader.takeACLBytes()
    }

    /// The entries; scheme or id may be null, which no valid entry has. Nil for a null vector.
    public func decoded() -> [(permissions: Permissions, scheme: String?, id: String?)]? {
        var reader = JuteReader(bytes, limits: .frame)
        guard let count = try? reader.readCount() else { return nil }
        var list: [(permissions: Permissions, scheme: String?, id: String?)] = []
        for _ in 0..<count {
            // The bytes were walked once already: none of these can fail.
            guard let permissions = try? reader.readInt(),
                let scheme = try? reader.readOptionalString() as String??,
                let id = try? reader.readOptionalString() as String??
            else { return nil }
            list.append((Permissions(rawValue: permissions), scheme, id))
        }
        return list
    }
}

/// `delete` and `check`.
public struct PathVersionRequest: ~Escapable {
    public let path: Span<UInt8>
    /// -1 matches every version.
    public let version: Int32

    @_lifetime(copy reader)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytes()
        version = try reader.readInt()
    }
}

/// `setData`.
public struct SetDataRequest: ~Escapable {
    public let path: Span<UInt8>
    public let data: Span<UInt8>?
    /// -1 matches every version.
    public let version: Int32

    @_lifetime(copy reader)
    @inlinable @inline(__always)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytesOrEmpty()
        data = try reader.readOptionalBytes()
        version = try reader.readInt()
    }
}

/// `setACL`.
public struct SetACLRequest: ~Escapable {
    public let path: Span<UInt8>
    public let acl: ACLField
    /// Of the ACL; -1 matches every version.
    public let version: Int32

    @_lifetime(copy reader)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytesOrEmpty()
        acl = try ACLField(reading: &reader)
        version = try reader.readInt()
    }
}

/// `exists`, `getData`, `getChildren` and `getChildren2`.
public struct PathWatchRequest: ~Escapable {
    public let path: Span<UInt8>
    public let watch: Bool

    @_lifetime(copy reader)
    @inlinable @inline(__always)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytes()
        watch = try reader.readBool()
    }
}

/// `addWatch` (an `AddWatchMode`), `checkWatches` and `removeWatches` (a `WatcherType`).
public struct PathNumberRequest: ~Escapable {
    public let path: Span<UInt8>
    public let number: Int32

    @_lifetime(copy reader)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytes()
        number = try reader.readInt()
    }
}

/// `auth`.
public struct AuthPacket: ~Escapable {
    public let scheme: String
    public let auth: Span<UInt8>?

    @_lifetime(copy reader)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        _ = try reader.readInt()
        scheme = try reader.readString()
        auth = try reader.readOptionalBytes()
    }
}

/// In front of each operation of a multi, and behind the last one.
public struct MultiHeader: Equatable, Sendable {
    public var type: Int32
    public var done: Bool
    public var error: Int32

    public init(reading reader: inout JuteReader) throws(JuteError) {
        type = try reader.readInt()
        done = try reader.readBool()
        error = try reader.readInt()
    }
}
