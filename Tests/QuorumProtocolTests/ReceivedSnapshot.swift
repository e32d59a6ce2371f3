import Jute
import QuorumProtocol
import Vocabulary

/// Keeps what a snapshot stream held.
struct ReceivedSnapshot: SnapshotStreamTarget {
    struct Node: Equatable {
        var path: [UInt8]
        var data: [UInt8]?
        var aclID: Int64
        var stat: StatPersisted
    }

    var sessions: [(id: SessionID, timeout: Int32)] = []
    var acls: [(id: Int64, list: [ACL])] = []
    var nodes: [Node] = []
    /// Refuses the znode at this index.
    var refusedNode: Int?

    mutating func receiveSession(_ id: SessionID, timeoutMilliseconds: Int32) {
        sessions.append((id, timeoutMilliseconds))
    }

    mutating func receiveACL(_ id: Int64, _ list: [ACL]) { acls.append((id, list)) }

    mutating func receiveNode(
        path: Span<UInt8>, data: Span<UInt8>?, aclID: Int64, stat: StatPersisted
    ) -> Bool {
        if nodes.count == refusedNode { return false }
        var copy: [UInt8]?
        if let data { copy = [UInt8](data) }
        nodes.append(Node(path: [UInt8](path), data: copy, aclID: aclID, stat: stat))
        return true
    }

    func append(to buffer: inout ByteBuffer) {
        buffer.append(Int32(sessions.count))
        for (id, timeout) in sessions {
            buffer.append(id)
            buffer.append(timeout)
        }
        buffer.append(Int32(acls.count))
        for (id, list) in acls {
            buffer.append(id)
            buffer.append(list)
        }
        for node in nodes {
            buffer.appendField(node.path.span)
            if let data = node.data { buffer.appendField(data.span) } else { buffer.appendNull() }
            buffer.append(node.aclID)
            buffer.append(node.stat)
        }
        buffer.appendSnapshotStreamEnd()
    }
}
