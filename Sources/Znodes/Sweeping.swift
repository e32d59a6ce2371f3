import Vocabulary

extension Database {
    /// Containers that lost their last child, or were never used for so long, and TTL znodes that
    /// were left alone long enough and are empty.
    ///
    /// `now`: the wall clock, in milliseconds since 1970.
    /// `neverUsedMilliseconds`: 0 keeps containers that never had a child.
    /// `limit`: how many at most.
    public func expiredZnodes(
        now: Int64, neverUsedMilliseconds: Int64, limit: Int
    ) -> [[UInt8]] {
        var paths: [[UInt8]] = []
        for handle in tree.containers.sorted(by: { $0.index < $1.index }) where paths.count < limit
        {
            let record = tree.record(handle)
            guard record.pointee.childCount == 0 else { continue }
            let wasUsed = record.pointee.cversion > 0
            let isStale =
                neverUsedMilliseconds > 0 && now &- record.pointee.mtime > neverUsedMilliseconds
            if wasUsed || isStale { paths.append(tree.pathBytes(of: handle)) }
        }
        for handle in tree.ttls.sorted(by: { $0.index < $1.index }) where paths.count < limit {
            let record = tree.record(handle)
            guard record.pointee.childCount == 0,
                case .ttl(let ttl) = Owner(rawValue: record.pointee.owner).kind,
                now &- record.pointee.mtime > ttl
            else { continue }
            paths.append(tree.pathBytes(of: handle))
        }
        return paths
    }
}
