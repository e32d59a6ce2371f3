internal import Glibc
public import Jute
public import Vocabulary

/// The znodes: names, data, stats and ACLs, and nothing about clients.
///
/// Reading is finding a handle and looking at it; every change comes from applying a transaction.
/// Invariants: a znode with children keeps its full path; `digest` is the sum over the znodes;
/// the set of ephemerals of a session, the containers and the TTL nodes are those of the tree.
/// Source: ZooKeeper, `DataTree`.
public final class DataTree {
    var slab = NodeSlab()
    private var table = HandleTable(minimumSlots: 1024)
    let hasher: PathHasher
    var acls = ACLTable()
    /// The sum of the digests of all znodes outside /zookeeper.
    private(set) var digest: UInt64 = 0
    /// The root included.
    public private(set) var count = 0
    /// Bytes of all paths and data, the root's path being `/`: `approximate_data_size`.
    public private(set) var dataBytes = 0
    private(set) var ephemerals: [SessionID: Set<NodeHandle>] = [:]
    public private(set) var ephemeralCount = 0
    private(set) var containers: Set<NodeHandle> = []
    private(set) var ttls: Set<NodeHandle> = []
    var quotas = QuotaTable()

    /// A tree with only the root.
    ///
    /// - Parameter seed: unknown to clients, who choose paths.
    init(seed: UInt64) {
        hasher = PathHasher(seed: seed)
        addRoot(stat: StatPersisted(), data: Bytes(start: nil, count: 0), acl: ACLTable.open)
    }

    deinit { releaseBlobs(below: .root) }

    private func releaseBlobs(below top: NodeHandle) {
        var stack = [top]
        while let handle = stack.popLast() {
            var child = record(handle).pointee.firstChild
            while child != .none {
                stack.append(child)
                child = record(child).pointee.next
            }
            free(record(handle).pointee.blob)
        }
    }

    @inline(__always)
    func record(_ handle: NodeHandle) -> UnsafePointer<NodeRecord> { slab.read(handle) }

    // MARK: Finding

    @inline(__always)
    func hash(_ path: Bytes) -> UInt32 { hasher.hash(path) }

    /// The znode of a path. `/` and the empty path are the root.
    @inline(__always)
    public func find(_ path: Bytes) -> NodeHandle? {
        if path.count <= 1 { return findShort(path) }
        return find(path, hash: hash(path))
    }

    private func findShort(_ path: Bytes) -> NodeHandle? {
        path.count == 0 || path[0] == 0x2f ? .root : nil
    }

    public func find(_ path: Span<UInt8>) -> NodeHandle? { path.withUnsafeBytes { find($0) } }

    @inline(__always)
    func find(_ path: Bytes, hash: UInt32) -> NodeHandle? {
        let found = table.find(hash) { index in
            let record = slab.read(NodeHandle(index))
            guard record.pointee.hash == hash else { return false }
            return isPath(path, of: record)
        }
        return found.map { NodeHandle($0) }
    }

    @inline(__always)
    private func isPath(_ path: Bytes, of record: UnsafePointer<NodeRecord>) -> Bool {
        let text = record.pointee.text
        if record.pointee.textLength != record.pointee.nameLength { return path.equals(text) }
        // Only the name is here; the parent has the rest.
        let parentLength = path.count &- text.count &- 1
        guard parentLength >= 0, path[parentLength] == 0x2f,
            Bytes(rebasing: path[(parentLength &+ 1)...]).equals(text)
        else { return false }
        return path.prefix(bytes: parentLength).equals(
            slab.read(record.pointee.parent).pointee.text)
    }

    /// The parent of a path, and where its last slash is. Below the root that is the first byte: the
    /// root's other name, `/`, is no beginning of a path.
    func findParent(_ path: Bytes) -> (handle: NodeHandle, slash: Int)? {
        guard let slash = path.lastSlash, slash != 1 || path[0] != 0x2f,
            let handle = find(path.prefix(bytes: slash))
        else { return nil }
        return (handle, slash)
    }

