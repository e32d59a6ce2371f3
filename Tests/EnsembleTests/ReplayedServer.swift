import Ensemble
import Jute
import QuorumProtocol
import StorageFormat
import Testing
import Transactions
import UnitTestSupport
import Vocabulary
import Zab
import Znodes

/// What a server has on its disk when a replay begins.
struct History {
    /// A snapshot, as the stream of another server.
    var tree: (zxid: Zxid, stream: [UInt8])?
    /// The log behind it.
    var txns: [[UInt8]] = []
    var epochs = Peer.Epochs(accepted: 0, current: 0)

    /// A database that holds it.
    func restore(into database: Database) throws {
        database.reset()
        if let tree {
            try DatabaseTarget.restore(database, from: tree.stream, zxid: tree.zxid)
        }
        for txn in txns { try database.replay(txn.span) }
    }
}

/// What a leader says of a session.
struct Revalidated: Equatable {
    var session: SessionID
    var isValid: Bool
}

/// A server of ours whose disk is memory and whose clock, clients and network are the test.
final class ReplayedServer: QuorumPeerHost {
    let peer: QuorumPeer
    let database = Database(seed: 7)
    private let history: History
    /// The log, flushed or not.
    private(set) var log: [[UInt8]]
    private(set) var flushed: Zxid
    private(set) var epochs: Peer.Epochs
    /// A snapshot is to be written, and nobody was told yet that it is on the disk.
    private var owesSnapshot = false
    /// When each transaction was made.
    var times: [Zxid: Int64] = [:]
    /// The clients from which a learner hears until each ping of its leader.
    var touched: [[(session: SessionID, timeout: Int32)]] = []

    private(set) var dialed: ServerID?
    private(set) var departures: [Peer.Departure] = []
    private(set) var syncsCompleted = 0
    private(set) var revalidated: [Revalidated] = []
    private(set) var active: [EnsembleConfiguration] = []
    private(set) var complaints: [String] = []
    private(set) var milestones: [Milestone] = []

    /// `confirmsSyncs`: Apache's leaders answer a sync without asking the learners first.
    init(
        _ id: ServerID, configuration: EnsembleConfiguration, history: History = History(),
        reconfigEnabled: Bool = false, confirmsSyncs: Bool = false
    ) throws {
        self.history = history
        log = history.txns
        epochs = history.epochs
        try history.restore(into: database)
        flushed = database.lastProcessedZxid
        var options = Proposer.Options()
        options.extendedTypesEnabled = true
        options.reconfigEnabled = reconfigEnabled
        options.strangers = .expired
        let settings = Peer.Settings(
            timing: LinkTiming(tick: .seconds(2), initLimit: 10, syncLimit: 5),
            confirmsSyncs: confirmsSyncs)
        let recent = LogBatch()
        for txn in history.txns {
            recent.appendTxn(txn.span, zxid: try RecordedTxn(txn).zxid)
        }
        peer = try QuorumPeer(
            id: id, configuration: configuration, lastSeen: nil,
            lastZxid: database.lastProcessedZxid, epochs: history.epochs, recent: [recent],
            database: database,
            settings: .init(
                peer: settings, proposer: options, tickMilliseconds: 2000,
                ackLoggingFrequency: 2))
        peer.attach(to: self)
    }

    // MARK: Elections

    /// All others want this leader, and have good reasons; then it leads.
    func elect(_ leader: ServerID) {
        peer.start()
        let others = (peer.configuration?.participants ?? []).filter { $0 != peer.id }
        let isOurs = leader == peer.id
        for other in others { tell(.looking, of: leader, from: other) }
        peer.expired(.election(.finalizeWait))
        // Those that have no vote wait for the result.
        for other in others where !isOurs {
            tell(other == leader ? .leading : .following, of: leader, from: other)
        }
        #expect(isOurs ? peer.state == .leading : dialed == leader)
    }

    /// Learners come to this leader with its own history, until they are in step; `hear` is how it
    /// hears them.
    func introduce(
        _ learners: [(ServerID, QuorumLink)], hear: ([UInt8], QuorumLink) -> Void
    ) {
        let observers = peer.configuration?.observers ?? []
        for (learner, link) in learners {
            let info = bytes {
                $0.appendLearnerInfo(
                    isObserver: observers.contains(learner), acceptedEpoch: epochs.accepted,
                    server: learner, configVersion: .zero)
            }
            hear(info, link)
        }
        let last = database.lastProcessedZxid
        for (_, link) in learners {
            let answers = bytes {
                $0.appendAckEpoch(lastZxid: last, currentEpoch: last.epoch)
                $0.appendQuorumPacket(.ack, zxid: Zxid(epoch: last.epoch + 1, counter: 0))
            }
            hear(answers, link)
        }
    }

