import Jute
import StorageFormat
import SystemPackage
package import Vocabulary

/// Why the logs cannot bring a learner to the leader's history.
package enum HistoryGap: Error, Equatable, Sendable {
    /// No log begins at or before the learner's last txn.
    case beginsLater(than: Zxid)
    /// The logs to read are larger than the configuration wants it, measured by the newest snapshot.
    case tooLarge(bytes: Int, limit: Int)
    /// The learner's last txn is not among ours.
    case unknownPeer(Zxid)
    case missing(after: Zxid, before: Zxid)
    /// The logs go on behind this snapshot and do not lead to it: it came from another server.
    case snapshotOnly(Zxid)
    case endsEarly(at: Zxid)
}

extension HistoryGap: CustomStringConvertible {
    package var description: String {
        switch self {
        case .beginsLater(let zxid): "no log begins at or before \(zxid)"
        case .tooLarge(let bytes, let limit): "\(bytes) bytes of logs are more than \(limit)"
        case .unknownPeer(let zxid): "the logs do not contain \(zxid)"
        case .missing(let after, let before):
            "the logs have nothing between \(after) and \(before)"
        case .snapshotOnly(let zxid): "the logs do not lead to snapshot \(zxid)"
        case .endsEarly(let zxid): "the logs end at \(zxid)"
        }
    }
}

/// Reads the txns behind a learner's last one, up to where the memory goes on, from the logs.
///
/// They are of use to a learner only without any gap: it would go on behind one as if nothing were
/// missing. So what is handed out
/// 1. begins right behind the learner's last txn, which is in the logs or is the start of an epoch;
/// 2. goes on by one, or to the first txn of a later epoch;
/// 3. contains the txn of every snapshot on the way, for a snapshot that was received has none of
///    those before it;
/// 4. ends with the last txn that was asked for.
///
/// The log thread may be appending meanwhile: reading ends at the last txn asked for, which was
/// committed and so is whole in its file.
///
/// Source: ZooKeeper, `FileTxnSnapLog.readTxnLog`, `LearnerHandler.queueCommittedProposals`.
/// Deviation: Apache looks for gaps only at the two ends, and has a learner truncate its log to the
/// txn before a gap in which the learner's last one lies. One epoch has one history: it is then we who
/// have the gap.
struct HistoryReader: Sendable {
    let directories: DataDirectories
    /// The learner's last txn.
    let peer: Zxid
    /// The last txn to read; behind `peer`.
    let last: Zxid
    let limits: JuteLimits

    /// Makes sure that there are few enough bytes to read.
    ///
    /// - Parameter sizeLimitFactor: `snapshotSizeFactor`; 0 is no limit.
    /// - Throws: that there are more, or what the disk refuses.
    func checkSize(sizeLimitFactor: Double) throws(StorageError) {
        guard sizeLimitFactor > 0 else { return }
        var bytes = 0
        for log in try logs() { bytes += try OpenFile(log.path).size() }
        var snapshotBytes = 0
        if let newest = try directories.snapshotFiles().first {
            snapshotBytes = try OpenFile(newest.path).size()
        }
        let limit = Int(sizeLimitFactor * Double(snapshotBytes))
        guard bytes <= limit else { throw gap(.tooLarge(bytes: bytes, limit: limit)) }
    }

    /// Hands the txns to `body`, in their order and each zxid once, until it says false.
    ///
    /// - Throws: what is missing, as soon as it is known.
    func forEachTxn(_ body: (Span<UInt8>) -> Bool) throws(StorageError) {
        precondition(peer < last, "there is something to read")
        var walk = Walk(peer: peer, snapshots: try snapshots())
        var isOver = false
        for log in try logs() where !isOver {
            var reader = try LogReader.open(log, limits: limits)
            _ = try reader.readTxns { (_, txn) throws(StorageError) in
                let zxid = LogFormat.zxid(ofTxn: txn)
                do throws(HistoryGap) {
                    guard zxid <= last else { throw .endsEarly(at: walk.previous) }
                    guard try walk.visit(zxid) else { return true }
                } catch {
                    throw gap(error)
                }
                isOver = !body(txn) || zxid == last
                return !isOver
            }
        }
        guard isOver else { throw gap(.endsEarly(at: walk.previous)) }
    }

    private func gap(_ gap: HistoryGap) -> StorageError {
        StorageError(file: directories.logs, reason: .history(gap))
    }

    /// From the log on in which the learner's last txn must be.
    private func logs() throws(StorageError) -> ArraySlice<LogFile> {
        let logs = try directories.logFiles().filter { $0.name.zxid <= last }
        guard let first = logs.lastIndex(where: { $0.name.zxid <= peer }) else {
            throw gap(.beginsLater(than: peer))
        }
        return logs[first...]
    }

    /// The zxids of the snapshots on the way, whole or not, the lowest at the end.
    private func snapshots() throws(StorageError) -> [Zxid] {
        try directories.snapshotFiles().map(\.name.zxid).filter { $0 > peer && $0 <= last }
    }
}

/// Follows the zxids of the logs, one record after the other.
private struct Walk {
    /// The last one that was handed out; the learner's at the beginning.
    private(set) var previous: Zxid
    private let peer: Zxid
    private var hasMetPeer: Bool
    /// Those not yet met, the lowest at the end.
    private var snapshots: [Zxid]

    init(peer: Zxid, snapshots: [Zxid]) {
        self.peer = peer
        self.snapshots = snapshots
        previous = peer
        // The start of an epoch is no txn.
        hasMetPeer = peer.counter == 0
    }

    /// - Returns: whether the txn is one for the learner.
    mutating func visit(_ zxid: Zxid) throws(HistoryGap) -> Bool {
        if zxid == peer { hasMetPeer = true }
        // Also what comes again in a later log.
        guard zxid > previous else { return false }
        guard hasMetPeer else { throw .unknownPeer(peer) }
        guard zxid.isNext(after: previous) else { throw .missing(after: previous, before: zxid) }
        if let snapshot = snapshots.last, snapshot <= zxid {
            guard snapshot == zxid else { throw .snapshotOnly(snapshot) }
            while snapshots.last == zxid { snapshots.removeLast() }
        }
        previous = zxid
        return true
    }
}
