import Ensemble
import Jute
import QuorumProtocol
import Testing
import Transactions
import UnitTestSupport
import Vocabulary
import Zab
import Znodes

/// Our server in the place of an Apache leader: it hears what that one's learners sent, byte for
/// byte, and is compared with what that one sent each of them.
///
/// Its own disk is done with a transaction when that one committed it, its clock shows the times
/// of that one's transactions, and its clients ask for what that one's asked for.
struct LeaderReplay {
    /// A connection of a recording.
    private struct Played {
        let learner: ServerID
        let link: QuorumLink
        var sent: [UInt8] = []
    }

    let server: ReplayedServer
    private let id: ServerID
    private var random: SeededGenerator
    /// The last one of each learner.
    private var links: [ServerID: QuorumLink] = [:]
    private var linksMade = 0
    /// By its name in the recording that is played.
    private var streams: [String: Played] = [:]
    /// So many were recorded so far.
    private var pings: [String: Int] = [:]
    /// The last that each learner has acknowledged on its connection.
    private var acknowledged: [ServerID: Zxid] = [:]
    /// Up to here a quorum was seen to have everything.
    private var held = Zxid.none

    /// A leader that nobody has come to yet.
    init(
        _ id: ServerID, history: History = History(), configuration: EnsembleConfiguration,
        reconfigEnabled: Bool = false, seed: UInt64
    ) throws {
        self.id = id
        random = SeededGenerator(seed: seed)
        server = try ReplayedServer(
            id, configuration: configuration, history: history, reconfigEnabled: reconfigEnabled)
        server.elect(id)
    }

    private var peer: QuorumPeer { server.peer }

    // MARK: What was not recorded

    /// Learners that came before the recording began, with our history.
    mutating func introduce(_ learners: [ServerID]) {
        let links = learners.map { ($0, connect($0)) }
        server.introduce(links) { hear($0, on: $1) }
    }

    /// Transactions that were made between two recordings, and acknowledged by every follower.
    mutating func pass(_ txns: [[UInt8]]) throws {
        for txn in txns {
            try request(RecordedTxn(txn))
            peer.turnEnded()
            try server.flush()
            let ack = bytes { $0.appendQuorumPacket(.ack, zxid: peer.lastProposed) }
            for link in links.values where !link.isObserver { hear(ack, on: link) }
        }
    }

    mutating func disconnect(_ learner: ServerID) {
        if let link = links.removeValue(forKey: learner) { peer.closed(link) }
    }

    // MARK: What was recorded

    /// Plays all connections to this leader, then compares.
    ///
    /// `older`: whose the connections are that were there before.
    mutating func play(_ messages: [Recorded], older: [String: ServerID] = [:]) throws {
        for packet in messages.compactMap(\.packet) {
            guard let txn = packet.txn else { continue }
            server.times[packet.zxid] = try RecordedTxn(txn).time
        }
        (streams, pings) = ([:], [:])
        held = server.database.lastProcessedZxid
        for (stream, learner) in older {
            let link = try #require(links[learner])
            _ = link.takeOutput()
            streams[stream] = Played(learner: learner, link: link)
        }
        for message in messages {
            if message.sender == id {
                if let packet = message.packet { try act(packet, on: message.stream) }
            } else if message.receiver == id {
                receive(message)
            }
            peer.turnEnded()
            try collect()
        }
        for (stream, played) in streams {
            try compare(played, messages.filter { $0.stream == stream && $0.sender == id })
        }
        try compareState(messages)
    }

    private mutating func receive(_ message: Recorded) {
        if streams[message.stream] == nil, let learner = message.sender {
            streams[message.stream] = Played(learner: learner, link: connect(learner))
        }
        guard let link = streams[message.stream]?.link else { return }
        if message.isEnd { peer.closed(link) } else { hear(message.bytes, on: link) }
    }

    private mutating func connect(_ learner: ServerID) -> QuorumLink {
        linksMade += 1
        let link = QuorumLink(id: LinkID(rawValue: linksMade))
        links[learner] = link
        acknowledged[learner] = nil
        peer.accepted(link)
        return link
    }

