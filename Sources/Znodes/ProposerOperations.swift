import ClientProtocol
import Jute
import Transactions
import Vocabulary

/// The order of the checks, operation by operation. The first that fails is the answer.
///
/// Source: ZooKeeper, `PrepRequestProcessor.pRequest2Txn`, `pRequest2TxnCreate`.
extension Proposer {
    /// Validates one operation and writes its record; writes nothing of use on an error.
    func prepareOperation(
        _ op: OpCode, _ reader: inout JuteReader, _ origin: Origin, _ zxid: Zxid,
        _ buffer: inout ByteBuffer
    ) throws(JuteError) -> ErrorCode {
        switch op {
        case .create, .create2, .createContainer, .createTTL:
            let request = try CreateRequest(reading: &reader, op: op)
            return prepareCreate(op, request, origin, zxid, &buffer)
        case .delete:
            let request = try PathVersionRequest(reading: &reader)
            return request.path.withUnsafeBytes {
                prepareDelete($0, request.version, origin, zxid, &buffer)
            }
        case .deleteContainer:
            let path = try reader.readBytes()
            return path.withUnsafeBytes { prepareDeleteContainer($0, origin, zxid, &buffer) }
        case .setData:
            let request = try SetDataRequest(reading: &reader)
            return prepareSetData(request, origin, zxid, &buffer)
        case .setACL:
            let request = try SetACLRequest(reading: &reader)
            return prepareSetACL(request, origin, zxid, &buffer)
        case .check:
            let request = try PathVersionRequest(reading: &reader)
            return prepareCheck(request, origin, &buffer)
        case .reconfig:
            let request = ReconfigRequest(
                joining: try reader.readOptionalString(), leaving: try reader.readOptionalString(),
                newMembers: try reader.readOptionalString(),
                expectedVersion: Zxid(rawValue: try reader.readLong()))
            return prepareReconfig(request, origin, zxid, &buffer)
        default:
            preconditionFailure("only writes are proposed")
        }
    }

    // MARK: reconfig

    private func prepareReconfig(
        _ request: ReconfigRequest, _ origin: Origin, _ zxid: Zxid, _ buffer: inout ByteBuffer
    ) -> ErrorCode {
        guard options.reconfigEnabled else { return .reconfigDisabled }
        let session = checkSession(origin)
        guard session == .ok else { return session }
        // A standalone server has no ensemble to change.
        guard let reconfigure else { return .unimplemented }
        switch reconfigure(request, zxid) {
        case .refused(let error): return error
        case .text(let text):
            return Array(Paths.config.utf8).withUnsafeBytes { path in
                guard let config = view(path) else { return .noNode }
                guard permits(.write, on: config, to: origin.identities) else { return .noAuth }
                buffer.appendField(path)
                buffer.appendField(text)
                buffer.append(Int32(-1))
                return .ok
            }
        }
    }

    // MARK: create

    private func prepareCreate(
        _ op: OpCode, _ request: borrowing CreateRequest, _ origin: Origin, _ zxid: Zxid,
        _ buffer: inout ByteBuffer
    ) -> ErrorCode {
        guard let mode = CreateMode(rawValue: request.flags) else { return .badArguments }
        let ttl = request.ttlMilliseconds
        if mode.isTTL {
            guard options.extendedTypesEnabled else { return .unimplemented }
            guard (1...Owner.ttlMillisecondsMax).contains(ttl) else { return .badArguments }
        } else if op == .createTTL || ttl >= 0 {
            // Deviation: a createTTL without a TTL flag. Apache's server can log one that stops it.
            return .badArguments
        }
        let session = checkSession(origin, isToOwn: mode.isEphemeral)
        guard session == .ok else { return session }
        return request.path.withUnsafeBytes { path in
            guard let slash = path.lastSlash, !path.containsNUL else { return .badArguments }
            let parentPath = path.prefix(bytes: slash)
            guard isOpenList(request.acl.bytes) else {
                let fixed = AccessControl.fixUp(
                    request.acl.decoded(), identities: origin.identities)
                switch fixed {
                case .refused(let error): return error
                case .list(let acl):
                    return finishCreate(
                        op, mode, request, path, parentPath, ACLTable.encoded(acl).span, origin,
                        zxid, &buffer)
                }
            }
            return finishCreate(
                op, mode, request, path, parentPath, request.acl.bytes, origin, zxid, &buffer)
        }
    }

