import QuorumProtocol
import Testing
import Vocabulary
import Zab
import Znodes

/// What Apache's leaders did, our leader does when it hears what they heard: the same epochs, the
/// same ways to bring learners to its history, and from the same requests the same transactions,
/// byte for byte.
@Suite struct `Recorded leaders` {
    static let seeds: Range<UInt64> = 0..<2

    private func server(_ id: Int64) -> ServerID { ServerID(rawValue: id) }

    /// All that a leader with this past has heard.
    private func play(
        _ messages: [Recorded], to leader: ServerID, behind past: Past, _ seed: UInt64
    ) throws {
        var replay = try LeaderReplay(
            leader, history: try past.history(),
            configuration: try Recorded.configuration(in: messages), seed: seed)
        try replay.play(messages)
    }

    /// One leader from its first learner to its end: a cold start; a follower that has missed
    /// transactions, then none, then has lost its disk.
    @Test(arguments: seeds)
    func `from a cold start on`(_ seed: UInt64) throws {
        let coldStart = try Recorded.load("cold-start")
        var replay = try LeaderReplay(
            server(3), configuration: try Recorded.configuration(in: coldStart), seed: seed)
        try replay.play(coldStart)

        replay.disconnect(server(1))
        let diff = try Recorded.load("diff")
        let missed = try Recorded.proposals("diff")
        try replay.pass(Array(missed.prefix(7)))
        try replay.play(diff, older: ["Q1": server(2), "Q2": server(4)])

        replay.disconnect(server(1))
        try replay.play(
            try Recorded.load("diff-nothing-missed"), older: ["Q1": server(2), "Q2": server(4)])

        replay.disconnect(server(1))
        try replay.pass(try Past.creationsBeforeSnapshot())
        try replay.play(try Recorded.load("snap"), older: ["Q2": server(2), "Q1": server(4)])
    }

    @Test(arguments: seeds)
    func `after another leader`(_ seed: UInt64) throws {
        try play(Recorded.load("leader-change"), to: server(2), behind: .snap, seed)
    }

    @Test(arguments: seeds)
    func `a learner has what nobody else has: TRUNC`(_ seed: UInt64) throws {
        try play(Recorded.load("trunc"), to: server(2), behind: .diverging, seed)
    }

    @Test(arguments: seeds)
    func `and the epoch has moved on: SNAP`(_ seed: UInt64) throws {
        let messages = try Recorded.load("snap-after-diverging")
        var replay = try LeaderReplay(
            server(3), history: try Past.twoEpochs.history(),
            configuration: try Recorded.configuration(in: messages), seed: seed)
        replay.introduce([server(1)])
        try replay.pass(
            Array(
                try Recorded.log("3.9.3-quorum-truncated/data/version-2/log.300000001").prefix(2)))
        try replay.play(messages, older: ["Q1": server(1)])
    }

    /// Up to the first thing that 3.8 does in another way: it writes a create2 in a multi as a create.
    /// Of the other learner's connection nothing is played: to an empty history 3.8 sends a tree that
    /// is as empty, ours nothing.
    @Test(arguments: seeds)
    func `in the place of a 3.8 server`(_ seed: UInt64) throws {
        let messages = try Recorded.load("mixed-38-39").filter { $0.stream == "Q1" }
        var replay = try LeaderReplay(
            server(3), configuration: try Recorded.configuration(in: messages), seed: seed)
        try replay.play(Array(messages.prefix { !$0.decoded.contains("op=14") }))
        #expect(replay.server.database.lastProcessedZxid == Zxid(epoch: 1, counter: 2))
    }

    /// A learner of 3.8 acknowledges the history that it was sent, too.
    @Test(arguments: seeds)
    func `with learners of 3.8`(_ seed: UInt64) throws {
        let messages = try Recorded.load("mixed-38-39").filter { ["Q3", "Q4"].contains($0.stream) }
        try play(messages, to: server(2), behind: .mixed, seed)
    }

    @Test(arguments: seeds)
    func `requests that a follower forwards for its observer`(_ seed: UInt64) throws {
        let relayed = try Recorded.load("observer-master", port: "observermaster")
        var replay = try LeaderReplay(
            server(3), configuration: try Recorded.configuration(in: relayed), seed: seed)
        replay.introduce([server(1), server(2)])
        try replay.play(
            try Recorded.load("observer-master"), older: ["Q1": server(2), "Q2": server(1)])
    }

    /// The connections to the second leader of `reconfig`.
    private static let second = ["Q7", "Q8", "Q9"]

    @Test(arguments: seeds)
    func `reconfigurations`(_ seed: UInt64) throws {
        let messages = try Recorded.load("reconfig").filter { !Self.second.contains($0.stream) }
        var first = try Recorded.firstReconfiguration(in: messages)
        first.version = .zero
        var replay = try LeaderReplay(
            server(2), configuration: first, reconfigEnabled: true, seed: seed)
        replay.introduce([server(1), server(3), server(4)])
        try replay.play(messages, older: ["Q1": server(1), "Q2": server(3), "Q3": server(4)])
        #expect(replay.server.departures == [.resigned(.replaced)])
    }

    @Test(arguments: seeds)
    func `the leader that a reconfiguration has designated`(_ seed: UInt64) throws {
        let messages = try Recorded.load("reconfig").filter { Self.second.contains($0.stream) }
        var replay = try LeaderReplay(
            server(1), history: try Past.reconfig(13).history(),
            configuration: try Recorded.configuration(in: messages), reconfigEnabled: true,
            seed: seed)
        try replay.play(messages)
    }
}
