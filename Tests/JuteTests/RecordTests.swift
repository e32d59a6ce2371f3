import Jute
import Testing
import UnitTestSupport
import Vocabulary

/// The records that several formats share.
@Suite struct `Shared records` {
    private let stat = Stat(
        czxid: Zxid(rawValue: 1), mzxid: Zxid(rawValue: 2), ctime: 3, mtime: 4, version: 5,
        cversion: 6, aversion: 7, ephemeralOwner: 8, dataLength: 9, numChildren: 10,
        pzxid: Zxid(rawValue: 11))
    private let persisted = StatPersisted(
        czxid: Zxid(rawValue: 1), mzxid: Zxid(rawValue: 2), ctime: 3, mtime: 4, version: 5,
        cversion: 6, aversion: 7, owner: Owner(rawValue: 8), pzxid: Zxid(rawValue: 9))

    @Test func `a stat is 68 bytes in the order of its fields`() throws {
        let encoded = bytes { $0.append(stat) }
        let hex =
            "0000000000000001" + "0000000000000002" + "0000000000000003" + "0000000000000004"
            + "00000005" + "00000006" + "00000007" + "0000000000000008" + "00000009" + "0000000a"
            + "000000000000000b"
        #expect(encoded.hex == hex)
        var reader = JuteReader(encoded.span)
        #expect(try reader.readStat() == stat)
    }

    @Test func `a stored stat is 60 bytes in the order of its fields`() throws {
        let encoded = bytes { $0.append(persisted) }
        let hex =
            "0000000000000001" + "0000000000000002" + "0000000000000003" + "0000000000000004"
            + "00000005" + "00000006" + "00000007" + "0000000000000008" + "0000000000000009"
        #expect(encoded.hex == hex)
        #expect(encoded.count == StatPersisted.bytes)
        var reader = JuteReader(encoded.span)
        #expect(try reader.readStatPersisted() == persisted)
    }

    @Test func `no truncation of a stat is a stat`() {
        let long = bytes { $0.append(stat) }
        for count in 0..<long.count {
            let error = failure(reading: Array(long.prefix(count))) {
                var r = JuteReader($0)
                _ = try r.readStat()
            }
            #expect(error != nil)
        }
        let short = bytes { $0.append(persisted) }
        for count in 0..<short.count {
            let error = failure(reading: Array(short.prefix(count))) {
                var r = JuteReader($0)
                _ = try r.readStatPersisted()
            }
            #expect(error != nil)
        }
    }

    private let list = [
        ACL(permissions: .all, scheme: "world", id: "anyone"),
        ACL(permissions: Permissions(rawValue: 0x7f), scheme: "digest", id: "bob:x"),
    ]

    @Test func `a list of ACLs survives, with permissions nobody checks`() throws {
        let encoded = bytes { $0.append(list) }
        var reader = JuteReader(encoded.span)
        #expect(try reader.readACLs() == list)
        let null = bytes { $0.appendNull() }
        reader = JuteReader(null.span)
        #expect(try reader.readACLs() == nil)
    }

    @Test func `the bytes of a list end where the list ends`() throws {
        let encoded = bytes { $0.append(list) }
        let followed = encoded + [1, 2, 3]
        var reader = JuteReader(followed.span)
        let taken = [UInt8](try reader.takeACLBytes())
        #expect(taken == encoded)
        #expect(reader.remaining == 3)
        for count in 0..<encoded.count {
            let error = failure(reading: Array(encoded.prefix(count))) {
                var r = JuteReader($0)
                _ = try r.takeACLBytes()
            }
            #expect(error != nil)
        }
    }

    @Test(arguments: [Int32(-1), -2, .min])
    func `the bytes of a null or negative list are its count`(_ count: Int32) throws {
        let encoded = bytes {
            $0.append(count)
            $0.append(UInt8(9))
        }
        var reader = JuteReader(encoded.span)
        let taken = [UInt8](try reader.takeACLBytes())
        #expect(taken == bytes { $0.append(count) })
    }

    @Test func `a huge list runs out of bytes at once and not out of memory`() {
        let encoded = bytes { $0.append(Int32.max) }
        let error = failure(reading: encoded) {
            var r = JuteReader($0); _ = try r.readACLs()
        }
        #expect(error == .truncated(need: 4, have: 0))
    }

    @Test func `spans compare byte by byte`() {
        #expect(areEqual([1, 2], [1, 2]))
        #expect(areEqual([], []))
        #expect(!areEqual([1, 2], [1, 3]))
        #expect(!areEqual([1], [1, 2]))
        #expect(!areEqual([], [0]))
    }

    private func areEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool { a.span.equals(b.span) }
}
