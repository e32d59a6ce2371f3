import ClientProtocol
import Jute
import QuorumProtocol
import Transactions
import Vocabulary
import Znodes

/// What the checks know of the run: each transaction that anybody has applied, and which of them
/// are committed, in the one order of all writes.
///
/// It watches from outside and believes nobody's word. A zxid names one transaction, one
/// predecessor and one tree: so two servers that have applied the same zxid have had the same
/// history, and what is committed is a path in the tree of all histories.
struct Journal {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// The state of the simulated paths behind a transaction.
    struct Znodes: Equatable {
        /// By path; nil: there is no such znode.
        var values: [Int64?]
        var versions: [Int32]
    }

    struct Entry {
        /// The transaction before it.
        var parent: Zxid
        var session: SessionID
        var cxid: Int32
        var type: OpCode
        var error: ErrorCode
        /// Of the whole tree behind it.
        var digest: UInt64
        var znodes: Znodes
        /// A bit for each path that it created, changed or deleted.
        var touched: UInt32
        /// The configuration behind it, in `memberships`.
        var membership: Int
        /// Its place in the order of what is committed; nil: not committed.
        var index: Int?
    }

    private(set) var entries: [Zxid: Entry] = [:]
    private(set) var committed: [Zxid] = [.zero]
    private var leaders: [Int64: String] = [:]
    /// The last write of each session that is committed and was not refused.
    private var lastCxid: [SessionID: Int32] = [:]
    /// The first one, and what each reconfiguration makes of it that anybody has applied.
    private var memberships: [Membership]
    /// Of what is committed.
    private(set) var membership: Membership
    private(set) var reconfigurationCount = 0
    private(set) var epochCount = 0
    private var lastEpoch: Int64 = 0

    var lastCommitted: Zxid { committed[committed.count - 1] }

    init(_ first: EnsembleConfiguration) {
        membership = Membership(first)
        memberships = [membership]
        let none = Znodes(
            values: Array(repeating: nil, count: SimulatedPaths.count),
            versions: Array(repeating: 0, count: SimulatedPaths.count))
        entries[.zero] = Entry(
            parent: .none, session: .none, cxid: 0, type: .error, error: .ok, digest: 0,
            znodes: none, touched: 0, membership: 0, index: 0)
    }

    func isCommitted(_ zxid: Zxid) -> Bool { entries[zxid]?.index != nil }

    // MARK: What servers do

    /// A server has applied a transaction. `parent`: where its tree was before; nil if unknown.
    mutating func applied(
        _ applied: Database.Applied, parent: Zxid?, _ database: Database, at server: String
    ) throws(Failure) {
        let (header, error) = (applied.header, applied.error)
        let zxid = header.zxid
        let digest = database.digest
        if let known = entries[zxid] {
            // What is replayed behind a snapshot may be there already.
            if parent == zxid { return }
            if let parent, parent != known.parent {
                throw Failure(
                    description: "\(server) applies \(zxid) behind \(parent), others behind "
                        + "\(known.parent)")
            }
            guard digest == known.digest, header.session == known.session,
                header.cxid == known.cxid, error == known.error
            else {
                throw Failure(
                    description: "\(server) has another tree behind \(zxid) than others")
            }
            return
        }
        guard let parent, let before = entries[parent] else { return }
        guard zxid > parent else {
            throw Failure(description: "\(server) applies \(zxid) behind \(parent)")
        }
        let (znodes, touched) = SimulatedPaths.look(database, at: zxid, before.znodes)
        var membership = before.membership
        if header.type == .reconfig, error == .ok {
            membership = memberships.count
            memberships.append(try Self.membership(in: database, version: zxid, at: server))
        }
        entries[zxid] = Entry(
            parent: parent, session: header.session, cxid: header.cxid, type: header.type,
            error: error, digest: digest, znodes: znodes, touched: touched,
            membership: membership, index: nil)
    }

