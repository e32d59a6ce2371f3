internal import CUV
internal import Glibc

/// The address of a TCP endpoint. An IPv4 address mapped into IPv6 counts as the IPv4 address.
public struct SocketAddress: Hashable, Sendable {
    /// The 16 address bytes as two big-endian numbers; IPv4 uses the last four.
    private let high: UInt64
    private let low: UInt64
    public let port: UInt16
    public let isIPv6: Bool

    private init(high: UInt64, low: UInt64, port: UInt16) {
        self.high = high
        self.low = low
        self.port = port
        isIPv6 = !(high == 0 && low >> 32 == 0xFFFF)
    }

    /// `::` and port 0, for a socket whose address the kernel does not tell.
    static let unknown = SocketAddress(high: 0, low: 0, port: 0)

    /// Nil for other families than IPv4 and IPv6.
    init?(_ address: UnsafePointer<sockaddr>) {
        let raw = UnsafeRawPointer(address)
        switch Int32(address.pointee.sa_family) {
        case AF_INET:
            let v4 = raw.loadUnaligned(as: sockaddr_in.self)
            self.init(
                high: 0, low: 0xFFFF << 32 | UInt64(UInt32(bigEndian: v4.sin_addr.s_addr)),
                port: UInt16(bigEndian: v4.sin_port))
        case AF_INET6:
            let v6 = raw.loadUnaligned(as: sockaddr_in6.self)
            let words = unsafeBitCast(v6.sin6_addr, to: (UInt64, UInt64).self)
            self.init(
                high: UInt64(bigEndian: words.0), low: UInt64(bigEndian: words.1),
                port: UInt16(bigEndian: v6.sin6_port))
        default:
            return nil
        }
    }

    /// The raw address, 4 or 16 bytes: what limits per address count by.
    public var bytes: [UInt8] {
        isIPv6 ? Self.bytes(of: high) + Self.bytes(of: low) : Array(Self.bytes(of: low)[4...])
    }

    private static func bytes(of word: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) }
    }

    /// The address as Java writes it: dotted IPv4, or eight IPv6 groups without abbreviation.
    public var host: String {
        guard isIPv6 else { return bytes.map { String($0) }.joined(separator: ".") }
        let groups = [high, low].flatMap { word in
            (0..<4).map { String(UInt16(truncatingIfNeeded: word >> (48 - 16 * $0)), radix: 16) }
        }
        return groups.joined(separator: ":")
    }
}

extension SocketAddress: CustomStringConvertible {
    /// As Java's `InetSocketAddress` prints it in Apache ZooKeeper's answers and logs.
    public var description: String { isIPv6 ? "/[\(host)]:\(port)" : "/\(host):\(port)" }
}
