import Jute
import StorageFormat
import StorageTestSupport
import Testing
import Vocabulary

@Suite struct LogFormatTests {
    /// A record around a txn with the given zxid.
    private func record(zxid: Int64 = 7, extra: Int = 0) -> [UInt8] {
        var txn = ByteBuffer()
        txn.append(Int64(1))
        txn.append(Int32(2))
        txn.append(zxid)
        txn.append(Int64(3))
        txn.append(Int32(-1))
        txn.append([UInt8](repeating: 0x55, count: extra))
        var buffer = ByteBuffer()
        buffer.append(Adler32.of(txn.bytes))
        buffer.appendField(txn.bytes)
        buffer.append(LogFormat.endOfRecord)
        return Array(buffer.bytes)
    }

    private func scan(
        _ bytes: [UInt8], isLast: Bool = true, limit: Int = 2_097_150
    ) -> Result<LogScan, LogDamage> {
        do throws(LogDamage) {
            return .success(
                try LogFormat.scan(
                    bytes.span, isLast: isLast, limits: JuteLimits(fieldBytesMax: limit)))
        } catch {
            return .failure(error)
        }
    }

    private func headerDamage(_ bytes: [UInt8]) -> LogDamage? {
        do throws(LogDamage) {
            try LogFormat.checkHeader(bytes.span)
            return nil
        } catch {
            return error
        }
    }

    @Test func `the header is Apache's`() {
        var buffer = ByteBuffer()
        LogFormat.appendHeader(to: &buffer)
        #expect(Array(buffer.bytes) == Array(Fixture("3.9.3-basic").bytes("log.1").prefix(16)))
        #expect(headerDamage(Array(buffer.bytes)) == nil)
    }

    @Test func `other headers are damage`() {
        let header = Array(Fixture("3.9.3-basic").bytes("log.1").prefix(16))
        for count in 0..<16 {
            #expect(headerDamage(Array(header.prefix(count))) == .shortHeader(bytes: count))
        }
        #expect(headerDamage([UInt8](repeating: 0, count: 16)) == .notALog(magic: 0))
        var other = header
        other[7] = 3
        #expect(headerDamage(other) == .unknownVersion(3))
    }

    @Test func `a whole record is found whatever follows`() {
        let bytes = record(extra: 5)
        let expected = LogScan.record(txn: 12..<49, bytes: 50)
        #expect(scan(bytes) == .success(expected))
        #expect(scan(bytes + [0, 0, 0], isLast: false) == .success(expected))
        #expect(scan(bytes + record()) == .success(expected))
        let zxid = LogFormat.zxid(ofTxn: bytes.span.extracting(12..<49))
        #expect(zxid == Zxid(rawValue: 7))
    }

    @Test func `a record cut anywhere is torn at the end of the file and asks for more before it`()
    {
        let bytes = record()
        for count in 1..<bytes.count {
            let part = Array(bytes.prefix(count))
            // Four zeros are the high half of a checksum as well as a preallocation.
            #expect(scan(part) == .success(.end(count <= 4 ? .clean : .torn)))
            let need = count < 12 ? 12 : bytes.count
            #expect(scan(part, isLast: false) == .success(.needMore(bytes: need)))
        }
    }

    @Test func `nothing and zeros are a clean end`() {
        for count in [0, 1, 11, 12, 13, 100] {
            #expect(scan([UInt8](repeating: 0, count: count)) == .success(.end(.clean)))
        }
    }

    @Test func `a length of 0 ends the file even behind a checksum`() {
        #expect(scan([0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0x42]) == .success(.end(.torn)))
    }

    @Test func `a wrong end byte is an end and no damage`() {
        var bytes = record()
        bytes[bytes.count - 1] = 0
        #expect(scan(bytes) == .success(.end(.torn)))
        bytes[20] ^= 1
        #expect(scan(bytes) == .success(.end(.torn)))
    }

    @Test func `a wrong checksum of a whole record is damage`() {
        var bytes = record()
        let right = Adler32.of(bytes.span.extracting(12..<44))
        bytes[20] ^= 1
        let wrong = Adler32.of(bytes.span.extracting(12..<44))
        #expect(scan(bytes) == .failure(.checksumMismatch(stored: right, computed: wrong)))
    }

    @Test func `a checksum is compared with all of its eight bytes`() {
        var bytes = record()
        bytes[0] = 1
        guard case .failure(.checksumMismatch) = scan(bytes) else {
            Issue.record("the high half of the checksum was not looked at")
            return
        }
    }

    @Test(arguments: [-1, -2, Int32.min])
    func `a negative length is damage`(length: Int32) {
        var buffer = ByteBuffer()
        buffer.append(Int64(0))
        buffer.append(length)
        let prefix = Array(buffer.bytes)
        #expect(scan(prefix) == .failure(.invalidLength(length, max: 2_097_150)))
    }

    @Test func `a length over the limit is damage even where the file ends before`() {
        let length = { (value: UInt32) -> [UInt8] in
            [UInt8](repeating: 0, count: 8) + (0..<4).map { UInt8(value >> (24 - 8 * $0) & 0xff) }
        }
        #expect(scan(length(2_097_151)) == .failure(.invalidLength(2_097_151, max: 2_097_150)))
        #expect(scan(length(2_097_150)) == .success(.end(.torn)))
        #expect(scan(record(), limit: 32) == .success(.record(txn: 12..<44, bytes: 45)))
        #expect(scan(record(), limit: 31) == .failure(.invalidLength(32, max: 31)))
    }

    @Test func `a record without a whole txn header is damage`() {
        let txn = [UInt8](repeating: 9, count: 31)
        var buffer = ByteBuffer()
        buffer.append(Adler32.of(txn.span))
        buffer.appendField(txn.span)
        buffer.append(LogFormat.endOfRecord)
        #expect(scan(Array(buffer.bytes)) == .failure(.shortTxn(bytes: 31)))
    }

    @Test func `a log grows by a step when its end is near`() {
        let step = LogPreallocation(bytes: 65_536 << 10)
        #expect(step.size(forRecordAt: 16, size: 16) == 65_536 << 10 + 16)
        let size = 65_536 << 10 + 16
        #expect(step.size(forRecordAt: size - 4097, size: size) == size)
        #expect(step.size(forRecordAt: size - 4096, size: size) == size + 65_536 << 10)
        #expect(step.size(forRecordAt: size, size: size) == size + 65_536 << 10)
    }

    @Test func `a log whose records outran its size grows to a multiple of the step`() {
        let step = LogPreallocation(bytes: 4096)
        #expect(step.size(forRecordAt: 10_001, size: 10_000) == 12_288)
        #expect(step.size(forRecordAt: 8192, size: 4112) == 12_288)
        #expect(step.size(forRecordAt: 8191, size: 4112) == 8192)
    }

    @Test func `without a step a log never grows ahead`() {
        #expect(LogPreallocation(bytes: 0).size(forRecordAt: 100, size: 16) == 16)
    }
}
