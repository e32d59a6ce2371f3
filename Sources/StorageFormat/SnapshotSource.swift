public import Vocabulary

/// A frozen, consistent view of the tree and the sessions, walked on the snapshot thread.
public protocol SnapshotSource: Sendable {
    /// The last txn in the view; it names the file.
    var zxid: Zxid { get }
    /// The digest of the tree at `zxid`.
    var digest: UInt64 { get }
    var sessions: [(id: SessionID, timeoutMilliseconds: Int32)] { get }
    /// Every list that a znode refers to.
    var acls: [(id: Int64, list: [ACL])] { get }

    /// Visits every znode depth first: a znode comes after its parent, the root (`""`) first. Null
    /// data is nil.
    func forEachNode<E: Error>(
        _ body: (
            _ path: UnsafeRawBufferPointer, _ data: UnsafeRawBufferPointer?, _ aclID: Int64,
            _ stat: StatPersisted
        ) throws(E) -> Void
    ) throws(E)
}
