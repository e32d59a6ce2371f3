import Glibc
import Jute
import Storage
import StorageFormat
import StorageTestSupport
import Synchronization
import SystemPackage
import Testing
import Vocabulary

/// A dataDir, and the one history that its files tell.
private struct History: CustomStringConvertible {
    let description: String
    /// Zxids that are in no log: a snapshot from another server stands for them.
    var hole: ClosedRange<Int64>?
    /// The last zxid of the whole history.
    var last: Int64
    /// Fuzzy snapshots: up to where the tree in them changed, by the zxid in their names.
    var reaches: [Int64: Int64] = [:]
    var damaged: Set<Int64> = []
    /// The zxids in the names of the others.
    var exact: [Int64]
    /// Where logs begin.
    var logs: [Int64]

    func scratch() throws -> Scratch {
        let scratch = Scratch()
        for zxid in exact { try scratch.addSnapshot(zxid) }
        for (zxid, reach) in reaches { scratch.addFuzzySnapshot(zxid, reach: reach) }
        for zxid in damaged {
            try scratch.addSnapshot(zxid)
            scratch.damageSnapshot(zxid)
        }
        for (index, first) in logs.enumerated() {
            let end = index + 1 < logs.count ? logs[index + 1] : last + 1
            scratch.addLog((first..<end).filter { hole?.contains($0) != true })
        }
        return scratch
    }

    /// The newest snapshot that is whole and leads to `zxid` without a hole, by trying all.
    func base(of zxid: Int64) -> Int64? {
        let whole = exact.filter { $0 <= zxid }.max()
        guard let whole else { return nil }
        let missing = hole.map { $0.contains { $0 > whole && $0 <= zxid } } ?? false
        return missing ? nil : whole
    }

    /// What the disk holds after a crash, as recovery reads it: nil if it is no part of the history.
    func lastZxid(of crash: [String: [UInt8]]) throws -> Int64? {
        let (tree, report) = try restore(Scratch(contents: crash))
        let from = tree.zxid.rawValue
        let end = report.lastZxid.rawValue
        guard end >= reaches[from] ?? from else { return nil }
        let wanted = from < end ? Array(from + 1...end) : []
        return tree.replayedZxids.map(\.rawValue) == wanted ? end : nil
    }
}

private let histories = [
    History(description: "one log", last: 12, exact: [0], logs: [1]),
    History(description: "three logs", last: 30, exact: [5], logs: [1, 9, 16]),
    History(
        description: "newer snapshots", last: 30, exact: [5, 14, 20, 30], logs: [1, 9, 16, 21]),
    History(
        description: "newer snapshots, the newest damaged", last: 30, damaged: [25, 27],
        exact: [5, 14, 20], logs: [1, 9, 16, 21]),
    History(
        description: "only the newest one damaged", last: 30, damaged: [20], exact: [5],
        logs: [1, 9, 16, 21]),
    History(
        description: "damaged ones in between", last: 30, damaged: [7, 20], exact: [5, 25],
        logs: [1, 9, 16, 21]),
    History(
        description: "a fuzzy one", last: 30, reaches: [8: 12], exact: [5], logs: [1, 9, 16]),
    History(
        description: "fuzzy ones below a newer one", last: 30, reaches: [8: 12, 10: 13],
        exact: [5, 20], logs: [1, 9, 11, 16]),
    History(
        description: "a fuzzy one above", last: 30, reaches: [20: 26], exact: [5, 14],
        logs: [1, 9, 16, 21]),
    History(
        description: "all kinds", last: 30, reaches: [9: 11, 22: 24], damaged: [3, 18, 26],
        exact: [1, 5, 16, 20], logs: [1, 4, 6, 10, 17, 23, 27]),
    History(
        description: "a snapshot that was received", hole: 9...20, last: 30, exact: [5, 20],
        logs: [1, 21]),
    History(
        description: "nothing behind a received snapshot", hole: 9...20, last: 20, exact: [5, 20],
        logs: [1]),
]

@Suite struct TruncationTests {
    private func zxid(_ value: Int64) -> Zxid { Zxid(rawValue: value) }

    private func failure(
        _ scratch: Scratch, after zxid: Int64, calls: DiskCalls? = nil
    ) -> StorageError? {
        var quick = DiskCalls.system
        quick.sync = { _ in 0 }
        do throws(StorageError) {
            _ = try DataDirectories(dataDir: scratch.dataDir)
                .truncate(after: self.zxid(zxid), calls: calls ?? quick)
            return nil
        } catch {
            return error
        }
    }

