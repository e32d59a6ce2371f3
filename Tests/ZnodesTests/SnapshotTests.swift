import Jute
import StorageFormat
import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// A tree, its snapshot, and the tree that comes back.
@Suite struct `Snapshots of the tree` {
    private func snapshot(_ database: Database) -> [UInt8] {
        let frozen = database.freeze()
        defer { database.thaw(frozen) }
        var all: [UInt8] = []
        let sections = SnapshotSections(
            digest: .init(zxid: frozen.zxid, value: frozen.digest), lastProcessedZxid: frozen.zxid)
        _ = frozen.encode(sections: sections, pieceBytes: 1000) { all += Array($0) }
        return all
    }

    private func restored(_ bytes: [UInt8], zxid: Zxid) throws -> Database {
        var database = Database(seed: 99)
        var decoder = SnapshotDecoder(limits: .default)
        let taken = try decoder.consume(bytes.span, isLast: true, into: &database)
        #expect(taken == bytes.count)
        let digest = try #require(decoder.sections.digest)
        try database.finishSnapshot(zxid: zxid, digest: (digest.zxid, digest.value))
        return database
    }

    private func grown(seed: UInt64) throws -> World {
        var generator = AskGenerator(seed: seed)
        let world = World { $0.extendedTypesEnabled = true }
        for write in 0..<500 {
            if write.isMultiple(of: 20) {
                generator.known = try world.database.shown().keys.sorted()
            }
            let ask = generator.ask()
            try world.run(ask.op, ask.body, as: [World.superUser, World.bob])
        }
        return world
    }

    @Test(arguments: UInt64(0)..<6)
    func `a restored tree shows the same and counts the same`(_ seed: UInt64) throws {
        let world = try grown(seed: seed)
        let original = world.database
        let again = try restored(snapshot(original), zxid: original.lastProcessedZxid)
        #expect(again.digestMismatches == 0)
        #expect(again.digest == original.digest)
        #expect(again.lastProcessedZxid == original.lastProcessedZxid)
        #expect(again.sessions == original.sessions)
        let (old, new) = (try original.shown(), try again.shown())
        #expect(Set(old.keys) == Set(new.keys))
        // Loading counts quotas anew, so only their counters may differ.
        for (path, node) in old where !path.hasSuffix("/zookeeper_stats") {
            #expect(new[path] == node, "\(path)")
        }
        #expect(again.tree.ephemeralCount == original.tree.ephemeralCount)
        #expect(again.tree.containers.count == original.tree.containers.count)
        #expect(again.tree.ttls.count == original.tree.ttls.count)
        #expect(again.tree.acls.all.count == original.tree.acls.all.count)
    }

    @Test(arguments: UInt64(0)..<6)
    func `a restored tree's snapshot has the same bytes`(_ seed: UInt64) throws {
        let original = try grown(seed: seed).database
        let zxid = original.lastProcessedZxid
        // The first loading counts quotas anew, and each turns the order of siblings around.
        let first = snapshot(try restored(snapshot(original), zxid: zxid))
        let second = snapshot(try restored(first, zxid: zxid))
        let third = snapshot(try restored(second, zxid: zxid))
        #expect(second.count == first.count)
        let isSame = third == first
        #expect(isSame)
    }

    @Test func `a restored tree goes on as the original does`() throws {
        let world = try grown(seed: 3)
        var options = Proposer.Options()
        options.extendedTypesEnabled = true
        let again = World(
            try restored(snapshot(world.database), zxid: world.database.lastProcessedZxid),
            options: options, session: SessionID(rawValue: 77))
        world.begin(SessionID(rawValue: 77))
        var generator = AskGenerator(seed: 8)
        generator.known = try world.database.shown().keys.sorted()
        for _ in 0..<200 {
            let ask = generator.ask()
            for each in [world, again] {
                each.time = 5_000_000
                try each.run(ask.op, ask.body, session: SessionID(rawValue: 77))
            }
        }
        #expect(world.database.digest == again.database.digest)
        let (old, new) = (try world.database.shown(), try again.database.shown())
        for (path, node) in old where !path.hasSuffix("/zookeeper_stats") {
            #expect(new[path] == node, "\(path)")
        }
    }

    @Test func `a wrong digest is counted and the tree kept`() throws {
        let database = try grown(seed: 1).database
        var again = Database(seed: 5)
        var decoder = SnapshotDecoder(limits: .default)
        let bytes = snapshot(database)
        _ = try decoder.consume(bytes.span, isLast: true, into: &again)
        let zxid = database.lastProcessedZxid
        try again.finishSnapshot(zxid: zxid, digest: (zxid, database.digest &+ 1))
        #expect(again.digestMismatches == 1)
        #expect(again.tree.count == database.tree.count)
    }
}