    /// Appends the full path; the root's is empty.
    func appendPath(of handle: NodeHandle, to buffer: inout ByteBuffer) {
        let record = record(handle).pointee
        if record.textLength == record.nameLength, handle != .root {
            buffer.append(self.record(record.parent).pointee.text)
            buffer.append(UInt8(0x2f))
        }
        buffer.append(record.text)
    }

    /// The full path's bytes, `/` for the root. A log can hold paths that are not UTF-8.
    public func pathBytes(of handle: NodeHandle) -> [UInt8] {
        if handle == .root { return [0x2f] }
        var buffer = ByteBuffer()
        appendPath(of: handle, to: &buffer)
        return Array(buffer.bytes)
    }

    /// The full path as text, for people.
    public func path(of handle: NodeHandle) -> String {
        String(decoding: pathBytes(of: handle), as: UTF8.self)
    }

    // MARK: Reading

    /// What clients see of a znode.
    @inline(__always)
    public func stat(_ handle: NodeHandle) -> Stat {
        let record = record(handle)
        let owner = record.pointee.owner
        return Stat(
            czxid: Zxid(rawValue: record.pointee.czxid),
            mzxid: Zxid(rawValue: record.pointee.mzxid),
            ctime: record.pointee.ctime, mtime: record.pointee.mtime,
            version: record.pointee.version,
            cversion: record.pointee.cversion &* 2 &- Int32(bitPattern: record.pointee.childCount),
            aversion: record.pointee.aversion,
            ephemeralOwner: owner == 0 ? 0 : Owner(rawValue: owner).session?.rawValue ?? 0,
            dataLength: max(0, record.pointee.dataLength),
            numChildren: Int32(bitPattern: record.pointee.childCount),
            pzxid: Zxid(rawValue: record.pointee.pzxid))
    }

    /// Appends a znode's data as a jute buffer; null data is a null buffer.
    @inline(__always)
    public func appendData(_ handle: NodeHandle, to buffer: inout ByteBuffer) {
        if let data = record(handle).pointee.data {
            buffer.appendField(data)
        } else {
            buffer.appendNull()
        }
    }

    /// Appends the names of the children as a jute vector, in no particular order.
    public func appendChildren(_ handle: NodeHandle, to buffer: inout ByteBuffer) {
        buffer.append(Int32(bitPattern: record(handle).pointee.childCount))
        forEachChild(handle) { buffer.appendField(record($0).pointee.name) }
    }

    @inline(__always)
    func forEachChild(_ handle: NodeHandle, _ body: (NodeHandle) -> Void) {
        var child = record(handle).pointee.firstChild
        while child != .none {
            body(child)
            child = record(child).pointee.next
        }
    }

    /// The number of znodes below this one.
    public func countDescendants(_ handle: NodeHandle) -> Int {
        if handle == .root { return count - 1 }
        var total = 0
        forEachDescendant(handle) { _ in total += 1 }
        return total
    }

    func forEachDescendant(_ top: NodeHandle, _ body: (NodeHandle) -> Void) {
        var node = record(top).pointee.firstChild
        while node != .none {
            body(node)
            let child = record(node).pointee.firstChild
            if child != .none {
                node = child
                continue
            }
            while node != top, record(node).pointee.next == .none {
                node = record(node).pointee.parent
            }
            if node == top { return }
            node = record(node).pointee.next
        }
    }

    public func acl(_ handle: NodeHandle) -> [ACL] { acls.list(record(handle).pointee.acl) }

    /// The paths of a session's ephemeral znodes, oldest first.
    public func ephemeralPaths(of session: SessionID) -> [String] {
        ephemeralHandles(of: session).map { path(of: $0) }
    }

    func ephemeralHandles(of session: SessionID) -> [NodeHandle] {
        (ephemerals[session] ?? []).sorted {
            let (a, b) = (record($0), record($1))
            return (a.pointee.czxid, $0.index) < (b.pointee.czxid, $1.index)
        }
    }

    public var sessionsWithEphemerals: [SessionID] { ephemerals.keys.sorted() }

    // MARK: Changing

