import Ensemble
import QuorumProtocol
import Testing
import Vocabulary

/// Apache's learners take a commit for an answer to the oldest request that they have forwarded, and
/// so want SYNC before the COMMIT of whatever came later. ZooKeeper: `Leader.processSync`,
/// `CommitProcessor`, `LearnerHandler`.
@Suite struct `A learner's requests behind its syncs` {
    private let session = SessionID(rawValue: 0x200_0000_0000_0001)
    private let neighbour = SessionID(rawValue: 0x200_0000_0000_0002)
    private let stranger = SessionID(rawValue: 0x300_0000_0000_0001)

    /// Two sessions at server 2, one at server 3.
    private func leader() throws -> LeadingServer {
        let one = try LeadingServer()
        try one.begin(session, at: 2)
        try one.begin(neighbour, at: 2)
        try one.begin(stranger, at: 3)
        for id in [2, 3] as [Int64] { _ = try one.sent(to: id) }
        return one
    }

    @Test func `a write is proposed when the sync in front of it is answered`() throws {
        let one = try leader()
        try one.sync(of: session, from: 2)
        try one.create("/behind", of: neighbour, from: 2)
        #expect(try one.sent(to: 2) == [.ping])
        try one.echo(from: 3)
        #expect(try one.sent(to: 2) == [.sync, .proposal(.create)])
        try one.commit()
        #expect(try one.sent(to: 2) == [.commit])
    }

    @Test func `it waits for all syncs in front of it, and others wait behind it`() throws {
        let one = try leader()
        try one.sync(of: session, from: 2)
        try one.sync(of: session, from: 2)
        try one.create("/a", of: session, from: 2)
        try one.create("/a", of: session, from: 2)
        try one.echo(from: 2)
        #expect(try one.sent(to: 2) == [.ping, .sync, .ping])
        try one.echo(from: 2)
        #expect(
            try one.sent(to: 2) == [.sync, .proposal(.create), .failure(.nodeExists)])
    }

    @Test func `what another learner sends does not wait`() throws {
        let one = try leader()
        try one.sync(of: session, from: 2)
        try one.create("/behind", of: session, from: 2)
        try one.create("/elsewhere", of: stranger, from: 3)
        #expect(try one.sent(to: 2) == [.ping, .proposal(.create)])
        try one.commit()
        #expect(try one.sent(to: 2) == [.commit])
        #expect(one.has("/elsewhere"))
    }

    @Test func `syncs do not wait for one another`() throws {
        let one = try leader()
        try one.create("/before", of: stranger, from: 3)
        for _ in 0..<3 { try one.sync(of: session, from: 2) }
        try one.echo(from: 3)
        try one.echo(from: 3)
        #expect(try one.sent(to: 2) == [.proposal(.create), .ping, .ping])
        try one.commit()
        #expect(try one.sent(to: 2) == [.commit, .sync, .sync, .sync])
    }

    @Test func `a sync behind a write that waits waits for that, and no longer`() throws {
        let one = try leader()
        try one.sync(of: session, from: 2)
        try one.create("/between", of: session, from: 2)
        for _ in 0..<2 { try one.sync(of: neighbour, from: 2) }
        try one.echo(from: 3)
        #expect(try one.sent(to: 2) == [.ping, .sync, .ping, .proposal(.create)])
        try one.echo(from: 3)
        try one.echo(from: 3)
        #expect(try one.sent(to: 2) == [.ping])
        try one.commit()
        #expect(try one.sent(to: 2) == [.commit, .sync, .sync])
    }

    // MARK: Sessions that come back

    /// 1. A client's write waits behind a sync; its connection breaks, and it goes on at server 3.
    /// 2. It comes back to server 2 while the write still waits.
    /// 3. The write is older than what it did at server 3. It must not be done behind that, as if it
    ///    were new: the session was elsewhere when its turn came.
    @Test func `a session that comes back is not found by what it asked for before it left`() throws
    {
        let one = try leader()
        try one.sync(of: neighbour, from: 2)
        try one.create("/old", of: session, from: 2)
        try one.revalidate(session, from: 3)
        try one.create("/new", of: session, from: 3)
        #expect(
            try one.sent(to: 3) == [.ping, .revalidation(isValid: true), .proposal(.create)])
        try one.revalidate(session, from: 2)
        try one.create("/newest", of: session, from: 2)
        #expect(try one.sent(to: 2) == [.ping, .proposal(.create)])
        try one.echo(from: 3)
        #expect(
            try one.sent(to: 2) == [
                .sync, .revalidation(isValid: true), .failure(.sessionMoved), .proposal(.create),
            ])
        try one.commit()
        for (path, exists) in [("/old", false), ("/new", true), ("/newest", true)] {
            #expect(one.has(path) == exists, "\(path)")
        }
    }

    @Test func `without a write that waits a session comes back at once`() throws {
        let one = try leader()
        try one.sync(of: neighbour, from: 2)
        try one.revalidate(session, from: 2)
        #expect(try one.sent(to: 2) == [.ping, .revalidation(isValid: true)])
        try one.revalidate(SessionID(rawValue: 7), from: 2)
        #expect(try one.sent(to: 2) == [.revalidation(isValid: false)])
    }
}

