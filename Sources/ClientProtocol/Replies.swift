public import Jute
public import Vocabulary

/// The xids that are not a client's counter.
public enum SpecialXid {
    public static let notification: Int32 = -1
    public static let ping: Int32 = -2
    public static let auth: Int32 = -4
    public static let setWatches: Int32 = -8
}

/// What happened to a watched path.
public enum WatchEventType: Int32, Sendable {
    case nodeCreated = 1
    case nodeDeleted = 2
    case nodeDataChanged = 3
    case nodeChildrenChanged = 4
}

/// Frames to clients, written behind what the buffer holds.
extension ByteBuffer {
    /// Starts a frame; `endFrame` fills in its length.
    @inlinable @inline(__always)
    public mutating func beginFrame() -> Int {
        let start = count
        append(Int32(0))
        return start
    }

    @inlinable @inline(__always)
    public mutating func endFrame(_ start: Int) {
        overwrite(Int32(truncatingIfNeeded: count - start - 4), at: start)
    }

    /// A `ReplyHeader`.
    @inlinable @inline(__always)
    public mutating func appendReplyHeader(xid: Int32, zxid: Zxid, error: ErrorCode) {
        let header = reserve(16)
        header.storeBytes(of: xid.bigEndian, as: Int32.self)
        header.storeBytes(of: zxid.rawValue.bigEndian, toByteOffset: 4, as: Int64.self)
        header.storeBytes(of: error.rawValue.bigEndian, toByteOffset: 12, as: Int32.self)
        advance(by: 16)
    }

    /// A whole frame that is only a header.
    @inlinable @inline(__always)
    public mutating func appendHeaderFrame(xid: Int32, zxid: Zxid, error: ErrorCode) {
        append(Int32(16))
        appendReplyHeader(xid: xid, zxid: zxid, error: error)
    }

    /// A `ConnectResponse` frame.
    ///
    /// `readOnly`: nil leaves the field out, for clients that did not send one.
    public mutating func appendConnectResponse(
        timeoutMilliseconds: Int32, session: SessionID, password: [UInt8], readOnly: Bool?
    ) {
        let frame = beginFrame()
        append(Int32(0))
        append(timeoutMilliseconds)
        append(session)
        append(Int32(password.count))
        append(password)
        if let readOnly { append(readOnly) }
        endFrame(frame)
    }

    /// A `WatcherEvent` frame. The state is always SyncConnected.
    public mutating func appendWatchEvent(
        _ type: WatchEventType, path: UnsafeRawBufferPointer, zxid: Zxid
    ) {
        let frame = beginFrame()
        appendReplyHeader(xid: SpecialXid.notification, zxid: zxid, error: .ok)
        append(type.rawValue)
        append(Int32(3))
        appendField(path)
        endFrame(frame)
    }

    /// A `MultiHeader` in front of one result.
    public mutating func appendMultiHeader(type: Int32, error: ErrorCode) {
        append(type)
        append(false)
        append(error)
    }

    /// The `MultiHeader` behind the last result.
    public mutating func appendMultiEnd() {
        append(Int32(-1))
        append(true)
        append(Int32(-1))
    }

    /// A failed operation of a multi: header and `ErrorResult`.
    public mutating func appendMultiError(_ error: ErrorCode) {
        appendMultiHeader(type: OpCode.error.rawValue, error: error)
        append(error)
    }
}
