internal import Glibc

/// What is counted between two moments.
struct Statistics {
    var requests: UInt64 = 0
    var events: UInt64 = 0
    private(set) var errors: UInt64 = 0
    /// By the negated code; the last place takes what is out of range.
    private var errorsByCode = [UInt64](repeating: 0, count: 256)
    var lostSessions = 0
    private(set) var latency = Histogram()
    /// getChildren of the children workload.
    var listing = Histogram()

    private var interval = Histogram()
    private var intervalRequests: UInt64 = 0
    private var intervalStart: UInt64 = 0
    private var startTime: UInt64 = 0
    private var startCPU: UInt64 = 0
    private var stopTime: UInt64 = 0
    private var stopCPU: UInt64 = 0

    @inline(__always)
    mutating func record(_ nanoseconds: UInt64) { interval.record(nanoseconds) }

    mutating func count(error: Int32) {
        errors &+= 1
        errorsByCode[error < 0 && error > -255 ? Int(-error) : 255] &+= 1
    }

    /// The codes that occurred.
    var errorCodes: [(code: Int, count: UInt64)] {
        errorsByCode.enumerated().filter { $0.element > 0 }.map { (-$0.offset, $0.element) }
    }

    /// Forgets what was counted, except errors and lost sessions: those are never part of a warm-up.
    mutating func start(_ now: UInt64) {
        (requests, events) = (0, 0)
        latency.removeAll()
        listing.removeAll()
        interval.removeAll()
        (intervalRequests, intervalStart) = (0, now)
        (startTime, startCPU) = (now, Self.cpuNanoseconds)
        (stopTime, stopCPU) = (0, 0)
    }

    mutating func stop(_ now: UInt64) {
        guard stopTime == 0 else { return }
        _ = takeInterval()
        (stopTime, stopCPU) = (now, Self.cpuNanoseconds)
        requestsAtStop = requests
        eventsAtStop = events
    }

    /// Later answers belong to the time behind the measurement.
    private(set) var requestsAtStop: UInt64 = 0
    private(set) var eventsAtStop: UInt64 = 0

    var seconds: Double { Double(max(1, stopTime &- startTime)) / 1e9 }

    /// The share of one core that this process used.
    var ownCPUShare: Double { Double(stopCPU &- startCPU) / Double(max(1, stopTime &- startTime)) }

    private static var cpuNanoseconds: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// What happened since the last call.
    struct Interval {
        var requestsPerSecond: Double
        var latency: Histogram
        var errors: UInt64

        var summary: String {
            let times = [0.5, 0.99, 1].map { milliseconds(latency.percentile($0)) }
            return "\(Int(requestsPerSecond)) requests/s, p50 \(times[0]) ms, p99 \(times[1]) ms, "
                + "max \(times[2]) ms, errors \(errors)"
        }
    }

    mutating func takeInterval() -> Interval {
        let now = monotonicNanoseconds()
        let seconds = Double(max(1, now &- intervalStart)) / 1e9
        let result = Interval(
            requestsPerSecond: Double(requests &- intervalRequests) / seconds, latency: interval,
            errors: errors)
        if stopTime == 0 { latency.merge(interval) }
        interval.removeAll()
        (intervalRequests, intervalStart) = (requests, now)
        return result
    }
}

/// A duration in milliseconds with three decimals.
func milliseconds(_ nanoseconds: UInt64) -> String {
    decimal(Double(nanoseconds) / 1e6, places: 3)
}

/// Rounds to a fixed number of decimals.
func decimal(_ value: Double, places: Int) -> String {
    var scale = 1
    for _ in 0..<places { scale *= 10 }
    let scaled = Int((value * Double(scale)).rounded())
    guard places > 0 else { return String(scaled) }
    let fraction = String(abs(scaled) % scale)
    let zeros = String(repeating: "0", count: places - fraction.count)
    return "\(scaled < 0 ? "-" : "")\(abs(scaled) / scale).\(zeros)\(fraction)"
}

/// The result of a run, for people and for programs.
struct Report {
    let options: Settings
    let statistics: Statistics

    private static let shares = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)]

    private var requestsPerSecond: Double {
        Double(statistics.requestsAtStop) / statistics.seconds
    }

    var text: String {
        let o = options
        var lines = [
            "workload \(o.workload.rawValue): \(o.sessions) sessions, depth \(o.depth), "
                + "\(o.znodes) znodes, \(o.valueBytes) bytes each",
            "requests    \(statistics.requestsAtStop) in \(decimal(statistics.seconds, places: 1)) s",
            "rate        \(Int(requestsPerSecond)) requests/s",
            "latency     \(times(statistics.latency))",
        ]
        if statistics.eventsAtStop > 0 { lines.append("events      \(statistics.eventsAtStop)") }
        if !statistics.listing.isEmpty { lines.append("getChildren \(times(statistics.listing))") }
        let codes = statistics.errorCodes.map { " (\($0.code): \($0.count))" }.joined()
        lines.append("errors      \(statistics.errors)\(codes)")
        lines.append("lost        \(statistics.lostSessions) sessions")
        lines.append("own CPU     \(decimal(100 * statistics.ownCPUShare, places: 0)) % of a core")
        return lines.joined(separator: "\n")
    }

    private func times(_ histogram: Histogram) -> String {
        let parts = Self.shares.map { "\($0) \(milliseconds(histogram.percentile($1)))" }
        return parts.joined(separator: "  ") + "  max \(milliseconds(histogram.max)) ms"
    }

    var json: String {
        let o = options
        var fields: [(String, String)] = [
            ("workload", "\"\(o.workload.rawValue)\""),
            ("sessions", "\(o.sessions)"),
            ("idleSessions", "\(o.idleSessions)"),
            ("depth", "\(o.depth)"),
            ("znodes", "\(o.znodes)"),
            ("valueBytes", "\(o.valueBytes)"),
            ("seconds", decimal(statistics.seconds, places: 3)),
            ("requests", "\(statistics.requestsAtStop)"),
            ("requestsPerSecond", decimal(requestsPerSecond, places: 1)),
            ("latencyMicroseconds", microseconds(statistics.latency)),
            ("events", "\(statistics.eventsAtStop)"),
            ("errors", "\(statistics.errors)"),
            ("errorsByCode", object(statistics.errorCodes.map { ("\($0.code)", "\($0.count)") })),
            ("lostSessions", "\(statistics.lostSessions)"),
            ("ownCPUShare", decimal(statistics.ownCPUShare, places: 3)),
        ]
        if let rate = o.rate { fields.append(("rate", decimal(rate, places: 1))) }
        if !statistics.listing.isEmpty {
            fields.append(("listingMicroseconds", microseconds(statistics.listing)))
            fields.append(("listings", "\(statistics.listing.count)"))
        }
        return object(fields)
    }

    private func microseconds(_ histogram: Histogram) -> String {
        var fields = Self.shares.map {
            ($0, decimal(Double(histogram.percentile($1)) / 1e3, places: 1))
        }
        fields.append(("max", decimal(Double(histogram.max) / 1e3, places: 1)))
        fields.append(("mean", decimal(histogram.mean / 1e3, places: 1)))
        return object(fields)
    }

    private func object(_ fields: [(String, String)]) -> String {
        "{" + fields.map { "\"\($0)\": \($1)" }.joined(separator: ", ") + "}"
    }
}