    /// A server begins to serve as the leader of an epoch, with the history up to `zxid`: all of it
    /// is committed from now on.
    mutating func leaderServes(
        _ server: String, epoch: Int64, history zxid: Zxid
    ) throws(Failure) {
        if let other = leaders.updateValue(server, forKey: epoch), other != server {
            throw Failure(description: "\(server) and \(other) lead epoch \(epoch)")
        }
        epochCount += 1
        if epoch < lastEpoch {
            // Its quorum has gone on to a later leader, and the news is still on its way.
            guard isCommitted(zxid) else {
                throw Failure(
                    description: "\(server) leads epoch \(epoch) with \(zxid), which epoch "
                        + "\(lastEpoch) does not know")
            }
            return
        }
        lastEpoch = epoch
        var path: [Zxid] = []
        var next = zxid
        while entries[next]?.index == nil {
            guard let entry = entries[next] else {
                throw Failure(description: "\(server) leads with \(zxid), which nobody knows")
            }
            path.append(next)
            next = entry.parent
        }
        guard next == lastCommitted else {
            throw Failure(
                description: "\(server) leads epoch \(epoch) with \(zxid), without "
                    + "\(lastCommitted), which is committed")
        }
        for zxid in path.reversed() { try commit(zxid) }
    }

    /// A leader that serves has applied a transaction.
    mutating func leaderCommits(_ zxid: Zxid, _ server: String) throws(Failure) {
        guard let entry = entries[zxid] else { return }
        guard entry.index == nil else { return }  // Its successor has committed it before.
        guard entry.parent == lastCommitted else {
            throw Failure(
                description: "\(server) commits \(zxid) behind \(entry.parent), but "
                    + "\(lastCommitted) is committed")
        }
        try commit(zxid)
    }

    private mutating func commit(_ zxid: Zxid) throws(Failure) {
        guard var entry = entries[zxid] else { return }
        entry.index = committed.count
        entries[zxid] = entry
        if let before = entries[lastCommitted], before.membership != entry.membership {
            membership = memberships[entry.membership]
            reconfigurationCount += 1
        }
        committed.append(zxid)
        // A session's writes are committed in the order in which they were made. Those of its past,
        // from a connection that it has left, change nothing.
        guard entry.cxid > 0, entry.touched != 0, entry.type != .closeSession else { return }
        if let last = lastCxid[entry.session], last >= entry.cxid {
            throw Failure(
                description: "session \(entry.session): request \(entry.cxid) is committed behind "
                    + "\(last)")
        }
        lastCxid[entry.session] = entry.cxid
    }

    // MARK: Configurations

    /// What a reconfiguration has just made of the tree.
    private static func membership(
        in database: Database, version: Zxid, at server: String
    ) throws(Failure) -> Membership {
        let text = SimulatedPaths.configurationText(in: database)
        guard let configuration = try? EnsembleConfiguration(text),
            configuration.version == version
        else {
            throw Failure(description: "\(server) applies \(version), a configuration of \(text)")
        }
        return Membership(configuration)
    }

    /// Of whom quorums must hold everything up to here before it is committed: the configuration at
    /// the last place in front of it that is committed, and each one that comes behind that.
    func deciding(upTo zxid: Zxid) -> [Membership] {
        guard var entry = entries[zxid] else { return [membership] }
        var found = [entry.membership]
        while entry.index == nil, let parent = entries[entry.parent] {
            entry = parent
            if entry.membership != found[found.count - 1] { found.append(entry.membership) }
        }
        return found.map { memberships[$0] }
    }

    /// Only what is committed may count anywhere. The first configuration has the version of a
    /// leader's epoch, or none.
    func active(_ configuration: EnsembleConfiguration) -> Membership? {
        let version = configuration.version
        if version.counter == 0 {
            return memberships[0].configuration.hasSameServers(as: configuration)
                ? memberships[0] : nil
        }
        guard let entry = entries[version], entry.index != nil else { return nil }
        let membership = memberships[entry.membership]
        return membership.configuration == configuration ? membership : nil
    }

    // MARK: What clients see

    /// What a write was to meet.
    enum Condition {
        case version(path: Int, Int32)
        case configuration(Zxid)
    }

