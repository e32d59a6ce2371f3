import Foundation
import Testing
import UnitTestSupport

private typealias SignalAction = sigaction

/// The case under way, for the signal handler: a trap ends the process before anything is printed.
private nonisolated(unsafe) var underway: (name: StaticString, seed: UInt64) = ("", 0)

/// What handled signals before; by number, which is below 65.
private nonisolated(unsafe) var handledBefore: [SignalAction] = .init(
    repeating: SignalAction(), count: 65)
private nonisolated(unsafe) var isReporting = false

/// Runs cases of one decoder until its share of the time is over. Each case has its own seed and
/// builds all it needs, so that one number repeats it:
///
///     FUZZ_SEED=<number> FUZZ_CASES=1 swift test --filter <name>
///
/// `FUZZ_SECONDS` (10) is the time for all of them together.
enum Fuzz {
    private static let environment = ProcessInfo.processInfo.environment
    private static let suites = 6.0

    private static let seconds = environment["FUZZ_SECONDS"].flatMap(Double.init) ?? 10
    private static let casesMax = environment["FUZZ_CASES"].flatMap(Int.init) ?? .max
    private static let firstSeed: UInt64 =
        environment["FUZZ_SEED"].flatMap { UInt64($0) } ?? .random(in: 0..<1 << 48)

    static func run(_ name: StaticString, _ body: (inout SeededGenerator) throws -> Void) {
        reportTraps()
        print("fuzz \(name): FUZZ_SEED=\(firstSeed)")
        let end = ContinuousClock.now + .seconds(seconds / suites)
        var cases = 0
        while cases < casesMax, cases == 0 || ContinuousClock.now < end {
            let seed = firstSeed &+ UInt64(cases)
            underway = (name, seed)
            var random = SeededGenerator(seed: seed)
            do {
                try body(&random)
            } catch {
                Issue.record("\(name): FUZZ_SEED=\(seed) FUZZ_CASES=1: \(error)")
                return
            }
            cases += 1
        }
        print("fuzz \(name): \(cases) cases")
    }

    /// A claim about one case; the case ends with the first that does not hold.
    static func require(_ condition: Bool, _ claim: @autoclosure () -> String) throws {
        if !condition { throw Broken(claim: claim()) }
    }

    struct Broken: Error {
        var claim: String
    }

    private static let handledSignals = [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT]

    /// Says which case it was, then leaves the signal to who handled it before.
    private static func reportTraps() {
        for number in handledSignals {
            var action = SignalAction()
            action.__sigaction_handler.sa_handler = { number in
                Fuzz.writeUnderway()
                sigaction(number, &handledBefore[Int(number)], nil)
                raise(number)
            }
            var before = SignalAction()
            sigaction(number, &action, &before)
            // The second and later tests find this handler itself.
            if !isReporting { handledBefore[Int(number)] = before }
        }
        isReporting = true
    }

    /// Allocates nothing: it runs in a signal handler.
    private static func writeUnderway() {
        func write(_ text: StaticString) {
            _ = Glibc.write(2, text.utf8Start, text.utf8CodeUnitCount)
        }
        write("\nfuzz ")
        write(underway.name)
        write(" trapped: FUZZ_CASES=1 FUZZ_SEED=")
        var divisor: UInt64 = 10_000_000_000_000_000_000
        var hasBegun = false
        while divisor > 0 {
            var digit = UInt8(truncatingIfNeeded: underway.seed / divisor % 10)
            hasBegun = hasBegun || digit > 0 || divisor == 1
            digit += 0x30
            if hasBegun { _ = Glibc.write(2, &digit, 1) }
            divisor /= 10
        }
        write("\n")
    }
}
