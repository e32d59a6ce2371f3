import Dispatch
import Glibc
import Storage
import StorageFormat
import StorageTestSupport
import Synchronization
import SystemPackage
import Testing
import Vocabulary

/// The calling thread's scheduling policy; 5 is SCHED_IDLE, which Glibc's module leaves out.
private func policy() -> Int32 { sched_getscheduler(0) }

/// Notes the policy of the thread that walks it.
private final class PolicySource: SnapshotSource {
    private let noted = Mutex<Int32?>(nil)
    var seen: Int32? { noted.withLock { $0 } }
    var zxid: Zxid { Zxid(rawValue: 1) }
    var digest: UInt64 { 1 }
    var sessions: [(id: SessionID, timeoutMilliseconds: Int32)] { [] }
    var acls: [(id: Int64, list: [ACL])] { [] }

    func forEachNode<E: Error>(
        _ body: (
            _ path: UnsafeRawBufferPointer, _ data: UnsafeRawBufferPointer?, _ aclID: Int64,
            _ stat: StatPersisted
        ) throws(E) -> Void
    ) throws(E) {
        noted.withLock { $0 = policy() }
        try body(UnsafeRawBufferPointer(start: nil, count: 0), nil, -1, StatPersisted())
    }
}

@Suite struct SnapshotThreadTests {
    private let scratch = Scratch()
    private let tree = RecordedTree(zxid: Zxid(rawValue: 0x2a), count: 6000, dataBytes: 400)

    private func finish(
        _ thread: SnapshotThread, _ wakeups: Wakeups
    ) -> SnapshotThread.Completion? {
        var completion: SnapshotThread.Completion?
        _ = wakeups.wait {
            completion = thread.takeCompletion()
            return completion != nil
        }
        return completion
    }

    /// Writes `tree` on a snapshot thread.
    private func write(
        _ tree: RecordedTree, _ options: SnapshotOptions = .init()
    ) throws -> SnapshotReport {
        let wakeups = Wakeups()
        let thread = SnapshotThread { wakeups.wake() }
        thread.write(source: tree, directory: scratch.version, options: options)
        #expect(thread.isBusy)
        switch finish(thread, wakeups) {
        case .written(let report, let source):
            #expect(!thread.isBusy)
            #expect(source.zxid == tree.zxid)
            return report
        case .notWritten(let error, _): throw error
        case .purged, .notPurged, nil: throw Missing()
        }
    }

    private struct Missing: Error {}

    @Test func `what is written is read again`() throws {
        let report = try write(tree)
        #expect(report.file == scratch.file("snapshot.2a"))
        #expect(report.nodes == 6001)
        #expect(report.bytes == Files.size(report.file))
        #expect(report.bytes > 2_500_000)
        #expect(scratch.names == ["snapshot.2a"])
        let restored = try restore(scratch)
        #expect(restored.tree.hasSameSnapshot(as: tree))
        #expect(restored.report.lastZxid == tree.zxid)
        #expect(restored.report.snapshotBytes == report.bytes)
        #expect(restored.tree.restoredDigest == .init(zxid: tree.zxid, value: tree.digest))
    }

    @Test func `a compressed snapshot is read again`() throws {
        let plain = try write(tree)
        Files.remove(plain.file)
        let report = try write(tree, .init(compression: .gzip))
        #expect(report.file == scratch.file("snapshot.2a.gz"))
        #expect(report.bytes == Files.size(report.file))
        #expect(report.bytes < plain.bytes / 2)
        #expect(Array(Files.read(report.file).prefix(2)) == [0x1f, 0x8b])
        let restored = try restore(scratch)
        #expect(restored.tree.hasSameSnapshot(as: tree))
        #expect(restored.report.snapshotBytes == plain.bytes)
    }

    @Test(arguments: Fixture.all)
    func `captured snapshots are written again byte for byte`(fixture: Fixture) throws {
        for name in fixture.files("snapshot.") {
            guard let parsed = SnapshotFileName(name), parsed.compression == .none else { continue }
            let source = Scratch()
            let bytes = fixture.bytes(name)
            source.write(bytes, to: name)
            let tree = try restore(source).tree
            // Taken after a SNAP sync: these have a digest that ours would not leave out.
            let isSent = tree.restoredDigest == nil && tree.zxid != .zero
            if isSent { continue }
            let options = SnapshotOptions(
                serializeLastProcessedZxid: fixture.name.hasPrefix("3.9"),
                digestEnabled: !fixture.name.hasSuffix("nodigest"))
            let report = try write(tree, options)
            #expect(Files.read(report.file) == bytes)
        }
    }

