import Configuration
import Ensemble
import EventLoop
import Logging
import QuorumProtocol
import Storage
import StorageFormat
import Vocabulary
import Zab
import Znodes

/// What a server of an ensemble has beyond a standalone one: the election port and the quorum port,
/// the timers of its reducers, the epoch files, and the histories that it reads for learners.
final class EnsembleDevices {
    let settings: EnsembleSettings
    let quorum: QuorumNetwork
    let election: ElectionNetwork
    let epochFiles: EpochFiles
    private let loop: EventLoop
    private let logger: Logger
    private unowned let peer: QuorumPeer
    private var timers: [Peer.Timer: LoopTimer] = [:]
    var transfers: [LinkTransfer] = []
    private let tickMilliseconds: Int

    init(
        _ settings: EnsembleSettings, _ configuration: ServerConfiguration, loop: EventLoop,
        peer: QuorumPeer, epochFiles: EpochFiles, logger: Logger
    ) {
        self.settings = settings
        self.loop = loop
        self.peer = peer
        self.epochFiles = epochFiles
        self.logger = logger
        tickMilliseconds = configuration.tickTimeMilliseconds
        quorum = QuorumNetwork(loop: loop, peer: peer, logger: logger)
        let greeting =
            settings.quorumCnxnTimeoutMilliseconds > 0
            ? settings.quorumCnxnTimeoutMilliseconds : settings.syncLimit * tickMilliseconds
        election = ElectionNetwork(
            loop: loop, id: peer.id, dialMilliseconds: settings.cnxTimeoutMilliseconds,
            greetingMilliseconds: greeting, logger: logger,
            events: .init(
                received: { [unowned peer] in peer.received($0, from: $1) },
                connected: { [unowned peer] in peer.peerConnected($0) },
                unreachable: { [unowned peer] in peer.peerUnreachable($0) }))
    }

    func listen() throws(StartError) {
        know()
        let own = settings.own.endpoints.map(\.election)
        do throws(UVError) {
            try election.listen(on: own, onAllAddresses: settings.quorumListenOnAllIPs)
        } catch {
            throw .listenForServers(own.map(\.description), error)
        }
        logger.info(
            "listening for elections",
            metadata: [
                "server": "\(peer.id.rawValue)",
                "address": "\(own.map(\.description).joined(separator: "|"))",
            ])
    }

    /// Where the servers of the configurations listen.
    func know() {
        var addresses: [ServerID: [ServerAddress]] = [:]
        for member in peer.configuration?.members ?? [] where member.id != peer.id {
            addresses[member.id] = member.endpoints.map(\.election)
        }
        election.know(addresses)
    }

    func listenForLearners() {
        quorum.listen(
            on: settings.own.endpoints.map(\.quorum), onAllAddresses: settings.quorumListenOnAllIPs)
    }

    func dial(_ leader: ServerID) {
        let member = peer.configuration?.member(leader)
        quorum.dial(
            member?.endpoints.map(\.quorum) ?? [],
            milliseconds: UInt64(settings.connectToLearnerMasterLimit * tickMilliseconds))
    }

    // MARK: Timers

    func arm(_ timer: Peer.Timer, after delay: Duration) {
        let loopTimer = timers[timer] ?? LoopTimer(loop: loop)
        timers[timer] = loopTimer
        loopTimer.start(afterMilliseconds: delay.milliseconds) { [unowned self] in
            peer.expired(timer)
        }
    }

    func disarm(_ timer: Peer.Timer) { timers[timer]?.stop() }

    func endRole() {
        quorum.endRole()
        for transfer in transfers { transfer.cancel() }
    }

    func close() {
        endRole()
        election.close()
        for timer in timers.values { timer.close() }
        timers = [:]
    }
}

extension ServerID {
    /// What a standalone server counts as in its session ids.
    static let standalone = ServerID(rawValue: 1)
}
