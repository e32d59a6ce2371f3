import Jute
import Vocabulary

/// The access control lists in use, each stored once and counted.
///
/// Few lists serve many znodes, so most lookups are one comparison with the list used last.
struct ACLTable {
    /// 0 is the open list of the built-in znodes, -1 on disk; others count from 1.
    typealias ID = UInt32

    static let open: ID = 0

    struct Entry {
        var list: [ACL]
        /// What everybody may do.
        var worldPermissions: Permissions
        /// The encoded vector.
        var bytes: [UInt8]
        var uses: Int
    }

    private(set) var entries: [ID: Entry] = [:]
    private var ids: [[UInt8]: ID] = [:]
    private var lastUsed: (id: ID, bytes: [UInt8])?
    private var nextID: ID = 1

    /// The encoded `[(all, world, anyone)]`.
    static let worldAnyoneBytes: [UInt8] = encoded([.open])

    static func encoded(_ list: [ACL]) -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.append(list)
        return [UInt8](buffer.span)
    }

    /// The id of an encoded list, with one more use. A null vector is the open list.
    mutating func retain(_ bytes: Span<UInt8>) -> ID {
        if let lastUsed, lastUsed.bytes.span.equals(bytes) {
            entries[lastUsed.id]?.uses += 1
            return lastUsed.id
        }
        let key = [UInt8](bytes)
        if let id = ids[key] {
            entries[id]?.uses += 1
            lastUsed = (id, key)
            return id
        }
        var reader = JuteReader(bytes)
        guard let list = try? reader.readACLs() else { return Self.open }
        while entries[nextID] != nil || nextID == Self.open { nextID &+= 1 }
        let id = nextID
        nextID &+= 1
        insert(id, list, bytes: key, uses: 1)
        lastUsed = (id, key)
        return id
    }

    private mutating func insert(_ id: ID, _ list: [ACL], bytes: [UInt8], uses: Int) {
        var world: Permissions = []
        for entry in list where entry.scheme == "world" && entry.id == "anyone" {
            world.formUnion(entry.permissions)
        }
        // An empty list restricts nothing.
        if list.isEmpty { world = Permissions(rawValue: -1) }
        entries[id] = Entry(list: list, worldPermissions: world, bytes: bytes, uses: uses)
        ids[bytes] = id
    }

    /// A list with the id that a snapshot gave it; unused until a znode names it.
    mutating func restore(_ id: ID, _ list: [ACL]) {
        insert(id, list, bytes: Self.encoded(list), uses: 0)
        nextID = max(nextID, id &+ 1)
    }

    mutating func retain(_ id: ID) {
        if id != Self.open { entries[id]?.uses += 1 }
    }

    mutating func release(_ id: ID) {
        guard id != Self.open, let entry = entries[id] else { return }
        if entry.uses > 1 {
            entries[id]?.uses -= 1
            return
        }
        entries[id] = nil
        if ids[entry.bytes] == id { ids[entry.bytes] = nil }
        if lastUsed?.id == id { lastUsed = nil }
    }

    /// Forgets the lists of a snapshot that no znode names.
    mutating func removeUnused() {
        for (id, entry) in entries where entry.uses == 0 {
            entries[id] = nil
            if ids[entry.bytes] == id { ids[entry.bytes] = nil }
        }
    }

    func contains(_ id: ID) -> Bool { id == Self.open || entries[id] != nil }

    /// The list as clients see it: the open one is everybody's.
    func list(_ id: ID) -> [ACL] { id == Self.open ? [.open] : entries[id]?.list ?? [] }

    /// What everybody may do under this list.
    @inline(__always)
    func worldPermissions(_ id: ID) -> Permissions {
        id == Self.open
            ? Permissions(rawValue: -1) : entries[id]?.worldPermissions ?? []
    }
}
