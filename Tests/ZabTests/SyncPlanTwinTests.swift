import Testing
import UnitTestSupport
import Vocabulary
import Zab

/// Servers that lead, write, fail and are synchronised again, as Zab makes them: whatever the
/// histories are, each plan must lead a learner to its leader's history.
@Suite struct `Plans over random histories` {
    private struct Server {
        var history: [Zxid] = []
        var currentEpoch: Int64 = 0
        /// Apache's leaders report the start of their epoch until they have written in it.
        var startedEpoch: Int64?

        var lastZxid: Zxid {
            startedEpoch.map { Zxid(epoch: $0, counter: 0) } ?? history.last ?? .zero
        }
    }

    private struct Tally {
        var diffs = 0
        var truncs = 0
        var logs = 0
        var snaps = 0
    }

    private struct World {
        var random: SeededGenerator
        var servers: [Server]
        var epoch: Int64 = 0
        /// What a quorum has had on disk under an established epoch.
        var committed: [Zxid] = []
        var tally = Tally()

        init(seed: UInt64) {
            random = SeededGenerator(seed: seed)
            servers = Array(repeating: Server(), count: random.pick([3, 5]))
        }

        var quorumSize: Int { servers.count / 2 + 1 }

        /// One leader's time, from the promises of a quorum to its end.
        mutating func lead() {
            epoch += 1
            let present = Array(servers.indices.shuffled(using: &random).prefix(quorumSize))
            // Nobody in the quorum may be ahead of its leader.
            let leader = present.sorted {
                (servers[$0].currentEpoch, servers[$0].lastZxid)
                    < (servers[$1].currentEpoch, servers[$1].lastZxid)
            }[present.count - 1]
            #expect(
                servers[leader].history.starts(with: committed),
                "the world itself must be one that Zab allows")
            servers[leader].currentEpoch = epoch
            let learners = present.filter { $0 != leader }
            for learner in learners {
                if random.chance(percent: 15) {
                    return breakOff(learner, leader: leader)
                }
                synchronise(learner, leader: leader)
                servers[learner].currentEpoch = epoch
            }
            servers[leader].startedEpoch = epoch
            write(leader: leader, learners: learners)
        }

        /// A learner gets a part of the history; then the leader is gone.
        mutating func breakOff(_ learner: Int, leader: Int) {
            let before = servers[learner]
            let isWhole = synchronise(learner, leader: leader)
            // A tree that has not come whole is thrown away.
            guard !isWhole else { return servers[learner] = before }
            let shared = zip(before.history, servers[learner].history)
                .prefix { $0 == $1 }.count
            let kept = shared + random.below(servers[learner].history.count - shared + 1)
            servers[learner].history.removeLast(servers[learner].history.count - kept)
        }

        mutating func write(leader: Int, learners: [Int]) {
            let start = servers[leader].history
            let count = random.below(5)
            let new = (0..<count).map { Zxid(epoch: epoch, counter: UInt32($0 + 1)) }
            var committedCount = count
            for learner in learners {
                let received = random.below(count + 1)
                // They are as many as a quorum needs.
                committedCount = min(committedCount, received)
                servers[learner].history += new.prefix(received)
            }
            servers[leader].history += new
            if committedCount > 0 { servers[leader].startedEpoch = nil }
            committed = start + new.prefix(committedCount)
            // The others come later, or those that have lost their link come back.
            for late in servers.indices where late != leader && random.chance(percent: 40) {
                synchronise(
                    late, leader: leader, committedCount: start.count + committedCount)
                servers[late].currentEpoch = epoch
            }
            if count > 0 { servers[leader].startedEpoch = nil }
        }

        /// Brings the learner to the leader's history; true if the whole tree was sent.
        @discardableResult
        mutating func synchronise(
            _ learner: Int, leader: Int, committedCount: Int? = nil
        ) -> Bool {
            let ours = servers[leader].history
            let committed = ours.prefix(committedCount ?? ours.count)
            let kept = Array(committed.suffix(random.below(committed.count + 1)))
            let peer = servers[learner].lastZxid
            let lastProcessed =
                servers[leader].startedEpoch == nil
                ? committed.last ?? .zero : servers[leader].lastZxid
            let canReadLogs = random.chance(percent: 60)
            var plan = SyncPlan.decide(
                peer: peer, committed: kept, lastProcessed: lastProcessed,
                canReadLogs: canReadLogs)
            #expect(
                plan
                    == Self.twin(
                        peer, kept, lastProcessed: lastProcessed, canReadLogs: canReadLogs),
                "\(peer) against \(kept), \(lastProcessed)")
            if plan == .readLogs {
                tally.logs += 1
                plan = walkLogs(committed, peer)
            }
            let theirs = servers[learner].history
            let result: [Zxid]
            switch plan {
            case .diff(let zxid):
                tally.diffs += 1
                #expect(theirs.allSatisfy(ours.contains), "DIFF takes nothing away")
                result = theirs + ours.filter { $0 > zxid }
            case .trunc(let zxid):
                tally.truncs += 1
                result = theirs.filter { $0 <= zxid } + ours.filter { $0 > zxid }
            case .snap:
                tally.snaps += 1
                result = ours
            case .readLogs: preconditionFailure("the logs were read")
            }
            #expect(result == ours, "\(plan) from \(theirs), \(peer)")
            servers[learner].history = ours
            servers[learner].startedEpoch = nil
            return plan == .snap
        }

        /// The logs begin somewhere; what they hold ends where the memory does.
        mutating func walkLogs(_ committed: ArraySlice<Zxid>, _ peer: Zxid) -> SyncPlan {
            var walk = SyncWalk(peer: peer)
            for zxid in committed.dropFirst(random.below(committed.count + 1)) {
                if let plan = walk.visit(zxid) { return plan }
            }
            return walk.end ?? .snap
        }

        /// The same decision, looked up instead of walked.
        static func twin(
            _ peer: Zxid, _ kept: [Zxid], lastProcessed: Zxid, canReadLogs: Bool
        ) -> SyncPlan {
            if peer == lastProcessed || kept.contains(peer) { return .diff(after: peer) }
            let isEpochStart = peer.counter == 0
            let newest = kept.max() ?? lastProcessed
            if peer > newest { return isEpochStart ? .snap : .trunc(to: newest) }
            guard let before = kept.filter({ $0 < peer }).max() else {
                return canReadLogs ? .readLogs : .snap
            }
            if isEpochStart { return .diff(after: peer) }
            let isSameEpoch = kept.contains { $0 > peer && $0.epoch == peer.epoch }
            return isSameEpoch ? .trunc(to: before) : .snap
        }
    }

    @Test func `whatever the histories are, the plan leads to the leader's`() {
        var tally = Tally()
        for seed in UInt64(0)..<2000 {
            var world = World(seed: seed)
            for _ in 0..<8 { world.lead() }
            tally.diffs += world.tally.diffs
            tally.truncs += world.tally.truncs
            tally.logs += world.tally.logs
            tally.snaps += world.tally.snaps
        }
        // Worlds in which nothing happens prove nothing.
        for count in [tally.diffs, tally.truncs, tally.logs, tally.snaps] {
            #expect(count > 1000)
        }
    }
}
