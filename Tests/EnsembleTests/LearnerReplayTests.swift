import QuorumProtocol
import Testing
import Vocabulary
import Zab

/// What Apache's learners did, our learner does when it hears what they heard: in the handshake,
/// while it is brought to the leader's history, and while it follows.
@Suite struct `Recorded learners` {
    /// One learner's connection within a recording.
    struct Part: CustomStringConvertible, Sendable {
        var file: String
        var stream: String
        var server: Int64
        var leader: Int64
        var past = Past.nothing
        /// Before 3.9 learners acknowledge what they were sent as history, too.
        var acknowledgesHistory = false
        /// The connection is older than the recording.
        var isOlder = false

        var description: String { "\(file), \(stream): server \(server) at \(leader)" }
    }

    static let parts: [Part] = [
        Part(file: "cold-start", stream: "Q4", server: 1, leader: 3),
        Part(file: "cold-start", stream: "Q6", server: 2, leader: 3),
        Part(file: "cold-start", stream: "Q5", server: 4, leader: 3),
        Part(file: "diff", stream: "Q3", server: 1, leader: 3, past: .coldStart),
        Part(file: "diff-nothing-missed", stream: "Q3", server: 1, leader: 3, past: .diff),
        Part(file: "snap", stream: "Q3", server: 1, leader: 3),
        Part(file: "trunc", stream: "Q1", server: 1, leader: 2, past: .diverging),
        Part(file: "trunc", stream: "Q2", server: 3, leader: 2, past: .diverged),
        Part(
            file: "snap-after-diverging", stream: "Q2", server: 2, leader: 3, past: .divergedAgain),
        Part(file: "leader-change", stream: "Q5", server: 1, leader: 2, past: .snap),
        Part(file: "leader-change", stream: "Q10", server: 4, leader: 2, past: .snap),
        Part(file: "leader-change", stream: "Q11", server: 3, leader: 2, past: .snap),
        Part(file: "mixed-38-39", stream: "Q1", server: 1, leader: 3),
        Part(file: "mixed-38-39", stream: "Q2", server: 2, leader: 3),
        Part(file: "mixed-38-39", stream: "Q3", server: 1, leader: 2, past: .mixed),
        Part(
            file: "mixed-38-39", stream: "Q4", server: 3, leader: 2, past: .mixed,
            acknowledgesHistory: true),
    ]

    @Test(arguments: parts, LearnerReplay.Disk.allCases)
    func `ours sends what they sent and has what they had`(
        _ part: Part, _ disk: LearnerReplay.Disk
    ) throws {
        let messages = try Recorded.load(part.file).filter { $0.stream == part.stream }
        let history = try part.past.history()
        let configuration = try Recorded.configuration(in: messages)
        var replay = try LearnerReplay(
            messages, of: ServerID(rawValue: part.server),
            leader: ServerID(rawValue: part.leader), history: history,
            configuration: configuration, disk: disk, seed: 1)
        try replay.play()
        try replay.compareSent(
            with: part.acknowledgesHistory ? replay.recordedWithoutHistory() : nil)
        try replay.compareState(history: history)
        #expect(replay.server.departures == [])
    }

    // MARK: Reconfigurations

    static let reconfigurations: [Part] = [
        Part(file: "reconfig", stream: "Q1", server: 1, leader: 2, isOlder: true),
        Part(file: "reconfig", stream: "Q2", server: 3, leader: 2, isOlder: true),
        Part(file: "reconfig", stream: "Q3", server: 4, leader: 2, isOlder: true),
        Part(file: "reconfig", stream: "Q4", server: 4, leader: 2, past: .reconfig(8)),
        Part(file: "reconfig", stream: "Q5", server: 4, leader: 2, past: .reconfig(10)),
        Part(file: "reconfig", stream: "Q7", server: 3, leader: 1, past: .reconfig(13)),
        Part(file: "reconfig", stream: "Q8", server: 4, leader: 1, past: .reconfig(13)),
        Part(file: "reconfig", stream: "Q9", server: 2, leader: 1, past: .reconfig(13)),
    ]

    @Test(arguments: reconfigurations, LearnerReplay.Disk.allCases)
    func `through reconfigurations, too`(_ part: Part, _ disk: LearnerReplay.Disk) throws {
        let messages = try Recorded.load(part.file).filter { $0.stream == part.stream }
        let history = try part.past.history()
        var configuration: EnsembleConfiguration
        if part.isOlder {
            configuration = try Recorded.firstReconfiguration(in: messages)
            configuration.version = Zxid(epoch: 1, counter: 0)
        } else {
            configuration = try Recorded.configuration(in: messages)
        }
        var replay = try LearnerReplay(
            messages, of: ServerID(rawValue: part.server),
            leader: ServerID(rawValue: part.leader), history: history,
            configuration: configuration, reconfigEnabled: true, disk: disk, seed: 2)
        if part.isOlder { try replay.introduce(epoch: 1, configuration: configuration.text) }
        try replay.play()
        try replay.compareSent()
        try replay.compareState(history: history)

        let activations = messages.compactMap(\.packet).filter {
            $0.type == .commitAndActivate || $0.type == .informAndActivate
        }
        #expect(replay.server.active.map(\.version) == activations.map(\.zxid))
        // Who becomes something else, or has another leader, leaves: both ends the recorded one did.
        let isOver = messages.contains { $0.isEnd && $0.sender != ServerID(rawValue: part.leader) }
        #expect(replay.server.departures == (isOver ? [.left(.reconfigured)] : []))
    }
}
