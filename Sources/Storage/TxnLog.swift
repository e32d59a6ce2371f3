import Glibc
import Jute
package import StorageFormat
package import SystemPackage

package struct TxnLogOptions: Sendable {
    /// `preAllocSize`: by how much a file grows ahead of its records; 0 is not at all.
    package var preallocBytes: Int
    /// `forceSync`: whether a batch is on the disk before it counts as flushed.
    package var forceSync: Bool
    /// `txnLogSizeLimitInKb`: more bytes of records than this end the file after their flush.
    package var sizeLimitBytes: Int?
    package var calls: DiskCalls

    package init(
        preallocBytes: Int = 64 << 20, forceSync: Bool = true, sizeLimitBytes: Int? = nil,
        calls: DiskCalls = .system
    ) {
        self.preallocBytes = preallocBytes
        self.forceSync = forceSync
        self.sizeLimitBytes = sizeLimitBytes
        self.calls = calls
    }
}

/// The txn log: appends batches and flushes them on a thread of its own.
///
/// While one flush is in flight the next batches gather; they are written and flushed together.
///
///     loop thread   append(A)  append(B) append(C)            takeCompletions: A  B C
///     log thread       write A, fdatasync | write B C, fdatasync        |wake  |wake
///
/// Called from the loop's thread only.
package final class TxnLog {
    package enum Completion {
        /// The batch is on the disk, and so is everything appended before it. Several batches may
        /// share one flush: its duration is with the last of them, nil with the others and with
        /// what needed none.
        case flushed(LogBatch, durationMicroseconds: Int64?)
        /// The disk failed. Nothing appended and not yet flushed is ever acknowledged, and nothing
        /// that is appended from now on.
        case failed(StorageError)
    }

    private let mailbox = LogMailbox()
    private var thread: Thread?

    /// Starts the thread. The first append creates a new file: a log that is there is never
    /// appended to, because garbage may be behind its last record.
    ///
    /// - Parameters:
    ///   - directory: holds the logs.
    ///   - options: what the configuration says about them.
    ///   - wake: called on the log thread when completions can be taken.
    package init(
        directory: FilePath, options: TxnLogOptions = .init(), wake: @escaping @Sendable () -> Void
    ) {
        let mailbox = mailbox
        thread = Thread(name: "zk-log") {
            LogThread(directory: directory, options: options, mailbox: mailbox, wake: wake).run()
        }
    }

    deinit { close() }

    /// Queues a batch behind those before it. The caller lets go of it until it comes back.
    package func append(_ batch: LogBatch) {
        precondition(thread != nil, "a closed log takes nothing")
        precondition(!batch.isInRecord, "only whole records are written")
        mailbox.post(.append(batch))
    }

    /// The next batch appended starts a new file.
    package func roll() {
        precondition(thread != nil, "a closed log takes nothing")
        mailbox.post(.roll)
    }

    /// Waits until everything appended is flushed and the file is closed, or the log has failed:
    /// then the logs may be changed by others. The completions can be taken behind it; the next
    /// batch appended starts a new file.
    package func settle() {
        precondition(thread != nil, "a closed log takes nothing")
        mailbox.settle()
    }

    /// Moves what was completed since the last call behind `completions`, in the order of append.
    package func takeCompletions(into completions: inout [Completion]) {
        mailbox.takeCompletions(into: &completions)
    }

    /// Flushes everything appended and ends the thread. The last completions can be taken behind it.
    package func close() {
        guard let thread = thread.take() else { return }
        mailbox.close()
        thread.join()
    }
}

/// What the loop's thread and the log thread exchange.
private final class LogMailbox: @unchecked Sendable {
    enum Order {
        case append(LogBatch)
        case roll
        /// `roll`, for somebody who waits.
        case settle
    }

