import Foundation
import QuorumProtocol
import Testing
import Transactions
import UnitTestSupport
import Vocabulary
import Znodes

/// What one server of an Apache ensemble sent to another on a quorum connection.
struct Recorded: Sendable {
    /// The connection, as the recorder named it.
    let stream: String
    /// Nil on connections that are older than the recording.
    let sender: ServerID?
    let receiver: ServerID?
    /// One packet, or the tree behind SNAP; empty: the end of the connection.
    let bytes: [UInt8]
    let decoded: String

    var isEnd: Bool { bytes.isEmpty }
    var isTree: Bool { decoded.hasPrefix("snapshot stream") }
    var packet: Packet? { isEnd || isTree ? nil : try? Packet(bytes) }

    /// The messages of the quorum ports, in their order; `port`: of another kind of port.
    static func load(_ name: String, port: String = "quorum") throws -> [Recorded] {
        let text = try String(
            contentsOf: fixtures.appending(path: "quorum/\(name).jsonl"), encoding: .utf8)
        return try text.split(separator: "\n").compactMap { line in
            let fields = try #require(
                try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            guard fields["port"] as? String == port else { return nil }
            func server(_ key: String) -> ServerID? {
                (fields[key] as? Int64).map(ServerID.init(rawValue:))
            }
            return Recorded(
                stream: try #require(fields["stream"] as? String), sender: server("from"),
                receiver: server("to"),
                bytes: [UInt8](hex: try #require(fields["hex"] as? String)),
                decoded: try #require(fields["decoded"] as? String))
        }
    }

    /// The transactions that were proposed in a recording, each once, in their order.
    static func proposals(_ name: String) throws -> [[UInt8]] {
        var txns: [Zxid: [UInt8]] = [:]
        for packet in try load(name).compactMap(\.packet) where packet.type == .proposal {
            txns[packet.zxid] = packet.data
        }
        return txns.sorted { $0.key < $1.key }.map(\.value)
    }

    /// The stream behind the first SNAP among the messages.
    static func tree(in messages: [Recorded]) throws -> [UInt8] {
        let message = messages.first { $0.isTree }
        return try #require(message).bytes
    }

    /// What the first NEWLEADER among the messages carries.
    static func configuration(in messages: [Recorded]) throws -> EnsembleConfiguration {
        let packet = messages.lazy.compactMap(\.packet).first { $0.type == .newLeader }
        let text = try #require(packet?.data)
        return try EnsembleConfiguration(String(decoding: text, as: UTF8.self))
    }

    /// What the first reconfiguration among the messages says.
    static func firstReconfiguration(in messages: [Recorded]) throws -> EnsembleConfiguration {
        let text = messages.lazy.compactMap { $0.packet?.txn }
            .compactMap { Database.configurationText(in: $0.span) }.first
        return try EnsembleConfiguration(try #require(text))
    }

    /// The transactions of a log file that an Apache server has left behind.
    static func log(_ path: String) throws -> [[UInt8]] {
        let headerBytes = 16
        let bytes = try Data(contentsOf: fixtures.appending(path: "storage/\(path)"))
        var reader = PlainReader(bytes.dropFirst(headerBytes))
        var txns: [[UInt8]] = []
        while let checksum = try? reader.long(), checksum != 0 {
            txns.append(try #require(try reader.field()))
            _ = try reader.take(1)
        }
        return txns
    }

    private static var fixtures: URL {
        URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Fixtures")
    }
}

/// A packet, read the slow, obvious way.
struct Packet: Equatable, CustomStringConvertible {
    let number: Int32
    let zxid: Zxid
    let data: [UInt8]?
    let identities: [Identity]?
    let bytes: [UInt8]

    init(_ bytes: some Sequence<UInt8>) throws {
        let bytes = Array(bytes)
        var reader = PlainReader(bytes)
        number = try reader.int()
        zxid = Zxid(rawValue: try reader.long())
        data = try reader.field()
        let count = try reader.int()
        identities =
            try count < 0
            ? nil
            : (0..<count).map { _ in Identity(scheme: try reader.text(), id: try reader.text()) }
        self.bytes = bytes.dropLast(reader.rest.count)
    }

    var type: QuorumPacketType? { QuorumPacketType(rawValue: number) }

    var description: String {
        let name = type.map { "\($0)" } ?? "type \(number)"
        return "\(name) \(zxid)" + (data.map { " " + $0.hex } ?? "")
    }

    /// The transaction that it carries.
    var txn: [UInt8]? {
        switch type {
        case .proposal, .inform: data
        case .informAndActivate: data.map { Array($0.dropFirst(8)) }
        default: nil
        }
    }

    /// Whether it says that a transaction is committed.
    var commits: Bool {
        switch type {
        case .commit, .commitAndActivate, .inform, .informAndActivate: true
        default: false
        }
    }
}

/// A transaction as far as its requester can be told from it.
struct RecordedTxn {
    let session: SessionID
    let cxid: Int32
    let zxid: Zxid
    let time: Int64
    let type: Int32
    /// Behind the header: the record, and the digest.
    let record: [UInt8]

    init(_ bytes: [UInt8]) throws {
        var reader = PlainReader(bytes)
        session = SessionID(rawValue: try reader.long())
        cxid = try reader.int()
        zxid = Zxid(rawValue: try reader.long())
        time = try reader.long()
        type = try reader.int()
        record = Array(reader.rest)
    }

    var op: OpCode? { OpCode(rawValue: type) }

    /// The digest of the tree behind it: its last 8 bytes, of every transaction but an error.
    var digest: UInt64? {
        guard op != .error else { return nil }
        var reader = PlainReader(record.suffix(8))
        return try? reader.integer()
    }
}

/// One thing that a server has sent.
enum Message: Equatable, CustomStringConvertible {
    case packet(Packet)
    case tree(TreeContent)

    /// What was sent on one connection, piece by piece.
    static func split(_ bytes: [UInt8]) throws -> [Message] {
        var messages: [Message] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let packet = try Packet(rest)
            messages.append(.packet(packet))
            rest = rest.dropFirst(packet.bytes.count)
            guard packet.type == .snap else { continue }
            var content = TreeContent()
            rest = rest.dropFirst(try content.read(Array(rest)))
            messages.append(.tree(content))
        }
        return messages
    }

    var packet: Packet? {
        if case .packet(let packet) = self { packet } else { nil }
    }

    var isPing: Bool { packet?.type == .ping }
    var isAck: Bool { packet?.type == .ack }

    var description: String {
        switch self {
        case .packet(let packet): packet.description
        case .tree(let content): "tree of \(content.nodes.count)"
        }
    }
}
