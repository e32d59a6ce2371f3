/// Where a server listens: a host's name or address as text, and a port.
///
/// Written as `host:port`; a host that contains colons stands in brackets.
/// Source: ZooKeeper, `ConfigUtils.getHostAndPort`.
public struct ServerAddress: Hashable, Sendable {
    /// Without brackets.
    public var host: String
    public var port: UInt16

    public init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Nil for anything but a host and a port that can be dialed.
    public init?(_ text: some StringProtocol) {
        guard let fields = AddressText.fields(of: String(text)), fields.count == 2,
            AddressText.isHost(fields[0]), let port = UInt16(fields[1]), port != 0
        else { return nil }
        self.init(host: fields[0], port: port)
    }

    /// Every address of the machine: good to listen on, nothing to dial.
    public var isWildcard: Bool {
        host == "0.0.0.0" || host == "::" || host == "0:0:0:0:0:0:0:0"
    }
}

extension ServerAddress: CustomStringConvertible {
    public var description: String { "\(AddressText.delimited(host)):\(port)" }
}

/// The text of addresses: fields between colons, of which the first may stand in brackets.
enum AddressText {
    /// - Returns: the fields, brackets removed; nil if the brackets do not match.
    static func fields(of text: String) -> [String]? {
        guard text.utf8.first == UInt8(ascii: "[") else {
            return text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        }
        guard let end = text.firstIndex(of: "]") else { return nil }
        let host = String(text[..<end].dropFirst())
        let rest = text[text.index(after: end)...]
        if rest.isEmpty { return [host] }
        guard rest.utf8.first == UInt8(ascii: ":") else { return nil }
        return [host]
            + rest.dropFirst().split(separator: ":", omittingEmptySubsequences: false)
            .map(String.init)
    }

    /// Whether a host written into a configuration is read as the same host again.
    static func isHost(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case 0...0x20, 0x7f, UInt8(ascii: "|"), UInt8(ascii: ";"), UInt8(ascii: ","),
                    UInt8(ascii: "="), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "\\"):
                    false
                default: true
                }
            }
    }

    static func delimited(_ host: String) -> String {
        host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
    }
}
