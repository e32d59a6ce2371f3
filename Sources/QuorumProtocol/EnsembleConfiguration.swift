public import Vocabulary

/// The servers of an ensemble: the data of `/zookeeper/config`, the dynamic files, the text in
/// notifications and in NEWLEADER.
///
/// Equal configurations have equal texts. The version decides which of two is the newer one.
/// Source: ZooKeeper, `QuorumMaj`, `QuorumHierarchical`.
public struct EnsembleConfiguration: Equatable, Sendable {
    /// A server of the ensemble, and what other servers and its clients find it by.
    public struct Member: Equatable, Sendable {
        public var id: ServerID
        /// At least one, in the order of their hosts.
        public private(set) var endpoints: [Endpoint]
        public var role: Role
        /// Where it serves clients; nil if its own file says it.
        public var clientAddress: ServerAddress?

        public init(
            id: ServerID, endpoints: [Endpoint], role: Role, clientAddress: ServerAddress?
        ) {
            precondition(!endpoints.isEmpty, "a server without an address is no member")
            self.id = id
            // Apache keeps them in a set and sorts them by host when it writes them.
            self.endpoints = endpoints.sorted { $0.host < $1.host }
            self.role = role
            self.clientAddress = clientAddress
        }
    }

    /// One of a server's addresses, with its quorum and its election port.
    public struct Endpoint: Hashable, Sendable {
        public var host: String
        public var quorumPort: UInt16
        public var electionPort: UInt16

        public init(host: String, quorumPort: UInt16, electionPort: UInt16) {
            self.host = host
            self.quorumPort = quorumPort
            self.electionPort = electionPort
        }

        public var quorum: ServerAddress { ServerAddress(host: host, port: quorumPort) }
        public var election: ServerAddress { ServerAddress(host: host, port: electionPort) }
    }

    public enum Role: String, Sendable {
        case participant
        case observer
    }

    /// Servers whose weights are counted together.
    public struct Group: Equatable, Sendable {
        public var id: Int64
        /// In the order of their ids.
        public private(set) var servers: [ServerID]

        public init(id: Int64, servers: [ServerID]) {
            self.id = id
            self.servers = servers.sorted()
        }
    }

    /// In the order of their ids; at least one participant.
    public let members: [Member]
    /// In the order of their ids; none if the majority of the participants is the quorum.
    public let groups: [Group]
    /// Of servers in groups: 1 unless the text says otherwise. Empty without groups.
    public let weights: [ServerID: Int64]
    /// The zxid of the reconfig that made it; 0 if there was none.
    public var version: Zxid

    /// A sum of such weights cannot overflow.
    public static let weightMax = Int64(Int32.max)
    /// The longest text: what is filled in for its entries still fits into a notification.
    public static let textBytesMax = 131_072

    public init(
        members: [Member], groups: [Group] = [], weights: [ServerID: Int64] = [:],
        version: Zxid = .zero
    ) throws(EnsembleConfigurationError) {
        let members = members.sorted { $0.id < $1.id }
        for (a, b) in zip(members, members.dropFirst()) where a.id == b.id {
            throw .repeatedServer(a.id)
        }
        guard members.contains(where: { $0.role == .participant }) else { throw .noParticipant }
        self.members = members
        self.version = version
        self.groups = groups.sorted { $0.id < $1.id }
        guard !groups.isEmpty || !weights.isEmpty else {
            self.weights = [:]
            return
        }
        self.weights = try Self.completed(weights, groups: groups, members: members)
    }

    /// Checks that the groups divide the participants, and gives every server its weight.
    private static func completed(
        _ weights: [ServerID: Int64], groups: [Group], members: [Member]
    ) throws(EnsembleConfigurationError) -> [ServerID: Int64] {
        let known = Set(members.map(\.id))
        var weights = weights
        var grouped: Set<ServerID> = []
        for group in groups {
            for server in group.servers {
                guard known.contains(server) else { throw .unknownServer(server) }
                guard grouped.insert(server).inserted else { throw .serverInTwoGroups(server) }
                if weights[server] == nil { weights[server] = 1 }
            }
        }
        for weight in weights.values where !(0...weightMax).contains(weight) {
            throw .invalidWeight("\(weight)")
        }
        for member in members where member.role == .participant {
            guard grouped.contains(member.id) else { throw .serverWithoutGroup(member.id) }
        }
        return weights
    }

    public func member(_ id: ServerID) -> Member? { members.first { $0.id == id } }

    /// Who votes, in the order of their ids.
    public var participants: [ServerID] {
        members.filter { $0.role == .participant }.map(\.id)
    }

    public var observers: [ServerID] {
        members.filter { $0.role == .observer }.map(\.id)
    }

    /// Quorums are weights of groups, not a majority.
    public var isHierarchical: Bool { !groups.isEmpty }

    /// Whether only the versions differ, if anything does.
    public func hasSameServers(as other: EnsembleConfiguration) -> Bool {
        var other = other
        other.version = version
        return self == other
    }
}

/// Why a text is no configuration.
public enum EnsembleConfigurationError: Error, Equatable, Sendable {
    /// A line is not `key=value`.
    case notAnEntry(String)
    case unknownKey(String)
    case invalidServerID(String)
    /// A server's value is not `host:quorumPort:electionPort[:role][;[host:]port]`.
    case invalidServer(String)
    case invalidGroup(String)
    case invalidWeight(String)
    case invalidVersion(String)
    case tooLong(bytes: Int)
    case repeatedServer(ServerID)
    case unknownServer(ServerID)
    case serverInTwoGroups(ServerID)
    case serverWithoutGroup(ServerID)
    case noParticipant
}

extension EnsembleConfigurationError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .notAnEntry(let line): "\(line.debugDescription) is not a key and a value"
        case .unknownKey(let key): "unknown key \(key.debugDescription)"
        case .invalidServerID(let id): "\(id.debugDescription) is no server's id"
        case .invalidServer(let value):
            "\(value.debugDescription) is not host:port:port[:role][;[host:]port] with two ports"
        case .invalidGroup(let value): "\(value.debugDescription) is not a group of servers"
        case .invalidWeight(let value):
            "\(value.debugDescription) is not a weight from 0 to \(EnsembleConfiguration.weightMax)"
        case .invalidVersion(let value): "\(value.debugDescription) is not a version"
        case .tooLong(let bytes):
            "\(bytes) bytes are more than \(EnsembleConfiguration.textBytesMax)"
        case .repeatedServer(let id): "server \(id.rawValue) is there twice"
        case .unknownServer(let id): "a group names server \(id.rawValue), which does not exist"
        case .serverInTwoGroups(let id): "server \(id.rawValue) is in two groups"
        case .serverWithoutGroup(let id): "server \(id.rawValue) is not in a group"
        case .noParticipant: "no server is a participant"
        }
    }
}
