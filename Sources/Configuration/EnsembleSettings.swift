package import QuorumProtocol
package import Vocabulary

/// What a server of an ensemble is told before it starts: who the servers are, which of them it is,
/// and the keys that steer how they work together.
@dynamicMemberLookup
package struct EnsembleSettings: Equatable, Sendable {
    /// This server, as the list has it: its id, role and addresses.
    package var own: EnsembleConfiguration.Member
    /// All servers. Its version is 0 unless the list is the work of a reconfig.
    package var members: EnsembleConfiguration
    /// A newer list that was proposed and is not known to be active; `nil`: none.
    package var lastSeenMembers: EnsembleConfiguration?
    package var quorum: QuorumSettings

    package init(
        own: EnsembleConfiguration.Member, members: EnsembleConfiguration,
        lastSeenMembers: EnsembleConfiguration? = nil, quorum: QuorumSettings = .init()
    ) {
        self.own = own
        self.members = members
        self.lastSeenMembers = lastSeenMembers
        self.quorum = quorum
    }

    /// The keys, as if they were fields of this: `ensemble.syncLimit`.
    package subscript<Value>(
        dynamicMember field: WritableKeyPath<QuorumSettings, Value>
    ) -> Value {
        get { quorum[keyPath: field] }
        set { quorum[keyPath: field] = newValue }
    }
}

/// What the keys of an ensemble say. `ConfigurationKey.ensemble` says for each field which key sets
/// it and within which bounds; the defaults are the values here. A standalone server's file may
/// hold these keys too; there they mean nothing.
package struct QuorumSettings: Equatable, Sendable {
    // Servers

    /// The path of the file with the list of servers; `nil`: `zoo.cfg` has it.
    package var dynamicConfigFile: String?
    /// One participant alone is a standalone server, and a reconfig must leave two.
    package var standaloneEnabled = true
    /// What this server is told to be; `nil`: nothing. The list of servers decides, whatever it is.
    package var peerType: EnsembleConfiguration.Role?
    /// Accept several addresses for one server, and tell other servers all of them.
    package var multiAddressEnabled = false

    // Election

    /// Listen for other servers on all addresses, not only on those of this server's line.
    package var quorumListenOnAllIPs = false
    /// How long connecting to another server's election port may take.
    package var cnxTimeoutMilliseconds = 5000
    /// How long the initial message on the election port may take; 0 or less: `syncLimit` ticks.
    package var quorumCnxnTimeoutMilliseconds = -1
    package var tcpKeepAlive = false
    /// Never 0: resending would not rest.
    package var minNotificationIntervalMilliseconds = 200
    package var maxNotificationIntervalMilliseconds = 60_000

    // Leader and learners

    /// Ticks for each step until the ensemble serves, or a learner has caught up. Never 0 in an
    /// ensemble.
    package var initLimit = 0
    /// Ticks without a sign of life, afterwards. Never 0 in an ensemble.
    package var syncLimit = 0
    /// Ticks that a learner tries to connect to its leader. Setting 0 means the default,
    /// `initLimit`.
    package var connectToLearnerMasterLimit: Int {
        get { connectToLearnerMasterLimitIfSet ?? initLimit }
        set { connectToLearnerMasterLimitIfSet = newValue == 0 ? nil : newValue }
    }
    /// The leader serves clients too.
    package var leaderServes = true
    /// A `sync` is answered only after a quorum has confirmed that the leader still leads.
    package var confirmsSyncs = true
    /// A leader measures how long its followers take to acknowledge zxids that are a multiple of
    /// this; 0 and less: none.
    package var ackLoggingFrequency = 1000

    // Bringing learners up to date

    /// Committed transactions kept in memory for learners that lack only those.
    package var commitLogCount = Self.commitLogCountMin
    package static let commitLogCountMin = 500
    /// A learner gets transactions from the disk while they are at most this share of the newest
    /// snapshot's size; 0: whatever their size; negative: never. At most 1.
    package var snapshotSizeFactor = 0.33
    /// Send every learner a snapshot.
    package var forceSnapshotSync = false

    // Observers

    /// An observer writes transactions to the disk.
    package var syncEnabled = true
    /// The port on which followers serve observers; 0: none.
    package var observerMasterPort = 0
    /// An observer that lost its leader connects again after a random time up to this.
    package var observerReconnectDelayMilliseconds = 0
    /// An observer that lost its leader looks for one after a random time up to this.
    package var observerElectionDelayMilliseconds = 200

    // Sessions and clients

    package var localSessionsEnabled = false
    /// A local session becomes a global one when it needs to be.
    package var localSessionsUpgradingEnabled = false
    /// Serve clients that only read while there is no leader.
    package var readOnlyModeEnabled = false

    private var connectToLearnerMasterLimitIfSet: Int?

    package init() {}
}

extension EnsembleConfiguration {
    /// The server that has the id of this one. `file` held the id, for the message.
    ///
    /// Source: ZooKeeper, `QuorumPeer.start`.
    package func own(
        _ id: ServerID, file: String = "myid"
    ) throws(ConfigurationError) -> Member {
        guard let member = member(id) else {
            let ids = members.map { "\($0.id.rawValue)" }.joined(separator: ", ")
            throw ConfigurationError(
                file: file, line: 1, key: "",
                message: "expected the id of a server in the list (\(ids)), found \(id.rawValue)")
        }
        return member
    }
}

extension ServerConfiguration {
    /// The id of this server: the first line of the file `myid` in `dataDir`, whose content is
    /// `text`. White space around the number means nothing.
    ///
    /// Source: ZooKeeper, `QuorumPeerConfig.setupMyId`.
    package static func myID(
        text: String, file: String = "myid"
    ) throws(ConfigurationError) -> ServerID {
        let line = text.split(maxSplits: 1, omittingEmptySubsequences: false) { $0.isNewline }[0]
        guard let number = Int64(line.trimmed), number >= 0,
            number != ServerID.anonymousObserver.rawValue
        else {
            throw ConfigurationError(
                file: file, line: 1, key: "",
                message: "expected the number of this server, from 0 to \(Int64.max - 1), found"
                    + " \(line.debugDescription)")
        }
        return ServerID(rawValue: number)
    }
}
