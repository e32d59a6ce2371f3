import ClientProtocol
import Jute
import Testing
import UnitTestSupport
import Vocabulary

/// What an Apache server answered, read by a plain reader and written again by our writers.
@Suite struct `Captured replies` {
    @Test(arguments: Capture.names)
    func `written again they have the same bytes`(_ name: String) throws {
        var rewritten = 0
        for exchange in Exchange.load(name) {
            guard let again = try rewrite(exchange) else { continue }
            #expect(again == exchange.reply, "\(name): \(exchange.note)")
            rewritten += 1
        }
        #expect(rewritten > 0)
    }

    @Test func `every kind of reply was among them`() throws {
        var seen: Set<Int32> = []
        for name in Capture.names {
            for exchange in Exchange.load(name) {
                var reader = PlainReader(exchange.reply.dropFirst(16))
                let isOK = try reader.int() == 0
                if isOK, try rewrite(exchange) != nil { seen.insert(exchange.op) }
            }
        }
        let expected: [OpCode] = [
            .create, .create2, .createContainer, .createTTL, .delete, .exists, .getData, .setData,
            .getACL, .setACL, .getChildren, .getChildren2, .sync, .ping, .multi, .multiRead,
            .checkWatches, .removeWatches, .addWatch, .getEphemerals, .getAllChildrenNumber,
            .whoAmI, .auth, .setWatches, .closeSession,
        ]
        #expect(Set(expected.map(\.rawValue)).subtracting(seen) == [])
    }

    /// The whole frame, from what a plain reader finds in it; nil for answers of no record's shape.
    private func rewrite(_ exchange: Exchange) throws -> [UInt8]? {
        var reader = PlainReader(exchange.reply.dropFirst(4))
        let (xid, zxid, error) = (try reader.int(), try reader.long(), try reader.int())
        // A second connect response, which only Apache's server sends.
        guard exchange.op != OpCode.createSession.rawValue else { return nil }
        var buffer = ByteBuffer()
        let frame = buffer.beginFrame()
        buffer.appendReplyHeader(
            xid: xid, zxid: Zxid(rawValue: zxid), error: ErrorCode(rawValue: error))
        let isRecord = error == 0 || !reader.rest.isEmpty
        if isRecord, let op = OpCode(rawValue: exchange.op) {
            try rewriteRecord(of: op, &reader, &buffer)
        }
        buffer.endFrame(frame)
        #expect(reader.rest.isEmpty, "\(exchange.note)")
        return [UInt8](buffer.span)
    }

    private func rewriteRecord(
        of op: OpCode, _ reader: inout PlainReader, _ buffer: inout ByteBuffer
    ) throws {
        switch op {
        case .create: buffer.appendField(try reader.text())
        case .create2, .createContainer, .createTTL:
            buffer.appendField(try reader.text())
            buffer.append(try stat(&reader))
        case .exists, .setData, .setACL: buffer.append(try stat(&reader))
        case .getData: try rewriteData(&reader, &buffer)
        case .getACL:
            var list: [ACL] = []
            for _ in 0..<(try reader.int()) {
                list.append(
                    ACL(
                        permissions: Permissions(rawValue: try reader.int()),
                        scheme: try reader.text(), id: try reader.text()))
            }
            buffer.append(list)
            buffer.append(try stat(&reader))
        case .getChildren, .getEphemerals: try rewriteTexts(&reader, &buffer)
        case .getChildren2:
            try rewriteTexts(&reader, &buffer)
            buffer.append(try stat(&reader))
        case .sync: rewriteField(try reader.field(), &buffer)
        case .addWatch, .getAllChildrenNumber: buffer.append(try reader.int())
        case .whoAmI:
            let count = try reader.int()
            buffer.append(count)
            for _ in 0..<count * 2 { buffer.appendField(try reader.text()) }
        case .sasl: rewriteField(try reader.field(), &buffer)
        case .multi, .multiRead: try rewriteResults(&reader, &buffer)
        default: break
        }
    }

    private func rewriteResults(_ reader: inout PlainReader, _ buffer: inout ByteBuffer) throws {
        while true {
            let (type, isDone, error) = (try reader.int(), try reader.bool(), try reader.int())
            if isDone {
                #expect(type == -1 && error == -1)
                return buffer.appendMultiEnd()
            }
            if type == -1 {
                #expect(try reader.int() == error)
                buffer.appendMultiError(ErrorCode(rawValue: error))
                continue
            }
            buffer.appendMultiHeader(type: type, error: ErrorCode(rawValue: error))
            guard let op = OpCode(rawValue: type) else { continue }
            try rewriteRecord(of: op, &reader, &buffer)
        }
    }

    private func rewriteData(_ reader: inout PlainReader, _ buffer: inout ByteBuffer) throws {
        rewriteField(try reader.field(), &buffer)
        buffer.append(try stat(&reader))
    }

    private func rewriteField(_ field: [UInt8]?, _ buffer: inout ByteBuffer) {
        if let field { buffer.appendField(field.span) } else { buffer.appendNull() }
    }

    private func rewriteTexts(_ reader: inout PlainReader, _ buffer: inout ByteBuffer) throws {
        let names = try reader.texts()
        buffer.append(Int32(names.count))
        for name in names { buffer.appendField(name) }
    }

    private func stat(_ reader: inout PlainReader) throws -> Stat {
        Stat(
            czxid: Zxid(rawValue: try reader.long()), mzxid: Zxid(rawValue: try reader.long()),
            ctime: try reader.long(), mtime: try reader.long(), version: try reader.int(),
            cversion: try reader.int(), aversion: try reader.int(),
            ephemeralOwner: try reader.long(), dataLength: try reader.int(),
            numChildren: try reader.int(), pzxid: Zxid(rawValue: try reader.long()))
    }

    @Test func `a frame that is only a header is 20 bytes`() {
        let frame = bytes {
            $0.appendHeaderFrame(xid: 5, zxid: Zxid(rawValue: 0xe3), error: .marshallingError)
        }
        #expect(frame.hex == "000000100000000500000000000000e3fffffffb")
    }

    @Test func `a frame behind others has its own length`() {
        let both = bytes {
            $0.appendHeaderFrame(xid: 1, zxid: .zero, error: .ok)
            let frame = $0.beginFrame()
            $0.append(UInt8(7))
            $0.endFrame(frame)
        }
        #expect(both.suffix(5) == [0, 0, 0, 1, 7])
        #expect(both.prefix(4) == [0, 0, 0, 16])
    }
}
