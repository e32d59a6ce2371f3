import ArgumentParser
import Testing

@testable import zkBench

@Suite struct FanOutTests {
    @Test func `a znode is set when each of its watchers watches it again`() {
        var fanOut = FanOut(znodes: 2, sessions: 6)
        // Sessions 1, 3 and 5 watch one znode, 2 and 4 the other.
        #expect((1..<6).map { fanOut.znode(watchedBy: $0) } == [1, 0, 1, 0, 1])
        for time: UInt64 in [10, 20] {
            let isComplete1 = fanOut.addWatcher(of: 1, now: time)
            #expect(!isComplete1)
            let isComplete2 = fanOut.addWatcher(of: 1, now: time + 1)
            #expect(!isComplete2)
            let isComplete3 = fanOut.addWatcher(of: 0, now: time + 2)
            #expect(!isComplete3)
            let isComplete4 = fanOut.addWatcher(of: 1, now: time + 3)
            #expect(isComplete4)
            let isComplete5 = fanOut.addWatcher(of: 0, now: time + 4)
            #expect(isComplete5)
            #expect(fanOut.whenSet(1) == time + 3 && fanOut.whenSet(0) == time + 4)
        }
    }

    @Test func `every znode of a fan-out has a session that watches it`() throws {
        let fanOut = ["--workload", "fan-out", "--depth", "4"]
        #expect(throws: (any Error).self) { try ZkBench.parse(fanOut + ["--sessions", "4"]) }
        #expect(throws: (any Error).self) { try ZkBench.parse(fanOut + ["--znodes", "3"]) }
        #expect(throws: (any Error).self) { try ZkBench.parse(fanOut + ["--rate", "5"]) }
        #expect(try ZkBench.parse(fanOut + ["--sessions", "5"]).workload == .fanOut)
    }
}
