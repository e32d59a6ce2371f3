package import Jute
import StorageFormat
package import SystemPackage
package import Vocabulary

/// What a truncation took from the disk.
package struct TruncationReport: Equatable, Sendable {
    /// In the order of their removal.
    package var removedFiles: [FilePath] = []
    /// Logs that ended behind the zxid and now end at it.
    package var cutFiles: [FilePath] = []
}

extension DataDirectories {
    /// Gives up everything behind `zxid`: no log record and no snapshot beyond it is left, and what
    /// is left leads to exactly `zxid`. It is on the disk when this returns.
    ///
    /// The directories must be locked, no log open for writing and no snapshot being written. The
    /// tree in memory has to be restored again.
    ///
    /// - Parameters:
    ///   - zxid: the last txn that remains: one in the logs, or the name of a snapshot.
    ///   - limits: the longest txn.
    ///   - calls: the disk.
    /// - Returns: what was removed.
    /// - Throws: before anything is changed, if no snapshot and logs lead to `zxid`, or if recovery
    ///   would refuse the directories as they are; or what the disk refuses on the way.
    package func truncate(
        after zxid: Zxid, limits: JuteLimits = .default, calls: DiskCalls = .system
    ) throws(StorageError) -> TruncationReport {
        let truncation = try Truncation(self, after: zxid, limits: limits)
        return try truncation.perform(calls)
    }
}

/// Which files go, and in which order: whenever a crash comes, recovery finds either exactly the
/// truncated history or a longer part of the old one, never one with a hole, and it is never refused.
///
/// Recovery takes the newest snapshot that can be read and the logs behind it. Of the snapshots beyond
/// the zxid, the newest that holds exactly the state its name says is the *shield*: as long as it is
/// there, recovery looks at nothing older.
///
///     snapshot.5   log.1 .. log.9 .. log.16    snapshot.14  snapshot.20    zxid: 10
///         base          cut ^      2.                3.         4. (shield)
///
/// 1. The snapshots above the shield: damaged ones, for which recovery would want txns that step 2
///    removes, and fuzzy ones, which are right only with the txns behind them. Without a shield these
///    are all snapshots beyond the zxid, and what remains is the base and all the logs.
/// 2. The logs beyond the zxid, the newest first and each one's removal on the disk before the next,
///    or a log could be left behind a hole; then the end of the log that holds the zxid. On the way the
///    history ends at a txn in between, or at the shield.
/// 3. The other snapshots beyond the zxid, while the shield stands before them.
/// 4. The shield.
///
/// Within the steps 1 and 3 the order does not matter, and the disk may reorder them.
///
/// Source: ZooKeeper, `FileTxnSnapLog.truncateLog`, `FileTxnLog.truncate`.
/// Deviation: Apache leaves the snapshots. One beyond the zxid would bring the txns back.
private struct Truncation {
    private let directories: DataDirectories
    private let zxid: Zxid
    private let limits: JuteLimits
    private var aboveShield: [FilePath] = []
    private var laterLogs: [FilePath] = []
    private var cuts: [(file: FilePath, bytes: Int)] = []
    private var behindShield: [FilePath] = []
    private var shield: SnapshotFile?

    /// Finds out what to do, and changes nothing.
    init(
        _ directories: DataDirectories, after zxid: Zxid, limits: JuteLimits
    ) throws(StorageError) {
        self.directories = directories
        self.zxid = zxid
        self.limits = limits
        let snapshots = try directories.snapshotFiles()
        let logs = try directories.logFiles()
        let aboveShield = try sortLater(snapshots.filter { $0.name.zxid > zxid })
        let earlier = snapshots.filter { $0.name.zxid <= zxid }
        guard let base = try sortEarlier(earlier) else { throw unreachable }
        try planLogs(logs, base: base.name.zxid, snapshots: earlier)
        try checkTxns(
            of: aboveShield, behind: shield?.name.zxid ?? base.name.zxid, in: logs)
    }

    private var unreachable: StorageError {
        StorageError(file: directories.logs, reason: .cannotTruncate(to: zxid))
    }

    // MARK: Snapshots

    /// Finds the shield among the snapshots whose names are beyond the zxid.
    ///
    /// Returns those above it.
    private mutating func sortLater(
        _ files: [SnapshotFile]
    ) throws(StorageError) -> ArraySlice<SnapshotFile> {
        var index = 0
        while index < files.count {
            if try reach(of: files[index]) == files[index].name.zxid {
                shield = files[index]
                break
            }
            index += 1
        }
        aboveShield = files[..<index].map(\.path)
        behindShield = files.dropFirst(index + 1).map(\.path)
        return files[..<index]
    }

    /// Finds the base among the snapshots whose names are not beyond the zxid, and those of them
    /// that are beyond it all the same: fuzzy ones.
    ///
    /// Damaged ones stay: recovery passes over them now and afterwards.
    private mutating func sortEarlier(_ files: [SnapshotFile]) throws(StorageError) -> SnapshotFile?
    {
        var base: SnapshotFile?
        for file in files {
            // Nobody depends on older ones, so there is no need to read them whole.
            let reach = base == nil ? try reach(of: file) : try file.claimedReach()
            guard let reach else { continue }
            if reach > zxid {
                if shield == nil {
                    aboveShield.append(file.path)
                } else {
                    behindShield.append(file.path)
                }
            } else if base == nil {
                base = file
            }
        }
        return base
    }

