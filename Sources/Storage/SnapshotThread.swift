import CZlib
import Glibc
import Jute
package import StorageFormat
package import SystemPackage
import Vocabulary

package struct SnapshotOptions: Sendable {
    package enum Compression: Sendable { case none, gzip }

    /// `snapshot.compression.method`. Snappy files are read and not written.
    package var compression: Compression
    /// Whether the file is on the disk before it gets its name.
    package var fsync: Bool
    /// `serializeLastProcessedZxid.enabled`
    package var serializeLastProcessedZxid: Bool
    /// `digest.enabled`
    package var digestEnabled: Bool
    /// Whether other threads go first: the least priority, and pauses between the pieces.
    package var lowPriority: Bool
    package var calls: DiskCalls

    package init(
        compression: Compression = .none, fsync: Bool = true,
        serializeLastProcessedZxid: Bool = true, digestEnabled: Bool = true,
        lowPriority: Bool = true, calls: DiskCalls = .system
    ) {
        self.compression = compression
        self.fsync = fsync
        self.serializeLastProcessedZxid = serializeLastProcessedZxid
        self.digestEnabled = digestEnabled
        self.lowPriority = lowPriority
        self.calls = calls
    }
}

/// A snapshot that is on the disk.
package struct SnapshotReport: Equatable, Sendable {
    package var file: FilePath
    /// The size of the file.
    package var bytes: Int
    package var nodes: Int
    package var microseconds: Int64
}

/// Writes snapshots and removes old files, one job at a time, each on a thread of its own.
///
/// Called from the loop's thread only.
package final class SnapshotThread {
    package enum Completion {
        /// The source comes back so that its memory is released where it was made.
        case written(SnapshotReport, source: any SnapshotSource)
        case notWritten(StorageError, source: any SnapshotSource)
        case purged([FilePath])
        case notPurged(StorageError)
    }

    private let wake: @Sendable () -> Void
    private let outcome = Outcome()
    private var thread: Thread?

    /// - Parameter wake: called on the job's thread when the completion can be taken.
    package init(wake: @escaping @Sendable () -> Void) { self.wake = wake }

    deinit { close() }

    /// Whether a job runs, or its completion was not taken yet. Then there must be no other.
    package var isBusy: Bool { thread != nil }

    /// Writes a snapshot: under a temporary name first, so that a snapshot is whole or not there.
    package func write(
        source: some SnapshotSource, directory: FilePath, options: SnapshotOptions = .init()
    ) {
        start(lowPriority: options.lowPriority) {
            do throws(StorageError) {
                let report = try source.write(to: directory, options: options)
                return .written(report, source: source)
            } catch {
                return .notWritten(error, source: source)
            }
        }
    }

    /// Removes what `Retention.purge` says.
    package func purge(_ directories: DataDirectories, retainCount: Int) {
        start(lowPriority: true) {
            do throws(StorageError) {
                return .purged(
                    try Retention.purge(directories, retainCount: retainCount))
            } catch {
                return .notPurged(error)
            }
        }
    }

    private func start(lowPriority: Bool, _ job: @escaping @Sendable () -> Completion) {
        precondition(thread == nil, "one job at a time: ask isBusy")
        let outcome = outcome
        let wake = wake
        thread = Thread(name: "zk-snapshot") {
            if lowPriority { Thread.setCurrentIsIdle(true) }
            let completion = job()
            // Whoever takes the completion joins this thread: it must not wait for idle time.
            if lowPriority { Thread.setCurrentIsIdle(false) }
            outcome.put(completion)
            wake()
        }
    }

    /// The completion of the job, once; nil while it runs.
    package func takeCompletion() -> Completion? {
        guard let completion = outcome.take() else { return nil }
        thread.take()?.join()
        return completion
    }

    /// Waits for the job that runs. Its completion can still be taken.
    package func close() {
        thread.take()?.join()
    }

    private final class Outcome: @unchecked Sendable {
        private let monitor = Monitor()
        private var completion: Completion?

        func put(_ completion: Completion) {
            monitor.locked { self.completion = completion }
        }

        func take() -> Completion? {
            monitor.locked {
                defer { completion = nil }
                return completion
            }
        }
    }
}

extension SnapshotSource {
    /// Writes the snapshot's file on the calling thread.
    package func write(
        to directory: FilePath, options: SnapshotOptions
    ) throws(StorageError) -> SnapshotReport {
        let start = monotonicMicroseconds()
        let compression: SnapshotCompression =
            switch options.compression {
            case .none: .none
            case .gzip: .gzip
            }
        let name = SnapshotFileName(zxid: zxid, compression: compression)
        let temporary = directory.appending(name.temporaryText)
        do throws(StorageError) {
            let written = try writeFile(temporary, options: options)
            let file = directory.appending(name.text)
            try Directory.rename(temporary, to: file)
            if options.fsync { try Directory.sync(directory, calls: options.calls) }
            return SnapshotReport(
                file: file, bytes: written.bytes, nodes: written.nodes,
                microseconds: monotonicMicroseconds() - start)
        } catch {
            // Gives the space back; what stops this stops the removal at the next start, too.
            _ = temporary.withPlatformString { unlink($0) }
            throw error
        }
    }

