import Configuration
import Logging
import Storage
import StorageFormat
import SystemPackage
import Vocabulary
import Znodes

/// Decides when a snapshot is due, has it written, and lets old files be removed.
///
/// A snapshot is a frozen view of the state, exact at one zxid, that another thread writes while
/// the loop goes on.
final class SnapshotKeeper {
    private let directories: DataDirectories
    private let database: Database
    private let configuration: ServerConfiguration
    private let logger: Logger
    private let thread: SnapshotThread
    /// Logged since the log was rolled for the last snapshot.
    private var records = 0
    private var bytes = 0
    /// Drawn anew for each snapshot, so that the servers of an ensemble do not all write at once.
    private var recordsMax = 0
    private var bytesMax = 0
    /// A snapshot is due as soon as what is logged is applied, and no job runs.
    private var isDue = false
    private var isPurgeDue = false
    /// Only committed state goes into a snapshot; outside a role nobody knows what is committed.
    var isServing = false
    /// A snapshot of what a leader has sent: the tree is in no log.
    private var isWantedByLeader = false
    private var isWritingForLeader = false
    /// A view that somebody else has frozen. There is one at a time.
    private var isFrozenElsewhere = false
    /// Who waits to freeze a view; each says whether it did.
    private var waiting: [() -> Bool] = []

    init(
        directories: DataDirectories, database: Database, configuration: ServerConfiguration,
        logger: Logger, wake: @escaping @Sendable () -> Void
    ) {
        self.directories = directories
        self.database = database
        self.configuration = configuration
        self.logger = logger
        thread = SnapshotThread(wake: wake)
        drawLimits()
    }

    private func drawLimits() {
        (records, bytes) = (0, 0)
        let half = configuration.snapCount / 2
        recordsMax = half + Int.random(in: 0...half)
        let halfBytes = configuration.snapSizeLimitKilobytes * 512
        bytesMax = halfBytes <= 0 ? .max : halfBytes + Int.random(in: 0...halfBytes)
    }

    private func options(lowPriority: Bool) -> SnapshotOptions {
        SnapshotOptions(
            compression: configuration.snapshotCompression == .gzip ? .gzip : .none, fsync: true,
            serializeLastProcessedZxid: configuration.serializeLastProcessedZxid,
            digestEnabled: configuration.digestEnabled, lowPriority: lowPriority)
    }

    /// A log never stands without a snapshot in front of it; what was replayed is not replayed
    /// again at the next start.
    func begin(after report: RecoveryReport) throws(StorageError) {
        if report.snapshot == nil {
            // Without data, and nobody said that it is meant so: it must not look like data next time.
            guard report.lastZxid != .none else { return }
            let frozen = database.freeze()
            defer { database.thaw(frozen) }
            // Nobody is served yet.
            _ = try frozen.write(
                to: directories.snapshots, options: options(lowPriority: false))
        } else if report.txnsReplayed > 0 {
            isDue = true
            considerSnapshot()
        }
    }

    /// Counts what goes to the log; true when the log has to begin a new file.
    func countLogged(records: Int, bytes: Int) -> Bool {
        self.records += records
        self.bytes += bytes
        guard self.records > recordsMax || self.bytes > bytesMax else { return false }
        drawLimits()
        isDue = true
        return true
    }

    /// Freezes a view as soon as no other is frozen; `freeze` says whether it did.
    func whenFree(_ freeze: @escaping () -> Bool) {
        waiting.append(freeze)
        considerSnapshot()
    }

    /// The view that `whenFree` has frozen is thawed.
    func frozenViewEnded() {
        isFrozenElsewhere = false
        considerSnapshot()
    }

    /// Writes the tree that a leader has sent, before anything else.
    func writeForLeader() {
        isWantedByLeader = true
        considerSnapshot()
    }

    /// Starts what is due, unless a job still runs.
    func considerSnapshot() {
        guard !thread.isBusy, !isFrozenElsewhere else { return }
        if isWantedByLeader {
            isWantedByLeader = false
            isWritingForLeader = true
            isDue = false
            thread.write(
                source: database.freeze(), directory: directories.snapshots,
                options: options(lowPriority: false))
            return
        }
        while !waiting.isEmpty {
            if waiting.removeFirst()() {
                isFrozenElsewhere = true
                return
            }
        }
        if isDue, isServing {
            isDue = false
            thread.write(
                source: database.freeze(), directory: directories.snapshots,
                options: options(lowPriority: true))
        } else if isPurgeDue {
            isPurgeDue = false
            thread.purge(directories, retainCount: configuration.snapRetainCount)
        }
    }

    func purge() {
        isPurgeDue = true
        considerSnapshot()
    }

    /// What became of a snapshot.
    struct Outcome {
        /// How long it took; nil: it is not there.
        var milliseconds: Int64?
        /// Whether `writeForLeader` waits for it.
        var isForLeader: Bool
        var error: StorageError?
    }

    /// Takes note of a job's end, if one has ended, and begins the next.
    func jobEnded() -> Outcome? {
        guard let completion = thread.takeCompletion() else { return nil }
        defer { considerSnapshot() }
        return note(completion)
    }

    private func note(_ completion: SnapshotThread.Completion) -> Outcome? {
        var outcome: Outcome?
        switch completion {
        case .written(let report, let source):
            outcome = Outcome(
                milliseconds: report.microseconds / 1000, isForLeader: isWritingForLeader)
            logger.info(
                "snapshot written",
                metadata: [
                    "file": "\(report.file.lastComponent?.string ?? "")",
                    "znodes": "\(report.nodes)", "bytes": "\(report.bytes)",
                    "milliseconds": "\(report.microseconds / 1000)",
                ])
            thaw(source)
        case .notWritten(let error, let source):
            // The logs still hold everything: serving goes on, and the next one may succeed.
            outcome = Outcome(isForLeader: isWritingForLeader, error: error)
            logger.error("snapshot not written", metadata: ["reason": "\(error)"])
            thaw(source)
        case .purged(let files):
            for file in files { logger.info("removed", metadata: ["file": "\(file)"]) }
        case .notPurged(let error):
            logger.error("purge failed", metadata: ["reason": "\(error)"])
        }
        isWritingForLeader = false
        return outcome
    }

    /// Waits for the job that runs: the files are about to be read again. What a leader's tree was
    /// written for is over.
    func settle() {
        isWantedByLeader = false
        isWritingForLeader = false
        thread.close()
        if let completion = thread.takeCompletion() { _ = note(completion) }
    }

    private func thaw(_ source: any SnapshotSource) {
        guard let frozen = source as? FrozenDatabase else {
            preconditionFailure("what was frozen here comes back")
        }
        database.thaw(frozen)
    }
}
