import Configuration
import Testing

@Suite struct ConfigurationKeyTests {
    /// key, what Apache ZooKeeper 3.9 has when it is absent, bounds
    private static let integers: [(String, Int, ClosedRange<Int>)] = [
        ("tickTime", 3000, 1...2_147_483_647),
        ("clientPortListenBacklog", -1, -1...2_147_483_647),
        ("maxClientCnxns", 60, -1...2_147_483_647),
        ("maxCnxns", 0, -1...2_147_483_647),
        ("nio.sessionlessCnxnTimeout", 10000, 1...2_147_483_647),
        ("snapSizeLimitInKb", 4_194_304, -1...2_147_483_647),
        ("preAllocSize", 65536, 0...2_147_483_647),
        ("txnLogSizeLimitInKb", -1, -1...2_147_483_647),
        ("fsync.warningthresholdms", 1000, 0...2_147_483_647),
        ("znode.container.checkIntervalMs", 60000, 1...2_147_483_647),
        ("znode.container.maxPerMinute", 10000, 1...2_147_483_647),
        ("znode.container.maxNeverUsedIntervalMs", 0, 0...2_147_483_647),
        ("jute.maxbuffer", 1_048_575, 1024...2_147_483_647),
        ("globalOutstandingLimit", 1000, 1...2_147_483_647),
        ("connection_throttle_tokens", 0, 0...2_147_483_647),
        ("connection_throttle_fill_time", 1, 1...2_147_483_647),
        ("connection_throttle_fill_count", 1, 1...2_147_483_647),
        ("connection_throttle_global_session_weight", 3, 1...2_147_483_647),
        ("connection_throttle_local_session_weight", 1, 1...2_147_483_647),
        ("connection_throttle_renew_session_weight", 2, 1...2_147_483_647),
        ("leader.ackLoggingFrequency", 1000, -1...2_147_483_647),
        ("cnxTimeout", 5000, 1...2_147_483_647),
        ("quorumCnxnTimeoutMs", -1, -1...2_147_483_647),
        ("fastleader.minNotificationInterval", 200, 1...2_147_483_647),
        ("fastleader.maxNotificationInterval", 60000, 1...2_147_483_647),
        ("observerMasterPort", 0, 0...65535),
        ("observer.reconnectDelayMs", 0, 0...2_147_483_647),
        ("observer.election.DelayMs", 200, 0...2_147_483_647),
    ]

    /// Integers whose default follows another key or whose small values are raised; tested by rule.
    private static let integersWithRules = [
        "minSessionTimeout", "maxSessionTimeout", "snapCount", "autopurge.snapRetainCount",
        "jute.maxbuffer.extrasize", "initLimit", "syncLimit", "connectToLearnerMasterLimit",
        "commitLogCount",
    ]

    private static let booleans: [(String, Bool)] = [
        ("datadir.autocreate", true), ("db.autocreate", true), ("forceSync", true),
        ("snapshot.trust.empty", false), ("serializeLastProcessedZxid.enabled", true),
        ("digest.enabled", true), ("clientTcpKeepAlive", false), ("closeSessionTxn.enabled", true),
        ("extendedTypesEnabled", false), ("enforceQuota", false), ("reconfigEnabled", false),
        ("skipACL", false), ("connection_throttle_weight_enabled", false),
        ("DigestAuthenticationProvider.enabled", true), ("enforce.auth.enabled", false),
        ("standaloneEnabled", true), ("multiAddress.enabled", false),
        ("quorumListenOnAllIPs", false),
        ("tcpKeepAlive", false), ("leaderServes", true), ("sync.confirmLeadership", true),
        ("forceSnapshotSync", false), ("syncEnabled", true), ("localSessionsEnabled", false),
        ("localSessionsUpgradingEnabled", false), ("readonlymode.enabled", false),
    ]

    private static let others = [
        "dataDir", "dataLogDir", "autopurge.purgeInterval", "snapshot.compression.method",
        "clientPort", "clientPortAddress", "4lw.commands.whitelist",
        "DigestAuthenticationProvider.digestAlg", "DigestAuthenticationProvider.superDigest",
        "enforce.auth.schemes", "sessionRequireClientSASLAuth", "server.*", "group.*", "weight.*",
        "version", "dynamicConfigFile", "peerType", "electionAlg", "snapshotSizeFactor",
    ]