    /// The zxids of all records, whole file by whole file.
    private func records(_ scratch: Scratch) throws -> [Int64] {
        var zxids: [Int64] = []
        for name in scratch.names where name.hasPrefix("log.") {
            let bytes = scratch.read(name)
            var start = LogFormat.headerBytes
            while case .record(let txn, let count) = try LogFormat.scan(
                bytes.span.extracting(start...), isLast: true, limits: .default)
            {
                let txn = bytes.span.extracting(start + txn.lowerBound..<start + txn.upperBound)
                zxids.append(LogFormat.zxid(ofTxn: txn).rawValue)
                start += count
            }
            #expect(start == bytes.count, "\(name) ends behind its last record")
        }
        return zxids
    }

    @Test(arguments: histories)
    private func `at every zxid it leaves exactly that, or refuses and changes nothing`(
        history: History
    ) throws {
        for value in 0...history.last + 1 {
            let scratch = try history.scratch()
            let before = scratch.contents
            let error = failure(scratch, after: value)
            guard value <= history.last, history.base(of: value) != nil else {
                #expect(error?.reason == .cannotTruncate(to: zxid(value)))
                #expect(scratch.contents == before)
                continue
            }
            #expect(error == nil, "\(value)")
            #expect(try history.lastZxid(of: scratch.contents) == value)
            #expect(try records(scratch).allSatisfy { $0 <= value })
            let snapshots = try scratch.directories.snapshotFiles().map(\.name.zxid.rawValue)
            #expect(snapshots.allSatisfy { history.reaches[$0] ?? $0 <= value }, "\(value)")
            // What may stay has stayed, as it was.
            let all = history.exact + history.damaged + history.reaches.keys
            #expect(Set(snapshots) == Set(all.filter { history.reaches[$0] ?? $0 <= value }))
            for (name, bytes) in scratch.contents {
                #expect(before[name]?.starts(with: bytes) == true)
            }
        }
    }

    @Test(arguments: histories)
    private func `a crash after any call leaves a part of the history that reaches the zxid`(
        history: History
    ) throws {
        for value in stride(from: 0, to: history.last, by: 7) {
            guard history.base(of: value) != nil else { continue }
            let scratch = try history.scratch()
            let simulator = CrashSimulator(scratch)
            #expect(failure(scratch, after: value, calls: simulator.calls) == nil)
            for crash in simulator.crashes where crash != scratch.contents {
                let found = try history.lastZxid(of: crash)
                #expect((found ?? -1) >= value, "\(value): \(crash.keys.sorted())")
                // And the next try gets there.
                let left = Scratch(contents: crash)
                #expect(failure(left, after: value) == nil)
                #expect(try history.lastZxid(of: left.contents) == value)
            }
            #expect(simulator.outcomes == [scratch.contents])
        }
    }

