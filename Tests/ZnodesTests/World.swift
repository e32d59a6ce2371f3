import ClientProtocol
import Jute
import Testing
import Transactions
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// A database, the proposer in front of it, and the transactions on their way between them.
final class World {
    struct Answer {
        let zxid: Zxid
        let error: ErrorCode
        /// The reply's record.
        let body: [UInt8]
    }

    static let session = SessionID(rawValue: 0x0100_0000_0000_0001)
    static let bob = Identity(scheme: "digest", id: "bob:hash")
    static let superUser = Identity(scheme: "super", id: "")

    let database: Database
    let proposer: Proposer
    var time: Int64 = 1_700_000_000_000
    private(set) var outstanding: [[UInt8]] = []
    private var cxid: Int32 = 0

    /// A world with one open session.
    init(
        _ database: Database = Database(seed: 1), options: Proposer.Options = .init(),
        session: SessionID = World.session
    ) {
        self.database = database
        proposer = Proposer(
            database, tracker: SessionTracker(tickMilliseconds: 2000), options: options)
        begin(session)
    }

    convenience init(change: (inout Proposer.Options) -> Void) {
        var options = Proposer.Options()
        change(&options)
        self.init(options: options)
    }

    func begin(_ session: SessionID) {
        applyAll()
        outstanding.append(
            bytes {
                _ = proposer.proposeSession(
                    session, timeoutMilliseconds: 10000, now: 0, time: time, into: &$0)
            })
        applyAll()
    }

    /// Proposes and leaves the transaction outstanding.
    func propose(
        _ op: OpCode, _ body: [UInt8], session: SessionID = World.session,
        as identities: [Identity] = []
    ) throws(JuteError) {
        cxid += 1
        time += 1
        var buffer = ByteBuffer()
        let origin = Proposer.Origin(
            session: session, cxid: cxid, identities: identities, time: time)
        _ = try proposer.propose(op, body: body.span, from: origin, into: &buffer)
        outstanding.append(Array(buffer.bytes))
    }

    func proposeEnd(of session: SessionID) {
        time += 1
        outstanding.append(
            bytes { _ = proposer.proposeSessionEnd(session, cxid: 0, time: time, into: &$0) })
    }

    /// Applies the oldest outstanding transaction.
    @discardableResult
    func applyNext() -> Answer {
        let txn = outstanding.removeFirst()
        var body = ByteBuffer()
        do {
            let applied = try withUnsafeMutablePointer(to: &body) {
                try database.apply(txn.span, reply: $0)
            }
            if applied.header.type == .closeSession {
                proposer.tracker.remove(applied.header.session)
            }
            proposer.applied(applied.header.zxid)
            return Answer(
                zxid: applied.header.zxid, error: applied.error, body: Array(body.bytes))
        } catch {
            fatalError("a proposed transaction can be applied: \(error) \(txn.hex)")
        }
    }

    func applyAll() { while !outstanding.isEmpty { applyNext() } }

    /// Proposes and applies, with everything that was outstanding.
    @discardableResult
    func run(
        _ op: OpCode, _ body: [UInt8], session: SessionID = World.session,
        as identities: [Identity] = []
    ) throws(JuteError) -> Answer {
        try propose(op, body, session: session, as: identities)
        while outstanding.count > 1 { applyNext() }
        return applyNext()
    }

    /// Only whether it works.
    func error(
        _ op: OpCode, _ body: [UInt8], session: SessionID = World.session,
        as identities: [Identity] = []
    ) throws(JuteError) -> ErrorCode {
        try run(op, body, session: session, as: identities).error
    }

    /// Creates znodes that must not fail.
    func create(
        _ paths: String..., data: [UInt8] = [], acl: [ACL] = [.open], flags: Int32 = 0,
        session: SessionID = World.session
    ) throws {
        for path in paths {
            let body = RequestBytes.create(path, data: data, acl: acl, flags: flags)
            #expect(try error(.create, body, session: session, as: [Self.superUser]) == .ok)
        }
    }
}
