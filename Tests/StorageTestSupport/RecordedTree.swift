import Jute
package import StorageFormat
package import Vocabulary

/// Takes what a snapshot and the logs contain, in its order, and can give the snapshot back: the
/// tree's stand-in on both sides of the disk. Txns are kept and not applied.
package struct RecordedTree: RestoreTarget, SnapshotSource {
    package struct Node: Equatable, Sendable {
        package var path: [UInt8]
        package var data: [UInt8]?
        package var aclID: Int64
        package var stat: StatPersisted

        package init(path: [UInt8], data: [UInt8]?, aclID: Int64, stat: StatPersisted) {
            self.path = path
            self.data = data
            self.aclID = aclID
            self.stat = stat
        }
    }

    package var zxid = Zxid.zero
    package var digest: UInt64 = 0
    package var sessions: [(id: SessionID, timeoutMilliseconds: Int32)] = []
    package var acls: [(id: Int64, list: [ACL])] = []
    package var nodes: [Node] = []
    package var txns: [[UInt8]] = []
    package var restoredDigest: SnapshotSections.Digest?
    package var resets = 0
    package var finishedSnapshots = 0
    package var lastProcessedZxid = Zxid.zero
    private var paths: Set<[UInt8]> = []

    package init() {}

    /// A tree of `count` znodes below the root with `dataBytes` of data each.
    package init(zxid: Zxid, count: Int, dataBytes: Int) {
        self.zxid = zxid
        digest = 0xfeed_beef
        nodes.append(Node(path: [], data: [], aclID: -1, stat: StatPersisted()))
        for index in 0..<count {
            let data = [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: dataBytes)
            let stat = StatPersisted(czxid: Zxid(rawValue: Int64(index)), version: Int32(index))
            nodes.append(
                Node(path: Array("/node-\(index)".utf8), data: data, aclID: -1, stat: stat))
        }
    }

    package mutating func reset() {
        let count = resets + 1
        self = RecordedTree()
        resets = count
    }

    package mutating func restoreSession(_ id: SessionID, timeoutMilliseconds: Int32) {
        sessions.append((id, timeoutMilliseconds))
    }

    package mutating func restoreACL(_ id: Int64, _ list: [ACL]) {
        acls.append((id, list))
    }

    package mutating func restoreNode(
        path: Span<UInt8>, data: Span<UInt8>?, aclID: Int64, stat: StatPersisted
    ) throws(RestoreError) {
        let bytes = Array(path)
        let text = String(decoding: bytes, as: UTF8.self)
        if let slash = bytes.lastIndex(of: UInt8(ascii: "/")) {
            guard paths.contains(Array(bytes[..<slash])) else { throw .parentMissing(path: text) }
        }
        guard paths.insert(bytes).inserted else { throw .duplicateNode(path: text) }
        guard aclID == -1 || acls.contains(where: { $0.id == aclID }) else {
            throw .unknownACL(aclID)
        }
        var copy: [UInt8]?
        if let data { copy = Array(data) }
        nodes.append(Node(path: bytes, data: copy, aclID: aclID, stat: stat))
    }

    package mutating func finishSnapshot(
        zxid: Zxid, digest: (zxid: Zxid, value: UInt64)?
    ) throws(RestoreError) {
        self.zxid = zxid
        lastProcessedZxid = zxid
        restoredDigest = digest.map { .init(zxid: $0.zxid, value: $0.value) }
        self.digest = digest?.value ?? 0
        finishedSnapshots += 1
    }

    package mutating func replay(_ txn: Span<UInt8>) throws(RestoreError) {
        txns.append(Array(txn))
        lastProcessedZxid = max(lastProcessedZxid, LogFormat.zxid(ofTxn: txn))
    }

    package func forEachNode<E: Error>(
        _ body: (
            _ path: UnsafeRawBufferPointer, _ data: UnsafeRawBufferPointer?, _ aclID: Int64,
            _ stat: StatPersisted
        ) throws(E) -> Void
    ) throws(E) {
        for node in nodes {
            var path = ByteBuffer()
            path.append(node.path)
            if let bytes = node.data {
                var data = ByteBuffer(capacity: 1)
                data.append(bytes)
                try body(path.bytes, data.bytes, node.aclID, node.stat)
            } else {
                try body(path.bytes, nil, node.aclID, node.stat)
            }
        }
    }

    /// The zxids of the replayed txns.
    package var replayedZxids: [Zxid] { txns.map { LogFormat.zxid(ofTxn: $0.span) } }

    /// Whether everything that a snapshot holds is the same, in the same order.
    package func hasSameSnapshot(as other: RecordedTree) -> Bool {
        sessions.elementsEqual(other.sessions) { $0 == $1 }
            && acls.elementsEqual(other.acls) { $0 == $1 } && nodes == other.nodes
    }
}
