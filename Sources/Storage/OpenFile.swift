import CStorage
import Glibc
import Jute
import SystemPackage

/// An open file or directory and its name; closed at the end of its life.
struct OpenFile: ~Copyable {
    let path: FilePath
    let descriptor: Int32

    /// Opens an old file for reading or, to `create`, a new or emptied one for writing.
    init(_ path: FilePath, create: Bool = false) throws(StorageError) {
        try self.init(
            path, flags: create ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY,
            call: create ? .create : .open)
    }

    /// Opens an old file to change it.
    init(changing path: FilePath) throws(StorageError) {
        try self.init(path, flags: O_WRONLY, call: .open)
    }

    private init(
        _ path: FilePath, flags: Int32, call: StorageError.Call
    ) throws(StorageError) {
        descriptor = path.withPlatformString { open($0, flags | O_CLOEXEC, 0o644) }
        self.path = path
        guard descriptor >= 0 else {
            throw StorageError(file: path, reason: .system(call, errno: errno))
        }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    func size() throws(StorageError) -> Int {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw StorageError(file: path, reason: .system(.read, errno: errno))
        }
        return Int(status.st_size)
    }

    /// Appends up to `bytes` from `offset` on to `buffer`.
    ///
    /// - Returns: how many were read; fewer than `bytes` only at the end of the file.
    func read(_ bytes: Int, at offset: Int, into buffer: inout ByteBuffer) throws(StorageError)
        -> Int
    {
        guard bytes > 0 else { return 0 }
        let memory = buffer.reserve(bytes)
        var done = 0
        while done < bytes {
            let count = pread(descriptor, memory + done, bytes - done, off_t(offset + done))
            guard count >= 0 else {
                let number = errno
                if number == EINTR { continue }
                throw StorageError(
                    file: path, offset: Int64(offset + done), reason: .system(.read, errno: number))
            }
            if count == 0 { break }
            done += count
        }
        buffer.advance(by: done)
        return done
    }

    /// The bytes of `range`, or as many of them as the file has.
    func bytes(_ range: Range<Int>) throws(StorageError) -> [UInt8] {
        var buffer = ByteBuffer()
        _ = try read(range.count, at: range.lowerBound, into: &buffer)
        return Array(buffer.bytes)
    }

    /// Writes all of `bytes` at `offset`. A short write is a failure: only a full disk causes one.
    func write(
        _ bytes: UnsafeRawBufferPointer, at offset: Int, calls: DiskCalls
    ) throws(StorageError) {
        guard bytes.count > 0 else { return }
        let base = UnsafeMutableRawPointer(mutating: bytes.baseAddress)
        try write([iovec(iov_base: base, iov_len: bytes.count)], at: offset, calls: calls)
    }

    /// Writes all `pieces`, one behind the other, at `offset` in one call.
    func write(_ pieces: [iovec], at offset: Int, calls: DiskCalls) throws(StorageError) {
        let wanted = pieces.reduce(0) { $0 + $1.iov_len }
        let written = pieces.withUnsafeBufferPointer { pieces in
            pieces.baseAddress.map {
                calls.write(descriptor, $0, Int32(pieces.count), Int64(offset))
            } ?? 0
        }
        guard written != wanted else { return }
        let reason: StorageError.Reason =
            written < 0
            ? .system(.write, errno: Int32(-written)) : .shortWrite(bytes: written, of: wanted)
        throw StorageError(file: path, offset: Int64(offset), reason: reason)
    }

    /// Begins to bring the range to the disk, for `sync` to have less to do.
    func startWriteback(_ range: Range<Int>) {
        cstorage_start_writeback(descriptor, Int64(range.lowerBound), Int64(range.count))
    }

    /// Cuts the file behind its first `bytes`.
    func truncate(to bytes: Int, calls: DiskCalls) throws(StorageError) {
        let result = calls.truncate(descriptor, Int64(bytes))
        guard result >= 0 else {
            throw StorageError(
                file: path, offset: Int64(bytes), reason: .system(.truncate, errno: -result))
        }
    }

    func sync(_ call: (Int32) -> Int32) throws(StorageError) {
        let result = call(descriptor)
        guard result >= 0 else {
            throw StorageError(file: path, reason: .system(.sync, errno: -result))
        }
    }
}

/// Directory entries and what changes them.
enum Directory {
    /// The names of the regular files, in no order.
    static func fileNames(_ path: FilePath) throws(StorageError) -> [String] {
        guard let stream = path.withPlatformString({ opendir($0) }) else {
            throw StorageError(file: path, reason: .system(.list, errno: errno))
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                let number = errno
                guard number == 0 else {
                    throw StorageError(file: path, reason: .system(.list, errno: number))
                }
                return names
            }
            // The name is longer than the struct says where the file system allows it.
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
            }
            if isRegularFile(path.appending(name)) { names.append(name) }
        }
    }

    private static func isRegularFile(_ path: FilePath) -> Bool {
        var status = stat()
        let result = path.withPlatformString { stat($0, &status) }
        return result == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    static func exists(_ path: FilePath) -> Bool {
        path.withPlatformString { access($0, F_OK) } == 0
    }

    /// Creates the directory and those above it, so that they survive a crash of the machine.
    static func create(_ path: FilePath) throws(StorageError) {
        if path.isEmpty || exists(path) { return }
        let parent = path.removingLastComponent()
        try create(parent)
        guard path.withPlatformString({ mkdir($0, 0o755) }) == 0 || errno == EEXIST else {
            throw StorageError(file: path, reason: .system(.create, errno: errno))
        }
        try sync(parent.isEmpty ? "." : parent)
    }

    /// - Returns: false if there is no such file.
    @discardableResult
    static func remove(
        _ path: FilePath, calls: DiskCalls = .system
    ) throws(StorageError) -> Bool {
        let result = calls.remove(path)
        if result >= 0 { return true }
        if result == -ENOENT { return false }
        throw StorageError(file: path, reason: .system(.remove, errno: -result))
    }

    static func rename(
        _ path: FilePath, to target: FilePath, calls: DiskCalls = .system
    ) throws(StorageError) {
        let result = calls.rename(path, target)
        guard result >= 0 else {
            throw StorageError(file: path, reason: .system(.rename, errno: -result))
        }
    }

    /// Makes created, renamed and removed names survive a crash of the machine.
    static func sync(_ path: FilePath, calls: DiskCalls = .system) throws(StorageError) {
        let directory = try OpenFile(path)
        try directory.sync(calls.sync)
    }
}

/// The clock for durations, in microseconds.
func monotonicMicroseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
}
