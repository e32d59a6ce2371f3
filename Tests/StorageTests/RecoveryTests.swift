import Jute
import Storage
import StorageFormat
import StorageTestSupport
import SystemPackage
import Testing
import Vocabulary

@Suite struct RecoveryOfApacheData {
    @Test func `there are captured directories`() {
        #expect(Fixture.all.count >= 24)
    }

    @Test(arguments: Fixture.all)
    func `starts where Apache starts, at the same zxid`(fixture: Fixture) throws {
        let scratch = Scratch(fixture.name)
        let expectation = fixture.expectation
        guard expectation.starts else {
            #expect(refusal(scratch) != nil)
            return
        }
        let (tree, report) = try restore(scratch)
        #expect(report.lastZxid.rawValue == expectation.lastZxid)
        #expect(tree.lastProcessedZxid == report.lastZxid)
        #expect(report.txnsReplayed == tree.txns.count)
        #expect(report.txnsOutOfOrder == 0)
        #expect(report.rejectedSnapshots.isEmpty)
        #expect(tree.finishedSnapshots == 1)
        #expect(tree.replayedZxids.allSatisfy { $0 > tree.zxid })
        #expect(tree.replayedZxids == tree.replayedZxids.sorted())
        #expect(report.tornTails.isEmpty != fixture.name.contains("torn"))
        // Once more gives the same: reading changed nothing that counts.
        let again = try restore(scratch)
        #expect(again.report.lastZxid == report.lastZxid)
        #expect(again.report.tornTails == report.tornTails)
    }

    @Test func `the newest snapshot is taken and only the txns behind it`() throws {
        let (tree, report) = try restore(Scratch("3.9.3-rotated"))
        #expect(report.snapshotZxid == Zxid(rawValue: 0x42))
        #expect(report.snapshot?.lastComponent?.string == "snapshot.42")
        #expect(
            report.logs.compactMap { $0.lastComponent?.string } == [
                "log.3d", "log.64", "log.81", "log.a2", "log.c0", "log.dd",
            ])
        #expect(tree.replayedZxids == (0x43...0xf8).map { Zxid(rawValue: $0) })
        #expect(tree.restoredDigest?.zxid == Zxid(rawValue: 0x42))
        #expect(report.snapshotNodes == tree.nodes.count)
    }

    @Test(arguments: ["3.8.0", "3.9.3"])
    func `compressed snapshots are read`(version: String) throws {
        let gzip = try restore(Scratch("\(version)-gzip"))
        let snappy = try restore(Scratch("\(version)-snappy"))
        #expect(gzip.tree.nodes.count > 10)
        #expect(snappy.tree.nodes.count > 10)
        #expect(gzip.report.snapshot?.extension == "gz")
        #expect(snappy.report.snapshot?.extension == "snappy")
        #expect(snappy.tree.nodes.contains { $0.path == Array("/zookeeper/quota".utf8) })
    }

    @Test func `a snapshot of an empty database has no digest to compare`() throws {
        #expect(try restore(Scratch("3.9.3-basic")).tree.restoredDigest == nil)
        // Sent by the leader: zxid 0 in the section.
        let follower = try restore(Scratch("3.9.3-quorum-follower"))
        #expect(follower.report.snapshotZxid == Zxid(rawValue: 0x1_0000_0018))
        #expect(follower.tree.restoredDigest == nil)
    }

    @Test(arguments: [
        ("3.9.3-bad-crc-last", "log.1"), ("3.9.3-bad-crc-middle", "log.1"),
        ("3.9.3-short-header-last-log", "log.1000"),
    ])
    func `damage is refused with file, place and way out`(name: String, file: String) throws {
        let error = try #require(refusal(Scratch(name)))
        #expect(error.file.lastComponent?.string == file)
        #expect(error.offset != nil)
        #expect(error.description.contains(file))
        #expect(error.description.contains("mov"))
        #expect(!error.description.contains("\n"))
    }

    @Test func `an empty last log is removed`() throws {
        let scratch = Scratch("3.9.3-empty-last-log")
        let report = try restore(scratch).report
        #expect(report.removedFiles.map(\.lastComponent?.string) == ["log.1000"])
        #expect(scratch.names == ["log.1", "snapshot.0"])
    }

    @Test func `a torn tail is reported and left as it is`() throws {
        let scratch = Scratch("3.9.3-torn-body")
        let before = scratch.read("log.1")
        let report = try restore(scratch).report
        let tail = try #require(report.tornTails.first)
        #expect(tail.file == scratch.file("log.1"))
        #expect(tail.isInNewestLog)
        let last = try #require(before.lastIndex { $0 != 0 })
        #expect(Int(tail.offset) + tail.bytes == last + 1)
        #expect(scratch.read("log.1") == before)
    }

    @Test func `the zeros behind a torn record do not count as its bytes`() throws {
        let scratch = Scratch("3.9.3-torn-zero-tail-body")
        let tail = try #require(try restore(scratch).report.tornTails.first)
        let bytes = scratch.read("log.1")
        let last = try #require(bytes.lastIndex { $0 != 0 })
        #expect(Int(tail.offset) + tail.bytes == last + 1)
        #expect(last + 1 < bytes.count)
    }

    @Test func `logs without a snapshot are refused unless that is trusted`() throws {
        let scratch = Scratch("3.9.3-no-snapshot")
        #expect(refusal(scratch)?.reason == .logsWithoutSnapshot)
        let (tree, report) = try restore(scratch, options: .init(trustEmptySnapshot: true))
        #expect(report.lastZxid == Zxid(rawValue: 0x2f))
        #expect(tree.txns.count == 0x2f)
        #expect(tree.finishedSnapshots == 0)
    }
}

