import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// ZooKeeper: `StatsTrack`, `DataTree.updateQuotaStat`, `ZooKeeperServer.checkQuota`.
@Suite struct Quotas {
    private func parsed(_ text: String) -> QuotaText {
        Array(text.utf8).withUnsafeBytes { QuotaText(parsing: $0) }
    }

    @Test func `the text has a stray sign in front of its hard limits`() {
        var quota = QuotaText(count: 2)
        #expect(quota.text == "count=2,bytes=-1")
        quota.countHardLimit = 3
        #expect(quota.text == "count=2,bytes=-1=;countHardLimit=3")
        quota.bytesHardLimit = 10
        #expect(quota.text == "count=2,bytes=-1=;byteHardLimit=10;countHardLimit=3")
        #expect(parsed(quota.text) == quota)
    }

    @Test func `what is missing or no number is no limit`() {
        #expect(parsed("") == QuotaText())
        #expect(parsed("bytes=5") == QuotaText(bytes: 5))
        #expect(parsed("count=x,bytes=7;;nonsense,=,count") == QuotaText(bytes: 7))
        #expect(parsed("count=4=9") == QuotaText(count: 4))
        #expect(parsed("count=99999999999999999999") == QuotaText())
        #expect(QuotaText(parsing: nil) == QuotaText())
    }

    private let stats = "/zookeeper/quota/q/zookeeper_stats"

    private func world(limits: String, enforced: Bool = true) throws -> World {
        let world = World { $0.enforcesQuotas = enforced }
        try world.create("/q", data: [1, 2])
        try world.create("/zookeeper/quota/q")
        try world.create("/zookeeper/quota/q/zookeeper_limits", data: Array(limits.utf8))
        try world.create(stats)
        return world
    }

    private func counters(_ world: World) throws -> String {
        String(decoding: try #require(try world.database.data(stats)), as: UTF8.self)
    }

    @Test func `the counters follow the subtree and leave their stat alone`() throws {
        let world = try world(limits: "count=-1,bytes=-1")
        #expect(try counters(world) == "count=1,bytes=2")
        let before = world.database.stat(stats)
        let digest = world.database.digest
        try world.create("/q/a", data: [1, 2, 3])
        #expect(try counters(world) == "count=2,bytes=5")
        try world.create("/q/a/b", "/beside", data: [1])
        #expect(try counters(world) == "count=3,bytes=6")
        #expect(try world.error(.setData, RequestBytes.setData("/q/a", [])) == .ok)
        #expect(try counters(world) == "count=3,bytes=3")
        #expect(try world.error(.delete, RequestBytes.pathVersion("/q/a/b")) == .ok)
        #expect(try counters(world) == "count=2,bytes=2")
        let after = world.database.stat(stats)
        #expect(after?.mzxid == before?.mzxid)
        #expect(after?.version == before?.version)
        #expect(after?.mtime == before?.mtime)
        #expect(world.database.digest != digest)
        #expect(world.database.digestMismatches == 0)
    }

    @Test func `a quota ends with its limits znode`() throws {
        let world = try world(limits: "count=-1,bytes=-1")
        let limits = RequestBytes.pathVersion("/zookeeper/quota/q/zookeeper_limits")
        #expect(try world.error(.delete, limits) == .ok)
        try world.create("/q/a")
        #expect(try counters(world) == "count=1,bytes=2")
    }

    @Test func `hard limits permit up to themselves`() throws {
        let world = try world(limits: "count=-1,bytes=-1=;byteHardLimit=4;countHardLimit=3")
        let create = RequestBytes.create("/q/a", data: [1, 2, 3])
        #expect(try world.error(.create, create) == .quotaExceeded)
        try world.create("/q/a", data: [1, 2])
        #expect(
            try world.error(.setData, RequestBytes.setData("/q/a", [1, 2, 3])) == .quotaExceeded)
        // Nothing changes in size: the limit is not asked.
        #expect(try world.error(.setData, RequestBytes.setData("/q/a", [3, 4])) == .ok)
        try world.create("/q/b")
        #expect(try world.error(.create, RequestBytes.create("/q/c")) == .quotaExceeded)
    }

    @Test func `soft limits only leave a note`() throws {
        let world = try world(limits: "count=1,bytes=2")
        #expect(world.proposer.softQuotaExceeded == nil)
        try world.create("/q/a")
        #expect(world.proposer.softQuotaExceeded == "path=/q count=2 limit=1")
        world.proposer.softQuotaExceeded = nil
        #expect(try world.error(.setData, RequestBytes.setData("/q", [1, 2, 3])) == .ok)
        #expect(world.proposer.softQuotaExceeded == "path=/q bytes=3 limit=2")
    }

    @Test func `the deepest quota counts alone`() throws {
        let world = try world(limits: "count=-1,bytes=-1")
        try world.create("/q/a", "/zookeeper/quota/q/a")
        try world.create("/zookeeper/quota/q/a/zookeeper_limits")
        try world.create("/zookeeper/quota/q/a/zookeeper_stats")
        try world.create("/q/a/b")
        #expect(try counters(world) == "count=2,bytes=2")
        let inner = try world.database.data("/zookeeper/quota/q/a/zookeeper_stats")
        #expect(inner == Array("count=2,bytes=0".utf8))
    }

    /// Anybody can write the counters: a number near the end of its range must not stop the server,
    /// and with it every start that replays the write.
    @Test(arguments: [
        "count=9223372036854775807,bytes=9223372036854775807",
        "count=-9223372036854775808,bytes=-9223372036854775808",
    ])
    func `counters at the end of their range stop nothing`(_ text: String) async {
        // In a process of its own: a trap would end all the others.
        let isMaximum = text.hasPrefix("count=9")
        if isMaximum {
            await #expect(processExitsWith: .success) {
                try overflow(writing: "9223372036854775807")
            }
        } else {
            await #expect(processExitsWith: .success) {
                try overflow(writing: "-9223372036854775808")
            }
        }
    }

    @Test func `counters at the end of their range stop no soft or hard limit`() async {
        await #expect(processExitsWith: .success) {
            try overflow(writing: "9223372036854775807", limits: "count=1,bytes=1")
        }
        await #expect(processExitsWith: .success) {
            try overflow(
                writing: "9223372036854775807",
                limits: "count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=10")
        }
    }
}

/// Writes the counters of a quota, then creates, changes and deletes below it.
private func overflow(writing number: String, limits: String = "count=-1,bytes=-1") throws {
    let world = World { $0.enforcesQuotas = true }
    try world.create("/q", data: [1])
    try world.create("/q/old", data: [1])
    try world.create("/zookeeper/quota/q")
    try world.create("/zookeeper/quota/q/zookeeper_limits", data: Array(limits.utf8))
    try world.create("/zookeeper/quota/q/zookeeper_stats")
    let counters = RequestBytes.setData(
        "/zookeeper/quota/q/zookeeper_stats", Array("count=\(number),bytes=\(number)".utf8))
    _ = try world.run(.setData, counters)
    _ = try world.run(.create, RequestBytes.create("/q/new", data: [1, 2, 3]))
    _ = try world.run(.setData, counters)
    _ = try world.run(.setData, RequestBytes.setData("/q", [1, 2, 3]))
    _ = try world.run(.setData, counters)
    _ = try world.run(.delete, RequestBytes.pathVersion("/q/old"))
}
