import Jute
import StorageFormat
import StorageTestSupport
import Testing
import Vocabulary

/// The uncompressed snapshots of all captured dataDirs.
private let captured: [(fixture: Fixture, file: String)] = Fixture.all.flatMap { fixture in
    fixture.files("snapshot.").filter {
        SnapshotFileName($0)?.compression == SnapshotCompression.none
    }
    .map { (fixture, $0) }
}

/// Decodes a stream in pieces of `pieceBytes`.
private func decode(
    _ stream: [UInt8], pieceBytes: Int = .max
) throws(SnapshotDamage) -> (tree: RecordedTree, decoder: SnapshotDecoder) {
    var tree = RecordedTree()
    var decoder = SnapshotDecoder(limits: .default)
    var start = 0
    var end = 0
    while !decoder.isFinished {
        let isLast = end == stream.count
        end = min(stream.count, end + min(pieceBytes, stream.count))
        let bytes = stream.span.extracting(start..<end)
        start += try decoder.consume(bytes, isLast: isLast, into: &tree)
    }
    #expect(start == stream.count)
    return (tree, decoder)
}

private func damage(_ stream: [UInt8]) -> SnapshotDamage? {
    do throws(SnapshotDamage) {
        _ = try decode(stream)
        return nil
    } catch {
        return error
    }
}

private func encode(
    _ tree: RecordedTree, sections: SnapshotSections, pieceBytes: Int = 1 << 20
) -> (stream: [UInt8], pieces: Int) {
    var stream: [UInt8] = []
    var pieces = 0
    let written = tree.encode(sections: sections, pieceBytes: pieceBytes) {
        stream += Array($0)
        pieces += 1
    }
    #expect(written.bytes == stream.count)
    #expect(written.nodes == tree.nodes.count)
    return (stream, pieces)
}

@Suite struct SnapshotFormatTests {
    @Test func `there are captured snapshots`() {
        #expect(captured.count >= 20)
    }

    @Test(arguments: captured)
    func `a captured snapshot is written again byte for byte`(
        fixture: Fixture, file: String
    ) throws {
        let bytes = fixture.bytes(file)
        let (tree, decoder) = try decode(bytes)
        #expect(decoder.offset == bytes.count)
        #expect(decoder.nodes == tree.nodes.count)
        #expect(encode(tree, sections: decoder.sections).stream == bytes)
    }

    @Test(arguments: captured)
    func `the state alone is the stream without header, seals and sections`(
        fixture: Fixture, file: String
    ) throws {
        let bytes = fixture.bytes(file)
        let (tree, decoder) = try decode(bytes)
        let behind =
            SnapshotFormat.sealBytes
            + (decoder.sections.digest == nil ? 0 : SnapshotFormat.digestSectionBytes)
            + (decoder.sections.lastProcessedZxid == nil ? 0 : SnapshotFormat.zxidSectionBytes)
        for pieceBytes in [1, 100, 1 << 20] {
            var state: [UInt8] = []
            tree.encodeState(pieceBytes: pieceBytes) { state += $0 }
            #expect(state == Array(bytes.dropFirst(16).dropLast(behind)))
        }
    }

    @Test(arguments: captured)
    func `the end of a file tells its sections`(fixture: Fixture, file: String) throws {
        let bytes = fixture.bytes(file)
        let sections = try decode(bytes).decoder.sections
        #expect(SnapshotSections(tail: bytes.suffix(SnapshotSections.tailBytesMax)) == sections)
    }

    @Test func `an end of any length is read without a fault`() {
        let bytes = Fixture("3.9.3-rotated").bytes("snapshot.19")
        for count in 0...SnapshotSections.tailBytesMax {
            let sections = SnapshotSections(tail: bytes.suffix(count))
            #expect((sections.lastProcessedZxid != nil) == (count >= 26))
            #expect((sections.digest != nil) == (count >= 59))
        }
    }

