import ClientProtocol
internal import DequeModule
public import Jute
import Transactions
public import Vocabulary

/// Turns requests into transactions: validates them against the tree and everything proposed but
/// not yet applied, and writes down results. It runs where all writes meet: on the leader, or on a
/// standalone server.
///
/// Every request that can be decoded takes the next zxid, also when it fails: the failure is a
/// transaction too. A request that cannot be decoded takes none, so that no zxid is used twice.
/// Source: ZooKeeper, `PrepRequestProcessor`.
public final class Proposer {
    public struct Options: Sendable {
        public var skipsACLs = false
        public var extendedTypesEnabled = false
        public var enforcesQuotas = false
        public var reconfigEnabled = false
        /// Whether closing a session lists its ephemerals in the transaction.
        public var closeSessionListsPaths = true
        public var digestEnabled = true
        /// A longer list of paths is left out: the record could not be read back. Applying removes
        /// what the session owns with or without it.
        public var listedPathsBytesMax = 0xfffff
        public var strangers = Strangers.unknown

        public init() {}
    }

    /// What a session is that the tracker does not know.
    public enum Strangers: Sendable {
        /// None at all: a standalone server knows every session.
        case unknown
        /// Over.
        case expired
        /// Perhaps a local session, known only to the server that began it; over if that is this one.
        case local(exceptOf: ServerID)
    }

    /// Who asks, and when.
    public struct Origin {
        public var session: SessionID
        public var cxid: Int32
        public var identities: [Identity]
        /// The wall clock in milliseconds since 1970: the transaction's time.
        public var time: Int64
        /// Where the request came from.
        public var owner: LinkID
        /// The session is a local one of this server, and lives.
        public var isLocal: Bool

        public init(
            session: SessionID, cxid: Int32, identities: [Identity], time: Int64,
            owner: LinkID = .here, isLocal: Bool = false
        ) {
            self.owner = owner
            self.isLocal = isLocal
            self.session = session
            self.cxid = cxid
            self.identities = identities
            self.time = time
        }
    }

    /// What a client wants the ensemble to be.
    public struct ReconfigRequest: Equatable, Sendable {
        /// Servers to add or replace, as `server.N=...` between commas.
        public var joining: String?
        /// Ids of servers to remove, between commas.
        public var leaving: String?
        /// All servers; then nothing else counts.
        public var newMembers: String?
        /// The configuration that is to be changed; -1: whichever is active.
        public var expectedVersion: Zxid
    }

    /// What becomes of a `ReconfigRequest`.
    public enum NextConfiguration: Equatable, Sendable {
        case text(String)
        case refused(ErrorCode)
    }

    let database: Database
    let options: Options
    public var tracker: SessionTracker
    public private(set) var lastZxid: Zxid
    var pending = PendingChanges()
    /// The digest of the tree once every proposed transaction is applied.
    var digest: UInt64
    /// Makes the text of the next configuration, whose version is the zxid; nil: there is no ensemble
    /// to change.
    public var reconfigure: ((ReconfigRequest, Zxid) -> NextConfiguration)?
    /// The last change that went beyond a soft quota; whoever logs it sets it back to nil.
    public var softQuotaExceeded: String?
    /// Access control lists of outstanding transactions, kept alive until they are applied.
    private var heldACLs: Deque<(zxid: Zxid, acl: ACLTable.ID)> = []
    /// A path being put together.
    var scratch = ByteBuffer(capacity: 256)

    /// `lastZxid`: proposals begin behind it; nil: behind the tree's last transaction.
    public init(
        _ database: Database, tracker: SessionTracker, options: Options, lastZxid: Zxid? = nil
    ) {
        self.database = database
        self.tracker = tracker
        self.options = options
        self.lastZxid = lastZxid ?? database.lastProcessedZxid
        digest = database.digest
    }

    // MARK: Proposing

    /// Writes the transaction of a client's write.
    ///
    /// - Throws: when the body is not a record of `op`; nothing was written then.
    public func propose(
        _ op: OpCode, body: Span<UInt8>, from origin: Origin, into buffer: inout ByteBuffer
    ) throws(JuteError) -> Zxid {
        let start = buffer.count
        let zxid = lastZxid.next
        TxnHeader(
            session: origin.session, cxid: origin.cxid, zxid: zxid, time: origin.time, type: op
        ).append(to: &buffer)
        let error: ErrorCode
        do throws(JuteError) {
            if op == .multi {
                error = prepareMulti(body, origin, zxid, &buffer)
            } else {
                var reader = JuteReader(body, limits: .frame)
                error = try prepareOperation(op, &reader, origin, zxid, &buffer)
            }
        } catch {
            buffer.truncate(to: start)
            throw error
        }
        lastZxid = zxid
        finish(error, zxid: zxid, start: start, &buffer)
        return zxid
    }

