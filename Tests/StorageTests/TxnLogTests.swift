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

/// A log and what it has completed, as the loop's thread sees it.
private final class Loop {
    let wakeups = Wakeups()
    let log: TxnLog
    var flushed: [LogBatch] = []
    var durations: [Int64?] = []
    var failures: [StorageError] = []

    init(_ directory: FilePath, _ options: TxnLogOptions = .init(preallocBytes: 4096)) {
        let wakeups = wakeups
        log = TxnLog(directory: directory, options: options) { wakeups.wake() }
    }

    func take() {
        var completions: [TxnLog.Completion] = []
        log.takeCompletions(into: &completions)
        for completion in completions {
            switch completion {
            case .flushed(let batch, let duration):
                #expect(failures.isEmpty, "nothing is acknowledged after a failure")
                flushed.append(batch)
                durations.append(duration)
            case .failed(let error):
                failures.append(error)
            }
        }
    }

    func wait(for count: Int) -> Bool {
        wakeups.wait {
            take()
            return flushed.count >= count
        }
    }

    func waitForFailure() -> StorageError? {
        _ = wakeups.wait {
            take()
            return !failures.isEmpty
        }
        return failures.first
    }
}

/// Where the records of a log end.
private func recordsEnd(_ bytes: [UInt8]) -> Int {
    var end = LogFormat.headerBytes
    while end + 12 <= bytes.count {
        let length = bytes[end + 8..<end + 12].reduce(0) { $0 << 8 | Int($1) }
        if length == 0 { break }
        end += 12 + length + 1
    }
    return end
}

private func txns(_ bytes: [UInt8]) throws -> [[UInt8]] {
    var txns: [[UInt8]] = []
    var start = LogFormat.headerBytes
    while case .record(let txn, let count) = try LogFormat.scan(
        bytes.span.extracting(start...), isLast: true, limits: .default)
    {
        txns.append(Array(bytes[start + txn.lowerBound..<start + txn.upperBound]))
        start += count
    }
    return txns
}

@Suite struct TxnLogTests {
    private let scratch = Scratch()

    @Test(arguments: Fixture.all.filter { !$0.name.contains("crc") && !$0.name.contains("header") })
    func `the records of a captured log are written again byte for byte`(fixture: Fixture) throws {
        for name in fixture.files("log.") {
            let bytes = fixture.bytes(name)
            guard bytes.count > LogFormat.headerBytes else { continue }
            let txns = try txns(bytes)
            let loop = Loop(scratch.version)
            let batch = LogBatch()
            for txn in txns { batch.appendTxn(txn.span, zxid: LogFormat.zxid(ofTxn: txn.span)) }
            loop.log.append(batch)
            #expect(loop.wait(for: 1))
            loop.log.close()
            let end = 16 + txns.reduce(0) { $0 + 13 + $1.count }
            #expect(Array(scratch.read(name).prefix(end)) == Array(bytes.prefix(end)))
            #expect(scratch.read(name)[end...].allSatisfy { $0 == 0 })
        }
    }

    @Test func `a log is created by its first record and named after it`() throws {
        let loop = Loop(scratch.version)
        #expect(scratch.names == [])
        loop.log.append(batch([0x1_0000_00ab, 0x1_0000_00ac]))
        #expect(loop.wait(for: 1))
        #expect(scratch.names == ["log.1000000ab"])
        loop.log.close()
        #expect(scratch.names == ["log.1000000ab"])
        #expect(try txns(scratch.read("log.1000000ab")).count == 2)
    }

    @Test func `a start never appends to an old log and replaces one of the same name`() {
        scratch.addLog([1, 2])
        scratch.write(logBytes([]) + Array(recordBytes(txnBytes(zxid: 3)).dropLast(5)), to: "log.3")
        let old = scratch.read("log.1")
        let loop = Loop(scratch.version, .init(preallocBytes: 0))
        loop.log.append(batch([3]))
        #expect(loop.wait(for: 1))
        #expect(scratch.read("log.1") == old)
        #expect(scratch.read("log.3") == logBytes([3]))
    }

