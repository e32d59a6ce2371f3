import ClientProtocol
import Jute
import Vocabulary
import Znodes

/// One request that changes nothing but watches: its reader, and where its answer goes.
///
/// Paths of reads are not validated: an odd one names no znode, and that is the answer.
struct Call: ~Escapable {
    private let database: Database
    private let connection: ClientConnection
    private let xid: Int32
    private let arrival: UInt64
    private var reader: JuteReader

    @_lifetime(copy reader)
    @inline(__always)
    init(
        database: Database, connection: ClientConnection, xid: Int32, arrival: UInt64,
        reader: consuming JuteReader
    ) {
        self.database = database
        self.connection = connection
        self.xid = xid
        self.arrival = arrival
        self.reader = reader
    }

    private var tree: DataTree { @inline(__always) get { database.tree } }

    @inline(__always)
    private func fail(_ error: ErrorCode) {
        connection.reply(
            xid: xid, zxid: database.lastProcessedZxid, error: error, arrival: arrival)
    }

    @inline(__always)
    private func succeed() { fail(.ok) }

    @inline(__always)
    private func succeed(_ body: (inout ByteBuffer) -> Void) {
        connection.reply(xid: xid, zxid: database.lastProcessedZxid, arrival: arrival, body)
    }

    @inline(__always)
    private func mayRead(_ handle: NodeHandle) -> Bool {
        database.permits(.read, on: handle, to: connection.identities)
    }

    private func watch(_ path: Span<UInt8>, _ modes: WatchModes) {
        path.withUnsafeBytes {
            database.watches.add($0, watcher: connection.watcher, modes: modes)
        }
    }

    // MARK: Reads

    @_lifetime(self: copy self)
    mutating func getData() throws(JuteError) {
        let request = try PathWatchRequest(reading: &reader)
        guard let handle = tree.find(request.path) else { return fail(.noNode) }
        guard mayRead(handle) else { return fail(.noAuth) }
        if request.watch { watch(request.path, .data) }
        succeed {
            tree.appendData(handle, to: &$0)
            $0.append(tree.stat(handle))
        }
    }

    /// The watch is set even where there is no znode yet.
    @_lifetime(self: copy self)
    mutating func exists() throws(JuteError) {
        let request = try PathWatchRequest(reading: &reader)
        let isNameable = request.path.withUnsafeBytes { !$0.containsNUL }
        guard isNameable else { return fail(.badArguments) }
        let found = tree.find(request.path)
        if let found, !mayRead(found) { return fail(.noAuth) }
        if request.watch { watch(request.path, .data) }
        guard let found else { return fail(.noNode) }
        succeed { $0.append(tree.stat(found)) }
    }

    @_lifetime(self: copy self)
    mutating func getChildren(withStat: Bool) throws(JuteError) {
        let request = try PathWatchRequest(reading: &reader)
        guard let handle = tree.find(request.path) else { return fail(.noNode) }
        guard mayRead(handle) else { return fail(.noAuth) }
        if request.watch { watch(request.path, .child) }
        succeed {
            tree.appendChildren(handle, to: &$0)
            if withStat { $0.append(tree.stat(handle)) }
        }
    }

    @_lifetime(self: copy self)
    mutating func getACL() throws(JuteError) {
        let path = try reader.readBytes()
        guard let handle = tree.find(path) else { return fail(.noNode) }
        let identities = connection.identities
        guard database.permits([.read, .admin], on: handle, to: identities) else {
            return fail(.noAuth)
        }
        let isAdmin = database.permits(.admin, on: handle, to: identities)
        let list = tree.acl(handle)
        succeed {
            $0.append(isAdmin ? list : AccessControl.masked(list))
            $0.append(tree.stat(handle))
        }
    }

    /// On a standalone server every read is in sync: an answer in its place is all.
    @_lifetime(self: copy self)
    mutating func sync() throws(JuteError) {
        let path = try reader.readOptionalBytes()
        succeed {
            if let path { $0.appendField(path) } else { $0.appendNull() }
        }
    }

