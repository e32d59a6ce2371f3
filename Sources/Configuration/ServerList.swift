import QuorumProtocol
import Vocabulary

/// What the `server.N`, `group.N`, `weight.N` and `version` lines of a file say together, and which
/// line says what.
struct ServerList {
    /// For messages.
    let file: String
    let items: [ConfigurationItem]
    /// `nil`: there is no server.
    let members: EnsembleConfiguration?

    /// A list in the file with all other keys. Its version is a line of its own, if it has one.
    init(_ items: [ConfigurationItem], file: String) throws(ConfigurationError) {
        try self.init(items, version: nil, file: file)
    }

    /// A list in a file of its own, whose name tells the version.
    ///
    /// Source: ZooKeeper, `QuorumPeerConfig.parse`, `parseDynamicConfig`.
    init(
        dynamicText text: String, file: String, notices: inout [ConfigurationNotice]
    ) throws(ConfigurationError) {
        let items = ConfigurationItem.counting(
            of: try ConfigurationItem.items(of: text, file: file), notices: &notices)
        for item in items {
            guard let entry = item.entry, entry.isOfServerList else {
                throw item.error("expected server.N, group.N or weight.N, found another key")
            }
            guard item.name != "version" else {
                throw item.error("expected the version in the name of the file, found it inside")
            }
        }
        try self.init(
            items, version: DynamicConfiguration.version(inFileName: file), file: file)
    }

    private init(
        _ items: [ConfigurationItem], version: Zxid?, file: String
    ) throws(ConfigurationError) {
        self.file = file
        self.items = items
        guard items.contains(where: { $0.name.hasPrefix("server.") }) else {
            members = nil
            return
        }
        do {
            var members = try EnsembleConfiguration(
                entries: items.map { (key: $0.name, value: $0.value) })
            if let version { members.version = version }
            self.members = members
        } catch {
            throw items.last { $0.isToBlame(for: error) }?.error("\(error)")
                ?? ConfigurationError(file: file, line: nil, key: "", message: "\(error)")
        }
    }

    /// The line of a server of the list.
    func item(of server: EnsembleConfiguration.Member) -> ConfigurationItem {
        let item = items.last {
            $0.name.hasPrefix("server.") && Int64($0.nameSuffix) == server.id.rawValue
        }
        guard let item else { preconditionFailure("each server of the list has a line") }
        return item
    }
}

extension ConfigurationItem {
    /// What follows the first dot.
    fileprivate var nameSuffix: String {
        name.firstIndex(of: ".").map { String(name[name.index(after: $0)...]) } ?? ""
    }

    fileprivate func isToBlame(for error: EnsembleConfigurationError) -> Bool {
        switch error {
        case .invalidServer(let text): name.hasPrefix("server.") && value == text
        case .invalidWeight(let text): name.hasPrefix("weight.") && value == text
        case .invalidGroup(let text): name.hasPrefix("group.") && nameSuffix == text
        case .invalidVersion: name == "version"
        case .invalidServerID(let text):
            groupsServers(where: { $0 == text })
                || !name.hasPrefix("group.") && nameSuffix == text
        case .unknownServer(let server), .serverInTwoGroups(let server):
            groupsServers(where: { Int64($0) == server.rawValue })
        case .serverWithoutGroup(let server):
            name.hasPrefix("server.") && Int64(nameSuffix) == server.rawValue
        case .notAnEntry, .unknownKey, .tooLong, .repeatedServer, .noParticipant: false
        }
    }

    private func groupsServers(where isMeant: (String) -> Bool) -> Bool {
        name.hasPrefix("group.")
            && value.split(separator: ":", omittingEmptySubsequences: false)
                .contains { isMeant($0.trimmed) }
    }
}
