import Glibc
package import StorageFormat
package import SystemPackage

/// A snapshot on disk.
package struct SnapshotFile: Equatable, Sendable {
    package let path: FilePath
    package let name: SnapshotFileName
}

/// A txn log on disk.
package struct LogFile: Equatable, Sendable {
    package let path: FilePath
    package let name: LogFileName
}

/// Where the snapshots and the logs are: `version-2` in dataDir and in dataLogDir, often the same.
///
/// Source: ZooKeeper, `FileTxnSnapLog`.
package struct DataDirectories: Equatable, Sendable {
    /// Holds the snapshots.
    package let snapshots: FilePath
    /// Holds the txn logs.
    package let logs: FilePath
    /// Says that an empty database is meant to be one.
    package let initializeMarker: FilePath
    /// Whether `snapshots` and `logs` are one directory, by whatever names.
    package let areOne: Bool

    private static let version = "version-2"

    /// Finds or creates the directories, and refuses files that lie in the wrong one of two.
    ///
    /// - Parameters:
    ///   - dataDir: the key of that name.
    ///   - dataLogDir: the key of that name; nil is dataDir.
    ///   - autocreate: `datadir.autocreate`: whether missing directories are created.
    /// - Throws: what is missing, in the wrong place or forbidden.
    package init(
        dataDir: FilePath, dataLogDir: FilePath? = nil, autocreate: Bool = true
    ) throws(StorageError) {
        let dataLogDir = dataLogDir ?? dataDir
        snapshots = dataDir.appending(Self.version)
        logs = dataLogDir.appending(Self.version)
        initializeMarker = dataLogDir.appending("initialize")
        for directory in [snapshots, logs] where !Directory.exists(directory) {
            guard autocreate else {
                throw StorageError(file: directory, reason: .directoryMissing)
            }
            try Directory.create(directory)
        }
        areOne = try Self.identity(snapshots) == Self.identity(logs)
        guard !areOne else { return }
        if let log = try logFiles(in: snapshots).first {
            throw StorageError(file: log.path, reason: .logAmongSnapshots)
        }
        if let snapshot = try snapshotFiles(in: logs).first {
            throw StorageError(file: snapshot.path, reason: .snapshotAmongLogs)
        }
    }

    private struct Identity: Equatable {
        var device: dev_t
        var file: ino_t
    }

    private static func identity(_ path: FilePath) throws(StorageError) -> Identity {
        var status = stat()
        guard path.withPlatformString({ stat($0, &status) }) == 0 else {
            throw StorageError(file: path, reason: .system(.open, errno: errno))
        }
        return Identity(device: status.st_dev, file: status.st_ino)
    }

    /// The snapshots, whole or not, newest first; a plain one before a compressed one.
    package func snapshotFiles() throws(StorageError) -> [SnapshotFile] {
        try snapshotFiles(in: snapshots)
    }

    private func snapshotFiles(in directory: FilePath) throws(StorageError) -> [SnapshotFile] {
        var files: [SnapshotFile] = []
        for text in try Directory.fileNames(directory) {
            guard let name = SnapshotFileName(text) else { continue }
            files.append(SnapshotFile(path: directory.appending(text), name: name))
        }
        return files.sorted {
            ($1.name.zxid, $0.path.string) < ($0.name.zxid, $1.path.string)
        }
    }

    /// The logs, oldest first.
    package func logFiles() throws(StorageError) -> [LogFile] {
        try logFiles(in: logs)
    }

    private func logFiles(in directory: FilePath) throws(StorageError) -> [LogFile] {
        var files: [LogFile] = []
        for text in try Directory.fileNames(directory) {
            guard let name = LogFileName(text) else { continue }
            files.append(LogFile(path: directory.appending(text), name: name))
        }
        return files.sorted { $0.name.zxid < $1.name.zxid }
    }

    /// Snapshots whose writing was interrupted.
    func temporaryFiles() throws(StorageError) -> [FilePath] {
        try Directory.fileNames(snapshots).filter(SnapshotFileName.isTemporary)
            .map { snapshots.appending($0) }
    }

    /// Takes both directories for this process alone, until the result's life ends.
    package func lock() throws(StorageError) -> DirectoryLock {
        let first = try LockFile(in: snapshots)
        let second: LockFile? = areOne ? nil : try LockFile(in: logs)
        return DirectoryLock(snapshots: first, logs: second)
    }
}

/// Keeps other servers out of the directories. Apache's servers do not ask for it, and take no
/// notice of the file.
package struct DirectoryLock: ~Copyable {
    private let snapshots: LockFile
    private let logs: LockFile?

    init(snapshots: consuming LockFile, logs: consuming LockFile?) {
        self.snapshots = snapshots
        self.logs = logs
    }
}

/// A locked file that names the process; the kernel unlocks it when the process ends, however.
struct LockFile: ~Copyable {
    private let descriptor: Int32
    private static let name = "aviary.lock"

    init(in directory: FilePath) throws(StorageError) {
        let path = directory.appending(Self.name)
        descriptor = path.withPlatformString { open($0, O_RDWR | O_CREAT | O_CLOEXEC, 0o644) }
        guard descriptor >= 0 else {
            throw StorageError(file: path, reason: .system(.lock, errno: errno))
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let number = errno
            guard number == EWOULDBLOCK else {
                throw StorageError(file: path, reason: .system(.lock, errno: number))
            }
            throw StorageError(
                file: directory, reason: .locked(processID: Self.holder(descriptor)))
        }
        var text = "\(getpid())\n"
        let isWritten = text.withUTF8 {
            ftruncate(descriptor, 0) == 0 && pwrite(descriptor, $0.baseAddress, $0.count, 0) > 0
        }
        guard isWritten else {
            throw StorageError(file: path, reason: .system(.lock, errno: errno))
        }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    /// The process that the file names, or 0.
    private static func holder(_ descriptor: Int32) -> Int32 {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, 0) }
        guard count > 0 else { return 0 }
        let digits = bytes[..<count].prefix { $0 != UInt8(ascii: "\n") }
        return Int32(String(decoding: digits, as: UTF8.self)) ?? 0
    }
}

extension FilePath {
    /// The sizes of all files in this directory together; 0 if it cannot be listed.
    package var bytesOfFiles: Int {
        guard let directory = withPlatformString({ opendir($0) }) else { return 0 }
        defer { closedir(directory) }
        var total = 0
        while let entry = readdir(directory) {
            var status = Glibc.stat()
            let path = appending(name(of: entry))
            let result = path.withPlatformString { lstat($0, &status) }
            if result == 0, status.st_mode & S_IFMT == S_IFREG { total += Int(status.st_size) }
        }
        return total
    }

    private func name(of entry: UnsafeMutablePointer<dirent>) -> String {
        withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }
}
