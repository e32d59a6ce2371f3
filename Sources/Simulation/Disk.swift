import Jute
import QuorumProtocol
import StorageFormat
import Transactions
import Vocabulary
import Zab
import Znodes

/// The disk of one server, as far as it matters what is on it when the power fails: log files,
/// snapshots, and the two epochs. It promises what `TxnLog`, `Recovery`, `EpochFiles` and
/// `SnapshotThread` promise, no more: what was appended and not flushed may be there or not, as a
/// whole or torn, and a torn record is none.
struct Disk {
    struct Record {
        var zxid: Zxid
        var txn: [UInt8]
    }

    struct LogFile {
        var name: Zxid
        var records: [Record] = []
    }

    struct Snapshot {
        var zxid: Zxid
        /// The stream of sessions, ACLs and znodes.
        var bytes: [UInt8]
    }

    /// Why a server cannot start, or cannot go on.
    struct Refusal: Error {
        var reason: String
    }

    /// In the order of their names. All of it is durable.
    private(set) var logs: [LogFile] = []
    /// Appended and not flushed, in order.
    private(set) var unflushed: [Record] = []
    /// The next record begins a new file.
    private var isRolled = true
    /// The oldest first. All of them are durable.
    private(set) var snapshots: [Snapshot] = []
    private(set) var acceptedEpoch: Int64?
    private(set) var currentEpoch: Int64?
    /// The active configuration, and one that was proposed behind it.
    private(set) var configuration: EnsembleConfiguration
    private(set) var seen: EnsembleConfiguration?

    /// What a first start finds and writes.
    init(_ configuration: EnsembleConfiguration, empty snapshot: [UInt8]) {
        self.configuration = configuration
        snapshots = [Snapshot(zxid: .zero, bytes: snapshot)]
    }

    // MARK: Writing

    mutating func append(_ batch: LogBatch) {
        batch.forEachTxn { txn in
            let zxid = LogFormat.zxid(ofTxn: txn)
            unflushed.append(Record(zxid: zxid, txn: txn.withUnsafeBytes { Array($0) }))
        }
    }

    /// The oldest `count` of what was appended are durable.
    mutating func flush(_ count: Int) throws(Refusal) {
        for record in unflushed.prefix(count) {
            if isRolled {
                // A server refuses to write over a log that has records.
                if let existing = logs.first(where: { $0.name == record.zxid }) {
                    guard existing.records.isEmpty else {
                        throw Refusal(reason: "log \(record.zxid) exists")
                    }
                }
                logs.append(LogFile(name: record.zxid))
                logs.sort { $0.name < $1.name }
                isRolled = false
            }
            logs[logs.count - 1].records.append(record)
        }
        unflushed.removeFirst(min(count, unflushed.count))
    }

    mutating func roll() { isRolled = true }

    mutating func saveAcceptedEpoch(_ epoch: Int64) { acceptedEpoch = epoch }
    mutating func saveCurrentEpoch(_ epoch: Int64) { currentEpoch = epoch }

    mutating func save(active: EnsembleConfiguration) {
        configuration = active
        // One that was proposed behind it may be on its way still.
        if let seen, seen.version <= active.version { self.seen = nil }
    }
    mutating func save(seen: EnsembleConfiguration) { self.seen = seen }

    mutating func write(_ snapshot: Snapshot, keeping count: Int) {
        snapshots.removeAll { $0.zxid == snapshot.zxid }
        snapshots.append(snapshot)
        snapshots.sort { $0.zxid < $1.zxid }
        guard snapshots.count > count else { return }
        snapshots.removeFirst(snapshots.count - count)
        // The logs that the oldest snapshot needs stay.
        let oldest = snapshots[0].zxid
        if let first = logs.lastIndex(where: { $0.name <= oldest }) {
            logs.removeFirst(first)
        }
    }

    /// The power fails: of what was not flushed, the first `kept` records happened to be written.
    mutating func crash(keeping kept: Int) {
        try? flush(kept)
        unflushed = []
        isRolled = true
    }

    // MARK: Reading

    /// Whether a crash now would leave this transaction.
    func holds(_ zxid: Zxid) -> Bool {
        for log in logs.reversed() where log.name <= zxid {
            for record in log.records.reversed() {
                if record.zxid == zxid { return true }
                if record.zxid < zxid { break }
            }
        }
        return snapshots.contains { $0.zxid >= zxid }
    }

