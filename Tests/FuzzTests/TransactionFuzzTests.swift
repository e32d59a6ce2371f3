import Jute
import StorageFormat
import StorageTestSupport
import Testing
import Transactions
import UnitTestSupport
import Vocabulary
import Znodes

extension FuzzTests {
    /// What Apache's servers logged, and what ours proposes.
    private static let logged: [[UInt8]] = Fixture.all.flatMap { fixture in
        fixture.files("log.").flatMap { name in
            let file = fixture.bytes(name)
            var txns: [[UInt8]] = []
            var offset = LogFormat.headerBytes
            while offset <= file.count {
                let rest = file.span.extracting(droppingFirst: offset)
                let scan = try? LogFormat.scan(rest, isLast: true, limits: .default)
                guard case .record(let txn, let count)? = scan else { break }
                txns.append([UInt8](rest.extracting(txn)))
                offset += count
            }
            return txns
        }
    }

    private static let paths = ["/a", "/a/b", "/a/", "//a", "/", "", "/zookeeper/quota//x", "x"]

    @Test func `transactions are applied or refused`() {
        Fuzz.run("transactions") { random in
            let database = Database(seed: random.next())
            var session = FuzzWorld.session.rawValue
            if random.chance(percent: 10) { session = random.pick([0, .min, -1, .max]) }
            for zxid in 1...Int64(40) {
                var txn =
                    random.chance(percent: 40)
                    ? random.pick(Self.logged) : Self.record(&random, zxid: zxid, session: session)
                if random.chance(percent: 50) {
                    var record = Array(txn.dropFirst(TxnHeader.bytes))
                    random.mutate(&record, with: random.pick(Self.logged))
                    txn = txn.prefix(TxnHeader.bytes) + record
                } else if random.chance(percent: 10) {
                    random.mutate(&txn, with: random.pick(Self.logged))
                }
                var body = ByteBuffer()
                do {
                    _ = try withUnsafeMutablePointer(to: &body) {
                        try database.apply(txn.span, reply: $0)
                    }
                } catch is TxnError {
                    continue
                }
            }
            try database.exercise()
        }
    }

    /// A transaction on few paths, some of which are none.
    private static func record(
        _ random: inout SeededGenerator, zxid: Int64, session: Int64
    ) -> [UInt8] {
        let type = random.pick([
            OpCode.create, .create, .create2, .createContainer, .createTTL, .delete, .setData,
            .setACL, .closeSession, .multi,
        ])
        let time: Int64 = random.chance(percent: 5) ? random.pick([Int64.min, .max, -1]) : 1000
        let header = TxnHeader(
            session: SessionID(rawValue: session), cxid: 0, zxid: Zxid(rawValue: zxid), time: time,
            type: type)
        return bytes { header.append(to: &$0) } + fields(of: type, &random)
    }

    private static func fields(of type: OpCode, _ random: inout SeededGenerator) -> [UInt8] {
        let path = Array(random.pick(paths).utf8)
        let data = random.bytes(atMost: 8)
        let list = bytes { $0.append([random.chance(percent: 80) ? ACL.open : .bobs]) }
        let number = Int32(truncatingIfNeeded: random.below(6) - 1)
        switch type {
        case .create, .create2, .createContainer, .createTTL:
            return bytes {
                CreateTxn.append(
                    to: &$0, type: type, path: path.span, data: data.span, aclBytes: list.span,
                    isEphemeral: random.chance(percent: 40), parentCVersion: number,
                    ttlMilliseconds: Int64(number))
            }
        case .setData:
            return bytes {
                SetDataTxn.append(to: &$0, path: path.span, data: data.span, version: number)
            }
        case .setACL:
            return bytes {
                SetACLTxn.append(
                    to: &$0, path: path.span, aclBytes: list.span, version: number)
            }
        case .closeSession:
            return bytes {
                $0.append(Int32(1))
                $0.appendField(path.span)
                TxnDigest(value: 0).append(to: &$0)
            }
        case .multi:
            let parts = (0..<random.below(4)).map { _ in
                let type = random.pick([OpCode.create, .create2, .delete, .setData])
                return (type: type, record: fields(of: type, &random))
            }
            return bytes {
                $0.append(Int32(parts.count))
                for part in parts {
                    $0.append(part.type)
                    $0.appendField(part.record.span)
                }
            }
        default: return bytes { DeleteTxn.append(to: &$0, path: path.span) }
        }
    }
}
