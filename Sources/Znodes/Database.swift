public import ClientProtocol
public import Jute
import StorageFormat
public import Transactions
public import Vocabulary

/// Where watch events go: to the connections that wait for them.
public protocol WatchSink: AnyObject {
    /// One event for each of `watchers` that may read a znode with this list. The bytes of the
    /// path are valid during the call.
    func deliver(
        _ type: WatchEventType, path: UnsafeRawBufferPointer, zxid: Zxid, acl: Access,
        to watchers: [WatcherID])
}

/// Who may read, write, create, delete or administer a znode; outlives the znode itself.
public struct Access {
    let list: [ACL]
    /// What everybody may do: the usual answer, without a look at anyone's identities.
    let worldPermissions: Permissions

    @inline(__always)
    public func permits(_ permissions: Permissions, to identities: [Identity]) -> Bool {
        !worldPermissions.isDisjoint(with: permissions)
            || AccessControl.permits(list, permissions, to: identities)
    }
}

/// The replicated state: the tree, the sessions, and the connections that watch.
///
/// The only way to change it is to apply a transaction; equal states and equal transactions give
/// equal states on every server. Source: ZooKeeper, `DataTree.processTxn`, `ZKDatabase`.
public final class Database {
    public internal(set) var tree: DataTree
    public var watches: WatchTable
    /// The timeouts with which the sessions were created, in milliseconds.
    public internal(set) var sessions: [SessionID: Int32] = [:]
    public internal(set) var lastProcessedZxid = Zxid.zero
    /// `skipACL`: everybody may do everything.
    public var skipsACLs = false
    /// Outlives the database's use. Not weak: that would slow down every retain of the sink.
    public unowned(unsafe) var watchSink: (any WatchSink)?
    /// Transactions whose digest did not match the tree behind them.
    public internal(set) var digestMismatches = 0
    /// Digests of replayed transactions up to here say nothing: the snapshot may be ahead of them.
    var digestsComparedFrom = Zxid.zero
    private var areDigestsSuspended = false
    let seed: UInt64
    var isSnapshotRestored = false
    var found: [WatcherID] = []

    /// The state of a new ensemble.
    ///
    /// `seed`: of the path hashes; unknown to clients.
    public init(seed: UInt64) {
        self.seed = seed
        tree = DataTree(seed: seed)
        watches = WatchTable(seed: seed &* 0x9e37_79b9_7f4a_7c15)
        addReservedZnodes()
    }

    /// The znodes that every tree has. Their creation leaves no trace in any stat.
    func addReservedZnodes() {
        let everybodyReads = ACL(permissions: .read, scheme: "world", id: "anyone")
        let empty = UnsafeRawBufferPointer(start: nil, count: 0)
        for path in [Paths.zookeeper, Paths.quota, Paths.config] {
            let isConfig = path == Paths.config
            let acl =
                isConfig
                ? tree.acls.retain(ACLTable.encoded([everybodyReads]).span) : ACLTable.open
            let stat = StatPersisted(aversion: isConfig ? -1 : 0)
            Array(path.utf8).withUnsafeBytes {
                _ = tree.link(path: $0, data: empty, acl: acl, stat: stat)
            }
        }
    }

    public var digest: UInt64 { tree.digest }

    /// The tree was read while its leader wrote to it, and the transactions that follow repeat some
    /// of it: until all of those are applied, no digest fits.
    public func suspendDigests() { areDigestsSuspended = true }

    /// Behind `zxid` the tree is exact again. Without a suspension nothing changes.
    public func resumeDigests(from zxid: Zxid) {
        guard areDigestsSuspended else { return }
        areDigestsSuspended = false
        digestsComparedFrom = zxid
    }

    /// What `/zookeeper/config` shows; no transaction, because each server knows it by itself.
    ///
    /// Source: ZooKeeper, `ZKDatabase.initConfigInZKDatabase`.
    ///
    /// `time`: milliseconds since 1970.
    public func setConfiguration(_ text: String, version: Zxid, time: Int64) {
        guard let handle = tree.find(Array(Paths.config.utf8).span) else { return }
        var text = text
        text.withUTF8 { bytes in
            Array(Paths.config.utf8).withUnsafeBytes { path in
                tree.replaceData(handle, path: path, UnsafeRawBufferPointer(bytes)) { record in
                    record.pointee.mzxid = version.rawValue
                    record.pointee.mtime = time
                    record.pointee.version = -1
                }
            }
        }
    }