/// The last record of a log, cut and garbled at each of its bytes.
@Suite struct RecoveryOfTheLastRecord {
    private let scratch = Scratch("3.9.3-unpadded")
    private let whole: [UInt8]
    /// Where the last record begins.
    private let start: Int

    init() {
        whole = scratch.read("log.1")
        var start = LogFormat.headerBytes
        var next = start
        while next < whole.count {
            start = next
            let length = whole[next + 8..<next + 12].reduce(0) { $0 << 8 | Int($1) }
            next += 12 + length + 1
        }
        self.start = start
        precondition(next == whole.count, "the log ends with its last record")
    }

    @Test func `cut at every byte, the txns before it remain`() throws {
        for count in start..<whole.count {
            scratch.write(Array(whole.prefix(count)), to: "log.1")
            let report = try restore(scratch).report
            #expect(report.lastZxid == Zxid(rawValue: 0x2e), "cut at \(count)")
            // The checksum's high half is zero, as padding is.
            #expect(report.tornTails.isEmpty == (count <= start + 4), "cut at \(count)")
        }
        scratch.write(whole, to: "log.1")
        #expect(try restore(scratch).report.lastZxid == Zxid(rawValue: 0x2f))
    }

    @Test func `cut at every byte in front of zeros, it is dropped or refused and never replayed`()
    {
        for count in start..<whole.count {
            let zeros = [UInt8](repeating: 0, count: 4096)
            scratch.write(Array(whole.prefix(count)) + zeros, to: "log.1")
            // The record's last byte is never zero, so no cut leaves it whole.
            #expect(refusal(scratch) == nil, "zeros from \(count) on")
            let report = try? restore(scratch).report
            #expect(report?.lastZxid == Zxid(rawValue: 0x2e), "zeros from \(count) on")
        }
    }

    @Test func `garbled at every byte, it is never replayed`() throws {
        let end = whole.count - 1
        for index in start..<whole.count {
            for mask in [UInt8(1), 0x80, 0xff] {
                var garbled = whole
                garbled[index] ^= mask
                scratch.write(garbled, to: "log.1")
                let field = index - start
                let context: Comment = "mask \(mask) at byte \(field)"
                let error = refusal(scratch)
                if let error {
                    #expect(error.offset == Int64(start), context)
                    #expect(error.file == scratch.file("log.1"), context)
                } else {
                    #expect(
                        try restore(scratch).report.lastZxid == Zxid(rawValue: 0x2e), context)
                }
                switch field {
                case 0..<8:
                    // A checksum of a whole record.
                    guard case .log(.checksumMismatch) = error?.reason else {
                        Issue.record("a garbled checksum is refused: \(context)")
                        continue
                    }
                case 8..<12:
                    // A length: negative or endless is refused, any other finds no end byte.
                    let length = garbled[start + 8..<start + 12].reduce(UInt32(0)) {
                        $0 << 8 | UInt32($1)
                    }
                    if length > 2_097_150 {
                        let signed = Int32(bitPattern: length)
                        #expect(
                            error?.reason == .log(.invalidLength(signed, max: 2_097_150)), context)
                    } else {
                        #expect(error == nil, context)
                    }
                default:
                    if index == end {
                        #expect(error == nil, context)
                        continue
                    }
                    guard case .log(.checksumMismatch) = error?.reason else {
                        Issue.record("a garbled txn is refused: \(context)")
                        continue
                    }
                }
            }
        }
    }
}

