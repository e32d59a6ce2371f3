import Ensemble
import Jute
import QuorumProtocol
import StorageFormat
import Transactions
import Vocabulary
import Zab
import Znodes

/// A whole server without sockets and files: the core with its database, and here what the shell
/// does for it, on the simulated disk, network and clock.
final class SimulatedServer {
    let index: Int
    unowned let world: World
    var disk: Disk
    private(set) var incarnation = 0
    private(set) var isUp = false
    var pausedUntil = 0
    /// The tree's last transaction.
    private(set) var position = Zxid.zero
    private var lastTree: DataTree?
    /// So many calls of the core later the process is gone, in the middle of a step.
    var callsUntilCrash: Int?
    /// The process is gone, and the step goes on for nobody.
    private(set) var isDead = false

    private(set) var database = Database(seed: 1)
    private var peerIfUp: QuorumPeer?
    var peer: QuorumPeer {
        guard let peerIfUp else { preconditionFailure("a server that is up has a core") }
        return peerIfUp
    }
    // Time
    /// Thousandths: above 1000 the clock is fast.
    var speed = 1000
    var clockOffset: Int64 = 0
    var wallOffset: Int64 = 0
    var armings: [Peer.Timer: Int] = [:]
    var armingCount = 0
    var expiryDue: Int64 = 0

    // Disk
    /// Of a slow disk.
    var flushFactor = 1
    var isFlushing = false
    var flushCount = 0
    /// The batches that are not flushed: their last zxids, and how many records.
    var batches: [(last: Zxid, count: Int, rolls: Bool)] = []
    var recordsSinceSnapshot = 0
    var isSnapshotDue = false
    var snapshotJob = 0
    /// What is being written, and what follows.
    var snapshotUnderWay: (snapshot: Disk.Snapshot, ended: () -> Void)?

    // Network
    var linkCount = 0
    var quorumConnections: [LinkID: (connection: Connection, side: Int)] = [:]
    var dirty: [QuorumLink] = []
    var role = 0
    var listens = false
    var elections: [Int: Connection] = [:]
    var waiting: [Int: ElectionNotification] = [:]
    var dialing: Set<Int> = []
    /// Something has happened: the end of the turn comes.
    private var isTurnOpen = false
    private var isTurnEnding = false

    // Clients
    var clientConnections: [Int: ServedClient] = [:]
    var bySession: [SessionID: ServedClient] = [:]
    var watchers: [WatcherID: ServedClient] = [:]
    var nextWatcher: WatcherID = 0
    var inFlight: [(zxid: Zxid, waiting: Waiting)] = []
    var forwarded: [SessionID: [(cxid: Int32, waiting: Waiting)]] = [:]
    var revalidating: [SessionID: ServedClient] = [:]
    var syncing: [(client: ServedClient, cxid: Int32)] = []
    var sessionCount: Int64 = 0
    var eventCount = 0

    init(_ index: Int, world: World) {
        self.index = index
        self.world = world
        disk = Disk(
            world.setup.ownConfiguration(of: index), empty: SnapshotBytes.encode(database))
    }

    var id: ServerID { ServerID(rawValue: Int64(index + 1)) }
    var name: String { "server \(index + 1)" }
    /// Tells this start of the server from others.
    var title: String { "\(name).\(incarnation)" }
    var epoch: Int64 { isUp ? peer.currentEpoch : -1 }

    var isServing: Bool { isUp && peer.serving != nil }

    func isServing(as state: ServerState) -> Bool { isUp && peer.serving == state }

    func serves(in epoch: Int64) -> Bool {
        isServing && peer.currentEpoch == epoch
    }

    // MARK: Life

    func start() throws {
        incarnation += 1
        isUp = true
        isDead = false
        pausedUntil = 0
        callsUntilCrash = nil
        if world.setup.drifts {
            speed = world.random.within(800...1200)
            clockOffset = Int64(world.random.below(1_000_000))
        }
        database = Database(seed: UInt64(index + 1))
        do throws(Disk.Refusal) {
            let recent = try restore()
            let epochs = try disk.loadEpochs(lastZxid: database.lastProcessedZxid)
            let isNewer = disk.seen.map { $0.version > disk.configuration.version } ?? false
            let lastSeen = isNewer ? disk.seen : nil
            let peer: QuorumPeer
            do throws(QuorumVerifier.Fault) {
                peer = try QuorumPeer(
                    id: id, configuration: disk.configuration, lastSeen: lastSeen,
                    lastZxid: database.lastProcessedZxid, epochs: epochs, recent: recent,
                    database: database, settings: settings)
            } catch {
                preconditionFailure("a setup has a quorum: \(error)")
            }
            peerIfUp = peer
        } catch {
            throw world.failure("\(name) cannot start: \(error.reason)")
        }
        world.note(
            "\(title) starts at \(position), epochs \(disk.acceptedEpoch ?? -1) "
                + "\(disk.currentEpoch ?? -1)")
        peer.attach(to: self)
        database.watchSink = self
        world.schedule(in: world.delay(), at: self) { [unowned self] in peer.start() }
        scheduleExpiry()
    }

