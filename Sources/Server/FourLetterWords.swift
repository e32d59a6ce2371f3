import Configuration
import Ensemble
import EventLoop
internal import Glibc
import Jute
import QuorumProtocol
import Storage
import StorageFormat
import SystemPackage
import Vocabulary
import Znodes

/// The commands that stand in place of a connect request: four letters, answered with text.
///
/// Source: ZooKeeper, `org.apache.zookeeper.server.command`.
enum FourLetterWord: String, CaseIterable {
    case conf, cons, crst, dirs, dump, envi, isro, mntr, ruok, srst, srvr, stat, wchc, wchp, wchs

    /// The first four bytes of a connection; as a length they would be over a billion.
    init?(_ bytes: Span<UInt8>) {
        guard bytes[0] >= 0x61 else { return nil }
        self.init(rawValue: String(lenientUTF8: bytes))
    }
}

extension ZooKeeperServer {
    func answer(_ word: FourLetterWord) -> String {
        guard isAllowed(word) else {
            return "\(word.rawValue) is not executed because it is not in the whitelist.\n"
        }
        switch (word, mode) {
        case (.ruok, _): return "imok"
        case (.envi, _): return Environment.text
        case (.isro, nil): return "null"
        case (_, nil): return "This ZooKeeper instance is not currently serving requests\n"
        case (.isro, _): return isReadOnly ? "ro" : "rw"
        case (.srvr, let mode?): return versionLine + readOnlyLine + statisticsLines(mode)
        case (.stat, let mode?):
            return "\(versionLine)\(readOnlyLine)Clients:\n\(clientLines)\n\(statisticsLines(mode))"
        case (.mntr, let mode?): return monitorText(mode)
        case (.cons, _): return connectionLines
        case (.conf, _): return configurationText
        case (.dirs, _): return "datadir_size: \(snapshotBytes)\nlogdir_size: \(logBytes)\n"
        case (.dump, _): return dumpText
        case (.crst, _):
            for case let connection? in connections { connection.statistics.reset() }
            return "Connection stats reset.\n"
        case (.srst, _):
            statistics.reset()
            return "Server stats reset.\n"
        case (.wchs, _): return watchSummary
        case (.wchc, _): return watchesByConnection
        case (.wchp, _): return watchesByPath
        }
    }

    private func isAllowed(_ word: FourLetterWord) -> Bool {
        switch word {
        case .srvr: true
        case .isro where ensemble?.settings.readOnlyModeEnabled == true: true
        default: configuration.fourLetterWordsWhitelist.contains(word.rawValue)
        }
    }

    /// What clients are served as; nil: they are not.
    private var mode: String? {
        switch peer.serving {
        case .leading: ensemble == nil ? "standalone" : "leader"
        case .following: "follower"
        case .observing: "observer"
        case .looking, nil: isReadOnly ? "read-only" : nil
        }
    }

    /// Apache's table of znodes holds the root under both its names; tools compare the number.
    var shownZnodeCount: Int { database.tree.count + 1 }

    /// Apache's leaders show the beginning of their epoch before they have a transaction.
    private var shownZxid: Zxid {
        guard ensemble != nil, peer.isLeading else { return lastZxid }
        return max(lastZxid, Zxid(epoch: peer.currentEpoch, counter: 0))
    }

    private var versionLine: String { "Zookeeper version: \(ServerVersion.text)\n" }

    private var readOnlyLine: String {
        isReadOnly ? "READ-ONLY mode; serving only read-only clients\n" : ""
    }

    private func statisticsLines(_ mode: String) -> String {
        let latency = statistics.latency
        let text = """
            Latency min/avg/max: \(latency.minimum)/\(decimal(latency.mean))/\(latency.maximum)
            Received: \(statistics.packetsReceived)
            Sent: \(statistics.packetsSent)
            Connections: \(connectionCount)
            Outstanding: \(outstanding)
            Zxid: \(shownZxid)
            Mode: \(mode)
            Node count: \(shownZnodeCount)

            """
        guard ensemble != nil, peer.isLeading else { return text }
        let sizes = statistics.roles.proposalSizes
        return text
            + "Proposal sizes last/min/max: \(sizes.last)/\(sizes.minimum)/\(sizes.maximum)\n"
    }

