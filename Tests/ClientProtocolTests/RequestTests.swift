import ClientProtocol
import Jute
import Testing
import UnitTestSupport
import Vocabulary

/// What clients sent to an Apache server, read by us and by a plain reader.
@Suite struct `Captured requests` {
    /// Requests that were broken on purpose: the server could not decode them.
    private static let broken: Set<String> = [
        "create with truncated body", "create with empty body", "getData with truncated body",
        "getData with empty body", "string length -2", "string length huge",
        "acl vector length huge", "auth with truncated body", "create null path",
        "exists null path",
    ]

    @Test(arguments: Capture.names)
    func `every whole request is read, every broken one is refused`(_ name: String) throws {
        var connected: Set<Int> = []
        var read = 0
        for line in Capture.load(name) where line.direction == .fromClient {
            guard !connected.insert(line.connection).inserted, line.isWhole,
                line.payload.count >= 8
            else { continue }
            let payload = line.payload
            var reader = JuteReader(payload.span)
            let header = try RequestHeader(reading: &reader)
            guard let op = OpCode(rawValue: header.type) else { continue }
            let body = [UInt8](reader.rest)
            do {
                guard try check(op, body, note: line.note) else { continue }
                #expect(!Self.broken.contains(line.note), "\(line.note) was read")
                read += 1
            } catch is JuteError {
                #expect(Self.broken.contains(line.note), "\(line.note) was refused")
            }
        }
        #expect(read > 0 || name == "session")
    }

    /// Compares both readings; false for requests that have no record here.
    private func check(_ op: OpCode, _ body: [UInt8], note: String) throws -> Bool {
        var plain = PlainReader(body)
        var reader = JuteReader(body.span)
        switch op {
        case .create, .create2, .createContainer, .createTTL:
            let request = try CreateRequest(reading: &reader, op: op)
            #expect([UInt8](request.path) == (try plain.field()), "\(note)")
            #expect(copy(request.data) == (try plain.field()), "\(note)")
            try checkACL(request.acl, &plain)
            #expect(request.flags == (try plain.int()), "\(note)")
            #expect(request.ttlMilliseconds == (op == .createTTL ? try plain.long() : -1))
        case .delete, .check:
            let request = try PathVersionRequest(reading: &reader)
            #expect([UInt8](request.path) == (try plain.field()), "\(note)")
            #expect(request.version == (try plain.int()), "\(note)")
        case .setData:
            let request = try SetDataRequest(reading: &reader)
            #expect([UInt8](request.path) == (try plain.field()) ?? [], "\(note)")
            #expect(copy(request.data) == (try plain.field()), "\(note)")
            #expect(request.version == (try plain.int()), "\(note)")
        case .setACL:
            let request = try SetACLRequest(reading: &reader)
            #expect([UInt8](request.path) == (try plain.field()) ?? [], "\(note)")
            try checkACL(request.acl, &plain)
            #expect(request.version == (try plain.int()), "\(note)")
        case .exists, .getData, .getChildren, .getChildren2:
            let request = try PathWatchRequest(reading: &reader)
            #expect([UInt8](request.path) == (try plain.field()), "\(note)")
            #expect(request.watch == (try plain.bool()), "\(note)")
        case .addWatch, .checkWatches, .removeWatches:
            let request = try PathNumberRequest(reading: &reader)
            #expect([UInt8](request.path) == (try plain.field()), "\(note)")
            #expect(request.number == (try plain.int()), "\(note)")
        case .auth:
            let request = try AuthPacket(reading: &reader)
            _ = try plain.int()
            #expect(request.scheme == (try plain.text()), "\(note)")
            #expect(copy(request.auth) == (try plain.field()), "\(note)")
        default: return false
        }
        return true
    }

    private func copy(_ bytes: Span<UInt8>?) -> [UInt8]? {
        if let bytes { [UInt8](bytes) } else { nil }
    }

    private func checkACL(_ field: borrowing ACLField, _ plain: inout PlainReader) throws {
        let before = plain.rest
        let count = try plain.int()
        let decoded = field.decoded()
        #expect((decoded == nil) == (count == -1))
        #expect((decoded?.count ?? 0) == max(0, Int(count)))
        for entry in decoded ?? [] {
            #expect(entry.permissions.rawValue == (try plain.int()))
            #expect(entry.scheme.map { Array($0.utf8) } == (try plain.field()))
            #expect(entry.id.map { Array($0.utf8) } == (try plain.field()))
        }
        #expect([UInt8](field.bytes) == Array(before.prefix(before.count - plain.rest.count)))
    }

    @Test func `null scheme and id of an ACL are seen as such`() throws {
        let encoded = bytes {
            $0.append(Int32(2))
            $0.append(Int32(31))
            $0.appendNull()
            $0.appendField("anyone")
            $0.append(Int32(1))
            $0.appendField("world")
            $0.appendNull()
        }
        var reader = JuteReader(encoded.span)
        let list = try #require(try ACLField(reading: &reader).decoded())
        #expect(list.map(\.scheme) == [nil, "world"])
        #expect(list.map(\.id) == ["anyone", nil])
    }

    @Test func `no truncation of a write is a write`() {
        let writes: [(OpCode, [UInt8])] = [
            (.create, RequestBytes.create("/a", data: [1])),
            (.createTTL, RequestBytes.create("/a", flags: 5, ttlMilliseconds: 9)),
            (.delete, RequestBytes.pathVersion("/a")),
            (.setData, RequestBytes.setData("/a", [1, 2])),
            (.setACL, RequestBytes.setACL("/a", [.open])),
        ]
        for (op, body) in writes {
            #expect(throws: Never.self) { try check(op, body, note: "\(op)") }
            for count in 0..<body.count {
                #expect(throws: JuteError.self, "\(op), \(count) bytes") {
                    try read(op, Array(body.prefix(count)))
                }
            }
        }
    }

    private func read(_ op: OpCode, _ body: [UInt8]) throws {
        var reader = JuteReader(body.span)
        switch op {
        case .create, .createTTL: _ = try CreateRequest(reading: &reader, op: op)
        case .delete: _ = try PathVersionRequest(reading: &reader)
        case .setData: _ = try SetDataRequest(reading: &reader)
        default: _ = try SetACLRequest(reading: &reader)
        }
    }

    @Test func `a multi header is nine bytes`() throws {
        let encoded = [UInt8](hex: "0000000e" + "07" + "ffffffff")
        var reader = JuteReader(encoded.span)
        let header = try MultiHeader(reading: &reader)
        #expect(header.type == 14)
        #expect(header.done)
        #expect(header.error == -1)
        #expect(reader.remaining == 0)
    }
}
