public import Jute
public import Vocabulary

// What follows the header: results, never requests. Applying a record needs no decision.
//
// Source: ZooKeeper, `zookeeper.jute`, module `txn`.

/// `create`, `create2`, `createContainer` and `createTTL`.
public struct CreateTxn: ~Escapable {
    public let path: Span<UInt8>
    public let data: Span<UInt8>?
    /// The encoded `vector<ACL>`, count included.
    public let aclBytes: Span<UInt8>
    public let isEphemeral: Bool
    /// The parent's stored cversion after the create; -1 in logs of old servers: one more than now.
    public let parentCVersion: Int32
    /// Milliseconds; 0 unless the type is `createTTL`.
    public let ttlMilliseconds: Int64

    @_lifetime(copy reader)
    @inlinable @inline(__always)
    public init(reading reader: inout JuteReader, type: OpCode) throws(JuteError) {
        path = try reader.readBytes()
        data = try reader.readOptionalBytes()
        aclBytes = try reader.takeACLBytes()
        switch type {
        case .createContainer:
            isEphemeral = false
            parentCVersion = try reader.readInt()
            ttlMilliseconds = 0
        case .createTTL:
            isEphemeral = false
            parentCVersion = try reader.readInt()
            ttlMilliseconds = try reader.readLong()
        default:
            isEphemeral = try reader.readBool()
            parentCVersion = reader.remaining < 4 ? -1 : try reader.readInt()
            ttlMilliseconds = 0
        }
    }

    /// Writes a record of any of the four types.
    @inlinable @inline(__always)
    public static func append(
        to buffer: inout ByteBuffer, type: OpCode, path: Span<UInt8>, data: Span<UInt8>?,
        aclBytes: Span<UInt8>, isEphemeral: Bool, parentCVersion: Int32, ttlMilliseconds: Int64
    ) {
        buffer.appendField(path)
        if let data { buffer.appendField(data) } else { buffer.appendNull() }
        buffer.append(aclBytes)
        switch type {
        case .createContainer:
            buffer.append(parentCVersion)
        case .createTTL:
            buffer.append(parentCVersion)
            buffer.append(ttlMilliseconds)
        default:
            buffer.append(isEphemeral)
            buffer.append(parentCVersion)
        }
    }
}

/// `delete` and `deleteContainer`.
public struct DeleteTxn: ~Escapable {
    public let path: Span<UInt8>

    @_lifetime(copy reader)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytes()
    }

    public static func append(to buffer: inout ByteBuffer, path: Span<UInt8>) {
        buffer.appendField(path)
    }
}

/// `setData`, and `reconfig`, which sets the configuration node's data.
public struct SetDataTxn: ~Escapable {
    public let path: Span<UInt8>
    public let data: Span<UInt8>?
    /// The new version.
    public let version: Int32

    @_lifetime(copy reader)
    @inlinable @inline(__always)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytes()
        data = try reader.readOptionalBytes()
        version = try reader.readInt()
    }

    @inlinable @inline(__always)
    public static func append(
        to buffer: inout ByteBuffer, path: Span<UInt8>, data: Span<UInt8>?, version: Int32
    ) {
        buffer.appendField(path)
        if let data { buffer.appendField(data) } else { buffer.appendNull() }
        buffer.append(version)
    }
}

/// `setACL`.
public struct SetACLTxn: ~Escapable {
    public let path: Span<UInt8>
    /// The encoded `vector<ACL>`, count included.
    public let aclBytes: Span<UInt8>
    /// The new aversion.
    public let version: Int32

    @_lifetime(copy reader)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytes()
        aclBytes = try reader.takeACLBytes()
        version = try reader.readInt()
    }

    public static func append(
        to buffer: inout ByteBuffer, path: Span<UInt8>, aclBytes: Span<UInt8>, version: Int32
    ) {
        buffer.appendField(path)
        buffer.append(aclBytes)
        buffer.append(version)
    }
}

/// `check`, inside a multi only. It changes nothing; the leader checked it.
public struct CheckVersionTxn: ~Escapable {
    public let path: Span<UInt8>
    /// The version the client expected plus one.
    public let version: Int32

    @_lifetime(copy reader)
    public init(reading reader: inout JuteReader) throws(JuteError) {
        path = try reader.readBytes()
        version = try reader.readInt()
    }

    public static func append(to buffer: inout ByteBuffer, path: Span<UInt8>, version: Int32) {
        buffer.appendField(path)
        buffer.append(version)
    }
}

/// The sum of all node digests after the transaction: the last 12 bytes, where the writer had one.
public struct TxnDigest: Equatable, Sendable {
    public var version: Int32
    public var value: UInt64

    /// The version that this and Apache's servers since 3.6.1 write.
    public static let currentVersion: Int32 = 2
    public static let bytes = 12

    public init(version: Int32 = currentVersion, value: UInt64) {
        self.version = version
        self.value = value
    }

    /// The digest behind a record: nil when fewer than 12 bytes are left.
    public init?(reading reader: inout JuteReader) {
        guard reader.remaining >= Self.bytes, let version = try? reader.readInt(),
            let value = try? reader.readLong()
        else { return nil }
        self.init(version: version, value: UInt64(bitPattern: value))
    }

    @inlinable @inline(__always)
    public func append(to buffer: inout ByteBuffer) {
        buffer.append(version)
        buffer.append(Int64(bitPattern: value))
    }
}
