import ArgumentParser
internal import Glibc
internal import Simulation

@main
struct ZkSimulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "zkSimulate",
        abstract:
            "Runs ensembles in virtual time, one for each seed, and looks for what must not be."
    )

    @Option(help: "How many seeds to run, from a fresh one on.")
    var seeds: Int?

    @Option(help: "The first seed; without --seeds it runs alone and tells what happens in it.")
    var seed: UInt64?

    @Option(help: "How long faults go on, in minutes of virtual time; else the seed decides.")
    var minutes: Int?

    @Option(help: "How many servers, 3 to 7; can be repeated, for the seed to choose from.")
    var servers: [Int] = []

    @Option(help: "A known bug to put into the simulated shell.")
    var plant: String?

    mutating func validate() throws {
        guard seeds ?? 1 > 0 else { throw ValidationError("--seeds counts from 1") }
        guard servers.allSatisfy((1...7).contains) else {
            throw ValidationError("--servers is 1 to 7")
        }
        guard let plant, Plant(rawValue: plant) == nil else { return }
        let known = Plant.allCases.map(\.rawValue).joined(separator: ", ")
        throw ValidationError("--plant is one of \(known)")
    }

    mutating func run() throws {
        var options = Simulation.Options()
        options.servers = servers
        options.minutes = minutes
        options.plant = plant.flatMap(Plant.init)
        options.prints = seed != nil && seeds == nil
        let count = seeds ?? (seed == nil ? 100 : 1)
        let first = seed ?? UInt64.random(in: 0..<1 << 48)
        TrapReport.install(options)
        var totals = Totals()
        for seed in first..<first + UInt64(count) {
            TrapReport.seed = seed
            let outcome = Simulation.run(seed: seed, options)
            totals.add(outcome)
            guard let violation = outcome.violation else { continue }
            print("seed \(seed): \(outcome.setup)")
            print("seed \(seed): \(violation)")
            print("zkSimulate --seed \(seed)\(options.arguments)")
            throw ExitCode.failure
        }
        print("seeds \(first) to \(first + UInt64(count) - 1): \(totals)")
    }
}

/// What a failed precondition of the core leaves behind: the command that repeats it.
private enum TrapReport {
    nonisolated(unsafe) static var seed: UInt64 = 0
    nonisolated(unsafe) static var arguments = ""

    static func install(_ options: Simulation.Options) {
        arguments = options.arguments
        for number in [SIGILL, SIGTRAP, SIGABRT, SIGSEGV] {
            signal(number) { number in
                print("a trap: zkSimulate --seed \(TrapReport.seed)\(TrapReport.arguments)")
                fflush(nil)
                signal(number, SIG_DFL)
                raise(number)
            }
        }
    }
}

/// What happened in all the seeds.
private struct Totals: CustomStringConvertible {
    private let start = Self.monotonicSeconds()
    private var seeds = 0
    private var epochs = 0
    private var reconfigurations = 0
    private var acknowledged = 0
    private var reads = 0
    private var events = 0
    private var crashes = 0
    private var snapshotsSent = 0
    private var truncations = 0
    private var refusedTruncations = 0
    private var virtualSeconds = 0
    /// The same numbers for the same seeds, on every machine.
    private var digest: UInt64 = 0

    mutating func add(_ outcome: Simulation.Outcome) {
        seeds += 1
        digest = digest &* 31 &+ outcome.digest
        epochs += outcome.epochs
        reconfigurations += outcome.reconfigurations
        acknowledged += outcome.acknowledged
        reads += outcome.reads
        events += outcome.events
        crashes += outcome.crashes
        snapshotsSent += outcome.snapshotsSent
        truncations += outcome.truncations
        refusedTruncations += outcome.refusedTruncations
        virtualSeconds += outcome.time / 1_000_000
    }

    var description: String {
        let seconds = max(0.001, Self.monotonicSeconds() - start)
        let rate = Int(Double(seeds) * 60 / seconds)
        return "\(virtualSeconds) s of virtual time, \(epochs) epochs, "
            + "\(reconfigurations) reconfigurations, \(acknowledged) writes, "
            + "\(reads) reads, \(events) events, \(crashes) crashes, \(snapshotsSent) SNAP, "
            + "\(truncations) TRUNC, \(refusedTruncations) of them refused, "
            + "digest \(String(digest, radix: 16)); \(rate) seeds per minute"
    }

    private static func monotonicSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