@Suite struct RecoveryRules {
    private let scratch = Scratch()

    private func zxids(_ range: ClosedRange<Int64>) -> [Zxid] { range.map(Zxid.init(rawValue:)) }

    private func damageSnapshot(_ name: String) {
        var bytes = scratch.read(name)
        bytes[40] ^= 1
        scratch.write(bytes, to: name)
    }

    @Test func `a torn record in an older log hides only the rest of that log`() throws {
        try scratch.addSnapshot(0)
        let first = logBytes([1, 2, 3])
        scratch.write(Array(first.dropLast(3)), to: "log.1")
        scratch.addLog([3, 4])
        let (tree, report) = try restore(scratch)
        #expect(tree.replayedZxids == zxids(1...4))
        #expect(report.tornTails.count == 1)
        #expect(report.tornTails.first?.isInNewestLog == false)
        #expect(report.lastZxid == Zxid(rawValue: 4))
    }

    @Test func `what follows a torn record in its file is not read`() throws {
        try scratch.addSnapshot(0)
        var bytes = logBytes([1, 2, 3])
        let recordCount = (bytes.count - 16) / 3
        bytes[16 + 2 * recordCount - 1] = 0
        scratch.write(bytes, to: "log.1")
        #expect(try restore(scratch).tree.replayedZxids == zxids(1...1))
    }

    @Test func `the log before the snapshot is read for the txns behind it`() throws {
        try scratch.addSnapshot(4)
        scratch.addLog([1, 2])
        scratch.addLog([3, 4, 5, 6])
        scratch.addLog([7])
        let (tree, report) = try restore(scratch)
        #expect(tree.replayedZxids == zxids(5...7))
        #expect(report.logs == [scratch.file("log.3"), scratch.file("log.7")])
    }

    @Test func `a log that begins with the snapshot's txn is the first one read`() throws {
        try scratch.addSnapshot(3)
        scratch.addLog([1, 2])
        scratch.addLog([3, 4])
        let (tree, report) = try restore(scratch)
        #expect(report.logs == [scratch.file("log.3")])
        #expect(tree.replayedZxids == zxids(4...4))
    }

    @Test func `an older log that is not needed may be damaged`() throws {
        try scratch.addSnapshot(4)
        scratch.write([1, 2, 3], to: "log.1")
        scratch.addLog([3, 4, 5])
        #expect(try restore(scratch).tree.replayedZxids == zxids(5...5))
    }

    @Test func `two records may have one zxid`() throws {
        try scratch.addSnapshot(0)
        scratch.addLog([1, 2, 2, 3])
        #expect(try restore(scratch).tree.replayedZxids.map(\.rawValue) == [1, 2, 2, 3])
    }

    @Test func `txns that come again in a later log are not applied again`() throws {
        try scratch.addSnapshot(0)
        scratch.addLog([1, 2, 3, 4])
        scratch.addLog([3, 4, 5])
        let (tree, report) = try restore(scratch)
        #expect(tree.replayedZxids.map(\.rawValue) == [1, 2, 3, 4, 4, 5])
        #expect(report.txnsOutOfOrder == 1)
    }

    @Test func `a log of only a header is fine anywhere`() throws {
        try scratch.addSnapshot(0)
        scratch.write(logBytes([]), to: "log.1")
        scratch.addLog([1, 2])
        scratch.write(logBytes([]), to: "log.3")
        #expect(try restore(scratch).tree.replayedZxids == zxids(1...2))
    }

    @Test func `an empty log that is not the last is refused`() throws {
        try scratch.addSnapshot(0)
        scratch.write([], to: "log.1")
        scratch.addLog([2])
        #expect(refusal(scratch)?.reason == .log(.empty))
        #expect(scratch.names.contains("log.1"))
    }

    @Test(arguments: 1...15)
    func `a log of a part of a header is refused`(count: Int) throws {
        try scratch.addSnapshot(0)
        scratch.write(Array(logBytes([]).prefix(count)), to: "log.1")
        #expect(refusal(scratch)?.reason == .log(.shortHeader(bytes: count)))
    }

    @Test func `a wrong magic is refused`() throws {
        try scratch.addSnapshot(0)
        scratch.write([UInt8](repeating: 0, count: 4096), to: "log.1")
        #expect(refusal(scratch)?.reason == .log(.notALog(magic: 0)))
    }

