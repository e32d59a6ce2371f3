import Jute
import Vocabulary

/// The access control lists in use, each stored once and counted.
///
/// Few lists serve many znodes, so most lookups are one comparison with the list used last.
struct ACLTable {
    /// An index. 0 is the open list of the built-in znodes, -1 on disk.
    typealias ID = UInt32

    static let open: ID = 0

    struct Entry {
        var list: [ACL]
        /// The encoded vector.
        var bytes: [UInt8]
        var uses: Int
    }

    /// Nil where an id is free.
    private var entries: [Entry?] = [nil]
    /// What everybody may do under each list: asked for by every request.
    private var worldPermissions = [Permissions(rawValue: -1)]
    private var freeIDs: [ID] = []
    private var ids: [[UInt8]: ID] = [:]
    private var lastUsed: (id: ID, bytes: [UInt8])?
    /// The ids that a snapshot gave to its lists, while it is read.
    private var restored: [Int64: ID] = [:]

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
            retain(lastUsed.id)
            return lastUsed.id
        }
        let key = [UInt8](bytes)
        if let id = ids[key] {
            retain(id)
            lastUsed = (id, key)
            return id
        }
        var reader = JuteReader(bytes, limits: .frame)
        guard let list = try? reader.readACLs() else { return Self.open }
        let id = insert(list, bytes: key, uses: 1)
        lastUsed = (id, key)
        return id
    }

    private mutating func insert(_ list: [ACL], bytes: [UInt8], uses: Int) -> ID {
        var world: Permissions = []
        for entry in list where entry.scheme == "world" && entry.id == "anyone" {
            world.formUnion(entry.permissions)
        }
        // An empty list restricts nothing.
        if list.isEmpty { world = Permissions(rawValue: -1) }
        let entry = Entry(list: list, bytes: bytes, uses: uses)
        let id: ID
        if let free = freeIDs.popLast() {
            id = free
            entries[Int(id)] = entry
            worldPermissions[Int(id)] = world
        } else {
            id = ID(entries.count)
            entries.append(entry)
            worldPermissions.append(world)
        }
        ids[bytes] = id
        return id
    }

    mutating func retain(_ id: ID) {
        if id != Self.open { entries[Int(id)]?.uses += 1 }
    }

    mutating func release(_ id: ID) {
        guard id != Self.open, let uses = entries[Int(id)]?.uses else { return }
        if uses > 1 { entries[Int(id)]?.uses -= 1 } else { remove(id) }
    }

    private mutating func remove(_ id: ID) {
        guard let entry = entries[Int(id)] else { return }
        if ids[entry.bytes] == id { ids[entry.bytes] = nil }
        if lastUsed?.id == id { lastUsed = nil }
        entries[Int(id)] = nil
        worldPermissions[Int(id)] = []
        freeIDs.append(id)
    }

    /// The list as clients see it: the open one is everybody's.
    func list(_ id: ID) -> [ACL] {
        id == Self.open ? [.open] : entries[Int(id)]?.list ?? []
    }

    /// What everybody may do under this list.
    @inline(__always)
    func permitsEverybody(_ permissions: Permissions, _ id: ID) -> Bool {
        !worldPermissions[Int(id)].isDisjoint(with: permissions)
    }

    func worldPermissions(_ id: ID) -> Permissions { worldPermissions[Int(id)] }

    /// Every list that is in use.
    var all: [(id: Int64, list: [ACL])] {
        entries.enumerated().compactMap { id, entry in entry.map { (Int64(id), $0.list) } }
    }

    // MARK: Restoring

    /// A list with the id that a snapshot gave it; unused until a znode names it.
    mutating func restore(_ id: Int64, _ list: [ACL]) {
        restored[id] = insert(list, bytes: Self.encoded(list), uses: 0)
    }

    /// What a snapshot's id means here; nil if the snapshot has no such list.
    func restoredID(_ id: Int64) -> ID? { id == -1 ? Self.open : restored[id] }

    /// Forgets the lists of a snapshot that no znode names.
    mutating func endRestoring() {
        restored = [:]
        for id in entries.indices where entries[id]?.uses == 0 { remove(ID(id)) }
    }
}