    /// Most lists are this one, and it needs no fixing.
    @inline(__always)
    private func isOpenList(_ bytes: Span<UInt8>) -> Bool {
        let open = ACLTable.worldAnyoneBytes
        return bytes.equals(open.span)
    }

    private func finishCreate(
        _ op: OpCode, _ mode: CreateMode, _ request: borrowing CreateRequest, _ path: Bytes,
        _ parentPath: Bytes, _ aclBytes: Span<UInt8>, _ origin: Origin, _ zxid: Zxid,
        _ buffer: inout ByteBuffer
    ) -> ErrorCode {
        guard let parent = view(parentPath) else { return .noNode }
        guard permits(.create, on: parent, to: origin.identities) else { return .noAuth }
        guard mode.isSequential else {
            return finishCreate(
                op, mode, request, path, parentPath, parent, aclBytes, origin, zxid, &buffer)
        }
        scratch.removeAll()
        scratch.append(path)
        scratch.append(utf8: Self.sequenceSuffix(parent.stat.cversion))
        // The buffer is taken out: what follows may use the scratch again.
        let whole = scratch.take()
        let error = finishCreate(
            op, mode, request, whole.bytes, parentPath, parent, aclBytes, origin, zxid, &buffer)
        scratch = whole
        return error
    }

    /// Ten columns, zero padded; a sign takes one of them.
    public static func sequenceSuffix(_ counter: Int32) -> String {
        let digits = String(counter.magnitude)
        let sign = counter < 0 ? "-" : ""
        let zeros = max(0, 10 - sign.utf8.count - digits.utf8.count)
        return sign + String(repeating: "0", count: zeros) + digits
    }

    private func finishCreate(
        _ op: OpCode, _ mode: CreateMode, _ request: borrowing CreateRequest, _ path: Bytes,
        _ parentPath: Bytes, _ parent: ZnodeView, _ aclBytes: Span<UInt8>, _ origin: Origin,
        _ zxid: Zxid, _ buffer: inout ByteBuffer
    ) -> ErrorCode {
        guard Paths.isValid(path) else { return .badArguments }
        guard view(path) == nil else { return .nodeExists }
        guard parent.stat.owner.session == nil else { return .noChildrenForEphemerals }
        let dataBytes = request.data?.count ?? 0
        let quota = checkQuota(path, count: 1, bytes: dataBytes)
        guard quota == .ok else { return quota }
        let parentCVersion = parent.stat.cversion &+ 1
        // The operation decides what is created, not the flag.
        let owner: Owner
        switch op {
        case .createContainer: owner = .container
        case .createTTL: owner = .ttl(request.ttlMilliseconds)
        default: owner = mode.isEphemeral ? .session(origin.session) : .persistent
        }
        CreateTxn.append(
            to: &buffer, type: op, path: Span(_unsafeBytes: path), data: request.data,
            aclBytes: aclBytes, isEphemeral: mode.isEphemeral, parentCVersion: parentCVersion,
            ttlMilliseconds: request.ttlMilliseconds)
        var changed = parent
        changed.childCount += 1
        // As applying does: a full counter stays, and then nothing says that a child came.
        if parentCVersion > parent.stat.cversion {
            changed.stat.cversion = parentCVersion
            changed.stat.pzxid = zxid
        }
        pend(parentPath, from: parent, to: changed, zxid: zxid)
        let stat = StatPersisted(
            czxid: zxid, mzxid: zxid, ctime: origin.time, mtime: origin.time, owner: owner,
            pzxid: zxid)
        let created = ZnodeView(
            stat: stat, childCount: 0, acl: hold(aclBytes, zxid: zxid), dataLength: dataBytes,
            contentCRC: contentCRC(path, request.data), isDigested: NodeDigest.counts(path))
        pend(path, from: nil, to: created, zxid: zxid)
        return .ok
    }

    private func contentCRC(_ path: Bytes, _ data: Span<UInt8>?) -> UInt32 {
        let path = path.count == 1 ? path.prefix(bytes: 0) : path
        guard let data else { return NodeDigest.contentCRC(path: path, data: nil) }
        return data.withUnsafeBytes { NodeDigest.contentCRC(path: path, data: $0) }
    }

    // MARK: delete

