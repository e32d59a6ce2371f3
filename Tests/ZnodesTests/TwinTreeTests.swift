import Testing
import Transactions
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// The tree and its twin under the same random writes, with transactions outstanding.
@Suite struct `The tree and its twin` {
    private static let sessions = (1...3).map { SessionID(rawValue: 0x0100_0000_0000_0000 + $0) }

    /// What the twin said when a transaction was proposed, for when it is applied.
    private struct Expected {
        var outcome: TwinTree.Outcome
        var digest: UInt64
        var note: String
        var ended: SessionID?
    }

    /// One run of a seed.
    private final class Run {
        var generator: AskGenerator
        let world: World
        var twin = TwinTree()
        var expected: [Expected] = []

        init(seed: UInt64) {
            generator = AskGenerator(seed: seed)
            var options = Proposer.Options()
            options.extendedTypesEnabled = true
            options.closeSessionListsPaths = seed.isMultiple(of: 2)
            world = World(options: options, session: sessions[0])
            for session in sessions.dropFirst() { world.begin(session) }
            for session in sessions { twin.sessions[session] = .open }
        }

        func propose() throws {
            if generator.random.chance(percent: 1) { return proposeEnd() }
            generator.known = twin.nodes.keys.sorted()
            var ask = generator.ask()
            if case .multi(var asks) = ask, generator.random.chance(percent: 50) {
                asks.insert(generator.check(), at: generator.random.below(asks.count + 1))
                ask = .multi(asks)
            }
            let identities: [Identity] = generator.random.pick([
                [], [World.bob], [World.bob], [World.superUser],
            ])
            let session = generator.random.pick(sessions)
            try world.propose(ask.op, ask.body, session: session, as: identities)
            let origin = TwinTree.Origin(
                session: session, identities: identities, zxid: world.proposer.lastZxid,
                time: world.time)
            let outcome = twin.perform(ask, origin)
            expected.append(Expected(outcome: outcome, digest: twin.digest, note: "\(ask)"))
        }

        private func proposeEnd() {
            let session = generator.random.pick(sessions)
            guard twin.sessions[session] == .open else { return }
            world.proposeEnd(of: session)
            twin.endSession(session, zxid: world.proposer.lastZxid)
            twin.sessions[session] = .closing
            expected.append(
                Expected(
                    outcome: .init(error: .ok), digest: twin.digest, note: "end of \(session)",
                    ended: session))
        }

        func apply() {
            guard !expected.isEmpty else { return }
            let expected = expected.removeFirst()
            let answer = world.applyNext()
            #expect(answer.error == expected.outcome.error, "\(expected.note)")
            #expect(answer.body == expected.outcome.body, "\(expected.note)")
            #expect(world.database.digest == expected.digest, "\(expected.note)")
            guard let ended = expected.ended else { return }
            // It is forgotten, and begins anew with the next write.
            twin.sessions[ended] = nil
        }

        func settle() throws {
            while !expected.isEmpty { apply() }
            for session in sessions where twin.sessions[session] == nil {
                world.begin(session)
                twin.sessions[session] = .open
            }
            try compare()
        }

        private func compare() throws {
            let tree = world.database.tree
            #expect(try world.database.shown() == twin.shown())
            #expect(world.database.digest == twin.digest)
            #expect(world.proposer.digest == twin.digest)
            #expect(world.database.digestMismatches == 0)
            let isNothingPending = world.proposer.pending.isEmpty
            #expect(isNothingPending)
            #expect(tree.count == twin.nodes.count)
            #expect(tree.countDescendants(.root) == twin.nodes.count - 1)
            let below = twin.nodes.keys.filter { $0.hasPrefix("/a/") }.count
            if let a = tree.find(Array("/a".utf8).span) {
                #expect(tree.countDescendants(a) == below)
            }
            let sizes = twin.nodes.map { path, node in
                path.utf8.count + (node.data?.count ?? 0)
            }
            #expect(tree.dataBytes == sizes.reduce(0, +))
            compareOwners()
        }

        private func compareOwners() {
            let tree = world.database.tree
            func paths(_ matches: (Owner.Kind) -> Bool) -> Set<String> {
                Set(twin.nodes.filter { matches($0.value.stat.owner.kind) }.keys)
            }
            for session in sessions {
                let own = tree.ephemeralPaths(of: session)
                #expect(Set(own) == paths { $0 == .ephemeral(session) })
                #expect(own.count == Set(own).count)
            }
            #expect(
                tree.ephemeralCount
                    == paths { if case .ephemeral = $0 { true } else { false } }.count)
            #expect(Set(tree.containers.map { tree.path(of: $0) }) == paths { $0 == .container })
            #expect(
                Set(tree.ttls.map { tree.path(of: $0) })
                    == paths { if case .ttl = $0 { true } else { false } })
        }
    }

    @Test(arguments: UInt64(0)..<15)
    func `the same answers, the same tree, the digest that was predicted`(_ seed: UInt64) throws {
        let run = Run(seed: seed)
        // One outstanding at a time, a few, or many.
        let outstandingMax = [1, 4, 40][Int(seed % 3)]
        for step in 0..<1500 {
            if run.expected.count < outstandingMax, run.generator.random.chance(percent: 60) {
                try run.propose()
            } else {
                run.apply()
            }
            if step % 50 == 49 { try run.settle() }
        }
        // Not a run in which everything failed.
        #expect(run.twin.nodes.count > 20)
    }
}
