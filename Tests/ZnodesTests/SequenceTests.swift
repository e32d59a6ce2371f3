import Jute
import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

@Suite struct `Sequence numbers` {
    @Test func `ten columns, zero padded, and a sign takes one of them`() {
        let cases: [(Int32, String)] = [
            (0, "0000000000"), (7, "0000000007"), (1_234_567_890, "1234567890"),
            (.max, "2147483647"), (-1, "-000000001"), (-123_456_789, "-123456789"),
            (-1_234_567_890, "-1234567890"), (.min, "-2147483648"),
        ]
        for (counter, expected) in cases {
            #expect(Proposer.sequenceSuffix(counter) == expected)
        }
    }

    private func sequential(_ world: World, _ path: String) throws -> String {
        let answer = try world.run(.create, RequestBytes.create(path, flags: 2))
        #expect(answer.error == .ok)
        var reader = PlainReader(answer.body)
        return try reader.text()
    }

    @Test func `the parent's creates count, of every kind, and deletes do not`() throws {
        let world = World { _ in }
        try world.create("/q")
        #expect(try sequential(world, "/q/a-") == "/q/a-0000000000")
        try world.create("/q/plain")
        #expect(try sequential(world, "/q/b-") == "/q/b-0000000002")
        #expect(try world.error(.delete, RequestBytes.pathVersion("/q/plain")) == .ok)
        #expect(try sequential(world, "/q/") == "/q/0000000003")
        // A failure takes no number.
        #expect(try world.error(.create, RequestBytes.create("/q/0000000003")) == .nodeExists)
        #expect(try sequential(world, "/q/") == "/q/0000000004")
    }

    @Test func `creates that are not applied yet count`() throws {
        let world = World { _ in }
        try world.create("/q")
        for _ in 0..<3 { try world.propose(.create, RequestBytes.create("/q/s", flags: 2)) }
        var created: [String] = []
        for _ in 0..<3 {
            var reader = PlainReader(world.applyNext().body)
            created.append(try reader.text())
        }
        #expect(created == ["/q/s0000000000", "/q/s0000000001", "/q/s0000000002"])
    }

    /// A tree whose root counted this many creates.
    private func world(rootCVersion: Int32) throws -> World {
        let database = Database(seed: 3)
        let root = StatPersisted(cversion: rootCVersion)
        let (path, data): ([UInt8], [UInt8]) = ([], [])
        try database.restoreNode(path: path.span, data: data.span, aclID: -1, stat: root)
        try database.finishSnapshot(zxid: Zxid(rawValue: 9), digest: nil)
        return World(database)
    }

    @Test func `a counter below zero keeps its sign`() throws {
        let world = try world(rootCVersion: -3)
        #expect(try sequential(world, "/s") == "/s-000000003")
        #expect(try sequential(world, "/s") == "/s-000000002")
        #expect(try sequential(world, "/s") == "/s-000000001")
        #expect(try sequential(world, "/s") == "/s0000000000")
        #expect(world.database.stat("/")?.cversion == -2)
    }

    @Test func `the last number is used`() throws {
        let world = try world(rootCVersion: .max - 1)
        #expect(try sequential(world, "/s") == "/s2147483646")
        #expect(world.database.stat("/")?.cversion == -3)
    }

    /// The counter of creates is 32 bits wide. What a full one should become is Apache's choice (it
    /// stays full); but the digest that is written must be the one that comes.
    @Test func `a full counter does not break the digest`() throws {
        let world = try world(rootCVersion: .max)
        let before = world.database.digestMismatches
        try world.propose(.create, RequestBytes.create("/x"))
        let txn = try #require(world.outstanding.first)
        #expect(try world.database.apply(txn.span).error == .ok)
        #expect(world.database.digestMismatches == before)
        #expect(world.database.digest == world.proposer.digest)
    }

    @Test func `a multi that fails gives its numbers back`() throws {
        let world = World { _ in }
        try world.create("/q", "/r")
        let failing = RequestBytes.multi([
            (.create, RequestBytes.create("/q/s", flags: 2)),
            (.create, RequestBytes.create("/q/s", flags: 2)),
            (.create, RequestBytes.create("/r/s", flags: 2)),
            (.delete, RequestBytes.pathVersion("/r")),
        ])
        let (stat, digest) = (world.database.stat("/q"), world.database.digest)
        // Another write of the same parent is on its way in front of it.
        try world.propose(.create, RequestBytes.create("/q/first"))
        try world.propose(.multi, failing)
        try world.propose(.create, RequestBytes.create("/q/s", flags: 2))
        world.applyNext()
        #expect(world.database.stat("/q") != stat)
        let between = (world.database.stat("/q"), world.database.digest)
        world.applyNext()
        #expect(world.database.stat("/q") == between.0)
        #expect(world.database.digest == between.1)
        #expect(world.database.digest != digest)
        var reader = PlainReader(world.applyNext().body)
        #expect(try reader.text() == "/q/s0000000001")
        #expect(world.database.stat("/r")?.cversion == 0)
    }

    @Test func `creates of one multi see each other`() throws {
        let world = World { _ in }
        let body = RequestBytes.multi([
            (.create, RequestBytes.create("/q")),
            (.create, RequestBytes.create("/q/s", flags: 2)),
            (.create2, RequestBytes.create("/q/s", flags: 3)),
            (.delete, RequestBytes.pathVersion("/q/s0000000000")),
        ])
        #expect(try world.error(.multi, body) == .ok)
        #expect(try Set(world.database.shown().keys).contains("/q/s0000000001"))
        #expect(world.database.stat("/q/s0000000000") == nil)
        #expect(world.database.stat("/q")?.cversion == 3)
        #expect(
            world.database.stat("/q/s0000000001")?.ephemeralOwner == World.session.rawValue)
    }
}
