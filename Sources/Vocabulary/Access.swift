/// What an ACL entry permits.
package struct Permissions: OptionSet, Hashable, Sendable {
    package var rawValue: Int32

    @inlinable
    package init(rawValue: Int32) { self.rawValue = rawValue }

    package static let read = Permissions(rawValue: 1)
    package static let write = Permissions(rawValue: 2)
    package static let create = Permissions(rawValue: 4)
    package static let delete = Permissions(rawValue: 8)
    package static let admin = Permissions(rawValue: 16)
    package static let all = Permissions(rawValue: 31)
}

/// Who somebody is, under an authentication scheme: `digest` `bob:hash`, `ip` `10.0.0.7`.
/// A connection may have several identities.
package struct Identity: Hashable, Sendable {
    package var scheme: String
    package var id: String

    package init(scheme: String, id: String) {
        self.scheme = scheme
        self.id = id
    }
}

/// One entry of an access control list. Permissions are kept as they were sent: ZooKeeper does not
/// check their range.
package struct ACL: Hashable, Sendable {
    package var permissions: Permissions
    package var scheme: String
    package var id: String

    package init(permissions: Permissions, scheme: String, id: String) {
        self.permissions = permissions
        self.scheme = scheme
        self.id = id
    }

    /// Everybody may do everything.
    package static let open = ACL(permissions: .all, scheme: "world", id: "anyone")
}
