public import Glibc

/// Why bytes are not a record.
public enum JuteError: Error, Equatable {
    /// The field needs `need` bytes and `have` are left.
    case truncated(need: Int, have: Int)
    /// A length below -1 or over the limit.
    case invalidLength(Int32)
    /// A null where the record must have a value.
    case unexpectedNull
}

/// The lengths that a reader accepts.
public struct JuteLimits: Sendable {
    /// The longest buffer or string, in bytes: `jute.maxbuffer` and its extra size.
    public var fieldBytesMax: Int

    public init(fieldBytesMax: Int) { self.fieldBytesMax = fieldBytesMax }

    public static let `default` = JuteLimits(fieldBytesMax: 2_097_150)
    /// For bytes whose length is bounded already: a field is never longer than its frame.
    public static let frame = JuteLimits(fieldBytesMax: Int(Int32.max))
}

/// Walks the big-endian fields of one frame without copying it.
///
/// Every length is checked for its sign, its limit and the bytes that remain before it is used.
/// Bytes left over behind a record are nobody's mistake: ZooKeeper ignores them.
/// Source: ZooKeeper, `BinaryInputArchive`.
public struct JuteReader: ~Escapable {
    @usableFromInline var unread: Span<UInt8>
    @usableFromInline let fieldBytesMax: Int

    @_lifetime(copy frame)
    @inlinable @inline(__always)
    public init(_ frame: Span<UInt8>, limits: JuteLimits = .default) {
        unread = frame
        fieldBytesMax = limits.fieldBytesMax
    }

    /// What has not been read yet.
    @inlinable public var rest: Span<UInt8> {
        @_lifetime(copy self) @inline(__always) get { unread }
    }

    @inlinable public var remaining: Int { @inline(__always) get { unread.count } }

    @_lifetime(copy self)
    @inlinable @inline(__always)
    public mutating func take(_ count: Int) throws(JuteError) -> Span<UInt8> {
        precondition(count >= 0, "the sign is checked where the length is read")
        guard count <= unread.count else { throw .truncated(need: count, have: unread.count) }
        defer { unread = unread.extracting(droppingFirst: count) }
        return unread.extracting(first: count)
    }

    @_lifetime(self: copy self)
    @inlinable @inline(__always)
    public mutating func readByte() throws(JuteError) -> UInt8 {
        try take(1)[0]
    }

    /// Any byte but 0 is true.
    @_lifetime(self: copy self)
    @inlinable @inline(__always)
    public mutating func readBool() throws(JuteError) -> Bool {
        try readByte() != 0
    }

    /// An `int`: 4 bytes, signed.
    @_lifetime(self: copy self)
    @inlinable @inline(__always)
    public mutating func readInt() throws(JuteError) -> Int32 {
        let b = try take(4)
        let value = UInt32(b[0]) << 24 | UInt32(b[1]) << 16 | UInt32(b[2]) << 8 | UInt32(b[3])
        return Int32(bitPattern: value)
    }

    /// A `long`: 8 bytes, signed.
    @_lifetime(self: copy self)
    @inlinable @inline(__always)
    public mutating func readLong() throws(JuteError) -> Int64 {
        let high = try readInt()
        let low = try readInt()
        return Int64(high) << 32 | Int64(UInt32(bitPattern: low))
    }

    /// The length of a buffer or string: nil stands for a null.
    @_lifetime(self: copy self)
    @inlinable @inline(__always)
    mutating func readLength() throws(JuteError) -> Int? {
        let length = try readInt()
        if length == -1 { return nil }
        guard length >= 0, Int(length) <= fieldBytesMax else { throw .invalidLength(length) }
        return Int(length)
    }

    /// A `buffer` or `ustring` that may be null.
    @_lifetime(copy self)
    @inlinable @inline(__always)
    public mutating func readOptionalBytes() throws(JuteError) -> Span<UInt8>? {
        guard let length = try readLength() else { return nil }
        return try take(length)
    }

    /// A `buffer` or `ustring` that must not be null.
    @_lifetime(copy self)
    @inlinable @inline(__always)
    public mutating func readBytes() throws(JuteError) -> Span<UInt8> {
        guard let length = try readLength() else { throw .unexpectedNull }
        return try take(length)
    }

    /// A `buffer` or `ustring` whose null reads as an empty one.
    @_lifetime(copy self)
    @inlinable @inline(__always)
    public mutating func readBytesOrEmpty() throws(JuteError) -> Span<UInt8> {
        guard let length = try readLength() else { return unread.extracting(first: 0) }
        return try take(length)
    }

    /// A `ustring` as text; broken UTF-8 becomes U+FFFD.
    @_lifetime(self: copy self)
    public mutating func readOptionalString() throws(JuteError) -> String? {
        guard let bytes = try readOptionalBytes() else { return nil }
        return String(lenientUTF8: bytes)
    }

    /// A `ustring` as text; broken UTF-8 becomes U+FFFD.
    @_lifetime(self: copy self)
    public mutating func readString() throws(JuteError) -> String {
        guard let text = try readOptionalString() else { throw .unexpectedNull }
        return text
    }

    /// The element count of a vector: nil for a null vector (-1). Any other negative count is an
    /// empty vector, as Apache's reader treats it. Never allocate by it: it comes from a stranger.
    @_lifetime(self: copy self)
    @inlinable @inline(__always)
    public mutating func readCount() throws(JuteError) -> Int? {
        let count = try readInt()
        return count == -1 ? nil : max(0, Int(count))
    }
}

extension String {
    /// Decodes UTF-8; what is not UTF-8 becomes U+FFFD.
    public init(lenientUTF8 bytes: Span<UInt8>) {
        self = bytes.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
    }
}

extension Array where Element == UInt8 {
    public init(_ bytes: Span<UInt8>) {
        self = bytes.withUnsafeBufferPointer { Array($0) }
    }
}

extension Span where Element == UInt8 {
    /// Byte-wise equality.
    @inlinable @inline(__always)
    public func equals(_ other: Span<UInt8>) -> Bool {
        guard count == other.count else { return false }
        return withUnsafeBytes { mine in
            other.withUnsafeBytes { theirs in
                guard let a = mine.baseAddress, let b = theirs.baseAddress else { return true }
                return memcmp(a, b, count) == 0
            }
        }
    }
}
