public import Vocabulary

// The text of a configuration.
//
//     server.<sid>=<host>:<quorumPort>:<electionPort>[:<role>][;[<clientHost>:]<clientPort>]
//     group.<gid>=<sid>:<sid>...
//     weight.<sid>=<weight>
//     version=<hex>
//
// Several addresses of a server are joined with `|`; the last one carries the role.
//
// Source: ZooKeeper, `QuorumPeerConfig.parseDynamicConfig`, `QuorumPeer.QuorumServer`.

extension EnsembleConfiguration {
    /// Reads lines `key=value`. Empty lines and comments are skipped; of a key that is there
    /// twice the last one counts. Without a `version` the version is 0.
    public init(_ text: some StringProtocol) throws(EnsembleConfigurationError) {
        let bytes = text.utf8.count
        guard bytes <= Self.textBytesMax else { throw .tooLong(bytes: bytes) }
        var entries: [(key: String, value: String)] = []
        for line in text.split(whereSeparator: \.isNewline) {
            let line = line.trimmed
            if line.isEmpty || line.hasPrefix("#") || line.hasPrefix("!") { continue }
            guard let equals = line.firstIndex(of: "=") else { throw .notAnEntry(line) }
            entries.append(
                (line[..<equals].trimmed, line[line.index(after: equals)...].trimmed))
        }
        try self.init(entries: entries)
    }

    /// Reads entries that somebody else took from a file.
    public init(
        entries: [(key: String, value: String)]
    ) throws(EnsembleConfigurationError) {
        var members: [ServerID: Member] = [:]
        var groups: [Int64: Group] = [:]
        var weights: [ServerID: Int64] = [:]
        var version = Zxid.zero
        let bytes = entries.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
        guard bytes <= Self.textBytesMax else { throw .tooLong(bytes: bytes) }
        for (key, value) in entries {
            if let id = key.suffix(behind: "server.") {
                let member = try Member(id: try ServerID(configured: id), specification: value)
                members[member.id] = member
            } else if let id = key.suffix(behind: "group.") {
                let group = try Group(id: id, servers: value)
                groups[group.id] = group
            } else if let id = key.suffix(behind: "weight.") {
                guard let weight = Int64(value) else { throw .invalidWeight(value) }
                weights[try ServerID(configured: id)] = weight
            } else if key == "version" {
                guard let number = Int64(value, radix: 16), number >= 0 else {
                    throw .invalidVersion(value)
                }
                version = Zxid(rawValue: number)
            } else {
                throw .unknownKey(key)
            }
        }
        try self.init(
            members: Array(members.values), groups: Array(groups.values), weights: weights,
            version: version)
    }

    /// The text of `/zookeeper/config`, notifications and NEWLEADER: lines without a newline
    /// behind the last one, which is the version.
    public var text: String { textWithoutVersion + "\nversion=\(version.hex)" }

    /// The text of a dynamic file, whose name has the version.
    public var textWithoutVersion: String {
        var lines = members.map { "server.\($0.id.rawValue)=\($0.specification)" }
        for group in groups {
            let servers = group.servers.map { "\($0.rawValue)" }.joined(separator: ":")
            lines.append("group.\(group.id)=\(servers)")
        }
        for (server, weight) in weights.sorted(by: { $0.key < $1.key }) {
            lines.append("weight.\(server.rawValue)=\(weight)")
        }
        return lines.joined(separator: "\n")
    }
}

extension EnsembleConfiguration.Member {
    /// Reads the value of a `server.<sid>` entry.
    ///
    /// A second `;` starts the secure client port of newer servers; like Apache's 3.9 servers
    /// this one reads neither client address then.
    public init(
        id: ServerID, specification: String
    ) throws(EnsembleConfigurationError) {
        var parts = specification.split(separator: ";", omittingEmptySubsequences: false)
        while parts.count > 1, parts.last?.isEmpty == true { parts.removeLast() }
        var clientAddress: ServerAddress?
        if parts.count == 2 {
            guard let address = ServerAddress(client: parts[1].trimmed) else {
                throw .invalidServer(specification)
            }
            clientAddress = address
        }
        var endpoints: [EnsembleConfiguration.Endpoint] = []
        var role: EnsembleConfiguration.Role?
        for part in parts[0].split(separator: "|", omittingEmptySubsequences: false) {
            guard let fields = AddressText.fields(of: part.trimmed),
                let endpoint = EnsembleConfiguration.Endpoint(fields)
            else { throw .invalidServer(specification) }
            endpoints.append(endpoint)
            guard fields.count > 3 else { continue }
            let given = EnsembleConfiguration.Role(rawValue: fields[3].trimmed.lowercased())
            guard let given, role == nil || role == given else {
                throw .invalidServer(specification)
            }
            role = given
        }
        self.init(
            id: id, endpoints: endpoints, role: role ?? .participant, clientAddress: clientAddress)
    }

    /// The value of its `server.<sid>` entry.
    public var specification: String {
        let addresses = endpoints.map {
            "\(AddressText.delimited($0.host)):\($0.quorumPort):\($0.electionPort)"
        }
        let client = clientAddress.map { ";\($0)" } ?? ""
        return "\(addresses.joined(separator: "|")):\(role.rawValue)\(client)"
    }
}

extension EnsembleConfiguration.Endpoint {
    /// - Parameter fields: host, quorum port, election port and perhaps a role.
    fileprivate init?(_ fields: [String]) {
        guard fields.count == 3 || fields.count == 4, AddressText.isHost(fields[0]),
            let quorumPort = UInt16(fields[1]), let electionPort = UInt16(fields[2]),
            quorumPort != 0, electionPort != 0, quorumPort != electionPort
        else { return nil }
        self.init(host: fields[0], quorumPort: quorumPort, electionPort: electionPort)
    }
}

extension EnsembleConfiguration.Group {
    fileprivate init(
        id text: String, servers value: String
    ) throws(EnsembleConfigurationError) {
        guard let id = Int64(text) else { throw .invalidGroup(text) }
        var servers: [ServerID] = []
        for server in value.split(separator: ":", omittingEmptySubsequences: false) {
            servers.append(try ServerID(configured: server.trimmed))
        }
        self.init(id: id, servers: servers)
    }
}

extension ServerID {
    /// - Throws: `invalidServerID` also for negative ids and the one of anonymous observers.
    fileprivate init(configured text: String) throws(EnsembleConfigurationError) {
        guard let id = Int64(text), id >= 0, id != ServerID.anonymousObserver.rawValue else {
            throw .invalidServerID(text)
        }
        self.init(rawValue: id)
    }
}

extension ServerAddress {
    /// `[host:]port`: without a host every address of the server's machine.
    fileprivate init?(client text: String) {
        guard let fields = AddressText.fields(of: text), let last = fields.last,
            let port = UInt16(last), fields.count <= 2
        else { return nil }
        let host = fields.count == 2 ? fields[0] : "0.0.0.0"
        guard AddressText.isHost(host) else { return nil }
        self.init(host: host, port: port)
    }
}

extension StringProtocol {
    /// Without spaces and control characters at the ends, as Java trims.
    package var trimmed: String {
        let scalars = unicodeScalars
        guard let first = scalars.firstIndex(where: { $0.value > 0x20 }),
            let last = scalars.lastIndex(where: { $0.value > 0x20 })
        else { return "" }
        return String(self[first...last])
    }

    /// What follows a prefix; nil without it.
    fileprivate func suffix(behind prefix: String) -> String? {
        hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil
    }
}
