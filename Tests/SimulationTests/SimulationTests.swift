import Foundation
import Simulation
import Testing

/// Whole ensembles in virtual time. A failure names the command that repeats it alone, with
/// everything that happens in it.
@Suite struct `Simulation of ensembles` {
    /// Seeds that find a bug which was there once. Another draw in `Setup` makes other runs of them:
    /// then `scripts/plant-bugs` says which ones find them now.
    static let knownSeeds: [(seed: UInt64, found: String)] = [
        (242, "a leader counted the word of a follower that had cut its log since"),
        (243, "an observer without a log began one behind a hole"),
        (179, "a follower waited for the flush of what it had cut off its log"),
        (215, "a sync was answered by a leader that had been replaced"),
        (351, "a session came back to its follower past its own earlier requests"),
        (20, "a learner went by a configuration that was only proposed"),
        (172, "a leader completed a configuration that its log had lost"),
        (69, "an observer without a log was removed, and began one behind a hole"),
        (623, "an observer without a log never heard that it had become a voter"),
        (2290, "servers waited for the voters of a configuration that never came to be"),
        (248, "a new server's vote was needed, and it did not know that it had one"),
        (301, "a server counted as a follower when it was an observer already"),
        (2720, "a server without weight insisted on itself where its vote was needed"),
    ]

    /// How long fresh seeds are tried: `SIMULATION_SECONDS`.
    private static let seconds =
        ProcessInfo.processInfo.environment["SIMULATION_SECONDS"].flatMap { Double($0) } ?? 20

    private func expectNoViolation(_ outcome: Simulation.Outcome) {
        guard let violation = outcome.violation else { return }
        Issue.record(
            "make simulate SEED=\(outcome.seed): \(violation), with \(outcome.setup)")
    }

    @Test func `seeds that found something find nothing any more`() {
        for (seed, _) in Self.knownSeeds { expectNoViolation(Simulation.run(seed: seed)) }
    }

    @Test func `fresh seeds find nothing`() {
        let first = UInt64.random(in: 1 << 20..<1 << 48)
        tell("simulation: fresh seeds from \(first) on")
        let end = Date(timeIntervalSinceNow: Self.seconds)
        var outcomes: [Simulation.Outcome] = []
        while Date() < end {
            let seed = first + UInt64(outcomes.count)
            outcomes.append(Simulation.run(seed: seed))
            expectNoViolation(outcomes[outcomes.count - 1])
        }
        let seconds = outcomes.reduce(0) { $0 + $1.time } / 1_000_000
        tell("simulation: \(outcomes.count) seeds, \(seconds) s of virtual time")
        // A world in which nothing happens proves nothing.
        #expect(!outcomes.isEmpty)
    }

    @Test func `runs are full of what they are there for`() {
        let outcomes = (1...20).map { Simulation.run(seed: $0) }
        func sum(_ count: (Simulation.Outcome) -> Int) -> Int {
            outcomes.reduce(0) { $0 + count($1) }
        }
        #expect(sum(\.epochs) > 40)
        #expect(sum(\.crashes) > 60)
        #expect(sum(\.acknowledged) > 4000)
        #expect(sum(\.reads) > 4000)
        #expect(sum(\.syncReads) > 1000)
        #expect(sum(\.events) > 400)
        #expect(sum(\.snapshotsSent) > 10)
        #expect(sum(\.truncations) > 2)
        #expect(sum(\.reconfigurations) > 40)
        #expect(outcomes.count { $0.reconfigurations > 0 } > 5)
        #expect(outcomes.count { $0.reconfigurations == 0 } > 5)
    }

    @Test func `the same seed is the same run`() {
        for seed in 1...5 as ClosedRange<UInt64> {
            let first = Simulation.run(seed: seed)
            let second = Simulation.run(seed: seed)
            #expect(first.digest == second.digest)
            #expect(first.happenings == second.happenings)
        }
        #expect(Simulation.run(seed: 1).digest != Simulation.run(seed: 2).digest)
    }

    /// Unbuffered, so that it is there when something traps.
    private func tell(_ line: String) {
        FileHandle.standardError.write(Data((line + "\n").utf8))
    }
}

/// Bugs that are put into the simulated shell, one at a time: each must be found. Those inside the
/// core are planted by `scripts/plant-bugs`.
@Suite struct `Planted bugs` {
    private static let seedsMax: UInt64 = 400
    /// Where some are found at once: debug builds are slow.
    private static let firstSeeds: [Plant: UInt64] = [
        .answerSyncsUnconfirmed: 216, .acceptClientsAhead: 38, .loseSeenConfiguration: 70,
    ]

    @Test(arguments: Plant.allCases)
    func `a planted bug is found`(_ plant: Plant) {
        var options = Simulation.Options()
        options.plant = plant
        let first = Self.firstSeeds[plant] ?? 1
        let found = (first..<first + Self.seedsMax).first {
            Simulation.run(seed: $0, options).violation != nil
        }
        #expect(found != nil, "nobody notices \(plant) in \(Self.seedsMax) seeds")
    }
}
