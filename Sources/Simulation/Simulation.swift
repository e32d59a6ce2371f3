/// Runs whole ensembles in virtual time, one for each seed.
package enum Simulation {
    package struct Options: Sendable {
        /// To choose from; empty: 3 to 7.
        package var servers: [Int] = []
        /// How long faults go on, in minutes of virtual time; nil: the seed decides.
        package var minutes: Int?
        package var plant: Plant?
        /// Whether everything that happens is printed.
        package var prints = false

        package init() {}

        /// How these are told to `zkSimulate`.
        package var arguments: String {
            var text = servers.map { " --servers \($0)" }.joined()
            if let minutes { text += " --minutes \(minutes)" }
            if let plant { text += " --plant \(plant.rawValue)" }
            return text
        }
    }

    package struct Outcome: Sendable {
        package var seed: UInt64
        /// What was drawn.
        package var setup: String
        /// What went wrong; nil: nothing.
        package var violation: String?
        /// Of everything that happened.
        package var digest: UInt64
        /// Microseconds of virtual time.
        package var time: Int
        package var happenings: Int
        package var epochs: Int
        package var committed: Int
        package var reconfigurations: Int
        package var acknowledged: Int
        package var reads: Int
        package var syncReads: Int
        package var events: Int
        package var crashes: Int
        package var snapshotsSent: Int
        package var truncations: Int
        package var refusedTruncations: Int
    }

    package static func run(seed: UInt64, _ options: Options = Options()) -> Outcome {
        var random = SeededGenerator(seed: seed)
        var setup = Setup(
            drawnFrom: &random, servers: options.servers, minutes: options.minutes)
        var reconfigurations = SeededGenerator(seed: seed ^ 0x7265_636f_6e66_697f)
        setup.drawReconfigurations(from: &reconfigurations)
        let world = World(
            setup: setup, random: random, plant: options.plant, prints: options.prints)
        var violation: String?
        do {
            try world.run()
        } catch {
            violation = "\(World.text(world.now)) s: \(error)"
        }
        let statistics = world.statistics
        return Outcome(
            seed: seed, setup: "\(setup)", violation: violation, digest: world.digest,
            time: world.now, happenings: world.happenings, epochs: world.journal.epochCount,
            committed: world.journal.committed.count - 1,
            reconfigurations: world.journal.reconfigurationCount,
            acknowledged: statistics.acknowledged,
            reads: statistics.reads, syncReads: statistics.syncReads,
            events: statistics.events, crashes: statistics.crashes,
            snapshotsSent: statistics.snapshotsSent, truncations: statistics.truncations,
            refusedTruncations: statistics.refusedTruncations)
    }
}
