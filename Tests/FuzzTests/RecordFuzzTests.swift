import ClientProtocol
import Jute
import Testing
import Transactions
import UnitTestSupport
import Vocabulary

extension FuzzTests {
    private static let frames = Capture.names.flatMap { Capture.load($0) }
        .filter { $0.direction == .fromClient }.map(\.payload)

    @Test func `records are read or refused`() {
        Fuzz.run("records") { random in
            var bytes = random.pick(Self.frames)
            random.mutate(&bytes, with: random.pick(Self.frames))
            let limits = random.pick([JuteLimits.default, .init(fieldBytesMax: 5), .frame])
            for reader in Self.readers {
                do {
                    try reader(bytes.span, limits)
                } catch is JuteError {
                    continue
                } catch is TxnError {
                    continue
                }
            }
        }
    }

    /// Every record of the wire and of a transaction.
    private static var readers: [(Span<UInt8>, JuteLimits) throws -> Void] {
        [
            {
                var reader = JuteReader($0, limits: $1)
                let request = try ConnectRequest(reading: &reader)
                _ = request.readOnly
            },
            {
                var reader = JuteReader($0, limits: $1)
                let header = try RequestHeader(reading: &reader)
                try Self.read(header.type, &reader)
            },
            {
                var reader = JuteReader($0, limits: $1)
                let header = try TxnHeader(reading: &reader)
                try Self.readTxn(header.type, &reader)
            },
            {
                var reader = JuteReader($0, limits: $1)
                _ = try reader.readACLs()
                _ = try reader.readStat()
                _ = try reader.readStatPersisted()
                _ = try reader.readOptionalString()
            },
            {
                var reader = JuteReader($0, limits: $1)
                while true {
                    _ = try MultiHeader(reading: &reader)
                    _ = try reader.readBytesOrEmpty()
                    _ = try reader.readBool()
                }
            },
        ]
    }

    private static func read(_ type: Int32, _ reader: inout JuteReader) throws {
        guard let op = OpCode(rawValue: type) else { return }
        switch op {
        case .create, .create2, .createContainer, .createTTL:
            let request = try CreateRequest(reading: &reader, op: op)
            _ = request.acl.decoded()
        case .delete, .check: _ = try PathVersionRequest(reading: &reader)
        case .setData: _ = try SetDataRequest(reading: &reader)
        case .setACL:
            let request = try SetACLRequest(reading: &reader)
            _ = request.acl.decoded()
        case .exists, .getData, .getChildren, .getChildren2:
            _ = try PathWatchRequest(reading: &reader)
        case .addWatch, .removeWatches: _ = try PathNumberRequest(reading: &reader)
        case .auth: _ = try AuthPacket(reading: &reader)
        default:
            for _ in 0..<(try reader.readCount() ?? 0) { _ = try reader.readString() }
        }
    }

    private static func readTxn(_ type: OpCode, _ reader: inout JuteReader) throws {
        switch type {
        case .create, .create2, .createContainer, .createTTL:
            _ = try CreateTxn(reading: &reader, type: type)
        case .delete, .deleteContainer: _ = try DeleteTxn(reading: &reader)
        case .setData, .reconfig: _ = try SetDataTxn(reading: &reader)
        case .setACL: _ = try SetACLTxn(reading: &reader)
        default: _ = try CheckVersionTxn(reading: &reader)
        }
        _ = TxnDigest(reading: &reader)
    }
}