/// ZooKeeper: `PrepRequestProcessor.pRequest2Txn`, `Leader.tryToCommit`.
@Suite struct `A leader that is asked for reconfigurations` {
    private let session = SessionID(rawValue: 0x200_0000_0000_0001)

    @Test func `has one on its way, and refuses others until that is committed`() throws {
        let one = try LeadingServer()
        try one.begin(session, at: 2)
        _ = try one.sent(to: 2)
        try one.reconfig(leaving: "3", of: session, from: 2)
        try one.reconfig(joining: LeadingServer.line(4), of: session, from: 2)
        #expect(try one.sent(to: 2) == [.proposal(.reconfig), .failure(.reconfigInProgress)])
        try one.commit()
        #expect(try one.sent(to: 2) == [.activation, .commit])
        #expect(one.server.peer.configuration?.participants.map(\.rawValue) == [1, 2])

        try one.reconfig(joining: LeadingServer.line(4), of: session, from: 2)
        #expect(try one.sent(to: 2) == [.proposal(.reconfig)])
        try one.commit()
        #expect(try one.sent(to: 2) == [.activation])
        #expect(one.server.peer.configuration?.participants.map(\.rawValue) == [1, 2, 4])
    }

    @Test func `makes nothing of blanks, and of commas with nothing between them`() throws {
        let one = try LeadingServer()
        try one.begin(session, at: 2)
        _ = try one.sent(to: 2)
        try one.reconfig(
            joining: " server.4 = host4:2888:3888;2181\t, \n", leaving: ",, 3 ,", of: session,
            from: 2)
        #expect(try one.sent(to: 2) == [.proposal(.reconfig)])
        try one.commit()
        #expect(one.server.peer.configuration?.participants.map(\.rawValue) == [1, 2, 4])
    }
}

/// ZooKeeper: `Leader.processAck`, `ACK_LATENCY`.
@Suite struct `A leader measures acknowledgements` {
    /// Every second zxid here.
    @Test func `of one transaction in so many, of each voter, until it is committed`() throws {
        let one = try LeadingServer()
        let session = SessionID(rawValue: 0x200_0000_0000_0001)
        try one.begin(session, at: 2)
        let first = one.server.peer.lastProposed
        for (index, path) in ["/a", "/b", "/c", "/d"].enumerated() {
            one.server.times[Zxid(rawValue: first.rawValue + 1 + Int64(index))] = 100 + Int64(index)
            try one.create(path, of: session, from: 2)
        }
        let before = one.server.milestones.count
        for counter in 1...4 as ClosedRange<Int64> {
            try one.ack(Zxid(rawValue: first.rawValue + counter), from: 3)
        }
        try one.server.flush()
        try one.ack(one.server.peer.lastProposed, from: 2)
        let (leader, three) = (ServerID(rawValue: 1), ServerID(rawValue: 3))
        #expect(
            one.server.milestones.dropFirst(before) == [
                .acknowledged(by: three, madeAt: 100), .acknowledged(by: three, madeAt: 102),
                .acknowledged(by: leader, madeAt: 100), .acknowledged(by: leader, madeAt: 102),
            ])
    }
}
