import Jute
import QuorumProtocol
import Testing
import UnitTestSupport
import Vocabulary

@Suite struct `Snapshot streams` {
    private let snapshot: ReceivedSnapshot = {
        var snapshot = ReceivedSnapshot()
        snapshot.sessions = [(SessionID(rawValue: 0x0100_0000_0000_0001), 30000)]
        snapshot.acls = [(1, [.open]), (2, [])]
        for path in ["", "/zookeeper", "/a"] {
            snapshot.nodes.append(
                .init(
                    path: Array(path.utf8), data: path == "/a" ? [1, 2] : nil, aclID: 1,
                    stat: StatPersisted(mzxid: Zxid(rawValue: 7))))
        }
        return snapshot
    }()

    private var encoded: [UInt8] { bytes { snapshot.append(to: &$0) } }

    private func failure(_ stream: [UInt8], limits: JuteLimits = .default) -> QuorumProtocolError? {
        QuorumProtocolTests.failure { () throws(QuorumProtocolError) in
            var target = ReceivedSnapshot()
            var reader = SnapshotStreamReader(limits: limits)
            _ = try reader.consume(stream.span, into: &target)
        }
    }

    @Test func `everything reaches the target in order, packets behind it stay`() throws {
        var received = ReceivedSnapshot()
        var reader = SnapshotStreamReader()
        let stream = encoded + [0, 0, 0, 12]
        #expect(try reader.consume(stream.span, into: &received) == encoded.count)
        #expect(reader.isFinished)
        #expect(received.sessions.map(\.id) == snapshot.sessions.map(\.id))
        #expect(received.sessions.map(\.timeout) == [30000])
        #expect(received.acls.map(\.id) == [1, 2])
        #expect(received.acls.map(\.list) == [[.open], []])
        #expect(received.nodes == snapshot.nodes)
    }

    @Test func `the stream ends with its signature or not at all`() throws {
        #expect(Array(encoded.suffix(19)).hex == "000000012f" + "0000000a" + "42656e57617348657265")
        for index in encoded.count - 10..<encoded.count {
            var wrong = encoded
            wrong[index] ^= 0x20
            #expect(failure(wrong) == .badSignature)
        }
    }

    @Test func `counts are not negative`() {
        let negative = bytes { $0.append(Int32(-1)) }
        #expect(failure(negative) == .invalidCount(-1))
        let noSessions = bytes { $0.append(Int32(0)) }
        #expect(failure(noSessions + negative) == .invalidCount(-1))
    }

    @Test func `a huge count makes nobody wait for more than the next item`() throws {
        let huge = bytes { $0.append(Int32.max) }
        var target = ReceivedSnapshot()
        var reader = SnapshotStreamReader()
        let stream = huge + [UInt8](repeating: 1, count: 30)
        #expect(try reader.consume(stream.span, into: &target) == 4 + 2 * 12)
        #expect(target.sessions.count == 2)
    }

    @Test func `an item has a limit`() {
        let limits = JuteLimits(fieldBytesMax: 100)
        func list(_ entries: Int) -> [UInt8] {
            bytes {
                $0.append(Int32(0))
                $0.append(Int32(1))
                $0.append(Int64(1))
                $0.append(Int32.max)
                for _ in 0..<entries {
                    $0.append(Int32(31))
                    $0.appendField("world")
                    $0.appendField("anyone")
                }
            }
        }
        #expect(failure(list(10), limits: limits) == nil)
        guard case .invalidLength(let bytes)? = failure(list(60), limits: limits) else {
            Issue.record("an endless list was waited for")
            return
        }
        #expect(bytes > 1224)
    }

    @Test func `a target may refuse a znode`() {
        var target = ReceivedSnapshot()
        target.refusedNode = 1
        var reader = SnapshotStreamReader()
        let stream = encoded
        #expect(throws: QuorumProtocolError.snapshotRefused) {
            _ = try reader.consume(stream.span, into: &target)
        }
        #expect(target.nodes.count == 1)
    }
}
