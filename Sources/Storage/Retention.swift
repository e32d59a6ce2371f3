import StorageFormat
package import SystemPackage
import Vocabulary

/// Which files are not needed any more.
///
/// Source: ZooKeeper, `PurgeTxnLog.purge`.
package enum Retention {
    /// `autopurge.snapRetainCount` is not lower.
    package static let retainCountMin = 3

    /// Removes the snapshots older than the newest `retainCount` valid ones, and the logs whose txns
    /// are all in the oldest of those.
    ///
    /// The newest log that is not newer than the oldest snapshot kept is kept, too: it may hold txns
    /// behind it. Without a valid snapshot nothing is removed.
    ///
    /// - Returns: the removed files.
    package static func purge(
        _ directories: DataDirectories, retainCount: Int
    ) throws(StorageError) -> [FilePath] {
        precondition(retainCount >= retainCountMin, "the configuration has the bound")
        let snapshots = try directories.snapshotFiles()
        guard let oldest = try oldestKept(snapshots, retainCount: retainCount) else { return [] }
        let logs = try directories.logFiles()
        let firstLog = logs.lastIndex { $0.name.zxid <= oldest } ?? 0

        // Snapshots first: one that is left without its logs would be a trap for recovery, should
        // this be interrupted.
        let oldSnapshots = snapshots.filter { $0.name.zxid < oldest }.map(\.path)
        let oldLogs = logs[..<firstLog].map(\.path)
        var removed = try remove(oldSnapshots, from: directories.snapshots)
        removed += try remove(oldLogs, from: directories.logs)
        return removed
    }

    /// The oldest of the newest valid ones among `snapshots`, which begin with the newest.
    private static func oldestKept(
        _ snapshots: [SnapshotFile], retainCount: Int
    ) throws(StorageError) -> Zxid? {
        var oldest: Zxid?
        var valid = 0
        for snapshot in snapshots where valid < retainCount {
            do throws(StorageError) {
                try snapshot.checkPlausible()
            } catch {
                guard error.reason == .implausibleSnapshot else { throw error }
                continue
            }
            valid += 1
            oldest = snapshot.name.zxid
        }
        return oldest
    }

    private static func remove(
        _ files: [FilePath], from directory: FilePath
    ) throws(StorageError) -> [FilePath] {
        guard !files.isEmpty else { return [] }
        for file in files { try Directory.remove(file) }
        try Directory.sync(directory)
        return files
    }
}
