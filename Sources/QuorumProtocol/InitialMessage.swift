public import Jute
public import Vocabulary

/// The first bytes of an election connection, from the server that dialed: who it is and where
/// it listens for elections.
///
///     bare:  long sid
///     v1:    long -65536, long sid, int n, n bytes host:port
///     v2:    long -65535, long sid, int n, n bytes host:port|host:port...
///
/// Source: ZooKeeper, `QuorumCnxManager.InitialMessage.parse`.
/// Deviation: a port outside 1 to 65535 ends this connection; Apache's listener ends with it.
public struct InitialMessage: Equatable, Sendable {
    public enum Version: Sendable {
        /// Servers before 3.5: the id alone.
        case bare
        /// One address.
        case v1
        /// One or more addresses; sent by servers with `multiAddress.enabled`.
        case v2
    }

    public var version: Version
    public var server: ServerID
    /// Where to dial back; none in a bare message. May hold wildcards: see `dialable`.
    public var addresses: [ServerAddress]

    static let v1: Int64 = -65536
    static let v2: Int64 = -65535
    /// The longest text of addresses.
    public static let addressesBytesMax = 2048

    /// A message with at least one address.
    public init(server: ServerID, addresses: [ServerAddress]) {
        precondition(!addresses.isEmpty, "a server says where it listens")
        version = addresses.count == 1 ? .v1 : .v2
        self.server = server
        self.addresses = addresses
    }

    /// The addresses that a server can be reached at.
    public var dialable: [ServerAddress] { addresses.filter { !$0.isWildcard } }

    public static func measure(_ bytes: Span<UInt8>) throws(QuorumProtocolError) -> StreamPart {
        var reader = JuteReader(bytes)
        do throws(QuorumProtocolError) {
            _ = try InitialMessage(reading: &reader)
            return .whole(bytes: bytes.count - reader.remaining)
        } catch {
            return try StreamPart(error, in: bytes.count)
        }
    }

    public init(reading reader: inout JuteReader) throws(QuorumProtocolError) {
        let first = try reader.long()
        switch first {
        case 0...:
            version = .bare
            server = ServerID(rawValue: first)
            addresses = []
            return
        case Self.v1: version = .v1
        case Self.v2: version = .v2
        default: throw .unknownVersion(first)
        }
        server = try reader.server()
        let length = Int(try reader.int())
        guard length > 0, length <= Self.addressesBytesMax else { throw .invalidLength(length) }
        let text = String(lenientUTF8: try reader.bytes(length))
        // Negative ids are what this side gives to anonymous observers.
        guard server.rawValue >= 0 else { throw .invalidServerID(server.rawValue) }
        let parts = text.split(separator: "|", omittingEmptySubsequences: false)
        guard version == .v2 || parts.count == 1 else { throw .invalidAddress(text) }
        addresses = []
        for part in parts {
            guard let address = ServerAddress(part) else { throw .invalidAddress(String(part)) }
            addresses.append(address)
        }
    }

    public func append(to buffer: inout ByteBuffer) {
        switch version {
        case .bare: return buffer.append(server.rawValue)
        case .v1: buffer.append(Self.v1)
        case .v2: buffer.append(Self.v2)
        }
        buffer.append(server.rawValue)
        buffer.appendField(addresses.map(\.description).joined(separator: "|"))
    }
}

extension ServerID {
    /// The id that every observer without an id of its own sends.
    public static let anonymousObserver = ServerID(rawValue: .max)
}
