import Foundation
import Testing
import UnitTestSupport
import Zab

/// Ensembles in which everything fails, thousands of them, and then one question: who leads?
///
/// A failure names its seed: `ELECTION_SEED=7` runs that alone and prints what happens. After a trap
/// only the blocks that ran are known: `ELECTION_BLOCK=3` runs that alone, naming each seed first.
@Suite struct `Election simulation` {
    private static let seedsPerTest: UInt64 = 250
    private static let blockCount: UInt64 = 8
    /// Roles end after seconds of silence, and a minute's back-off may be running when all is mended.
    private static let patience: ElectionWorld.Time = 10_000_000

    private static let chosenSeed = ProcessInfo.processInfo.environment["ELECTION_SEED"]
        .flatMap { UInt64($0) }
    private static let chosenBlock = ProcessInfo.processInfo.environment["ELECTION_BLOCK"]
        .flatMap { UInt64($0) }

    private func world(seed: UInt64) -> ElectionWorld {
        var random = SeededGenerator(seed: seed)
        let setup = ElectionWorld.Setup(drawnFrom: &random)
        return ElectionWorld(setup: setup, random: random)
    }

    @Test(arguments: 0..<blockCount)
    func `no quorum follows two leaders, none is behind its voters, and all settle when mended`(
        _ block: UInt64
    ) {
        guard Self.chosenSeed == nil, (Self.chosenBlock ?? block) == block else { return }
        let seeds = block * Self.seedsPerTest..<(block + 1) * Self.seedsPerTest
        tell("election simulation: block \(block), seeds \(seeds)")
        var slowest: ElectionWorld.Time = 0
        var elections = 0
        var epochs = 0
        for seed in seeds {
            if Self.chosenBlock != nil { tell("seed \(seed)") }
            var world = world(seed: seed)
            do {
                slowest = max(slowest, try world.run(patience: Self.patience))
                elections += world.electionCount
                epochs += world.epochCount
            } catch {
                Issue.record("ELECTION_SEED=\(seed) \(world.setup): \(error)")
            }
        }
        tell("\(elections) results, \(epochs) epochs, settled after \(slowest / 1000) ms at most")
        // A world in which nothing happens proves nothing.
        #expect(epochs > 2 * seeds.count)
        #expect(elections > 4 * epochs)
    }

    /// Unbuffered, so that it is there when something traps.
    private func tell(_ line: String) {
        FileHandle.standardError.write(Data((line + "\n").utf8))
    }

    /// Delays of less than a millisecond, and nothing fails by itself.
    private func calmWorld(
        voterCount: Int, observerCount: Int = 0, seed: UInt64,
        change: (inout ElectionWorld.Setup) -> Void = { _ in }
    ) -> ElectionWorld {
        var setup = ElectionWorld.Setup()
        setup.voterCount = voterCount
        setup.observerCount = observerCount
        (setup.delayMin, setup.delayMax) = (100, 1000)
        change(&setup)
        return ElectionWorld(setup: setup, random: SeededGenerator(seed: seed))
    }

    @Test(arguments: 3...7)
    func `a fail-over costs round trips and no timer`(_ voterCount: Int) throws {
        for seed in 0..<20 as Range<UInt64> {
            var world = calmWorld(voterCount: voterCount, observerCount: 1, seed: seed)
            _ = try world.run(patience: Self.patience)
            let leader = try #require(world.leader)
            let crashed = world.now
            world.crash(leader)
            try world.advance { $0.hasNewLeader }
            // One after the other notices; its vote, or the refusal of the dead; a better vote in
            // return; the vote for that; and the observer is told.
            #expect(world.now - crashed <= 6000, "seed \(seed)")
        }
    }

    @Test(arguments: 3...7)
    func `after minutes in which nobody heard anybody the first words are enough`(
        _ voterCount: Int
    ) throws {
        for seed in 0..<5 as Range<UInt64> {
            var world = calmWorld(voterCount: voterCount, observerCount: 1, seed: seed) {
                $0.beginsCut = true
                $0.faultsEnd = 200_000_000
            }
            // A learner that comes before its leader is one tries again after 100 ms; the shortest
            // resending would take 200.
            #expect(try world.run(patience: Self.patience) < 150_000, "seed \(seed)")
        }
    }

    @Test(.enabled(if: chosenSeed != nil))
    func `the chosen seed`() throws {
        guard let seed = Self.chosenSeed else { return }
        var world = world(seed: seed)
        world.prints = true
        print("seed \(seed): \(world.setup)")
        let time = try world.run(patience: Self.patience)
        print("settled \(time / 1000) ms after mending")
    }
}
