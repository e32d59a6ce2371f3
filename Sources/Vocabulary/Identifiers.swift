/// The position of a transaction in the one order of all writes: epoch in the high half, counter
/// in the low half. Signed, as in ZooKeeper; `none` (-1) is no position at all.
package struct Zxid: Hashable, Comparable, RawRepresentable, Sendable {
    package var rawValue: Int64

    @inlinable
    package init(rawValue: Int64) { self.rawValue = rawValue }

    @inlinable
    package init(epoch: Int64, counter: UInt32) {
        rawValue = epoch << 32 | Int64(counter)
    }

    package static let none = Zxid(rawValue: -1)
    package static let zero = Zxid(rawValue: 0)

    @inlinable package var epoch: Int64 { rawValue >> 32 }
    @inlinable package var counter: UInt32 { UInt32(truncatingIfNeeded: rawValue) }

    /// The next position of the same epoch.
    @inlinable
    package var next: Zxid {
        precondition(counter < .max, "a full counter needs a new epoch")
        return Zxid(rawValue: rawValue &+ 1)
    }

    @inlinable
    package static func < (a: Zxid, b: Zxid) -> Bool { a.rawValue < b.rawValue }

    /// Lower-case hex without leading zeros, as in file names.
    package var hex: String { String(UInt64(bitPattern: rawValue), radix: 16) }
}

extension Zxid: CustomStringConvertible {
    package var description: String { "0x" + hex }
}

/// A server of the ensemble (`myid`). A standalone server counts as 1 in its session ids.
package struct ServerID: Hashable, Comparable, RawRepresentable, Sendable {
    package var rawValue: Int64
    package init(rawValue: Int64) { self.rawValue = rawValue }

    package static func < (a: ServerID, b: ServerID) -> Bool { a.rawValue < b.rawValue }
}

/// A client's session. The high byte is the server that created it; 0 is no session.
package struct SessionID: Hashable, Comparable, RawRepresentable, Sendable {
    package var rawValue: Int64

    @inlinable
    package init(rawValue: Int64) { self.rawValue = rawValue }

    package static let none = SessionID(rawValue: 0)

    @inlinable
    package static func < (a: SessionID, b: SessionID) -> Bool { a.rawValue < b.rawValue }

    package var hex: String { String(UInt64(bitPattern: rawValue), radix: 16) }
}

extension SessionID: CustomStringConvertible {
    package var description: String { "0x" + hex }
}
