// The part of the table of keys that is about ensembles.
//
// Source: ZooKeeper, `QuorumPeerConfig.parseProperties`, and the classes that read the properties:
// `FastLeaderElection`, `QuorumCnxManager`, `LearnerMaster`, `ObserverMaster`, `ZKDatabase`.

private import QuorumProtocol

private let int32Max = Int(Int32.max)

extension ConfigurationKey {
    package static let ensemble =
        serverKeys + electionKeys + learnerKeys + observerKeys + sessionKeys

    private static let serverKeys = [
        ConfigurationKey(
            "server.*",
            .serverList(
                expectation: "host:port:port[:participant or :observer][;[host:]clientPort]"),
            "A server, after its id: host, quorum port, election port, role and where it serves"
                + " clients; further addresses of it follow after a vertical bar each."),
        ConfigurationKey(
            "group.*", .serverList(expectation: "ids of servers with colons between them"),
            "Servers whose weights are counted together; a quorum has more than half of the weight"
                + " in more than half of the groups."),
        ConfigurationKey(
            "weight.*",
            .serverList(
                expectation: "a whole number from 0 to \(EnsembleConfiguration.weightMax)",
                defaultText: "1"),
            "The weight of a server in its group."),
        ConfigurationKey(
            "version",
            .serverList(expectation: "a whole number in hexadecimal", defaultText: "0"),
            "The zxid of the reconfig that made this list of servers."),
        ConfigurationKey(
            "dynamicConfigFile",
            .other(
                expectation: "the path of a file", defaultText: "",
                assign: { value, configuration in
                    guard !value.isEmpty, !value.utf8.contains(0) else { return false }
                    configuration.quorum.dynamicConfigFile = value
                    return true
                }),
            "The file with the list of servers, if it is not here; its name ends in the version."),
        ConfigurationKey(
            "standaloneEnabled", .boolean(\.quorum.standaloneEnabled),
            "One participant alone is a standalone server, and a reconfig leaves at least two;"
                + " false: an ensemble may have one."),
        ConfigurationKey(
            "peerType",
            .other(
                expectation: "participant or observer", defaultText: "participant",
                assign: { value, configuration in
                    let role = EnsembleConfiguration.Role(rawValue: value.lowercased())
                    configuration.quorum.peerType = role
                    return role != nil
                }),
            "What this server is; where the list of servers says otherwise, the list is right."),
        ConfigurationKey(
            "multiAddress.enabled", .boolean(\.quorum.multiAddressEnabled),
            "Servers may have several addresses; to be set on all of them before the list says so."),
    ]

    private static let electionKeys = [
        ConfigurationKey(
            "electionAlg",
            .other(
                expectation: "3 (fast leader election; there is no other any more)",
                defaultText: "3", assign: { value, _ in wholeNumber(value) == 3 }),
            "The election algorithm."),
        ConfigurationKey(
            "quorumListenOnAllIPs", .boolean(\.quorum.quorumListenOnAllIPs),
            "Listen for other servers on all addresses, not only on those of this server's line."),
        ConfigurationKey(
            "cnxTimeout", .integer(\.quorum.cnxTimeoutMilliseconds, .milliseconds, 1...int32Max),
            "How long connecting to another server's election port may take."),
        ConfigurationKey(
            "quorumCnxnTimeoutMs",
            .integer(\.quorum.quorumCnxnTimeoutMilliseconds, .milliseconds, -1...int32Max),
            "How long another server may take to say who it is on the election port; 0 or -1:"
                + " syncLimit."),
        ConfigurationKey(
            "tcpKeepAlive", .boolean(\.quorum.tcpKeepAlive),
            "TCP keep-alive on election connections."),
        ConfigurationKey(
            "fastleader.minNotificationInterval",
            .integer(\.quorum.minNotificationIntervalMilliseconds, .milliseconds, 1...int32Max),
            "An unanswered vote is sent again after this time at first, then after twice as long"
                + " each time."),
        ConfigurationKey(
            "fastleader.maxNotificationInterval",
            .integer(\.quorum.maxNotificationIntervalMilliseconds, .milliseconds, 1...int32Max),
            "Where the doubling ends."),
    ]

