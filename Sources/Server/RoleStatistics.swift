import Ensemble
import Jute
import StorageFormat
import Transactions
import Vocabulary

/// What a server of an ensemble measures of its roles. Times are milliseconds.
///
/// Latencies of transactions are counted from the time in their header. That is the leader's wall
/// clock: what a learner measures is right as far as the two clocks agree, and less than nothing is
/// not counted.
///
/// Source: ZooKeeper, `ServerMetrics` and where each of them is added to.
struct RoleStatistics {
    // Finding a role
    private(set) var lookingCount = 0
    private(set) var electionTime = LatencySummary()
    private(set) var unavailableTime = LatencySummary()
    private(set) var leaderUnavailableTime = LatencySummary()
    private(set) var followerSyncTime = LatencySummary()
    private(set) var observerSyncTime = LatencySummary()
    private(set) var since = Since()

    /// When what goes on has begun, in milliseconds of the loop's clock.
    struct Since {
        var looking: UInt64?
        var unavailable: UInt64?
        var syncing: UInt64?
        /// Nil: a standalone server, which has no role.
        var role: UInt64?
        var serving: UInt64 = 0
    }

    // Leading
    private(set) var proposalCount = 0
    private(set) var proposalSizes = ByteSizes()
    private(set) var commitCount = 0
    private(set) var quorumAckLatency = Percentiles()
    private(set) var ackLatency: [ServerID: Percentiles] = [:]
    private(set) var diffCount = 0
    private(set) var inflightDiffCount = LatencySummary()
    private(set) var snapCount = 0
    private(set) var inflightSnapCount = LatencySummary()
    var revalidateCount = 0

    // Following and observing
    private(set) var proposalsReceived = 0
    private(set) var proposalLatency = Percentiles()
    private(set) var commitsReceived = 0
    private(set) var commitPropagationLatency = Percentiles()

    // Any role
    private(set) var proposalAckCreationLatency = Percentiles()
    private(set) var propagationLatency = Percentiles()

    /// Forgets what was counted, not what goes on.
    mutating func reset() {
        let kept = since
        self = RoleStatistics()
        since = kept
    }

    // MARK: Finding a role

    mutating func lookingBegan(now: UInt64) {
        lookingCount += 1
        since.looking = now
        if since.unavailable == nil { since.unavailable = now }
    }

    /// A server in read-only mode counts from its beginning, too; it still looks for a leader.
    mutating func roleBegan(now: UInt64) {
        since.role = now
        proposalSizes = ByteSizes()
    }

    /// An observer has no part in the election that it hears of.
    mutating func elected(as state: ServerState, now: UInt64) {
        roleBegan(now: now)
        if let start = since.looking.take(), state != .observing {
            electionTime.record(start, until: now)
        }
    }

    /// The learner knows the epoch; the leader's history comes.
    mutating func syncBegan(now: UInt64) { since.syncing = now }

    mutating func servingBegan(as state: ServerState, now: UInt64) {
        since.serving = now
        if let start = since.unavailable.take() {
            unavailableTime.record(start, until: now)
            if state == .leading { leaderUnavailableTime.record(start, until: now) }
        }
        guard let start = since.syncing.take() else { return }
        if state == .following { followerSyncTime.record(start, until: now) }
        if state == .observing { observerSyncTime.record(start, until: now) }
    }

    // MARK: Bringing learners to the leader's history

    /// `inFlight`: how many learners are brought there in the same way at this moment.
    mutating func learnerSync(_ way: SyncWay, began: Bool, inFlight: Int) {
        switch way {
        case .transactions:
            if began { diffCount += 1 }
            inflightDiffCount.record(Int64(inFlight))
        case .snapshot:
            if began { snapCount += 1 }
            inflightSnapCount.record(Int64(inFlight))
        }
    }

    // MARK: Transactions

    /// They are on their way to the log: the leader's own, or those of the leader.
    mutating func logged(_ batch: LogBatch, as role: ServerState, wallClock: Int64) {
        switch role {
        case .leading:
            proposalCount += batch.recordCount
            batch.forEachTxn { proposalSizes.record($0.count) }
        case .following:
            proposalsReceived += batch.recordCount
            batch.forEachTxn { proposalLatency.record($0.time, until: wallClock) }
        case .observing, .looking: break
        }
    }

    /// They are on the disk.
    mutating func flushed(_ batch: LogBatch, as role: ServerState, wallClock: Int64) {
        guard role == .leading || role == .following else { return }
        batch.forEachTxn { proposalAckCreationLatency.record($0.time, until: wallClock) }
    }

    /// A voter has a transaction on its disk that was made at this time.
    mutating func acknowledged(by server: ServerID, madeAt time: Int64, wallClock: Int64) {
        ackLatency[server, default: Percentiles()].record(time, until: wallClock)
    }

    /// `role`: nil of a standalone server.
    mutating func applied(_ header: TxnHeader, as role: ServerState?, wallClock: Int64) {
        propagationLatency.record(header.time, until: wallClock)
        switch role {
        case .leading:
            commitCount += 1
            quorumAckLatency.record(header.time, until: wallClock)
        case .following, .observing:
            commitsReceived += 1
            commitPropagationLatency.record(header.time, until: wallClock)
        case .looking, nil: break
        }
    }
}

extension LatencySummary {
    fileprivate mutating func record(_ start: UInt64, until now: UInt64) {
        record(Int64(bitPattern: now &- start))
    }
}

extension Percentiles {
    fileprivate mutating func record(_ start: Int64, until now: Int64) {
        if now >= start { record(now - start) }
    }
}

extension Span<UInt8> {
    /// When the leader made the transaction that these bytes are.
    fileprivate var time: Int64 {
        var reader = JuteReader(self)
        guard let header = try? TxnHeader(reading: &reader) else {
            preconditionFailure("a batch holds transactions")
        }
        return header.time
    }
}