    // MARK: Connections

    private func briefLine(_ connection: ClientConnection) -> String {
        let statistics = connection.statistics
        return " \(connection.stream.peer)[\(connection.isThrottled ? 0 : 1)]"
            + "(queued=\(connection.queue.count),recved=\(statistics.received),sent=\(statistics.sent)"
    }

    private var clientLines: String {
        var lines = ""
        for case let connection? in connections { lines += briefLine(connection) + ")\n" }
        return lines
    }

    private var connectionLines: String {
        var lines = ""
        for case let connection? in connections {
            lines += briefLine(connection)
            if connection.session != .none {
                let statistics = connection.statistics
                lines += ",sid=\(connection.session),lop=\(statistics.lastOperation)"
                lines += ",est=\(statistics.established),to=\(connection.timeoutMilliseconds)"
                if statistics.lastCxid >= 0 {
                    lines += ",lcxid=0x\(String(statistics.lastCxid, radix: 16))"
                }
                let latency = statistics.latency
                lines += ",lzxid=\(statistics.lastZxid),lresp=\(statistics.lastResponseTime)"
                lines += ",llat=\(statistics.lastLatency),minlat=\(latency.minimum)"
                lines += ",avglat=\(Int64(latency.mean)),maxlat=\(latency.maximum)"
            }
            lines += ")\n"
        }
        return lines + "\n"
    }

    // MARK: Configuration, directories, sessions

    private var snapshotBytes: Int { directories.snapshots.bytesOfFiles }
    private var logBytes: Int { directories.logs.bytesOfFiles }

    private var configurationText: String {
        """
        clientPort=\(listeningPort)
        secureClientPort=-1
        dataDir=\(directories.snapshots)
        dataDirSize=\(snapshotBytes)
        dataLogDir=\(directories.logs)
        dataLogSize=\(logBytes)
        tickTime=\(configuration.tickTimeMilliseconds)
        maxClientCnxns=\(configuration.maxClientCnxns)
        minSessionTimeout=\(configuration.minSessionTimeoutMilliseconds)
        maxSessionTimeout=\(configuration.maxSessionTimeoutMilliseconds)
        clientPortListenBacklog=\(configuration.clientPortListenBacklog)
        serverId=\(ensemble == nil ? 0 : peer.id.rawValue)

        """ + ensembleText
    }

    private var ensembleText: String {
        guard let settings = ensemble?.settings, let members = peer.configuration else { return "" }
        let own = members.member(peer.id) ?? settings.own
        let ports = { (port: (EnsembleConfiguration.Endpoint) -> UInt16) in
            own.endpoints.map { "\(port($0))" }.joined(separator: "|")
        }
        let text = """
            initLimit=\(settings.initLimit)
            syncLimit=\(settings.syncLimit)
            electionAlg=3
            electionPort=\(ports(\.electionPort))
            quorumPort=\(ports(\.quorumPort))
            peerType=\(own.role == .participant ? 0 : 1)

            """
        return isReadOnly ? text : "\(text)membership: \n\(members.text)"
    }

    /// Of global sessions, only who lets them expire knows when they do.
    private var sessionText: String {
        let sessions = database.sessions.sorted { $0.key < $1.key }
        let global =
            peer.isLeading
            ? sessionSets(proposer.tracker)
            : "Global Sessions(\(sessions.count)):\n"
                + sessions.map { "\($0)\t\($1)ms\n" }.joined()
        guard ensemble?.settings.localSessionsEnabled == true else { return global }
        return "Local \(sessionSets(localSessions))\(peer.isLeading ? "Global " : "")\(global)"
    }

    private func sessionSets(_ tracker: SessionTracker) -> String {
        let expiries = tracker.expiries(now: Int64(now))
        let count = expiries.reduce(0) { $0 + $1.ids.count }
        var text = "Session Sets (\(expiries.count))/(\(count)):\n"
        for (left, ids) in expiries {
            let date = Clock.javaDate(milliseconds: Clock.milliseconds + left)
            text += "\(ids.count) expire at \(date):\n"
            for id in ids { text += "\t\(id)\n" }
        }
        return text
    }

