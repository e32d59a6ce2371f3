import ClientProtocol
import Jute
import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// Sessions that the tracker does not know, and what they may write.
///
/// Source: ZooKeeper, `LeaderSessionTracker.checkSession`, `QuorumZooKeeperServer.checkUpgradeSession`.
@Suite struct LocalSessionTests {
    private let own = ServerID(rawValue: 0x203)
    private let learner = LinkID(rawValue: 1)
    /// The byte of the server stands in front.
    private let ours = SessionID(rawValue: 0x03ab_0000_0000_0001)
    private let theirs = SessionID(rawValue: 0x04ab_0000_0000_0001)

    private let plain = RequestBytes.create("/plain")
    private let ephemeral = RequestBytes.create("/owned", flags: 1)

    /// What a leader makes of a request.
    private func error(
        _ strangers: Proposer.Strangers, _ session: SessionID, _ body: [UInt8],
        op: OpCode = .create,
        owner: LinkID = .here, isLocal: Bool = false
    ) throws -> ErrorCode {
        try error(
            in: World { $0.strangers = strangers }, session, body, op: op, owner: owner,
            isLocal: isLocal)
    }

    private func error(
        in world: World, _ session: SessionID, _ body: [UInt8], op: OpCode = .create,
        owner: LinkID = .here, isLocal: Bool = false
    ) throws -> ErrorCode {
        var buffer = ByteBuffer()
        let origin = Proposer.Origin(
            session: session, cxid: 1, identities: [], time: 1, owner: owner, isLocal: isLocal)
        _ = try world.proposer.propose(op, body: body.span, from: origin, into: &buffer)
        return try world.database.apply(buffer.span).error
    }

    @Test func `another server's session may be a local one, which owns nothing`() throws {
        let strangers = Proposer.Strangers.local(exceptOf: own)
        #expect(try error(strangers, theirs, plain, owner: learner) == .ok)
        #expect(try error(strangers, theirs, ephemeral, owner: learner) == .sessionExpired)
        #expect(try error(strangers, ours, plain, owner: learner) == .sessionExpired)
    }

    @Test func `where no session is local, an unknown one is over`() throws {
        #expect(try error(.expired, theirs, plain, owner: learner) == .sessionExpired)
        #expect(try error(.unknown, theirs, plain) == .unknownSession)
    }

    @Test func `our own local sessions are known to live`() throws {
        let strangers = Proposer.Strangers.local(exceptOf: own)
        #expect(try error(strangers, ours, plain, isLocal: true) == .ok)
        #expect(
            try error(strangers, ours, ephemeral, isLocal: true) == .ephemeralOnLocalSession)
    }

    @Test func `a session that became a global one is checked as such`() throws {
        let world = World { $0.strangers = .local(exceptOf: own) }
        world.begin(theirs)
        #expect(try error(in: world, theirs, ephemeral) == .ok)
        #expect(try error(in: world, theirs, plain, owner: learner) == .sessionMoved)
    }

    @Test func `that a session has moved concerns a whole multi`() throws {
        let world = World()
        let body = RequestBytes.multi([(.create, plain), (.create, ephemeral)])
        #expect(
            try error(in: world, World.session, body, op: .multi, owner: learner) == .sessionMoved)
        let missing = RequestBytes.multi([(.delete, RequestBytes.pathVersion("/none"))])
        #expect(try error(in: world, World.session, missing, op: .multi) == .ok)
    }

    // MARK: What needs a global session

    private static let inside: [(OpCode, [UInt8])] = [
        (.delete, RequestBytes.pathVersion("/d")), (.check, RequestBytes.pathVersion("/c", 3)),
        (.setData, RequestBytes.setData("/s", [1])),
        (.createTTL, RequestBytes.create("/t", flags: 5, ttlMilliseconds: 9)),
        (.createContainer, RequestBytes.create("/k", flags: 1)),
    ]

    private func needsGlobal(_ op: OpCode, _ body: [UInt8]) -> Bool {
        Proposer.createsEphemeral(op, body: body.span)
    }

    @Test(arguments: [(Int32(0), false), (1, true), (2, false), (3, true), (4, false), (9, false)])
    func `only ephemeral flags do`(flags: Int32, needs: Bool) {
        let body = RequestBytes.create("/x", flags: flags)
        for op in [OpCode.create, .create2] {
            #expect(needsGlobal(op, body) == needs)
            #expect(needsGlobal(.multi, RequestBytes.multi(Self.inside + [(op, body)])) == needs)
        }
    }

    @Test func `other operations do not, and what cannot be read creates nothing`() {
        for (op, body) in Self.inside {
            #expect(!needsGlobal(op, body))
        }
        let multi = RequestBytes.multi([(.create, ephemeral)])
        #expect(needsGlobal(.multi, multi))
        for (op, body) in [(OpCode.create, ephemeral), (.multi, multi)] {
            #expect(!needsGlobal(op, Array(body.dropLast())))
        }
    }

    @Test func `a tracker forgets all its sessions at once`() {
        var tracker = SessionTracker(tickMilliseconds: 10)
        for id in [ours, theirs] { tracker.add(id, timeoutMilliseconds: 20, now: 0) }
        tracker.removeAll()
        #expect(tracker.count == 0)
        #expect(tracker.slot(of: ours) == nil)
        #expect(tracker.expire(now: 1000) == [])
        tracker.add(ours, timeoutMilliseconds: 20, now: 2000)
        #expect(tracker.expire(now: 2020) == [])
        #expect(tracker.expire(now: 2030) == [ours])
    }
}
