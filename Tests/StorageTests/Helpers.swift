import Dispatch
import Glibc
import Jute
import Storage
import StorageFormat
import StorageTestSupport
import Synchronization
import SystemPackage
import Testing
import Vocabulary

/// Restores a dataDir into a recorded tree.
func restore(
    _ dataDir: FilePath, dataLogDir: FilePath? = nil, options: RecoveryOptions = .init()
) throws(StorageError) -> (tree: RecordedTree, report: RecoveryReport) {
    let directories = try DataDirectories(dataDir: dataDir, dataLogDir: dataLogDir)
    let lock = try directories.lock()
    var tree = RecordedTree()
    let report = try Recovery.restore(directories, options: options, into: &tree)
    _ = consume lock
    return (tree, report)
}

func restore(
    _ scratch: Scratch, options: RecoveryOptions = .init()
) throws(StorageError) -> (tree: RecordedTree, report: RecoveryReport) {
    // The files last as long as their owner does.
    defer { withExtendedLifetime(scratch) {} }
    return try restore(scratch.dataDir, options: options)
}

/// The reason why a dataDir is refused; nil if it is not.
func refusal(_ scratch: Scratch, options: RecoveryOptions = .init()) -> StorageError? {
    do throws(StorageError) {
        _ = try restore(scratch, options: options)
        return nil
    } catch {
        return error
    }
}

/// A dataDir of the test's own making.
final class Scratch {
    let directory = TemporaryDirectory()
    var dataDir: FilePath { directory.path.appending("data") }
    var version: FilePath { dataDir.appending("version-2") }

    init() { Files.makeDirectory(directory.path.appending("data").appending("version-2")) }

    convenience init(_ fixture: String) {
        self.init()
        Files.remove(dataDir)
        _ = Fixture(fixture).copy(to: directory)
    }

    var directories: DataDirectories {
        get throws { try DataDirectories(dataDir: dataDir) }
    }

    func file(_ name: String) -> FilePath { version.appending(name) }
    func write(_ bytes: [UInt8], to name: String) { Files.write(bytes, to: file(name)) }
    func read(_ name: String) -> [UInt8] { Files.read(file(name)) }
    var names: [String] { Files.names(version).filter { $0 != "aviary.lock" } }

    /// Writes a plain snapshot with a few znodes.
    func addSnapshot(_ zxid: Int64) throws {
        let tree = RecordedTree(zxid: Zxid(rawValue: zxid), count: 3, dataBytes: 8)
        _ = try tree.write(to: version, options: .init(fsync: false))
    }

    /// Writes a snapshot as Apache's servers do: of a tree that changed up to `reach` meanwhile.
    func addFuzzySnapshot(_ zxid: Int64, reach: Int64) {
        let tree = RecordedTree(zxid: Zxid(rawValue: zxid), count: 3, dataBytes: 8)
        let reach = Zxid(rawValue: reach)
        let sections = SnapshotSections(
            digest: .init(zxid: reach, value: tree.digest), lastProcessedZxid: reach)
        var bytes: [UInt8] = []
        _ = tree.encode(sections: sections) { bytes += $0 }
        write(bytes, to: "snapshot." + tree.zxid.hex)
    }

    /// Flips a bit in the middle of a snapshot.
    func damageSnapshot(_ zxid: Int64) {
        let name = "snapshot." + Zxid(rawValue: zxid).hex
        var bytes = read(name)
        bytes[40] ^= 1
        write(bytes, to: name)
    }

    /// Every file and what is in it.
    var contents: [String: [UInt8]] {
        names.reduce(into: [:]) { $0[$1] = read($1) }
    }

    /// Writes a log with the given txns and no padding.
    func addLog(_ zxids: [Int64], name: String? = nil) {
        write(logBytes(zxids), to: name ?? "log." + Zxid(rawValue: zxids.first ?? 0).hex)
    }
}

/// An error txn: a header and a number, the smallest there is.
func txnBytes(zxid: Int64, extra: Int = 0) -> [UInt8] {
    var buffer = ByteBuffer()
    buffer.append(Int64(0x1_0000))
    buffer.append(Int32(truncatingIfNeeded: zxid))
    buffer.append(zxid)
    buffer.append(Int64(1_700_000_000_000))
    buffer.append(Int32(-1))
    buffer.append(Int32(-101))
    buffer.append([UInt8](repeating: 0xa5, count: extra))
    return Array(buffer.bytes)
}

