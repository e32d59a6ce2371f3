import Ensemble
import Jute
import QuorumProtocol
import Testing
import Transactions
import UnitTestSupport
import Vocabulary
import Zab
import Znodes

/// Our server in the place of an Apache learner: it hears what that one's leader sent, byte for byte,
/// and is compared with what that one answered.
///
struct LearnerReplay {
    /// When its disk is done with what it was given.
    enum Disk: CaseIterable, Sendable {
        /// When the other's was: when that one acknowledged it.
        case asRecorded
        /// Before anything else comes.
        case atOnce
    }

    let server: ReplayedServer
    let link = QuorumLink(id: LinkID(rawValue: 1))
    private let leader: ServerID
    private let disk: Disk
    private let messages: [Recorded]
    private var random: SeededGenerator
    private var unheard: [UInt8] = []
    private var sent: [UInt8] = []
    /// The other acknowledgement with this zxid is that of UPTODATE.
    private var hasAcknowledgedHistory = false

    /// `history`: what the learner had on its disk. `configuration`: its active one.
    init(
        _ messages: [Recorded], of id: ServerID, leader: ServerID, history: History,
        configuration: EnsembleConfiguration, reconfigEnabled: Bool = false, disk: Disk,
        seed: UInt64
    ) throws {
        self.messages = messages
        self.leader = leader
        self.disk = disk
        random = SeededGenerator(seed: seed)
        server = try ReplayedServer(
            id, configuration: configuration, history: history, reconfigEnabled: reconfigEnabled)
        server.touched = try messages.filter { $0.sender != leader }.compactMap { message in
            guard let packet = message.packet, packet.type == .ping else { return nil }
            var reader = PlainReader(packet.data ?? [])
            var sessions: [(SessionID, Int32)] = []
            while !reader.rest.isEmpty {
                sessions.append((SessionID(rawValue: try reader.long()), try reader.int()))
            }
            return sessions
        }
        server.elect(leader)
        server.peer.connected(link)
    }

    private var fromLeader: [Packet] {
        messages.filter { $0.sender == leader }.compactMap(\.packet)
    }

    /// A recording that began later: the leader's part of a handshake for an empty history.
    mutating func introduce(epoch: Int64, configuration: String) throws {
        unheard = bytes {
            $0.appendLeaderInfo(newEpoch: epoch)
            $0.appendQuorumPacket(.diff, zxid: .zero)
            $0.appendNewLeader(epoch: epoch, configuration: configuration)
            $0.appendUpToDate()
        }
        try hear()
        try server.flush()
        try collect()
        sent = []
    }

    mutating func play() throws {
        for message in messages where !message.isEnd {
            if message.sender == leader {
                unheard += message.bytes
            } else {
                try hear()
                let packet = try #require(message.packet)
                try act(packet)
                try collect()
            }
        }
        try hear()
    }

    /// What the leader has sent since the last time arrives in pieces; each is a turn of the loop.
    private mutating func hear() throws {
        while !unheard.isEmpty {
            let count = min(unheard.count, random.chance(percent: 30) ? 1 : 1 + random.below(200))
            server.peer.received(Array(unheard.prefix(count)).span, on: link)
            server.peer.turnEnded()
            if disk == .atOnce { try server.flush() }
            unheard.removeFirst(count)
        }
        try collect()
    }

    /// No promise is made before the disk has kept it.
    private mutating func collect() throws {
        let output = link.takeOutput()
        for case .packet(let packet) in try Message.split(output) where packet.type == .ack {
            if packet.zxid.counter != 0 {
                #expect(packet.zxid <= server.flushed)
            } else if !hasAcknowledgedHistory {
                hasAcknowledgedHistory = true
                #expect(server.isSettled && server.epochs.current == packet.zxid.epoch)
            }
        }
        sent += output
    }

    /// What lets our server send this packet.
    private func act(_ packet: Packet) throws {
        switch packet.type {
        case .ack: try server.flush(upTo: packet.zxid.counter == 0 ? nil : packet.zxid)
        case .request:
            var reader = PlainReader(packet.data ?? [])
            let session = SessionID(rawValue: try reader.long())
            let cxid = try reader.int()
            let op = try #require(OpCode(rawValue: try reader.int()))
            server.peer.forward(
                session, cxid: cxid, op: op, body: Array(reader.rest).span,
                identities: packet.identities)
        case .revalidate:
            var reader = PlainReader(packet.data ?? [])
            server.peer.revalidate(
                SessionID(rawValue: try reader.long()), timeoutMilliseconds: try reader.int())
        default: break  // It answers by itself.
        }
    }

