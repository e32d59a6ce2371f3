import Testing
import UnitTestSupport
import Vocabulary
import Zab

/// ZooKeeper: `QuorumMaj`, `QuorumHierarchical`.
@Suite struct `Quorum verifiers` {
    private func ids(_ range: some Sequence<Int64>) -> [ServerID] {
        range.map { ServerID(rawValue: $0) }
    }

    private func weights(_ pairs: [Int64: Int]) -> [ServerID: Int] {
        [ServerID: Int](
            uniqueKeysWithValues: pairs.map { (ServerID(rawValue: $0.key), $0.value) })
    }

    private func isQuorum(_ quorum: QuorumVerifier, _ present: Set<Int64>) -> Bool {
        quorum.isQuorum { present.contains($0.rawValue) }
    }

    @Test func `of three groups of three, two members of each of two groups are enough`() throws {
        let quorum = try QuorumVerifier(groups: [ids(1...3), ids(4...6), ids(7...9)])
        #expect(isQuorum(quorum, [1, 2, 4, 6]))
        #expect(!isQuorum(quorum, [1, 2, 3, 4, 7]))
        #expect(!isQuorum(quorum, [1, 4, 7]))
        #expect(quorum.voters == ids(1...9))
    }

    @Test func `the heavier server of a group wins it alone`() throws {
        let quorum = try QuorumVerifier(groups: [ids(1...3)], weights: weights([1: 3]))
        #expect(isQuorum(quorum, [1]))
        #expect(!isQuorum(quorum, [2, 3]))
        #expect(quorum.weight(of: ServerID(rawValue: 1)) == 3)
        #expect(quorum.weight(of: ServerID(rawValue: 2)) == 1)
    }

    @Test func `half of a group's weight does not win it, nor half of the groups`() throws {
        let two = try QuorumVerifier(groups: [ids(1...2)], weights: weights([1: 2, 2: 2]))
        #expect(!isQuorum(two, [1]))
        #expect(isQuorum(two, [1, 2]))
        let groups = try QuorumVerifier(groups: [ids([1]), ids([2])])
        #expect(!isQuorum(groups, [1]))
        #expect(isQuorum(groups, [1, 2]))
    }

    @Test func `a server of weight 0 votes for nothing, and a group of them is none`() throws {
        let quorum = try QuorumVerifier(
            groups: [ids(1...3), ids(4...5)], weights: weights([3: 0, 4: 0, 5: 0]))
        #expect(isQuorum(quorum, [1, 2]))
        #expect(!isQuorum(quorum, [1, 3, 4, 5]))
        #expect(quorum.voters == ids(1...5))
        #expect(quorum.weight(of: ServerID(rawValue: 3)) == 0)
        #expect(quorum.weight(of: ServerID(rawValue: 4)) == 0)
    }

    @Test func `who does not vote weighs nothing`() throws {
        let stranger = ServerID(rawValue: 9)
        #expect(QuorumVerifier(voters: ids(1...3)).weight(of: stranger) == 0)
        #expect(QuorumVerifier(voters: ids(1...3)).weight(of: ServerID(rawValue: 2)) == 1)
        #expect(try QuorumVerifier(groups: [ids(1...3)]).weight(of: stranger) == 0)
    }

    @Test func `groups that cannot agree on one thing are refused`() {
        func fault(
            _ groups: [[ServerID]], _ pairs: [Int64: Int] = [:]
        ) -> QuorumVerifier.Fault? {
            do throws(QuorumVerifier.Fault) {
                _ = try QuorumVerifier(groups: groups, weights: weights(pairs))
                return nil
            } catch {
                return error
            }
        }
        #expect(fault([ids(1...2), ids(2...3)]) == .inTwoGroups(ServerID(rawValue: 2)))
        #expect(fault([ids([1, 1])]) == .inTwoGroups(ServerID(rawValue: 1)))
        #expect(fault([ids(1...2)], [3: 1]) == .inNoGroup(ServerID(rawValue: 3)))
        #expect(fault([ids(1...2)], [2: -1]) == .weightOutOfRange(ServerID(rawValue: 2)))
        #expect(fault([ids(1...2)], [2: .max]) == .weightOutOfRange(ServerID(rawValue: 2)))
        #expect(fault([ids(1...2)], [1: 0, 2: 0]) == .noWeight)
        #expect(fault([]) == .noWeight)
        #expect(fault([ids(1...2)], [1: QuorumVerifier.weightMax, 2: 0]) == nil)
    }

    @Test func `equal rules are equal, whatever the order of their servers`() throws {
        #expect(QuorumVerifier(voters: ids([2, 1])) == QuorumVerifier(voters: ids([1, 2])))
        let quorum = try QuorumVerifier(groups: [ids([2, 1])])
        #expect(try quorum == QuorumVerifier(groups: [ids([1, 2])], weights: weights([1: 1])))
        #expect(try quorum != QuorumVerifier(groups: [ids([1, 2])], weights: weights([1: 2])))
        #expect(quorum != QuorumVerifier(voters: ids([1, 2])))
    }

    /// Counts as the definition is spoken, with fractions.
    private func twin(
        _ groups: [[Int64]], _ weight: (Int64) -> Int, _ present: Set<Int64>
    ) -> Bool {
        let totals = groups.map { $0.map(weight).reduce(0, +) }
        var groupsWon = 0
        for (group, total) in zip(groups, totals) where total > 0 {
            let won = group.filter(present.contains).map(weight).reduce(0, +)
            if Double(won) > Double(total) / 2 { groupsWon += 1 }
        }
        return Double(groupsWon) > Double(totals.filter { $0 > 0 }.count) / 2
    }

    @Test(arguments: UInt64(0)..<150)
    func `two quorums always share a server, and all of them are as defined`(
        _ seed: UInt64
    ) throws {
        var random = SeededGenerator(seed: seed)
        let count = Int64(1 + random.below(7))
        let groupCount = 1 + random.below(4)
        var groups = [[Int64]](repeating: [], count: groupCount)
        var given: [Int64: Int] = [:]
        for id in 1...count {
            groups[random.below(groupCount)].append(id)
            if random.chance(percent: 60) { given[id] = random.below(4) }
        }
        let weight = { given[$0] ?? 1 }
        guard (1...count).contains(where: { weight($0) > 0 }) else { return }
        let quorum = try QuorumVerifier(groups: groups.map { ids($0) }, weights: weights(given))

        var quorums: [Set<Int64>] = []
        for subset in 0..<(1 << count) {
            let present = Set((1...count).filter { subset >> ($0 - 1) & 1 == 1 })
            #expect(isQuorum(quorum, present) == twin(groups, weight, present), "seed \(seed)")
            if isQuorum(quorum, present) { quorums.append(present) }
        }
        #expect(quorums.contains(Set(1...count)))
        for quorum in quorums {
            #expect(quorums.allSatisfy { !$0.isDisjoint(with: quorum) }, "seed \(seed)")
        }
    }
}