    /// The last zxid of which the snapshot may hold effects; nil if it is damaged.
    private func reach(of file: SnapshotFile) throws(StorageError) -> Zxid? {
        do throws(StorageError) {
            try file.checkPlausible()
            var nowhere = DiscardingTarget()
            let decoder = try file.load(limits: limits, into: &nowhere)
            return decoder.sections.reach(ofSnapshot: file.name.zxid)
        } catch {
            switch error.reason {
            case .implausibleSnapshot, .snapshot, .compression: return nil
            default: throw error
            }
        }
    }

    // MARK: Logs

    /// Finds the logs to remove and to cut, and makes sure that what remains leads from the base to the
    /// zxid.
    private mutating func planLogs(
        _ logs: [LogFile], base: Zxid, snapshots: [SnapshotFile]
    ) throws(StorageError) {
        laterLogs = logs.filter { $0.name.zxid > zxid }.map(\.path).reversed()
        // Behind a SNAP sync the logs before the snapshot do not reach it: its txn is missing. The
        // counter 0 starts an epoch and has no txn.
        var awaited = Set(snapshots.map(\.name.zxid).filter { $0 > base && $0.counter > 0 })
        if zxid > base { awaited.insert(zxid) }
        for log in Self.logs(logs, behind: base) where log.name.zxid <= zxid {
            var reader = try LogReader.open(log, limits: limits)
            var end: Int?
            _ = try reader.readTxns { (offset, txn) throws(StorageError) in
                let found = LogFormat.zxid(ofTxn: txn)
                guard found <= zxid else {
                    end = offset
                    return false
                }
                awaited.remove(found)
                return true
            }
            if let end { cuts.insert((log.path, end), at: 0) }
        }
        guard awaited.isEmpty else { throw unreachable }
    }

    /// The logs that recovery reads behind a snapshot.
    private static func logs(_ logs: [LogFile], behind base: Zxid) -> ArraySlice<LogFile> {
        logs[(logs.lastIndex { $0.name.zxid <= base } ?? 0)...]
    }

    /// Makes sure that the snapshots above the shield stand behind no hole: without them, recovery
    /// would not notice it.
    private func checkTxns(
        of snapshots: ArraySlice<SnapshotFile>, behind base: Zxid, in logs: [LogFile]
    ) throws(StorageError) {
        var awaited = Set(snapshots.map(\.name.zxid).filter { $0.counter > 0 })
        for log in Self.logs(logs, behind: base) where !awaited.isEmpty {
            var reader = try LogReader.open(log, limits: limits)
            _ = try reader.readTxns { (_, txn) in
                awaited.remove(LogFormat.zxid(ofTxn: txn))
                return !awaited.isEmpty
            }
        }
        guard let missing = awaited.max() else { return }
        throw StorageError(file: directories.logs, reason: .txnsMissing(upTo: missing))
    }

    // MARK: Doing it

    func perform(_ calls: DiskCalls) throws(StorageError) -> TruncationReport {
        var report = TruncationReport()
        try remove(aboveShield, calls, &report)
        for log in laterLogs {
            try Directory.remove(log, calls: calls)
            try Directory.sync(directories.logs, calls: calls)
            report.removedFiles.append(log)
        }
        for cut in cuts {
            let file = try OpenFile(changing: cut.file)
            try file.truncate(to: cut.bytes, calls: calls)
            try file.sync(calls.sync)
            report.cutFiles.append(cut.file)
        }
        try remove(behindShield, calls, &report)
        if let shield { try remove([shield.path], calls, &report) }
        return report
    }

    private func remove(
        _ snapshots: [FilePath], _ calls: DiskCalls, _ report: inout TruncationReport
    ) throws(StorageError) {
        guard !snapshots.isEmpty else { return }
        for file in snapshots { try Directory.remove(file, calls: calls) }
        try Directory.sync(directories.snapshots, calls: calls)
        report.removedFiles += snapshots
    }
}

extension SnapshotFile {
    /// The last zxid of which the snapshot may hold effects, by what its end says.
    ///
    /// A compressed one has no end that could be read alone. Its name has to do: snapshots are taken
    /// one at a time, so one that is followed by another ended before that one began.
    fileprivate func claimedReach() throws(StorageError) -> Zxid {
        guard name.compression == .none else { return name.zxid }
        let file = try OpenFile(path)
        let size = try file.size()
        let tail = try file.bytes(max(0, size - SnapshotSections.tailBytesMax)..<size)
        return SnapshotSections(tail: tail).reach(ofSnapshot: name.zxid)
    }
}

extension SnapshotSections {
    /// The last zxid of which a snapshot with these sections may hold effects: Apache's snapshots
    /// are named after the txn at their beginning, while txns go on.
    fileprivate func reach(ofSnapshot zxid: Zxid) -> Zxid {
        max(zxid, digest?.zxid ?? zxid, lastProcessedZxid ?? zxid)
    }
}

/// Takes a snapshot that is read for its checksums and sections alone.
private struct DiscardingTarget: RestoreTarget {
    var lastProcessedZxid: Zxid { .none }

    mutating func reset() {}
    mutating func restoreSession(_ id: SessionID, timeoutMilliseconds: Int32) {}
    mutating func restoreACL(_ id: Int64, _ list: [ACL]) {}
    mutating func restoreNode(
        path: Span<UInt8>, data: Span<UInt8>?, aclID: Int64, stat: StatPersisted
    ) throws(RestoreError) {}
    mutating func finishSnapshot(
        zxid: Zxid, digest: (zxid: Zxid, value: UInt64)?
    ) throws(RestoreError) {}
    mutating func replay(_ txn: Span<UInt8>) throws(RestoreError) {}
}
