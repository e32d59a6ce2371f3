import Jute
import UnitTestSupport
import Vocabulary

/// The tree the slow, obvious way: a dictionary from paths to znodes, written from the rules.
struct TwinTree {
    struct Node {
        var data: [UInt8]?
        var acl: [ACL]
        var stat: StatPersisted
    }

    /// Who asks, and what the transaction would carry.
    struct Origin {
        var session: SessionID
        var identities: [Identity]
        var zxid: Zxid
        var time: Int64
    }

    enum SessionState { case open, closing }

    var nodes: [String: Node] = [:]
    var sessions: [SessionID: SessionState] = [:]
    /// Subtrees with a limits znode.
    var quotas: Set<String> = []

    init() {
        for path in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
            nodes[path] = Node(data: [], acl: [.open], stat: StatPersisted())
        }
        nodes["/zookeeper/config"]?.acl = [.readOnly]
        nodes["/zookeeper/config"]?.stat.aversion = -1
    }

    // MARK: Looking

    static func parent(_ path: String) -> String {
        let parent = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
            .joined(separator: "/")
        return parent.isEmpty ? "/" : parent
    }

    func children(_ path: String) -> [String] {
        nodes.keys.filter { $0 != "/" && Self.parent($0) == path }
    }

    func stat(_ path: String) -> Stat? {
        guard let node = nodes[path] else { return nil }
        let (stat, count) = (node.stat, Int32(children(path).count))
        return Stat(
            czxid: stat.czxid, mzxid: stat.mzxid, ctime: stat.ctime, mtime: stat.mtime,
            version: stat.version, cversion: stat.cversion &* 2 &- count,
            aversion: stat.aversion, ephemeralOwner: stat.owner.session?.rawValue ?? 0,
            dataLength: Int32(node.data?.count ?? 0), numChildren: count, pzxid: stat.pzxid)
    }

    func shown() -> [String: Shown] {
        var shown: [String: Shown] = [:]
        for (path, node) in nodes {
            if let stat = stat(path) {
                shown[path] = Shown(data: node.data, acl: node.acl, stat: stat)
            }
        }
        return shown
    }

    /// The sum over all znodes, from scratch.
    var digest: UInt64 {
        nodes.reduce(into: 0) { sum, entry in
            guard !entry.key.hasPrefix("/zookeeper/") else { return }
            let (path, stat) = (entry.key == "/" ? "" : entry.key, entry.value.stat)
            let fields = bytes {
                $0.append(utf8: path)
                $0.append(entry.value.data ?? [])
                $0.append(stat.czxid)
                $0.append(stat.mzxid)
                $0.append(stat.pzxid)
                $0.append(stat.ctime)
                $0.append(stat.mtime)
                $0.append(stat.version)
                $0.append(stat.cversion)
                $0.append(stat.aversion)
                $0.append(stat.owner.rawValue)
            }
            sum &+= UInt64(PlainCRC.of(fields))
        }
    }

    // MARK: Rules

    static func isValid(_ path: String) -> Bool {
        if path == "/" { return true }
        guard path.hasPrefix("/"), !path.hasSuffix("/") else { return false }
        let names = path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        guard names.allSatisfy({ !["", ".", ".."].contains($0) }) else { return false }
        return path.utf16.allSatisfy {
            !(0...0x1f).contains($0) && !(0x7f...0x9f).contains($0)
                && !(0xd800...0xf8ff).contains($0) && $0 < 0xfff0
        }
    }

    func permits(_ permission: Permissions, _ node: Node, _ origin: Origin) -> Bool {
        origin.identities.contains { $0.scheme == "super" }
            || node.acl.contains { entry in
                entry.permissions.contains(permission)
                    && (entry.scheme == "world"
                        || origin.identities.contains(
                            Identity(scheme: entry.scheme, id: entry.id)))
            }
    }

    /// Of the lists that the generator draws.
    func fixUp(_ list: [ACL], _ origin: Origin) -> [ACL]? {
        var fixed: [ACL] = []
        for entry in list where !fixed.contains(entry) {
            guard entry.scheme == "auth" else {
                fixed.append(entry)
                continue
            }
            let ids = origin.identities.filter { $0.scheme == "digest" }
            if ids.isEmpty { return nil }
            fixed += ids.map {
                ACL(permissions: entry.permissions, scheme: $0.scheme, id: $0.id)
            }
        }
        return fixed.isEmpty ? nil : fixed
    }

    func checkSession(_ origin: Origin) -> ErrorCode {
        switch sessions[origin.session] {
        case nil: .unknownSession
        case .closing: .sessionExpired
        case .open: .ok
        }
    }
}

/// CRC-32 bit by bit, as its definition says, with a table of the bytes.
enum PlainCRC {
    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { crc, _ in
            crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1
        }
    }

    static func of(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(~UInt32(0)) { table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ $0 >> 8 }
    }
}
