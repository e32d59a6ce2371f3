import Glibc
package import Jute
package import StorageFormat
package import SystemPackage
package import Vocabulary

package struct RecoveryOptions: Sendable {
    /// `snapshot.trust.empty`: logs without any snapshot are a whole history.
    package var trustEmptySnapshot: Bool
    /// `db.autocreate`: an empty database is meant to be one, without a marker.
    package var autocreate: Bool
    package var limits: JuteLimits
    /// So many of the last replayed txns are kept for learners that are not far behind.
    package var recentTxnsMax: Int

    package init(
        trustEmptySnapshot: Bool = false, autocreate: Bool = true, limits: JuteLimits = .default,
        recentTxnsMax: Int = 0
    ) {
        self.trustEmptySnapshot = trustEmptySnapshot
        self.autocreate = autocreate
        self.limits = limits
        self.recentTxnsMax = recentTxnsMax
    }
}

/// What was found on the disk and what became of it.
package struct RecoveryReport: Sendable {
    /// The end of a log whose last record is not whole: nothing of it was acknowledged.
    package struct TornTail: Equatable, Sendable {
        package var file: FilePath
        /// Behind the last whole record.
        package var offset: Int64
        package var bytes: Int
        /// Whether it is the last log. Older ones stay as a crash left them, and were reported then.
        package var isInNewestLog: Bool
    }

    /// The snapshot that was read; nil if there was none.
    package var snapshot: FilePath?
    package var snapshotZxid: Zxid?
    package var snapshotNodes = 0
    /// The bytes of the uncompressed stream.
    package var snapshotBytes = 0
    package var snapshotMicroseconds: Int64 = 0
    /// Newer snapshots that could not be read.
    package var rejectedSnapshots: [StorageError] = []
    /// The logs that were read.
    package var logs: [FilePath] = []
    package var txnsReplayed = 0
    /// Behind the snapshot, but older than one that was replayed before.
    package var txnsOutOfOrder = 0
    package var logBytes = 0
    package var logMicroseconds: Int64 = 0
    package var tornTails: [TornTail] = []
    /// Leftovers of interrupted writes.
    package var removedFiles: [FilePath] = []
    /// The last replayed txns, in their order and none missing between them: as many as
    /// `RecoveryOptions.recentTxnsMax` says and up to a batch more, fewer behind a gap.
    package var recent: [LogBatch] = []
    /// There was neither a snapshot nor a log.
    package var isEmptyDatabase = false
    /// The last logged txn, or that of the snapshot if there is none behind it. `none` says that the database is empty and nobody meant it to be: it may
    /// follow, and its votes are void.
    package var lastZxid = Zxid.none
}

