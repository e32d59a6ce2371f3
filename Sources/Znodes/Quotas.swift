import Jute
import Vocabulary

/// Limits or counters of a subtree, as the text of a quota znode. Clients may write any number there,
/// so arithmetic with them wraps.
///
/// `count=2,bytes=-1=;byteHardLimit=10;countHardLimit=3`: -1 is no limit. The stray `=` is part of
/// the format. Source: ZooKeeper, `StatsTrack`.
struct QuotaText: Equatable {
    var count: Int64 = -1
    var bytes: Int64 = -1
    var countHardLimit: Int64 = -1
    var bytesHardLimit: Int64 = -1

    init(count: Int64 = -1, bytes: Int64 = -1) {
        self.count = count
        self.bytes = bytes
    }

    init(parsing text: Bytes?) {
        guard let text else { return }
        for field in text.split(whereSeparator: { $0 == 0x2c || $0 == 0x3b }) {
            let parts = field.split(separator: 0x3d)
            guard parts.count >= 2,
                let value = Int64(String(decoding: parts[1], as: UTF8.self))
            else { continue }
            switch String(decoding: parts[0], as: UTF8.self) {
            case "count": count = value
            case "bytes": bytes = value
            case "countHardLimit": countHardLimit = value
            case "byteHardLimit": bytesHardLimit = value
            default: break
            }
        }
    }

    var text: String {
        var text = "count=\(count),bytes=\(bytes)"
        guard countHardLimit > -1 || bytesHardLimit > -1 else { return text }
        text += "="
        if bytesHardLimit > -1 { text += ";byteHardLimit=\(bytesHardLimit)" }
        if countHardLimit > -1 { text += ";countHardLimit=\(countHardLimit)" }
        return text
    }
}

/// The subtrees that have a quota.
struct QuotaTable {
    private var paths: Set<[UInt8]> = []

    var isEmpty: Bool { paths.isEmpty }

    mutating func activate(_ path: Bytes) { paths.insert(Array(path)) }
    mutating func deactivate(_ path: Bytes) { paths.remove(Array(path)) }
    mutating func removeAll() { paths.removeAll() }

    /// The deepest subtree with a quota that holds `path`; the root has none.
    func deepest(holding path: Bytes) -> Bytes? {
        var end = path.count
        while end > 1 {
            let candidate = path.prefix(bytes: end)
            if paths.contains(Array(candidate)) { return candidate }
            guard let slash = candidate.lastSlash else { return nil }
            end = slash
        }
        return nil
    }
}

/// Quotas are kept by applying transactions, on every server, replay included.
///
/// Source: ZooKeeper, `DataTree.createNode`, `updateQuotaStat`; `ZooKeeperServer.checkQuota`.
extension DataTree {
    /// Which subtree's quota znode `path` is, if it is one of that name.
    private func subtree(ofQuotaZnode path: Bytes, named name: String) -> Bytes? {
        guard path.isBelow(path: Paths.quota), let slash = path.lastSlash,
            Bytes(rebasing: path[(slash + 1)...]).equals(name),
            slash > Paths.quota.utf8.count
        else { return nil }
        return Bytes(rebasing: path[Paths.quota.utf8.count..<slash])
    }

    private func quotaZnode(_ name: String, of subtree: Bytes) -> NodeHandle? {
        var path = ByteBuffer(capacity: subtree.count + 64)
        path.append(utf8: Paths.quota)
        path.append(subtree)
        path.append(utf8: "/" + name)
        return find(path.bytes)
    }

    /// After a create: starts or fills a quota, and counts the new znode.
    func quotaAfterCreate(_ path: Bytes, dataBytes: Int) {
        if path.count > 17, path[1] == 0x7a {
            if let subtree = subtree(ofQuotaZnode: path, named: Paths.limitsName) {
                quotas.activate(subtree)
            } else if let subtree = subtree(ofQuotaZnode: path, named: Paths.statsName) {
                recount(subtree)
            }
        }
        account(path, count: 1, bytes: dataBytes)
    }