    private let monitor = Monitor()
    // All under the monitor.
    private var orders: [Order] = []
    private var completions: [TxnLog.Completion] = []
    private var isClosed = false
    private var hasFailed = false
    /// The loop's thread waits for the log thread to settle.
    private var isSettling = false

    func post(_ order: Order) {
        monitor.locked {
            guard !hasFailed else { return }
            orders.append(order)
            if orders.count == 1 { monitor.signal() }
        }
    }

    /// Returns when everything posted is done, or nothing more ever will be.
    func settle() {
        monitor.locked {
            guard !hasFailed else { return }
            orders.append(.settle)
            isSettling = true
            // One condition is enough: never do both threads wait for each other.
            monitor.signal()
            while isSettling && !hasFailed { monitor.wait() }
        }
    }

    func close() {
        monitor.locked {
            isClosed = true
            monitor.signal()
        }
    }

    /// Waits for orders and takes all of them in place of `done`.
    ///
    /// - Returns: false if the log is closed and nothing is left to do.
    func receive(replacing done: inout [Order]) -> Bool {
        done.removeAll(keepingCapacity: true)
        return monitor.locked {
            while orders.isEmpty && !isClosed { monitor.wait() }
            swap(&orders, &done)
            return !done.isEmpty
        }
    }

    /// Moves `done` to the other thread.
    ///
    /// - Returns: whether that thread has to be woken; it has been if something lies there already.
    func complete(
        _ done: inout [TxnLog.Completion], hasSettled: Bool, hasFailed: Bool
    ) -> Bool {
        monitor.locked {
            let mustWake = completions.isEmpty && !done.isEmpty
            completions.append(contentsOf: done)
            done.removeAll(keepingCapacity: true)
            if hasFailed {
                self.hasFailed = true
                orders.removeAll()
            }
            if hasSettled { isSettling = false }
            if hasSettled || hasFailed { monitor.signal() }
            return mustWake
        }
    }

    func takeCompletions(into taken: inout [TxnLog.Completion]) {
        monitor.locked {
            taken.append(contentsOf: completions)
            completions.removeAll(keepingCapacity: true)
        }
    }
}

/// What runs on the log thread.
private final class LogThread {
    private let options: TxnLogOptions
    private let mailbox: LogMailbox
    private let wake: @Sendable () -> Void
    private let directory: FilePath
    private let preallocation: LogPreallocation
    private var file: LogWriter?
    /// Batches of the flush that is being prepared.
    private var group: [LogBatch] = []
    private var done: [TxnLog.Completion] = []

    init(
        directory: FilePath, options: TxnLogOptions, mailbox: LogMailbox,
        wake: @escaping @Sendable () -> Void
    ) {
        self.directory = directory
        self.options = options
        self.mailbox = mailbox
        self.wake = wake
        preallocation = LogPreallocation(bytes: options.preallocBytes)
    }

    func run() {
        var orders: [LogMailbox.Order] = []
        while mailbox.receive(replacing: &orders) {
            var hasSettled = false
            var hasFailed = false
            do throws(StorageError) {
                hasSettled = try perform(orders)
            } catch {
                // What a failed write or flush left in the file and in the kernel is unknown, and a
                // second try could report success for pages that were dropped: no more of anything.
                done.append(.failed(error))
                hasFailed = true
            }
            if mailbox.complete(&done, hasSettled: hasSettled, hasFailed: hasFailed) { wake() }
            if hasFailed { return }
        }
    }

    /// Returns whether somebody waits for the last of the orders.
    private func perform(_ orders: [LogMailbox.Order]) throws(StorageError) -> Bool {
        var hasSettled = false
        for order in orders {
            switch order {
            case .append(let batch):
                group.append(batch)
            case .roll:
                try flush()
                file = nil
            case .settle:
                try flush()
                file = nil
                hasSettled = true
            }
        }
        try flush()
        return hasSettled
    }

