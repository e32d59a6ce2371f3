public import Vocabulary

/// The jute types, written field by field behind what a buffer holds already.
extension ByteBuffer {
    @inlinable @inline(__always)
    public mutating func append(_ value: Bool) { append(value ? UInt8(1) : UInt8(0)) }

    @inlinable @inline(__always)
    public mutating func append(_ zxid: Zxid) { append(zxid.rawValue) }

    @inlinable @inline(__always)
    public mutating func append(_ id: SessionID) { append(id.rawValue) }

    @inlinable @inline(__always)
    public mutating func append(_ error: ErrorCode) { append(error.rawValue) }

    @inlinable @inline(__always)
    public mutating func append(_ op: OpCode) { append(op.rawValue) }

    /// A `buffer` or `ustring`: length and bytes.
    @inlinable @inline(__always)
    public mutating func appendField(_ bytes: UnsafeRawBufferPointer) {
        append(Int32(truncatingIfNeeded: bytes.count))
        append(bytes)
    }

    /// A `buffer` or `ustring`: length and bytes.
    @inlinable @inline(__always)
    public mutating func appendField(_ bytes: Span<UInt8>) {
        append(Int32(truncatingIfNeeded: bytes.count))
        append(bytes)
    }

    /// A `ustring`.
    public mutating func appendField(_ text: String) {
        var text = text
        text.withUTF8 { appendField(UnsafeRawBufferPointer($0)) }
    }

    /// A null `buffer`, `ustring` or vector.
    @inlinable @inline(__always)
    public mutating func appendNull() { append(Int32(-1)) }

    /// A `vector<ACL>`.
    public mutating func append(_ list: [ACL]) {
        append(Int32(truncatingIfNeeded: list.count))
        for entry in list {
            append(entry.permissions.rawValue)
            appendField(entry.scheme)
            appendField(entry.id)
        }
    }

    /// A client's `Stat`: 68 bytes.
    @inlinable @inline(__always)
    public mutating func append(_ stat: Stat) {
        append(stat.czxid)
        append(stat.mzxid)
        append(stat.ctime)
        append(stat.mtime)
        append(stat.version)
        append(stat.cversion)
        append(stat.aversion)
        append(stat.ephemeralOwner)
        append(stat.dataLength)
        append(stat.numChildren)
        append(stat.pzxid)
    }

    /// A `StatPersisted`: 60 bytes.
    public mutating func append(_ stat: StatPersisted) {
        append(stat.czxid)
        append(stat.mzxid)
        append(stat.ctime)
        append(stat.mtime)
        append(stat.version)
        append(stat.cversion)
        append(stat.aversion)
        append(stat.owner.rawValue)
        append(stat.pzxid)
    }
}

extension JuteReader {
    /// A `vector<ACL>`: nil when it is null.
    @_lifetime(self: copy self)
    public mutating func readACLs() throws(JuteError) -> [ACL]? {
        guard let count = try readCount() else { return nil }
        var list: [ACL] = []
        for _ in 0..<count {
            let permissions = Permissions(rawValue: try readInt())
            list.append(
                ACL(permissions: permissions, scheme: try readString(), id: try readString()))
        }
        return list
    }

    /// The bytes of a `vector<ACL>`, count included, checked to be one. A null vector's bytes are
    /// the null.
    @_lifetime(copy self)
    @inlinable @inline(__always)
    public mutating func takeACLBytes() throws(JuteError) -> Span<UInt8> {
        let whole = rest
        let count = try readCount() ?? 0
        for _ in 0..<count {
            _ = try readInt()
            _ = try readOptionalBytes()
            _ = try readOptionalBytes()
        }
        return whole.extracting(first: whole.count - remaining)
    }

    /// A client's `Stat`.
    @_lifetime(self: copy self)
    public mutating func readStat() throws(JuteError) -> Stat {
        Stat(
            czxid: Zxid(rawValue: try readLong()), mzxid: Zxid(rawValue: try readLong()),
            ctime: try readLong(), mtime: try readLong(), version: try readInt(),
            cversion: try readInt(), aversion: try readInt(), ephemeralOwner: try readLong(),
            dataLength: try readInt(), numChildren: try readInt(),
            pzxid: Zxid(rawValue: try readLong()))
    }

    /// A `StatPersisted`.
    @_lifetime(self: copy self)
    public mutating func readStatPersisted() throws(JuteError) -> StatPersisted {
        StatPersisted(
            czxid: Zxid(rawValue: try readLong()), mzxid: Zxid(rawValue: try readLong()),
            ctime: try readLong(), mtime: try readLong(), version: try readInt(),
            cversion: try readInt(), aversion: try readInt(),
            owner: Owner(rawValue: try readLong()), pzxid: Zxid(rawValue: try readLong()))
    }
}
