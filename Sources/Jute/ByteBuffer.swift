import Glibc

/// Growable bytes with one owner: what is written to sockets and files is gathered here.
///
/// Holds no memory while it is empty and was never reserved. Appending never zero-fills and never
/// checks for uniqueness. Multi-byte integers are big-endian, as everything in ZooKeeper.
package struct ByteBuffer: ~Copyable {
    private var base: UnsafeMutableRawPointer?
    package private(set) var capacity: Int
    package private(set) var count = 0

    package init(capacity: Int = 0) {
        self.capacity = capacity
        base = capacity == 0 ? nil : Self.allocate(capacity)
    }

    deinit { free(base) }

    /// Only where there is capacity.
    private var memory: UnsafeMutableRawPointer {
        @inline(__always) get { base.unsafelyUnwrapped }
    }

    private static func allocate(_ bytes: Int) -> UnsafeMutableRawPointer {
        guard let memory = malloc(bytes) else { fatalError("out of memory for \(bytes) bytes") }
        return memory
    }

    package var isEmpty: Bool { @inline(__always) get { count == 0 } }

    /// The bytes; valid until the next change.
    package var bytes: UnsafeRawBufferPointer {
        @inline(__always) get { UnsafeRawBufferPointer(start: base, count: count) }
    }

    package var span: Span<UInt8> {
        @inline(__always) @_lifetime(borrow self) get {
            let bytes = UnsafeRawBufferPointer(start: base, count: count)
            return _overrideLifetime(Span(_unsafeBytes: bytes), borrowing: self)
        }
    }

    /// Makes room for `additional` bytes behind the last one and returns where they start; they
    /// count once `advance(by:)` says so.
    @inline(__always)
    package mutating func reserve(_ additional: Int) -> UnsafeMutableRawPointer {
        if count &+ additional > capacity { grow(by: additional) }
        return memory + count
    }

    @inline(__always)
    package mutating func advance(by written: Int) {
        assert(count + written <= capacity, "only reserved room can be filled")
        count &+= written
    }

    @inline(never)
    private mutating func grow(by additional: Int) {
        let wanted = max(64, (count + additional) * 2)
        guard let larger = realloc(base, wanted) else {
            fatalError("out of memory for \(wanted) bytes")
        }
        base = larger
        capacity = wanted
    }

    /// Forgets the bytes and keeps the memory.
    @inline(__always)
    package mutating func removeAll() { count = 0 }

    /// Forgets the bytes, and gives the memory back if it is more than `limit` bytes.
    package mutating func removeAll(keepingAtMost limit: Int) {
        count = 0
        if capacity > limit {
            free(base)
            base = nil
            capacity = 0
        }
    }

    /// Forgets the first `removed` bytes; the rest moves to the front.
    package mutating func removeFirst(_ removed: Int) {
        precondition(removed >= 0 && removed <= count, "only what is there can go")
        guard removed > 0 else { return }
        memmove(memory, memory + removed, count - removed)
        count -= removed
    }

    /// Forgets everything from `end` on.
    @inline(__always)
    package mutating func truncate(to end: Int) {
        precondition(end >= 0 && end <= count, "truncating never adds bytes")
        count = end
    }

    /// Takes the contents and leaves an empty buffer.
    package mutating func take() -> ByteBuffer {
        var other = ByteBuffer()
        swap(&self, &other)
        return other
    }

    // MARK: Appending

    @inline(__always)
    package mutating func append<T: FixedWidthInteger>(_ value: T) {
        let size = MemoryLayout<T>.size
        reserve(size).storeBytes(of: value.bigEndian, as: T.self)
        count &+= size
    }

    @inline(__always)
    package mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress, bytes.count > 0 else { return }
        memcpy(reserve(bytes.count), start, bytes.count)
        count &+= bytes.count
    }

    @inline(__always)
    package mutating func append(_ bytes: Span<UInt8>) {
        bytes.withUnsafeBytes { append($0) }
    }

    package mutating func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { append($0) }
    }

    package mutating func append(utf8 text: String) {
        var text = text
        text.withUTF8 { append(UnsafeRawBufferPointer($0)) }
    }

    /// Writes over an integer that was appended before.
    @inline(__always)
    package mutating func overwrite<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        precondition(
            offset >= 0 && offset &+ MemoryLayout<T>.size <= count, "only written bytes are replaced")
        (memory + offset).storeBytes(of: value.bigEndian, as: T.self)
    }

    /// Reads an integer that was appended before.
    @inline(__always)
    package func load<T: FixedWidthInteger>(_: T.Type, at offset: Int) -> T {
        precondition(
            offset >= 0 && offset &+ MemoryLayout<T>.size <= count, "only written bytes are read")
        return T(bigEndian: (memory + offset).loadUnaligned(as: T.self))
    }
}