    @Test func `every change is on the disk at the end`() throws {
        let scratch = try histories[3].scratch()
        let simulator = CrashSimulator(scratch)
        #expect(failure(scratch, after: 10, calls: simulator.calls) == nil)
        let end = logBytes([9, 10]).count
        #expect(
            simulator.changes == [
                .remove("snapshot.1b"), .remove("snapshot.19"), .sync("version-2"),
                .remove("log.15"), .sync("version-2"), .remove("log.10"), .sync("version-2"),
                .truncate("log.9", to: end), .sync("log.9"),
                .remove("snapshot.e"), .sync("version-2"), .remove("snapshot.14"),
                .sync("version-2"),
            ])
    }

    @Test func `the report names what went`() throws {
        let scratch = try histories[3].scratch()
        let report = try scratch.directories.truncate(after: zxid(10))
        #expect(
            report.removedFiles
                == ["snapshot.1b", "snapshot.19", "log.15", "log.10", "snapshot.e", "snapshot.14"]
                .map(scratch.file))
        #expect(report.cutFiles == [scratch.file("log.9")])
        let again = try scratch.directories.truncate(after: zxid(10))
        #expect(again.removedFiles == [])
        #expect(again.cutFiles == [])
    }

    @Test func `where nothing is behind the zxid nothing is touched`() throws {
        let scratch = try histories[1].scratch()
        let simulator = CrashSimulator(scratch)
        #expect(failure(scratch, after: 30, calls: simulator.calls) == nil)
        #expect(simulator.changes == [])
    }

    @Test(arguments: [0, 1, 2, 3, 4, 5, 6])
    func `a failing call ends it with its error`(index: Int) throws {
        let scratch = try histories[3].scratch()
        let simulator = CrashSimulator(scratch)
        let watched = simulator.calls
        let left = Countdown(index)
        var calls = watched
        calls.remove = { left.isOver() ? -EIO : watched.remove($0) }
        calls.truncate = { left.isOver() ? -EIO : watched.truncate($0, $1) }
        calls.sync = { left.isOver() ? -EIO : watched.sync($0) }
        let error = try #require(failure(scratch, after: 10, calls: calls))
        guard case .system(_, errno: EIO) = error.reason else {
            Issue.record("\(error)")
            return
        }
        #expect(simulator.changes.count == index)
        #expect(try #require(try histories[3].lastZxid(of: scratch.contents)) >= 10)
    }

    // MARK: What is refused

    @Test func `without a snapshot at or below the zxid it is refused`() throws {
        let scratch = Scratch()
        scratch.addLog([1, 2, 3])
        #expect(failure(scratch, after: 2)?.reason == .cannotTruncate(to: zxid(2)))
        try scratch.addSnapshot(3)
        #expect(failure(scratch, after: 2)?.reason == .cannotTruncate(to: zxid(2)))
        try scratch.addSnapshot(1)
        scratch.damageSnapshot(1)
        #expect(failure(scratch, after: 2)?.reason == .cannotTruncate(to: zxid(2)))
        scratch.write([1, 2, 3], to: "snapshot.0")
        #expect(failure(scratch, after: 2)?.reason == .cannotTruncate(to: zxid(2)))
        try scratch.addSnapshot(0)
        #expect(failure(scratch, after: 2) == nil)
    }

    @Test func `a zxid between two records is refused`() throws {
        let scratch = Scratch()
        try scratch.addSnapshot(0)
        scratch.addLog([1, 2, 5, 6])
        #expect(failure(scratch, after: 4)?.reason == .cannotTruncate(to: zxid(4)))
        #expect(failure(scratch, after: 5) == nil)
    }

    @Test func `a damaged snapshot in front of the zxid that no log leads to is refused`() throws {
        // Received, damaged since: an older snapshot and the logs do not make up for it.
        var history = histories[10]
        history.exact = [5]
        history.damaged = [20]
        let scratch = try history.scratch()
        let before = scratch.contents
        #expect(failure(scratch, after: 25)?.reason == .cannotTruncate(to: zxid(25)))
        // Behind the zxid: without it nothing would say that the logs have a hole.
        #expect(failure(scratch, after: 7)?.reason == .txnsMissing(upTo: zxid(20)))
        #expect(scratch.contents == before)
    }

    @Test func `a damaged log is refused`() throws {
        let scratch = Scratch()
        try scratch.addSnapshot(0)
        var bytes = logBytes([1, 2, 3])
        bytes[40] ^= 1
        scratch.write(bytes, to: "log.1")
        guard case .log(.checksumMismatch) = failure(scratch, after: 2)?.reason else {
            Issue.record("a damaged log was taken for whole")
            return
        }
        #expect(scratch.read("log.1") == bytes)
    }

    // MARK: Files of other shapes

    @Test func `a log is cut with its padding and its torn tail`() throws {
        let scratch = Scratch()
        try scratch.addSnapshot(0)
        let half = recordBytes(txnBytes(zxid: 4)).prefix(20)
        scratch.write(
            logBytes([1, 2, 3]) + half + [UInt8](repeating: 0, count: 4096), to: "log.1")
        let report = try scratch.directories.truncate(after: zxid(2))
        #expect(report.cutFiles == [scratch.file("log.1")])
        #expect(scratch.read("log.1") == logBytes([1, 2]))
    }

    @Test func `of two records with one zxid both stay`() throws {
        let scratch = Scratch()
        try scratch.addSnapshot(0)
        scratch.addLog([1, 2, 2, 3])
        #expect(failure(scratch, after: 2) == nil)
        #expect(scratch.read("log.1") == logBytes([1, 2, 2]))
    }

    @Test func `logs that overlap are all cut`() throws {
        let scratch = Scratch()
        try scratch.addSnapshot(0)
        scratch.addLog([1, 2, 3, 4])
        scratch.addLog([3, 4, 5])
        let report = try scratch.directories.truncate(after: zxid(3))
        #expect(report.cutFiles == [scratch.file("log.3"), scratch.file("log.1")])
        #expect(scratch.read("log.1") == logBytes([1, 2, 3]))
        #expect(scratch.read("log.3") == logBytes([3]))
    }

    @Test func `a compressed snapshot is removed like a plain one`() throws {
        let scratch = Scratch()
        try scratch.addSnapshot(0)
        let tree = RecordedTree(zxid: zxid(3), count: 3, dataBytes: 8)
        _ = try tree.write(to: scratch.version, options: .init(compression: .gzip, fsync: false))
        scratch.addLog([1, 2, 3, 4])
        #expect(failure(scratch, after: 3) == nil)
        #expect(scratch.names == ["log.1", "snapshot.0", "snapshot.3.gz"])
        #expect(failure(scratch, after: 2) == nil)
        #expect(scratch.names == ["log.1", "snapshot.0"])
    }

    @Test func `logs in a directory of their own are cut there`() throws {
        let scratch = Scratch()
        let logs = scratch.directory.path.appending("logs")
        let directories = try DataDirectories(dataDir: scratch.dataDir, dataLogDir: logs)
        try scratch.addSnapshot(0)
        try scratch.addSnapshot(4)
        Files.write(logBytes([1, 2, 3]), to: directories.logs.appending("log.1"))
        Files.write(logBytes([4, 5]), to: directories.logs.appending("log.4"))
        _ = try directories.truncate(after: zxid(2))
        #expect(scratch.names == ["snapshot.0"])
        #expect(Files.names(directories.logs) == ["log.1"])
        #expect(Files.read(directories.logs.appending("log.1")) == logBytes([1, 2]))
    }

    @Test(arguments: Fixture.all.filter(\.expectation.starts))
    func `Apache's directories are cut at each of their txns`(fixture: Fixture) throws {
        let whole = try restore(Scratch(fixture.name)).tree
        let zxids = whole.replayedZxids
        for index in stride(from: 0, to: zxids.count, by: max(1, zxids.count / 12)) {
            let scratch = Scratch(fixture.name)
            _ = try scratch.directories.truncate(after: zxids[index])
            let (tree, report) = try restore(scratch)
            #expect(report.lastZxid == zxids[index])
            #expect(tree.hasSameSnapshot(as: whole))
            #expect(tree.txns == Array(whole.txns[...index]))
        }
        // Before the newest snapshot: an older one and more of the logs.
        let older = fixture.files("snapshot.").compactMap { SnapshotFileName($0)?.zxid }
        for zxid in older where zxid > .zero {
            let scratch = Scratch(fixture.name)
            let before = Zxid(rawValue: zxid.rawValue - 1)
            guard failure(scratch, after: before.rawValue) == nil else { continue }
            #expect(try restore(scratch).report.lastZxid == before)
            #expect(try scratch.directories.snapshotFiles().allSatisfy { $0.name.zxid <= before })
        }
    }

    // MARK: Within one process

    @Test func `logging, truncating and restoring take turns under one lock`() throws {
        let scratch = Scratch()
        try scratch.addSnapshot(0)
        let directories = try scratch.directories
        let lock = try directories.lock()
        var tree = RecordedTree()
        _ = try Recovery.restore(directories, into: &tree)
        let log = TxnLog(directory: directories.logs, options: .init(preallocBytes: 4096)) {}
        var history: [[UInt8]] = []
        for round in 1...20 {
            // Each round has other txns under the zxids of the one before.
            for _ in 0..<round % 5 + 1 {
                let txn = txnBytes(zxid: Int64(history.count + 1), extra: round)
                let batch = LogBatch()
                batch.appendTxn(txn.span, zxid: zxid(Int64(history.count + 1)))
                history.append(txn)
                log.append(batch)
                if round % 3 == 0 { log.roll() }
            }
            log.settle()
            if round % 4 == 0 {
                try scratch.addSnapshot(Int64(history.count))
            }
            let kept = history.count - round % 3
            history.removeLast(round % 3)
            _ = try directories.truncate(after: zxid(Int64(kept)))
            tree.reset()
            let report = try Recovery.restore(directories, into: &tree)
            #expect(report.lastZxid == zxid(Int64(kept)))
            #expect(tree.txns == Array(history[Int(tree.zxid.rawValue)...]))
        }
        log.close()
        _ = consume lock
    }
}

/// Counts calls down.
private final class Countdown: Sendable {
    private let left: Atomic<Int>

    init(_ count: Int) { left = Atomic(count) }

    /// Whether all calls that were to succeed are over.
    func isOver() -> Bool { left.subtract(1, ordering: .relaxed).oldValue <= 0 }
}