    // MARK: Applying

    /// What became of a transaction.
    public struct Applied {
        public let header: TxnHeader
        /// What the client is told.
        public let error: ErrorCode
    }

    /// Applies one transaction.
    ///
    /// `body`: gets the response record of the request that the transaction came from,
    ///   unless it is nil.
    public func apply(
        _ txn: Span<UInt8>, reply body: UnsafeMutablePointer<ByteBuffer>? = nil
    ) throws(TxnError) -> Applied {
        var reader = JuteReader(txn, limits: .frame)
        let header = try TxnHeader(reading: &reader)
        let error = try applyRecord(header, &reader, body)
        if header.zxid > lastProcessedZxid { lastProcessedZxid = header.zxid }
        compareDigest(header, &reader)
        return Applied(header: header, error: error)
    }

    private func applyRecord(
        _ header: TxnHeader, _ reader: inout JuteReader, _ body: UnsafeMutablePointer<ByteBuffer>?
    ) throws(TxnError) -> ErrorCode {
        do throws(JuteError) {
            switch header.type {
            case .createSession:
                sessions[header.session] = try reader.readInt()
                return .ok
            case .closeSession:
                try applyCloseSession(header, &reader)
                return .ok
            case .error:
                return ErrorCode(rawValue: try reader.readInt())
            case .multi:
                break
            default:
                return try applyOperation(header.type, header, &reader, body)
            }
        } catch {
            throw .malformed(error)
        }
        return try applyMulti(header, &reader, body)
    }

    /// One operation, by itself or in a multi.
    private func applyOperation(
        _ type: OpCode, _ header: TxnHeader, _ reader: inout JuteReader,
        _ body: UnsafeMutablePointer<ByteBuffer>?
    ) throws(JuteError) -> ErrorCode {
        switch type {
        case .create, .create2, .createContainer, .createTTL:
            let txn = try CreateTxn(reading: &reader, type: type)
            let error = txn.path.withUnsafeBytes { path in
                if let data = txn.data {
                    return data.withUnsafeBytes { create(type, header, txn, path, $0) }
                }
                return create(type, header, txn, path, nil)
            }
            guard error == .ok, let body else { return error }
            body.pointee.appendField(txn.path)
            if type != .create { appendStat(of: txn.path, to: body) }
            return .ok
        case .delete, .deleteContainer:
            let txn = try DeleteTxn(reading: &reader)
            return txn.path.withUnsafeBytes { delete($0, header) }
        case .setData, .reconfig:
            let txn = try SetDataTxn(reading: &reader)
            let error = txn.path.withUnsafeBytes { path in
                if let data = txn.data {
                    return data.withUnsafeBytes { setData(path, $0, txn.version, header) }
                }
                return setData(path, nil, txn.version, header)
            }
            guard error == .ok, let body else { return error }
            if type == .reconfig, let data = txn.data { body.pointee.appendField(data) }
            appendStat(of: txn.path, to: body)
            return .ok
        case .setACL:
            let txn = try SetACLTxn(reading: &reader)
            guard let handle = tree.find(txn.path) else { return .noNode }
            let acl = tree.acls.retain(txn.aclBytes)
            tree.update(handle) { record in
                tree.acls.release(record.pointee.acl)
                record.pointee.acl = acl
                record.pointee.aversion = txn.version
            }
            if let body { body.pointee.append(tree.stat(handle)) }
            return .ok
        case .check:
            _ = try CheckVersionTxn(reading: &reader)
            return .ok
        case .error:
            return ErrorCode(rawValue: try reader.readInt())
        default:
            preconditionFailure("every transaction type has its case")
        }
    }

    private func appendStat(of path: Span<UInt8>, to body: UnsafeMutablePointer<ByteBuffer>) {
        if let handle = tree.find(path) { body.pointee.append(tree.stat(handle)) }
    }