/// Rebuilds the tree from the newest snapshot that can be read and the logs behind it.
///
/// Source: ZooKeeper, `FileTxnSnapLog.restore`, `FileSnap.deserialize`,
/// `FileTxnLog.FileTxnIterator`.
/// Deviation: where a damaged snapshot makes an older one necessary, the logs must contain the txn
/// that names it; Apache starts without the missing txns.
package struct Recovery: ~Copyable {
    private let directories: DataDirectories
    private let options: RecoveryOptions
    private var report = RecoveryReport()
    private var recent: RecentTxns

    /// So many snapshots are looked at.
    private static let candidatesMax = 100

    /// Restores what is in `directories`, which must be locked, into `target`, which must be an empty
    /// database or a reset one. Can be repeated when the files have changed, with no log open.
    package static func restore<Target: RestoreTarget & ~Copyable>(
        _ directories: DataDirectories, options: RecoveryOptions = .init(),
        into target: inout Target
    ) throws(StorageError) -> RecoveryReport {
        var recovery = Recovery(directories: directories, options: options)
        try recovery.removeLeftovers()
        try recovery.restore(into: &target)
        return recovery.report
    }

    private init(directories: DataDirectories, options: RecoveryOptions) {
        self.directories = directories
        self.options = options
        recent = RecentTxns(count: options.recentTxnsMax)
    }

    private mutating func removeLeftovers() throws(StorageError) {
        for file in try directories.temporaryFiles() {
            try Directory.remove(file)
            report.removedFiles.append(file)
        }
    }

    private mutating func restore<Target: RestoreTarget & ~Copyable>(
        into target: inout Target
    ) throws(StorageError) {
        let snapshots = try directories.snapshotFiles()
        let logs = try directories.logFiles()
        try loadSnapshot(snapshots, into: &target)
        if report.snapshotZxid == nil {
            if try isEmpty(snapshots: snapshots, logs: logs) { return }
        }
        try replay(logs, into: &target)
        report.recent = recent.batches
        report.lastZxid = target.lastProcessedZxid
    }

    // MARK: Snapshots

    /// Loads the newest snapshot that can be read; none if that is no snapshot.
    private mutating func loadSnapshot<Target: RestoreTarget & ~Copyable>(
        _ files: [SnapshotFile], into target: inout Target
    ) throws(StorageError) {
        let start = monotonicMicroseconds()
        var candidates = 0
        for file in files where candidates < Self.candidatesMax {
            do throws(StorageError) {
                try file.checkPlausible()
            } catch {
                report.rejectedSnapshots.append(error)
                continue
            }
            candidates += 1
            do throws(StorageError) {
                try load(file, into: &target)
                report.snapshotMicroseconds = monotonicMicroseconds() - start
                return
            } catch {
                report.rejectedSnapshots.append(error)
                target.reset()
            }
        }
        guard candidates == 0 else {
            throw StorageError(
                file: directories.snapshots, reason: .noUsableSnapshot(rejected: files.count))
        }
    }

    private mutating func load<Target: RestoreTarget & ~Copyable>(
        _ file: SnapshotFile, into target: inout Target
    ) throws(StorageError) {
        let zxid = file.name.zxid
        let decoder = try file.load(limits: options.limits, into: &target)
        // A digest of 0 or of an older state than the file's name says is that of no tree.
        let digest = decoder.sections.digest.flatMap {
            $0.zxid > .zero && $0.zxid >= zxid ? (zxid: $0.zxid, value: $0.value) : nil
        }
        do throws(RestoreError) {
            try target.finishSnapshot(zxid: zxid, digest: digest)
        } catch {
            throw StorageError(file: file.path, reason: .snapshot(.refused(error)))
        }
        report.snapshot = file.path
        report.snapshotZxid = zxid
        report.snapshotNodes = decoder.nodes
        report.snapshotBytes = decoder.offset
    }

    /// What it means that no snapshot could be loaded.
    ///
    /// - Returns: false if the logs are to be replayed from an empty tree.
    private mutating func isEmpty(
        snapshots: [SnapshotFile], logs: [LogFile]
    ) throws(StorageError) -> Bool {
        let noneUsable = StorageError(
            file: directories.snapshots, reason: .noUsableSnapshot(rejected: snapshots.count))
        guard logs.isEmpty else {
            if options.trustEmptySnapshot { return false }
            guard snapshots.isEmpty else { throw noneUsable }
            throw StorageError(file: directories.logs, reason: .logsWithoutSnapshot)
        }
        // A first start that was interrupted leaves a part of snapshot.0 and nothing else.
        guard snapshots.allSatisfy({ $0.name.zxid == .zero }) else { throw noneUsable }
        report.isEmptyDatabase = true
        let isMarked = try Directory.remove(directories.initializeMarker)
        if isMarked {
            try Directory.sync(directories.initializeMarker.removingLastComponent())
            report.removedFiles.append(directories.initializeMarker)
        }
        report.lastZxid = isMarked || options.autocreate ? .zero : .none
        return true
    }

    // MARK: Logs

    /// Replays the txns behind the snapshot, from the log on that may hold the first of them.
    private mutating func replay<Target: RestoreTarget & ~Copyable>(
        _ logs: [LogFile], into target: inout Target
    ) throws(StorageError) {
        let start = monotonicMicroseconds()
        let base = report.snapshotZxid ?? .zero
        let first = logs.lastIndex { $0.name.zxid <= base } ?? 0
        var state = Replay(base: base, awaited: awaitedZxid(base: base))
        for log in logs[first...] {
            try replay(log, isNewest: log == logs.last, state: &state, into: &target)
        }
        if let zxid = state.awaited {
            let file = directories.snapshots.appending(
                SnapshotFileName(zxid: zxid, compression: .none).text)
            throw StorageError(file: file, reason: .txnsMissing(upTo: zxid))
        }
        report.logMicroseconds = monotonicMicroseconds() - start
    }

    private struct Replay {
        let base: Zxid
        var last: Zxid
        /// The txn that must be in the logs, until it was met.
        var awaited: Zxid?

        init(base: Zxid, awaited: Zxid?) {
            self.base = base
            self.awaited = awaited
            last = base
        }
    }

    /// The txn that names the newest damaged snapshot: the logs reach from the older snapshot to
    /// there only if it is among their txns. After a SNAP sync it is not, and everything in between
    /// would be lost without notice. The counter 0 starts an epoch and has no txn.
    private func awaitedZxid(base: Zxid) -> Zxid? {
        report.rejectedSnapshots
            .compactMap { $0.file.lastComponent.flatMap { SnapshotFileName($0.string)?.zxid } }
            .filter { $0 > base && $0.counter > 0 }
            .max()
    }

    private mutating func replay<Target: RestoreTarget & ~Copyable>(
        _ log: LogFile, isNewest: Bool, state: inout Replay, into target: inout Target
    ) throws(StorageError) {
        var reader: LogReader
        do throws(StorageError) {
            reader = try LogReader.open(log, limits: options.limits)
        } catch {
            guard error.reason == .log(.empty), isNewest else { throw error }
            // Created, and the header not yet written: no record was ever in it.
            try Directory.remove(log.path)
            try Directory.sync(directories.logs)
            report.removedFiles.append(log.path)
            return
        }
        report.logs.append(log.path)
        let end = try reader.readTxns { (offset, txn) throws(StorageError) in
            let zxid = LogFormat.zxid(ofTxn: txn)
            if zxid == state.awaited { state.awaited = nil }
            guard zxid > state.base else { return true }
            // Equal zxids are legal: Apache gave failed writes that of the last txn.
            guard zxid >= state.last else {
                report.txnsOutOfOrder += 1
                return true
            }
            do throws(RestoreError) {
                try target.replay(txn)
            } catch {
                throw StorageError(
                    file: log.path, offset: Int64(offset), reason: .txn(zxid, error))
            }
            recent.append(txn, zxid: zxid, isNext: zxid.isNext(after: state.last))
            state.last = zxid
            report.txnsReplayed += 1
            return true
        }
        report.logBytes += reader.position
        if end == .torn {
            let offset = Int64(reader.position)
            let bytes = try reader.bytesBehindRecords()
            report.tornTails.append(
                .init(file: log.path, offset: offset, bytes: bytes, isInNewestLog: isNewest))
        }
    }
}
