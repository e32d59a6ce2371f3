/// What a server is told before it starts. `ConfigurationKey.implemented` says for each field which
/// key sets it and within which bounds; the defaults are the values here.
package struct ServerConfiguration: Equatable, Sendable {
    // Storage

    /// Where snapshots are.
    package var dataDir: String
    /// Where transaction logs are.
    package var dataLogDir: String {
        get { dataLogDirIfSet ?? dataDir }
        set { dataLogDirIfSet = newValue }
    }
    /// Create the directories that are missing.
    package var dataDirAutocreate = true
    /// False: an empty data directory without a file `initialize` must not become a new database.
    package var dbAutocreate = true
    /// Transactions between two snapshots, at most.
    package var snapCount = 100_000
    /// Log bytes between two snapshots, in kilobytes; 0 or less: no limit.
    package var snapSizeLimitKilobytes = 4_194_304
    /// The step in which a log file grows ahead of its content; 0: not ahead.
    package var preAllocKilobytes = 65_536
    /// The size at which a new log file begins; 0 or less: only a snapshot begins one.
    package var txnLogSizeLimitKilobytes = -1
    /// Flush to the disk before a write is acknowledged.
    package var forceSync = true
    /// A flush that takes longer is logged.
    package var fsyncWarningThresholdMilliseconds = 1000
    /// Snapshots that a purge leaves.
    package var snapRetainCount = 3
    /// Time between two purges; zero: never.
    package var purgeInterval = Duration.zero
    package var snapshotCompression = SnapshotCompression.none
    /// Accept transaction logs without any snapshot.
    package var snapshotTrustEmpty = false
    /// Write the zxid at the end of a snapshot.
    package var serializeLastProcessedZxid = true
    /// Keep the digest of the tree in transactions and snapshots.
    package var digestEnabled = true

    // Clients and sessions

    /// `nil`: not set. 0: the kernel picks a free port.
    package var clientPort: UInt16?
    /// The address to listen on; `nil`: all.
    package var clientPortAddress: String?
    /// -1: the largest the kernel takes.
    package var clientPortListenBacklog = -1
    package var tickTimeMilliseconds = 3000
    /// The shortest session timeout a client gets. Setting -1 means the default, 2 ticks.
    package var minSessionTimeoutMilliseconds: Int {
        get { minSessionTimeoutIfSet ?? ticks(2) }
        set { minSessionTimeoutIfSet = newValue == -1 ? nil : newValue }
    }
    /// The longest session timeout a client gets. Setting -1 means the default, 20 ticks.
    package var maxSessionTimeoutMilliseconds: Int {
        get { maxSessionTimeoutIfSet ?? ticks(20) }
        set { maxSessionTimeoutIfSet = newValue == -1 ? nil : newValue }
    }
    /// Connections from one address; 0 or less: no limit.
    package var maxClientCnxns = 60
    /// Connections in all; 0 or less: no limit.
    package var maxCnxns = 0
    /// How long a connection may exist without a session.
    package var sessionlessTimeoutMilliseconds = 10_000
    package var clientTcpKeepAlive = false
    /// List the ephemeral znodes in the transaction that closes a session.
    package var closeSessionTxnEnabled = true
    package var fourLetterWordsWhitelist = FourLetterWordsWhitelist.words([])

    // Znodes

    /// Allow znodes with a TTL.
    package var extendedTypesEnabled = false
    package var containerCheckIntervalMilliseconds = 60_000
    /// Containers and TTL znodes removed per minute, at most.
    package var containerMaxPerMinute = 10_000
    /// Remove a container that never had a child after this time; 0: keep it.
    package var containerMaxNeverUsedIntervalMilliseconds = 0
    /// Refuse writes over a hard quota.
    package var enforceQuota = false
    package var reconfigEnabled = false

    // Limits

    /// The longest request.
    package var juteMaxBufferBytes = 0xfffff
    /// What a record read from the disk may have beyond `juteMaxBufferBytes`.
    package var juteMaxBufferExtraBytes: Int {
        get { juteMaxBufferExtraIfSet ?? max(juteMaxBufferBytes, Self.juteMaxBufferExtraBytesMin) }
        set { juteMaxBufferExtraIfSet = newValue }
    }
    package static let juteMaxBufferExtraBytesMin = 1024
    /// Requests in progress, in all.
    package var globalOutstandingLimit = 1000
    /// Tokens of the bucket from which sessions take; 0: no bucket.
    package var connectionThrottleTokens = 0
    package var connectionThrottleFillTimeMilliseconds = 1
    /// Tokens added each fill time.
    package var connectionThrottleFillCount = 1
    /// Sessions take as many tokens as their kind weighs, not one each; then the bucket and its
    /// fillings are meant for sessions that are new and global.
    package var connectionThrottleWeightEnabled = false
    package var globalSessionWeight = 3
    package var localSessionWeight = 1
    /// Of a session that goes on after its connection was lost.
    package var renewedSessionWeight = 2

    // Access

    /// Do not check ACLs.
    package var skipACL = false
    package var digestAuthEnabled = true
    package var digestAlgorithm = DigestAlgorithm.sha1
    /// `user:hash` of who may do everything.
    package var superDigest: String?
    /// Serve only clients that authenticated with one of `enforceAuthSchemes`.
    package var enforceAuthEnabled = false
    package var enforceAuthSchemes: [String] = []

    // Ensemble

    /// What the keys of an ensemble say, whether or not there is one.
    package var quorum = QuorumSettings()
    /// The ensemble that this server belongs to; `nil`: the server is standalone.
    package var ensemble: EnsembleSettings?

    private var dataLogDirIfSet: String?
    private var minSessionTimeoutIfSet: Int?
    private var maxSessionTimeoutIfSet: Int?
    private var juteMaxBufferExtraIfSet: Int?

    /// All defaults.
    package init(dataDir: String) { self.dataDir = dataDir }

    /// Milliseconds. A session timeout is 32 bits on the wire, a long tick times 20 is not.
    private func ticks(_ count: Int) -> Int {
        min(count * tickTimeMilliseconds, Int(Int32.max))
    }
}

/// How snapshots are written. All forms are read, whatever is set.
package enum SnapshotCompression: Sendable {
    case none
    case gzip
}

/// The hash of the `digest` scheme.
package enum DigestAlgorithm: String, CaseIterable, Sendable {
    case sha1 = "SHA1"
    case sha224 = "SHA-224"
    case sha256 = "SHA-256"
    case sha384 = "SHA-384"
    case sha512 = "SHA-512"

    /// The name Java uses, in any case and with or without the hyphen.
    init?(javaName: String) {
        let letters = { (name: String) in name.uppercased().filter { $0 != "-" } }
        let wanted = letters(javaName)
        guard let match = Self.allCases.first(where: { letters($0.rawValue) == wanted }) else {
            return nil
        }
        self = match
    }
}

/// The four-letter words that are answered. `srvr` always is: `zkServer status` asks it.
///
/// Source: ZooKeeper, `FourLetterCommands.isEnabled`.
package enum FourLetterWordsWhitelist: Equatable, Sendable {
    case all
    case words(Set<String>)

    package func contains(_ word: String) -> Bool {
        switch self {
        case .all: true
        case .words(let words): word == "srvr" || words.contains(word)
        }
    }

    static let known: Set<String> = [
        "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok",
        "srst", "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
    ]
}
