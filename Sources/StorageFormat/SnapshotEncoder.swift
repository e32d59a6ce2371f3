import Jute
import Vocabulary

/// Gathers a snapshot's stream in a buffer and keeps its running checksum.
private struct SnapshotBytes: ~Copyable {
    var buffer: ByteBuffer
    private var sum = Adler32()
    /// How much of `buffer` is in `sum`.
    private var summed = 0
    private(set) var written = 0

    init(capacity: Int) { buffer = ByteBuffer(capacity: capacity) }

    private mutating func sumUp() {
        sum.update(UnsafeRawBufferPointer(rebasing: buffer.bytes[summed...]))
        summed = buffer.count
    }

    mutating func appendSeal() {
        sumUp()
        buffer.append(sum.value)
        appendTerminator()
    }

    mutating func appendTerminator() {
        buffer.append(Int32(1))
        buffer.append(SnapshotFormat.terminator)
    }

    mutating func emit<E: Error>(
        to write: (UnsafeRawBufferPointer) throws(E) -> Void
    ) throws(E) {
        sumUp()
        try write(buffer.bytes)
        written += buffer.count
        summed = 0
        buffer.removeAll()
    }
}

extension SnapshotSource {
    /// Writes the uncompressed stream of a snapshot in pieces of about `pieceBytes`.
    ///
    /// - Returns: how many bytes and znodes were written.
    public func encode<E: Error>(
        sections: SnapshotSections, pieceBytes: Int = 1 << 20,
        to write: (UnsafeRawBufferPointer) throws(E) -> Void
    ) throws(E) -> (bytes: Int, nodes: Int) {
        // A znode goes into the buffer whole, so the buffer is a little larger than a piece.
        var out = SnapshotBytes(capacity: pieceBytes + 65536)
        out.buffer.append(SnapshotFormat.magic)
        out.buffer.append(SnapshotFormat.version)
        out.buffer.append(SnapshotFormat.dbid)

        let sessions = sessions
        out.buffer.append(Int32(sessions.count))
        for session in sessions {
            out.buffer.append(session.id)
            out.buffer.append(session.timeoutMilliseconds)
        }

        let acls = acls
        out.buffer.append(Int32(acls.count))
        for acl in acls {
            out.buffer.append(acl.id)
            out.buffer.append(acl.list)
            if out.buffer.count >= pieceBytes { try out.emit(to: write) }
        }

        var nodes = 0
        try forEachNode { (path, data, aclID, stat) throws(E) in
            out.buffer.appendField(path)
            if let data { out.buffer.appendField(data) } else { out.buffer.appendNull() }
            out.buffer.append(aclID)
            out.buffer.append(stat)
            nodes += 1
            if out.buffer.count >= pieceBytes { try out.emit(to: write) }
        }
        out.appendTerminator()
        out.appendSeal()

        if let digest = sections.digest {
            out.buffer.append(digest.zxid)
            out.buffer.append(SnapshotFormat.digestVersion)
            out.buffer.append(digest.value)
            out.appendSeal()
        }
        if let zxid = sections.lastProcessedZxid {
            out.buffer.append(zxid)
            out.appendSeal()
        }
        try out.emit(to: write)
        return (out.written, nodes)
    }
}
