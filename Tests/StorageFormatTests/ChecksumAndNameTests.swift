import StorageFormat
import Testing
import Vocabulary

@Suite struct ChecksumTests {
    @Test func `adler 32 gives the published values`() {
        #expect(adler([]) == 1)
        #expect(adler(Array("Wikipedia".utf8)) == 0x11e6_0398)
    }

    @Test func `adler 32 with its high bit set is a positive long`() {
        let bytes = [UInt8](repeating: 0xff, count: 5000)
        #expect(adler(bytes) == slowAdler(bytes))
        let high = (0..<400).map { [UInt8](repeating: 0xff, count: $0) }.first {
            slowAdler($0) >= 0x8000_0000
        }
        let found = high ?? []
        #expect(adler(found) == slowAdler(found))
        #expect(adler(found) >= 0x8000_0000)
    }

    @Test func `crc 32 gives the published value`() {
        var sum = CRC32()
        sum.update(Array("123456789".utf8).span)
        #expect(sum.value == 0xcbf4_3926)
    }

    @Test func `sums of pieces are the sum of the whole`() {
        let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* $0) }
        for cut in [0, 1, 5551, 5552, 5553, 9999, 10_000] {
            var adler = Adler32()
            adler.update(bytes.span.extracting(..<cut))
            adler.update(bytes.span.extracting(cut...))
            #expect(adler.value == slowAdler(bytes))
            var crc = CRC32()
            crc.update(bytes.span.extracting(..<cut))
            crc.update(bytes.span.extracting(cut...))
            var whole = CRC32()
            whole.update(bytes.span)
            #expect(crc.value == whole.value)
        }
    }

    private func adler(_ bytes: [UInt8]) -> Int64 { Adler32.of(bytes.span) }

    private func slowAdler(_ bytes: [UInt8]) -> Int64 {
        var (a, b): (Int64, Int64) = (1, 0)
        for byte in bytes {
            a = (a + Int64(byte)) % 65521
            b = (b + a) % 65521
        }
        return b << 16 | a
    }
}

@Suite struct FileNameTests {
    @Test(arguments: [
        ("log.0", 0), ("log.1", 1), ("log.100000001", 0x1_0000_0001), ("log.ABC", 0xabc),
        ("log.7fffffffffffffff", Int64.max),
    ])
    func `a log is named by a zxid`(text: String, zxid: Int64) {
        #expect(LogFileName(text)?.zxid.rawValue == zxid)
    }

    @Test(arguments: [
        "log", "log.", "log.x", "log.1.bak", "log.-1", "log.+1", "log.1.", "logs.1", "snapshot.1",
        "log.8000000000000000", ".log.1", "log..1", "log. 1", "",
    ])
    func `other names are no logs`(text: String) {
        #expect(LogFileName(text) == nil)
    }

    @Test func `snapshots have their compression in the name`() {
        #expect(
            SnapshotFileName("snapshot.1f") == .init(zxid: Zxid(rawValue: 31), compression: .none))
        #expect(SnapshotFileName("snapshot.0.gz") == .init(zxid: .zero, compression: .gzip))
        #expect(SnapshotFileName("snapshot.0.snappy") == .init(zxid: .zero, compression: .snappy))
    }

    @Test(arguments: [
        "snapshot", "snapshot.", "snapshot.1.tmp", "snapshot.1.gz.tmp", "snapshot.1.GZ", "log.1",
        "snapshot.-1", "snapshot.1.gz.gz", "snapshot.g",
    ])
    func `other names are no snapshots`(text: String) {
        #expect(SnapshotFileName(text) == nil)
    }

    @Test func `names are lower case hex without leading zeros`() {
        let zxid = Zxid(rawValue: 0x2_0000_00ab)
        #expect(LogFileName(zxid: zxid).text == "log.2000000ab")
        #expect(SnapshotFileName(zxid: zxid, compression: .none).text == "snapshot.2000000ab")
        #expect(SnapshotFileName(zxid: .zero, compression: .gzip).text == "snapshot.0.gz")
        #expect(
            SnapshotFileName(zxid: zxid, compression: .snappy).text == "snapshot.2000000ab.snappy")
    }

    @Test func `what a writer leaves half done is temporary`() {
        let name = SnapshotFileName(zxid: Zxid(rawValue: 5), compression: .gzip)
        #expect(SnapshotFileName.isTemporary(name.temporaryText))
        #expect(SnapshotFileName.isTemporary("snapshot.5.tmp"))
        #expect(!SnapshotFileName.isTemporary("snapshot.5"))
        #expect(!SnapshotFileName.isTemporary("acceptedEpoch.tmp"))
        #expect(!SnapshotFileName.isTemporary("snapshot.x.tmp"))
    }
}