    private func prepareDelete(
        _ path: Bytes, _ version: Int32, _ origin: Origin, _ zxid: Zxid,
        _ buffer: inout ByteBuffer
    ) -> ErrorCode {
        let session = checkSession(origin)
        guard session == .ok else { return session }
        guard let slash = path.lastSlash, !path.containsNUL, !Paths.isReserved(path) else {
            return .badArguments
        }
        guard let parent = view(path.prefix(bytes: slash)) else { return .noNode }
        guard permits(.delete, on: parent, to: origin.identities) else { return .noAuth }
        guard let node = view(path) else { return .noNode }
        guard version == -1 || version == node.stat.version else { return .badVersion }
        guard node.childCount == 0 else { return .notEmpty }
        DeleteTxn.append(to: &buffer, path: Span(_unsafeBytes: path))
        pendDelete(path, zxid: zxid)
        return .ok
    }

    /// The sweeper's request. From a client it needs DELETE on the parent, as any delete does.
    private func prepareDeleteContainer(
        _ path: Bytes, _ origin: Origin, _ zxid: Zxid, _ buffer: inout ByteBuffer
    ) -> ErrorCode {
        guard let slash = path.lastSlash, !path.containsNUL, !Paths.isReserved(path) else {
            return .badArguments
        }
        guard let node = view(path) else { return .noNode }
        guard node.childCount == 0 else { return .notEmpty }
        guard node.stat.owner.session == nil else { return .badVersion }
        guard let parent = view(path.prefix(bytes: slash)) else { return .noNode }
        guard
            origin.session == .none || permits(.delete, on: parent, to: origin.identities)
        else { return .noAuth }
        DeleteTxn.append(to: &buffer, path: Span(_unsafeBytes: path))
        pendDelete(path, zxid: zxid)
        return .ok
    }

    // MARK: setData, setACL, check

    private func prepareSetData(
        _ request: borrowing SetDataRequest, _ origin: Origin, _ zxid: Zxid,
        _ buffer: inout ByteBuffer
    ) -> ErrorCode {
        let session = checkSession(origin)
        guard session == .ok else { return session }
        return request.path.withUnsafeBytes { path in
            guard Paths.isValid(path) else { return .badArguments }
            guard let node = view(path) else { return .noNode }
            guard permits(.write, on: node, to: origin.identities) else { return .noAuth }
            let dataBytes = request.data?.count ?? 0
            let quota = checkQuota(path, count: 0, bytes: dataBytes - node.dataLength)
            guard quota == .ok else { return quota }
            guard request.version == -1 || request.version == node.stat.version else {
                return .badVersion
            }
            var changed = node
            changed.stat.version = node.stat.version &+ 1
            changed.stat.mzxid = zxid
            changed.stat.mtime = origin.time
            changed.dataLength = dataBytes
            changed.contentCRC = contentCRC(path, request.data)
            SetDataTxn.append(
                to: &buffer, path: request.path, data: request.data, version: changed.stat.version)
            pend(path, from: node, to: changed, zxid: zxid)
            return .ok
        }
    }

    private func prepareSetACL(
        _ request: borrowing SetACLRequest, _ origin: Origin, _ zxid: Zxid,
        _ buffer: inout ByteBuffer
    ) -> ErrorCode {
        let session = checkSession(origin)
        guard session == .ok else { return session }
        return request.path.withUnsafeBytes { path in
            guard Paths.isValid(path) else { return .badArguments }
            let fixed = AccessControl.fixUp(
                request.acl.decoded(), identities: origin.identities)
            let acl: [ACL]
            switch fixed {
            case .refused(let error): return error
            case .list(let list): acl = list
            }
            guard let node = view(path) else { return .noNode }
            guard permits(.admin, on: node, to: origin.identities) else { return .noAuth }
            guard request.version == -1 || request.version == node.stat.aversion else {
                return .badVersion
            }
            let aclBytes = ACLTable.encoded(acl)
            var changed = node
            changed.stat.aversion = node.stat.aversion &+ 1
            changed.acl = hold(aclBytes.span, zxid: zxid)
            SetACLTxn.append(
                to: &buffer, path: request.path, aclBytes: aclBytes.span,
                version: changed.stat.aversion)
            pend(path, from: node, to: changed, zxid: zxid)
            return .ok
        }
    }