    /// Bytes arrive in pieces.
    private mutating func hear(_ bytes: [UInt8], on link: QuorumLink) {
        for case .packet(let packet) in (try? Message.split(bytes)) ?? [] {
            if packet.type == .ack, let learner = link.server {
                acknowledged[learner] = packet.zxid
            }
        }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = min(rest.count, random.chance(percent: 30) ? 1 : 1 + random.below(60))
            peer.received(Array(rest.prefix(count)).span, on: link)
            rest = rest.dropFirst(count)
        }
    }

    /// Nothing is promised before a quorum has it: a history, or a transaction.
    private mutating func collect() throws {
        for (stream, played) in streams {
            let output = played.link.takeOutput()
            for case .packet(let packet) in try Message.split(output) {
                let promised =
                    packet.type == .upToDate
                    ? Zxid(epoch: server.epochs.current, counter: 0) : packet.zxid
                guard packet.commits || packet.type == .upToDate, promised > held else { continue }
                held = promised
                let voters = peer.configuration?.participants ?? []
                let holders = voters.filter {
                    $0 == id
                        ? server.flushed >= promised || packet.type == .upToDate
                        : acknowledged[$0] ?? .none >= promised
                }
                #expect(2 * holders.count > voters.count, "\(packet)")
            }
            streams[stream]?.sent += output
        }
    }

    /// What lets our server send this packet.
    private mutating func act(_ packet: Packet, on stream: String) throws {
        switch packet.type {
        case .proposal:
            // Nobody has forwarded it: it is a request of a client here.
            guard packet.zxid > peer.lastProposed, let txn = packet.txn else { break }
            try request(RecordedTxn(txn))
        case .commit, .commitAndActivate, .inform, .informAndActivate:
            try server.flush(upTo: packet.zxid)
        case .ping:
            // Half a tick is over, unless the last one has brought this ping already.
            pings[stream, default: 0] += 1
            let sent = try Message.split(try #require(streams[stream]).sent)
            guard sent.count(where: \.isPing) < pings[stream] ?? 0 else { break }
            peer.expired(.leader(.halfTick))
        default: break  // It answers by itself.
        }
    }

    /// A client here asks for what became this transaction.
    private func request(_ txn: RecordedTxn) throws {
        server.times[txn.zxid] = txn.time
        var reader = PlainReader(txn.record)
        switch txn.op {
        case .createSession:
            peer.proposeSession(txn.session, timeoutMilliseconds: try reader.int())
        case .closeSession:
            peer.proposeSessionEnd(txn.session, cxid: txn.cxid)
        case let op?:
            let body = try Self.body(of: op, txn.record)
            try peer.propose(
                op, body: body.span,
                from: .init(
                    session: txn.session, cxid: txn.cxid,
                    identities: [Identity(scheme: "ip", id: "127.0.0.1")], time: txn.time))
        case nil: Issue.record("no client asks for \(txn.type)")
        }
        #expect(peer.lastProposed == txn.zxid)
    }

    /// The request that becomes this record.
    private static func body(of op: OpCode, _ record: [UInt8]) throws -> [UInt8] {
        var reader = PlainReader(record)
        var body: [UInt8] = []
        switch op {
        case .create, .create2:
            // path, data and ACL as they were asked for; then whether it is an ephemeral
            _ = try reader.field()
            _ = try reader.field()
            for _ in 0..<(try reader.int()) {
                _ = try reader.int()
                _ = try reader.field()
                _ = try reader.field()
            }
            body = record.dropLast(reader.rest.count)
            let flags: Int32 = try reader.bool() ? 1 : 0
            body += bytes { $0.append(flags) }
        case .setData:
            // path and data; then the version that it has now
            _ = try reader.field()
            _ = try reader.field()
            body = record.dropLast(reader.rest.count)
            body += bytes { $0.append(Int32(-1)) }
        case .multi:
            for _ in 0..<(try reader.int()) {
                let part = try #require(OpCode(rawValue: try reader.int()))
                let partRecord = try #require(try reader.field())
                body += multiHeader(part.rawValue, isLast: false)
                body += try Self.body(of: part, partRecord)
            }
            body += multiHeader(-1, isLast: true)
        default: Issue.record("no client here asks for \(op)")
        }
        return body
    }

    private static func multiHeader(_ type: Int32, isLast: Bool) -> [UInt8] {
        bytes {
            $0.append(type)
            $0.append(isLast)
            $0.append(Int32(-1))
        }
    }

    // MARK: Afterwards

    /// Pings are compared apart: each goes out when its half tick is over, whatever else is on the
    /// way at that moment. A last one may be behind the end of the recording.
    private func compare(_ played: Played, _ recorded: [Recorded]) throws {
        let theirs = try recorded.filter { !$0.isEnd }.map { message in
            guard message.isTree else { return Message.packet(try Packet(message.bytes)) }
            var content = TreeContent()
            _ = try content.read(message.bytes)
            return .tree(content)
        }
        let ours = try Message.split(played.sent)
        let name = "to \(played.learner.rawValue):"
        expectSame(ours.filter { !$0.isPing }, theirs.filter { !$0.isPing }, name)
        expectSamePings(ours, theirs, name)
        #expect(server.complaints == [])
    }

    private func compareState(_ messages: [Recorded]) throws {
        let packets = messages.filter { $0.sender == id }.compactMap(\.packet)
        guard let committed = packets.filter(\.commits).map(\.zxid).max() else { return }
        #expect(server.database.lastProcessedZxid == committed)
        let txns = try packets.compactMap(\.txn).map(RecordedTxn.init)
            .filter { $0.zxid <= committed && $0.digest != nil }
        let digest = txns.max { $0.zxid < $1.zxid }?.digest
        if let digest { #expect(server.database.digest == digest) }
        #expect(server.database.digestMismatches == 0)
    }
}
