import Testing
import Transactions
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// What goes with a session: what it owns in the tree as it will be.
@Suite struct `The end of a session` {
    private let session = SessionID(rawValue: 0x0100_0000_0000_0009)

    private func world(_ change: (inout Proposer.Options) -> Void = { _ in }) throws -> World {
        let world = World(change: change)
        world.begin(session)
        try world.create("/p")
        for name in ["a", "b", "c"] { try world.create("/p/\(name)", flags: 1, session: session) }
        return world
    }

    private func propose(
        _ world: World, create path: String, session: SessionID
    ) throws {
        try world.propose(.create, RequestBytes.create(path, flags: 1), session: session)
    }

    /// The paths in the transaction; nil without a list.
    private func listed(_ txn: [UInt8]) throws -> [String]? {
        var reader = PlainReader(txn.dropFirst(TxnHeader.bytes))
        return reader.rest.count == TxnDigest.bytes ? nil : try reader.texts()
    }

    private func end(_ world: World) throws -> [String]? {
        world.proposeEnd(of: session)
        return try listed(try #require(world.outstanding.last))
    }

    @Test func `the transaction lists its znodes, the oldest first`() throws {
        let world = try world()
        #expect(try end(world) == ["/p/a", "/p/b", "/p/c"])
        world.applyAll()
        #expect(world.database.stat("/p")?.numChildren == 0)
        #expect(world.database.tree.ephemeralCount == 0)
        #expect(world.database.digestMismatches == 0)
        #expect(world.proposer.tracker.slot(of: session) == nil)
        #expect(world.database.sessions[session] == nil)
    }

    @Test func `creates and deletes on their way count`() throws {
        let world = try world()
        try propose(world, create: "/p/late", session: session)
        try world.propose(.delete, RequestBytes.pathVersion("/p/b"))
        #expect(try end(world) == ["/p/a", "/p/c", "/p/late"])
        world.applyAll()
        #expect(world.database.stat("/p")?.numChildren == 0)
        #expect(world.database.digestMismatches == 0)
    }

    @Test func `what another session made anew stays`() throws {
        let world = try world()
        try world.propose(.delete, RequestBytes.pathVersion("/p/b"))
        try propose(world, create: "/p/b", session: World.session)
        #expect(try end(world) == ["/p/a", "/p/c"])
        world.applyAll()
        #expect(world.database.stat("/p/b")?.ephemeralOwner == World.session.rawValue)
        #expect(world.database.digestMismatches == 0)
    }

    @Test func `what a failed multi would have made is not listed`() throws {
        let world = try world()
        let multi = RequestBytes.multi([
            (.create, RequestBytes.create("/p/m", flags: 1)),
            (.delete, RequestBytes.pathVersion("/no")),
        ])
        try world.propose(.multi, multi, session: session)
        #expect(try end(world) == ["/p/a", "/p/b", "/p/c"])
    }

    @Test func `a closing session writes nothing more`() throws {
        let world = try world()
        _ = try end(world)
        try propose(world, create: "/p/more", session: session)
        world.applyNext()
        #expect(world.applyNext().error == .sessionExpired)
        #expect(
            try world.error(.create, RequestBytes.create("/x"), session: session)
                == .unknownSession)
    }

    @Test func `without the list, or with one too long to be read, the same goes`() throws {
        for change in [
            { (options: inout Proposer.Options) in options.closeSessionListsPaths = false },
            { (options: inout Proposer.Options) in options.listedPathsBytesMax = 10 },
        ] {
            let world = try world(change)
            try propose(world, create: "/p/late", session: session)
            #expect(try end(world) ?? [] == [])
            world.applyAll()
            #expect(world.database.stat("/p")?.numChildren == 0)
            #expect(world.database.tree.ephemeralCount == 0)
            #expect(world.database.digestMismatches == 0)
        }
    }
}
