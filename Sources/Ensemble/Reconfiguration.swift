import QuorumProtocol
import Transactions
import Vocabulary
import Zab
import Znodes

// How an ensemble changes its servers while it serves.
//
//     client -- reconfig --> leader: next configuration, version = zxid --> PROPOSAL
//     everybody who logs it: last seen (zoo.cfg.dynamic.next), quorums of both configurations
//     a quorum of both has it --> COMMITANDACTIVATE: active (zoo.cfg.dynamic.<version>)
//
// A server that is restarted, or lags behind, takes the configuration from NEWLEADER, or from the
// notifications of an election.
//
// Source: ZooKeeper, `QuorumPeer.processReconfig`, `PrepRequestProcessor.pRequest2Txn`.
// Deviation: when the leader or the own role changes, an election follows; Apache's servers take the
// role that the leader designates without one. Who finds them in it joins them.

extension QuorumPeer {
    private var isReconfigEnabled: Bool { settings.proposer.reconfigEnabled }

    // MARK: At the leader

    /// The text of the configuration that a client asks for; its version is the zxid.
    func nextConfiguration(
        for request: Proposer.ReconfigRequest, zxid: Zxid
    ) -> Proposer.NextConfiguration {
        guard let active = configuration, let lastSeen else { return .refused(.unimplemented) }
        guard lastSeen.version == active.version else { return .refused(.reconfigInProgress) }
        guard request.expectedVersion == .none || request.expectedVersion == lastSeen.version else {
            return .refused(.badVersion)
        }
        guard var next = Self.changed(lastSeen, by: request) else {
            return .refused(.badArguments)
        }
        next.version = zxid
        let votersMin = settings.standaloneEnabled ? 2 : 1
        guard next.participants.count >= votersMin, let quorum = try? QuorumVerifier(next) else {
            return .refused(.badArguments)
        }
        // Who has only just become an observer leaves its place among the followers, and hears of no
        // proposal as an observer.
        let isInStep = { [leader] (server: ServerID) in
            leader?.isSynced(server) == true && !active.observers.contains(server)
        }
        guard quorum.isQuorum(where: isInStep) else { return .refused(.newConfigNoQuorum) }
        return .text(next.text)
    }

    /// Nil if the request names no configuration.
    private static func changed(
        _ old: EnsembleConfiguration, by request: Proposer.ReconfigRequest
    ) -> EnsembleConfiguration? {
        if let members = request.newMembers {
            let lines = members.split { $0 == "," || $0.isNewline }.joined(separator: "\n")
            return try? EnsembleConfiguration(lines)
        }
        // What the groups of new servers would be cannot be told in this way.
        guard !old.isHierarchical else { return nil }
        var members = old.members
        for text in fields(request.leaving) {
            guard let id = Int64(text) else { return nil }
            members.removeAll { $0.id.rawValue == id }
        }
        for line in fields(request.joining) {
            guard let joiner = member(line) else { return nil }
            members.removeAll { $0.id == joiner.id }
            guard !members.contains(where: { $0.sharesAddress(with: joiner) }) else { return nil }
            members.append(joiner)
        }
        return try? EnsembleConfiguration(members: members)
    }

    private static func fields(_ text: String?) -> [String] {
        (text ?? "").split(separator: ",").map(\.trimmed).filter { !$0.isEmpty }
    }

    /// `server.N=` and a server with all its ports.
    private static func member(_ line: String) -> EnsembleConfiguration.Member? {
        let parts = line.split(separator: "=", maxSplits: 1).map(\.trimmed)
        guard parts.count == 2, parts[0].hasPrefix("server."),
            let id = Int64(parts[0].dropFirst("server.".count)), id >= 0,
            let member = try? EnsembleConfiguration.Member(
                id: ServerID(rawValue: id), specification: parts[1]),
            member.clientAddress != nil
        else { return nil }
        return member
    }

    /// The reconfiguration has its place in the order, and this turn's batch ends with it.
    func reconfigurationProposed(_ text: String, zxid: Zxid) {
        guard let next = try? EnsembleConfiguration(text), let quorum = try? QuorumVerifier(next)
        else { preconditionFailure("the configuration was made here") }
        turnEnded()
        see(next)
        let keepsLeader =
            next.participants.contains(id)
            && next.member(id)?.endpoints.map(\.quorum)
                == configuration?.member(id)?.endpoints.map(\.quorum)
        post(
            .leader(
                .reconfigProposed(
                    .init(quorum: quorum, version: next.version, keepsLeader: keepsLeader))))
    }