    @_lifetime(self: copy self)
    mutating func getAllChildrenNumber() throws(JuteError) {
        let path = try reader.readBytes()
        guard let handle = tree.find(path) else { return fail(.noNode) }
        guard mayRead(handle) else { return fail(.noAuth) }
        succeed { $0.append(Int32(truncatingIfNeeded: tree.countDescendants(handle))) }
    }

    /// The session's own ephemerals whose path starts with a text: not a path rule, plain text.
    @_lifetime(self: copy self)
    mutating func getEphemerals() throws(JuteError) {
        let prefix = try reader.readOptionalString() ?? ""
        let isBlank = prefix.utf8.allSatisfy { $0 == 0x20 || (0x09...0x0d).contains($0) }
        let all = tree.ephemeralPaths(of: connection.session)
        let paths = isBlank || prefix == "/" ? all : all.filter { $0.hasPrefix(prefix) }
        succeed {
            $0.append(Int32(truncatingIfNeeded: paths.count))
            for path in paths { $0.appendField(path) }
        }
    }

    func whoAmI() {
        let identities = connection.identities
        succeed {
            $0.append(Int32(truncatingIfNeeded: identities.count))
            for identity in identities {
                $0.appendField(identity.scheme)
                let user = identity.id.split(separator: ":", maxSplits: 1).first ?? ""
                $0.appendField(identity.scheme == "digest" ? String(user) : identity.id)
            }
        }
    }

    /// Each operation succeeds or fails by itself. One that is no read ends the list there, and
    /// the whole request is an error that still carries the results so far.
    @_lifetime(self: copy self)
    mutating func multiRead() throws(JuteError) {
        var results = ByteBuffer()
        var error = ErrorCode.ok
        loop: while true {
            let header = try MultiHeader(reading: &reader)
            if header.done { break }
            switch OpCode(rawValue: header.type) {
            case .getData:
                let request = try PathWatchRequest(reading: &reader)
                guard let handle = find(request.path, &results) else { continue }
                results.appendMultiHeader(type: header.type, error: .ok)
                tree.appendData(handle, to: &results)
                results.append(tree.stat(handle))
            case .getChildren:
                let request = try PathWatchRequest(reading: &reader)
                guard let handle = find(request.path, &results) else { continue }
                results.appendMultiHeader(type: header.type, error: .ok)
                tree.appendChildren(handle, to: &results)
            case .create, .create2, .createContainer, .createTTL, .delete, .setData, .check:
                error = .marshallingError
                break loop
            default:
                throw .invalidLength(header.type)
            }
        }
        results.appendMultiEnd()
        let zxid = database.lastProcessedZxid
        connection.reply(xid: xid, zxid: zxid, error: error, arrival: arrival) {
            $0.append(results.bytes)
        }
    }

    /// A readable znode, or its error among the results.
    private func find(_ path: Span<UInt8>, _ results: inout ByteBuffer) -> NodeHandle? {
        guard let handle = tree.find(path) else {
            results.appendMultiError(.noNode)
            return nil
        }
        guard mayRead(handle) else {
            results.appendMultiError(.noAuth)
            return nil
        }
        return handle
    }

    // MARK: Watches

    @_lifetime(self: copy self)
    mutating func addWatch() throws(JuteError) {
        let request = try PathNumberRequest(reading: &reader)
        switch request.number {
        case 0: watch(request.path, .persistent)
        case 1: watch(request.path, .recursive)
        default: return fail(.marshallingError)
        }
        succeed { $0.append(Int32(0)) }
    }

    /// The modes that a watcher type names; nil for an unknown type.
    private static func modes(_ type: Int32) -> WatchModes? {
        switch type {
        case 1: .child
        case 2: .data
        case 3: .all
        case 4: .persistent
        case 5: .recursive
        default: nil
        }
    }