    /// Writes a transaction that fails with `error` whatever the request says.
    public func proposeFailure(
        _ error: ErrorCode, from origin: Origin, into buffer: inout ByteBuffer
    ) -> Zxid {
        let start = buffer.count
        lastZxid = lastZxid.next
        TxnHeader(
            session: origin.session, cxid: origin.cxid, zxid: lastZxid, time: origin.time,
            type: .error
        ).append(to: &buffer)
        finish(error, zxid: lastZxid, start: start, &buffer)
        return lastZxid
    }

    /// Writes the transaction that begins a session, and tracks it from now on.
    ///
    /// `now`: the tracker's clock, in milliseconds.
    public func proposeSession(
        _ id: SessionID, timeoutMilliseconds: Int32, owner: LinkID = .here, now: Int64,
        time: Int64, into buffer: inout ByteBuffer
    ) -> Zxid {
        let slot = tracker.add(id, timeoutMilliseconds: timeoutMilliseconds, now: now)
        tracker.setOwner(slot, owner)
        lastZxid = lastZxid.next
        TxnHeader(session: id, cxid: 0, zxid: lastZxid, time: time, type: .createSession)
            .append(to: &buffer)
        buffer.append(timeoutMilliseconds)
        appendDigest(&buffer)
        return lastZxid
    }

    /// Writes the transaction that ends a session: its ephemerals, committed or on the way, go.
    public func proposeSessionEnd(
        _ id: SessionID, cxid: Int32, time: Int64, into buffer: inout ByteBuffer
    ) -> Zxid {
        if let slot = tracker.slot(of: id) { tracker.markClosing(slot) }
        lastZxid = lastZxid.next
        TxnHeader(session: id, cxid: cxid, zxid: lastZxid, time: time, type: .closeSession)
            .append(to: &buffer)
        let paths = ephemeralPaths(of: id)
        for path in paths { path.withUnsafeBytes { pendDelete($0, zxid: lastZxid) } }
        if options.closeSessionListsPaths {
            let bytes = paths.reduce(0) { $0 + 4 + $1.count }
            let listed = bytes > options.listedPathsBytesMax ? [] : paths
            buffer.append(Int32(truncatingIfNeeded: listed.count))
            for path in listed { buffer.appendField(path.span) }
        }
        appendDigest(&buffer)
        return lastZxid
    }

    /// Forgets what is in the tree now.
    @inline(__always)
    public func applied(_ zxid: Zxid) {
        pending.drop(upTo: zxid)
        while let held = heldACLs.first, held.zxid <= zxid {
            heldACLs.removeFirst()
            database.tree.acls.release(held.acl)
        }
        assert(
            !pending.isEmpty || zxid < lastZxid || digest == database.digest,
            "what was predicted is what came")
    }

    private func finish(
        _ error: ErrorCode, zxid: Zxid, start: Int, _ buffer: inout ByteBuffer
    ) {
        guard error == .ok else {
            buffer.truncate(to: start + TxnHeader.bytes)
            buffer.overwrite(OpCode.error.rawValue, at: start + TxnHeader.bytes - 4)
            buffer.append(error)
            return
        }
        appendDigest(&buffer)
    }

    private func appendDigest(_ buffer: inout ByteBuffer) {
        if options.digestEnabled { TxnDigest(value: digest).append(to: &buffer) }
    }

    // MARK: The tree as it will be

    @inline(__always)
    func view(_ path: Bytes) -> ZnodeView? {
        let tree = database.tree
        // Both names of the root are one znode.
        let path = path.count == 1 && path[0] == 0x2f ? path.prefix(bytes: 0) : path
        let hash = tree.hash(path)
        if let known = pending.find(path, hash) { return known }
        let found = path.count == 0 ? NodeHandle.root : tree.find(path, hash: hash)
        guard let found else { return nil }
        let record = tree.record(found)
        return ZnodeView(
            stat: record.pointee.stat, childCount: Int(record.pointee.childCount),
            acl: record.pointee.acl, dataLength: max(0, Int(record.pointee.dataLength)),
            contentCRC: record.pointee.contentCRC, isDigested: record.pointee.isDigested)
    }

