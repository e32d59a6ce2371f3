import Jute
import Testing
import UnitTestSupport
import Vocabulary

@Suite struct `Jute primitives` {
    @Test func `an int is four bytes, high byte first, signed`() throws {
        let cases: [(value: Int32, hex: String)] = [
            (0, "00000000"), (1, "00000001"), (-1, "ffffffff"), (0x0102_0304, "01020304"),
            (.max, "7fffffff"), (.min, "80000000"),
        ]
        for (value, hex) in cases {
            #expect(bytes { $0.append(value) } == [UInt8](hex: hex))
            let encoded = [UInt8](hex: hex)
            var reader = JuteReader(encoded.span)
            let read = try reader.readInt()
            #expect(read == value)
            #expect(reader.remaining == 0)
        }
    }

    @Test func `a long is eight bytes, high byte first, signed`() throws {
        let cases: [(value: Int64, hex: String)] = [
            (0, "0000000000000000"), (-1, "ffffffffffffffff"),
            (0x0102_0304_0506_0708, "0102030405060708"), (.max, "7fffffffffffffff"),
            (.min, "8000000000000000"), (0xffff_ffff, "00000000ffffffff"),
            (-0x1_0000_0000, "ffffffff00000000"), (0x8000_0000, "0000000080000000"),
        ]
        for (value, hex) in cases {
            #expect(bytes { $0.append(value) } == [UInt8](hex: hex))
            let encoded = [UInt8](hex: hex)
            var reader = JuteReader(encoded.span)
            let read = try reader.readLong()
            #expect(read == value)
        }
    }

    @Test(arguments: UInt8.min...UInt8.max)
    func `every byte but 0 is true`(_ byte: UInt8) throws {
        let encoded = [byte]
        var reader = JuteReader(encoded.span)
        let read = try reader.readBool()
        #expect(read == (byte != 0))
    }

    @Test func `booleans are written as 0 and 1`() {
        #expect(bytes { $0.append(true) } == [1])
        #expect(bytes { $0.append(false) } == [0])
    }

    @Test func `null and empty buffers are different and both survive`() throws {
        let null = bytes { $0.appendNull() }
        #expect(null == [0xff, 0xff, 0xff, 0xff])
        var reader = JuteReader(null.span)
        let isNull = try reader.readOptionalBytes() == nil
        #expect(isNull)

        let empty = bytes { $0.appendField([UInt8]().span) }
        #expect(empty == [0, 0, 0, 0])
        reader = JuteReader(empty.span)
        let count = try reader.readOptionalBytes()?.count
        #expect(count == 0)
    }

    @Test func `a buffer brings its bytes and leaves what follows`() throws {
        let encoded = [UInt8](hex: "00000003616263ee")
        #expect(bytes { $0.appendField("abc") } + [0xee] == encoded)
        var reader = JuteReader(encoded.span)
        let read = [UInt8](try reader.readBytes())
        #expect(read == Array("abc".utf8))
        #expect(reader.remaining == 1)
    }

    @Test func `text is UTF-8, and what is broken becomes U+FFFD`() throws {
        let text = "znode \u{e9}\u{8c48}\u{1f600}"
        let encoded = bytes { $0.appendField(text) }
        var reader = JuteReader(encoded.span)
        #expect(try reader.readString() == text)
        let broken = [UInt8](hex: "0000000361ff62")
        reader = JuteReader(broken.span)
        #expect(try reader.readString() == "a\u{fffd}b")
    }

    @Test func `a null string is no string`() throws {
        let null = bytes { $0.appendNull() }
        var reader = JuteReader(null.span)
        #expect(try reader.readOptionalString() == nil)
        #expect(
            failure(reading: null) {
                var r = JuteReader($0); _ = try r.readString()
            } == .unexpectedNull)
        #expect(
            failure(reading: null) {
                var r = JuteReader($0); _ = try r.readBytes()
            } == .unexpectedNull)
        reader = JuteReader(null.span)
        let count = try reader.readBytesOrEmpty().count
        #expect(count == 0)
    }

    @Test func `numbers with names are written as their raw values`() {
        #expect(bytes { $0.append(Zxid(epoch: 2, counter: 7)) } == [UInt8](hex: "0000000200000007"))
        #expect(bytes { $0.append(SessionID(rawValue: -2)) } == [UInt8](hex: "fffffffffffffffe"))
        #expect(bytes { $0.append(ErrorCode.noNode) } == [UInt8](hex: "ffffff9b"))
        #expect(bytes { $0.append(OpCode.closeSession) } == [UInt8](hex: "fffffff5"))
    }

    @Test func `random fields read back the same through both readers`() throws {
        var random = SeededGenerator(seed: 7)
        for _ in 0..<200 {
            let int = Int32(truncatingIfNeeded: random.next())
            let long = Int64(bitPattern: random.next())
            let field = random.bytes(atMost: 40)
            let encoded = bytes {
                $0.append(int)
                $0.appendField(field.span)
                $0.append(long)
            }
            var reader = JuteReader(encoded.span)
            var plain = PlainReader(encoded)
            #expect(try reader.readInt() == int)
            #expect(try plain.int() == int)
            let read = [UInt8](try reader.readBytes())
            #expect(read == field)
            #expect(try plain.field() == field)
            #expect(try reader.readLong() == long)
            #expect(try plain.long() == long)
        }
    }
}
