/// What an ACL entry permits.
public struct Permissions: OptionSet, Hashable, Sendable {
    public var rawValue: Int32

    @inlinable
    public init(rawValue: Int32) { self.rawValue = rawValue }

    public static let read = Permissions(rawValue: 1)
    public static let write = Permissions(rawValue: 2)
    public static let create = Permissions(rawValue: 4)
    public static let delete = Permissions(rawValue: 8)
    public static let admin = Permissions(rawValue: 16)
    public static let all = Permissions(rawValue: 31)
}

/// Who somebody is, under an authentication scheme: `digest` `bob:hash`, `ip` `10.0.0.7`.
/// A connection may have several identities.
public struct Identity: Hashable, Sendable {
    public var scheme: String
    public var id: String

    public init(scheme: String, id: String) {
        self.scheme = scheme
        self.id = id
    }
}

/// One entry of an access control list. Permissions are kept as they were sent: ZooKeeper does not
/// check their range.
public struct ACL: Hashable, Sendable {
    public var permissions: Permissions
    public var scheme: String
    public var id: String

    public init(permissions: Permissions, scheme: String, id: String) {
        self.permissions = permissions
        self.scheme = scheme
        self.id = id
    }

    /// Everybody may do everything.
    public static let open = ACL(permissions: .all, scheme: "world", id: "anyone")
}