    private func writeFile(
        _ path: FilePath, options: SnapshotOptions
    ) throws(StorageError) -> (bytes: Int, nodes: Int) {
        // An empty database has no digest: Apache writes it as 0 and does not compare it.
        let digest = SnapshotSections.Digest(zxid: zxid, value: zxid == .zero ? 0 : digest)
        let sections = SnapshotSections(
            digest: options.digestEnabled ? digest : nil,
            lastProcessedZxid: options.serializeLastProcessedZxid ? zxid : nil)
        var file = SnapshotWriter(file: try OpenFile(path, create: true), options: options)
        let pieceBytes = SnapshotWriter.pieceBytes
        let nodes: Int
        switch options.compression {
        case .none:
            nodes = try encode(sections: sections, pieceBytes: pieceBytes) {
                (bytes) throws(StorageError) in
                try file.append(bytes)
            }.nodes
        case .gzip:
            var gzip = GzipEncoder()
            nodes = try encode(sections: sections, pieceBytes: pieceBytes) {
                (bytes) throws(StorageError) in
                try file.append(gzip.compress(bytes))
            }.nodes
            try file.append(gzip.finish())
        }
        if options.fsync { try file.sync() }
        return (file.position, nodes)
    }
}

/// Writes a snapshot's file from its beginning to its end, in small pieces with pauses.
private struct SnapshotWriter: ~Copyable {
    let file: OpenFile
    let options: SnapshotOptions
    private(set) var position = 0
    /// How far the disk has been told to write.
    private var writebackStart = 0

    init(file: consuming OpenFile, options: SnapshotOptions) {
        self.file = file
        self.options = options
    }

    /// How much goes into one call. Some kernels take the processor from no call that runs: a
    /// megabyte can be three milliseconds, and a thread that wakes up there waits for all of them.
    static let pieceBytes = 64 << 10
    /// How long the processor is left alone between two pieces: about as long as one takes.
    private static let pauseMicroseconds: UInt32 = 250

    /// How much may wait for the disk. All at once at the end, it would hold up the flushes of the
    /// log, and so all writes, until the last of it is there.
    private static let writebackBytes = 1 << 20

    /// Appends a piece, after a pause if others go first.
    ///
    /// The least priority is not enough for that: Linux moves a waiting thread at once only to a
    /// processor that runs out of work, and one that runs this thread does not. Without the pauses
    /// the slowest gets beside a snapshot took longer.
    mutating func append(_ bytes: UnsafeRawBufferPointer) throws(StorageError) {
        if options.lowPriority && position > 0 { usleep(Self.pauseMicroseconds) }
        try file.write(bytes, at: position, calls: options.calls)
        position += bytes.count
        guard options.fsync, position - writebackStart >= Self.writebackBytes else { return }
        file.startWriteback(writebackStart..<position)
        writebackStart = position
    }

    func sync() throws(StorageError) { try file.sync(options.calls.sync) }
}

/// Makes one gzip member.
private struct GzipEncoder: ~Copyable {
    /// On the heap: zlib keeps its address.
    private let deflater: UnsafeMutablePointer<z_stream>
    private var output = ByteBuffer(capacity: Self.outputBytes)

    private static let outputBytes = 256 << 10
    /// The largest window, and 16 for a gzip wrapper.
    private static let windowBits: Int32 = 15 + 16
    private static let memoryLevel: Int32 = 8

    init() {
        deflater = .allocate(capacity: 1)
        deflater.initialize(to: z_stream())
        let result = deflateInit2_(
            deflater, Z_DEFAULT_COMPRESSION, Z_DEFLATED, Self.windowBits, Self.memoryLevel,
            Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        precondition(result == Z_OK, "zlib starts unless memory is out")
    }

    deinit {
        deflateEnd(deflater)
        deflater.deallocate()
    }

    /// - Returns: what came out, valid until the next call.
    mutating func compress(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        let input = UnsafeMutableRawPointer(mutating: bytes.baseAddress)
        deflater.pointee.next_in = input?.assumingMemoryBound(to: UInt8.self)
        deflater.pointee.avail_in = uInt(bytes.count)
        return run(Z_NO_FLUSH)
    }

    mutating func finish() -> UnsafeRawBufferPointer {
        deflater.pointee.avail_in = 0
        return run(Z_FINISH)
    }

    private mutating func run(_ flush: Int32) -> UnsafeRawBufferPointer {
        output.removeAll()
        repeat {
            let memory = output.reserve(Self.outputBytes)
            deflater.pointee.next_out = memory.assumingMemoryBound(to: UInt8.self)
            deflater.pointee.avail_out = uInt(Self.outputBytes)
            let result = deflate(deflater, flush)
            precondition(result != Z_STREAM_ERROR, "the stream is used as zlib wants it")
            output.advance(by: Self.outputBytes - Int(deflater.pointee.avail_out))
        } while deflater.pointee.avail_out == 0
        return output.bytes
    }
}
