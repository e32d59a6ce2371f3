import Testing
import Vocabulary
import Zab

/// ZooKeeper: `QuorumCnxManager.startConnection`, `handleConnection`.
@Suite struct `Election connections` {
    @Test func `what the larger server dialed is kept at both ends`() {
        #expect(ElectionConnections.afterDialing(server(1), from: server(2)) == .keep)
        #expect(ElectionConnections.afterAccepting(server(2), at: server(1)) == .keep)
    }

    @Test func `what the smaller server dialed is closed at both ends, and the larger dials`() {
        #expect(ElectionConnections.afterDialing(server(2), from: server(1)) == .close)
        #expect(ElectionConnections.afterAccepting(server(1), at: server(2)) == .closeAndDial)
    }

    @Test func `an observer without a name is smaller than everybody and is dialed back`() {
        #expect(ElectionConnections.afterAccepting(server(-1), at: server(1)) == .closeAndDial)
    }

    @Test func `a server with our own id is nobody to talk to`() {
        #expect(ElectionConnections.afterAccepting(server(3), at: server(3)) == .close)
        #expect(ElectionConnections.afterDialing(server(3), from: server(3)) == .close)
    }

    @Test func `of the two connections of any pair exactly one is kept by both`() {
        for one in 1...5 as ClosedRange<Int64> {
            for other in 1...5 as ClosedRange<Int64> where other != one {
                let isKept =
                    ElectionConnections.afterDialing(server(other), from: server(one)) == .keep
                #expect(
                    (ElectionConnections.afterAccepting(server(one), at: server(other)) == .keep)
                        == isKept)
                #expect(isKept == (one > other))
            }
        }
    }
}
