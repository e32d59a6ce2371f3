import Jute
import StorageFormat
import StorageTestSupport
import Testing
import UnitTestSupport
import Vocabulary
import Znodes

extension FuzzTests {
    /// The smaller logs, without their preallocated zeros.
    private static let logs: [[UInt8]] = Fixture.all.flatMap { fixture in
        fixture.files("log.").map { name in
            let file = fixture.bytes(name)
            return Array(file[..<((file.lastIndex { $0 != 0 } ?? -1) + 1)])
        }
    }.filter { $0.count > 64 && $0.count < 8000 }

    @Test func `logs are read as far as they are whole`() {
        Fuzz.run("logs") { random in
            var file = random.pick(Self.logs)
            random.mutate(&file, with: random.pick(Self.logs))
            if random.chance(percent: 70) { Self.repair(&file) }
            file += [UInt8](repeating: 0, count: random.pick([0, 1, 11, 12, 13, 64]))
            let database = Database(seed: random.next())
            do throws(LogDamage) {
                try LogFormat.checkHeader(file.span)
            } catch {
                return
            }
            var offset = LogFormat.headerBytes
            while true {
                let whole = file.span.extracting(droppingFirst: offset)
                let end = random.below(whole.count + 1)
                let piece = whole.extracting(first: end)
                guard let scan = Self.scan(piece, isLast: end == whole.count) else { return }
                let all = Self.scan(whole, isLast: true)
                switch scan {
                case .needMore(let bytes):
                    try Fuzz.require(bytes > end, "more is asked for: \(bytes) of \(end)")
                    guard case .record(let txn, let count)? = all else { return }
                    try Self.apply(whole.extracting(txn), to: database)
                    offset += count
                case .record(let txn, let count):
                    try Fuzz.require(all == scan, "a piece is read as the whole is")
                    try Self.apply(whole.extracting(txn), to: database)
                    offset += count
                case .end: return
                }
            }
        }
    }

    /// Nil for damage.
    private static func scan(_ bytes: Span<UInt8>, isLast: Bool) -> LogScan? {
        do throws(LogDamage) {
            return try LogFormat.scan(bytes, isLast: isLast, limits: .default)
        } catch {
            return nil
        }
    }

    private static func apply(_ txn: Span<UInt8>, to database: Database) throws {
        _ = LogFormat.zxid(ofTxn: txn)
        do throws(RestoreError) {
            try database.replay(txn)
        } catch {
            // Refused is as good as applied.
            return
        }
    }

    /// Gives every record the checksum of its bytes, so that damage gets further.
    private static func repair(_ file: inout [UInt8]) {
        var offset = LogFormat.headerBytes
        while offset + LogFormat.prefixBytes < file.count {
            var prefix = PlainReader(file[offset...])
            guard (try? prefix.long()) != nil, let length = try? prefix.int(), length > 0,
                offset + LogFormat.prefixBytes + Int(length) < file.count
            else { return }
            let start = offset + LogFormat.prefixBytes
            let end = start + Int(length)
            let sum = Adler32.of(file[start..<end].span)
            file.replaceSubrange(offset..<offset + 8, with: bytes { $0.append(sum) })
            file[end] = LogFormat.endOfRecord
            offset = end + 1
        }
    }
}
