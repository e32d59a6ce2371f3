internal import Glibc

/// Borrowed bytes: valid for the call they are passed to.
public typealias Bytes = UnsafeRawBufferPointer

extension UnsafeRawBufferPointer {
    /// The same bytes, as an owner of a span may lend them.
    @inline(__always)
    func prefix(bytes count: Int) -> Bytes { Bytes(rebasing: self[..<count]) }

    /// Where the last `/` is.
    @inline(__always)
    public var lastSlash: Int? {
        var index = count &- 1
        while index >= 0 {
            if self[index] == 0x2f { return index }
            index &-= 1
        }
        return nil
    }

    @inline(__always)
    public func equals(_ other: Bytes) -> Bool {
        guard count == other.count else { return false }
        guard count > 0, let mine = baseAddress, let theirs = other.baseAddress else { return true }
        return memcmp(mine, theirs, count) == 0
    }

    /// A copy of its own, which the caller frees; never nil, also for no bytes.
    func copied() -> UnsafeMutableRawPointer {
        guard let copy = malloc(Swift.max(1, count)) else {
            fatalError("out of memory for \(count) bytes")
        }
        if let start = baseAddress { memcpy(copy, start, count) }
        return copy
    }

    /// Whether a NUL, which no path may hold, is among these bytes.
    public var containsNUL: Bool {
        guard count > 0, let start = baseAddress else { return false }
        return memchr(start, 0, count) != nil
    }

    public func hasPrefix(_ prefix: Bytes) -> Bool {
        count >= prefix.count && self.prefix(bytes: prefix.count).equals(prefix)
    }

    /// `/a/b` lies below `/a`, `/` and the empty path; nothing lies below itself.
    public func isBelow(_ ancestor: Bytes) -> Bool {
        let ancestor = ancestor.count == 1 ? ancestor.prefix(bytes: 0) : ancestor
        return count > ancestor.count + 1 && hasPrefix(ancestor) && self[ancestor.count] == 0x2f
    }
}

/// Hashes paths with a seed of the process: clients choose paths, so the seed must be unknown.
struct PathHasher {
    private let seed: UInt64

    init(seed: UInt64) { self.seed = seed }

    @inline(__always)
    private static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = a.multipliedFullWidth(by: b)
        return product.high ^ product.low
    }

    @inline(__always)
    func hash(_ path: Bytes) -> UInt32 {
        var state = seed ^ UInt64(truncatingIfNeeded: path.count) &* 0x9e37_79b9_7f4a_7c15
        var offset = 0
        while offset &+ 8 <= path.count {
            state = Self.mix(
                state ^ path.loadUnaligned(fromByteOffset: offset, as: UInt64.self),
                0xa076_1d64_78bd_642f)
            offset &+= 8
        }
        var tail: UInt64 = 0
        while offset < path.count {
            tail = tail << 8 | UInt64(path[offset])
            offset &+= 1
        }
        state = Self.mix(state ^ tail, 0xe703_7ed1_a0b4_28db)
        return UInt32(truncatingIfNeeded: state ^ state >> 32)
    }
}
