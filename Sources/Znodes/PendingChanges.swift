internal import DequeModule
internal import Glibc
import Vocabulary

/// What validation needs to know of a znode, committed or not.
struct ZnodeView {
    var stat: StatPersisted
    var childCount: Int
    var acl: ACLTable.ID
    var dataLength: Int
    /// CRC-32 of path and data.
    var contentCRC: UInt32
    var isDigested: Bool

    var digest: UInt64 {
        isDigested ? NodeDigest.digest(contentCRC: contentCRC, stat: stat) : 0
    }
}

/// The znodes as they will be once every proposed transaction is applied.
///
/// One entry per touched path, found by path; it goes when the last transaction that touched it is
/// applied. The changes of a multi can be taken back together.
struct PendingChanges: ~Copyable {
    private struct Entry {
        var path: UnsafeMutableRawPointer
        var length: Int
        var hash: UInt32
        /// Nil: the znode will be gone.
        var view: ZnodeView?
        var zxid: Zxid
        /// The last multi that changed the entry: what was before it is in the journal.
        var multi: UInt64

        var bytes: Bytes { Bytes(start: path, count: length) }
    }

    private var entries = Arena<Entry>()
    private var table = HandleTable(minimumSlots: 256)
    /// Which transaction touched which entry, in order.
    private var touched: Deque<(zxid: Zxid, slot: UInt32)> = []
    /// What entries were before the multi under way touched them; nil: not there.
    private var journal: [(slot: UInt32, before: Entry?)] = []
    private var touchedBefore = 0
    private var isInMulti = false
    private var multi: UInt64 = 0

    deinit { entries.forEach { free($0.path) } }

    var isEmpty: Bool { entries.count == 0 }

    /// Nil when no outstanding transaction touches the path; a nil view when it will be gone.
    @inline(__always)
    func find(_ path: Bytes, _ hash: UInt32) -> ZnodeView?? {
        guard entries.count > 0 else { return .none }
        let slot = table.find(hash) { entries[$0].hash == hash && entries[$0].bytes.equals(path) }
        return slot.map { entries[$0].view }
    }

    mutating func put(_ path: Bytes, _ hash: UInt32, _ view: ZnodeView?, zxid: Zxid) {
        let known = table.find(hash) {
            entries[$0].hash == hash && entries[$0].bytes.equals(path)
        }
        if let slot = known {
            if isInMulti, entries[slot].multi != multi {
                journal.append((slot, entries[slot]))
                entries[slot].multi = multi
            }
            entries[slot].view = view
            if entries[slot].zxid != zxid {
                entries[slot].zxid = zxid
                touched.append((zxid, slot))
            }
            return
        }
        let slot = entries.insert(
            Entry(
                path: path.copied(), length: path.count, hash: hash, view: view, zxid: zxid,
                multi: isInMulti ? multi : 0))
        table.insert(hash, slot) { entries[$0].hash }
        if isInMulti { journal.append((slot, nil)) }
        touched.append((zxid, slot))
    }

    private mutating func remove(_ slot: UInt32) {
        table.remove(entries[slot].hash, slot) { entries[$0].hash }
        free(entries[slot].path)
        entries.remove(slot)
    }

    /// A transaction and all before it are in the tree now.
    @inline(__always)
    mutating func drop(upTo zxid: Zxid) {
        while let first = touched.first, first.zxid <= zxid {
            touched.removeFirst()
            // A later transaction may have touched the path again.
            if entries[first.slot].zxid == first.zxid { remove(first.slot) }
        }
    }

    mutating func beginMulti() {
        isInMulti = true
        multi += 1
        touchedBefore = touched.count
    }

    mutating func endMulti(undo: Bool) {
        if undo {
            for (slot, before) in journal.reversed() {
                if let before { entries[slot] = before } else { remove(slot) }
            }
            touched.removeLast(touched.count - touchedBefore)
        }
        journal.removeAll(keepingCapacity: true)
        isInMulti = false
    }

    /// The paths that a session will own, and those that are touched at all.
    func forEach(_ body: (_ path: Bytes, _ view: ZnodeView?) -> Void) {
        entries.forEach { body($0.bytes, $0.view) }
    }
}
