import Jute
public import StorageFormat
public import Vocabulary

/// The whole state at one zxid, readable by the snapshot thread while the loop goes on.
///
/// `@unchecked Sendable`: its pages and blobs are not written and not freed before the loop calls
/// `Database.thaw`, which it does after the snapshot thread has reported its end.
public final class FrozenDatabase: SnapshotSource, @unchecked Sendable {
    public let zxid: Zxid
    public let digest: UInt64
    public let sessions: [(id: SessionID, timeoutMilliseconds: Int32)]
    public let acls: [(id: Int64, list: [ACL])]
    fileprivate let slab: NodeSlab.Frozen
    /// Alive until the view is thawed, also when the database has begun another tree.
    fileprivate let tree: DataTree

    fileprivate init(_ database: Database, slab: NodeSlab.Frozen) {
        zxid = database.lastProcessedZxid
        digest = database.digest
        sessions = database.sessions.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        acls = database.tree.acls.all
        self.slab = slab
        tree = database.tree
    }

    public func forEachNode<E: Error>(
        _ body: (
            _ path: UnsafeRawBufferPointer, _ data: UnsafeRawBufferPointer?, _ aclID: Int64,
            _ stat: StatPersisted
        ) throws(E) -> Void
    ) throws(E) {
        // One path, growing and shrinking with the depth: no strings are made.
        var path = ByteBuffer(capacity: 1024)
        var node = NodeHandle.root
        while true {
            let record = slab.read(node)
            if node != .root {
                path.append(UInt8(0x2f))
                path.append(record.pointee.name)
            }
            let acl = record.pointee.acl
            try body(
                path.bytes, record.pointee.data, acl == ACLTable.open ? -1 : Int64(acl),
                record.pointee.stat)
            if record.pointee.firstChild != .none {
                node = record.pointee.firstChild
                continue
            }
            while node != .root, slab.read(node).pointee.next == .none {
                path.truncate(to: path.count - 1 - Int(slab.read(node).pointee.nameLength))
                node = slab.read(node).pointee.parent
            }
            if node == .root { return }
            path.truncate(to: path.count - 1 - Int(slab.read(node).pointee.nameLength))
            node = slab.read(node).pointee.next
        }
    }
}

extension Database {
    /// Starts a frozen view; one at a time. Costs a copy of the page table.
    public func freeze() -> FrozenDatabase {
        FrozenDatabase(self, slab: tree.slab.freeze())
    }

    /// Ends a frozen view that nobody reads any more.
    public func thaw(_ frozen: FrozenDatabase) { frozen.tree.slab.thaw(frozen.slab) }
}