/// A record as a slow and obvious writer makes it.
func recordBytes(_ txn: [UInt8]) -> [UInt8] {
    var buffer = ByteBuffer()
    buffer.append(Adler32.of(txn.span))
    buffer.appendField(txn.span)
    buffer.append(UInt8(ascii: "B"))
    return Array(buffer.bytes)
}

func logBytes(_ zxids: [Int64]) -> [UInt8] {
    var buffer = ByteBuffer()
    LogFormat.appendHeader(to: &buffer)
    return Array(buffer.bytes) + zxids.flatMap { recordBytes(txnBytes(zxid: $0)) }
}

func batch(_ zxids: [Int64], extra: Int = 0) -> LogBatch {
    let batch = LogBatch()
    for zxid in zxids {
        let txn = txnBytes(zxid: zxid, extra: extra)
        batch.appendTxn(txn.span, zxid: Zxid(rawValue: zxid))
    }
    return batch
}

/// Counts what other threads report and waits for it with a deadline.
final class Wakeups: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)

    func wake() { semaphore.signal() }

    /// Asks again after every wake-up until `condition` holds.
    func wait(until condition: () -> Bool) -> Bool {
        let deadline = DispatchTime.now() + .seconds(20)
        while !condition() {
            if semaphore.wait(timeout: deadline) == .timedOut { return condition() }
        }
        return true
    }
}

/// A disk that notes every call and fails where it is told to.
final class FakeDisk: Sendable {
    enum Call: Equatable, Sendable {
        case write(bytes: Int, offset: Int)
        case syncData
        case sync
        case preallocate(from: Int, bytes: Int)
    }

    struct State {
        var calls: [Call] = []
        /// What the calls of a kind answer; nil does the real thing.
        var write: (@Sendable (_ index: Int, _ bytes: Int) -> Int?)?
        var syncData: (@Sendable (_ index: Int) -> Int32?)?
        var preallocate: Int32?
    }

    private let state = Mutex(State())

    init(
        write: (@Sendable (_ index: Int, _ bytes: Int) -> Int?)? = nil,
        syncData: (@Sendable (_ index: Int) -> Int32?)? = nil, preallocate: Int32? = nil
    ) {
        state.withLock {
            $0.write = write
            $0.syncData = syncData
            $0.preallocate = preallocate
        }
    }

    var log: [Call] { state.withLock { $0.calls } }

    private func note(_ call: Call, counting isSame: (Call) -> Bool) -> (State, Int) {
        state.withLock {
            let index = $0.calls.count(where: isSame)
            $0.calls.append(call)
            return ($0, index)
        }
    }

    var calls: DiskCalls {
        let system = DiskCalls.system
        return DiskCalls(
            write: { file, pieces, count, offset in
                let bytes = (0..<Int(count)).reduce(0) { $0 + pieces[$1].iov_len }
                let (state, index) = self.note(.write(bytes: bytes, offset: Int(offset))) {
                    if case .write = $0 { true } else { false }
                }
                if let answer = state.write?(index, bytes) {
                    // What a disk that stops in the middle has taken.
                    if answer > 0, let base = pieces[0].iov_base {
                        return pwrite(file, base, min(answer, pieces[0].iov_len), off_t(offset))
                    }
                    return answer
                }
                return system.write(file, pieces, count, offset)
            },
            syncData: {
                let (state, index) = self.note(.syncData) { $0 == .syncData }
                return state.syncData?(index) ?? system.syncData($0)
            },
            sync: {
                _ = self.note(.sync) { $0 == .sync }
                return system.sync($0)
            },
            preallocate: { file, offset, bytes in
                let call = Call.preallocate(from: Int(offset), bytes: Int(bytes))
                let (state, _) = self.note(call) { $0 == call }
                return state.preallocate ?? system.preallocate(file, offset, bytes)
            }, truncate: system.truncate, rename: system.rename, remove: system.remove)
    }
}

func ownProcessID() -> Int32 { getpid() }
