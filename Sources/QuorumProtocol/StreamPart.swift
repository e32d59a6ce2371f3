public import Jute
public import Vocabulary

/// How much of a stream is its next message: messages between servers have no common frame.
public enum StreamPart: Equatable, Sendable {
    /// The next message is the first so many bytes.
    case whole(bytes: Int)
    /// Before there are so many bytes in all, nothing more can be said. Never above the limits.
    case needsMore(bytes: Int)
}

/// Why bytes from another server are not a message. Its connection ends, the process never does;
/// only a notification that cannot be read is skipped.
public enum QuorumProtocolError: Error, Equatable, Sendable {
    case malformed(JuteError)
    /// A length that no server sends.
    case invalidLength(Int)
    /// The first field of an initial message is neither a server nor a known version.
    case unknownVersion(Int64)
    case invalidServerID(Int64)
    case invalidAddress(String)
    case invalidEpoch(Int32)
    case tooManyIdentities(Int)
    case invalidCount(Int32)
    /// A packet of this type does not begin a conversation.
    case unexpectedPacket(Int32)
    /// What a proposal carries is no transaction.
    case malformedTxn(Zxid)
    /// The bytes behind a snapshot are not its signature.
    case badSignature
    /// What a snapshot holds does not make a tree.
    case snapshotRefused
}

extension QuorumProtocolError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .malformed(let error): "a field cannot be decoded (\(error))"
        case .invalidLength(let length): "a length is \(length)"
        case .unknownVersion(let version): "version \(version) of the protocol is unknown"
        case .invalidServerID(let id): "\(id) is no server's id"
        case .invalidAddress(let text): "not an address: \(text.debugDescription)"
        case .invalidEpoch(let epoch): "an epoch is \(epoch)"
        case .tooManyIdentities(let count): "a request has \(count) identities"
        case .invalidCount(let count): "a count is \(count)"
        case .unexpectedPacket(let type): "a learner begins with a packet of type \(type)"
        case .malformedTxn(let zxid): "proposal \(zxid) is no transaction"
        case .badSignature: "a snapshot does not end with its signature"
        case .snapshotRefused: "a snapshot does not make a tree"
        }
    }
}

extension StreamPart {
    /// What it means that a message of which `count` bytes are here could not be read: it is cut,
    /// or it is wrong whatever follows.
    init(_ error: QuorumProtocolError, in count: Int) throws(QuorumProtocolError) {
        guard case .malformed(.truncated(let need, let have)) = error else { throw error }
        self = .needsMore(bytes: count - have + need)
    }
}
