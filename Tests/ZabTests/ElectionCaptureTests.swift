import Foundation
import Testing
import UnitTestSupport
import Vocabulary
import Zab

/// Elections of Apache servers (3.9.3; mixed: 3.8.0 and 3.9.3) as they were on the wire. Each server
/// in turn is played by ours: it hears what that one heard, when it heard it, and must come to
/// the same result.
@Suite struct `Recorded elections` {
    /// A notification between two servers, `time` in seconds.
    struct Recorded {
        var time: Double
        var from: Int64
        var to: Int64
        var notification: Election.Notification
    }

    /// One server's election within a recording.
    struct Part: CustomStringConvertible, Sendable {
        var file: String
        var server: Int64
        /// When the server began to look, in seconds of the recording.
        var start: Double
        var end = Double.infinity
        var zxid: Int64 = 0
        var epoch: Int64 = 0
        /// It has followed server 3 in round 1 and epoch 1 before.
        var hasLostLeader = false
        var hasObserver = true
        var result: Election.Effect

        var description: String { "\(file), server \(server) after \(start) s" }
    }

    static let firstVote = vote(3, zxid: 0, epoch: 0)
    /// Ends where the next election begins.
    static let mixedFirst = 15.7
    static let parts: [Part] = [
        Part(file: "cold-start", server: 1, start: 5.4, result: .follow(firstVote)),
        Part(file: "cold-start", server: 3, start: 5.41, result: .lead(firstVote)),
        Part(file: "cold-start", server: 4, start: 6.32, result: .observe(firstVote)),
        Part(file: "cold-start", server: 2, start: 6.52, result: .follow(firstVote)),

        Part(
            file: "leader-change", server: 1, start: 0.09, zxid: 0x1_0000_001a, epoch: 1,
            hasLostLeader: true, result: .follow(vote(2, zxid: 0x1_0000_001a))),
        Part(
            file: "leader-change", server: 2, start: 0.09, zxid: 0x1_0000_001a, epoch: 1,
            hasLostLeader: true, result: .lead(vote(2, zxid: 0x1_0000_001a))),
        Part(
            file: "leader-change", server: 4, start: 0.26, hasLostLeader: true,
            result: .observe(vote(2, zxid: 0x1_0000_001a, epoch: 2))),
        Part(
            file: "leader-change", server: 3, start: 4.49, zxid: 0x1_0000_001a, epoch: 1,
            result: .follow(vote(2, zxid: 0x1_0000_001a, epoch: 2))),

        Part(
            file: "mixed-38-39", server: 1, start: 0, end: mixedFirst, hasObserver: false,
            result: .follow(firstVote)),
        Part(
            file: "mixed-38-39", server: 3, start: 0, end: mixedFirst, hasObserver: false,
            result: .lead(firstVote)),
        // Both others repeat what they said last in the election that is over. That is agreement
        // of all; Apache's server had waited, and heard of epoch 1 meanwhile.
        Part(
            file: "mixed-38-39", server: 2, start: 14.36, end: mixedFirst, hasObserver: false,
            result: .follow(firstVote)),
        Part(
            file: "mixed-38-39", server: 1, start: 15.73, end: 19.7, zxid: 0x1_0000_0004, epoch: 1,
            hasLostLeader: true, hasObserver: false, result: .follow(vote(2, zxid: 0x1_0000_0004))),
        Part(
            file: "mixed-38-39", server: 2, start: 15.86, end: 19.7, zxid: 0x1_0000_0004, epoch: 1,
            hasLostLeader: true, hasObserver: false, result: .lead(vote(2, zxid: 0x1_0000_0004))),
        Part(
            file: "mixed-38-39", server: 3, start: 19.71, zxid: 0x1_0000_0004, epoch: 1,
            hasObserver: false, result: .follow(vote(2, zxid: 0x1_0000_0004, epoch: 2))),
    ]

