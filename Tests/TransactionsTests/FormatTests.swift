import Jute
import Testing
import Transactions
import UnitTestSupport
import Vocabulary

@Suite struct `Transaction formats` {
    private let header = TxnHeader(
        session: SessionID(rawValue: 0x0100_0000_0000_0001), cxid: 7,
        zxid: Zxid(epoch: 1, counter: 2), time: 3, type: .create)

    @Test func `the header is session, cxid, zxid, time and type`() throws {
        let encoded = bytes { header.append(to: &$0) }
        let hex =
            "0100000000000001" + "00000007" + "0000000100000002" + "0000000000000003" + "00000001"
        #expect(encoded.hex == hex)
        var reader = JuteReader(encoded.span)
        #expect(try TxnHeader(reading: &reader) == header)
    }

    private func headerError(_ encoded: [UInt8]) -> TxnError? {
        var reader = JuteReader(encoded.span)
        do throws(TxnError) {
            _ = try TxnHeader(reading: &reader)
            return nil
        } catch {
            return error
        }
    }

    @Test func `no truncation of a header is a header`() {
        let encoded = bytes { header.append(to: &$0) }
        for count in 0..<encoded.count {
            guard case .malformed? = headerError(Array(encoded.prefix(count))) else {
                Issue.record("\(count) bytes were taken for a header")
                continue
            }
        }
    }

    @Test func `only the types that txns have are read`() {
        let transactions: Set<Int32> = [-11, -10, -1, 1, 2, 5, 7, 14, 15, 16, 19, 20, 21]
        for number in Int32(-20)...130 {
            var encoded = bytes { header.append(to: &$0) }
            encoded.replaceSubrange(28..<32, with: bytes { $0.append(number) })
            let error = headerError(encoded)
            #expect((error == nil) == transactions.contains(number), "\(number)")
            if error != nil { #expect(error == .unknownType(number)) }
        }
    }

    @Test func `a multi holds only what changes or checks one znode`() {
        let parts: Set<Int32> = [-1, 1, 2, 5, 13, 15, 19, 20, 21]
        for number in Int32(-20)...130 {
            guard let type = OpCode(rawValue: number) else { continue }
            #expect(type.isMultiTransaction == parts.contains(number), "\(type)")
        }
    }

    @Test func `an old create has no parent version and reads as -1`() throws {
        let encoded = bytes {
            $0.appendField("/a")
            $0.appendNull()
            $0.append([ACL.open])
            $0.append(true)
        }
        var reader = JuteReader(encoded.span)
        let txn = try CreateTxn(reading: &reader, type: .create)
        #expect(txn.parentCVersion == -1)
        let (isEphemeral, hasData) = (txn.isEphemeral, txn.data != nil)
        #expect(isEphemeral)
        #expect(!hasData)
    }

    @Test func `a container's record has no flag, a TTL znode's has its time`() throws {
        func encoded(_ type: OpCode) -> [UInt8] {
            let (path, list) = (Array("/a".utf8), bytes { $0.append([ACL.open]) })
            return bytes {
                CreateTxn.append(
                    to: &$0, type: type, path: path.span, data: nil, aclBytes: list.span,
                    isEphemeral: true, parentCVersion: 5, ttlMilliseconds: 9)
            }
        }
        let front = "000000022f61" + "ffffffff" + bytes { $0.append([ACL.open]) }.hex
        #expect(encoded(.create).hex == front + "01" + "00000005")
        #expect(encoded(.create2).hex == front + "01" + "00000005")
        #expect(encoded(.createContainer).hex == front + "00000005")
        #expect(encoded(.createTTL).hex == front + "00000005" + "0000000000000009")
        let ttl = encoded(.createTTL)
        var reader = JuteReader(ttl.span)
        let txn = try CreateTxn(reading: &reader, type: .createTTL)
        #expect(txn.ttlMilliseconds == 9)
        let isEphemeral = txn.isEphemeral
        #expect(!isEphemeral)
    }

    @Test func `fewer than twelve bytes are no digest`() throws {
        let digest = TxnDigest(value: 0xffff_ffff_ffff_fffe)
        let encoded = bytes { digest.append(to: &$0) }
        #expect(encoded.hex == "00000002" + "fffffffffffffffe")
        var reader = JuteReader(encoded.span)
        #expect(TxnDigest(reading: &reader) == digest)
        for count in 0..<12 {
            let cut = Array(encoded.prefix(count))
            var reader = JuteReader(cut.span)
            #expect(TxnDigest(reading: &reader) == nil)
            #expect(reader.remaining == count)
        }
    }
}