    private static let learnerKeys = [
        ConfigurationKey(
            "initLimit", .integer(\.quorum.initLimit, .ticks, 1...int32Max),
            derivedDefault: "required in an ensemble",
            "How long a new leader may take to gather a quorum, and a learner to catch up."),
        ConfigurationKey(
            "syncLimit", .integer(\.quorum.syncLimit, .ticks, 1...int32Max),
            derivedDefault: "required in an ensemble",
            "How long a leader and a learner stay together without a sign of life."),
        ConfigurationKey(
            "connectToLearnerMasterLimit",
            .integer(\.quorum.connectToLearnerMasterLimit, .ticks, 0...int32Max),
            derivedDefault: "initLimit",
            "How long a learner tries to connect to its leader; 0: the default."),
        ConfigurationKey(
            "leaderServes", .boolean(\.quorum.leaderServes, .yesNo),
            "The leader serves clients too."),
        ConfigurationKey(
            "sync.confirmLeadership", .boolean(\.quorum.confirmsSyncs),
            "Answer a `sync` only after a quorum has confirmed that the leader still leads; false: at"
                + " once, even by a leader that has been replaced and does not know it yet."),
        ConfigurationKey(
            "leader.ackLoggingFrequency",
            .integer(\.quorum.ackLoggingFrequency, .count, -1...int32Max),
            "The leader measures how long each voter takes to have a transaction on its disk, of one"
                + " transaction in so many: `ack_latency` of `mntr`; 0 or -1: of none."),
        ConfigurationKey(
            "commitLogCount",
            .integer(
                \.quorum.commitLogCount, .count, QuorumSettings.commitLogCountMin...int32Max,
                raised: true),
            "Transactions kept in memory for learners that lack only those."),
        ConfigurationKey(
            "snapshotSizeFactor",
            .other(
                expectation: "a decimal number up to 1", defaultText: "0.33",
                assign: assignSnapshotSizeFactor),
            "A learner gets transactions from the disk while they are at most this share of the"
                + " newest snapshot's size, a snapshot otherwise; 0: no limit; negative: never."),
        ConfigurationKey(
            "forceSnapshotSync", .boolean(\.quorum.forceSnapshotSync),
            "Send a snapshot to every learner."),
    ]

    private static let observerKeys = [
        ConfigurationKey(
            "syncEnabled", aliases: ["observer.syncEnabled"], .boolean(\.quorum.syncEnabled),
            "An observer writes transactions to its disk."),
        ConfigurationKey(
            "observerMasterPort", .integer(\.quorum.observerMasterPort, .count, 0...65535),
            "The port on which followers serve observers; 0: none."),
        ConfigurationKey(
            "observer.reconnectDelayMs",
            .integer(\.quorum.observerReconnectDelayMilliseconds, .milliseconds, 0...int32Max),
            "An observer connects again after a random time up to this."),
        ConfigurationKey(
            "observer.election.DelayMs", aliases: ["observer.electionDelayMs"],
            .integer(\.quorum.observerElectionDelayMilliseconds, .milliseconds, 0...int32Max),
            "An observer that lost its leader looks for one after a random time up to this."),
    ]

    private static let sessionKeys = [
        ConfigurationKey(
            "localSessionsEnabled", .boolean(\.quorum.localSessionsEnabled),
            "Sessions begin as local ones, which only their server knows."),
        ConfigurationKey(
            "localSessionsUpgradingEnabled", .boolean(\.quorum.localSessionsUpgradingEnabled),
            "A local session becomes a global one when it creates an ephemeral znode."),
        ConfigurationKey(
            "readonlymode.enabled", .boolean(\.quorum.readOnlyModeEnabled),
            "Without a leader, serve clients that ask for no more than reading."),
    ]
}

/// At most 1, like the share it is.
private func assignSnapshotSizeFactor(
    _ value: String, _ configuration: inout ServerConfiguration
) -> Bool {
    guard let factor = Double(value), factor.isFinite, factor <= 1,
        !value.lowercased().contains("x")
    else { return false }
    configuration.quorum.snapshotSizeFactor = factor
    return true
}