    func quotaAfterDelete(_ path: Bytes, dataBytes: Int) {
        if path.count > 17, path[1] == 0x7a,
            let subtree = subtree(ofQuotaZnode: path, named: Paths.limitsName)
        {
            quotas.deactivate(subtree)
        }
        account(path, count: -1, bytes: -dataBytes)
    }

    /// Adds to the counters of the quota that holds `path`. Only the text of the counters' znode
    /// changes: no stat, no watch.
    func account(_ path: Bytes, count: Int, bytes: Int) {
        guard !quotas.isEmpty, count != 0 || bytes != 0,
            let subtree = quotas.deepest(holding: path),
            let stats = quotaZnode(Paths.statsName, of: subtree)
        else { return }
        var counters = QuotaText(parsing: record(stats).pointee.data)
        counters.count &+= Int64(count)
        counters.bytes &+= Int64(bytes)
        replaceData(stats, Array(counters.text.utf8))
    }

    private func recount(_ subtree: Bytes) {
        guard let top = find(subtree), let stats = quotaZnode(Paths.statsName, of: subtree) else {
            return
        }
        var counters = QuotaText(count: 1, bytes: Int64(max(0, record(top).pointee.dataLength)))
        forEachDescendant(top) {
            counters.count &+= 1
            counters.bytes &+= Int64(max(0, record($0).pointee.dataLength))
        }
        replaceData(stats, Array(counters.text.utf8))
    }

    /// Finds the quotas of a restored tree and counts their subtrees again.
    func restoreQuotas() {
        quotas.removeAll()
        guard let top = find(Array(Paths.quota.utf8).span) else { return }
        var subtrees: [[UInt8]] = []
        forEachDescendant(top) { handle in
            guard record(handle).pointee.name.equals(Paths.limitsName) else { return }
            pathBytes(of: handle).withUnsafeBytes { path in
                if let subtree = subtree(ofQuotaZnode: path, named: Paths.limitsName) {
                    subtrees.append(Array(subtree))
                }
            }
        }
        for subtree in subtrees {
            subtree.withUnsafeBytes {
                quotas.activate($0)
                recount($0)
            }
        }
    }

    /// The subtree whose soft limit a change goes beyond, with what there is and what was meant.
    func softLimitExceeded(_ path: Bytes, count: Int, bytes: Int) -> String? {
        guard let (subtree, limits, counters) = quota(holding: path) else { return nil }
        let name = String(decoding: subtree, as: UTF8.self)
        if limits.count > -1, count > 0, counters.count &+ Int64(count) > limits.count {
            return "path=\(name) count=\(counters.count &+ Int64(count)) limit=\(limits.count)"
        }
        if limits.bytes > -1, bytes > 0, counters.bytes &+ Int64(bytes) > limits.bytes {
            return "path=\(name) bytes=\(counters.bytes &+ Int64(bytes)) limit=\(limits.bytes)"
        }
        return nil
    }

    private func quota(
        holding path: Bytes
    ) -> (subtree: Bytes, limits: QuotaText, counters: QuotaText)? {
        guard !quotas.isEmpty, let subtree = quotas.deepest(holding: path),
            let limits = quotaZnode(Paths.limitsName, of: subtree),
            let stats = quotaZnode(Paths.statsName, of: subtree)
        else { return nil }
        return (
            subtree, QuotaText(parsing: record(limits).pointee.data),
            QuotaText(parsing: record(stats).pointee.data)
        )
    }

    /// Whether the hard limits leave room for a change. They are compared with the committed
    /// counters, so a burst of outstanding writes may pass them, as in Apache's server.
    func quotaPermits(_ path: Bytes, count: Int, bytes: Int) -> Bool {
        guard let (_, limits, counters) = quota(holding: path) else { return true }
        if limits.countHardLimit > -1, count > 0,
            counters.count &+ Int64(count) > limits.countHardLimit
        {
            return false
        }
        if limits.bytesHardLimit > -1, bytes != 0,
            counters.bytes &+ Int64(bytes) > limits.bytesHardLimit
        {
            return false
        }
        return true
    }
}
