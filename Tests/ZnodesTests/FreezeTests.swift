import Jute
import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// The snapshot thread reads a frozen view while everything changes.
@Suite struct `Frozen views` {
    /// One znode as the snapshot thread sees it.
    private struct Seen: Equatable {
        var path: [UInt8]
        var data: [UInt8]?
        var aclID: Int64
        var stat: StatPersisted
    }

    private func walk(_ frozen: FrozenDatabase) -> [Seen] {
        var seen: [Seen] = []
        frozen.forEachNode { path, data, aclID, stat in
            seen.append(
                Seen(path: Array(path), data: data.map { Array($0) }, aclID: aclID, stat: stat))
        }
        return seen
    }

    /// A tree of some hundred znodes, from random writes.
    private func grown(seed: UInt64, writes: Int) throws -> (World, AskGenerator) {
        var generator = AskGenerator(seed: seed)
        let world = World { $0.extendedTypesEnabled = true }
        try mutate(world, &generator, writes: writes)
        return (world, generator)
    }

    private func mutate(
        _ world: World, _ generator: inout AskGenerator, writes: Int
    ) throws {
        for write in 0..<writes {
            if write.isMultiple(of: 20) {
                generator.known = try world.database.shown().keys.sorted()
            }
            let ask = generator.ask()
            try world.run(ask.op, ask.body, as: [World.superUser])
        }
    }

    @Test(arguments: UInt64(0)..<8)
    func `stay as they were while everything is changed, then give their memory back`(
        _ seed: UInt64
    ) throws {
        var (world, generator) = try grown(seed: seed, writes: 400)
        for _ in 0..<3 {
            let database = world.database
            let frozen = database.freeze()
            let before = walk(frozen)
            #expect(before.count == database.tree.count)
            let (zxid, digest) = (frozen.zxid, frozen.digest)
            #expect(zxid == database.lastProcessedZxid)
            #expect(digest == database.digest)
            try mutate(world, &generator, writes: 300)
            // The tree goes, or all of it changes.
            for path in try database.shown().keys.sorted().reversed() {
                try world.run(.setData, RequestBytes.setData(path, [9, 9]), as: [World.superUser])
                try world.run(.delete, RequestBytes.pathVersion(path), as: [World.superUser])
            }
            try mutate(world, &generator, writes: 300)
            #expect(walk(frozen) == before)
            #expect(frozen.zxid == zxid)
            #expect(frozen.digest == digest)
            database.thaw(frozen)
            var steps = 0
            while database.tree.hasGarbage {
                database.tree.reclaim(atMost: 7)
                steps += 1
            }
            #expect(steps > 0)
        }
    }

    @Test func `memory is not given back while somebody may read it`() throws {
        let (world, _) = try grown(seed: 1, writes: 50)
        let frozen = world.database.freeze()
        try world.create("/zz")
        try world.run(.setData, RequestBytes.setData("/zz", [1]))
        #expect(!world.database.tree.hasGarbage)
        #expect(walk(frozen).contains { $0.path == [] })
        world.database.thaw(frozen)
        #expect(world.database.tree.hasGarbage)
        world.database.tree.reclaim(atMost: .max)
        #expect(!world.database.tree.hasGarbage)
        // What was retired is gone; a second view starts afresh.
        let again = world.database.freeze()
        #expect(walk(again).count == world.database.tree.count)
        world.database.thaw(again)
    }

    @Test func `parents come before their children, the root first`() throws {
        let (world, _) = try grown(seed: 4, writes: 600)
        let frozen = world.database.freeze()
        defer { world.database.thaw(frozen) }
        var known: Set<[UInt8]> = []
        for node in walk(frozen) {
            if let slash = node.path.lastIndex(of: 0x2f) {
                #expect(known.contains(Array(node.path[..<slash])))
            } else {
                #expect(node.path == [])
                #expect(known.isEmpty)
            }
            #expect(known.insert(node.path).inserted)
        }
        #expect(known.count == world.database.tree.count)
        #expect(known.count > 30)
    }

    @Test func `pages that are added behind the view are not in it`() throws {
        let world = World { _ in }
        for index in 0..<NodeSlab.recordsPerPage * 2 { try world.create("/old-\(index)") }
        let frozen = world.database.freeze()
        let before = walk(frozen)
        // More than the table of pages has room for.
        for index in 0..<NodeSlab.recordsPerPage * 80 {
            try world.propose(.create, RequestBytes.create("/new-\(index)"))
            world.applyNext()
        }
        #expect(walk(frozen) == before)
        world.database.thaw(frozen)
        #expect(world.database.tree.count == NodeSlab.recordsPerPage * 82 + 4)
        let all = world.database.freeze()
        #expect(walk(all).count == world.database.tree.count)
        world.database.thaw(all)
    }

    @Test func `handles are used again, and their old view stays`() throws {
        let world = World { _ in }
        try world.create("/a", data: [1])
        let frozen = world.database.freeze()
        let before = walk(frozen)
        for round in 0..<5 {
            try world.run(.delete, RequestBytes.pathVersion("/a"))
            try world.create("/a", data: [UInt8(round), 7, 7])
        }
        #expect(walk(frozen) == before)
        world.database.thaw(frozen)
        #expect(try world.database.data("/a") == [4, 7, 7])
    }
}
