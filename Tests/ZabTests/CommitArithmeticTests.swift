import Testing
import UnitTestSupport
import Vocabulary
import Zab

@Suite struct `Commit arithmetic` {
    /// Counts, for every proposal, who holds it.
    private struct Twin {
        var voters: [Int64]
        var proposed: Int64
        var committed: Int64
        var held: [Int64: Int64] = [:]
        var reconfiguration: (zxid: Int64, voters: [Int64])?

        private func isHeld(_ zxid: Int64, by voters: [Int64]) -> Bool {
            voters.filter { (held[$0] ?? 0) >= zxid }.count > voters.count / 2
        }

        /// What this ack commits.
        mutating func acknowledge(_ zxid: Int64, by server: Int64) -> [Broadcast.Effect] {
            guard zxid <= proposed else { return [] }
            held[server] = max(held[server] ?? 0, zxid)
            var effects: [Broadcast.Effect] = []
            while committed < proposed, isHeld(committed + 1, by: voters) {
                let next = Zxid(rawValue: committed + 1)
                if let (zxid, others) = reconfiguration, next.rawValue == zxid {
                    guard isHeld(zxid, by: others) else { break }
                    (voters, reconfiguration) = (others, nil)
                    effects.append(.commitReconfig(next))
                } else if case .commit = effects.last {
                    effects[effects.count - 1] = .commit(upTo: next)
                } else {
                    effects.append(.commit(upTo: next))
                }
                committed += 1
            }
            return effects
        }
    }

    @Test(arguments: [0, 3])
    func `random acks commit what counting every proposal commits`(reconfigPercent: Int) {
        let counts = (UInt64(0)..<60).map { run($0, reconfigPercent: reconfigPercent) }
        #expect((counts.reduce(0, +) > 50) == (reconfigPercent > 0))
    }

    /// The number of reconfigurations that were committed.
    private func run(_ seed: UInt64, reconfigPercent: Int) -> Int {
        var random = SeededGenerator(seed: seed)
        let servers = (1...Int64(7)).map { $0 }
        let voters = Array(servers.prefix(1 + random.below(7)))
        let speakers = reconfigPercent == 0 ? voters.count + 1 : servers.count + 1
        let last = Int64(random.below(50))
        var twin = Twin(voters: voters, proposed: last, committed: last)
        var broadcast = Broadcast(
            quorum: QuorumVerifier(voters: voters.map { ServerID(rawValue: $0) }),
            lastZxid: Zxid(rawValue: last))
        var reconfigCount = 0
        for _ in 0..<400 {
            var effects: [Broadcast.Effect] = []
            if random.chance(percent: 30) {
                twin.proposed += 1
                broadcast.step(.proposed(Zxid(rawValue: twin.proposed)), into: &effects)
                if twin.reconfiguration == nil, random.chance(percent: reconfigPercent) {
                    let others = Array(
                        servers.shuffled(using: &random).prefix(1 + random.below(7)))
                    twin.reconfiguration = (twin.proposed, others)
                    broadcast.step(
                        .reconfigProposed(
                            QuorumVerifier(voters: others.map { ServerID(rawValue: $0) })),
                        into: &effects)
                }
                #expect(effects.isEmpty)
                continue
            }
            // Some acks come late, some come twice, some claim too much, some are of observers.
            let zxid = max(0, twin.proposed + 2 - Int64(random.below(8)))
            let server = Int64(1 + random.below(speakers))
            broadcast.step(
                .acknowledged(upTo: Zxid(rawValue: zxid), by: ServerID(rawValue: server)),
                into: &effects)
            #expect(effects == twin.acknowledge(zxid, by: server), "seed \(seed)")
            #expect(broadcast.lastCommitted.rawValue == twin.committed)
            #expect(broadcast.lastProposed.rawValue == twin.proposed)
            reconfigCount += effects.count { if case .commitReconfig = $0 { true } else { false } }
        }
        return reconfigCount
    }
}
