import Jute
import StorageTestSupport
import Testing
import Transactions
import UnitTestSupport
import Vocabulary

@Suite struct `Logged transactions` {
    @Test(arguments: Fixture.all)
    func `every txn of a log is read and written again with the same bytes`(
        _ fixture: Fixture
    ) throws {
        for txn in LoggedTxns.all(fixture) {
            #expect(try rewrite(txn) == txn, "\(txn.hex)")
        }
    }

    @Test func `every type was among them`() throws {
        var types: Set<OpCode> = []
        for fixture in Fixture.all {
            for txn in LoggedTxns.all(fixture) {
                var reader = JuteReader(txn.span)
                let header = try TxnHeader(reading: &reader)
                types.insert(header.type)
                if header.type == .multi { types.formUnion(try multiTypes(&reader)) }
            }
        }
        let expected: Set<OpCode> = [
            .createSession, .closeSession, .error, .create, .create2, .createContainer, .createTTL,
            .delete, .setData, .setACL, .multi, .check,
        ]
        #expect(expected.subtracting(types) == [])
    }

    private func multiTypes(_ reader: inout JuteReader) throws -> [OpCode] {
        var types: [OpCode] = []
        for _ in 0..<(try reader.readCount() ?? 0) {
            let number = try reader.readInt()
            types.append(try #require(OpCode(rawValue: number)))
            _ = try reader.readBytes()
        }
        return types
    }

    private func rewrite(_ txn: [UInt8]) throws -> [UInt8] {
        var reader = JuteReader(txn.span)
        let header = try TxnHeader(reading: &reader)
        var buffer = ByteBuffer()
        header.append(to: &buffer)
        #expect(buffer.count == TxnHeader.bytes)
        switch header.type {
        case .createSession, .error: buffer.append(try reader.readInt())
        case .closeSession:
            guard reader.remaining > TxnDigest.bytes else { break }
            let count = try #require(try reader.readCount())
            buffer.append(Int32(count))
            for _ in 0..<count { buffer.appendField(try reader.readBytes()) }
        case .multi:
            let count = try #require(try reader.readCount())
            buffer.append(Int32(count))
            for _ in 0..<count {
                let number = try reader.readInt()
                let type = try #require(OpCode(rawValue: number))
                #expect(type.isMultiTransaction)
                buffer.append(type)
                let record = [UInt8](try reader.readBytes())
                var fields = JuteReader(record.span)
                var inner = ByteBuffer()
                try rewriteRecord(type, &fields, &inner)
                #expect(fields.remaining == 0)
                buffer.appendField(inner.span)
            }
        default: try rewriteRecord(header.type, &reader, &buffer)
        }
        if let digest = TxnDigest(reading: &reader) { digest.append(to: &buffer) }
        #expect(reader.remaining == 0)
        return [UInt8](buffer.span)
    }

    private func rewriteRecord(
        _ type: OpCode, _ reader: inout JuteReader, _ buffer: inout ByteBuffer
    ) throws {
        switch type {
        case .create, .create2, .createContainer, .createTTL:
            let txn = try CreateTxn(reading: &reader, type: type)
            CreateTxn.append(
                to: &buffer, type: type, path: txn.path, data: txn.data, aclBytes: txn.aclBytes,
                isEphemeral: txn.isEphemeral, parentCVersion: txn.parentCVersion,
                ttlMilliseconds: txn.ttlMilliseconds)
        case .delete, .deleteContainer:
            DeleteTxn.append(to: &buffer, path: try DeleteTxn(reading: &reader).path)
        case .setData, .reconfig:
            let txn = try SetDataTxn(reading: &reader)
            SetDataTxn.append(to: &buffer, path: txn.path, data: txn.data, version: txn.version)
        case .setACL:
            let txn = try SetACLTxn(reading: &reader)
            SetACLTxn.append(
                to: &buffer, path: txn.path, aclBytes: txn.aclBytes, version: txn.version)
        case .check:
            let txn = try CheckVersionTxn(reading: &reader)
            CheckVersionTxn.append(to: &buffer, path: txn.path, version: txn.version)
        case .error: buffer.append(try reader.readInt())
        default: Issue.record("a txn of type \(type)")
        }
    }
}
