import Configuration
import Ensemble
import Jute
import QuorumProtocol
import Storage
import Vocabulary
import Zab
import Znodes

/// How the keys reach the rooms they concern.
extension Proposer.Options {
    init(_ configuration: ServerConfiguration) {
        self.init()
        skipsACLs = configuration.skipACL
        extendedTypesEnabled = configuration.extendedTypesEnabled
        enforcesQuotas = configuration.enforceQuota
        reconfigEnabled = configuration.reconfigEnabled
        closeSessionListsPaths = configuration.closeSessionTxnEnabled
        digestEnabled = configuration.digestEnabled
        listedPathsBytesMax = configuration.juteMaxBufferBytes
        if let ensemble = configuration.ensemble {
            strangers =
                ensemble.localSessionsEnabled ? .local(exceptOf: ensemble.own.id) : .expired
        }
    }
}

extension RecoveryOptions {
    init(_ configuration: ServerConfiguration, limits: JuteLimits) {
        self.init(
            trustEmptySnapshot: configuration.snapshotTrustEmpty,
            autocreate: configuration.dbAutocreate, limits: limits,
            recentTxnsMax: configuration.ensemble?.commitLogCount ?? 0)
    }
}

extension QuorumPeer.Settings {
    init(_ configuration: ServerConfiguration) {
        let quorum = configuration.ensemble?.quorum ?? QuorumSettings()
        var election = Election.Timing()
        election.minNotificationInterval =
            .milliseconds(quorum.minNotificationIntervalMilliseconds)
        election.maxNotificationInterval =
            .milliseconds(quorum.maxNotificationIntervalMilliseconds)
        self.init(
            peer: Peer.Settings(
                timing: LinkTiming(
                    tick: .milliseconds(configuration.tickTimeMilliseconds),
                    initLimit: quorum.initLimit, syncLimit: quorum.syncLimit),
                electionTiming: election, confirmsSyncs: quorum.confirmsSyncs,
                servesObservers: quorum.observerMasterPort > 0,
                // Apache's observers pause a second time, before they connect.
                observerPause: .milliseconds(
                    quorum.observerElectionDelayMilliseconds
                        + quorum.observerReconnectDelayMilliseconds)),
            proposer: Proposer.Options(configuration),
            tickMilliseconds: Int32(configuration.tickTimeMilliseconds),
            keptTxns: quorum.commitLogCount, readsLogs: quorum.snapshotSizeFactor >= 0,
            alwaysSendsSnapshots: quorum.forceSnapshotSync, observerLogs: quorum.syncEnabled,
            packetLimits: JuteLimits(
                fieldBytesMax: configuration.juteMaxBufferBytes
                    + configuration.juteMaxBufferExtraBytes),
            standaloneEnabled: quorum.standaloneEnabled,
            ackLoggingFrequency: quorum.ackLoggingFrequency)
    }
}

extension QuorumPeer {
    convenience init(
        _ ensemble: EnsembleSettings, _ configuration: ServerConfiguration, database: Database,
        report: RecoveryReport, _ epochFiles: EpochFiles
    ) throws(StartError) {
        let epochs: (accepted: Int64, current: Int64)
        do throws(StorageError) {
            epochs = try epochFiles.load(lastZxid: max(report.lastZxid, .zero))
        } catch {
            throw .storage(error)
        }
        do throws(QuorumVerifier.Fault) {
            try self.init(
                id: ensemble.own.id, configuration: ensemble.members,
                lastSeen: ensemble.lastSeenMembers, lastZxid: report.lastZxid,
                epochs: .init(accepted: epochs.accepted, current: epochs.current),
                recent: report.recent, database: database, settings: Settings(configuration))
        } catch {
            throw .noQuorum(error)
        }
    }
}

extension TxnLogOptions {
    init(_ configuration: ServerConfiguration) {
        let limit = configuration.txnLogSizeLimitKilobytes
        self.init(
            preallocBytes: configuration.preAllocKilobytes * 1024,
            forceSync: configuration.forceSync, sizeLimitBytes: limit > 0 ? limit * 1024 : nil)
    }
}

extension Duration {
    /// Whole milliseconds.
    var milliseconds: UInt64 {
        let (seconds, attoseconds) = components
        return UInt64(max(0, seconds)) * 1000 + UInt64(max(0, attoseconds / 1_000_000_000_000_000))
    }
}

/// How many tokens a session takes, by what it costs.
struct SessionWeights {
    private(set) var global = 1
    private(set) var local = 1
    /// Of one that goes on.
    private(set) var renewed = 1

    init(_ configuration: ServerConfiguration) {
        guard configuration.connectionThrottleWeightEnabled else { return }
        local = configuration.localSessionWeight
        global = max(local, configuration.globalSessionWeight)
        renewed = max(local, configuration.renewedSessionWeight)
    }
}

/// Sessions per time: each takes tokens, and time brings new ones.
///
/// Source: ZooKeeper, `BlueThrottle`.
struct TokenBucket {
    private let capacity: Int
    private let fillMilliseconds: UInt64
    private let fillCount: Int
    private var tokens: Int
    private var filledAt: UInt64 = 0

    /// The keys count in global sessions.
    init(_ configuration: ServerConfiguration, _ weights: SessionWeights) {
        func tokens(_ sessions: Int) -> Int { min(sessions * weights.global, Int(Int32.max)) }
        self.init(
            capacity: tokens(configuration.connectionThrottleTokens),
            fillMilliseconds: configuration.connectionThrottleFillTimeMilliseconds,
            fillCount: tokens(configuration.connectionThrottleFillCount))
    }

    /// `capacity`: 0 never refuses.
    init(capacity: Int, fillMilliseconds: Int, fillCount: Int) {
        self.capacity = capacity
        self.fillMilliseconds = UInt64(max(1, fillMilliseconds))
        self.fillCount = fillCount
        tokens = capacity
    }

    mutating func take(_ count: Int = 1, now: UInt64) -> Bool {
        guard capacity > 0 else { return true }
        let passed = now - min(now, filledAt)
        if passed > fillMilliseconds {
            let (brought, isTooMuch) = passed.multipliedReportingOverflow(by: UInt64(fillCount))
            let fresh = isTooMuch ? .max : brought / fillMilliseconds
            tokens += Int(min(fresh, UInt64(capacity - tokens)))
            filledAt = now
        }
        guard tokens >= count else { return false }
        tokens -= count
        return true
    }
}
