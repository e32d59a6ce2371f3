package import Vocabulary

/// A write, as a value that a client's bytes and the twin both come from.
package enum Ask {
    case create(OpCode, String, data: [UInt8]?, acl: [ACL], flags: Int32, ttl: Int64)
    case delete(String, version: Int32)
    case deleteContainer(String)
    case setData(String, [UInt8]?, version: Int32)
    case setACL(String, [ACL], version: Int32)
    case check(String, version: Int32)
    case multi([Ask])

    package var op: OpCode {
        switch self {
        case .create(let op, _, _, _, _, _): op
        case .delete: .delete
        case .deleteContainer: .deleteContainer
        case .setData: .setData
        case .setACL: .setACL
        case .check: .check
        case .multi: .multi
        }
    }

    package var body: [UInt8] {
        switch self {
        case .create(let op, let path, let data, let acl, let flags, let ttl):
            RequestBytes.create(
                path, data: data, acl: acl, flags: flags,
                ttlMilliseconds: op == .createTTL ? ttl : nil)
        case .delete(let path, let version), .check(let path, let version):
            RequestBytes.pathVersion(path, version)
        case .deleteContainer(let path): RequestBytes.path(path)
        case .setData(let path, let data, let version):
            RequestBytes.setData(path, data, version: version)
        case .setACL(let path, let acl, let version):
            RequestBytes.setACL(path, acl, version: version)
        case .multi(let asks): RequestBytes.multi(asks.map { ($0.op, $0.body) })
        }
    }
}

/// Draws writes on a small tree, so that they meet each other often.
package struct AskGenerator {
    package var random: SeededGenerator
    /// Paths that exist: most writes are to them or just below.
    package var known: [String] = ["/"]
    private let names = ["a", "b", "c", "d-", "e", "f", "long-name-of-a-znode", "\u{e9}\u{8c48}"]
    private let odd = [
        "", "a", "/", "//", "/a/", "/a//b", "/a/.", "/..", "/a\u{0}b", "/zookeeper",
        "/zookeeper/quota", "/zookeeper/config", "/a/\u{e000}",
    ]
    private let quotas = [
        "/zookeeper/quota/a", "/zookeeper/quota/a/zookeeper_limits",
        "/zookeeper/quota/a/zookeeper_stats", "/zookeeper/quota/a/b",
        "/zookeeper/quota/a/b/zookeeper_limits", "/zookeeper/quota/a/b/zookeeper_stats",
    ]
    private let lists: [[ACL]] = [
        [.open], [.open], [.open], [.open], [.open], [.open], [.open], [.readOnly],
        [.bobs, .readOnly],
        [.open, .open], [ACL(permissions: .all, scheme: "auth", id: "")], [],
        [.world([.read, .write, .create])],
    ]

    package init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    package mutating func ask() -> Ask {
        if random.chance(percent: 15) {
            return .multi((0..<random.below(6)).map { _ in part() })
        }
        return random.chance(percent: 15) ? single() : part()
    }

    /// What only stands alone.
    private mutating func single() -> Ask {
        if random.chance(percent: 50) { return .deleteContainer(path()) }
        return .setACL(path(), random.pick(lists), version: version())
    }

    private mutating func part() -> Ask {
        switch random.below(10) {
        case 0..<5: return create()
        case 5, 6: return .delete(path(), version: version())
        case 7, 8: return .setData(path(), data(), version: version())
        default:
            // Outside a multi there is no check: the caller never proposes one.
            return .setData(path(), data(), version: -1)
        }
    }

    package mutating func check() -> Ask { .check(path(), version: version()) }

    private mutating func create() -> Ask {
        let op = random.pick([OpCode.create, .create, .create2, .createContainer, .createTTL])
        let flags: Int32 =
            switch op {
            case .createContainer: random.pick([4, 4, 4, 0, 2])
            case .createTTL: random.pick([5, 5, 6, 0])
            default: random.pick([0, 0, 0, 1, 1, 2, 3, 4, 5])
            }
        return .create(
            op, path(isNew: true), data: data(), acl: random.pick(lists), flags: flags,
            ttl: random.pick([0, 1, 5000, 5000, 5000, 1 << 40 - 1, 1 << 40]))
    }

    private mutating func path(isNew: Bool = false) -> String {
        if random.chance(percent: 3) { return random.pick(odd) }
        if random.chance(percent: 10) { return random.pick(quotas) }
        if random.chance(percent: 85) {
            let path = random.pick(known)
            return isNew ? (path == "/" ? "" : path) + "/" + random.pick(names) : path
        }
        return (0..<1 + random.below(4)).map { _ in "/" + random.pick(names) }.joined()
    }

    private mutating func version() -> Int32 {
        random.chance(percent: 70) ? -1 : Int32(random.below(3))
    }

    private mutating func data() -> [UInt8]? {
        random.chance(percent: 10) ? nil : random.bytes(atMost: 12)
    }
}

extension ACL {
    package static let readOnly = ACL.world(.read)
    package static let bobs = ACL(permissions: .all, scheme: "digest", id: "bob:hash")

    /// What everybody may do.
    package static func world(_ permissions: Permissions) -> ACL {
        ACL(permissions: permissions, scheme: "world", id: "anyone")
    }
}
