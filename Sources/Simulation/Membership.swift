import QuorumProtocol
import Vocabulary

/// The servers of one configuration, as the checks count them.
struct Membership {
    private struct Group {
        var voters: [(server: Int, weight: Int)]
        var weight: Int
    }

    let configuration: EnsembleConfiguration
    /// Those with and without a vote, by their index.
    let servers: [Int]
    /// Those without weight decide nothing and are left out.
    private let groups: [Group]

    init(_ configuration: EnsembleConfiguration) {
        self.configuration = configuration
        servers = configuration.members.map { Self.index(of: $0.id) }
        let voters = configuration.participants
        let divided =
            configuration.isHierarchical
            ? configuration.groups.map { $0.servers.filter(voters.contains) } : [voters]
        groups = divided.compactMap { ids in
            let voters = ids.map {
                (server: Self.index(of: $0), weight: Int(configuration.weights[$0] ?? 1))
            }
            let weight = voters.reduce(0) { $0 + $1.weight }
            return weight > 0 ? Group(voters: voters, weight: weight) : nil
        }
    }

    private static func index(of id: ServerID) -> Int { Int(id.rawValue) - 1 }

    /// More than half of the weight in more than half of the groups; without groups all are one.
    func isQuorum(where holds: (Int) -> Bool) -> Bool {
        let won = groups.count { group in
            group.voters.reduce(0) { holds($1.server) ? $0 + $1.weight : $0 } * 2 > group.weight
        }
        return won * 2 > groups.count
    }
}

extension EnsembleConfiguration.Member {
    /// `place`: which of its addresses it listens at.
    static func simulated(
        _ index: Int, _ role: EnsembleConfiguration.Role, place: Int = 0
    ) -> Self {
        Self(
            id: ServerID(rawValue: Int64(index + 1)),
            endpoints: [
                EnsembleConfiguration.Endpoint(
                    host: "10.0.0.\(index + 1)", quorumPort: UInt16(2888 + place),
                    electionPort: 3888)
            ],
            role: role, clientAddress: ServerAddress(host: "0.0.0.0", port: 2181))
    }
}

extension EnsembleConfiguration {
    /// Those who vote may stand in groups.
    init(simulated members: [Member], groups: [(server: ServerID, group: Int, weight: Int)]) {
        let ids = Set(groups.map(\.group)).sorted()
        do throws(EnsembleConfigurationError) {
            try self.init(
                members: members,
                groups: ids.map { id in
                    Group(
                        id: Int64(id + 1), servers: groups.filter { $0.group == id }.map(\.server))
                },
                weights: Dictionary(
                    uniqueKeysWithValues: groups.map { ($0.server, Int64($0.weight)) }))
        } catch {
            preconditionFailure("these are servers of an ensemble: \(error)")
        }
    }
}

extension Setup {
    /// Of whom the ensemble is made at first.
    var firstConfiguration: EnsembleConfiguration {
        var members: [EnsembleConfiguration.Member] = (0..<participantCount - outsiderCount).map {
            .simulated($0, .participant)
        }
        members += (participantCount..<serverCount).map {
            .simulated($0, .observer)
        }
        let groups = (self.groups ?? []).enumerated().map { index, member in
            (ServerID(rawValue: Int64(index + 1)), member.group, member.weight)
        }
        return EnsembleConfiguration(simulated: members, groups: groups)
    }

    /// What a server finds in its own file: an outsider knows the others, and itself.
    func ownConfiguration(of index: Int) -> EnsembleConfiguration {
        let first = firstConfiguration
        guard first.member(ServerID(rawValue: Int64(index + 1))) == nil else { return first }
        let role: EnsembleConfiguration.Role = outsidersObserve ? .observer : .participant
        return EnsembleConfiguration(
            simulated: first.members + [.simulated(index, role)], groups: [])
    }
}

extension EnsembleConfiguration {
    /// Who is in it, for messages.
    var summary: String {
        func list(_ servers: [ServerID]) -> String {
            servers.map { "\($0.rawValue)" }.joined(separator: " ")
        }
        return "\(version) (\(list(participants)) observed by \(list(observers)))"
    }
}
