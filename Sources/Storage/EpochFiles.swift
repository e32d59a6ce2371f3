import Glibc
import Jute
package import SystemPackage
package import Vocabulary

/// `acceptedEpoch`, the highest epoch that was promised, and `currentEpoch`, the highest epoch whose
/// leader's history was accepted: two files of decimal digits next to the snapshots.
///
/// A promise holds only if it outlives a crash: what `saveAccepted` and `saveCurrent` were given is on
/// the disk when they return.
///
/// Source: ZooKeeper, `QuorumPeer.loadDataBase`, `QuorumPeer.writeLongToFile`.
package struct EpochFiles: Sendable {
    private let accepted: FilePath
    private let current: FilePath
    private let calls: DiskCalls

    /// An epoch is the high half of a zxid, which is signed.
    private static let epochMax = Int64(Int32.max)
    /// Digits, and a line's end that an editor may have left.
    private static let bytesMax = 32

    /// `directory`: the one with the snapshots, locked by this process.
    package init(directory: FilePath, calls: DiskCalls = .system) {
        accepted = directory.appending("acceptedEpoch")
        current = directory.appending("currentEpoch")
        self.calls = calls
    }

    /// Reads both, and writes what was missing.
    ///
    /// 1. A missing file counts as the epoch of the last logged txn. So does -1, Apache's epoch of a
    ///    database that nobody meant to be empty.
    /// 2. `currentEpoch` is below the epoch of the last txn: a crash came when a leader's history was
    ///    on the disk and its epoch was not. The log is that of a server that has accepted the epoch
    ///    of its last txn, so this is the current one.
    /// 3. `acceptedEpoch` is below `currentEpoch`: a promise was lost, and the start is refused.
    ///
    /// `lastZxid`: that of the last logged txn.
    package func load(
        lastZxid: Zxid
    ) throws(StorageError) -> (accepted: Int64, current: Int64) {
        let logged = max(0, lastZxid.epoch)
        let stored = (accepted: try read(accepted), current: try read(current))
        var epochs = (accepted: stored.accepted ?? logged, current: stored.current ?? logged)
        epochs.current = max(epochs.current, logged)
        guard epochs.accepted >= epochs.current else {
            throw StorageError(
                file: accepted,
                reason: .acceptedEpochBehind(epochs.accepted, currentEpoch: epochs.current))
        }
        if stored.current != epochs.current { try saveCurrent(epochs.current) }
        if stored.accepted != epochs.accepted { try saveAccepted(epochs.accepted) }
        return epochs
    }

    package func saveAccepted(_ epoch: Int64) throws(StorageError) {
        try save(epoch, to: accepted)
    }

    package func saveCurrent(_ epoch: Int64) throws(StorageError) {
        try save(epoch, to: current)
    }

    private func save(_ epoch: Int64, to path: FilePath) throws(StorageError) {
        precondition((0...Self.epochMax).contains(epoch), "an epoch is the high half of a zxid")
        try AtomicFile.write(String(epoch), to: path, calls: calls)
    }

    /// The epoch in the file; nil if there is none.
    private func read(_ path: FilePath) throws(StorageError) -> Int64? {
        let bytes: [UInt8]
        do throws(StorageError) {
            bytes = try OpenFile(path).bytes(0..<Self.bytesMax)
        } catch {
            guard error.reason == .system(.open, errno: ENOENT) else { throw error }
            return nil
        }
        let text = String(decoding: bytes, as: UTF8.self)
        let line = text.prefix { !$0.isNewline }
        guard let epoch = Int64(line), (-1...Self.epochMax).contains(epoch) else {
            throw StorageError(file: path, reason: .notAnEpoch(text: String(line)))
        }
        return epoch < 0 ? nil : epoch
    }
}
