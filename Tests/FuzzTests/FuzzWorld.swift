import Jute
import Transactions
import UnitTestSupport
import Vocabulary
import Znodes

/// A database with its proposer, and checks that hold whatever was done to it.
final class FuzzWorld {
    static let session = SessionID(rawValue: 0x0100_0000_0000_0001)

    let database: Database
    let proposer: Proposer
    private(set) var outstanding: [[UInt8]] = []
    private var time: Int64 = 1000

    init(seed: UInt64, options: Proposer.Options = .init()) throws {
        database = Database(seed: seed)
        proposer = Proposer(
            database, tracker: SessionTracker(tickMilliseconds: 2000), options: options)
        begin(Self.session)
        try applyAll()
    }

    func begin(_ session: SessionID) {
        outstanding.append(
            bytes {
                _ = proposer.proposeSession(
                    session, timeoutMilliseconds: 10000, now: 0, time: time, into: &$0)
            })
    }

    func end(_ session: SessionID) {
        outstanding.append(
            bytes { _ = proposer.proposeSessionEnd(session, cxid: 0, time: time, into: &$0) })
    }

    /// Proposes; false when the body cannot be read, which must leave no trace.
    func propose(_ op: OpCode, _ body: [UInt8], as identities: [Identity] = []) throws -> Bool {
        time += 1
        let before = proposer.lastZxid
        var buffer = ByteBuffer()
        buffer.append(UInt8(7))
        let origin = Proposer.Origin(
            session: Self.session, cxid: 1, identities: identities, time: time)
        do {
            let zxid = try proposer.propose(op, body: body.span, from: origin, into: &buffer)
            try Fuzz.require(zxid == before.next, "the next zxid is used")
        } catch is JuteError {
            try Fuzz.require(buffer.count == 1, "nothing is written: \(op) \(body.hex)")
            try Fuzz.require(proposer.lastZxid == before, "no zxid is used: \(op) \(body.hex)")
            return false
        }
        outstanding.append(Array(buffer.bytes.dropFirst()))
        return true
    }

    func applyNext() throws {
        let txn = outstanding.removeFirst()
        var body = ByteBuffer()
        let applied = try withUnsafeMutablePointer(to: &body) {
            try database.apply(txn.span, reply: $0)
        }
        if applied.header.type == .closeSession { proposer.tracker.remove(applied.header.session) }
        proposer.applied(applied.header.zxid)
        try Fuzz.require(
            database.digestMismatches == 0, "the digest is the predicted one: \(txn.hex)")
    }

    func applyAll() throws { while !outstanding.isEmpty { try applyNext() } }
}

extension Database {
    /// Everything that can be asked of a tree, asked.
    func exercise() throws {
        let frozen = freeze()
        var nodes = 0
        var written = ByteBuffer()
        frozen.forEachNode { path, data, _, stat in
            nodes += 1
            written.append(path)
            if let data { written.append(data) }
            written.append(stat)
            written.removeAll()
            if let handle = tree.find(path) {
                written.append(tree.stat(handle))
                tree.appendChildren(handle, to: &written)
                tree.appendData(handle, to: &written)
                _ = tree.acl(handle)
                _ = permits(.all, on: handle, to: [Identity(scheme: "ip", id: "1.2.3.4")])
            }
        }
        try Fuzz.require(nodes == tree.count, "\(nodes) znodes are found of \(tree.count)")
        thaw(frozen)
        for now in [Int64(0), 1_800_000_000_000] {
            _ = expiredZnodes(now: now, neverUsedMilliseconds: 1, limit: 100)
        }
        for session in tree.sessionsWithEphemerals { _ = tree.ephemeralPaths(of: session) }
        _ = orphanedSessions
    }
}
