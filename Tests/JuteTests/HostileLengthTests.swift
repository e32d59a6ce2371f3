import Jute
import Testing
import UnitTestSupport
import Vocabulary

/// Lengths come from strangers: sign, limit and what is left are checked before they are used.
@Suite struct `Hostile lengths` {
    @Test(arguments: 0..<4)
    func `a cut int says how much is missing`(_ have: Int) {
        let cut = [UInt8](repeating: 1, count: have)
        let error = failure(reading: cut) {
            var r = JuteReader($0); _ = try r.readInt()
        }
        #expect(error == .truncated(need: 4, have: have))
    }

    @Test(arguments: 0..<8)
    func `a cut long says how much is missing`(_ have: Int) {
        let cut = [UInt8](repeating: 1, count: have)
        let error = failure(reading: cut) {
            var r = JuteReader($0); _ = try r.readLong()
        }
        #expect(error == .truncated(need: 4, have: have < 4 ? have : have - 4))
    }

    @Test func `a cut byte and a cut bool are errors`() {
        #expect(
            failure(reading: []) {
                var r = JuteReader($0); _ = try r.readByte()
            } == .truncated(need: 1, have: 0))
        #expect(
            failure(reading: []) {
                var r = JuteReader($0); _ = try r.readBool()
            } == .truncated(need: 1, have: 0))
    }

    @Test(arguments: 0..<9)
    func `a cut buffer is an error wherever it is cut`(_ have: Int) {
        let whole = [UInt8](hex: "000000056162636465")
        let error = failure(reading: Array(whole.prefix(have))) {
            var r = JuteReader($0)
            _ = try r.readOptionalBytes()
        }
        let expected: JuteError =
            have < 4 ? .truncated(need: 4, have: have) : .truncated(need: 5, have: have - 4)
        #expect(error == expected)
    }

    @Test(arguments: [Int32(-2), -3, .min])
    func `a length below -1 is an error, whatever follows`(_ length: Int32) {
        let encoded = bytes {
            $0.append(length)
            $0.append([UInt8](repeating: 0, count: 64))
        }
        for read in Self.fieldReaders {
            #expect(failure(reading: encoded, read) == .invalidLength(length))
        }
    }

    private static var fieldReaders: [(Span<UInt8>) throws -> Void] {
        [
            {
                var r = JuteReader($0); _ = try r.readBytes()
            },
            {
                var r = JuteReader($0); _ = try r.readOptionalBytes()
            },
            {
                var r = JuteReader($0); _ = try r.readBytesOrEmpty()
            },
            {
                var r = JuteReader($0); _ = try r.readString()
            },
            {
                var r = JuteReader($0); _ = try r.readOptionalString()
            },
        ]
    }

    @Test func `the limit itself is allowed, one more is not`() {
        func read(_ count: Int, max: Int) -> JuteError? {
            let encoded = bytes { $0.appendField([UInt8](repeating: 9, count: count).span) }
            return failure(reading: encoded) {
                var r = JuteReader($0, limits: JuteLimits(fieldBytesMax: max))
                _ = try r.readBytes()
            }
        }
        #expect(read(10, max: 10) == nil)
        #expect(read(11, max: 10) == .invalidLength(11))
        #expect(read(0, max: 0) == nil)
        #expect(JuteLimits.default.fieldBytesMax == 2_097_150)
    }

    @Test func `a length over the limit is an error before the bytes are missed`() {
        let encoded = bytes { $0.append(Int32.max) }
        let error = failure(reading: encoded) {
            var r = JuteReader($0); _ = try r.readBytes()
        }
        #expect(error == .invalidLength(Int32.max))
    }

    @Test func `a vector's count: -1 is null, every other negative one is empty`() throws {
        let cases: [(count: Int32, read: Int?)] = [
            (-1, nil), (-2, 0), (.min, 0), (0, 0), (3, 3), (.max, Int(Int32.max)),
        ]
        for (count, expected) in cases {
            let encoded = bytes { $0.append(count) }
            var reader = JuteReader(encoded.span)
            #expect(try reader.readCount() == expected)
        }
    }

    @Test func `taking nothing works at the end, taking more does not`() throws {
        let encoded: [UInt8] = [1, 2]
        var reader = JuteReader(encoded.span)
        let both = [UInt8](try reader.take(2))
        #expect(both == encoded)
        let none = try reader.take(0).count
        #expect(none == 0)
        #expect(
            failure(reading: encoded) {
                var r = JuteReader($0); _ = try r.take(3)
            } == .truncated(need: 3, have: 2))
    }
}
