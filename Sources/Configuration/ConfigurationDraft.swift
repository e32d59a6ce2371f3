import QuorumProtocol
import Vocabulary

// Decides whether a configuration is a standalone server's or that of a member of an ensemble, and
// what the other files of an ensemble add to it.
//
// Source: ZooKeeper, `QuorumPeerConfig.parse`, `setupQuorumPeerConfig`, `isDistributed`.

/// A configuration on its way to be complete.
///
/// A standalone server's is complete when its one file is read. A member of an ensemble needs to
/// know who it is, and perhaps has its list of servers in another file:
///
///     var draft = try ConfigurationDraft(text, file: "zoo.cfg")
///     while let path = draft.wantedFile { try draft.adopt(textOrNil(path)) }
///     start(draft.configuration)
package struct ConfigurationDraft {
    private enum Step {
        case dynamicFile(path: String)
        case nextDynamicFile(ServerList, EnsembleConfiguration)
        case myID(ServerList, EnsembleConfiguration)
        case complete
    }

    /// What an operator should know, in the order of the text where there is one.
    package private(set) var notices: [ConfigurationNotice]
    private let file: String
    private let parser: ConfigurationParser
    private var result: ServerConfiguration
    private var lastSeenMembers: EnsembleConfiguration?
    private var step = Step.complete

    /// Reads `text` and `overrides`.
    ///
    /// 1. A key that has an effect: a value that is not what the table says is refused.
    /// 2. A key of Apache ZooKeeper's without an effect here, and a key that nobody knows: a notice.
    /// 3. The same key again: the last one counts, and what came before is not even looked at. JVM
    ///    options come before the file, the command line after it.
    /// 4. `zookeeper.` before a key changes nothing.
    ///
    /// - Parameters:
    ///   - text: the whole file.
    ///   - file: its path, for messages and because `.dynamic.next` is beside it.
    ///   - overrides: keys from elsewhere, in the order in which they were given.
    /// - Throws: `ConfigurationError`, the first one in the order of the text; then those that no
    ///   single key is to blame for.
    package init(
        _ text: String, file: String, overrides: [ConfigurationOverride] = []
    ) throws(ConfigurationError) {
        self.file = file
        parser = try ConfigurationParser(text, file: file, overrides: overrides)
        result = parser.configuration
        notices = parser.notices
        let listed = parser.items.filter { $0.entry?.isOfServerList == true }
        guard let path = result.quorum.dynamicConfigFile else {
            try adopt(ServerList(listed, file: file))
            return
        }
        // A reconfig leaves a version where it was; the name of the other file has the new one.
        if let item = listed.first(where: { $0.name != "version" }) {
            throw item.error(
                "expected it in the file that dynamicConfigFile names, found it beside that key")
        }
        step = .dynamicFile(path: path)
    }

    /// The path of the file whose text `adopt` takes next; `nil`: the configuration is complete.
    package var wantedFile: String? {
        switch step {
        case .dynamicFile(let path): path
        case .nextDynamicFile: DynamicConfiguration.nextFileName(base: file)
        case .myID: myIDFile
        case .complete: nil
        }
    }

    /// Takes the text of `wantedFile`; `nil`: there is no such file.
    package mutating func adopt(_ text: String?) throws(ConfigurationError) {
        switch step {
        case .dynamicFile(let path):
            guard let text else {
                throw ConfigurationError(
                    file: path, line: nil, key: "",
                    message: "expected the list of servers that \(file) says is here, found no"
                        + " such file")
            }
            try adopt(ServerList(dynamicText: text, file: path, notices: &notices))
        case .nextDynamicFile(let list, let members):
            if let text { try adopt(nextText: text, after: members) }
            step = .myID(list, members)
        case .myID(let list, let members):
            try adopt(myID: text, list, members)
        case .complete:
            preconditionFailure("a complete configuration takes no further text")
        }
    }

    package var configuration: ServerConfiguration {
        guard case .complete = step else {
            preconditionFailure("what the wanted files say is part of the configuration")
        }
        return result
    }

    // The list of servers

    /// Decides who the server is among.
    ///
    /// 1. No servers, or one alone: standalone, unless `standaloneEnabled` is false.
    /// 2. Observers need a participant to learn from, and with `standaloneEnabled` two.
    /// 3. Everything else is an ensemble, and needs `initLimit` and `syncLimit`.
    private mutating func adopt(_ list: ServerList) throws(ConfigurationError) {
        let mayBeAlone = result.quorum.standaloneEnabled
        guard let members = list.members else {
            guard mayBeAlone else {
                throw refusal(
                    "standaloneEnabled", "expected a server.N line if it is false, found none")
            }
            for item in list.items {
                notices.append(item.notice(.suspicious, "means nothing without server.N lines"))
            }
            return complete()
        }
        try checkAddresses(of: members, list)
        guard members.participants.count > 1 || !mayBeAlone else {
            guard members.observers.isEmpty else {
                throw refusal(
                    "standaloneEnabled",
                    "expected false or a second participant beside the observers, found true")
            }
            for server in members.members {
                notices.append(
                    list.item(of: server).notice(
                        .suspicious,
                        "one server alone is no ensemble; standaloneEnabled=false makes it one"))
                try adoptClientAddress(of: server, list)
            }
            return complete()
        }
        for (name, limit) in [
            ("initLimit", result.quorum.initLimit), ("syncLimit", result.quorum.syncLimit),
        ] where limit == 0 {
            throw ConfigurationError(
                file: file, line: nil, key: name,
                message: "expected a whole number of ticks in an ensemble, found no such key")
        }
        noticeFailures(of: members.participants.count, list)
        // Without reconfig, or before the first one, no proposed list counts.
        let mayHaveProposal = result.reconfigEnabled && result.quorum.dynamicConfigFile != nil
        step = mayHaveProposal ? .nextDynamicFile(list, members) : .myID(list, members)
    }

    /// A server that does not know of several addresses would not understand the others' messages.
    private func checkAddresses(
        of members: EnsembleConfiguration, _ list: ServerList
    ) throws(ConfigurationError) {
        guard !result.quorum.multiAddressEnabled else { return }
        for server in members.members where server.endpoints.count > 1 {
            throw list.item(of: server).error(
                "expected one address unless multiAddress.enabled=true, found"
                    + " \(server.endpoints.count)")
        }
    }

    private mutating func noticeFailures(of participantCount: Int, _ list: ServerList) {
        let advice: String
        if participantCount <= 2 {
            advice = "none may fail; of three, one may"
        } else if participantCount.isMultiple(of: 2) {
            advice = "no more of them may fail than of \(participantCount - 1)"
        } else {
            return
        }
        let noun = participantCount == 1 ? "participant" : "participants"
        notices.append(
            ConfigurationNotice(
                kind: .suspicious, file: list.file, line: nil, key: "",
                message: "\(participantCount) \(noun): \(advice)"))
    }

    /// The list that a reconfig proposed before the server stopped. One that is active meanwhile
    /// has only not been removed.
    private mutating func adopt(
        nextText text: String, after members: EnsembleConfiguration
    ) throws(ConfigurationError) {
        let path = DynamicConfiguration.nextFileName(base: file)
        let items = ConfigurationItem.counting(
            of: try ConfigurationItem.items(of: text, file: path), notices: &notices)
        let next = try ServerList(items, file: path)
        guard let proposed = next.members else {
            throw ConfigurationError(
                file: path, line: nil, key: "", message: "expected server.N lines, found none")
        }
        if proposed.version > members.version { lastSeenMembers = proposed }
    }

    // This server

    private var myIDFile: String {
        result.dataDir + (result.dataDir.hasSuffix("/") ? "myid" : "/myid")
    }

    /// Source: ZooKeeper, `QuorumPeerConfig.setupMyId`, `setupPeerType`.
    private mutating func adopt(
        myID text: String?, _ list: ServerList, _ members: EnsembleConfiguration
    ) throws(ConfigurationError) {
        guard let text else {
            throw ConfigurationError(
                file: myIDFile, line: nil, key: "",
                message: "expected the number of this server, found no such file")
        }
        let id = try ServerConfiguration.myID(text: text, file: myIDFile)
        let own = try members.own(id, file: myIDFile)
        if result.extendedTypesEnabled, id.rawValue > extendedServerIDMax {
            throw refusal(
                "extendedTypesEnabled",
                "expected a number of this server up to \(extendedServerIDMax) if it is true,"
                    + " found \(id.rawValue)")
        }
        for other in members.members
        where other.id != id
            && UInt8(truncatingIfNeeded: other.id.rawValue)
                == UInt8(truncatingIfNeeded: id.rawValue)
        {
            notices.append(
                ConfigurationNotice(
                    kind: .suspicious, file: myIDFile, line: 1, key: "",
                    message: "servers \(id.rawValue) and \(other.id.rawValue) have the same low"
                        + " byte: they may give two sessions the same id"))
        }
        if let told = result.quorum.peerType, told != own.role, let item = parser.item("peerType") {
            notices.append(
                item.notice(
                    .suspicious,
                    "the list of servers says \(own.role.rawValue), and that counts"))
        }
        try adoptClientAddress(of: own, list)
        result.ensemble = EnsembleSettings(
            own: own, members: members, lastSeenMembers: lastSeenMembers, quorum: result.quorum)
        complete()
    }

    /// Where the server's own line says that it serves clients, it does. What `clientPort` and
    /// `clientPortAddress` say must be the same; two names may be.
    ///
    /// Source: ZooKeeper, `QuorumPeerConfig.setupClientPort`.
    private mutating func adoptClientAddress(
        of server: EnsembleConfiguration.Member, _ list: ServerList
    ) throws(ConfigurationError) {
        guard let address = server.clientAddress else { return }
        let item = list.item(of: server)
        if let port = result.clientPort {
            let own = ServerAddress(host: result.clientPortAddress ?? "0.0.0.0", port: port)
            guard own.port == address.port, own.isWildcard || !address.isWildcard else {
                throw item.error(
                    "expected the same address for clients as in clientPort, \(own), found"
                        + " \(address)")
            }
            if !own.isWildcard, own.host.lowercased() != address.host.lowercased() {
                notices.append(
                    item.notice(
                        .suspicious,
                        "clients are served at \(address), not at clientPortAddress \(own.host)"))
            }
        }
        result.clientPort = address.port
        result.clientPortAddress = address.isWildcard ? nil : address.host
    }

    private mutating func complete() {
        step = .complete
        guard result.clientPort == nil else { return }
        notices.append(
            ConfigurationNotice(
                kind: .suspicious, file: file, line: nil, key: "clientPort",
                message: "is not set: no client can connect"))
    }

    private func refusal(_ name: String, _ message: String) -> ConfigurationError {
        parser.item(name)?.error(message)
            ?? ConfigurationError(file: file, line: nil, key: name, message: message)
    }
}

/// Of a server that has znodes with a TTL: the larger ids mark those.
///
/// Source: ZooKeeper, `EphemeralType.validateServerId`.
private let extendedServerIDMax: Int64 = 254
