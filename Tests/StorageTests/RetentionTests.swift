import Storage
import StorageFormat
import StorageTestSupport
import SystemPackage
import Testing
import Vocabulary

@Suite struct RetentionTests {
    private let scratch = Scratch()

    private func purge(_ count: Int = 3) throws -> [String] {
        try Retention.purge(try scratch.directories, retainCount: count)
            .compactMap { $0.lastComponent?.string }
    }

    @Test func `keeps the newest snapshots and every log from the oldest of them on`() throws {
        for zxid in [0x0, 0x10, 0x20, 0x30, 0x40] { try scratch.addSnapshot(Int64(zxid)) }
        for zxid in [0x1, 0x11, 0x1c, 0x25, 0x41] { scratch.addLog([Int64(zxid)]) }
        // 1c is the newest log that is not newer than snapshot.20: it may reach beyond it.
        #expect(try purge().sorted() == ["log.1", "log.11", "snapshot.0", "snapshot.10"])
        #expect(
            scratch.names == [
                "log.1c", "log.25", "log.41", "snapshot.20", "snapshot.30", "snapshot.40",
            ])
        #expect(try purge() == [])
    }

    @Test func `a log that begins with the snapshot's zxid is the oldest one needed`() throws {
        for zxid in [0x20, 0x30, 0x40] { try scratch.addSnapshot(Int64(zxid)) }
        for zxid in [0x11, 0x20, 0x21] { scratch.addLog([Int64(zxid)]) }
        #expect(try purge() == ["log.11"])
    }

    @Test func `logs newer than all snapshots stay when there is none before them`() throws {
        for zxid in [0x20, 0x30, 0x40] { try scratch.addSnapshot(Int64(zxid)) }
        for zxid in [0x21, 0x31] { scratch.addLog([Int64(zxid)]) }
        #expect(try purge() == [])
    }

    @Test func `fewer snapshots than are to be kept all stay`() throws {
        for zxid in [0x10, 0x20] { try scratch.addSnapshot(Int64(zxid)) }
        for zxid in [0x1, 0x5, 0x11] { scratch.addLog([Int64(zxid)]) }
        #expect(try purge(5) == ["log.1"])
        #expect(scratch.names == ["log.11", "log.5", "snapshot.10", "snapshot.20"])
    }

    @Test func `without a valid snapshot nothing is removed`() throws {
        scratch.write([1, 2, 3], to: "snapshot.10")
        scratch.addLog([1])
        scratch.addLog([0x11])
        #expect(try purge() == [])
        #expect(scratch.names == ["log.1", "log.11", "snapshot.10"])
    }

    @Test func `invalid snapshots do not count and go with the old ones`() throws {
        for zxid in [0x10, 0x20, 0x30, 0x40] { try scratch.addSnapshot(Int64(zxid)) }
        scratch.write([1, 2, 3], to: "snapshot.35")
        scratch.write([1, 2, 3], to: "snapshot.50")
        scratch.write([1, 2, 3], to: "snapshot.5")
        scratch.write([1, 2, 3], to: "snapshot.25.gz")
        for zxid in [0x1, 0x18, 0x41] { scratch.addLog([Int64(zxid)]) }
        #expect(try purge().sorted() == ["log.1", "snapshot.10", "snapshot.5"])
    }

    @Test func `compressed snapshots count like plain ones`() throws {
        let gzip = SnapshotOptions(compression: .gzip, fsync: false)
        for zxid in [0x10, 0x20, 0x30, 0x40] {
            let tree = RecordedTree(zxid: Zxid(rawValue: Int64(zxid)), count: 1, dataBytes: 1)
            _ = try tree.write(to: scratch.version, options: gzip)
        }
        #expect(try purge() == ["snapshot.10.gz"])
    }

    @Test func `directories and unknown names are not touched`() throws {
        for zxid in [0x10, 0x20, 0x30, 0x40] { try scratch.addSnapshot(Int64(zxid)) }
        scratch.addLog([0x9])
        scratch.addLog([0x10])
        for name in ["log.1.bak", "snapshot.1.tmp", "currentEpoch", "log.x"] {
            scratch.write([1], to: name)
        }
        Files.makeDirectory(scratch.file("log.2"))
        Files.makeDirectory(scratch.file("snapshot.3"))
        #expect(try purge().sorted() == ["log.9", "snapshot.10"])
        #expect(scratch.names.count == 3 + 1 + 4 + 2)
    }

    @Test func `what is kept is enough to restore from the oldest snapshot kept`() throws {
        let scratch = Scratch("3.9.3-rotated")
        let before = try restore(scratch).report
        // log.1 reaches to 1a.
        let removed = try Retention.purge(try scratch.directories, retainCount: 3)
        #expect(removed == [scratch.file("snapshot.0")])
        #expect(try restore(scratch).report.lastZxid == before.lastZxid)
        for name in ["snapshot.42", "snapshot.32"] { Files.remove(scratch.file(name)) }
        let oldest = try restore(scratch)
        #expect(oldest.report.snapshotZxid == Zxid(rawValue: 0x19))
        #expect(oldest.report.lastZxid == before.lastZxid)
        #expect(oldest.tree.replayedZxids == (0x1a...0xf8).map { Zxid(rawValue: $0) })
    }
}

