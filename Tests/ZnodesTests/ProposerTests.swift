import Jute
import Testing
import Transactions
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// Which requests become transactions, and of which shape.
@Suite struct Proposing {
    private let writes: [(op: OpCode, body: [UInt8])] = [
        (.create, RequestBytes.create("/a", data: [1])),
        (.create2, RequestBytes.create("/a", data: [1])),
        (.createContainer, RequestBytes.create("/a", flags: 4)),
        (.createTTL, RequestBytes.create("/a", flags: 5, ttlMilliseconds: 9)),
        (.delete, RequestBytes.pathVersion("/a")), (.deleteContainer, RequestBytes.path("/a")),
        (.setData, RequestBytes.setData("/a", [1])),
        (.setACL, RequestBytes.setACL("/a", [.open])), (.reconfig, RequestBytes.reconfig()),
    ]

    /// Apache gives such a request the last zxid once more, which stops a whole ensemble.
    @Test func `a body that cannot be read takes no zxid and writes nothing`() throws {
        let world = World { $0.extendedTypesEnabled = true }
        let before = world.proposer.lastZxid
        for (op, body) in writes {
            for count in 0..<body.count {
                #expect(throws: JuteError.self, "\(op), \(count) bytes") {
                    try world.propose(op, Array(body.prefix(count)))
                }
            }
        }
        #expect(world.proposer.lastZxid == before)
        #expect(world.outstanding.isEmpty)
    }

    @Test func `bytes behind a body are nobody's mistake`() throws {
        for (op, body) in writes {
            let world = World { $0.extendedTypesEnabled = true }
            #expect(throws: Never.self) { try world.run(op, body + [1, 2, 3]) }
        }
    }

    @Test func `a failure is a transaction of its own, with the next zxid and no digest`() throws {
        let world = World { _ in }
        let before = world.proposer.lastZxid
        try world.propose(.delete, RequestBytes.pathVersion("/no"))
        let txn = try #require(world.outstanding.first)
        var reader = JuteReader(txn.span)
        let header = try TxnHeader(reading: &reader)
        #expect(header.type == .error)
        #expect(header.zxid == before.next)
        #expect(try reader.readInt() == ErrorCode.noNode.rawValue)
        #expect(reader.remaining == 0)
        #expect(world.applyNext().error == .noNode)
        #expect(world.database.lastProcessedZxid == before.next)
    }

    @Test func `a failure that was decided elsewhere is the same`() throws {
        let world = World { _ in }
        let origin = Proposer.Origin(session: World.session, cxid: 4, identities: [], time: 6)
        let txn = bytes {
            _ = world.proposer.proposeFailure(.sessionMoved, from: origin, into: &$0)
        }
        #expect(try world.database.apply(txn.span).error == .sessionMoved)
        world.proposer.applied(world.proposer.lastZxid)
        #expect(try world.error(.create, RequestBytes.create("/a")) == .ok)
    }

    /// Header, type -1 and the code.
    private func errorTxn(_ world: World) -> ErrorCode? {
        var reader = PlainReader((world.outstanding.last ?? []).dropFirst(28))
        guard (try? reader.int()) == -1, let code = try? reader.int() else { return nil }
        return ErrorCode(rawValue: code)
    }

    @Test func `a multi that cannot be read is a failure with a zxid`() throws {
        let create = RequestBytes.create("/a")
        let whole = RequestBytes.multi([(.create, create)])
        var broken = (0..<whole.count).map { Array(whole.prefix($0)) }
        broken.append(RequestBytes.multi([(.getData, RequestBytes.path("/a") + [0])]))
        broken.append(RequestBytes.multi([(.setACL, RequestBytes.setACL("/a", [.open]))]))
        broken.append(RequestBytes.multi([(.multi, RequestBytes.multi([]))]))
        broken.append(RequestBytes.multi([(.deleteContainer, RequestBytes.path("/a"))]))
        broken.append(RequestBytes.multi([(.create, RequestBytes.create("/a", flags: 9))]))
        for body in broken {
            let world = World { _ in }
            let before = world.proposer.lastZxid
            try world.propose(.multi, body)
            #expect(errorTxn(world) == .marshallingError, "\(body.hex)")
            #expect(world.proposer.lastZxid == before.next)
            #expect(world.applyNext().error == .marshallingError)
            #expect(world.database.stat("/a") == nil)
        }
    }

    @Test func `an empty multi is a transaction`() throws {
        let answer = try World { _ in }.run(.multi, RequestBytes.multi([]))
        #expect(answer.error == .ok)
        #expect(answer.body.hex == "ffffffff" + "01" + "ffffffff")
    }

    @Test func `without digests there is no trailer`() throws {
        let world = World { $0.digestEnabled = false }
        try world.propose(.create, RequestBytes.create("/a"))
        let without = try #require(world.outstanding.first)
        let other = World { _ in }
        try other.propose(.create, RequestBytes.create("/a"))
        let with = try #require(other.outstanding.first)
        #expect(with.count == without.count + TxnDigest.bytes)
        #expect(Array(with.prefix(without.count)) == without)
    }

    @Test func `the transaction carries who asked and when`() throws {
        let world = World { _ in }
        let origin = Proposer.Origin(
            session: World.session, cxid: 77, identities: [], time: 123_456)
        let body = RequestBytes.create("/a")
        var buffer = ByteBuffer()
        _ = try world.proposer.propose(.create, body: body.span, from: origin, into: &buffer)
        let txn = Array(buffer.bytes)
        var reader = JuteReader(txn.span)
        let header = try TxnHeader(reading: &reader)
        #expect(header.session == World.session)
        #expect(header.cxid == 77)
        #expect(header.time == 123_456)
        #expect(header.type == .create)
        _ = try world.database.apply(txn.span)
        #expect(world.database.stat("/a")?.ctime == 123_456)
        #expect(world.database.stat("/a")?.mtime == 123_456)
    }
}
