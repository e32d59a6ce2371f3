public import Glibc

/// Growable bytes with one owner: what is written to sockets and files is gathered here.
///
/// Holds no memory while it is empty and was never reserved. Appending never zero-fills and never
/// checks for uniqueness. Multi-byte integers are big-endian, as everything in ZooKeeper.
public struct ByteBuffer: ~Copyable {
    @usableFromInline var base: UnsafeMutableRawPointer?
    public internal(set) var capacity: Int
    @usableFromInline var size = 0

    /// The bytes so far.
    @inlinable public var count: Int { @inline(__always) get { size } }

    public init(capacity: Int = 0) {
        self.capacity = capacity
        base = capacity == 0 ? nil : Self.allocate(capacity)
    }

    deinit { free(base) }

    /// Only where there is capacity.
    @usableFromInline var memory: UnsafeMutableRawPointer {
        @inline(__always) get { base.unsafelyUnwrapped }
    }

    private static func allocate(_ bytes: Int) -> UnsafeMutableRawPointer {
        guard let memory = malloc(bytes) else { fatalError("out of memory for \(bytes) bytes") }
        return memory
    }

    @inlinable public var isEmpty: Bool { @inline(__always) get { count == 0 } }

    /// The bytes; valid until the next change.
    @inlinable public var bytes: UnsafeRawBufferPointer {
        @inline(__always) get { UnsafeRawBufferPointer(start: base, count: count) }
    }

    @inlinable public var span: Span<UInt8> {
        @inline(__always) @_lifetime(borrow self) get {
            let bytes = UnsafeRawBufferPointer(start: base, count: count)
            return _overrideLifetime(Span(_unsafeBytes: bytes), borrowing: self)
        }
    }

    /// Makes room for `additional` bytes behind the last one and returns where they start; they
    /// count once `advance(by:)` says so.
    @inlinable @inline(__always)
    public mutating func reserve(_ additional: Int) -> UnsafeMutableRawPointer {
        // Also when it fits exactly: an empty buffer has no memory to point to.
        if count &+ additional >= capacity { grow(by: additional) }
        return memory + count
    }

    @inlinable @inline(__always)
    public mutating func advance(by written: Int) {
        assert(count + written <= capacity, "only reserved room can be filled")
        size &+= written
    }

    @inline(never)
    @usableFromInline mutating func grow(by additional: Int) {
        let wanted = max(64, (count + additional) * 2)
        guard let larger = realloc(base, wanted) else {
            fatalError("out of memory for \(wanted) bytes")
        }
        base = larger
        capacity = wanted
    }

    /// Forgets the bytes and keeps the memory.
    @inlinable @inline(__always)
    public mutating func removeAll() { size = 0 }

    /// Forgets the bytes, and gives the memory back if it is more than `limit` bytes.
    public mutating func removeAll(keepingAtMost limit: Int) {
        size = 0
        if capacity > limit {
            free(base)
            base = nil
            capacity = 0
        }
    }

    /// Forgets the first `removed` bytes; the rest moves to the front.
    public mutating func removeFirst(_ removed: Int) {
        precondition(removed >= 0 && removed <= count, "only what is there can go")
        guard removed > 0 else { return }
        memmove(memory, memory + removed, count - removed)
        size -= removed
    }

    /// Forgets everything from `end` on.
    @inlinable @inline(__always)
    public mutating func truncate(to end: Int) {
        precondition(end >= 0 && end <= count, "truncating never adds bytes")
        size = end
    }

    /// Takes the contents and leaves an empty buffer.
    public mutating func take() -> ByteBuffer {
        var other = ByteBuffer()
        swap(&self, &other)
        return other
    }

    // MARK: Appending

    @inlinable @inline(__always)
    public mutating func append<T: FixedWidthInteger>(_ value: T) {
        let width = MemoryLayout<T>.size
        reserve(width).storeBytes(of: value.bigEndian, as: T.self)
        size &+= width
    }

    @inlinable @inline(__always)
    public mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress, bytes.count > 0 else { return }
        memcpy(reserve(bytes.count), start, bytes.count)
        size &+= bytes.count
    }

    @inlinable @inline(__always)
    public mutating func append(_ bytes: Span<UInt8>) {
        bytes.withUnsafeBytes { append($0) }
    }

    public mutating func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { append($0) }
    }

    public mutating func append(utf8 text: String) {
        var text = text
        text.withUTF8 { append(UnsafeRawBufferPointer($0)) }
    }

    /// Writes over an integer that was appended before.
    @inlinable @inline(__always)
    public mutating func overwrite<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        precondition(
            offset >= 0 && offset &+ MemoryLayout<T>.size <= count,
            "only written bytes are replaced")
        (memory + offset).storeBytes(of: value.bigEndian, as: T.self)
    }

    /// Reads an integer that was appended before.
    @inlinable @inline(__always)
    public func load<T: FixedWidthInteger>(_: T.Type, at offset: Int) -> T {
        precondition(
            offset >= 0 && offset &+ MemoryLayout<T>.size <= count, "only written bytes are read")
        return T(bigEndian: (memory + offset).loadUnaligned(as: T.self))
    }
}
