import Jute
import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// Lists are stored once and live as long as somebody uses them.
@Suite struct `Stored access control lists` {
    private func encoded(_ list: [ACL]) -> [UInt8] { bytes { $0.append(list) } }

    @Test func `equal lists have one id, and go with their last use`() {
        var table = ACLTable()
        let (mine, yours) = (encoded([.readOnly]), encoded([.bobs]))
        let first = table.retain(mine.span)
        let second = table.retain(yours.span)
        #expect(first != second)
        #expect(first != ACLTable.open)
        #expect(table.retain(mine.span) == first)
        table.release(first)
        #expect(table.list(first) == [.readOnly])
        table.release(first)
        #expect(table.all.map(\.list) == [[.bobs]])
        #expect(table.list(second) == [.bobs])
    }

    @Test func `what everybody may do is the union of the entries for everybody`() {
        var table = ACLTable()
        let list = [ACL.world(.read), .bobs, .world([.create, .delete])]
        let bytes = encoded(list)
        let id = table.retain(bytes.span)
        #expect(table.worldPermissions(id) == [.read, .create, .delete])
        #expect(table.permitsEverybody([.read, .write], id))
        #expect(!table.permitsEverybody([.write, .admin], id))
        #expect(table.permitsEverybody(.admin, ACLTable.open))
        #expect(table.list(ACLTable.open) == [.open])
    }

    /// Ids with lists and uses, kept in a dictionary, under random calls.
    @Test(arguments: UInt64(0)..<8)
    func `the table does what a dictionary does`(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var table = ACLTable()
        var twin: [ACLTable.ID: (list: [ACL], uses: Int)] = [:]
        let lists: [[ACL]] = (0..<12).map { number in
            [ACL(permissions: Permissions(rawValue: Int32(number)), scheme: "world", id: "anyone")]
        }
        for _ in 0..<3000 {
            if random.chance(percent: 50),
                let id = twin.keys.sorted().first(where: { _ in random.chance(percent: 30) })
            {
                table.release(id)
                twin[id]?.uses -= 1
                if twin[id]?.uses == 0 { twin[id] = nil }
            } else {
                let list = random.pick(lists)
                let bytes = encoded(list)
                let id = table.retain(bytes.span)
                let known = twin.first { $0.value.list == list }?.key
                #expect(known == nil || known == id)
                if known == nil { #expect(twin[id] == nil) }
                twin[id] = (list, (twin[id]?.uses ?? 0) + 1)
            }
            for (id, entry) in twin {
                #expect(table.list(id) == entry.list)
                #expect(table.worldPermissions(id) == entry.list[0].permissions)
            }
            #expect(table.all.count == twin.count)
        }
    }

    @Test func `lists of outstanding transactions are alive until they are applied`() throws {
        let world = World { _ in }
        try world.create("/a")
        let before = world.database.tree.acls.all.count
        try world.propose(.setACL, RequestBytes.setACL("/a", [.bobs]))
        try world.propose(.setACL, RequestBytes.setACL("/a", [.readOnly]), as: [World.bob])
        try world.propose(.create, RequestBytes.create("/b", acl: [.bobs]))
        try world.propose(.delete, RequestBytes.pathVersion("/b"))
        world.applyAll()
        // The last list of /a is left; config's is the same one.
        #expect(world.database.tree.acls.all.map(\.list).contains([.bobs]) == false)
        #expect(world.database.tree.acls.all.count <= before)
        #expect(try world.database.shown()["/a"]?.acl == [.readOnly])
    }
}
