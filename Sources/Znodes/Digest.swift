import StorageFormat
import Vocabulary

/// The digest of a znode: CRC-32 over path, data and stat. The tree's digest is their sum.
///
/// The CRC of path and data, the part that a change of the stat leaves alone, is kept with the
/// znode; so a create costs 60 bytes of CRC for the parent, however much data it holds.
/// Source: ZooKeeper, `DigestCalculator` version 2.
enum NodeDigest {
    @inline(__always)
    private static func extend(_ crc: UInt32, _ bytes: Bytes) -> UInt32 {
        var sum = CRC32(continuing: crc)
        sum.update(bytes)
        return sum.value
    }

    /// `path`: the root's is empty.
    @inline(__always)
    static func contentCRC(path: Bytes, data: Bytes?) -> UInt32 {
        let crc = extend(0, path)
        guard let data else { return crc }
        return extend(crc, data)
    }

    /// The whole digest. The order of the fields differs from that of a stored stat.
    @inline(__always)
    static func digest(contentCRC: UInt32, stat: StatPersisted) -> UInt64 {
        withUnsafeTemporaryAllocation(byteCount: 60, alignment: 8) { field in
            guard let base = field.baseAddress else { return 0 }
            func put<T: FixedWidthInteger>(_ value: T, _ offset: Int) {
                base.storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
            }
            put(stat.czxid.rawValue, 0)
            put(stat.mzxid.rawValue, 8)
            put(stat.pzxid.rawValue, 16)
            put(stat.ctime, 24)
            put(stat.mtime, 32)
            put(stat.version, 40)
            put(stat.cversion, 44)
            put(stat.aversion, 48)
            put(stat.owner.rawValue, 52)
            return UInt64(extend(contentCRC, Bytes(field)))
        }
    }

    /// Whether znodes of this path count: not below /zookeeper.
    @inline(__always)
    static func counts(_ path: Bytes) -> Bool {
        // Most paths differ from it in their second byte.
        guard path.count > 11, path[1] == 0x7a else { return true }
        return !path.isBelow(path: Paths.zookeeper)
    }
}

extension UnsafeRawBufferPointer {
    /// Whether this path lies below the given one.
    public func isBelow(path: String) -> Bool {
        var path = path
        return path.withUTF8 { isBelow(Bytes($0)) }
    }
}