    // MARK: Afterwards

    /// Every packet is the one that the recorded learner sent, at its place.
    ///
    /// Pings are compared apart: Apache's learners echo them on the thread that reads and
    /// acknowledge on the one that flushes, so that their order among each other is a race.
    /// With a faster disk the same holds for everything else, and the end of a recording may have cut
    /// off the last acknowledgements; it may have cut off the echo of a last ping in any case.
    ///
    /// `expected`: nil: what was recorded.
    func compareSent(with expected: [Message]? = nil) throws {
        let recorded =
            expected
            ?? messages.filter { $0.sender != leader && !$0.isEnd }
            .compactMap(\.packet).map(Message.packet)
        let ours = try Message.split(sent)
        expectSamePings(ours, recorded)
        switch disk {
        case .asRecorded:
            expectSame(ours.filter { !$0.isPing }, recorded.filter { !$0.isPing })
        case .atOnce:
            let acks = recorded.count(where: \.isAck)
            expectSame(Array(ours.filter(\.isAck).prefix(acks)), recorded.filter(\.isAck))
            expectSame(
                ours.filter { !$0.isPing && !$0.isAck }, recorded.filter { !$0.isPing && !$0.isAck }
            )
        }
        #expect(server.complaints == [])
        // Clients hear of what they wait for.
        #expect(server.syncsCompleted == fromLeader.count { $0.type == .sync })
        let answers = try fromLeader.filter { $0.type == .revalidate }.map { packet in
            var reader = PlainReader(packet.data ?? [])
            return Revalidated(
                session: SessionID(rawValue: try reader.long()), isValid: try reader.bool())
        }
        #expect(server.revalidated == answers)
    }

    /// What was recorded, without the acknowledgements of the history that came in front of NEWLEADER.
    func recordedWithoutHistory() -> [Message] {
        let end = fromLeader.first { $0.type == .diff }?.zxid ?? .none
        return messages.filter { $0.sender != leader }.compactMap(\.packet)
            .filter { $0.type != .ack || $0.zxid.counter == 0 || $0.zxid > end }
            .map(Message.packet)
    }

    /// The tree is what the committed transactions make of the history, the log what was proposed.
    func compareState(history: History) throws {
        let replica = Database(seed: 1)
        var kept = history
        var received = fromLeader
        if let cut = received.first(where: { $0.type == .trunc }) {
            kept.txns.removeAll { txn in (try? RecordedTxn(txn)).map { $0.zxid > cut.zxid } ?? true
            }
        }
        if let snap = received.first(where: { $0.type == .snap }) {
            kept = History(tree: (snap.zxid, try Recorded.tree(in: messages)))
            received = received.filter { $0.zxid > snap.zxid || $0.txn == nil }
        }
        try kept.restore(into: replica)
        let txns = received.compactMap(\.txn)
        let committed = received.last { $0.commits }?.zxid ?? replica.lastProcessedZxid
        var digest: UInt64?
        for txn in txns {
            let header = try RecordedTxn(txn)
            guard header.zxid <= committed else { continue }
            try replica.replay(txn.span)
            digest = header.digest ?? digest
        }
        let database = server.database
        #expect(database.lastProcessedZxid == committed)
        #expect(database.digest == replica.digest)
        #expect(database.sessions == replica.sessions)
        // What Apache's leader says of its own tree.
        if let digest { #expect(database.digest == digest) }
        #expect(database.digestMismatches == 0)
        let isSnapshot = received.contains { $0.type == .snap }
        #expect(server.log.suffix(txns.count) == txns[...])
        #expect(isSnapshot || server.log == kept.txns + txns)
    }
}

/// Packet by packet, so that a failure names the first that differs.
func expectSame(_ ours: [Message], _ recorded: [Message], _ what: String = "") {
    for (index, (our, their)) in zip(ours, recorded).enumerated() where our != their {
        Issue.record("\(what) message \(index): \(our) instead of \(their)")
        return
    }
    let extra = ours.dropFirst(recorded.count).map(\.description)
    let missing = recorded.dropFirst(ours.count).map(\.description)
    #expect(extra == [] && missing == [], "\(what)")
}

func expectSamePings(_ ours: [Message], _ recorded: [Message], _ what: String = "") {
    let (ours, recorded) = (ours.filter(\.isPing), recorded.filter(\.isPing))
    #expect((recorded.count...recorded.count + 1).contains(ours.count), "pings \(what)")
    expectSame(Array(ours.prefix(recorded.count)), recorded, "pings \(what)")
}