    /// What a key needs beside it to be accepted.
    private func company(of key: String) -> String {
        switch key {
        case "enforce.auth.enabled": "enforce.auth.schemes=ip\n"
        // Without servers, false would be refused; with one participant alone, true is standalone.
        case "standaloneEnabled": "server.1=a:2888:3888\ninitLimit=5\nsyncLimit=2\n"
        default: ""
        }
    }

    @Test func `every implemented key is tested`() {
        let tested =
            Self.integers.map(\.0) + Self.integersWithRules + Self.booleans.map(\.0) + Self.others
        #expect(tested.sorted() == ConfigurationKey.implemented.map(\.name).sorted())
    }

    @Test(arguments: integers)
    func `an integer's bounds are accepted and what lies beyond is refused`(
        key: String, defaultValue: Int, bounds: ClosedRange<Int>
    ) throws {
        let defaults = try configuration("")
        #expect(try configuration("\(key)=\(defaultValue)") == defaults)
        for value in [bounds.lowerBound, bounds.upperBound] where value != defaultValue {
            #expect(try configuration("\(key)=\(value)") != defaults)
        }
        for value in [bounds.lowerBound - 1, bounds.upperBound + 1] {
            let message = try #require(refusal("\(key)=\(value)"))
            #expect(message.hasPrefix("zoo.cfg:3: \(key): expected a whole number"))
            #expect(
                message.hasSuffix(
                    "from \(bounds.lowerBound) to \(bounds.upperBound), found \"\(value)\""))
        }
    }

    @Test(arguments: integersWithRules)
    func `an integer with a rule of its own has bounds too`(key: String) throws {
        #expect(try configuration("\(key)=54321") != configuration(""))
        #expect(refusal("\(key)=2147483648") != nil)
        #expect(refusal("\(key)=many") != nil)
    }

    @Test func `session timeouts have a lower bound`() {
        #expect(refusal("minSessionTimeout=-2") != nil)
        #expect(refusal("maxSessionTimeout=-2") != nil)
    }

    @Test(arguments: booleans)
    func `a boolean has its default and can be switched`(key: String, defaultValue: Bool) throws {
        let isYesNo = ["forceSync", "skipACL", "leaderServes"].contains(key)
        let (on, off) = isYesNo ? ("yes", "no") : ("true", "false")
        let defaults = try configuration(company(of: key))
        #expect(
            try configuration(company(of: key) + "\(key)=\(defaultValue ? on : off)") == defaults)
        #expect(
            try configuration(company(of: key) + "\(key)=\(defaultValue ? off : on)") != defaults)
        #expect(refusal(company(of: key) + "\(key)=\(isYesNo ? "true" : "yes")") != nil)
    }

    @Test func `what is absent has Apache's default`() throws {
        let defaults = try configuration("")
        #expect(defaults.dataDir == "/data")
        #expect(defaults.clientPort == 2181)
        #expect(defaults.clientPortAddress == nil)
        #expect(defaults.minSessionTimeoutMilliseconds == 6000)
        #expect(defaults.maxSessionTimeoutMilliseconds == 60000)
        #expect(defaults.snapCount == 100_000)
        #expect(defaults.snapRetainCount == 3)
        #expect(defaults.purgeInterval == .zero)
        #expect(defaults.snapshotCompression == SnapshotCompression.none)
        #expect(defaults.juteMaxBufferExtraBytes == 1_048_575)
        #expect(defaults.fourLetterWordsWhitelist == .words([]))
        #expect(defaults.digestAlgorithm == .sha1)
        #expect(defaults.superDigest == nil)
        #expect(defaults.enforceAuthSchemes == [])
    }

    @Test func `every key has a meaning, and every implemented one an expectation`() {
        for key in ConfigurationKey.implemented {
            #expect(!key.summary.isEmpty && key.summary.hasSuffix("."), "\(key.name)")
            #expect(!key.expectation.isEmpty, "\(key.name)")
            #expect(key.status == .implemented)
        }
        for key in ConfigurationKey.notImplementedYet {
            #expect(key.status == .notImplementedYet && key.expectation.isEmpty, "\(key.name)")
        }
        for key in ConfigurationKey.notApplicable {
            #expect(key.status == .notApplicable && key.defaultText.isEmpty, "\(key.name)")
        }
    }
}