    /// The records behind the newest snapshot, as recovery meets them.
    private func replayed(behind base: Zxid) -> [Record] {
        let first = logs.lastIndex { $0.name <= base } ?? 0
        var last = base
        var records: [Record] = []
        for log in logs.dropFirst(first) {
            for record in log.records where record.zxid > base && record.zxid >= last {
                records.append(record)
                last = record.zxid
            }
        }
        return records
    }

    /// Makes the database what the disk says, and returns the last transactions, without a gap.
    func restore(
        into database: Database, keeping recentMax: Int,
        _ replayed: (_ previous: Zxid, Database.Applied) -> Void
    ) throws(Refusal) -> [LogBatch] {
        database.reset()
        guard let snapshot = snapshots.last else { throw Refusal(reason: "no snapshot") }
        try SnapshotBytes.restore(snapshot.bytes, zxid: snapshot.zxid, into: database)
        var recent: [Record] = []
        for record in self.replayed(behind: snapshot.zxid) {
            let previous = database.lastProcessedZxid
            do throws(TxnError) {
                replayed(previous, try database.apply(record.txn.span))
            } catch {
                throw Refusal(reason: "record \(record.zxid): \(error)")
            }
            if !record.zxid.isNext(after: previous), record.zxid != previous { recent = [] }
            recent.append(record)
        }
        let batch = LogBatch()
        for record in recent.suffix(recentMax) {
            batch.appendTxn(record.txn.span, zxid: record.zxid)
        }
        return batch.isEmpty ? [] : [batch]
    }

    /// What a start makes of the epoch files.
    mutating func loadEpochs(lastZxid: Zxid) throws(Refusal) -> Peer.Epochs {
        let logged = max(0, lastZxid.epoch)
        let accepted = acceptedEpoch ?? logged
        // A crash came when the leader's history was on the disk and its epoch was not.
        let current = max(currentEpoch ?? logged, logged)
        guard accepted >= current else {
            throw Refusal(reason: "acceptedEpoch \(accepted) is behind currentEpoch \(current)")
        }
        (acceptedEpoch, currentEpoch) = (accepted, current)
        return Peer.Epochs(accepted: accepted, current: current)
    }

    /// The records behind a learner's last one; nil if there is a hole anywhere, as
    /// `HistoryReader` finds it. `trusting`: without looking for holes, a planted bug.
    func history(after peer: Zxid, upTo last: Zxid, trusting: Bool) -> [Record]? {
        if trusting {
            return logs.flatMap(\.records).filter { $0.zxid > peer && $0.zxid <= last }
        }
        let files = logs.filter { $0.name <= last }
        guard let first = files.lastIndex(where: { $0.name <= peer }) else { return nil }
        var awaited = snapshots.map(\.zxid).filter { $0 > peer && $0 <= last }
        var previous = peer
        var hasMetPeer = peer.counter == 0
        var found: [Record] = []
        for log in files[first...] {
            for record in log.records {
                guard record.zxid <= last else { return nil }
                if record.zxid == peer { hasMetPeer = true }
                guard record.zxid > previous else { continue }
                guard hasMetPeer, record.zxid.isNext(after: previous) else { return nil }
                if let snapshot = awaited.first, snapshot <= record.zxid {
                    guard snapshot == record.zxid else { return nil }
                    awaited.removeFirst()
                }
                previous = record.zxid
                found.append(record)
                if record.zxid == last { return found }
            }
        }
        return nil
    }

    // MARK: Truncation

    /// False, and nothing is changed, if no snapshot and log lead there.
    mutating func truncate(after zxid: Zxid) -> Bool {
        let earlier = snapshots.filter { $0.zxid <= zxid }
        guard let base = earlier.last?.zxid else { return false }
        var remaining = logs.filter { $0.name <= zxid }
        let first = remaining.lastIndex { $0.name <= base } ?? 0
        for index in remaining.indices.dropFirst(first) {
            remaining[index].records.removeAll { $0.zxid > zxid }
        }
        let isThere =
            zxid == base
            || remaining.dropFirst(first).contains { $0.records.contains { $0.zxid == zxid } }
        guard isThere else { return false }
        logs = remaining
        snapshots = earlier
        isRolled = true
        return true
    }
}

extension Zxid {
    /// Whether nothing can have been between: the next one of its epoch, or the first one of a
    /// later epoch.
    func isNext(after previous: Zxid) -> Bool {
        self == previous.next || (epoch > previous.epoch && counter == 1)
    }
}
