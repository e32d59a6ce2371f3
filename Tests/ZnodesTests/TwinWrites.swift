import ClientProtocol
import Jute
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// Writes to the twin: checks and effect in one step, in the order of the rules.
extension TwinTree {
    struct Outcome {
        var error: ErrorCode
        var body: [UInt8] = []
    }

    mutating func perform(_ ask: Ask, _ origin: Origin) -> Outcome {
        switch ask {
        case .create(let op, let path, let data, let acl, let flags, let ttl):
            let (error, created) = create(op, path, data, acl, flags, ttl, origin)
            guard error == .ok else { return Outcome(error: error) }
            return Outcome(error: .ok, body: createdBody(created, withStat: op != .create))
        case .delete(let path, let version):
            return Outcome(error: delete(path, version, origin))
        case .deleteContainer(let path):
            return Outcome(error: deleteContainer(path, origin))
        case .setData(let path, let data, let version):
            let error = setData(path, data, version, origin)
            return Outcome(error: error, body: error == .ok ? statBody(path) : [])
        case .setACL(let path, let acl, let version):
            let error = setACL(path, acl, version, origin)
            return Outcome(error: error, body: error == .ok ? statBody(path) : [])
        case .check(let path, let version):
            return Outcome(error: check(path, version, origin))
        case .multi(let asks): return multi(asks, origin)
        }
    }

    mutating func endSession(_ session: SessionID, zxid: Zxid) {
        for (path, node) in nodes where node.stat.owner.session == session {
            remove(path, zxid: zxid)
        }
    }

    private func statBody(_ path: String) -> [UInt8] {
        bytes { if let stat = stat(path) { $0.append(stat) } }
    }

    private func createdBody(_ path: String, withStat: Bool) -> [UInt8] {
        bytes { $0.appendField(path) } + (withStat ? statBody(path) : [])
    }

    // MARK: multi

    private mutating func multi(_ asks: [Ask], _ origin: Origin) -> Outcome {
        for case .create(_, _, _, _, let flags, _) in asks where !(0...6).contains(flags) {
            return Outcome(error: .marshallingError)
        }
        let before = self
        var body: [UInt8] = []
        for (index, ask) in asks.enumerated() {
            let ask = Self.derived(ask)
            let outcome = perform(ask, origin)
            guard outcome.error == .ok else {
                self = before
                let errors =
                    [ErrorCode](repeating: .ok, count: index) + [outcome.error]
                    + [ErrorCode](
                        repeating: .runtimeInconsistency, count: asks.count - index - 1)
                return Outcome(
                    error: .ok,
                    body: bytes { buffer in
                        for error in errors { buffer.appendMultiError(error) }
                        buffer.appendMultiEnd()
                    })
            }
            let type: OpCode =
                ask.op == .createContainer || ask.op == .createTTL ? .create2 : ask.op
            body += bytes { $0.appendMultiHeader(type: type.rawValue, error: .ok) } + outcome.body
        }
        return Outcome(error: .ok, body: body + bytes { $0.appendMultiEnd() })
    }

    /// In a multi the flag decides what a create makes.
    private static func derived(_ ask: Ask) -> Ask {
        guard case .create(let op, let path, let data, let acl, let flags, let ttl) = ask,
            op != .createTTL
        else { return ask }
        let derived: OpCode = flags == 4 ? .createContainer : op == .createContainer ? .create : op
        return .create(derived, path, data: data, acl: acl, flags: flags, ttl: ttl)
    }

    // MARK: Single writes

    private mutating func create(
        _ op: OpCode, _ path: String, _ data: [UInt8]?, _ acl: [ACL], _ flags: Int32,
        _ ttl: Int64, _ origin: Origin
    ) -> (ErrorCode, String) {
        guard let mode = CreateMode(rawValue: flags) else { return (.badArguments, "") }
        let isTTLRight = op == .createTTL && ttl >= 1 && ttl < 1 << 40
        if mode.isTTL ? !isTTLRight : op == .createTTL { return (.badArguments, "") }
        let session = checkSession(origin)
        guard session == .ok else { return (session, "") }
        guard path.contains("/"), !path.utf8.contains(0) else { return (.badArguments, "") }
        guard let acl = fixUp(acl, origin) else { return (.invalidACL, "") }
        let parentPath = Self.parent(path)
        guard let parent = nodes[parentPath] else { return (.noNode, "") }
        guard permits(.create, parent, origin) else { return (.noAuth, "") }
        var path = path
        if mode.isSequential {
            let digits = String(parent.stat.cversion)
            path += String(repeating: "0", count: 10 - digits.utf8.count) + digits
        }
        guard Self.isValid(path) else { return (.badArguments, "") }
        guard nodes[path] == nil else { return (.nodeExists, "") }
        guard parent.stat.owner.session == nil else { return (.noChildrenForEphemerals, "") }
        let owner: Owner =
            switch op {
            case .createContainer: .container
            case .createTTL: .ttl(ttl)
            default: mode.isEphemeral ? .session(origin.session) : .persistent
            }
        nodes[parentPath]?.stat.cversion += 1
        nodes[parentPath]?.stat.pzxid = origin.zxid
        nodes[path] = Node(
            data: data, acl: acl,
            stat: StatPersisted(
                czxid: origin.zxid, mzxid: origin.zxid, ctime: origin.time, mtime: origin.time,
                owner: owner, pzxid: origin.zxid))
        quotaAfterCreate(path)
        return (.ok, path)
    }

