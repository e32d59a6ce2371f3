/// The position of a transaction in the one order of all writes: epoch in the high half, counter
/// in the low half. Signed, as in ZooKeeper; `none` (-1) is no position at all.
public struct Zxid: Hashable, Comparable, RawRepresentable, Sendable {
    public var rawValue: Int64

    @inlinable
    public init(rawValue: Int64) { self.rawValue = rawValue }

    @inlinable
    public init(epoch: Int64, counter: UInt32) {
        rawValue = epoch << 32 | Int64(counter)
    }

    public static let none = Zxid(rawValue: -1)
    public static let zero = Zxid(rawValue: 0)

    @inlinable public var epoch: Int64 { rawValue >> 32 }
    @inlinable public var counter: UInt32 { UInt32(truncatingIfNeeded: rawValue) }

    /// The next position. Behind a full counter it is the first of the next epoch: right for a
    /// standalone server, which counts on; a leader steps down before.
    @inlinable
    public var next: Zxid { Zxid(rawValue: rawValue + 1) }

    @inlinable
    public static func < (a: Zxid, b: Zxid) -> Bool { a.rawValue < b.rawValue }

    /// Lower-case hex without leading zeros, as in file names.
    public var hex: String { String(UInt64(bitPattern: rawValue), radix: 16) }
}

extension Zxid: CustomStringConvertible {
    public var description: String { "0x" + hex }
}

/// A server of the ensemble (`myid`). A standalone server counts as 1 in its session ids.
public struct ServerID: Hashable, Comparable, RawRepresentable, Sendable {
    public var rawValue: Int64
    public init(rawValue: Int64) { self.rawValue = rawValue }

    public static func < (a: ServerID, b: ServerID) -> Bool { a.rawValue < b.rawValue }
}

/// A client's session. The high byte is the server that created it; 0 is no session.
public struct SessionID: Hashable, Comparable, RawRepresentable, Sendable {
    public var rawValue: Int64

    @inlinable
    public init(rawValue: Int64) { self.rawValue = rawValue }

    public static let none = SessionID(rawValue: 0)

    @inlinable
    public static func < (a: SessionID, b: SessionID) -> Bool { a.rawValue < b.rawValue }

    public var hex: String { String(UInt64(bitPattern: rawValue), radix: 16) }

    /// Whether the server created it, as far as one byte can tell.
    public func began(at server: ServerID) -> Bool {
        UInt64(bitPattern: rawValue) >> 56 == UInt64(bitPattern: server.rawValue) & 0xff
    }
}

extension SessionID: CustomStringConvertible {
    public var description: String { "0x" + hex }
}

/// A connection between a leader and a learner, as one server counts them; no number comes twice
/// in a process.
public struct LinkID: Hashable, Comparable, RawRepresentable, Sendable {
    public var rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }

    /// No link: this server itself.
    public static let here = LinkID(rawValue: 0)

    public static func < (a: LinkID, b: LinkID) -> Bool { a.rawValue < b.rawValue }
}
