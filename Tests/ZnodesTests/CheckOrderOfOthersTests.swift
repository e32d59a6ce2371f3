import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// As for create: each request fails its check and as many later ones as it can.
@Suite struct `The order of checks of the other writes` {
    private let stranger = SessionID(rawValue: 0x0100_0000_0000_00ff)

    /// `/closed` permits nothing but reading; `/closed/parent` has a child; `/full` is at its limit.
    private func world(_ change: (inout Proposer.Options) -> Void = { _ in }) throws -> World {
        let world = World {
            $0.enforcesQuotas = true
            change(&$0)
        }
        try world.create("/open", "/open/parent", "/open/parent/child", "/full")
        try world.create("/closed", acl: [.readOnly])
        try world.create("/closed/parent", "/closed/parent/child")
        try world.create("/secret", acl: [.bobs])
        try world.create("/ephemeral", "/open/ephemeral", flags: 1)
        try world.create("/zookeeper/quota/full")
        let limits = Array("count=-1,bytes=-1=;byteHardLimit=2".utf8)
        try world.create("/zookeeper/quota/full/zookeeper_limits", data: limits)
        try world.create("/zookeeper/quota/full/zookeeper_stats")
        return world
    }

    private func delete(
        _ path: String, _ version: Int32 = -1, session: SessionID = World.session
    ) throws -> ErrorCode {
        try world().error(.delete, RequestBytes.pathVersion(path, version), session: session)
    }

    @Test func `delete: session, path, parent, DELETE on the parent, znode, version, children`()
        throws
    {
        #expect(try delete("x", 7, session: stranger) == .unknownSession)
        for path in [
            "x", "", "/a\u{0}", "/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config",
        ] {
            #expect(try delete(path, 7) == .badArguments, "\(path)")
        }
        #expect(try delete("/no/x", 7) == .noNode)
        #expect(try delete("/closed/no", 7) == .noAuth)
        #expect(try delete("/closed/parent", 7) == .noAuth)
        #expect(try delete("/open/no", 7) == .noNode)
        #expect(try delete("/open/parent", 7) == .badVersion)
        #expect(try delete("/open/parent", 0) == .notEmpty)
        #expect(try delete("/open/parent/child", 0) == .ok)
        // No more of the path is checked.
        #expect(try delete("/open/") == .noNode)
        #expect(try delete("/open/..") == .noNode)
    }

    @Test func `delete asks the parent's list and not the znode's`() throws {
        #expect(try delete("/secret") == .ok)
    }

    @Test func `deleteContainer: path, znode, children, ephemeral; no session`() throws {
        func delete(_ path: String, session: SessionID = World.session) throws -> ErrorCode {
            try world().error(.deleteContainer, RequestBytes.path(path), session: session)
        }
        for path in ["x", "", "/a\u{0}", "/", "/zookeeper", "/zookeeper/config"] {
            #expect(try delete(path, session: stranger) == .badArguments, "\(path)")
        }
        #expect(try delete("/no/x", session: stranger) == .noNode)
        #expect(try delete("/open/parent", session: stranger) == .notEmpty)
        #expect(try delete("/open/ephemeral", session: stranger) == .badVersion)
        #expect(try delete("/open/parent/child", session: stranger) == .ok)
        #expect(try delete("/open/parent/child", session: .none) == .ok)
    }

    @Test func `deleteContainer by a client needs DELETE on the parent, by the sweeper nothing`()
        throws
    {
        let body = RequestBytes.path("/closed/parent/x")
        for (session, expected) in [(World.session, ErrorCode.noAuth), (.none, .ok)] {
            let world = try world()
            #expect(
                try world.error(
                    .setACL, RequestBytes.setACL("/closed/parent", [.world([.create])])) == .ok)
            try world.create("/closed/parent/x")
            #expect(try world.error(.deleteContainer, body, session: session) == expected)
        }
    }

    @Test func `setData: session, path, znode, WRITE, quota, version`() throws {
        func set(
            _ path: String, _ version: Int32 = 7, session: SessionID = World.session
        ) throws -> ErrorCode {
            try world().error(
                .setData, RequestBytes.setData(path, [1, 2, 3], version: version),
                session: session)
        }
        #expect(try set("x", session: stranger) == .unknownSession)
        for path in ["x", "", "/no/", "/no/.", "/a\u{0}", "//"] {
            #expect(try set(path) == .badArguments, "\(path)")
        }
        #expect(try set("/no") == .noNode)
        #expect(try set("/closed") == .noAuth)
        #expect(try set("/full") == .quotaExceeded)
        #expect(try set("/open") == .badVersion)
        #expect(try set("/open", 0) == .ok)
        #expect(try set("/", 0) == .ok)
    }

    @Test func `setData: WRITE comes before the quota`() throws {
        let world = try world()
        #expect(
            try world.error(.setACL, RequestBytes.setACL("/full", [.readOnly])) == .ok)
        let body = RequestBytes.setData("/full", [1, 2, 3])
        #expect(try world.error(.setData, body) == .noAuth)
    }

    @Test func `setACL: session, path, list, znode, ADMIN, version`() throws {
        func set(
            _ path: String, _ list: [ACL] = [.open], _ version: Int32 = 7,
            session: SessionID = World.session
        ) throws -> ErrorCode {
            try world().error(
                .setACL, RequestBytes.setACL(path, list, version: version), session: session)
        }
        #expect(try set("x", [], session: stranger) == .unknownSession)
        #expect(try set("x", []) == .badArguments)
        #expect(try set("/no/", []) == .badArguments)
        #expect(try set("/no", []) == .invalidACL)
        #expect(try set("/no") == .noNode)
        #expect(try set("/closed") == .noAuth)
        #expect(try set("/open") == .badVersion)
        #expect(try set("/open", [.open], 0) == .ok)
    }

    @Test func `check in a multi: session, path, znode, READ, version`() throws {
        func check(
            _ path: String, _ version: Int32 = 7, session: SessionID = World.session
        ) throws -> ErrorCode {
            let body = RequestBytes.multi([(.check, RequestBytes.pathVersion(path, version))])
            let answer = try world().run(.multi, body, session: session)
            #expect(answer.error == .ok)
            var reader = PlainReader(answer.body)
            let type = try reader.int()
            _ = try reader.take(1)
            let error = ErrorCode(rawValue: try reader.int())
            #expect(type == (error == .ok ? OpCode.check.rawValue : -1))
            return error
        }
        #expect(try check("x", session: stranger) == .unknownSession)
        #expect(try check("x") == .badArguments)
        #expect(try check("/no/") == .badArguments)
        #expect(try check("/no") == .noNode)
        #expect(try check("/secret") == .noAuth)
        #expect(try check("/open") == .badVersion)
        #expect(try check("/open", 0) == .ok)
        #expect(try check("/open", -1) == .ok)
    }

    @Test func `reconfig: the switch, the session, and no ensemble to change`() throws {
        let body = RequestBytes.reconfig()
        #expect(try world().error(.reconfig, body, session: stranger) == .reconfigDisabled)
        let enabled = try world { $0.reconfigEnabled = true }
        #expect(try enabled.error(.reconfig, body, session: stranger) == .unknownSession)
        #expect(try enabled.error(.reconfig, body) == .unimplemented)
    }

    @Test func `skipACL lets everybody do everything`() throws {
        let world = try world { $0.skipsACLs = true }
        #expect(try world.error(.setData, RequestBytes.setData("/closed", [])) == .ok)
        #expect(try world.error(.create, RequestBytes.create("/closed/x")) == .ok)
    }
}