    private func tell(_ state: ServerState, of leader: ServerID, from other: ServerID) {
        peer.received(
            ElectionNotification(
                state: state, leader: leader, zxid: database.lastProcessedZxid, electionEpoch: 1,
                peerEpoch: epochs.current + (leader == peer.id ? 0 : 1),
                configuration: peer.configuration?.text ?? ""),
            from: other)
    }

    // MARK: Disk

    /// The disk is done with the log up to here; with all of it: and with the snapshot.
    func flush(upTo zxid: Zxid? = nil) throws {
        if zxid == nil, owesSnapshot {
            owesSnapshot = false
            peer.snapshotWritten()
        }
        guard let last = try log.last.map({ try RecordedTxn($0).zxid }) else { return }
        let end = min(zxid ?? last, last)
        guard end > flushed else { return }
        flushed = end
        peer.flushed(upTo: end)
    }

    /// Nothing that it was given is on its way to the disk.
    var isSettled: Bool {
        guard let last = log.last, let txn = try? RecordedTxn(last) else { return !owesSnapshot }
        return !owesSnapshot && txn.zxid <= flushed
    }

    func append(_ batch: LogBatch) {
        batch.forEachTxn { log.append([UInt8]($0)) }
    }

    func settleLog() {
        do {
            try flush()
        } catch {
            Issue.record(error)
        }
    }

    func saveAcceptedEpoch(_ epoch: Int64) { epochs.accepted = epoch }

    func saveCurrentEpoch(_ epoch: Int64) { epochs.current = epoch }

    func truncateLog(to zxid: Zxid) -> Bool {
        log.removeAll { txn in
            (try? RecordedTxn(txn)).map { $0.zxid > zxid } ?? true
        }
        flushed = min(flushed, zxid)
        return true
    }

    func reload() -> [LogBatch] {
        let recent = LogBatch()
        do {
            var kept = history
            kept.txns = log
            try kept.restore(into: database)
            for txn in log { recent.appendTxn(txn.span, zxid: try RecordedTxn(txn).zxid) }
        } catch {
            Issue.record(error)
        }
        return [recent]
    }

    func writeSnapshot() { owesSnapshot = true }

    func considerSnapshot() {}

    // MARK: Network

    func dial(_ leader: ServerID) { dialed = leader }

    func markDirty(_ link: QuorumLink) {}

    func close(_ link: QuorumLink) {}

    func send(_ notification: ElectionNotification, to server: ServerID) {}

    /// The logs do not reach back to where a learner without data begins.
    func readHistory(for link: QuorumLink, after peer: Zxid, upTo last: Zxid) {
        self.peer.transferred(.unusable, to: link)
    }

    func readSnapshot(for link: QuorumLink) {
        peer.snapshotBegins(for: link)
        let frozen = database.freeze()
        frozen.encodeState(pieceBytes: 100) { peer.transferred(.piece($0), to: link) }
        database.thaw(frozen)
        peer.transferred(.finished(isSnapshot: true), to: link)
    }

    // MARK: Time

    func arm(_ timer: Peer.Timer, after delay: Duration) {}

    func disarm(_ timer: Peer.Timer) {}

    var clock: Int64 { 0 }

    /// When the next transaction was made.
    var wallClock: Int64 { times[peer.lastProposed.next] ?? 0 }

    // MARK: Clients and roles

    func roleBegan(as state: ServerState, leader: ServerID) {}

    func servingBegan(as state: ServerState) {}

    func roleEnded(_ reason: Peer.Departure) { departures.append(reason) }

    func applied(_ applied: Database.Applied, reply body: UnsafeRawBufferPointer) {}

    func seen(_ configuration: EnsembleConfiguration) {}

    func activated(_ configuration: EnsembleConfiguration) { active.append(configuration) }

    func syncCompleted() { syncsCompleted += 1 }

    func revalidated(_ session: SessionID, isValid: Bool) {
        revalidated.append(Revalidated(session: session, isValid: isValid))
    }

    func sessionMoved(_ session: SessionID) {}

    func takeTouchedSessions(_ body: (SessionID, _ timeoutMilliseconds: Int32) -> Void) {
        guard !touched.isEmpty else { return }
        for (session, timeout) in touched.removeFirst() { body(session, timeout) }
    }

    func reached(_ milestone: Milestone) { milestones.append(milestone) }

    func disconnected(_ link: QuorumLink, because reason: Leader.Disconnection) {
        complaints.append("\(reason)")
    }

    func malformed(_ link: QuorumLink, _ error: QuorumProtocolError) {
        complaints.append("\(error)")
    }
}

extension QuorumLink {
    /// What was sent since the last call.
    func takeOutput() -> [UInt8] {
        defer { output.removeAll() }
        return [UInt8](output.span)
    }
}