    private func create(
        _ type: OpCode, _ header: TxnHeader, _ txn: borrowing CreateTxn, _ path: Bytes,
        _ data: Bytes?
    ) -> ErrorCode {
        guard let (parent, slash) = tree.findParent(path) else { return .noNode }
        let owner: Owner
        switch type {
        case .createContainer: owner = .container
        case .createTTL:
            // Apache's server can log a TTL that means nothing; the znode then simply stays.
            let isTTL = (1...Owner.ttlMillisecondsMax).contains(txn.ttlMilliseconds)
            owner = isTTL ? .ttl(txn.ttlMilliseconds) : .persistent
        default: owner = txn.isEphemeral ? .session(header.session) : .persistent
        }
        let stat = StatPersisted(
            czxid: header.zxid, mzxid: header.zxid, ctime: header.time, mtime: header.time,
            owner: owner, pzxid: header.zxid)
        let acl = tree.acls.retain(txn.aclBytes)
        guard tree.link(path: path, data: data, acl: acl, stat: stat) != nil else {
            tree.acls.release(acl)
            // Replay behind a fuzzy snapshot: the znode is there, its parent may not know yet.
            if type == .create { raise(parent, to: txn.parentCVersion, header.zxid) }
            return .nodeExists
        }
        raise(parent, to: txn.parentCVersion, header.zxid)
        tree.quotaAfterCreate(path, dataBytes: data?.count ?? 0)
        fireData(.nodeCreated, path, header.zxid) {
            tree.find(path).map { access($0) } ?? access(parent)
        }
        fireChildrenChanged(path.prefix(bytes: slash), parent, header.zxid)
        return .ok
    }

    /// The parent's count of creates goes up to the transaction's, never down.
    private func raise(_ parent: NodeHandle, to cversion: Int32, _ zxid: Zxid) {
        let now = tree.record(parent).pointee.cversion
        let new = cversion == -1 ? now &+ 1 : cversion
        guard new > now else { return }
        tree.update(parent) { record in
            record.pointee.cversion = new
            record.pointee.pzxid = zxid.rawValue
        }
    }

    private func delete(_ path: Bytes, _ header: TxnHeader) -> ErrorCode {
        guard let (parent, slash) = tree.findParent(path) else { return .noNode }
        let handle = tree.find(path)
        // Replay behind a fuzzy snapshot may find children that a later transaction removes.
        if let handle, handle != .root, tree.record(handle).pointee.childCount == 0 {
            let access = access(handle)
            let dataBytes = max(0, Int(tree.record(handle).pointee.dataLength))
            tree.unlink(handle)
            raisePzxid(parent, header.zxid)
            tree.quotaAfterDelete(path, dataBytes: dataBytes)
            fireDeleted(path, header.zxid, access)
            fireChildrenChanged(path.prefix(bytes: slash), parent, header.zxid)
            return .ok
        }
        raisePzxid(parent, header.zxid)
        return handle == nil ? .noNode : .notEmpty
    }

    private func raisePzxid(_ handle: NodeHandle, _ zxid: Zxid) {
        guard zxid.rawValue > tree.record(handle).pointee.pzxid else { return }
        tree.update(handle) { $0.pointee.pzxid = zxid.rawValue }
    }

    private func setData(
        _ path: Bytes, _ data: Bytes?, _ version: Int32, _ header: TxnHeader
    ) -> ErrorCode {
        guard let handle = tree.find(path) else { return .noNode }
        let before = max(0, Int(tree.record(handle).pointee.dataLength))
        tree.replaceData(handle, path: path, data) { record in
            record.pointee.mzxid = header.zxid.rawValue
            record.pointee.mtime = header.time
            record.pointee.version = version
        }
        tree.account(path, count: 0, bytes: (data?.count ?? 0) - before)
        fireData(.nodeDataChanged, path, header.zxid) { access(handle) }
        return .ok
    }