    @Test func `the sections are those of the writer's settings`() throws {
        let zxid = Zxid(rawValue: 0x19)
        let both = try decode(Fixture("3.9.3-rotated").bytes("snapshot.19")).decoder
        #expect(
            both.sections
                == .init(digest: .init(zxid: zxid, value: 0xa_5535_e6e0), lastProcessedZxid: zxid))
        let digest = try decode(Fixture("3.8.0-rotated").bytes("snapshot.14")).decoder
        #expect(
            digest.sections
                == .init(digest: .init(zxid: Zxid(rawValue: 0x14), value: 0x9_2ef5_d243)))
        let last = try decode(Fixture("3.9.3-nodigest").bytes("snapshot.0")).decoder
        #expect(last.sections == .init(lastProcessedZxid: .zero))
        let none = try decode(Fixture("3.8.0-nodigest").bytes("snapshot.0")).decoder
        #expect(none.sections == .init())
    }

    @Test(arguments: [1, 2, 3, 7, 13, 64, 1000])
    func `pieces of any size give the same tree`(pieceBytes: Int) throws {
        let bytes = Fixture("3.9.3-rotated").bytes("snapshot.32")
        let whole = try decode(bytes)
        let pieces = try decode(bytes, pieceBytes: pieceBytes)
        #expect(pieces.tree.hasSameSnapshot(as: whole.tree))
        #expect(pieces.decoder.sections == whole.decoder.sections)
    }

    @Test func `a snapshot cut anywhere is refused unless the cut is behind a seal`() throws {
        let bytes = Fixture("3.9.3-rotated").bytes("snapshot.19")
        let seals = [bytes.count - 54, bytes.count - 21]
        for count in 0..<bytes.count {
            let found = damage(Array(bytes.prefix(count)))
            if seals.contains(count) {
                #expect(found == nil)
            } else if count < bytes.count - 54 {
                #expect(found == .truncated)
            } else {
                // The sections are told apart by the bytes that are left.
                #expect(found != nil)
            }
        }
    }

    @Test func `no flipped bit goes unnoticed`() {
        let bytes = Fixture("3.9.3-rotated").bytes("snapshot.19")
        for index in bytes.indices {
            for bit in [0, 3, 7] {
                var flipped = bytes
                flipped[index] ^= 1 << bit
                #expect(damage(flipped) != nil, "bit \(bit) of byte \(index)")
            }
        }
    }

    @Test func `bytes behind the last section are refused`() {
        let bytes = Fixture("3.9.3-rotated").bytes("snapshot.19")
        #expect(damage(bytes + [0]) == .unknownSections(bytes: 55))
        let endless = bytes + [UInt8](repeating: 0, count: 100_000)
        #expect(damage(endless) == .unknownSections(bytes: 100_054))
    }

    @Test func `a digest of an old version is read over`() throws {
        var tree = RecordedTree(zxid: Zxid(rawValue: 9), count: 3, dataBytes: 10)
        tree.sessions = [(SessionID(rawValue: 77), 4000)]
        var buffer = ByteBuffer()
        buffer.append(encode(tree, sections: .init()).stream)
        let seal = { (buffer: inout ByteBuffer) in
            let sum = Adler32.of(buffer.bytes)
            buffer.append(sum)
            buffer.appendField("/")
        }
        buffer.append(Zxid(rawValue: 9))
        buffer.append(Int32(1))
        buffer.appendField("1a2b3c")
        seal(&buffer)
        #expect(try decode(Array(buffer.bytes)).decoder.sections == .init())
        buffer.append(Zxid(rawValue: 10))
        seal(&buffer)
        let read = try decode(Array(buffer.bytes))
        #expect(read.decoder.sections == .init(lastProcessedZxid: Zxid(rawValue: 10)))
        #expect(read.tree.hasSameSnapshot(as: tree))
    }

    @Test(arguments: [
        SnapshotSections(), .init(lastProcessedZxid: Zxid(rawValue: 5)),
        .init(digest: .init(zxid: Zxid(rawValue: 5), value: .max)),
        .init(
            digest: .init(zxid: Zxid(rawValue: 6), value: 1), lastProcessedZxid: Zxid(rawValue: 6)),
    ])
    func `every mix of sections is read as it was written`(sections: SnapshotSections) throws {
        let tree = RecordedTree(zxid: Zxid(rawValue: 5), count: 20, dataBytes: 100)
        let read = try decode(encode(tree, sections: sections).stream)
        #expect(read.decoder.sections == sections)
        #expect(read.tree.hasSameSnapshot(as: tree))
    }

    @Test func `the size of the pieces changes nothing in the stream`() {
        let tree = RecordedTree(zxid: Zxid(rawValue: 5), count: 500, dataBytes: 100)
        let sections = SnapshotSections(lastProcessedZxid: Zxid(rawValue: 5))
        let whole = encode(tree, sections: sections)
        #expect(whole.pieces == 1)
        for pieceBytes in [1, 100, 1000, 4096] {
            let pieces = encode(tree, sections: sections, pieceBytes: pieceBytes)
            #expect(pieces.stream == whole.stream)
            #expect(pieces.pieces > whole.stream.count / max(pieceBytes, 170) / 2)
        }
    }

    @Test func `null data and empty data stay what they are`() throws {
        var tree = RecordedTree(zxid: Zxid(rawValue: 5), count: 2, dataBytes: 0)
        tree.nodes[1].data = nil
        let read = try decode(encode(tree, sections: .init()).stream)
        #expect(read.tree.nodes[1].data == nil)
        #expect(read.tree.nodes[2].data == [])
    }

    @Test func `a tree that makes no sense is refused`() throws {
        var orphan = RecordedTree(zxid: .zero, count: 1, dataBytes: 1)
        orphan.nodes[1].path = Array("/missing/child".utf8)
        #expect(
            damage(encode(orphan, sections: .init()).stream)
                == .refused(.parentMissing(path: "/missing/child")))
        var foreign = RecordedTree(zxid: .zero, count: 1, dataBytes: 1)
        foreign.nodes[1].aclID = 4
        #expect(damage(encode(foreign, sections: .init()).stream) == .refused(.unknownACL(4)))
    }

    @Test func `what is no snapshot is named`() {
        let bytes = Fixture("3.9.3-basic").bytes("snapshot.0")
        #expect(damage(Fixture("3.9.3-basic").bytes("log.1")) == .notASnapshot(magic: 0x5a4b_4c47))
        var version = bytes
        version[7] = 9
        #expect(damage(version) == .unknownVersion(9))
        var count = bytes
        count[16] = 0xff
        guard case .invalidCount = damage(count) else {
            Issue.record("a negative number of sessions was accepted")
            return
        }
    }

    @Test func `the ends of a file tell whether reading it is worth while`() {
        let end: [UInt8] = [0, 0, 0, 1, 0x2f]
        func plausible(
            _ compression: SnapshotCompression, _ bytes: Int, first: [UInt8] = [],
            last: [UInt8] = []
        ) -> Bool {
            SnapshotFormat.isPlausible(compression, bytes: bytes, first: first, last: last)
        }
        #expect(plausible(.none, 10, last: end))
        #expect(!plausible(.none, 9, last: end))
        #expect(!plausible(.none, 100, last: [0, 0, 0, 1, 0x30]))
        #expect(plausible(.gzip, 20, first: [0x1f, 0x8b, 8]))
        #expect(!plausible(.gzip, 20, first: [0x1f, 0x8c, 8]))
        #expect(plausible(.snappy, 20, first: [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]))
        #expect(!plausible(.snappy, 20, first: [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 1]))
    }
}
