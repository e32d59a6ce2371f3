import Glibc
import Storage
import StorageTestSupport
import SystemPackage
import Testing
import Vocabulary

@Suite struct EpochFilesTests {
    private let scratch = Scratch()
    private var files: EpochFiles { EpochFiles(directory: scratch.version) }

    private func write(_ text: String, to name: String) {
        scratch.write(Array(text.utf8), to: name)
    }
    private func text(_ name: String) -> String {
        String(decoding: scratch.read(name), as: UTF8.self)
    }
    private func zxid(epoch: Int64) -> Zxid { Zxid(epoch: epoch, counter: 7) }

    /// Why the start is refused, and that it changes nothing.
    private func refusal(lastZxid: Zxid) -> StorageError? {
        let before = scratch.contents
        do throws(StorageError) {
            _ = try files.load(lastZxid: lastZxid)
            return nil
        } catch {
            #expect(scratch.contents == before)
            return error
        }
    }

    @Test(arguments: ["3.9.3-quorum-follower", "3.9.3-quorum-truncated"])
    func `Apache's files are read, and written again byte for byte`(name: String) throws {
        let scratch = Scratch(name)
        let before = scratch.contents
        let files = EpochFiles(directory: scratch.version)
        let epochs = try files.load(lastZxid: try restore(scratch).report.lastZxid)
        #expect(Array(String(epochs.accepted).utf8) == before["acceptedEpoch"])
        #expect(Array(String(epochs.current).utf8) == before["currentEpoch"])
        try files.saveAccepted(epochs.accepted)
        try files.saveCurrent(epochs.current)
        #expect(scratch.contents == before)
    }

    @Test func `missing files are those of the last zxid, and written`() throws {
        #expect(try files.load(lastZxid: zxid(epoch: 5)) == (5, 5))
        #expect(text("acceptedEpoch") == "5")
        #expect(text("currentEpoch") == "5")
        #expect(try files.load(lastZxid: zxid(epoch: 5)) == (5, 5))
    }

    @Test(arguments: [Zxid.none, .zero])
    func `a database without txns is of epoch 0`(zxid: Zxid) throws {
        #expect(try files.load(lastZxid: zxid) == (0, 0))
        #expect(text("currentEpoch") == "0")
    }

    @Test func `an epoch that Apache gave a database that nobody meant to be empty is none`() throws
    {
        write("-1", to: "acceptedEpoch")
        write("-1", to: "currentEpoch")
        #expect(try files.load(lastZxid: .none) == (0, 0))
        #expect(text("acceptedEpoch") == "0")
    }

    @Test func `what was saved is loaded`() throws {
        _ = try files.load(lastZxid: .zero)
        try files.saveAccepted(4)
        #expect(try files.load(lastZxid: .zero) == (4, 0))
        try files.saveCurrent(4)
        #expect(try files.load(lastZxid: zxid(epoch: 3)) == (4, 4))
        try files.saveAccepted(Int64(Int32.max))
        #expect(try files.load(lastZxid: zxid(epoch: 4)) == (Int64(Int32.max), 4))
        #expect(scratch.names == ["acceptedEpoch", "currentEpoch"])
    }

    @Test(arguments: ["\n", "\r\n", "\n\n"])
    func `a line's end that an editor left is nothing`(end: String) throws {
        write("12" + end, to: "acceptedEpoch")
        write("11" + end, to: "currentEpoch")
        #expect(try files.load(lastZxid: zxid(epoch: 11)) == (12, 11))
    }

    @Test(arguments: [
        "", "\n", "x", "0x1", "1 2", "1.0", "-2", "2147483648",
        "99999999999999999999999999999999999",
    ])
    func `what is no epoch is refused`(content: String) throws {
        write("3", to: "acceptedEpoch")
        write(content, to: "currentEpoch")
        let error = try #require(refusal(lastZxid: .zero))
        #expect(error.file == scratch.file("currentEpoch"))
        guard case .notAnEpoch = error.reason else {
            Issue.record("\(error)")
            return
        }
        #expect(!error.description.contains("\n"))
        write("3", to: "currentEpoch")
        write(content, to: "acceptedEpoch")
        #expect(refusal(lastZxid: .zero)?.file == scratch.file("acceptedEpoch"))
    }

