import ClientProtocol
import Vocabulary

/// Whom a change concerns: the events of one transaction, in the order that clients rely on.
///
/// Source: ZooKeeper, `DataTree.createNode`, `deleteNode`, `setData`; `WatchManager.triggerWatch`.
extension Database {
    func access(_ handle: NodeHandle) -> Access {
        let acl = tree.record(handle).pointee.acl
        return Access(list: tree.acls.list(acl), worldPermissions: tree.acls.worldPermissions(acl))
    }

    func fireData(
        _ type: WatchEventType, _ path: Bytes, _ zxid: Zxid, _ access: () -> Access
    ) {
        if watches.count == 0 { return }
        watches.beginRound()
        watches.fireData(path, into: &found)
        deliver(type, path, zxid, access)
    }

    func fireDeleted(_ path: Bytes, _ zxid: Zxid, _ access: Access) {
        if watches.count == 0 { return }
        watches.beginRound()
        watches.fireData(path, into: &found)
        watches.fireChild(path, into: &found)
        deliver(.nodeDeleted, path, zxid) { access }
    }

    func fireChildrenChanged(_ path: Bytes, _ parent: NodeHandle, _ zxid: Zxid) {
        if watches.count == 0 { return }
        watches.beginRound()
        if path.count == 0 {
            [UInt8(0x2f)].withUnsafeBytes { root in
                watches.fireChild(root, into: &found)
                deliver(.nodeChildrenChanged, root, zxid) { access(parent) }
            }
        } else {
            watches.fireChild(path, into: &found)
            deliver(.nodeChildrenChanged, path, zxid) { access(parent) }
        }
    }

    private func deliver(
        _ type: WatchEventType, _ path: Bytes, _ zxid: Zxid, _ access: () -> Access
    ) {
        guard !found.isEmpty else { return }
        watchSink?.deliver(type, path: path, zxid: zxid, acl: access(), to: found)
        found.removeAll(keepingCapacity: true)
    }
}