    private var dumpText: String {
        var text = "SessionTracker dump:\n\(sessionText)"
        let owners = database.tree.sessionsWithEphemerals
        text += "ephemeral nodes dump:\nSessions with Ephemerals (\(owners.count)):\n"
        for owner in owners {
            text += "\(owner):\n"
            for path in database.tree.ephemeralPaths(of: owner) { text += "\t\(path)\n" }
        }
        text += "Connections dump:\nConnections Sets (1)/(\(connectionCount)):\n"
        text +=
            "\(connectionCount) expire at \(Clock.javaDate(milliseconds: Clock.milliseconds)):\n"
        for case let connection? in connections {
            text += "\tip: \(connection.stream.peer) sessionId: \(connection.session)\n"
        }
        return text
    }

    // MARK: Watches

    /// The watch commands speak of the table of data watches, as Apache's do.
    private func forEachDataWatch(_ body: (String, SessionID) -> Void) {
        database.watches.forEach { path, watcher, modes in
            guard !modes.isDisjoint(with: [.data, .persistent, .recursive]),
                let connection = connections[Int(watcher)]
            else { return }
            body(String(decoding: path, as: UTF8.self), connection.session)
        }
    }

    private var watchSummary: String {
        var paths: Set<String> = []
        var sessions: Set<SessionID> = []
        var total = 0
        forEachDataWatch { path, session in
            paths.insert(path)
            sessions.insert(session)
            total += 1
        }
        return
            "\(sessions.count) connections watching \(paths.count) paths\nTotal watches:\(total)\n"
    }

    private var watchesByConnection: String {
        var paths: [SessionID: [String]] = [:]
        forEachDataWatch { paths[$1, default: []].append($0) }
        return paths.sorted { $0.key < $1.key }.map { session, paths in
            "\(session)\n" + paths.sorted().map { "\t\($0)\n" }.joined()
        }.joined() + "\n"
    }

    private var watchesByPath: String {
        var sessions: [String: [SessionID]] = [:]
        forEachDataWatch { sessions[$0, default: []].append($1) }
        return sessions.sorted { $0.key < $1.key }.map { path, sessions in
            "\(path)\n" + sessions.sorted().map { "\t\($0)\n" }.joined()
        }.joined() + "\n"
    }
}

/// As Java prints it: at most four digits behind the point, at least one.
func decimal(_ value: Double) -> String {
    let scaled = (value * 10_000).rounded() / 10_000
    return scaled == scaled.rounded() && scaled.magnitude < 1e15
        ? "\(Int64(scaled)).0" : "\(scaled)"
}

/// What the machine and the process look like, under the names that tools ask for.
enum Environment {
    static var text: String {
        var text = "Environment:\n"
        for (key, value) in fields { text += "\(key)=\(value)\n" }
        return text
    }

    private static var fields: [(String, String)] {
        var system = utsname()
        uname(&system)
        let none = "<NA>"
        return [
            ("zookeeper.version", ServerVersion.text),
            ("host.name", hostName),
            ("java.version", none), ("java.vendor", none), ("java.home", none),
            ("java.class.path", none), ("java.library.path", none), ("java.io.tmpdir", "/tmp"),
            ("java.compiler", none),
            ("os.name", string(&system.sysname)),
            ("os.arch", string(&system.machine)),
            ("os.version", string(&system.release)),
            ("user.name", variable("USER")), ("user.home", variable("HOME")),
            ("user.dir", variable("PWD")),
        ]
    }

    private static var hostName: String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, 255) == 0 else { return "<NA>" }
        return String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private static func variable(_ name: String) -> String {
        getenv(name).map { String(cString: $0) } ?? "<NA>"
    }

    private static func string<T>(_ field: inout T) -> String {
        withUnsafeBytes(of: &field) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    /// Of this process: in use, and at most.
    static var fileDescriptors: (open: Int, maximum: Int) {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        var open = 0
        if let directory = opendir("/proc/self/fd") {
            while readdir(directory) != nil { open += 1 }
            closedir(directory)
            open -= 3  // Itself, and the two names of directories.
        }
        return (open, Int(clamping: limit.rlim_cur))
    }
}