    /// A write was answered that was asked for when `floor` was the last one committed.
    func acknowledged(
        _ zxid: Zxid, error: ErrorCode, session: SessionID, cxid: Int32, floor: Zxid,
        condition: Condition?
    ) throws(Failure) {
        guard let entry = entries[zxid], entry.index != nil else {
            throw Failure(description: "\(zxid) is acknowledged and not committed")
        }
        guard entry.session == session, entry.cxid == cxid, entry.error == error else {
            throw Failure(
                description: "\(zxid) is acknowledged for request \(cxid) of \(session), but is "
                    + "\(entry.cxid) of \(entry.session)")
        }
        guard zxid > floor else {
            throw Failure(
                description: "\(zxid) was asked for when \(floor) was committed already")
        }
        guard error == .ok, let condition, let before = entries[entry.parent] else { return }
        let (met, expected): (Int64, Int64) =
            switch condition {
            case .version(let path, let version):
                (Int64(before.znodes.versions[path]), Int64(version))
            case .configuration(let version):
                (memberships[before.membership].configuration.version.rawValue, version.rawValue)
            }
        guard met == expected else {
            throw Failure(description: "\(zxid) expected version \(expected) and met \(met)")
        }
    }

    /// A read was answered.
    func read(
        _ path: Int, value: Int64?, version: Int32, at zxid: Zxid, floor: Zxid?
    ) throws(Failure) {
        guard let entry = entries[zxid], entry.index != nil else {
            throw Failure(description: "a read shows \(zxid), which is not committed")
        }
        guard entry.znodes.values[path] == value,
            value == nil || entry.znodes.versions[path] == version
        else {
            throw Failure(
                description: "a read of \(SimulatedPaths.texts[path]) at \(zxid) shows "
                    + "\(value.map(String.init) ?? "nothing"), not "
                    + "\(entry.znodes.values[path].map(String.init) ?? "nothing")")
        }
        guard let floor, zxid < floor else { return }
        throw Failure(
            description: "a read behind a sync shows \(zxid); \(floor) was committed before")
    }

    /// The first change of a path behind `zxid`, up to `last`; nil if there is none.
    func firstChange(of path: Int, after zxid: Zxid, upTo last: Zxid) -> Zxid? {
        guard let start = entries[zxid]?.index, let end = entries[last]?.index, start < end else {
            return nil
        }
        return committed[start + 1...end].first {
            (entries[$0]?.touched ?? 0) & 1 << UInt32(path) != 0
        }
    }
}

/// The few paths that all clients fight for.
enum SimulatedPaths {
    static let texts = ["/a", "/b", "/c", "/a/x", "/a/y", "/b/z", "/e1", "/e2"]
    static let bytes = texts.map { Array($0.utf8) }
    static var count: Int { texts.count }
    /// From here on znodes are ephemeral.
    static let firstEphemeral = 6

    static func index(of path: UnsafeRawBufferPointer) -> Int? {
        bytes.firstIndex { $0.elementsEqual(path) }
    }

    /// Of `/zookeeper/config`.
    static func configurationText(in database: Database) -> String {
        let path = Array("/zookeeper/config".utf8)
        guard let handle = path.withUnsafeBytes({ database.tree.find($0) }) else { return "" }
        var buffer = ByteBuffer()
        database.tree.appendData(handle, to: &buffer)
        // In front of the data stands their length.
        return String(decoding: Array(buffer.bytes).dropFirst(4), as: UTF8.self)
    }

    static func find(_ path: Int, in database: Database) -> NodeHandle? {
        bytes[path].withUnsafeBytes { database.tree.find($0) }
    }

    /// The number that a client has written there; nil if there is no such znode.
    static func value(of path: Int, in database: Database) -> Int64? {
        guard let handle = find(path, in: database) else { return nil }
        var buffer = ByteBuffer()
        database.tree.appendData(handle, to: &buffer)
        return buffer.count == 12 ? buffer.load(Int64.self, at: 4) : 0
    }

    /// The znodes behind a transaction, and a bit for each that it has touched.
    static func look(
        _ database: Database, at zxid: Zxid, _ before: Journal.Znodes
    ) -> (znodes: Journal.Znodes, touched: UInt32) {
        var znodes = before
        var touched: UInt32 = 0
        for index in 0..<count {
            if let handle = find(index, in: database) {
                let stat = database.tree.stat(handle)
                guard stat.mzxid == zxid else { continue }
                znodes.values[index] = value(of: index, in: database)
                znodes.versions[index] = stat.version
                touched |= 1 << UInt32(index)
            } else if before.values[index] != nil {
                znodes.values[index] = nil
                touched |= 1 << UInt32(index)
            }
        }
        return (znodes, touched)
    }
}
