import ClientProtocol
import Ensemble
import Jute
import QuorumProtocol
import Testing
import Transactions
import UnitTestSupport
import Vocabulary
import Zab
import Znodes

/// Server 1 leads, in epoch 1, with servers 2 and 3 in step; told packet by packet what it hears from
/// them. Each packet is a turn of its loop.
struct LeadingServer {
    let server: ReplayedServer
    private var links: [Int64: QuorumLink] = [:]

    static func line(_ id: Int64) -> String {
        "server.\(id)=host\(id):2888:3888:participant;2181"
    }

    init() throws {
        let configuration = try EnsembleConfiguration(
            (1...3).map(Self.line).joined(separator: "\n"))
        server = try ReplayedServer(
            ServerID(rawValue: 1), configuration: configuration, reconfigEnabled: true,
            confirmsSyncs: true)
        server.elect(server.peer.id)
        let peer = server.peer
        let learners: [Int64] = [2, 3]
        for id in learners {
            let link = QuorumLink(id: LinkID(rawValue: Int(id)))
            links[id] = link
            peer.accepted(link)
        }
        let links = try learners.map { (ServerID(rawValue: $0), try link(to: $0)) }
        server.introduce(links) { peer.received($0.span, on: $1) }
        for id in learners { _ = try sent(to: id) }
        #expect(peer.isLeading)
    }

    private func link(to id: Int64) throws -> QuorumLink { try #require(links[id]) }

    /// Whether its tree has a znode.
    func has(_ path: String) -> Bool {
        server.database.tree.find(Array(path.utf8).span) != nil
    }

    // MARK: What the learners send

    private func hear(from id: Int64, _ packet: (inout ByteBuffer) -> Void) throws {
        server.peer.received(bytes(packet).span, on: try link(to: id))
        server.peer.turnEnded()
    }

    /// A request that a client of this learner has made.
    func request(
        _ op: OpCode, _ body: [UInt8], of session: SessionID, from id: Int64
    ) throws {
        try hear(from: id) {
            $0.appendRequest(
                session: session, cxid: 1, type: op.rawValue, body: body.span,
                identities: [Identity(scheme: "super", id: "")])
        }
    }

    func begin(_ session: SessionID, at id: Int64) throws {
        try request(.createSession, bytes { $0.append(Int32(30_000)) }, of: session, from: id)
        try commit()
    }

    func create(_ path: String, of session: SessionID, from id: Int64) throws {
        try request(.create, RequestBytes.create(path), of: session, from: id)
    }

    func sync(of session: SessionID, from id: Int64) throws {
        try request(.sync, RequestBytes.path("/"), of: session, from: id)
    }

    func reconfig(
        joining: String? = nil, leaving: String? = nil, of session: SessionID, from id: Int64
    ) throws {
        let body = RequestBytes.reconfig(joining: joining, leaving: leaving)
        try request(.reconfig, body, of: session, from: id)
    }

    func revalidate(_ session: SessionID, from id: Int64) throws {
        try hear(from: id) { $0.appendRevalidate(session, timeoutMilliseconds: 30_000) }
    }

    /// The answer to one ping.
    func echo(from id: Int64) throws {
        try hear(from: id) { $0.appendQuorumPacket(.ping, zxid: .zero) }
    }

    func ack(_ zxid: Zxid, from id: Int64) throws {
        try hear(from: id) { $0.appendQuorumPacket(.ack, zxid: zxid) }
    }

    /// Server 2 has everything on its disk, and so has the leader: a quorum.
    func commit() throws {
        try ack(server.peer.lastProposed, from: 2)
        try server.flush()
        server.peer.turnEnded()
    }

    // MARK: What it sends

    /// What a learner was sent since the last time.
    func sent(to id: Int64) throws -> [Sent] {
        try Message.split(try link(to: id).takeOutput()).compactMap(\.packet).map(Sent.init)
    }
}

/// A packet of a leader, as far as these tests look at it.
enum Sent: Equatable {
    /// A transaction of what was asked for, or of the error that it became.
    case proposal(OpCode)
    case failure(ErrorCode)
    case commit
    case activation
    case sync
    case revalidation(isValid: Bool)
    case ping
    case other(QuorumPacketType?)

    init(_ packet: Packet) throws {
        switch packet.type {
        case .proposal:
            let txn = try RecordedTxn(try #require(packet.txn))
            let op = try #require(txn.op)
            var record = PlainReader(txn.record)
            self =
                op == .error ? .failure(ErrorCode(rawValue: try record.int())) : .proposal(op)
        case .commit: self = .commit
        case .commitAndActivate: self = .activation
        case .sync: self = .sync
        case .revalidate:
            self = .revalidation(isValid: try #require(packet.data).last == 1)
        case .ping: self = .ping
        case let type: self = .other(type)
        }
    }
}