    /// Records what becomes of a znode, and what that does to the digest.
    @inline(__always)
    func pend(_ path: Bytes, from old: ZnodeView?, to new: ZnodeView?, zxid: Zxid) {
        if let old { digest &-= old.digest }
        if let new { digest &+= new.digest }
        let path = path.count == 1 && path[0] == 0x2f ? path.prefix(bytes: 0) : path
        pending.put(path, database.tree.hash(path), new, zxid: zxid)
    }

    /// A list for a znode on its way, alive at least until the transaction is applied.
    func hold(_ aclBytes: Span<UInt8>, zxid: Zxid) -> ACLTable.ID {
        let acl = database.tree.acls.retain(aclBytes)
        heldACLs.append((zxid, acl))
        return acl
    }

    /// Takes a znode away and tells its parent.
    func pendDelete(_ path: Bytes, zxid: Zxid) {
        guard let view = view(path), let slash = path.lastSlash else { return }
        pend(path, from: view, to: nil, zxid: zxid)
        let parentPath = path.prefix(bytes: slash)
        guard let parent = self.view(parentPath) else { return }
        var changed = parent
        changed.childCount -= 1
        if zxid > changed.stat.pzxid { changed.stat.pzxid = zxid }
        pend(parentPath, from: parent, to: changed, zxid: zxid)
    }

    func permits(
        _ permissions: Permissions, on view: ZnodeView, to identities: [Identity]
    ) -> Bool {
        if options.skipsACLs { return true }
        let tree = database.tree
        if tree.acls.permitsEverybody(permissions, view.acl) { return true }
        return AccessControl.permits(tree.acls.list(view.acl), permissions, to: identities)
    }

    /// Whether quotas permit a change; a soft one only leaves a note.
    func checkQuota(_ path: Bytes, count: Int, bytes: Int) -> ErrorCode {
        let tree = database.tree
        if tree.quotas.isEmpty { return .ok }
        if options.enforcesQuotas, !tree.quotaPermits(path, count: count, bytes: bytes) {
            return .quotaExceeded
        }
        if let exceeded = tree.softLimitExceeded(path, count: count, bytes: bytes) {
            softQuotaExceeded = exceeded
        }
        return .ok
    }

    /// The session may write: it is known, not closing, and its client has not gone elsewhere; or it
    /// may be a local one, which can own nothing.
    ///
    /// Source: ZooKeeper, `LeaderSessionTracker.checkSession`, `checkGlobalSession`.
    func checkSession(_ origin: Origin, isToOwn: Bool = false) -> ErrorCode {
        guard let slot = tracker.slot(of: origin.session) else {
            return checkStranger(origin, isToOwn: isToOwn)
        }
        guard !tracker.isClosing(slot) else { return .sessionExpired }
        guard let owner = tracker.owner(slot) else {
            tracker.setOwner(slot, origin.owner)
            return .ok
        }
        return owner == origin.owner ? .ok : .sessionMoved
    }

    private func checkStranger(_ origin: Origin, isToOwn: Bool) -> ErrorCode {
        if origin.isLocal { return isToOwn ? .ephemeralOnLocalSession : .ok }
        return switch options.strangers {
        case .unknown: .unknownSession
        case .local(let own) where !isToOwn && !origin.session.began(at: own): .ok
        case .expired, .local: .sessionExpired
        }
    }

    /// What a session owns in the tree as it will be: committed ones oldest first, then those on
    /// their way.
    private func ephemeralPaths(of session: SessionID) -> [[UInt8]] {
        var paths: [[UInt8]] = []
        for handle in database.tree.ephemeralHandles(of: session) {
            let path = database.tree.pathBytes(of: handle)
            // Deleted, or deleted and created anew by another session.
            let owner = path.withUnsafeBytes { view($0)?.stat.owner.session }
            if owner == session { paths.append(path) }
        }
        let committed = Set(paths)
        var coming: [[UInt8]] = []
        pending.forEach { path, view in
            guard view?.stat.owner.session == session else { return }
            let path = Array(path)
            if !committed.contains(path) { coming.append(path) }
        }
        return paths + coming.sorted { $0.lexicographicallyPrecedes($1) }
    }
}