@Suite struct DataDirectoriesTests {
    private let scratch = Scratch()
    private var other: FilePath { scratch.directory.path.appending("other") }

    private func failure(
        _ body: () throws(StorageError) -> Void
    ) -> StorageError? {
        do throws(StorageError) {
            try body()
            return nil
        } catch {
            return error
        }
    }

    @Test func `missing directories are created or refused`() throws {
        let error = failure { () throws(StorageError) in
            _ = try DataDirectories(dataDir: other, autocreate: false)
        }
        #expect(error?.reason == .directoryMissing)
        #expect(error?.file == other.appending("version-2"))
        #expect(!Files.exists(other))
        let logDir = other.appending("deep").appending("logs")
        let directories = try DataDirectories(dataDir: other, dataLogDir: logDir)
        #expect(Files.exists(other.appending("version-2")))
        #expect(Files.exists(logDir.appending("version-2")))
        #expect(!directories.areOne)
        #expect(directories.initializeMarker == logDir.appending("initialize"))
        _ = try DataDirectories(dataDir: other, dataLogDir: logDir, autocreate: false)
    }

    @Test func `a file in the wrong one of two directories is refused`() throws {
        scratch.addLog([1])
        let error = failure { () throws(StorageError) in
            _ = try DataDirectories(dataDir: scratch.dataDir, dataLogDir: other)
        }
        #expect(error?.reason == .logAmongSnapshots)
        #expect(error?.file == scratch.file("log.1"))
        Files.remove(scratch.file("log.1"))
        try scratch.addSnapshot(0)
        _ = try DataDirectories(dataDir: scratch.dataDir, dataLogDir: other)
        let swapped = failure { () throws(StorageError) in
            _ = try DataDirectories(dataDir: other, dataLogDir: scratch.dataDir)
        }
        #expect(swapped?.reason == .snapshotAmongLogs)
        #expect(swapped?.file == scratch.file("snapshot.0"))
    }

    @Test func `one directory by two names is one`() throws {
        scratch.addLog([1])
        try scratch.addSnapshot(0)
        let crooked = FilePath(scratch.directory.path.string + "/./data")
        let directories = try DataDirectories(dataDir: scratch.dataDir, dataLogDir: crooked)
        #expect(directories.areOne)
        let lock = try directories.lock()
        _ = consume lock
    }

    @Test func `two servers cannot have one directory`() throws {
        let directories = try scratch.directories
        let lock = try directories.lock()
        let error = failure { () throws(StorageError) in _ = try directories.lock() }
        #expect(error?.reason == .locked(processID: ownProcessID()))
        #expect(error?.description.contains("process id \(ownProcessID())") == true)
        _ = consume lock
        let again = try directories.lock()
        _ = consume again
    }

    @Test func `a shared log directory alone is enough to refuse`() throws {
        let third = scratch.directory.path.appending("third")
        let first = try DataDirectories(dataDir: scratch.dataDir, dataLogDir: other)
        let second = try DataDirectories(dataDir: third, dataLogDir: other)
        let lock = try first.lock()
        let error = failure { () throws(StorageError) in _ = try second.lock() }
        #expect(error?.file == other.appending("version-2"))
        // The half that was taken is free again.
        let half = try DataDirectories(dataDir: third).lock()
        _ = consume half
        _ = consume lock
        let all = try second.lock()
        _ = consume all
    }

    @Test func `files are listed in their order and nothing else is`() throws {
        for zxid in [0x9, 0x10, 0x2] {
            try scratch.addSnapshot(Int64(zxid))
            scratch.addLog([Int64(zxid)])
        }
        scratch.write([], to: "log.5.bak")
        scratch.write([], to: "snapshot.5.tmp")
        let directories = try scratch.directories
        #expect(try directories.snapshotFiles().map(\.name.zxid.rawValue) == [0x10, 0x9, 0x2])
        #expect(try directories.logFiles().map(\.name.zxid.rawValue) == [0x2, 0x9, 0x10])
    }
}
