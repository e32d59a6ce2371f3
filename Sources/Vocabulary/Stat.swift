/// What a client sees of a znode besides its data.
///
/// `cversion` is twice the stored counter of creates minus the number of children, and
/// `ephemeralOwner` is 0 for containers and TTL nodes: neither is the stored value.
public struct Stat: Equatable, Sendable {
    public var czxid: Zxid
    public var mzxid: Zxid
    /// Milliseconds since 1970, of the leader's clock.
    public var ctime: Int64
    /// Milliseconds since 1970, of the leader's clock.
    public var mtime: Int64
    public var version: Int32
    public var cversion: Int32
    public var aversion: Int32
    public var ephemeralOwner: Int64
    public var dataLength: Int32
    public var numChildren: Int32
    public var pzxid: Zxid

    @inlinable
    public init(
        czxid: Zxid, mzxid: Zxid, ctime: Int64, mtime: Int64, version: Int32, cversion: Int32,
        aversion: Int32, ephemeralOwner: Int64, dataLength: Int32, numChildren: Int32, pzxid: Zxid
    ) {
        self.czxid = czxid
        self.mzxid = mzxid
        self.ctime = ctime
        self.mtime = mtime
        self.version = version
        self.cversion = cversion
        self.aversion = aversion
        self.ephemeralOwner = ephemeralOwner
        self.dataLength = dataLength
        self.numChildren = numChildren
        self.pzxid = pzxid
    }
}

/// What is stored of a znode besides data and ACL: on disk, in the digest, in memory.
public struct StatPersisted: Equatable, Sendable {
    public var czxid: Zxid
    public var mzxid: Zxid
    /// Milliseconds since 1970, of the leader's clock.
    public var ctime: Int64
    /// Milliseconds since 1970, of the leader's clock.
    public var mtime: Int64
    public var version: Int32
    /// The number of creates below the znode so far; deletes do not count.
    public var cversion: Int32
    public var aversion: Int32
    public var owner: Owner
    public var pzxid: Zxid

    @inlinable
    public init(
        czxid: Zxid = .zero, mzxid: Zxid = .zero, ctime: Int64 = 0, mtime: Int64 = 0,
        version: Int32 = 0, cversion: Int32 = 0, aversion: Int32 = 0,
        owner: Owner = .persistent, pzxid: Zxid = .zero
    ) {
        self.czxid = czxid
        self.mzxid = mzxid
        self.ctime = ctime
        self.mtime = mtime
        self.version = version
        self.cversion = cversion
        self.aversion = aversion
        self.owner = owner
        self.pzxid = pzxid
    }

    public static let bytes = 60
}

/// The stored `ephemeralOwner`: who keeps a znode alive, or which rule removes it.
///
/// Source: ZooKeeper, `EphemeralType`.
public struct Owner: Hashable, RawRepresentable, Sendable {
    public var rawValue: Int64

    @inlinable
    public init(rawValue: Int64) { self.rawValue = rawValue }

    public static let persistent = Owner(rawValue: 0)
    public static let container = Owner(rawValue: .min)
    /// The longest TTL that fits, in milliseconds.
    public static let ttlMillisecondsMax: Int64 = 0xff_ffff_ffff
    private static let ttlMark: UInt64 = 0xff00_0000_0000_0000

    /// A znode that is removed when it was not modified for so long and has no children.
    ///
    /// `ttlMilliseconds`: 1 to `ttlMillisecondsMax`.
    public static func ttl(_ ttlMilliseconds: Int64) -> Owner {
        precondition(
            (1...ttlMillisecondsMax).contains(ttlMilliseconds), "the range is checked at the edge")
        return Owner(rawValue: Int64(bitPattern: ttlMark | UInt64(ttlMilliseconds)))
    }

    public static func session(_ id: SessionID) -> Owner { Owner(rawValue: id.rawValue) }

    public enum Kind: Equatable {
        case persistent
        case container
        /// Milliseconds.
        case ttl(Int64)
        case ephemeral(SessionID)
    }

    public var kind: Kind {
        switch rawValue {
        case 0: return .persistent
        case .min: return .container
        default:
            let bits = UInt64(bitPattern: rawValue)
            // A session id starts with a server id of at most 254 wherever TTL nodes exist.
            if bits & 0xffff_ff00_0000_0000 == Self.ttlMark {
                return .ttl(Int64(bits & 0xff_ffff_ffff))
            }
            return .ephemeral(SessionID(rawValue: rawValue))
        }
    }

    /// The session of an ephemeral znode.
    @inlinable
    public var session: SessionID? {
        if rawValue == 0 { return nil }
        if case .ephemeral(let id) = kind { return id }
        return nil
    }
}
