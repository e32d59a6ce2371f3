import Jute
public import StorageFormat
import Transactions
public import Vocabulary

/// The state as a snapshot and the logs behind it bring it back.
extension Database: RestoreTarget {
    public func reset() {
        tree = DataTree(seed: seed)
        sessions = [:]
        lastProcessedZxid = .zero
        isSnapshotRestored = false
        digestsComparedFrom = .zero
        addReservedZnodes()
    }

    /// A snapshot brings every znode, the reserved ones too.
    private func startSnapshot() {
        guard !isSnapshotRestored else { return }
        isSnapshotRestored = true
        tree = DataTree(seed: seed)
    }

    public func restoreSession(_ id: SessionID, timeoutMilliseconds: Int32) {
        startSnapshot()
        sessions[id] = timeoutMilliseconds
    }

    public func restoreACL(_ id: Int64, _ list: [ACL]) {
        startSnapshot()
        tree.acls.restore(id, list)
    }

    public func restoreNode(
        path: Span<UInt8>, data: Span<UInt8>?, aclID: Int64, stat: StatPersisted
    ) throws(RestoreError) {
        startSnapshot()
        guard let acl = tree.acls.restoredID(aclID) else { throw .unknownACL(aclID) }
        tree.acls.retain(acl)
        let isLinked = path.withUnsafeBytes { path in
            if path.count == 0 {
                if let data {
                    data.withUnsafeBytes { tree.restoreRoot(data: $0, acl: acl, stat: stat) }
                } else {
                    tree.restoreRoot(data: nil, acl: acl, stat: stat)
                }
                return true
            }
            if let data {
                return data.withUnsafeBytes {
                    tree.link(path: path, data: $0, acl: acl, stat: stat) != nil
                }
            }
            return tree.link(path: path, data: nil, acl: acl, stat: stat) != nil
        }
        guard !isLinked else { return }
        let text = String(lenientUTF8: path)
        throw tree.find(path) == nil ? .parentMissing(path: text) : .duplicateNode(path: text)
    }

    public func finishSnapshot(
        zxid: Zxid, digest: (zxid: Zxid, value: UInt64)?
    ) throws(RestoreError) {
        startSnapshot()
        tree.acls.endRestoring()
        tree.restoreQuotas()
        lastProcessedZxid = zxid
        if let digest {
            digestsComparedFrom = digest.zxid
            if digest.zxid == zxid, digest.value != tree.digest { digestMismatches += 1 }
        }
    }

    public func replay(_ txn: Span<UInt8>) throws(RestoreError) {
        do throws(TxnError) {
            _ = try apply(txn)
        } catch {
            switch error {
            case .malformed(let reason): throw .undecodable(reason)
            case .unknownType(let type): throw .unknownTxnType(type)
            }
        }
    }

    /// Ephemeral znodes without a session, which nothing would ever remove. Apache's servers drop
    /// them after loading; here they leave by an ordinary transaction.
    public var orphanedSessions: [SessionID] {
        tree.sessionsWithEphemerals.filter { sessions[$0] == nil }
    }
}
