import CSnappy
import CZlib
import Jute
import StorageFormat
import Vocabulary

/// The uncompressed bytes of a snapshot file, from the first to the last.
protocol SnapshotStream: ~Copyable {
    /// Appends the next bytes to `window`.
    ///
    /// - Returns: false if the stream has ended and nothing was appended.
    mutating func read(into window: inout ByteBuffer) throws(StorageError) -> Bool
}

extension SnapshotStream where Self: ~Copyable {
    /// Hands everything in the snapshot to `target`, which may have got a part when this throws.
    mutating func load<Target: RestoreTarget & ~Copyable>(
        from file: SnapshotFile, limits: JuteLimits, into target: inout Target
    ) throws(StorageError) -> SnapshotDecoder {
        var decoder = SnapshotDecoder(limits: limits)
        var window = ByteBuffer(capacity: 2 << 20)
        while !decoder.isFinished {
            let isLast = try !read(into: &window)
            let taken: Int
            do throws(SnapshotDamage) {
                taken = try decoder.consume(window.span, isLast: isLast, into: &target)
            } catch {
                throw StorageError(
                    file: file.path, offset: Int64(decoder.offset), reason: .snapshot(error))
            }
            window.removeFirst(taken)
        }
        return decoder
    }
}

extension SnapshotFile {
    /// Looks at the two ends of the file only.
    func checkPlausible() throws(StorageError) {
        let file = try OpenFile(path)
        let size = try file.size()
        let end = SnapshotFormat.lastBytes.count
        let isPlausible = SnapshotFormat.isPlausible(
            name.compression, bytes: size,
            first: try file.bytes(0..<SnapshotFormat.snappyMagic.count),
            last: try file.bytes(max(0, size - end)..<size))
        guard isPlausible else { throw StorageError(file: path, reason: .implausibleSnapshot) }
    }

    /// Hands everything in the snapshot to `target`, which may have got a part when this throws.
    func load<Target: RestoreTarget & ~Copyable>(
        limits: JuteLimits, into target: inout Target
    ) throws(StorageError) -> SnapshotDecoder {
        let file = try OpenFile(path)
        switch name.compression {
        case .none:
            var stream = PlainStream(file)
            return try stream.load(from: self, limits: limits, into: &target)
        case .gzip:
            var stream = GzipStream(file)
            return try stream.load(from: self, limits: limits, into: &target)
        case .snappy:
            var stream = try SnappyStream(file)
            return try stream.load(from: self, limits: limits, into: &target)
        }
    }
}

private struct PlainStream: SnapshotStream, ~Copyable {
    private let file: OpenFile
    private var position = 0
    private static let readBytes = 1 << 20

    init(_ file: consuming OpenFile) { self.file = file }

    mutating func read(into window: inout ByteBuffer) throws(StorageError) -> Bool {
        let count = try file.read(Self.readBytes, at: position, into: &window)
        position += count
        return count > 0
    }
}

/// One gzip member; what follows it is ignored.
private struct GzipStream: SnapshotStream, ~Copyable {
    private let file: OpenFile
    /// On the heap: zlib keeps its address.
    private let inflater: UnsafeMutablePointer<z_stream>
    private var input = ByteBuffer(capacity: Self.inputBytes)
    private var position = 0
    private var hasEnded = false

    private static let inputBytes = 256 << 10
    private static let outputBytes = 1 << 20
    /// The largest window, and 16 for a gzip wrapper.
    private static let windowBits: Int32 = 15 + 16

    init(_ file: consuming OpenFile) {
        self.file = file
        inflater = .allocate(capacity: 1)
        inflater.initialize(to: z_stream())
        let result = inflateInit2_(
            inflater, Self.windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        precondition(result == Z_OK, "zlib starts unless memory is out")
    }

    deinit {
        inflateEnd(inflater)
        inflater.deallocate()
    }

    mutating func read(into window: inout ByteBuffer) throws(StorageError) -> Bool {
        if hasEnded { return false }
        let output = window.reserve(Self.outputBytes).assumingMemoryBound(to: UInt8.self)
        inflater.pointee.next_out = output
        inflater.pointee.avail_out = uInt(Self.outputBytes)
        while inflater.pointee.avail_out > 0 && !hasEnded {
            if inflater.pointee.avail_in == 0 { try fill() }
            let result = inflate(inflater, Z_NO_FLUSH)
            guard result == Z_OK || result == Z_STREAM_END else {
                throw damage(.deflate(result))
            }
            hasEnded = result == Z_STREAM_END
        }
        let count = Self.outputBytes - Int(inflater.pointee.avail_out)
        window.advance(by: count)
        return count > 0
    }

    private mutating func fill() throws(StorageError) {
        input.removeAll()
        let count = try file.read(Self.inputBytes, at: position, into: &input)
        guard count > 0 else { throw damage(.truncated) }
        position += count
        let bytes = UnsafeMutableRawPointer(mutating: input.bytes.baseAddress)
        inflater.pointee.next_in = bytes?.assumingMemoryBound(to: UInt8.self)
        inflater.pointee.avail_in = uInt(count)
    }

    private func damage(_ reason: CompressionDamage) -> StorageError {
        let unread = Int(inflater.pointee.avail_in)
        return StorageError(
            file: file.path, offset: Int64(position - unread), reason: .compression(reason))
    }
}

/// The stream of snappy-java: a header, then blocks of raw Snappy with their lengths.
private struct SnappyStream: SnapshotStream, ~Copyable {
    private let file: OpenFile
    private var block = ByteBuffer()
    private var position = SnapshotFormat.snappyHeaderBytes

    /// snappy-java writes blocks of 32 KiB unless told otherwise; a length comes from the disk.
    private static let blockBytesMax = 64 << 20

    init(_ file: consuming OpenFile) throws(StorageError) {
        let header = try file.bytes(0..<SnapshotFormat.snappyHeaderBytes)
        guard header.count == SnapshotFormat.snappyHeaderBytes,
            header.starts(with: SnapshotFormat.snappyMagic)
        else {
            throw StorageError(file: file.path, offset: 0, reason: .compression(.badHeader))
        }
        self.file = file
    }

    mutating func read(into window: inout ByteBuffer) throws(StorageError) -> Bool {
        block.removeAll()
        let prefix = try file.read(4, at: position, into: &block)
        if prefix == 0 { return false }
        guard prefix == 4 else { throw damage(.truncated) }
        let length = Int(block.load(Int32.self, at: 0))
        guard length > 0, length <= Self.blockBytesMax else {
            throw damage(.badBlock(bytes: length))
        }
        block.removeAll()
        guard try file.read(length, at: position + 4, into: &block) == length else {
            throw damage(.truncated)
        }
        let compressed = block.bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
        var count = 0
        guard snappy_uncompressed_length(compressed, length, &count) == SNAPPY_OK,
            count > 0, count <= Self.blockBytesMax
        else { throw damage(.badBlock(bytes: length)) }
        let output = window.reserve(count).assumingMemoryBound(to: CChar.self)
        guard snappy_uncompress(compressed, length, output, &count) == SNAPPY_OK else {
            throw damage(.badBlock(bytes: length))
        }
        window.advance(by: count)
        position += 4 + length
        return true
    }

    private func damage(_ reason: CompressionDamage) -> StorageError {
        StorageError(file: file.path, offset: Int64(position), reason: .compression(reason))
    }
}
