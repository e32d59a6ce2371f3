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
    /// Where this server listens.
    private var own: EnsembleConfiguration.Member
    private var masters = ObserverMasters()
    private var randomness = SystemRandomNumberGenerator()
    /// Whom this learner dialed last: the leader, or an observer master.
    private(set) var master: ServerID?

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
        own = settings.own
        quorum = QuorumNetwork(loop: loop, peer: peer, logger: logger)
        let greeting =
            settings.quorumCnxnTimeoutMilliseconds > 0
            ? settings.quorumCnxnTimeoutMilliseconds : settings.syncLimit * tickMilliseconds
        election = ElectionNetwork(
            loop: loop, id: peer.id, dialMilliseconds: settings.cnxTimeoutMilliseconds,
            greetingMilliseconds: greeting, keepsAlive: settings.tcpKeepAlive, logger: logger,
            events: .init(
                received: { [unowned peer] in peer.received($0, from: $1) },
                connected: { [unowned peer] in peer.peerConnected($0) },
                unreachable: { [unowned peer] in peer.peerUnreachable($0) }))
    }

    func listen() throws(StartError) {
        know()
        let addresses = own.endpoints.map(\.election)
        do throws(UVError) {
            try election.listen(on: addresses, onAllAddresses: settings.quorumListenOnAllIPs)
        } catch {
            throw .listenForServers(addresses.map(\.description), error)
        }
        logger.info(
            "listening for elections",
            metadata: [
                "server": "\(peer.id.rawValue)",
                "address": "\(addresses.map(\.description).joined(separator: "|"))",
            ])
    }

    /// A reconfiguration has given this server other addresses.
    func moved(to member: EnsembleConfiguration.Member?) {
        guard let member, member.endpoints != own.endpoints else { return }
        own = member
        do throws(StartError) {
            try listen()
        } catch {
            logger.error("cannot move the election port", metadata: ["reason": "\(error)"])
        }
    }

    /// Where the servers of the configurations listen.
    func know() {
        var addresses: [ServerID: [ServerAddress]] = [:]
        for configuration in [peer.configuration, peer.lastSeen] {
            for member in configuration?.members ?? [] where member.id != peer.id {
                let known = addresses[member.id] ?? []
                addresses[member.id] =
                    known + member.endpoints.map(\.election).filter { !known.contains($0) }
            }
        }
        election.know(addresses)
    }

    func listenForLearners() {
        quorum.listen(
            on: own.endpoints.map(\.quorum), onAllAddresses: settings.quorumListenOnAllIPs)
    }

    func listenForObservers() {
        guard let port = observerMasterPort else { return }
        quorum.listen(
            on: own.addresses(port: port), onAllAddresses: settings.quorumListenOnAllIPs)
    }

    /// Dials the leader, or for an observer the next observer master, if there are any.
    func dial(_ leader: ServerID) {
        var addresses: [ServerAddress]?
        if peer.state == .observing, let port = observerMasterPort,
            let next = masters.next(
                of: peer.configuration?.participants ?? [], using: &randomness)
        {
            master = next
            addresses = peer.configuration?.member(next)?.addresses(port: port)
        } else {
            master = leader
            // A server of the configuration that is on its way may lead, too.
            let member = peer.configuration?.member(leader) ?? peer.lastSeen?.member(leader)
            addresses = member?.endpoints.map(\.quorum)
        }
        quorum.dial(
            addresses ?? [],
            milliseconds: UInt64(settings.connectToLearnerMasterLimit * tickMilliseconds))
    }

    private var observerMasterPort: UInt16? {
        settings.observerMasterPort > 0 ? UInt16(settings.observerMasterPort) : nil
    }

    // MARK: Timers

    func arm(_ timer: Peer.Timer, after delay: Duration) {
        let loopTimer = timers[timer] ?? LoopTimer(loop: loop)
        timers[timer] = loopTimer
        let milliseconds = delay.milliseconds
        loopTimer.start(
            afterMilliseconds: timer == .pause ? .random(in: 0...milliseconds) : milliseconds
        ) { [unowned self] in
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

extension EnsembleConfiguration.Member {
    /// Its hosts for other servers, each once, with this port.
    fileprivate func addresses(port: UInt16) -> [ServerAddress] {
        Set(endpoints.map(\.quorum.host)).map { ServerAddress(host: $0, port: port) }
    }
}

extension ServerID {
    /// What a standalone server counts as in its session ids.
    static let standalone = ServerID(rawValue: 1)
}
