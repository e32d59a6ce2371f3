import Server
import Testing
import UnitTestSupport
import Vocabulary

@Suite struct `Observer masters, seen from an observer` {
    private let voters = (1...4).map { ServerID(rawValue: $0) }

    /// The next masters of one observer.
    private func next(
        _ count: Int, _ masters: inout ObserverMasters, of voters: [ServerID],
        _ generator: inout SeededGenerator
    ) -> [ServerID] {
        (0..<count).compactMap { _ in masters.next(of: voters, using: &generator) }
    }

    @Test func `all voters come in turn, and then again`() {
        var generator = SeededGenerator(seed: 1)
        var masters = ObserverMasters()
        let first = next(4, &masters, of: voters, &generator)
        #expect(first.sorted { $0.rawValue < $1.rawValue } == voters)
        #expect(next(4, &masters, of: voters, &generator) == first)
    }

    @Test func `observers spread over the voters`() {
        var generator = SeededGenerator(seed: 1)
        var firsts: Set<ServerID> = []
        for _ in 0..<100 {
            var masters = ObserverMasters()
            firsts.formUnion(next(1, &masters, of: voters, &generator))
        }
        #expect(firsts == Set(voters))
    }

    @Test func `other voters are another list`() {
        var generator = SeededGenerator(seed: 1)
        var masters = ObserverMasters()
        _ = next(3, &masters, of: voters, &generator)
        let fewer = Array(voters.prefix(2))
        #expect(Set(next(2, &masters, of: fewer, &generator)) == Set(fewer))
        #expect(next(1, &masters, of: [], &generator).isEmpty)
    }
}
