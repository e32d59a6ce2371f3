package import Vocabulary

/// What a quorum is: more than half of the voters or, when they stand in groups, more than half of
/// the weight in each of more than half of the groups.
///
/// Whatever the rule, any two quorums have a server in common: everything else rests on that.
/// Source: ZooKeeper, `QuorumMaj`, `QuorumHierarchical`.
package struct QuorumVerifier: Equatable, Sendable {
    /// Why groups and weights make no quorum.
    package enum Fault: Error, Equatable {
        case inTwoGroups(ServerID)
        /// `weight.N` names a server that is in no group.
        case inNoGroup(ServerID)
        case weightOutOfRange(ServerID)
        /// No server weighs anything, so nobody can agree on anything.
        case noWeight
    }

    private enum Rule: Equatable {
        case majority
        /// Those of weight 0 are left out, and so are groups without weight.
        case groups([Group])
    }

    private struct Group: Equatable {
        var members: [Member]
        var weight: Int

        func isWon(where holds: (ServerID) -> Bool) -> Bool {
            members.reduce(0) { holds($1.server) ? $0 + $1.weight : $0 } * 2 > weight
        }
    }

    private struct Member: Equatable {
        var server: ServerID
        var weight: Int
    }

    /// So that no sum of weights leaves the range of an integer.
    package static let weightMax = Int(Int32.max)

    /// In the order of their ids; those of weight 0 too.
    package let voters: [ServerID]
    private let rule: Rule

    /// A majority: every voter counts the same.
    package init(voters: [ServerID]) {
        precondition(!voters.isEmpty, "nobody can agree on anything")
        self.voters = voters.sorted()
        rule = .majority
        precondition(hasDistinctVoters, "a voter counted twice is not two voters")
    }

    /// A hierarchical quorum.
    ///
    /// - Parameters:
    ///   - groups: the members of each `group.N`.
    ///   - weights: `weight.N`; a server without one weighs 1. With weight 0 it never counts and
    ///     never leads.
    /// - Throws: what keeps these groups from ever agreeing, or from agreeing on one thing only.
    package init(groups: [[ServerID]], weights: [ServerID: Int] = [:]) throws(Fault) {
        voters = groups.flatMap(\.self).sorted()
        for (server, next) in zip(voters, voters.dropFirst()) where server == next {
            throw .inTwoGroups(server)
        }
        for server in weights.keys.sorted() where !voters.contains(server) {
            throw .inNoGroup(server)
        }
        for server in voters where !(0...Self.weightMax).contains(weights[server] ?? 1) {
            throw .weightOutOfRange(server)
        }
        let weighty = groups.map { group in
            let members = group.sorted()
                .map { Member(server: $0, weight: weights[$0] ?? 1) }
                .filter { $0.weight > 0 }
            return Group(members: members, weight: members.reduce(0) { $0 + $1.weight })
        }
        .filter { $0.weight > 0 }
        guard !weighty.isEmpty else { throw .noWeight }
        rule = .groups(weighty)
    }

    private var hasDistinctVoters: Bool {
        zip(voters, voters.dropFirst()).allSatisfy { $0 < $1 }
    }

    /// Whether the voters for which `holds` is true are a quorum. Nobody else is asked.
    package func isQuorum(where holds: (ServerID) -> Bool) -> Bool {
        switch rule {
        case .majority:
            voters.count(where: holds) * 2 > voters.count
        case .groups(let groups):
            groups.count { $0.isWon(where: holds) } * 2 > groups.count
        }
    }

    /// What the server counts in a quorum; 0 for one that has no vote.
    package func weight(of server: ServerID) -> Int {
        switch rule {
        case .majority:
            voters.contains(server) ? 1 : 0
        case .groups(let groups):
            groups.lazy.flatMap(\.members).first { $0.server == server }?.weight ?? 0
        }
    }
}
