public import Jute
public import Vocabulary

/// The first 32 bytes of every transaction, in the log and on the wire.
///
/// Source: ZooKeeper, `TxnHeader`.
public struct TxnHeader: Equatable, Sendable {
    /// The session that asked for the write; for internal requests the session they are about, or 0.
    public var session: SessionID
    /// The client's xid; 0 for internal requests.
    public var cxid: Int32
    public var zxid: Zxid
    /// The leader's wall clock when it validated the request, in milliseconds since 1970.
    public var time: Int64
    public var type: OpCode

    public static let bytes = 32

    @inlinable @inline(__always)
    public init(session: SessionID, cxid: Int32, zxid: Zxid, time: Int64, type: OpCode) {
        self.session = session
        self.cxid = cxid
        self.zxid = zxid
        self.time = time
        self.type = type
    }

    @inlinable @inline(__always)
    public init(reading reader: inout JuteReader) throws(TxnError) {
        let number: Int32
        do throws(JuteError) {
            session = SessionID(rawValue: try reader.readLong())
            cxid = try reader.readInt()
            zxid = Zxid(rawValue: try reader.readLong())
            time = try reader.readLong()
            number = try reader.readInt()
        } catch {
            throw .malformed(error)
        }
        guard let type = OpCode(rawValue: number), type.isTransaction else {
            throw .unknownType(number)
        }
        self.type = type
    }

    @inlinable @inline(__always)
    public func append(to buffer: inout ByteBuffer) {
        buffer.append(session)
        buffer.append(cxid)
        buffer.append(zxid)
        buffer.append(time)
        buffer.append(type)
    }
}

/// Why bytes are not a transaction.
public enum TxnError: Error, Equatable {
    case malformed(JuteError)
    case unknownType(Int32)
}

extension OpCode {
    /// Whether transactions of this type exist.
    public var isTransaction: Bool {
        switch self {
        case .createSession, .closeSession, .error, .create, .create2, .createContainer, .createTTL,
            .delete, .deleteContainer, .setData, .reconfig, .setACL, .multi:
            true
        // Apache never writes one outside a multi, and no server that has one in its log starts.
        case .check: false
        case .notification, .exists, .getData, .getACL, .getChildren, .sync, .ping, .getChildren2,
            .checkWatches, .removeWatches, .multiRead, .auth, .setWatches, .sasl, .getEphemerals,
            .getAllChildrenNumber, .setWatches2, .addWatch, .whoAmI:
            false
        }
    }

    /// Whether a multi may hold transactions of this type.
    public var isMultiTransaction: Bool {
        switch self {
        case .create, .create2, .createContainer, .createTTL, .delete, .deleteContainer, .setData,
            .check, .error:
            true
        case .createSession, .closeSession, .reconfig, .setACL, .multi, .notification, .exists,
            .getData, .getACL, .getChildren, .sync, .ping, .getChildren2, .checkWatches,
            .removeWatches, .multiRead, .auth, .setWatches, .sasl, .getEphemerals,
            .getAllChildrenNumber, .setWatches2, .addWatch, .whoAmI:
            false
        }
    }
}
