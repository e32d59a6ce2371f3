import ArgumentParser
internal import EventLoop

/// What the sessions do while they are measured.
enum Workload: String, CaseIterable, ExpressibleByArgument {
    case get
    case set
    case create
    case mixed
    case watch
    case fanOut = "fan-out"
    case multi
    case load
    case watchTable = "watch-table"
    case children
    case idle

    /// The measurement is the set-up itself; there is no timed run behind it.
    var isFill: Bool { self == .load || self == .watchTable || self == .idle }

    /// Works with requests that come at a fixed rate.
    var acceptsRate: Bool {
        switch self {
        case .get, .set, .create, .mixed, .multi, .children: true
        case .watch, .fanOut, .load, .watchTable, .idle: false
        }
    }
}

/// A server's client address.
struct HostAndPort: Equatable {
    var host: String
    var port: UInt16

    /// Parses `host`, `host:port`, `[IPv6]:port`; nil when it is none of them.
    init?(_ text: Substring) {
        let colon = text.lastIndex(of: ":")
        let hasPort = colon.map { !text.hasSuffix("]") && $0 > text.startIndex } ?? false
        guard hasPort, let colon else {
            guard !text.isEmpty, colon == nil || text.hasSuffix("]") else { return nil }
            (host, port) = (Self.unbracketed(text), 2181)
            return
        }
        guard let number = UInt16(text[text.index(after: colon)...]) else { return nil }
        (host, port) = (Self.unbracketed(text[..<colon]), number)
    }

    private static func unbracketed(_ text: Substring) -> String {
        text.hasPrefix("[") && text.hasSuffix("]")
            ? String(text.dropFirst().dropLast()) : String(text)
    }

    /// Parses a connect string: addresses separated by commas.
    static func list(_ text: String) -> [HostAndPort]? {
        let parsed = text.split(separator: ",", omittingEmptySubsequences: false).map(
            HostAndPort.init)
        let hosts = parsed.compactMap { $0 }
        return hosts.count == parsed.count ? hosts : nil
    }
}

@main
struct ZkBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "zkBench",
        abstract: "Puts load on a ZooKeeper service and measures its answers.",
        discussion: """
            Workloads:
              get          getData of random znodes
              set          setData of random znodes
              create       new znodes
              mixed        getData and setData, see --read-share
              watch        getData with a watch, setData on the same znode; latency is that of the \
            event
              fan-out      one session sets --depth znodes, each of them again when all who watch \
            it have read it; every other session watches one of them; latency is that of the event
              multi        transactions of --operations setData each
              load         creates --znodes znodes and measures that (use with --keep)
              watch-table  every session sets a watch on each of --znodes znodes (use with --hold)
              children     one session lists a znode of --znodes children every 100 ms and changes \
            it under a watch, while the others get
              idle         nothing but --idle-sessions (use with --hold)

            Everything is created below --prefix and deleted at the end. Interrupt once to end \
            early, twice to leave at once. The exit code is 0 when every session survived and \
            every answer was a good one.
            """)

    @Option(help: "The servers, as host:port[,host:port...]; sessions are spread over them.")
    var hosts = "127.0.0.1:2181"

    @Option(help: "What to do: \(Workload.allCases.map(\.rawValue).joined(separator: ", ")).")
    var workload = Workload.get

    @Option(help: "Sessions that put the load on.")
    var sessions = 50

    @Option(help: "Requests that each session keeps outstanding.")
    var depth = 16

    @Option(help: "The size of a znode's data.")
    var valueBytes = 100

    @Option(help: "Znodes to work on.")
    var znodes = 10_000

    @Option(help: "Seconds to measure.")
    var duration = 10.0

    @Option(help: "Seconds of load before the measurement.")
    var warmup = 2.0

    @Option(
        help: """
            Requests per second over all sessions, sent without waiting for answers; latency then \
            counts from when each was due. Without it each session asks as fast as it is answered.
            """)
    var rate: Double?

    @Option(help: "The share of reads in the mixed workload.")
    var readShare = 0.9

    @Option(help: "Operations in one transaction of the multi workload.")
    var operations = 10

    @Option(help: "Further sessions that only send pings.")
    var idleSessions = 0

    @Option(help: "The session timeout to ask for, in milliseconds.")
    var sessionTimeout: Int32 = 30_000

    @Option(help: "Where the znodes are created.")
    var prefix = "/bench"

    @Flag(help: "Leave the znodes there.")
    var keep = false

    @Flag(help: "Work on the znodes that an earlier run with the same numbers kept; create none.")
    var reuse = false

    @Flag(help: "After the report keep the sessions open until SIGINT or SIGTERM.")
    var hold = false

    @Flag(help: "Print the report as JSON.")
    var json = false

    func validate() throws {
        guard HostAndPort.list(hosts) != nil else {
            throw ValidationError("--hosts is a list of host:port")
        }
        guard prefix.hasPrefix("/"), prefix.count > 1, !prefix.hasSuffix("/") else {
            throw ValidationError("--prefix is a path below the root, without a slash at its end")
        }
        guard sessions > 0 || workload == .idle, depth > 0, znodes > 0, operations > 0 else {
            throw ValidationError("--sessions, --depth, --znodes and --operations are above 0")
        }
        guard znodes < 1_000_000_000, idleSessions >= 0, sessions >= 0 else {
            throw ValidationError("--znodes is below 1000000000, and no count is negative")
        }
        guard valueBytes >= 0, duration > 0, warmup >= 0, (0...1).contains(readShare) else {
            throw ValidationError(
                "--value-bytes, --duration, --warmup or --read-share is out of range")
        }
        guard rate.map({ $0 > 0 && workload.acceptsRate }) ?? true else {
            throw ValidationError(
                "--rate is above 0, and not for watch, fan-out, load, watch-table and idle")
        }
        guard workload != .watch || znodes >= sessions * depth else {
            throw ValidationError("watch needs a znode for every outstanding request")
        }
        guard workload != .fanOut || (sessions > depth && znodes >= depth) else {
            throw ValidationError("fan-out needs --depth znodes, and a session to watch each")
        }
        guard workload != .children || sessions > 1 else {
            throw ValidationError("children needs a session to list and others to get")
        }
    }

    func run() throws {
        do {
            let bench = try Bench(settings)
            guard bench.run() else { throw ExitCode.failure }
        } catch let error as UVError {
            throw ValidationError("the event loop does not start: \(error)")
        }
    }

    private var settings: Settings {
        Settings(
            hosts: HostAndPort.list(hosts) ?? [], workload: workload, sessions: sessions,
            depth: depth, valueBytes: valueBytes, znodes: znodes, duration: duration,
            warmup: warmup, rate: rate, readShare: readShare, operations: operations,
            idleSessions: idleSessions, sessionTimeout: sessionTimeout, prefix: prefix, keep: keep,
            reuse: reuse, hold: hold, json: json)
    }
}

/// The options as plain values: reading a parsed option costs a thousand instructions, and these
/// are read for every request.
struct Settings {
    var hosts: [HostAndPort]
    var workload: Workload
    var sessions: Int
    var depth: Int
    var valueBytes: Int
    var znodes: Int
    /// In seconds, as is `warmup`.
    var duration: Double
    var warmup: Double
    var rate: Double?
    var readShare: Double
    var operations: Int
    var idleSessions: Int
    /// In milliseconds.
    var sessionTimeout: Int32
    var prefix: String
    var keep: Bool
    var reuse: Bool
    var hold: Bool
    var json: Bool
}
