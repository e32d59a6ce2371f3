import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// The first check that fails is the answer. Each request below fails its check and as many later
/// ones as one request can. ZooKeeper: `PrepRequestProcessor.pRequest2Txn`.
@Suite struct `The order of checks` {
    private let stranger = SessionID(rawValue: 0x0100_0000_0000_00ff)
    private let closing = SessionID(rawValue: 0x0100_0000_0000_0002)

    /// `/open`, `/closed` (nobody creates or deletes below), `/ephemeral`, `/full` (quota reached),
    /// and a session on its end.
    private func world(_ change: (inout Proposer.Options) -> Void = { _ in }) throws -> World {
        let world = World {
            $0.enforcesQuotas = true
            change(&$0)
        }
        try world.create("/open", "/closed", "/closed/child", "/full", "/unreadable")
        try world.create("/ephemeral", flags: 1)
        try world.create("/full/child", data: [1, 2])
        try world.create("/zookeeper/quota/full")
        let limits = Array("count=-1,bytes=-1=;byteHardLimit=2;countHardLimit=2".utf8)
        try world.create("/zookeeper/quota/full/zookeeper_limits", data: limits)
        try world.create("/zookeeper/quota/full/zookeeper_stats")
        for (path, list) in [("/closed", [ACL.readOnly]), ("/unreadable", [ACL.bobs])] {
            #expect(try world.error(.setACL, RequestBytes.setACL(path, list)) == .ok)
        }
        #expect(
            try world.error(.setACL, RequestBytes.setACL("/full/child", [.readOnly])) == .ok)
        world.begin(closing)
        world.proposeEnd(of: closing)
        return world
    }

    private func create(
        _ world: World, _ path: String, op: OpCode = .create, acl: [ACL]? = [.open],
        flags: Int32 = 0, ttl: Int64? = nil, session: SessionID = World.session
    ) throws -> ErrorCode {
        let body = RequestBytes.create(
            path, data: [1, 2, 3], acl: acl, flags: flags, ttlMilliseconds: ttl)
        try world.propose(op, body, session: session)
        while world.outstanding.count > 2 { world.applyNext() }
        let txn = try #require(world.outstanding.last)
        // The session's end stays outstanding, so that it is still closing.
        var reader = PlainReader(txn)
        _ = try reader.take(28)
        guard try reader.int() == OpCode.error.rawValue else { return .ok }
        return ErrorCode(rawValue: try reader.int())
    }

    @Test func `create 1: the flags are checked before everything`() throws {
        for flags in [Int32(-1), 7, .max, .min] {
            let error = try create(world(), "x", acl: [], flags: flags, session: stranger)
            #expect(error == .badArguments)
        }
    }

    @Test func `create 2: TTL modes need extended types, before their time is looked at`() throws {
        for flags in [Int32(5), 6] {
            let error = try create(
                world(), "x", op: .createTTL, acl: [], flags: flags, ttl: 0, session: stranger)
            #expect(error == .unimplemented)
            #expect(try create(world(), "x", flags: flags, session: stranger) == .unimplemented)
        }
    }

    @Test(arguments: [0, -1, Int64.min, Int64(1) << 40, Int64.max])
    func `create 3: a TTL out of range comes before the session`(_ ttl: Int64) throws {
        let world = try world { $0.extendedTypesEnabled = true }
        let error = try create(
            world, "x", op: .createTTL, acl: [], flags: 5, ttl: ttl, session: stranger)
        #expect(error == .badArguments)
    }

    @Test func `create 3: the ends of the TTL range are in it`() throws {
        for ttl in [Int64(1), Int64(1) << 40 - 1] {
            let world = try world { $0.extendedTypesEnabled = true }
            #expect(try create(world, "/t", op: .createTTL, flags: 5, ttl: ttl) == .ok)
        }
    }

    @Test(arguments: [Int64(-1), 0, 5])
    func `create 3: a TTL request without a TTL mode comes before the session`(
        _ ttl: Int64
    ) throws {
        let error = try create(
            world(), "x", op: .createTTL, acl: [], flags: 0, ttl: ttl, session: stranger)
        #expect(error == .badArguments)
    }

    @Test func `create 4: the session comes before the path`() throws {
        #expect(try create(world(), "x", acl: [], session: stranger) == .unknownSession)
        #expect(try create(world(), "x", acl: [], session: closing) == .sessionExpired)
    }

    @Test func `create 5: a path without a slash or with a NUL comes before the ACL`() throws {
        for path in ["", "x", "/no/x\u{0}"] {
            #expect(try create(world(), path, acl: []) == .badArguments)
            #expect(try create(world(), path, acl: nil) == .badArguments)
        }
    }

    @Test func `create 6: the ACL comes before the parent`() throws {
        let anybody = ACL(permissions: .all, scheme: "world", id: "anybody")
        for acl in [[], nil, [anybody], [.open, anybody]] {
            #expect(try create(world(), "/no/x", acl: acl) == .invalidACL)
        }
    }

    @Test func `create 7: the parent comes before the whole path`() throws {
        #expect(try create(world(), "/no/.") == .noNode)
        #expect(try create(world(), "/open//x") == .noNode)
    }

    @Test func `create 8: CREATE on the parent comes before the whole path`() throws {
        #expect(try create(world(), "/closed/.") == .noAuth)
        #expect(try create(world(), "/closed/child") == .noAuth)
    }

    @Test func `create 9 and 10: the path is checked with its sequence number`() throws {
        #expect(try create(world(), "/open/.") == .badArguments)
        #expect(try create(world(), "/open/.", flags: 2) == .ok)
        #expect(try create(world(), "/open/", flags: 2) == .ok)
        #expect(try create(world(), "/ephemeral/..") == .badArguments)
        #expect(try create(world(), "//x") == .badArguments)
    }

    @Test func `create 11: an existing znode comes before the quota`() throws {
        #expect(try create(world(), "/full/child") == .nodeExists)
        #expect(try create(world(), "/") == .nodeExists)
    }

    @Test func `create 12: an ephemeral parent comes before the quota`() throws {
        let world = try world()
        world.applyAll()
        try world.create("/zookeeper/quota/ephemeral")
        try world.create(
            "/zookeeper/quota/ephemeral/zookeeper_limits",
            data: Array("count=-1,bytes=-1=;countHardLimit=1".utf8))
        try world.create("/zookeeper/quota/ephemeral/zookeeper_stats")
        #expect(try create(world, "/ephemeral/x") == .noChildrenForEphemerals)
    }

    @Test func `create 13: the quota is the last check`() throws {
        #expect(try create(world(), "/full/x") == .quotaExceeded)
        #expect(try create(world { $0.enforcesQuotas = false }, "/full/x") == .ok)
    }

    @Test func `containers and TTL znodes may have children`() throws {
        let world = try world { $0.extendedTypesEnabled = true }
        #expect(try create(world, "/c", op: .createContainer, flags: 4) == .ok)
        #expect(try create(world, "/c/x") == .ok)
        #expect(try create(world, "/t", op: .createTTL, flags: 5, ttl: 9) == .ok)
        #expect(try create(world, "/t/x") == .ok)
    }
}