    @Test func `a snapshot replaces one of the same name`() throws {
        scratch.write([1, 2, 3], to: "snapshot.2a")
        _ = try write(tree)
        #expect(try restore(scratch).tree.hasSameSnapshot(as: tree))
    }

    @Test func `the file is synced before its name and the name before the report`() throws {
        let disk = FakeDisk()
        _ = try write(tree, .init(calls: disk.calls))
        #expect(disk.log.suffix(2) == [.sync, .sync])
        let writes = disk.log.dropLast(2)
        #expect(writes.count >= 3)
        var offset = 0
        for call in writes {
            guard case .write(let bytes, offset) = call else {
                Issue.record("\(call) at \(offset)")
                return
            }
            offset += bytes
        }
        #expect(offset == Files.size(scratch.file("snapshot.2a")))
    }

    @Test func `a snapshot has its name only when it is whole`() throws {
        let entered = DispatchSemaphore(value: 0)
        let gate = DispatchSemaphore(value: 0)
        let disk = FakeDisk(write: { index, _ in
            if index == 1 {
                entered.signal()
                _ = gate.wait(timeout: .now() + .seconds(20))
            }
            return nil
        })
        let wakeups = Wakeups()
        let thread = SnapshotThread { wakeups.wake() }
        thread.write(source: tree, directory: scratch.version, options: .init(calls: disk.calls))
        #expect(entered.wait(timeout: .now() + .seconds(20)) == .success)
        #expect(scratch.names == ["snapshot.2a.tmp"])
        #expect(thread.isBusy)
        #expect(thread.takeCompletion() == nil)
        gate.signal()
        guard case .written = finish(thread, wakeups) else {
            Issue.record("the snapshot was not written")
            return
        }
        #expect(scratch.names == ["snapshot.2a"])
    }

    @Test(arguments: [SnapshotOptions.Compression.none, .gzip])
    func `a full disk is reported and leaves nothing behind`(
        compression: SnapshotOptions.Compression
    ) throws {
        let disk = FakeDisk(write: { index, _ in index == 1 ? -Int(ENOSPC) : nil })
        let wakeups = Wakeups()
        let thread = SnapshotThread { wakeups.wake() }
        thread.write(
            source: tree, directory: scratch.version,
            options: .init(compression: compression, calls: disk.calls))
        guard case .notWritten(let error, let source) = finish(thread, wakeups) else {
            Issue.record("a snapshot was written to a full disk")
            return
        }
        #expect(error.reason == .system(.write, errno: ENOSPC))
        #expect(source.zxid == tree.zxid)
        #expect(scratch.names == [])
        // The thread is free for the next one.
        thread.write(source: tree, directory: scratch.version)
        guard case .written = finish(thread, wakeups) else {
            Issue.record("no snapshot after a failed one")
            return
        }
    }

    @Test func `the job finishes before the thread is closed`() {
        let thread = SnapshotThread {}
        thread.write(source: tree, directory: scratch.version)
        thread.close()
        #expect(scratch.names == ["snapshot.2a"])
        guard case .written = thread.takeCompletion() else {
            Issue.record("the completion is lost")
            return
        }
    }

    @Test func `a snapshot at zxid 0 says that it has no digest`() throws {
        let empty = RecordedTree(zxid: .zero, count: 3, dataBytes: 0)
        #expect(empty.digest != 0)
        let report = try write(empty)
        let section = Files.read(report.file).suffix(54).prefix(20)
        #expect(
            Array(section) == [UInt8](repeating: 0, count: 11) + [2]
                + [UInt8](repeating: 0, count: 8))
    }

    @Test(arguments: [true, false])
    func `the thread lets others go first if it is told so`(isLow: Bool) {
        let source = PolicySource()
        let wakeups = Wakeups()
        let thread = SnapshotThread { wakeups.wake() }
        thread.write(
            source: source, directory: scratch.version, options: .init(lowPriority: isLow))
        guard case .written = finish(thread, wakeups) else {
            Issue.record("no snapshot")
            return
        }
        let own = policy()
        #expect(source.seen == (isLow ? 5 : own))
        #expect(policy() == own, "only the snapshot thread steps back")
    }

    @Test func `old files can be removed on the thread`() throws {
        for zxid in 1...4 { try scratch.addSnapshot(Int64(zxid)) }
        let wakeups = Wakeups()
        let thread = SnapshotThread { wakeups.wake() }
        thread.purge(try scratch.directories, retainCount: 3)
        guard case .purged(let files) = finish(thread, wakeups) else {
            Issue.record("nothing was purged")
            return
        }
        #expect(files == [scratch.file("snapshot.1")])
    }
}
