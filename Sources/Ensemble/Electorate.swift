package import QuorumProtocol
import Vocabulary
package import Zab

extension Election.Electorate {
    /// Who votes by the active configuration and, if there is a newer one, by that too.
    package init(
        _ active: EnsembleConfiguration, lastSeen: EnsembleConfiguration?
    ) throws(QuorumVerifier.Fault) {
        var next: QuorumVerifier?
        if let lastSeen, lastSeen.version > active.version { next = try QuorumVerifier(lastSeen) }
        self.init(
            active: try QuorumVerifier(active), lastSeen: next, observers: active.observers)
    }
}

extension QuorumVerifier {
    /// What the configuration calls a quorum.
    ///
    /// - Throws: when its groups can never agree.
    package init(_ configuration: EnsembleConfiguration) throws(Fault) {
        guard configuration.isHierarchical else {
            self.init(voters: configuration.participants)
            return
        }
        // Observers may stand in a group, without a vote.
        let voters = Set(configuration.participants)
        let groups = configuration.groups.map { $0.servers.filter(voters.contains) }
        var weights: [ServerID: Int] = [:]
        for (server, weight) in configuration.weights where voters.contains(server) {
            weights[server] = Int(weight)
        }
        try self.init(groups: groups, weights: weights)
    }
}
