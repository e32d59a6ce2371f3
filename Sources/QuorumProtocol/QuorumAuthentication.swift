public import Jute

/// The packet that a server configured for SASL between servers sends first. It is recognised in
/// order to be refused: without SASL nobody can answer it.
///
///     long magic, int status, buffer token
///
/// Source: ZooKeeper, `QuorumAuth`.
public enum QuorumAuthPacket {
    /// -0xa0dbcafecafe1234 in two's complement.
    public static let magic: Int64 = 0x5f24_3501_3501_edcc

    public enum Recognition: Equatable, Sendable {
        case authenticating
        case notAuthenticating
        /// So far the bytes are the packet's, but too few.
        case needsMore(bytes: Int)
    }

    /// Whether a connection, or what follows its initial message, begins with the packet.
    public static func recognize(_ bytes: Span<UInt8>) -> Recognition {
        let width = Int64.bitWidth / 8
        for index in 0..<min(width, bytes.count) {
            let expected = UInt8(truncatingIfNeeded: magic >> Int64(8 * (width - 1 - index)))
            guard bytes[index] == expected else { return .notAuthenticating }
        }
        return bytes.count < width ? .needsMore(bytes: width) : .authenticating
    }
}

extension ByteBuffer {
    /// The packet that tells an authenticating server that it failed.
    public mutating func appendQuorumAuthRefusal() {
        append(QuorumAuthPacket.magic)
        append(Int32(-1))  // Status: 0 is in progress, 1 success.
        appendNull()
    }
}
