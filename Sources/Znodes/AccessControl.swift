import ClientProtocol
import Jute
public import Vocabulary

/// Who may do what, and which lists are lists at all.
///
/// Source: ZooKeeper, `ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL`.
public enum AccessControl {
    /// Whether some entry grants one of `permissions` to one of `identities`.
    static func permits(
        _ list: [ACL], _ permissions: Permissions, to identities: [Identity]
    ) -> Bool {
        if list.isEmpty || identities.contains(where: { $0.scheme == "super" }) { return true }
        return list.contains { entry in
            guard !entry.permissions.isDisjoint(with: permissions) else { return false }
            if entry.scheme == "world" { return entry.id == "anyone" }
            return identities.contains { matches(entry, $0) }
        }
    }

    private static func matches(_ entry: ACL, _ identity: Identity) -> Bool {
        guard entry.scheme == identity.scheme else { return false }
        guard entry.scheme == "ip" else { return entry.id == identity.id }
        guard let network = Network(entry.id), let address = Network.address(identity.id) else {
            return false
        }
        return network.contains(address)
    }

    /// An IPv4 address or network, as the `ip` scheme writes it.
    struct Network {
        var address: UInt32
        var bits: Int

        init?(_ text: String) {
            let parts = text.split(separator: "/", omittingEmptySubsequences: false)
            guard parts.count <= 2, let address = Self.address(String(parts[0])) else { return nil }
            self.address = address
            bits = 32
            if parts.count == 2 {
                guard let count = Int(parts[1]), (0...32).contains(count) else { return nil }
                bits = count
            }
        }

        static func address(_ text: String) -> UInt32? {
            let parts = text.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count == 4 else { return nil }
            var address: UInt32 = 0
            for part in parts {
                guard let value = UInt8(part) else { return nil }
                address = address << 8 | UInt32(value)
            }
            return address
        }

        func contains(_ other: UInt32) -> Bool {
            bits == 0 || (address ^ other) >> UInt32(32 - bits) == 0
        }
    }

    /// The list that a create or setACL stores, or why it stores none.
    enum FixedUp {
        case list([ACL])
        case refused(ErrorCode)
    }

    /// As long as the longest request, unless that is configured.
    private static let listBytesMax = 0xfffff

    /// For finding duplicates: a request may hold a hundred thousand entries.
    private struct Entry: Hashable {
        var permissions: Permissions
        var scheme: String?
        var id: String?
    }

    /// Exact duplicates go, then `auth` is replaced by the requester's authenticated identities.
    static func fixUp(
        _ list: [(permissions: Permissions, scheme: String?, id: String?)]?,
        identities: [Identity]
    ) -> FixedUp {
        guard let list, !list.isEmpty else { return .refused(.invalidACL) }
        var fixed: [ACL] = []
        var seen: Set<Entry> = []
        // Many `auth` entries times many identities could be more than any record holds.
        var bytes = 0
        func add(_ entry: ACL) -> Bool {
            fixed.append(entry)
            bytes += 12 + entry.scheme.utf8.count + entry.id.utf8.count
            return bytes <= listBytesMax
        }
        for entry in list {
            let isNew = seen.insert(
                Entry(permissions: entry.permissions, scheme: entry.scheme, id: entry.id)
            ).inserted
            guard isNew else { continue }
            guard let scheme = entry.scheme else { return .refused(.invalidACL) }
            if scheme == "auth" {
                // Its own id, even a null, says nothing.
                let authenticated = identities.filter { isAuthenticated($0.scheme) }
                guard !authenticated.isEmpty else { return .refused(.invalidACL) }
                for identity in authenticated {
                    let own = ACL(
                        permissions: entry.permissions, scheme: identity.scheme, id: identity.id)
                    guard add(own) else { return .refused(.invalidACL) }
                }
                continue
            }
            guard let id = entry.id else { return .refused(.marshallingError) }
            guard isValid(scheme: scheme, id: id) else { return .refused(.invalidACL) }
            let own = ACL(permissions: entry.permissions, scheme: scheme, id: id)
            guard add(own) else { return .refused(.invalidACL) }
        }
        return .list(fixed)
    }

    /// Whether an identity of this scheme proves who somebody is; an address does not.
    private static func isAuthenticated(_ scheme: String) -> Bool {
        scheme == "digest" || scheme == "sasl" || scheme == "x509"
    }

    private static func isValid(scheme: String, id: String) -> Bool {
        switch scheme {
        case "world": return id == "anyone"
        case "digest":
            // Colons at the end are no part: Java's `split` forgets empty ends.
            let end = id.utf8.lastIndex { $0 != 0x3a }.map { id.utf8.index(after: $0) }
            let parts = id.utf8[..<(end ?? id.utf8.startIndex)]
                .split(separator: 0x3a, omittingEmptySubsequences: false)
            return parts.count == 2
        case "ip": return Network(id) != nil
        default: return false
        }
    }

    /// What a client without ADMIN sees of a list: the hashes of `digest` entries are masked.
    public static func masked(_ list: [ACL]) -> [ACL] {
        list.map { entry in
            guard entry.scheme == "digest", let colon = entry.id.firstIndex(of: ":") else {
                return entry
            }
            var entry = entry
            entry.id = entry.id[..<colon] + ":x"
            return entry
        }
    }
}
