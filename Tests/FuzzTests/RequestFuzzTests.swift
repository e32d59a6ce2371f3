import Jute
import Testing
import UnitTestSupport
import Vocabulary
import Znodes

extension FuzzTests {
    @Test func `requests become transactions that can be applied, or are refused`() {
        Fuzz.run("requests") { random in
            var options = Proposer.Options()
            options.extendedTypesEnabled = random.chance(percent: 50)
            options.enforcesQuotas = random.chance(percent: 50)
            options.closeSessionListsPaths = random.chance(percent: 70)
            options.skipsACLs = random.chance(percent: 30)
            let world = try FuzzWorld(seed: random.next(), options: options)
            let bodies = try Self.requests(&random, world)
            for (op, body) in bodies {
                var body = body
                if random.chance(percent: 60) {
                    random.mutate(&body, with: random.pick(bodies).body)
                }
                _ = try world.propose(op, body, as: Self.identities(&random))
                if random.chance(percent: 3) {
                    world.end(FuzzWorld.session)
                    try world.applyAll()
                    world.begin(FuzzWorld.session)
                }
                if random.chance(percent: 50) { try world.applyAll() }
            }
            try world.applyAll()
            try world.database.exercise()
        }
    }

    private static func identities(_ random: inout SeededGenerator) -> [Identity] {
        random.pick([
            [], [Identity(scheme: "digest", id: "bob:hash")], [Identity(scheme: "super", id: "")],
            [Identity(scheme: "ip", id: "127.0.0.1")],
        ])
    }

    /// Whole requests; those in front make a tree, with quotas, that the others meet.
    private static func requests(
        _ random: inout SeededGenerator, _ world: FuzzWorld
    ) throws -> [(op: OpCode, body: [UInt8])] {
        var generator = AskGenerator(seed: random.next())
        let quota = "/zookeeper/quota/a"
        for path in ["/a", "/a/b", "/b", quota] {
            _ = try world.propose(.create, RequestBytes.create(path, data: [1, 2, 3]))
        }
        let text = Array(random.pick(counters).utf8)
        for name in ["zookeeper_limits", "zookeeper_stats"] {
            _ = try world.propose(.create, RequestBytes.create(quota + "/" + name, data: text))
        }
        try world.applyAll()
        generator.known = ["/", "/a", "/a/b", "/b", quota]
        var requests: [(op: OpCode, body: [UInt8])] = (0..<30).map { _ in
            let ask = generator.ask()
            return (ask.op, ask.body)
        }
        requests.append((.reconfig, RequestBytes.reconfig()))
        let stats = RequestBytes.setData(
            quota + "/zookeeper_stats", Array(random.pick(counters).utf8))
        requests.insert((.setData, stats), at: random.below(requests.count))
        return requests
    }

    private static let counters = [
        "count=3,bytes=9", "count=-1,bytes=-1=;byteHardLimit=9;countHardLimit=3",
        "count=9223372036854775807,bytes=9223372036854775807",
        "count=-9223372036854775808,bytes=-9223372036854775808",
        "count=0,bytes=0=;byteHardLimit=9223372036854775807;countHardLimit=-9223372036854775808",
        ",=;=,count", "",
    ]
}