    /// Writes the group behind the file's records, in one call, and makes it durable.
    private func flush() throws(StorageError) {
        defer { group.removeAll(keepingCapacity: true) }
        guard let first = group.first(where: { !$0.isEmpty }) else {
            done += group.map { .flushed($0, durationMicroseconds: nil) }
            return
        }
        if file == nil {
            file = try LogWriter(
                directory: directory, name: LogFileName(zxid: first.firstZxid),
                calls: options.calls)
        }
        try file?.append(group, preallocation: preallocation)
        var duration: Int64?
        if options.forceSync {
            let start = monotonicMicroseconds()
            try file?.sync()
            duration = monotonicMicroseconds() - start
        }
        done += group.dropLast().map { .flushed($0, durationMicroseconds: nil) }
        done += group.suffix(1).map { .flushed($0, durationMicroseconds: duration) }
        if let limit = options.sizeLimitBytes, let bytes = file?.position, bytes > limit {
            file = nil
        }
    }
}

/// A log that is being written.
private struct LogWriter: ~Copyable {
    private let file: OpenFile
    private let calls: DiskCalls
    /// Where the next record goes.
    private(set) var position = LogFormat.headerBytes
    /// The file's size: preallocated zeros are behind `position`.
    private var size = LogFormat.headerBytes

    /// How much goes into one call.
    private static let piecesMax = 1024
    private static let writeBytesMax = 256 << 20

    /// Creates the file with its header.
    ///
    /// A file of the same name is replaced if there is no whole record in it: a crash left it so.
    /// One with records would belong to a history that was to be cut off before.
    init(directory: FilePath, name: LogFileName, calls: DiskCalls) throws(StorageError) {
        let path = directory.appending(name.text)
        guard try !LogFile(path: path, name: name).holdsTxns() else {
            throw StorageError(file: path, reason: .logExists)
        }
        let file = try OpenFile(path, create: true)
        var header = ByteBuffer(capacity: LogFormat.headerBytes)
        LogFormat.appendHeader(to: &header)
        try file.write(header.bytes, at: 0, calls: calls)
        // Before the file grows: a power failure that kept the size and lost the header would leave
        // a log of zeros, which no server reads.
        try file.sync(calls.sync)
        try Directory.sync(directory, calls: calls)
        self.file = file
        self.calls = calls
    }

    mutating func append(
        _ batches: [LogBatch], preallocation: LogPreallocation
    ) throws(StorageError) {
        var next = position
        var wanted = size
        for batch in batches {
            batch.seal { record in
                wanted = preallocation.size(forRecordAt: next, size: wanted)
                next += record
            }
        }
        if wanted > size {
            grow(to: wanted)
            size = wanted
        }
        var pieces: [iovec] = []
        var bytes = 0
        for batch in batches where !batch.isEmpty {
            let memory = batch.buffer.bytes
            pieces.append(
                iovec(
                    iov_base: UnsafeMutableRawPointer(mutating: memory.baseAddress),
                    iov_len: memory.count))
            bytes += memory.count
            if pieces.count == Self.piecesMax || bytes >= Self.writeBytesMax {
                try write(&pieces, bytes: &bytes)
            }
        }
        try write(&pieces, bytes: &bytes)
        size = max(size, position)
    }

    private mutating func write(
        _ pieces: inout [iovec], bytes: inout Int
    ) throws(StorageError) {
        guard bytes > 0 else { return }
        try file.write(pieces, at: position, calls: calls)
        position += bytes
        pieces.removeAll(keepingCapacity: true)
        bytes = 0
    }

    /// Reserves space, so that a flush has no size to change. Where that is impossible - the file
    /// system cannot, or the disk has less than a step left - the size alone is set, and the write
    /// decides.
    private func grow(to wanted: Int) {
        if calls.preallocate(file.descriptor, Int64(size), Int64(wanted - size)) >= 0 { return }
        _ = ftruncate(file.descriptor, off_t(wanted))
    }

    func sync() throws(StorageError) { try file.sync(calls.syncData) }
}