    @inline(__always)
    private func digest(_ record: UnsafePointer<NodeRecord>) -> UInt64 {
        guard record.pointee.isDigested else { return 0 }
        return NodeDigest.digest(contentCRC: record.pointee.contentCRC, stat: record.pointee.stat)
    }

    private func addRoot(stat: StatPersisted, data: Bytes?, acl: ACLTable.ID) {
        let handle = slab.allocate()
        precondition(handle == .root, "the root is the first of all")
        let empty = Bytes(start: nil, count: 0)
        slab.write(handle).initialize(
            to: makeRecord(
                text: empty, nameLength: 0, hash: 0, parent: .none, data: data, stat: stat,
                acl: acl, path: empty))
        count = 1
        dataBytes = 1
        digest &+= digest(record(handle))
    }

    @inline(__always)
    private func makeRecord(
        text: Bytes, nameLength: Int, hash: UInt32, parent: NodeHandle, data: Bytes?,
        stat: StatPersisted, acl: ACLTable.ID, path: Bytes
    ) -> NodeRecord {
        let crc = NodeDigest.contentCRC(path: path, data: data)
        return NodeRecord(
            blob: NodeRecord.makeBlob(contentCRC: crc, text: text, data: data),
            czxid: stat.czxid.rawValue, mzxid: stat.mzxid.rawValue, pzxid: stat.pzxid.rawValue,
            ctime: stat.ctime, mtime: stat.mtime, owner: stat.owner.rawValue,
            version: stat.version, cversion: stat.cversion, aversion: stat.aversion, hash: hash,
            parent: parent, firstChild: .none, next: .none, previous: .none, childCount: 0,
            dataLength: data.map { Int32(truncatingIfNeeded: $0.count) } ?? -1,
            nameLength: UInt32(truncatingIfNeeded: nameLength),
            textLength: UInt32(truncatingIfNeeded: text.count), acl: acl,
            isDigested: NodeDigest.counts(path))
    }

    /// Links a new znode below its parent. The use of `acl` passes to the znode.
    ///
    /// - Returns: nil when the parent is missing or the path exists.
    func link(path: Bytes, data: Bytes?, acl: ACLTable.ID, stat: StatPersisted) -> NodeHandle? {
        guard let (parent, slash) = findParent(path) else { return nil }
        let hash = hash(path)
        guard find(path, hash: hash) == nil else { return nil }
        let nameLength = path.count - slash - 1
        let handle = slab.allocate()
        let name = Bytes(rebasing: path[(slash + 1)...])
        keepFullPath(parent, path.prefix(bytes: slash))
        let record = slab.write(handle)
        record.initialize(
            to: makeRecord(
                text: name, nameLength: nameLength, hash: hash, parent: parent, data: data,
                stat: stat, acl: acl, path: path))
        let first = self.record(parent).pointee.firstChild
        record.pointee.next = first
        if first != .none { slab.write(first).pointee.previous = handle }
        let parentRecord = slab.write(parent)
        parentRecord.pointee.firstChild = handle
        parentRecord.pointee.childCount &+= 1
        table.insert(hash, handle.index) { slab.read(NodeHandle($0)).pointee.hash }
        count += 1
        dataBytes += path.count + (data?.count ?? 0)
        digest &+= digest(self.record(handle))
        index(handle, owner: stat.owner, adding: true)
        return handle
    }

    /// A znode with children keeps its full path, so that they need only their names.
    @inline(__always)
    private func keepFullPath(_ handle: NodeHandle, _ path: Bytes) {
        let old = record(handle)
        guard handle != .root, old.pointee.textLength == old.pointee.nameLength else { return }
        let blob = NodeRecord.makeBlob(
            contentCRC: old.pointee.contentCRC, text: path, data: old.pointee.data)
        let record = slab.write(handle)
        slab.replaceBlob(of: record, by: blob)
        record.pointee.textLength = UInt32(truncatingIfNeeded: path.count)
    }