    private var settings: QuorumPeer.Settings {
        let setup = world.setup
        var options = Proposer.Options()
        options.reconfigEnabled = true
        // An administrator is anybody.
        options.skipsACLs = true
        options.closeSessionListsPaths = setup.listsEphemerals
        return QuorumPeer.Settings(
            peer: Peer.Settings(
                timing: LinkTiming(
                    tick: .milliseconds(setup.tickMilliseconds), initLimit: setup.initLimit,
                    syncLimit: setup.syncLimit),
                confirmsSyncs: world.plant != .answerSyncsUnconfirmed),
            proposer: options, tickMilliseconds: Int32(setup.tickMilliseconds),
            keptTxns: setup.keptTxns, readsLogs: setup.readsLogs,
            alwaysSendsSnapshots: setup.alwaysSendsSnapshots, observerLogs: setup.observerLogs)
    }

    /// Power off: only the disk stays.
    func crash() {
        guard isUp else { return }
        world.statistics.crashes += 1
        let kept = world.random.below(disk.unflushed.count + 1)
        disk.crash(keeping: world.plant == .forgetFlushes ? 0 : kept)
        world.note("\(title) crashes, its log keeps \(kept) more")
        isUp = false
        isDead = false
        peerIfUp = nil
        incarnation += 1
        armings = [:]
        isFlushing = false
        batches = []
        (recordsSinceSnapshot, isSnapshotDue, snapshotUnderWay) = (0, false, nil)
        quorumConnections = [:]
        dirty = []
        elections = [:]
        waiting = [:]
        dialing = []
        listens = false
        (isTurnOpen, isTurnEnding) = (false, false)
        forgetClients()
        clientConnections = [:]
        watchers = [:]
        world.abandon(.server(index))
        database = Database(seed: 1)
        lastTree = nil
    }

    /// After each happening at this server.
    func stepEnded() throws {
        guard isUp else { return }
        if isDead { return crash() }
        if let failure = failure.take() { throw failure }
        noteTree()
        try checkConfiguration()
        guard !isTurnOpen else { return }
        guard !isTurnEnding else {
            isTurnEnding = false
            return
        }
        isTurnOpen = true
        world.schedule(in: world.random.below(world.setup.turnMax + 1), at: self) {
            [unowned self] in
            isTurnOpen = false
            isTurnEnding = true
            endTurn()
        }
    }

    /// The last active configuration that was looked at.
    private var checkedVersion = Zxid.zero

    private func checkConfiguration() throws {
        guard let active = peer.configuration, active.version != checkedVersion else { return }
        checkedVersion = active.version
        guard world.journal.active(active) == nil else { return }
        throw world.failure(
            "\(title) goes by the configuration \(active.version), which is not committed")
    }

    private func endTurn() {
        if database.tree.hasGarbage { database.tree.reclaim(atMost: 100) }
        peer.turnEnded()
        flushLinks()
    }

    /// The first thing that went wrong in a call of the core, which cannot throw.
    private var failure: Journal.Failure?

    func check(_ body: () throws(Journal.Failure) -> Void) {
        guard !isDead, failure == nil else { return }
        do throws(Journal.Failure) {
            try body()
        } catch {
            failure = error
        }
    }

    /// Counts the calls that change something outside; false once the process is gone.
    func isAlive() -> Bool {
        guard !isDead else { return false }
        guard let calls = callsUntilCrash else { return true }
        callsUntilCrash = calls - 1
        if calls <= 0 { isDead = true }
        return !isDead
    }

    // MARK: The tree

    /// Where the tree was before this transaction; nil if it came whole in the same step.
    func parent(of zxid: Zxid) -> Zxid? {
        defer { position = zxid }
        guard lastTree === database.tree else {
            lastTree = database.tree
            return nil
        }
        return position
    }

    private func noteTree() {
        position = database.lastProcessedZxid
        // A tree that is whole in a later step will be a new one then.
        lastTree = peerIfUp?.isReceivingTree == true ? nil : database.tree
    }

    /// Makes the tree what the disk says.
    func restore() throws(Disk.Refusal) -> [LogBatch] {
        var broken: Journal.Failure?
        let recent = try disk.restore(into: database, keeping: world.setup.keptTxns) {
            previous, applied in
            guard broken == nil else { return }
            do throws(Journal.Failure) {
                try world.journal.applied(applied, parent: previous, database, at: title)
            } catch {
                broken = error
            }
        }
        if let broken { throw Disk.Refusal(reason: broken.description) }
        noteTree()
        return recent
    }

    /// Everything but the local configuration, as text.
    func walk() -> [String] {
        let frozen = database.freeze()
        defer { database.thaw(frozen) }
        var lines = frozen.sessions.map { "session \($0.id) \($0.timeoutMilliseconds)" }
        lines.append("digest \(frozen.digest)")
        frozen.forEachNode { path, data, _, stat in
            let text = String(decoding: path, as: UTF8.self)
            guard text != "/zookeeper/config" else { return }
            lines.append("\(text) \(data.map(Array.init) ?? []) \(stat)")
        }
        // The order of children is nobody's business.
        return lines.sorted()
    }

    func checkEphemerals() throws {
        for session in database.tree.sessionsWithEphemerals where database.sessions[session] == nil
        {
            throw world.failure("\(name): ephemeral znodes of the ended session \(session)")
        }
    }
}

extension SimulatedServer: CustomStringConvertible {
    var description: String {
        guard isUp else { return "\(name) down" }
        let serving = peer.serving.map { "\($0)" } ?? "none"
        return "\(title) \(peer.state) serving \(serving) epoch \(epoch) at \(position)"
    }
}