    @Test func `records larger than a read and the records behind them are found`() throws {
        try scratch.addSnapshot(0)
        var bytes = logBytes([1])
        bytes += recordBytes(txnBytes(zxid: 2, extra: 2_000_000))
        bytes += recordBytes(txnBytes(zxid: 3, extra: 1_500_000))
        bytes += (4...5000).flatMap { recordBytes(txnBytes(zxid: $0)) }
        scratch.write(bytes, to: "log.1")
        let (tree, report) = try restore(scratch)
        #expect(tree.replayedZxids == zxids(1...5000))
        #expect(tree.txns[1].count == 2_000_036)
        #expect(report.logBytes == bytes.count)
    }

    @Test func `a txn over the limit is refused and a raised limit takes it`() throws {
        try scratch.addSnapshot(0)
        scratch.write(logBytes([]) + recordBytes(txnBytes(zxid: 1, extra: 3_000_000)), to: "log.1")
        #expect(
            refusal(scratch)?.reason == .log(.invalidLength(3_000_036, max: 2_097_150)))
        let options = RecoveryOptions(limits: .init(fieldBytesMax: 4_000_000))
        #expect(try restore(scratch, options: options).tree.txns.count == 1)
    }

    // MARK: Snapshots

    @Test func `a damaged snapshot makes way for the one before it`() throws {
        for zxid in [0, 2, 4] { try scratch.addSnapshot(Int64(zxid)) }
        scratch.addLog([1, 2])
        scratch.addLog([3, 4, 5])
        damageSnapshot("snapshot.4")
        let (tree, report) = try restore(scratch)
        #expect(report.snapshotZxid == Zxid(rawValue: 2))
        #expect(report.rejectedSnapshots.map(\.file) == [scratch.file("snapshot.4")])
        #expect(tree.resets == 1)
        #expect(tree.nodes.count == 4)
        #expect(tree.replayedZxids == zxids(3...5))
    }

    @Test func `the newest snapshot cut anywhere makes way for the one before it`() throws {
        try scratch.addSnapshot(2)
        try scratch.addSnapshot(4)
        scratch.addLog([1, 2, 3, 4, 5])
        let whole = scratch.read("snapshot.4")
        let seals = [54, 21, 0].map { whole.count - $0 }
        for count in 0...whole.count {
            scratch.write(Array(whole.prefix(count)), to: "snapshot.4")
            let report = try restore(scratch).report
            #expect(report.snapshotZxid == Zxid(rawValue: seals.contains(count) ? 4 : 2))
            #expect(report.lastZxid == Zxid(rawValue: 5))
        }
    }

    @Test func `a fallback over txns that no log has is refused`() throws {
        let scratch = Scratch("3.9.3-quorum-follower")
        var bytes = scratch.read("snapshot.100000018")
        bytes[40] ^= 1
        scratch.write(bytes, to: "snapshot.100000018")
        let error = try #require(refusal(scratch))
        #expect(error.reason == .txnsMissing(upTo: Zxid(rawValue: 0x1_0000_0018)))
        #expect(error.file == scratch.file("snapshot.100000018"))
    }

    @Test func `snapshots of which none can be read are refused`() throws {
        try scratch.addSnapshot(0)
        try scratch.addSnapshot(2)
        scratch.addLog([1, 2])
        damageSnapshot("snapshot.0")
        damageSnapshot("snapshot.2")
        #expect(refusal(scratch)?.reason == .noUsableSnapshot(rejected: 2))
        // Not even plausible: still not the same as none at all.
        scratch.write([1], to: "snapshot.0")
        scratch.write([1], to: "snapshot.2")
        #expect(refusal(scratch)?.reason == .noUsableSnapshot(rejected: 2))
    }

    @Test func `a damaged compressed snapshot makes way for the one before it`() throws {
        for name in ["3.9.3-gzip", "3.9.3-snappy"] {
            let scratch = Scratch(name)
            let directories = try scratch.directories
            let newest = try #require(try directories.snapshotFiles().first)
            let whole = Files.read(newest.path)
            let tree = try restore(scratch).tree
            // Behind the headers, so that the file is still worth a try.
            for index in stride(from: 24, to: whole.count, by: 7) {
                var bytes = whole
                bytes[index] ^= 0x41
                Files.write(bytes, to: newest.path)
                let read = try restore(scratch)
                #expect(read.report.lastZxid == Zxid(rawValue: 0x2f), "\(name) byte \(index)")
                // Some codes have two spellings; the sum of what comes out has the last word.
                #expect(
                    read.report.snapshot != newest.path || read.tree.hasSameSnapshot(as: tree),
                    "\(name) byte \(index)")
            }
            for count in stride(from: 0, to: whole.count, by: 11) {
                Files.write(Array(whole.prefix(count)), to: newest.path)
                #expect(try restore(scratch).report.snapshot != newest.path)
            }
        }
    }

    @Test func `an interrupted snapshot is removed at the start`() throws {
        try scratch.addSnapshot(0)
        scratch.write([1, 2, 3], to: "snapshot.5.tmp")
        scratch.write([1, 2, 3], to: "acceptedEpoch.tmp")
        let report = try restore(scratch).report
        #expect(report.removedFiles == [scratch.file("snapshot.5.tmp")])
        #expect(scratch.names == ["acceptedEpoch.tmp", "snapshot.0"])
    }

    // MARK: Recent txns

    private func recent(_ count: Int) throws -> [[UInt8]] {
        let report = try restore(scratch, options: .init(recentTxnsMax: count)).report
        var txns: [[UInt8]] = []
        for batch in report.recent {
            #expect(!batch.isEmpty)
            #expect(batch.firstZxid == batch.zxid(at: 0))
            batch.forEachTxn { txns.append(Array($0)) }
        }
        return txns
    }

    @Test func `the last replayed txns are kept, and little more`() throws {
        try scratch.addSnapshot(5)
        scratch.addLog(Array(1...300))
        scratch.addLog(Array(301...1234))
        let replayed = try restore(scratch).tree.txns
        #expect(replayed.count == 1229)
        for count in [1, 49, 50, 51, 100, 500, 1228, 1229] {
            let kept = try recent(count)
            #expect(kept.count >= count && kept.count < count + 100)
            #expect(kept == replayed.suffix(kept.count))
        }
        #expect(try recent(5000) == replayed)
        #expect(try recent(0) == [])
        #expect(try restore(scratch).report.recent.isEmpty)
    }

    @Test func `what is kept has no gap`() throws {
        try scratch.addSnapshot(0)
        let epoch = Zxid(epoch: 1, counter: 0).rawValue
        let zxids = [1, 2, 4, 5, 5, 6, epoch + 1, epoch + 2]
        scratch.addLog(zxids)
        #expect(try recent(500) == zxids.dropFirst(2).map { txnBytes(zxid: $0) })
        scratch.addLog([2 * epoch + 3, 2 * epoch + 4])
        #expect(try recent(500) == [2 * epoch + 3, 2 * epoch + 4].map { txnBytes(zxid: $0) })
    }

    @Test func `nothing is kept when nothing is replayed`() throws {
        try scratch.addSnapshot(3)
        scratch.addLog([1, 2, 3])
        #expect(try recent(500) == [])
    }

    // MARK: Empty databases

    @Test func `nothing at all is an empty database`() throws {
        let report = try restore(scratch).report
        #expect(report.isEmptyDatabase)
        #expect(report.lastZxid == .zero)
        #expect(report.snapshot == nil)
    }

    @Test func `an empty database that nobody meant has no zxid`() throws {
        let options = RecoveryOptions(autocreate: false)
        #expect(try restore(scratch, options: options).report.lastZxid == .none)
        let marker = scratch.dataDir.appending("initialize")
        Files.write([], to: marker)
        let report = try restore(scratch, options: options).report
        #expect(report.lastZxid == .zero)
        #expect(!Files.exists(marker))
    }

    @Test func `a first start that was interrupted left an empty database`() throws {
        scratch.write([0x5a, 0x4b], to: "snapshot.0")
        #expect(try restore(scratch).report.isEmptyDatabase)
        scratch.write([0x5a, 0x4b], to: "snapshot.7")
        #expect(refusal(scratch)?.reason == .noUsableSnapshot(rejected: 2))
    }

    @Test func `logs in a directory of their own are found`() throws {
        let logDir = scratch.directory.path.appending("logs")
        try scratch.addSnapshot(0)
        Files.makeDirectory(logDir.appending("version-2"))
        Files.write(logBytes([1, 2]), to: logDir.appending("version-2").appending("log.1"))
        let (tree, report) = try restore(scratch.dataDir, dataLogDir: logDir)
        #expect(tree.replayedZxids == zxids(1...2))
        #expect(report.lastZxid == Zxid(rawValue: 2))
    }
}