    private func index(_ handle: NodeHandle, owner: Owner, adding: Bool) {
        switch owner.kind {
        case .persistent: break
        case .container:
            if adding { containers.insert(handle) } else { containers.remove(handle) }
        case .ttl:
            if adding { ttls.insert(handle) } else { ttls.remove(handle) }
        case .ephemeral(let session):
            if adding {
                ephemerals[session, default: []].insert(handle)
                ephemeralCount += 1
            } else {
                ephemerals[session]?.remove(handle)
                if ephemerals[session]?.isEmpty == true { ephemerals[session] = nil }
                ephemeralCount -= 1
            }
        }
    }

    /// Unlinks a znode without children and gives its memory back.
    func unlink(_ handle: NodeHandle) {
        precondition(handle != .root, "the root stays")
        let record = record(handle).pointee
        precondition(record.firstChild == .none, "only a leaf is unlinked")
        digest &-= digest(self.record(handle))
        index(handle, owner: Owner(rawValue: record.owner), adding: false)
        if record.previous == .none {
            slab.write(record.parent).pointee.firstChild = record.next
        } else {
            slab.write(record.previous).pointee.next = record.next
        }
        if record.next != .none { slab.write(record.next).pointee.previous = record.previous }
        let parent = slab.write(record.parent)
        parent.pointee.childCount &-= 1
        table.remove(record.hash, handle.index) { slab.read(NodeHandle($0)).pointee.hash }
        acls.release(record.acl)
        count -= 1
        let pathLength = Int(parent.pointee.textLength) + 1 + Int(record.nameLength)
        dataBytes -= pathLength + max(0, Int(record.dataLength))
        slab.deallocate(handle)
    }

    /// Changes a znode's stat.
    @inline(__always)
    func update(_ handle: NodeHandle, _ change: (UnsafeMutablePointer<NodeRecord>) -> Void) {
        digest &-= digest(record(handle))
        change(slab.write(handle))
        digest &+= digest(record(handle))
    }

    /// Replaces a znode's data and lets `change` update its stat.
    @inline(__always)
    func replaceData(
        _ handle: NodeHandle, path: Bytes, _ data: Bytes?,
        _ change: (UnsafeMutablePointer<NodeRecord>) -> Void
    ) {
        let old = record(handle)
        digest &-= digest(old)
        dataBytes += (data?.count ?? 0) - max(0, Int(old.pointee.dataLength))
        let crcPath = handle == .root ? path.prefix(bytes: 0) : path
        let blob = NodeRecord.makeBlob(
            contentCRC: NodeDigest.contentCRC(path: crcPath, data: data), text: old.pointee.text,
            data: data)
        let record = slab.write(handle)
        slab.replaceBlob(of: record, by: blob)
        record.pointee.dataLength = data.map { Int32(truncatingIfNeeded: $0.count) } ?? -1
        change(record)
        digest &+= digest(self.record(handle))
    }

    /// Replaces the data of a znode by its handle.
    func replaceData(_ handle: NodeHandle, _ data: [UInt8]) {
        var path = ByteBuffer()
        appendPath(of: handle, to: &path)
        data.withUnsafeBytes { replaceData(handle, path: path.bytes, $0) { _ in } }
    }

    /// The root of a restored snapshot takes the place of the new one.
    func restoreRoot(data: Bytes?, acl: ACLTable.ID, stat: StatPersisted) {
        replaceData(.root, path: Bytes(start: nil, count: 0), data) { record in
            record.pointee.czxid = stat.czxid.rawValue
            record.pointee.mzxid = stat.mzxid.rawValue
            record.pointee.pzxid = stat.pzxid.rawValue
            record.pointee.ctime = stat.ctime
            record.pointee.mtime = stat.mtime
            record.pointee.version = stat.version
            record.pointee.cversion = stat.cversion
            record.pointee.aversion = stat.aversion
            record.pointee.owner = stat.owner.rawValue
            record.pointee.acl = acl
        }
    }

    /// A finished snapshot left memory to free.
    public var hasGarbage: Bool { slab.hasGarbage }

    /// Frees some of the memory that finished snapshots kept.
    public func reclaim(atMost limit: Int) { slab.reclaim(atMost: limit) }
}