    @Test(arguments: [
        [], [UInt8](logBytes([]).prefix(7)), logBytes([]),
        logBytes([]) + [UInt8](repeating: 0, count: 4096),
        Array(logBytes([3]).dropLast()), Array(logBytes([3, 4]).prefix(30)),
    ])
    func `a file of the same name without a whole record is replaced`(old: [UInt8]) {
        scratch.write(old, to: "log.3")
        let loop = Loop(scratch.version, .init(preallocBytes: 0))
        loop.log.append(batch([3]))
        #expect(loop.wait(for: 1))
        #expect(scratch.read("log.3") == logBytes([3]))
    }

    @Test func `a file of the same name with records is kept, and ends the log`() throws {
        var damaged = logBytes([3, 4])
        damaged[40] ^= 1
        for old in [
            logBytes([3]), logBytes([3, 4]), Array(logBytes([3, 4]).dropLast(5)), damaged,
            [UInt8](repeating: 0x61, count: 100),
        ] {
            scratch.write(old, to: "log.3")
            let loop = Loop(scratch.version)
            loop.log.append(batch([3]))
            let error = try #require(loop.waitForFailure())
            #expect(error.reason == .logExists)
            #expect(error.file == scratch.file("log.3"))
            #expect(scratch.read("log.3") == old)
        }
    }

    @Test func `batches come back in order, each after its flush`() throws {
        let disk = FakeDisk()
        let loop = Loop(scratch.version, .init(preallocBytes: 65536, calls: disk.calls))
        let count = 2000
        var batches: [LogBatch] = []
        for zxid in 1...count {
            let batch = batch([Int64(zxid)])
            batches.append(batch)
            loop.log.append(batch)
            if zxid % 97 == 0 { loop.take() }
        }
        #expect(loop.wait(for: count))
        #expect(loop.flushed.count == count)
        #expect(zip(loop.flushed, batches).allSatisfy { $0 === $1 })
        let read = try txns(scratch.read("log.1"))
        #expect(read == (1...count).map { txnBytes(zxid: Int64($0)) })
        // One duration for each flush.
        let syncs = disk.log.count { $0 == .syncData }
        #expect(loop.durations.count { $0 != nil } == syncs)
    }

