import Jute
import Vocabulary

/// Gathers a snapshot's stream in a buffer and, if it will be sealed, keeps its running checksum.
private struct SnapshotBytes: ~Copyable {
    var buffer: ByteBuffer
    private let isSealed: Bool
    private let pieceBytes: Int
    private var sum = Adler32()
    /// How much of `buffer` is in `sum`.
    private var summed = 0
    private(set) var written = 0

    init(pieceBytes: Int, isSealed: Bool) {
        self.pieceBytes = pieceBytes
        self.isSealed = isSealed
        // A znode goes into the buffer whole, so the buffer is a little larger than a piece.
        buffer = ByteBuffer(capacity: pieceBytes + 65536)
    }

    private mutating func sumUp() {
        guard isSealed else { return }
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

    /// Gives the bytes away if they are a piece.
    mutating func emitPiece<E: Error>(
        to write: (UnsafeRawBufferPointer) throws(E) -> Void
    ) throws(E) {
        if buffer.count >= pieceBytes { try emit(to: write) }
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
    /// Writes the uncompressed stream of a snapshot file in pieces of about `pieceBytes`.
    ///
    /// - Returns: how many bytes and znodes were written.
    public func encode<E: Error>(
        sections: SnapshotSections, pieceBytes: Int = 1 << 20,
        to write: (UnsafeRawBufferPointer) throws(E) -> Void
    ) throws(E) -> (bytes: Int, nodes: Int) {
        var out = SnapshotBytes(pieceBytes: pieceBytes, isSealed: true)
        out.buffer.append(SnapshotFormat.magic)
        out.buffer.append(SnapshotFormat.version)
        out.buffer.append(SnapshotFormat.dbid)
        let nodes = try appendState(to: &out, write)
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

    /// Writes the state alone, as a leader sends it to a learner, in pieces of about `pieceBytes`:
    /// sessions, ACLs, znodes and what ends them, without header, seals and sections.
    ///
    /// Source: ZooKeeper, `SerializeUtils.serializeSnapshot`.
    public func encodeState<E: Error>(
        pieceBytes: Int, to write: (UnsafeRawBufferPointer) throws(E) -> Void
    ) throws(E) {
        var out = SnapshotBytes(pieceBytes: pieceBytes, isSealed: false)
        _ = try appendState(to: &out, write)
        try out.emit(to: write)
    }

    /// Appends sessions, ACLs, znodes and the path that ends them.
    ///
    /// Returns how many znodes there are.
    private func appendState<E: Error>(
        to out: inout SnapshotBytes, _ write: (UnsafeRawBufferPointer) throws(E) -> Void
    ) throws(E) -> Int {
        let sessions = sessions
        out.buffer.append(Int32(sessions.count))
        for session in sessions {
            out.buffer.append(session.id)
            out.buffer.append(session.timeoutMilliseconds)
            try out.emitPiece(to: write)
        }

        let acls = acls
        out.buffer.append(Int32(acls.count))
        for acl in acls {
            out.buffer.append(acl.id)
            out.buffer.append(acl.list)
            try out.emitPiece(to: write)
        }

        var nodes = 0
        try forEachNode { (path, data, aclID, stat) throws(E) in
            out.buffer.appendField(path)
            if let data { out.buffer.appendField(data) } else { out.buffer.appendNull() }
            out.buffer.append(aclID)
            out.buffer.append(stat)
            nodes += 1
            try out.emitPiece(to: write)
        }
        out.appendTerminator()
        return nodes
    }
}