    private func isReserved(_ path: String) -> Bool {
        ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"].contains(path)
    }

    private mutating func remove(_ path: String, zxid: Zxid) {
        guard let node = nodes.removeValue(forKey: path) else { return }
        let parent = Self.parent(path)
        if let last = nodes[parent]?.stat.pzxid { nodes[parent]?.stat.pzxid = max(last, zxid) }
        quotaAfterDelete(path, bytes: node.data?.count ?? 0)
    }

    private mutating func delete(
        _ path: String, _ version: Int32, _ origin: Origin
    ) -> ErrorCode {
        let session = checkSession(origin)
        guard session == .ok else { return session }
        guard path.contains("/"), !path.utf8.contains(0), !isReserved(path) else {
            return .badArguments
        }
        guard let parent = nodes[Self.parent(path)] else { return .noNode }
        guard permits(.delete, parent, origin) else { return .noAuth }
        guard let node = nodes[path] else { return .noNode }
        guard version == -1 || version == node.stat.version else { return .badVersion }
        guard children(path).isEmpty else { return .notEmpty }
        remove(path, zxid: origin.zxid)
        return .ok
    }

    private mutating func deleteContainer(_ path: String, _ origin: Origin) -> ErrorCode {
        guard path.contains("/"), !path.utf8.contains(0), !isReserved(path) else {
            return .badArguments
        }
        guard let node = nodes[path] else { return .noNode }
        guard children(path).isEmpty else { return .notEmpty }
        guard node.stat.owner.session == nil else { return .badVersion }
        guard let parent = nodes[Self.parent(path)] else { return .noNode }
        // Deviation: Apache's server lets every client do this.
        guard permits(.delete, parent, origin) else { return .noAuth }
        remove(path, zxid: origin.zxid)
        return .ok
    }

    private mutating func setData(
        _ path: String, _ data: [UInt8]?, _ version: Int32, _ origin: Origin
    ) -> ErrorCode {
        let session = checkSession(origin)
        guard session == .ok else { return session }
        guard Self.isValid(path) else { return .badArguments }
        guard let node = nodes[path] else { return .noNode }
        guard permits(.write, node, origin) else { return .noAuth }
        guard version == -1 || version == node.stat.version else { return .badVersion }
        nodes[path]?.data = data
        nodes[path]?.stat.version += 1
        nodes[path]?.stat.mzxid = origin.zxid
        nodes[path]?.stat.mtime = origin.time
        account(path, count: 0, bytes: (data?.count ?? 0) - (node.data?.count ?? 0))
        return .ok
    }

    private mutating func setACL(
        _ path: String, _ acl: [ACL], _ version: Int32, _ origin: Origin
    ) -> ErrorCode {
        let session = checkSession(origin)
        guard session == .ok else { return session }
        guard Self.isValid(path) else { return .badArguments }
        guard let acl = fixUp(acl, origin) else { return .invalidACL }
        guard let node = nodes[path] else { return .noNode }
        guard permits(.admin, node, origin) else { return .noAuth }
        guard version == -1 || version == node.stat.aversion else { return .badVersion }
        nodes[path]?.acl = acl
        nodes[path]?.stat.aversion += 1
        return .ok
    }

    private func check(_ path: String, _ version: Int32, _ origin: Origin) -> ErrorCode {
        let session = checkSession(origin)
        guard session == .ok else { return session }
        guard Self.isValid(path) else { return .badArguments }
        guard let node = nodes[path] else { return .noNode }
        guard permits(.read, node, origin) else { return .noAuth }
        return version == -1 || version == node.stat.version ? .ok : .badVersion
    }

    // MARK: Quotas

    private static let quota = "/zookeeper/quota"

    private func subtree(of path: String, _ name: String) -> String? {
        guard path.hasPrefix(Self.quota + "/"), path.hasSuffix("/" + name) else { return nil }
        let subtree = path.dropFirst(Self.quota.count).dropLast(name.count + 1)
        return subtree.isEmpty ? nil : String(subtree)
    }

    private mutating func quotaAfterCreate(_ path: String) {
        if let subtree = subtree(of: path, "zookeeper_limits") { quotas.insert(subtree) }
        if let subtree = subtree(of: path, "zookeeper_stats"), nodes[subtree] != nil {
            let all = nodes.filter { $0.key == subtree || $0.key.hasPrefix(subtree + "/") }
            let size = all.values.reduce(0) { $0 + ($1.data?.count ?? 0) }
            nodes[path]?.data = Array("count=\(all.count),bytes=\(size)".utf8)
        }
        account(path, count: 1, bytes: nodes[path]?.data?.count ?? 0)
    }

    private mutating func quotaAfterDelete(_ path: String, bytes: Int) {
        if let subtree = subtree(of: path, "zookeeper_limits") { quotas.remove(subtree) }
        account(path, count: -1, bytes: -bytes)
    }

    /// The deepest quota above a change counts it, in the data of its stats znode.
    private mutating func account(_ path: String, count: Int, bytes: Int) {
        guard count != 0 || bytes != 0 else { return }
        var subtree = path
        while subtree != "/", !quotas.contains(subtree) { subtree = Self.parent(subtree) }
        let stats = Self.quota + subtree + "/zookeeper_stats"
        guard subtree != "/", let node = nodes[stats] else { return }
        var counters = (node.data ?? []).withUnsafeBytes { QuotaText(parsing: $0) }
        counters.count += Int64(count)
        counters.bytes += Int64(bytes)
        nodes[stats]?.data = Array(counters.text.utf8)
    }
}