    private func prepareCheck(
        _ request: borrowing PathVersionRequest, _ origin: Origin, _ buffer: inout ByteBuffer
    ) -> ErrorCode {
        let session = checkSession(origin)
        guard session == .ok else { return session }
        return request.path.withUnsafeBytes { path in
            guard Paths.isValid(path) else { return .badArguments }
            guard let node = view(path) else { return .noNode }
            guard permits(.read, on: node, to: origin.identities) else { return .noAuth }
            guard request.version == -1 || request.version == node.stat.version else {
                return .badVersion
            }
            CheckVersionTxn.append(
                to: &buffer, path: request.path, version: node.stat.version &+ 1)
            return .ok
        }
    }

    // MARK: multi

    /// All operations under one zxid. When one fails, the transaction says which, and why, and
    /// changes nothing. A list that cannot be read is an error of the whole request.
    func prepareMulti(
        _ body: Span<UInt8>, _ origin: Origin, _ zxid: Zxid, _ buffer: inout ByteBuffer
    ) -> ErrorCode {
        guard let count = Self.countOperations(body) else { return .marshallingError }
        buffer.append(Int32(truncatingIfNeeded: count))
        let digestBefore = digest
        pending.beginMulti()
        var reader = JuteReader(body, limits: .frame)
        var firstError = ErrorCode.ok
        for _ in 0..<count {
            guard let header = try? MultiHeader(reading: &reader),
                let type = OpCode(rawValue: header.type)
            else { preconditionFailure("the operations were counted") }
            let start = buffer.count
            if firstError == .ok {
                firstError = prepareMultiOperation(type, &reader, origin, zxid, &buffer)
                if firstError == .ok { continue }
                buffer.truncate(to: start)
                Self.appendMultiTxnError(firstError, to: &buffer)
            } else {
                // Read past it: the following ones count as not tried.
                try? Self.skipOperation(type, &reader)
                Self.appendMultiTxnError(.runtimeInconsistency, to: &buffer)
            }
        }
        pending.endMulti(undo: firstError != .ok)
        if firstError != .ok { digest = digestBefore }
        return .ok
    }

    private func prepareMultiOperation(
        _ type: OpCode, _ reader: inout JuteReader, _ origin: Origin, _ zxid: Zxid,
        _ buffer: inout ByteBuffer
    ) -> ErrorCode {
        let type = Self.derivedType(type, reader)
        buffer.append(type)
        let lengthAt = buffer.count
        buffer.append(Int32(0))
        guard
            let error = try? prepareOperation(
                type, &reader, origin, zxid, &buffer)
        else { preconditionFailure("the operations were read once already") }
        buffer.overwrite(Int32(truncatingIfNeeded: buffer.count - lengthAt - 4), at: lengthAt)
        return error
    }

    /// In a multi the flag decides what is created.
    private static func derivedType(_ type: OpCode, _ reader: JuteReader) -> OpCode {
        var reader = reader
        switch type {
        case .create, .create2, .createContainer:
            guard let request = try? CreateRequest(reading: &reader, op: type) else { return type }
            if request.flags == CreateMode.container.rawValue { return .createContainer }
            return type == .createContainer ? .create : type
        default: return type
        }
    }

    private static func appendMultiTxnError(_ error: ErrorCode, to buffer: inout ByteBuffer) {
        buffer.append(OpCode.error)
        buffer.append(Int32(4))
        buffer.append(error)
    }

    /// The number of operations, nil unless every one can be read and is allowed.
    static func countOperations(_ body: Span<UInt8>) -> Int? {
        var reader = JuteReader(body, limits: .frame)
        var count = 0
        while true {
            guard let header = try? MultiHeader(reading: &reader) else { return nil }
            if header.done { return count }
            guard let type = OpCode(rawValue: header.type) else { return nil }
            do throws(JuteError) {
                try skipOperation(type, &reader)
            } catch {
                return nil
            }
            count += 1
        }
    }

    @_lifetime(reader: copy reader)
    static func skipOperation(
        _ type: OpCode, _ reader: inout JuteReader
    ) throws(JuteError) {
        switch type {
        case .create, .create2, .createContainer, .createTTL:
            let request = try CreateRequest(reading: &reader, op: type)
            guard CreateMode(rawValue: request.flags) != nil else {
                throw .invalidLength(request.flags)
            }
        case .delete, .check: _ = try PathVersionRequest(reading: &reader)
        case .setData: _ = try SetDataRequest(reading: &reader)
        default: throw .invalidLength(type.rawValue)
        }
    }
}
