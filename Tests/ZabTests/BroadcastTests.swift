import Testing
import UnitTestSupport
import Vocabulary
import Zab

/// ZooKeeper: `Leader.processAck`, `Leader.tryToCommit`.
@Suite struct `Broadcast scenarios` {
    private func server(_ id: Int64) -> ServerID { ServerID(rawValue: id) }
    private func zxid(_ counter: Int64) -> Zxid { Zxid(rawValue: counter) }

    private func broadcast(voters: [Int64], lastZxid: Int64 = 0) -> Broadcast {
        Broadcast(
            quorum: QuorumVerifier(voters: voters.map { ServerID(rawValue: $0) }),
            lastZxid: Zxid(rawValue: lastZxid))
    }

    /// Performs the events and returns how far each of them committed; 0: not at all.
    private func commits(_ broadcast: inout Broadcast, _ events: [Broadcast.Event]) -> [Int64] {
        events.map { event in
            var effects: [Broadcast.Effect] = []
            broadcast.step(event, into: &effects)
            #expect(effects.count <= 1)
            return effects.first.map { if case .commit(let zxid) = $0 { zxid.rawValue } else { 0 } }
                ?? 0
        }
    }

    private func ack(_ counter: Int64, by id: Int64) -> Broadcast.Event {
        .acknowledged(upTo: zxid(counter), by: server(id))
    }

    @Test func `alone, a server commits what it has on its disk`() {
        var alone = broadcast(voters: [1], lastZxid: 4)
        let events: [Broadcast.Event] = [
            .proposed(zxid(5)), .proposed(zxid(6)), ack(5, by: 1), ack(6, by: 1),
        ]
        #expect(commits(&alone, events) == [0, 0, 5, 6])
        #expect(alone.lastProposed == zxid(6))
        #expect(alone.lastCommitted == zxid(6))
    }

    @Test func `one flush of many proposals is one commit`() {
        var alone = broadcast(voters: [1])
        let events: [Broadcast.Event] = [
            .proposed(zxid(1)), .proposed(zxid(2)), .proposed(zxid(3)), ack(3, by: 1),
        ]
        #expect(commits(&alone, events) == [0, 0, 0, 3])
    }

    @Test func `of three servers two are needed, whichever two`() {
        for (first, second) in [(1, 2), (2, 3), (3, 1)] as [(Int64, Int64)] {
            var three = broadcast(voters: [1, 2, 3])
            let events = [.proposed(zxid(1)), ack(1, by: first), ack(1, by: second)]
            #expect(commits(&three, events) == [0, 0, 1])
        }
    }

    @Test func `half of four is no quorum`() {
        var four = broadcast(voters: [1, 2, 3, 4])
        let events = [.proposed(zxid(1)), ack(1, by: 1), ack(1, by: 2), ack(1, by: 4)]
        #expect(commits(&four, events) == [0, 0, 0, 1])
    }

    @Test func `a quorum holds only as far as its slower half`() {
        var three = broadcast(voters: [1, 2, 3])
        var events: [Broadcast.Event] = (1...5).map { .proposed(zxid($0)) }
        events += [ack(5, by: 1), ack(3, by: 2), ack(4, by: 3), ack(5, by: 2)]
        #expect(commits(&three, events) == [0, 0, 0, 0, 0, 0, 3, 4, 5])
    }

    @Test func `an ack behind an earlier one of the same server says nothing new`() {
        var three = broadcast(voters: [1, 2, 3])
        let events: [Broadcast.Event] = [
            .proposed(zxid(1)), .proposed(zxid(2)), ack(2, by: 1), ack(1, by: 1), ack(2, by: 2),
        ]
        #expect(commits(&three, events) == [0, 0, 0, 0, 2])
    }

    @Test func `one server's ack twice is not two servers'`() {
        var three = broadcast(voters: [1, 2, 3])
        let events = [.proposed(zxid(1)), ack(1, by: 1), ack(1, by: 1), ack(1, by: 1)]
        #expect(commits(&three, events) == [0, 0, 0, 0])
        #expect(three.lastCommitted == .zero)
    }

    @Test func `an ack beyond what was proposed is not believed, then or later`() {
        var alone = broadcast(voters: [1])
        let events: [Broadcast.Event] = [
            .proposed(zxid(1)), ack(2, by: 1), .proposed(zxid(2)), ack(1, by: 1), ack(2, by: 1),
        ]
        #expect(commits(&alone, events) == [0, 0, 0, 1, 2])
    }

    @Test func `who has come anew may have lost what it acknowledged, until it says so again`() {
        var three = broadcast(voters: [1, 2, 3])
        let events: [Broadcast.Event] = [
            .proposed(zxid(1)), ack(1, by: 2), .returned(server(2)), ack(1, by: 1), ack(1, by: 2),
        ]
        #expect(commits(&three, events) == [0, 0, 0, 0, 1])
    }

    @Test func `what is committed stays so, whoever comes anew`() {
        var three = broadcast(voters: [1, 2, 3])
        let events: [Broadcast.Event] = [
            .proposed(zxid(1)), ack(1, by: 2), ack(1, by: 1), .returned(server(2)),
            .returned(server(1)), .proposed(zxid(2)), ack(1, by: 2), ack(2, by: 3), ack(2, by: 2),
        ]
        #expect(commits(&three, events) == [0, 0, 1, 0, 0, 0, 0, 0, 2])
        #expect(three.lastCommitted == zxid(2))
    }

    @Test func `who does not vote does not count`() {
        var three = broadcast(voters: [1, 2, 3])
        let events = [
            .proposed(zxid(1)), ack(1, by: 9), ack(1, by: 8), ack(1, by: 1), ack(1, by: 2),
        ]
        #expect(commits(&three, events) == [0, 0, 0, 0, 1])
    }

    @Test func `acks of the history that was there commit nothing`() {
        var three = broadcast(voters: [1, 2, 3], lastZxid: 7)
        #expect(commits(&three, [ack(7, by: 1), ack(7, by: 2), ack(6, by: 3)]) == [0, 0, 0])
        #expect(three.lastCommitted == zxid(7))
    }

    @Test func `a new epoch goes on behind the old one`() {
        var alone = broadcast(voters: [1], lastZxid: 9)
        let first = Zxid(epoch: 1, counter: 1)
        let events: [Broadcast.Event] = [
            .proposed(first), .acknowledged(upTo: first, by: server(1)),
        ]
        #expect(commits(&alone, events) == [0, first.rawValue])
    }

    @Test(arguments: 1...7)
    func `a quorum is more than half`(_ count: Int) {
        let voters = (1...count).map { ServerID(rawValue: Int64($0)) }
        let quorum = QuorumVerifier(voters: voters.reversed())
        #expect(quorum.voters == voters)
        for present in 0...count {
            let isQuorum = quorum.isQuorum { $0.rawValue <= Int64(present) }
            #expect(isQuorum == (Double(present) > Double(count) / 2))
        }
    }
}