    @Test(arguments: parts)
    func `with what a recorded server heard, ours comes to its result`(_ part: Part) throws {
        let recorded = try load(part.file)
        var scenario = Scenario(
            part.server, zxid: part.zxid, epoch: part.epoch,
            electorate: .init(
                active: majority(1, 2, 3), observers: part.hasObserver ? [server(4)] : []))
        var due: [(timer: Election.Timer, time: Double)] = []
        var said: Set<Election.Notification> = []
        var result: Election.Effect?

        func perform(_ effects: [Election.Effect], at time: Double) {
            for effect in effects {
                switch effect {
                case .arm(let timer, let duration):
                    due.removeAll { $0.timer == timer }
                    due.append((timer, time + duration / .seconds(1)))
                case .disarm(let timer):
                    due.removeAll { $0.timer == timer }
                case .send(let notification, let peer):
                    if notification.state == .looking, peer.rawValue < 4 {
                        said.insert(notification)
                    }
                case .lead, .follow, .observe:
                    result = effect
                }
            }
        }
        func pass(until time: Double) {
            while let next = due.filter({ $0.time <= time }).min(by: { $0.time < $1.time }) {
                due.removeAll { $0.timer == next.timer }
                perform(scenario.step(.timerExpired(next.timer)), at: next.time)
            }
        }

        if part.hasLostLeader {
            scenario.start()
            scenario.hear(leading(Self.firstVote), from: 3)
            scenario.hear(following(Self.firstVote), from: part.server == 1 ? 2 : 1)
            scenario.step(.epochEstablished(1))
            #expect(scenario.election.round == 1)
            perform(scenario.endRole(zxid: part.zxid, epoch: part.epoch), at: part.start)
        } else {
            perform(scenario.start(), at: part.start)
        }
        for message in recorded
        where message.to == part.server && message.time >= part.start && message.time < part.end {
            pass(until: message.time)
            guard result == nil else { break }
            perform(scenario.hear(message.notification, from: message.from), at: message.time)
        }
        pass(until: part.start + 20)
        #expect(result == part.result)

        // Each proposal that Apache's server was heard to make ours makes too. It may make more:
        // there, a newer one overtakes one that waits.
        let proposed = recorded.filter {
            $0.from == part.server && $0.notification.state == .looking && $0.to < 4
                && $0.time >= part.start && $0.time < part.end
        }
        if part.server < 4 {
            #expect(!proposed.isEmpty && said.isSuperset(of: proposed.map(\.notification)))
        }
    }

    /// The notifications of the election port, in their order.
    private func load(_ file: String) throws -> [Recorded] {
        let url = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Fixtures/quorum/\(file).jsonl")
        return try String(contentsOf: url, encoding: .utf8).split(separator: "\n").compactMap {
            line in
            let fields = try #require(
                try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            guard fields["port"] as? String == "election",
                let decoded = fields["decoded"] as? String, decoded.hasPrefix("notification")
            else { return nil }
            let stream = try #require(fields["stream"] as? String)
            let ends = [fields["from"], fields["to"]].map { $0 as? Int64 }
            let (from, to): (Int64, Int64)
            switch (ends[0], ends[1]) {
            case (let known?, let other?): (from, to) = (known, other)
            case (let known?, nil): (from, to) = (known, try other(of: stream, than: known))
            case (nil, let known?): (from, to) = (try other(of: stream, than: known), known)
            case (nil, nil): throw Unreadable(line: String(line))
            }
            let hex = try #require(fields["hex"] as? String)
            return Recorded(
                time: try #require(fields["t"] as? Double), from: from, to: to,
                notification: try decode([UInt8](hex: hex)))
        }
    }

    private struct Unreadable: Error { var line: String }

    /// The connections of `leader-change` that are older than the recording, which has only one
    /// end of them; what was said tells the other.
    private func other(of stream: String, than known: Int64) throws -> Int64 {
        let pairs: [String: [Int64]] = ["E4": [1, 2], "E9": [2, 4]]
        return try #require(pairs[stream]?.first { $0 != known })
    }

    private func decode(_ frame: [UInt8]) throws -> Election.Notification {
        var reader = PlainReader(frame)
        #expect(Int(try reader.int()) == frame.count - 4)
        let state = ServerState(rawValue: try reader.int())
        let leader = ServerID(rawValue: try reader.long())
        let zxid = Zxid(rawValue: try reader.long())
        let round = try reader.long()
        let peerEpoch = try reader.long()
        return Election.Notification(
            state: state, vote: .init(leader: leader, zxid: zxid, peerEpoch: peerEpoch),
            round: round, version: try reader.int())
    }
}
