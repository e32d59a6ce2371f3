/// Reads jute fields the slow, obvious way: what the server's reader is compared with.
package struct PlainReader {
    package struct Ended: Error {}

    package private(set) var rest: ArraySlice<UInt8>

    package init(_ bytes: some Sequence<UInt8>) { rest = Array(bytes)[...] }

    package mutating func take(_ count: Int) throws -> [UInt8] {
        guard count >= 0, count <= rest.count else { throw Ended() }
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }

    package mutating func integer<Integer: FixedWidthInteger>(
        _: Integer.Type = Integer.self
    ) throws -> Integer {
        try take(Integer.bitWidth / 8).reduce(into: Integer.zero) { value, byte in
            value = value << 8 | Integer(truncatingIfNeeded: byte)
        }
    }

    package mutating func int() throws -> Int32 { try integer() }
    package mutating func long() throws -> Int64 { try integer() }
    package mutating func bool() throws -> Bool { try take(1) != [0] }

    /// A buffer or string; nil is a null.
    package mutating func field() throws -> [UInt8]? {
        let length = try int()
        return length == -1 ? nil : try take(Int(length))
    }

    package mutating func text() throws -> String {
        guard let bytes = try field() else { throw Ended() }
        return String(decoding: bytes, as: UTF8.self)
    }

    package mutating func texts() throws -> [String] {
        var list: [String] = []
        for _ in 0..<(try int()) { list.append(try text()) }
        return list
    }
}
