package import Jute
package import Vocabulary

// The records that clients send, read in place. A null where a path must be is a JuteError.
//
// Source: ZooKeeper, `zookeeper.jute`, module `proto`.

/// The first frame of a connection.
package struct ConnectRequest: ~Escapable {
    package let protocolVersion: Int32
    package let lastZxidSeen: Zxid
    package let timeoutMilliseconds: Int32
    package let session: SessionID
    package let password: Span<UInt8>?
    /// Nil from clients before 3.4, which must not get the field back.
    package let readOnly: Bool?

    @_lifetime(copy reader)
    package init(reading reader: inout JuteReader) throws(JuteError) {
        protocolVersion = try reader.readInt()
        lastZxidSeen = Zxid(rawValue: try reader.readLong())
        timeoutMilliseconds = try reader.readInt()
        session = SessionID(rawValue: try reader.readLong())
        password = try reader.readOptionalBytes()
        readOnly = reader.remaining > 0 ? try reader.readBool() : nil
    }
}

/// In front of every request but the first.
package struct RequestHeader: Equatable, Sendable {
    package var xid: Int32
    /// An opcode, or anything.
    package var type: Int32

    @inline(__always)
    package init(reading reader: inout JuteReader) throws(JuteError) {
        xid = try reader.readInt()
        type = try reader.readInt()
    }
}

/// `create`, `create2`, `createContainer` and `createTTL`.
package struct CreateRequest: ~Escapable {
    package let path: Span<UInt8>
    package let data: Span<UInt8>?
    package let acl: ACLField
    package let flags: Int32
    /// Milliseconds; -1 unless the request is a `createTTL`.
    package let ttlMilliseconds: Int64

    @_lifetime(copy reader)
    @inline(__always)
    package init(reading reader: inout JuteReader, op: OpCode) throws(JuteError) {
        path = try reader.readBytes()
        data = try reader.readOptionalBytes()
        acl = try ACLField(reading: &reader)
        flags = try reader.readInt()
        ttlMilliseconds = op == .createTTL ? try reader.readLong() : -1
    }
}

/// A `vector<ACL>` as it was sent: most are compared as bytes and never decoded.
package struct ACLField: ~Escapable {
    /// The encoded vector, count included.
    package let bytes: Span<UInt8>

    @_lifetime(copy reader)
    @inline(__always)
    package init(reading reader: inout JuteReader) throws(JuteError) {
        bytes = try reader.takeACLBytes()
    }

    /// The entries; scheme or id may be null, which no valid entry has. Nil for a null vector.
    package func decoded() -> [(permissions: Permissions, scheme: String?, id: String?)]? {
        var reader = JuteReader(bytes)
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
package struct PathVersionRequest: ~Escapable {
    package let path: Span<UInt8>
    /// -1 matches every version.
    package let version: Int32

    @_lifetime(copy reader)
    package init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytes()
        version = try reader.readInt()
    }
}

/// `setData`.
package struct SetDataRequest: ~Escapable {
    package let path: Span<UInt8>
    package let data: Span<UInt8>?
    /// -1 matches every version.
    package let version: Int32

    @_lifetime(copy reader)
    @inline(__always)
    package init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytesOrEmpty()
        data = try reader.readOptionalBytes()
        version = try reader.readInt()
    }
}

/// `setACL`.
package struct SetACLRequest: ~Escapable {
    package let path: Span<UInt8>
    package let acl: ACLField
    /// Of the ACL; -1 matches every version.
    package let version: Int32

    @_lifetime(copy reader)
    package init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytesOrEmpty()
        acl = try ACLField(reading: &reader)
        version = try reader.readInt()
    }
}

/// `exists`, `getData`, `getChildren` and `getChildren2`.
package struct PathWatchRequest: ~Escapable {
    package let path: Span<UInt8>
    package let watch: Bool

    @_lifetime(copy reader)
    @inline(__always)
    package init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytes()
        watch = try reader.readBool()
    }
}

/// `addWatch` (an `AddWatchMode`), `checkWatches` and `removeWatches` (a `WatcherType`).
package struct PathNumberRequest: ~Escapable {
    package let path: Span<UInt8>
    package let number: Int32

    @_lifetime(copy reader)
    package init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytes()
        number = try reader.readInt()
    }
}

/// `auth`.
package struct AuthPacket: ~Escapable {
    package let scheme: String
    package let auth: Span<UInt8>?

    @_lifetime(copy reader)
    package init(reading reader: inout JuteReader) throws(JuteError) {
        _ = try reader.readInt()
        scheme = try reader.readString()
        auth = try reader.readOptionalBytes()
    }
}

/// In front of each operation of a multi, and behind the last one.
package struct MultiHeader: Equatable, Sendable {
    package var type: Int32
    package var done: Bool
    package var error: Int32

    package init(reading reader: inout JuteReader) throws(JuteError) {
        type = try reader.readInt()
        done = try reader.readBool()
        error = try reader.readInt()
    }
}