    /// A quorum of both configurations has it.
    func commitReconfiguration(_ zxid: Zxid, designated: ServerID) {
        broadcast(toObservers: false) {
            $0.appendCommitAndActivate(zxid: zxid, designatedLeader: designated)
        }
        inform(upTo: zxid, designated: designated)
        if let lastSeen { activate(lastSeen) }
        apply(upTo: zxid)
        if designated != id { post(.leader(.replaced)) }
    }

    /// An ensemble that was never changed gets its first version with the epoch of its leader.
    func adoptFirstVersion(epoch: Int64) {
        guard isReconfigEnabled, var first = configuration, first.version == .zero,
            lastSeen?.version == .zero
        else { return }
        first.version = Zxid(epoch: epoch, counter: 0)
        see(first)
    }

    // MARK: Everywhere

    /// A configuration was proposed: it may become active without another word.
    private func see(_ next: EnsembleConfiguration) {
        guard isReconfigEnabled, next.version > lastSeen?.version ?? .none else { return }
        lastSeen = next
        host.seen(next)
        tellElectorate()
    }

    /// A configuration is the one that counts.
    ///
    /// Returns whether the server is something else by it than what it was elected for.
    @discardableResult
    func activate(_ next: EnsembleConfiguration) -> Bool {
        guard isReconfigEnabled, let old = configuration, next.version > old.version else {
            return false
        }
        configuration = next
        if next.version > lastSeen?.version ?? .none { lastSeen = next }
        host.activated(next)
        adoptConfiguration()
        tellElectorate()
        return old.observers.contains(id) != next.observers.contains(id)
    }

    /// The leader has committed the configuration that was seen last: it is active before the
    /// transaction is applied, and a role that ends with it ends behind that.
    func activateSeen(designated: ServerID, _ commit: () -> Void) {
        let isChanged = lastSeen.map { activate($0) } ?? false
        commit()
        guard isReconfigEnabled, isChanged || designated != currentVote.leader else { return }
        post(.learner(.roleChanged))
    }

    private func tellElectorate() {
        guard let configuration,
            let electorate = try? Election.Electorate(configuration, lastSeen: lastSeen)
        else { return }
        post(.electorateChanged(electorate, version: configuration.version))
    }

    /// A proposal that a learner logs may be a reconfiguration.
    func seeReconfiguration(in txn: Span<UInt8>) {
        guard isReconfigEnabled, let text = Database.configurationText(in: txn),
            let next = try? EnsembleConfiguration(text)
        else { return }
        see(next)
    }

    /// What the leader has seen last: it becomes active with UPTODATE.
    func receiveConfiguration(_ text: String?) {
        guard isReconfigEnabled, let text, let next = try? EnsembleConfiguration(text) else {
            return
        }
        offered = next
        forgetSeen(behind: next.version)
        see(next)
    }

    /// What was seen behind this place is not in the history, and never came to be: nobody may
    /// complete it. Only the first version is older than what is proposed in its epoch.
    func forgetSeen(behind zxid: Zxid) {
        guard let configuration, let lastSeen, lastSeen.version > configuration.version,
            lastSeen.version > zxid, lastSeen.version.counter > 0
        else { return }
        self.lastSeen = configuration
        host.seen(configuration)
        tellElectorate()
    }

    /// Others look for a leader by a newer configuration: this server was left behind.
    func adoptNewer(_ text: String?) {
        guard isReconfigEnabled, state == .looking, let text, text != configuration?.text,
            let next = try? EnsembleConfiguration(text)
        else { return }
        // Who kept no history may go on as another only with what its disk says.
        if !isTreeKept, !next.observers.contains(id), next.version > configuration?.version ?? .none
        {
            reload()
            post(.historyReloaded(lastZxid: database.lastProcessedZxid))
        }
        activate(next)
    }
}

extension EnsembleConfiguration.Member {
    /// Two servers cannot listen at the same place.
    fileprivate func sharesAddress(with other: Self) -> Bool {
        func addresses(_ member: Self) -> [ServerAddress] {
            member.endpoints.flatMap { [$0.quorum, $0.election] }
                + [member.clientAddress].compactMap(\.self).filter { !$0.isWildcard }
        }
        let ours = Set(addresses(self))
        return addresses(other).contains { ours.contains($0) }
    }
}