    @Test func `what arrives during a flush shares the next one`() throws {
        let entered = DispatchSemaphore(value: 0)
        let gate = DispatchSemaphore(value: 0)
        let disk = FakeDisk(syncData: { index in
            if index == 0 {
                entered.signal()
                _ = gate.wait(timeout: .now() + .seconds(20))
            }
            return nil
        })
        let loop = Loop(scratch.version, .init(preallocBytes: 0, calls: disk.calls))
        loop.log.append(batch([1]))
        #expect(entered.wait(timeout: .now() + .seconds(20)) == .success)
        for zxid in 2...50 { loop.log.append(batch([Int64(zxid)])) }
        loop.take()
        #expect(loop.flushed.isEmpty, "nothing is flushed before its flush returned")
        gate.signal()
        #expect(loop.wait(for: 50))
        let record = recordBytes(txnBytes(zxid: 1)).count
        #expect(
            disk.log == [
                .write(bytes: 16, offset: 0), .sync, .sync,
                .write(bytes: record, offset: 16), .syncData,
                .write(bytes: 49 * record, offset: 16 + record), .syncData,
            ])
        #expect(
            loop.durations.map { $0 != nil } == [true] + Array(repeating: false, count: 48) + [true]
        )
        #expect(try txns(scratch.read("log.1")).count == 50)
    }

    @Test func `the header is on the disk before the file grows`() {
        let disk = FakeDisk()
        let loop = Loop(scratch.version, .init(preallocBytes: 8192, calls: disk.calls))
        loop.log.append(batch([1]))
        #expect(loop.wait(for: 1))
        let record = recordBytes(txnBytes(zxid: 1)).count
        #expect(
            disk.log == [
                .write(bytes: 16, offset: 0), .sync, .sync, .preallocate(from: 16, bytes: 8192),
                .write(bytes: record, offset: 16), .syncData,
            ])
    }

    @Test func `a batch larger than the calls' limit of pieces arrives whole`() throws {
        let gate = DispatchSemaphore(value: 0)
        let disk = FakeDisk(syncData: { index in
            if index == 0 { _ = gate.wait(timeout: .now() + .seconds(20)) }
            return nil
        })
        let loop = Loop(scratch.version, .init(preallocBytes: 0, calls: disk.calls))
        for zxid in 1...3000 { loop.log.append(batch([Int64(zxid)])) }
        gate.signal()
        #expect(loop.wait(for: 3000))
        #expect(try txns(scratch.read("log.1")).count == 3000)
    }

    @Test func `files have the sizes of the preallocation`() throws {
        // Captured with 16 KiB steps.
        let loop = Loop(scratch.version, .init(preallocBytes: 16384))
        loop.log.append(batch([1]))
        #expect(loop.wait(for: 1))
        #expect(Files.size(scratch.file("log.1")) == 16 + 16384)
        #expect(
            Files.size(Fixture("3.9.3-basic").versionDirectory.appending("log.1")) == 16 + 16384)

        // One record at a time and all at once make the same size as a record-wise twin says.
        let rule = LogPreallocation(bytes: 16384)
        var position = 16 + recordBytes(txnBytes(zxid: 1)).count
        var size = 16 + 16384
        var zxid: Int64 = 2
        for extra in [10, 9000, 3000, 100, 40_000, 5, 12_000, 12_000] {
            let record = recordBytes(txnBytes(zxid: zxid, extra: extra)).count
            loop.log.append(batch([zxid], extra: extra))
            #expect(loop.wait(for: Int(zxid)))
            size = rule.size(forRecordAt: position, size: size)
            position += record
            size = max(size, position)
            #expect(Files.size(scratch.file("log.1")) == size)
            zxid += 1
        }
    }

    @Test func `a disk that cannot reserve space still gets the size`() throws {
        let disk = FakeDisk(preallocate: -EOPNOTSUPP)
        let loop = Loop(scratch.version, .init(preallocBytes: 8192, calls: disk.calls))
        loop.log.append(batch([1]))
        #expect(loop.wait(for: 1))
        #expect(Files.size(scratch.file("log.1")) == 16 + 8192)
        #expect(try txns(scratch.read("log.1")).count == 1)
    }

    @Test func `without forced syncs nothing is flushed but the new file`() {
        let disk = FakeDisk()
        let loop = Loop(
            scratch.version, .init(preallocBytes: 0, forceSync: false, calls: disk.calls))
        loop.log.append(batch([1]))
        #expect(loop.wait(for: 1))
        #expect(!disk.log.contains(.syncData))
        #expect(loop.durations == [nil])
    }

    // MARK: Rolling

    @Test func `a roll starts a file with the next batch`() throws {
        let loop = Loop(scratch.version)
        loop.log.append(batch([1, 2]))
        loop.log.roll()
        #expect(loop.wait(for: 1))
        #expect(scratch.names == ["log.1"])
        loop.log.roll()
        loop.log.append(batch([3]))
        loop.log.append(batch([4]))
        loop.log.roll()
        loop.log.append(batch([5]))
        #expect(loop.wait(for: 4))
        #expect(scratch.names == ["log.1", "log.3", "log.5"])
        #expect(try txns(scratch.read("log.3")).count == 2)
    }

    @Test func `a file is flushed before the next one begins`() {
        let disk = FakeDisk()
        let loop = Loop(scratch.version, .init(preallocBytes: 0, calls: disk.calls))
        loop.log.append(batch([1]))
        loop.log.roll()
        loop.log.append(batch([2]))
        #expect(loop.wait(for: 2))
        let record = recordBytes(txnBytes(zxid: 1)).count
        let file: [FakeDisk.Call] = [
            .write(bytes: 16, offset: 0), .sync, .sync,
            .write(bytes: record, offset: 16), .syncData,
        ]
        #expect(disk.log == file + file)
    }

    @Test func `a file over the size limit is the last of its kind`() {
        let loop = Loop(scratch.version, .init(preallocBytes: 0, sizeLimitBytes: 1000))
        loop.log.append(batch([1]))
        #expect(loop.wait(for: 1))
        loop.log.append(batch([2], extra: 1000))
        #expect(loop.wait(for: 2))
        loop.log.append(batch([3]))
        #expect(loop.wait(for: 3))
        #expect(scratch.names == ["log.1", "log.3"])
    }

    @Test func `an empty batch comes back in its turn and touches nothing`() {
        let disk = FakeDisk()
        let loop = Loop(scratch.version, .init(calls: disk.calls))
        loop.log.append(LogBatch())
        #expect(loop.wait(for: 1))
        #expect(disk.log == [])
        #expect(loop.durations == [nil])
        #expect(scratch.names == [])
    }

    // MARK: Settling

    @Test func `a settled log has everything on the disk and begins a new file`() throws {
        let disk = FakeDisk()
        let loop = Loop(scratch.version, .init(preallocBytes: 0, calls: disk.calls))
        for zxid in 1...500 { loop.log.append(batch([Int64(zxid)])) }
        loop.log.settle()
        // No waiting: it is all there.
        #expect(disk.log.last == .syncData)
        #expect(scratch.read("log.1") == logBytes(Array(1...500)))
        loop.take()
        #expect(loop.flushed.count == 500)
        loop.log.append(batch([501]))
        loop.log.settle()
        loop.log.settle()
        #expect(scratch.read("log.1f5") == logBytes([501]))
        #expect(scratch.names == ["log.1", "log.1f5"])
    }

    @Test func `an unused log is settled`() {
        let loop = Loop(scratch.version)
        loop.log.settle()
        #expect(scratch.names == [])
    }

    @Test func `settling waits for the flush`() {
        let entered = DispatchSemaphore(value: 0)
        let gate = DispatchSemaphore(value: 0)
        let isOpen = Mutex(false)
        let disk = FakeDisk(syncData: { _ in
            entered.signal()
            _ = gate.wait(timeout: .now() + .seconds(20))
            return nil
        })
        let loop = Loop(scratch.version, .init(preallocBytes: 0, calls: disk.calls))
        loop.log.append(batch([1]))
        #expect(entered.wait(timeout: .now() + .seconds(20)) == .success)
        DispatchQueue.global().async {
            isOpen.withLock { $0 = true }
            gate.signal()
        }
        loop.log.settle()
        #expect(isOpen.withLock { $0 })
        loop.take()
        #expect(loop.flushed.count == 1)
    }

    @Test func `settling a log that fails ends, and the failure is told`() throws {
        let loop = Loop(
            scratch.version, .init(calls: FakeDisk(syncData: { _ in -EIO }).calls))
        loop.log.append(batch([1]))
        loop.log.settle()
        loop.take()
        #expect(loop.failures.map(\.reason) == [.system(.sync, errno: EIO)])
        loop.log.settle()
    }

    // MARK: The end

    @Test func `closing flushes everything that was appended`() throws {
        let loop = Loop(scratch.version)
        for zxid in 1...500 { loop.log.append(batch([Int64(zxid)])) }
        loop.log.close()
        loop.log.close()
        loop.take()
        #expect(loop.flushed.count == 500)
        #expect(try txns(scratch.read("log.1")).count == 500)
    }

    @Test func `a log that is closed unused leaves no file`() {
        Loop(scratch.version).log.close()
        #expect(scratch.names == [])
    }

    @Test func `a log that is let go of ends its thread after the flush`() throws {
        do {
            let loop = Loop(scratch.version)
            loop.log.append(batch([1]))
        }
        #expect(try txns(scratch.read("log.1")).count == 1)
    }

    // MARK: Failing disks

    private func failure(_ disk: FakeDisk, appends: Int = 3) throws -> StorageError {
        let loop = Loop(scratch.version, .init(preallocBytes: 0, calls: disk.calls))
        for zxid in 1...appends {
            loop.log.append(batch([Int64(zxid)]))
            _ = loop.wakeups.wait {
                loop.take()
                return loop.flushed.count == zxid || !loop.failures.isEmpty
            }
        }
        let error = try #require(loop.waitForFailure())
        let calls = disk.log
        // Nothing more happens, whatever is asked for.
        loop.log.append(batch([100]))
        loop.log.roll()
        loop.log.append(batch([101]))
        loop.log.close()
        loop.take()
        #expect(disk.log == calls)
        #expect(loop.failures.count == 1)
        #expect(loop.flushed.map(\.lastZxid.rawValue) == [1])
        return error
    }

    @Test func `a full disk ends the log with a message of its own`() throws {
        // The header, the first batch, then no room.
        let error = try failure(FakeDisk(write: { index, _ in index == 2 ? -Int(ENOSPC) : nil }))
        #expect(error.reason == .system(.write, errno: ENOSPC))
        #expect(error.file == scratch.file("log.1"))
        #expect(error.offset == Int64(logBytes([1]).count))
        #expect(error.description.contains("No space left on device"))
        #expect(error.description.contains("make room on the disk"))
        // What was acknowledged is there.
        try scratch.addSnapshot(0)
        #expect(try restore(scratch).report.lastZxid == Zxid(rawValue: 1))
    }

    @Test func `a short write ends the log`() throws {
        let error = try failure(FakeDisk(write: { index, _ in index == 2 ? 18 : nil }))
        let bytes = recordBytes(txnBytes(zxid: 2)).count
        #expect(error.reason == .shortWrite(bytes: 18, of: bytes))
        #expect(error.description.contains("18 of \(bytes) bytes"))
        // The half record is a torn tail like any other.
        try scratch.addSnapshot(0)
        let report = try restore(scratch).report
        #expect(report.lastZxid == Zxid(rawValue: 1))
        #expect(report.tornTails.first?.bytes == 18)
    }

    @Test func `a failed flush ends the log and is not tried again`() throws {
        let disk = FakeDisk(syncData: { $0 == 1 ? -EIO : nil })
        let error = try failure(disk)
        #expect(error.reason == .system(.sync, errno: EIO))
        #expect(error.description.contains("Input/output error"))
        #expect(disk.log.count { $0 == .syncData } == 2)
    }

    @Test func `a write error ends the log`() throws {
        let error = try failure(FakeDisk(write: { index, _ in index == 2 ? -Int(EIO) : nil }))
        #expect(error.reason == .system(.write, errno: EIO))
    }

    @Test func `a file that cannot be created ends the log`() throws {
        let missing = scratch.directory.path.appending("missing")
        let loop = Loop(missing)
        loop.log.append(batch([1]))
        let error = try #require(loop.waitForFailure())
        #expect(error.reason == .system(.create, errno: ENOENT))
        #expect(error.file == missing.appending("log.1"))
        #expect(loop.flushed.isEmpty)
    }

    @Test func `what was flushed before a failure in the same turn is acknowledged`() throws {
        let entered = DispatchSemaphore(value: 0)
        let gate = DispatchSemaphore(value: 0)
        let disk = FakeDisk(syncData: { index in
            if index == 0 {
                entered.signal()
                _ = gate.wait(timeout: .now() + .seconds(20))
            }
            return index == 2 ? -EIO : nil
        })
        let loop = Loop(scratch.version, .init(preallocBytes: 0, calls: disk.calls))
        loop.log.append(batch([1]))
        #expect(entered.wait(timeout: .now() + .seconds(20)) == .success)
        // One turn of the thread with two files: the second one fails.
        loop.log.append(batch([2]))
        loop.log.roll()
        loop.log.append(batch([3]))
        gate.signal()
        #expect(loop.waitForFailure()?.file == scratch.file("log.3"))
        #expect(loop.flushed.map(\.lastZxid.rawValue) == [1, 2])
    }
}
