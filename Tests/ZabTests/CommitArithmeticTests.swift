import Testing
import UnitTestSupport
import Vocabulary
import Zab

@Suite struct `Commit arithmetic` {
    /// Counts, for every proposal, who holds it.
    private struct Twin {
        let voters: [Int64]
        var proposed: Int64
        var committed: Int64
        var held: [Int64: Int64] = [:]

        /// How far this ack commits; nil when it commits nothing.
        mutating func acknowledge(_ zxid: Int64, by server: Int64) -> Int64? {
            guard zxid <= proposed else { return nil }
            held[server] = max(held[server] ?? 0, zxid)
            var reached = committed
            while reached < proposed,
                voters.filter({ (held[$0] ?? 0) > reached }).count > voters.count / 2
            {
                reached += 1
            }
            guard reached > committed else { return nil }
            committed = reached
            return reached
        }
    }

    @Test(arguments: UInt64(0)..<60)
    func `random acks commit what counting every proposal commits`(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let voters = (1...Int64(1 + random.below(7))).map { $0 }
        let last = Int64(random.below(50))
        var twin = Twin(voters: voters, proposed: last, committed: last)
        var broadcast = Broadcast(
            quorum: QuorumVerifier(voters: voters.map { ServerID(rawValue: $0) }),
            lastZxid: Zxid(rawValue: last))
        for _ in 0..<400 {
            var effects: [Broadcast.Effect] = []
            if random.chance(percent: 30) {
                twin.proposed += 1
                broadcast.step(.proposed(Zxid(rawValue: twin.proposed)), into: &effects)
                #expect(effects.isEmpty)
                continue
            }
            // Some acks come late, some come twice, some claim too much, some are of observers.
            let zxid = max(0, twin.proposed + 2 - Int64(random.below(8)))
            let server = Int64(1 + random.below(voters.count + 1))
            broadcast.step(
                .acknowledged(upTo: Zxid(rawValue: zxid), by: ServerID(rawValue: server)),
                into: &effects)
            let expected = twin.acknowledge(zxid, by: server)
                .map { Broadcast.Effect.commit(upTo: Zxid(rawValue: $0)) }
            #expect(effects == (expected.map { [$0] } ?? []))
            #expect(broadcast.lastCommitted.rawValue == twin.committed)
            #expect(broadcast.lastProposed.rawValue == twin.proposed)
        }
    }
}