    private func applyCloseSession(
        _ header: TxnHeader, _ reader: inout JuteReader
    ) throws(JuteError) {
        sessions[header.session] = nil
        if Self.beginsWithPaths(reader) {
            let count = try reader.readCount() ?? 0
            for _ in 0..<count {
                let path = try reader.readBytes()
                _ = path.withUnsafeBytes { delete($0, header) }
            }
        }
        for handle in tree.ephemeralHandles(of: header.session) {
            tree.pathBytes(of: handle).withUnsafeBytes { _ = delete($0, header) }
        }
    }

    /// Old servers wrote no list, and some are told not to: then a digest, or nothing, is next.
    private static func beginsWithPaths(_ reader: JuteReader) -> Bool {
        var reader = reader
        do throws(JuteError) {
            let count = try reader.readCount() ?? 0
            for _ in 0..<count { _ = try reader.readBytes() }
        } catch {
            return false
        }
        return reader.remaining == 0 || reader.remaining >= TxnDigest.bytes
    }

    /// All of it or nothing: a multi with an error inside, or with anything unknown, changes nothing.
    /// The errors are in the reply; but that the session has moved concerns the whole connection.
    private func applyMulti(
        _ header: TxnHeader, _ reader: inout JuteReader, _ body: UnsafeMutablePointer<ByteBuffer>?
    ) throws(TxnError) -> ErrorCode {
        var scan = reader
        let hasFailed = try Self.scanMulti(&scan)
        var hasMoved = false
        do throws(JuteError) {
            let count = try reader.readCount() ?? 0
            for _ in 0..<count {
                let number = try reader.readInt()
                let record = try reader.readBytes()
                guard let type = OpCode(rawValue: number) else { continue }
                var fields = JuteReader(record, limits: .frame)
                if hasFailed {
                    let error = ErrorCode(rawValue: type == .error ? try fields.readInt() : 0)
                    body?.pointee.appendMultiError(error)
                    if error == .sessionMoved { hasMoved = true }
                    continue
                }
                let resultType: OpCode =
                    switch type {
                    case .createContainer, .createTTL: .create2
                    default: type
                    }
                body?.pointee.appendMultiHeader(type: resultType.rawValue, error: .ok)
                _ = try applyOperation(type, header, &fields, body)
            }
        } catch {
            throw .malformed(error)
        }
        body?.pointee.appendMultiEnd()
        return hasMoved ? .sessionMoved : .ok
    }

    /// Checks that every operation can be read; true when one of them is an error.
    static func scanMulti(_ reader: inout JuteReader) throws(TxnError) -> Bool {
        var hasFailed = false
        do throws(JuteError) {
            let count = try reader.readCount() ?? 0
            for _ in 0..<count {
                let number = try reader.readInt()
                var fields = JuteReader(try reader.readBytes(), limits: .frame)
                guard let type = OpCode(rawValue: number), type.isMultiTransaction else {
                    throw JuteError.invalidLength(number)
                }
                switch type {
                case .create, .create2, .createContainer, .createTTL:
                    _ = try CreateTxn(reading: &fields, type: type)
                case .setData: _ = try SetDataTxn(reading: &fields)
                case .error:
                    _ = try fields.readInt()
                    hasFailed = true
                case .check: _ = try CheckVersionTxn(reading: &fields)
                default: _ = try DeleteTxn(reading: &fields)
                }
            }
        } catch {
            throw .malformed(error)
        }
        return hasFailed
    }

    private func compareDigest(_ header: TxnHeader, _ reader: inout JuteReader) {
        guard header.type != .error, !areDigestsSuspended, let digest = TxnDigest(reading: &reader),
            digest.version == TxnDigest.currentVersion, header.zxid > digestsComparedFrom
        else { return }
        if digest.value != tree.digest { digestMismatches += 1 }
    }

    // MARK: Access

    /// Whether someone may do something to a znode.
    @inline(__always)
    public func permits(
        _ permissions: Permissions, on handle: NodeHandle, to identities: [Identity]
    ) -> Bool {
        let acl = tree.record(handle).pointee.acl
        if skipsACLs || tree.acls.permitsEverybody(permissions, acl) { return true }
        return AccessControl.permits(tree.acls.list(acl), permissions, to: identities)
    }
}
