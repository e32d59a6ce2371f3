import Jute
import QuorumProtocol
import StorageFormat
import Testing
import Vocabulary
import Znodes

/// What a snapshot stream holds, whatever order it came in.
struct TreeContent: Equatable, SnapshotStreamTarget {
    struct Node: Equatable {
        var data: [UInt8]?
        /// Nil: everybody may do everything.
        var acl: [ACL]?
        var stat: StatPersisted
    }

    private(set) var sessions: [SessionID: Int32] = [:]
    private(set) var nodes: [String: Node] = [:]
    private var acls: [Int64: [ACL]] = [:]

    static func == (a: TreeContent, b: TreeContent) -> Bool {
        a.sessions == b.sessions && a.nodes == b.nodes
    }

    /// Reads a stream to its end.
    ///
    /// Returns how many bytes it had.
    mutating func read(_ bytes: [UInt8]) throws -> Int {
        var reader = SnapshotStreamReader()
        let used = try reader.consume(bytes.span, into: &self)
        #expect(reader.isFinished)
        return used
    }

    mutating func receiveSession(_ id: SessionID, timeoutMilliseconds: Int32) {
        sessions[id] = timeoutMilliseconds
    }

    mutating func receiveACL(_ id: Int64, _ list: [ACL]) { acls[id] = list }

    mutating func receiveNode(
        path: Span<UInt8>, data: Span<UInt8>?, aclID: Int64, stat: StatPersisted
    ) -> Bool {
        var copy: [UInt8]?
        if let data { copy = [UInt8](data) }
        let path = String(lenientUTF8: path)
        var stat = stat
        // No transaction makes it: each server writes it at its own start.
        if path == "/zookeeper/config" { stat.mtime = 0 }
        nodes[path] = Node(data: copy, acl: acls[aclID], stat: stat)
        return true
    }
}

/// How a database takes the stream of another server.
struct DatabaseTarget: SnapshotStreamTarget {
    let database: Database

    /// Makes the database what the stream says.
    static func restore(_ database: Database, from stream: [UInt8], zxid: Zxid) throws {
        var target = DatabaseTarget(database: database)
        var reader = SnapshotStreamReader()
        _ = try reader.consume(stream.span, into: &target)
        try #require(reader.isFinished)
        try database.finishSnapshot(zxid: zxid, digest: nil)
    }

    mutating func receiveSession(_ id: SessionID, timeoutMilliseconds: Int32) {
        database.restoreSession(id, timeoutMilliseconds: timeoutMilliseconds)
    }

    mutating func receiveACL(_ id: Int64, _ list: [ACL]) { database.restoreACL(id, list) }

    mutating func receiveNode(
        path: Span<UInt8>, data: Span<UInt8>?, aclID: Int64, stat: StatPersisted
    ) -> Bool {
        do {
            try database.restoreNode(path: path, data: data, aclID: aclID, stat: stat)
            return true
        } catch {
            return false
        }
    }
}