    @_lifetime(self: copy self)
    mutating func checkWatches() throws(JuteError) {
        let request = try PathNumberRequest(reading: &reader)
        guard let modes = Self.modes(request.number) else { return fail(.marshallingError) }
        let present = request.path.withUnsafeBytes {
            database.watches.modes($0, watcher: connection.watcher)
        }
        fail(present.isDisjoint(with: modes) ? .noWatcher : .ok)
    }

    @_lifetime(self: copy self)
    mutating func removeWatches() throws(JuteError) {
        let request = try PathNumberRequest(reading: &reader)
        guard let modes = Self.modes(request.number) else { return fail(.marshallingError) }
        let wasThere = request.path.withUnsafeBytes {
            database.watches.remove($0, watcher: connection.watcher, modes: modes)
        }
        fail(wasThere ? .ok : .noWatcher)
    }

    /// After a reconnect: what changed since the client's last zxid is told at once, in front of
    /// the reply; the rest is watched again.
    @_lifetime(self: copy self)
    mutating func setWatches(withPersistent: Bool) throws(JuteError) {
        // Everything is read before anything is done: a request that breaks off does nothing.
        let since = Zxid(rawValue: try reader.readLong())
        var check = reader
        for _ in 0..<(withPersistent ? 5 : 3) {
            guard let count = try check.readCount() else { throw .unexpectedNull }
            for _ in 0..<count { _ = try check.readBytes() }
        }
        try forEachPath { call, path in
            guard let handle = call.tree.find(path) else { return call.tell(.nodeDeleted, path) }
            if call.tree.stat(handle).mzxid > since {
                call.tell(.nodeDataChanged, path)
            } else {
                call.watch(path, .data)
            }
        }
        try forEachPath { call, path in
            if call.tree.find(path) != nil {
                call.tell(.nodeCreated, path)
            } else {
                call.watch(path, .data)
            }
        }
        try forEachPath { call, path in
            guard let handle = call.tree.find(path) else { return call.tell(.nodeDeleted, path) }
            if call.tree.stat(handle).pzxid > since {
                call.tell(.nodeChildrenChanged, path)
            } else {
                call.watch(path, .child)
            }
        }
        if withPersistent {
            try forEachPath { call, path in call.watch(path, .persistent) }
            try forEachPath { call, path in call.watch(path, .recursive) }
        }
        succeed()
    }

    @_lifetime(self: copy self)
    private mutating func forEachPath(
        _ body: (borrowing Call, Span<UInt8>) -> Void
    ) throws(JuteError) {
        let count = try reader.readCount() ?? 0
        for _ in 0..<count {
            let path = try reader.readBytes()
            body(self, path)
        }
    }

    private func tell(_ type: WatchEventType, _ path: Span<UInt8>) {
        path.withUnsafeBytes { connection.sendEvent(type, path: $0, zxid: .none) }
    }
}

extension OpCode {
    /// The token of the `cons` command.
    var shortName: String {
        switch self {
        case .notification: "NOTI"
        case .create, .create2, .createContainer, .createTTL: "CREA"
        case .delete, .deleteContainer: "DELE"
        case .exists: "EXIS"
        case .getData: "GETD"
        case .setData: "SETD"
        case .getACL: "GETA"
        case .setACL: "SETA"
        case .getChildren: "GETC"
        case .getChildren2: "GETC"
        case .sync: "SYNC"
        case .ping: "PING"
        case .check: "CHEC"
        case .multi: "MULT"
        case .multiRead: "MLTR"
        case .reconfig: "RECO"
        case .checkWatches: "CHKW"
        case .removeWatches: "REMW"
        case .auth: "AUTH"
        case .setWatches: "SETW"
        case .sasl: "SASL"
        case .getEphemerals: "GETE"
        case .getAllChildrenNumber: "GETACN"
        case .setWatches2: "STW2"
        case .addWatch: "ADDW"
        case .whoAmI: "HOMI"
        case .createSession: "SESS"
        case .closeSession: "CLOS"
        case .error: "EROR"
        }
    }
}