    // MARK: Epochs that do not fit

    @Test func `an accepted epoch below the current one is refused`() throws {
        write("3", to: "acceptedEpoch")
        write("4", to: "currentEpoch")
        let error = try #require(refusal(lastZxid: .zero))
        #expect(error.reason == .acceptedEpochBehind(3, currentEpoch: 4))
        Files.remove(scratch.file("acceptedEpoch"))
        #expect(
            refusal(lastZxid: zxid(epoch: 2))?.reason == .acceptedEpochBehind(2, currentEpoch: 4))
    }

    /// 1. A learner of epoch 6 takes over a history whose last txn is of epoch 5; its own epoch is 4.
    /// 2. The power fails when the history is on the disk and `currentEpoch` is not.
    /// 3. The start must find its way: nobody but the disk knows that history.
    @Test func `a current epoch below that of the last txn is raised to it`() throws {
        write("6", to: "acceptedEpoch")
        write("4", to: "currentEpoch")
        #expect(try files.load(lastZxid: zxid(epoch: 4)) == (6, 4))
        #expect(try files.load(lastZxid: zxid(epoch: 5)) == (6, 5))
        #expect(text("currentEpoch") == "5")
    }

    @Test func `a last txn of an epoch that was never accepted is refused`() {
        write("4", to: "acceptedEpoch")
        write("4", to: "currentEpoch")
        let error = refusal(lastZxid: zxid(epoch: 5))
        #expect(error?.reason == .acceptedEpochBehind(4, currentEpoch: 5))
        #expect(error?.file == scratch.file("acceptedEpoch"))
    }

    @Test func `an interrupted replacement is not looked at`() throws {
        write("6", to: "acceptedEpoch")
        write("4", to: "currentEpoch")
        write("6", to: "currentEpoch.tmp")
        #expect(try files.load(lastZxid: zxid(epoch: 5)) == (6, 5))
        #expect(scratch.names == ["acceptedEpoch", "currentEpoch"])
    }

    // MARK: The disk

    @Test func `a crash leaves the old epoch or the new one, and the new one after the call`()
        throws
    {
        for save in [EpochFiles.saveAccepted, EpochFiles.saveCurrent] {
            let scratch = Scratch()
            _ = try EpochFiles(directory: scratch.version).load(lastZxid: zxid(epoch: 9))
            try EpochFiles(directory: scratch.version).saveAccepted(12)
            let simulator = CrashSimulator(scratch)
            let files = EpochFiles(directory: scratch.version, calls: simulator.calls)
            let before = try files.load(lastZxid: zxid(epoch: 9))
            try save(files)(12)
            let after = try files.load(lastZxid: zxid(epoch: 9))
            #expect(simulator.changes.count == 4)
            for crash in simulator.crashes {
                let left = Scratch(contents: crash)
                let found = try EpochFiles(directory: left.version).load(lastZxid: zxid(epoch: 9))
                #expect(found == before || found == after)
            }
            #expect(simulator.outcomes == [scratch.contents])
            #expect(simulator.changes.last == .sync("version-2"))
        }
    }

    @Test func `a full disk leaves the old epoch`() throws {
        _ = try files.load(lastZxid: zxid(epoch: 2))
        let full = FakeDisk(write: { _, _ in -Int(ENOSPC) })
        let files = EpochFiles(directory: scratch.version, calls: full.calls)
        #expect(throws: StorageError.self) { try files.saveAccepted(3) }
        #expect(try files.load(lastZxid: zxid(epoch: 2)) == (2, 2))
    }

    @Test func `what cannot be synced is not renamed`() throws {
        _ = try files.load(lastZxid: zxid(epoch: 2))
        var calls = DiskCalls.system
        calls.sync = { _ in -EIO }
        let failing = EpochFiles(directory: scratch.version, calls: calls)
        let error = #expect(throws: StorageError.self) { try failing.saveCurrent(3) }
        #expect(error?.reason == .system(.sync, errno: EIO))
        #expect(try files.load(lastZxid: zxid(epoch: 2)) == (2, 2))
    }
}
