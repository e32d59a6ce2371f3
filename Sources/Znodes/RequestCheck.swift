import ClientProtocol
public import Jute
import Transactions
public import Vocabulary

extension Proposer {
    /// What is wrong with a write before any tree is looked at: a learner asks here before it forwards,
    /// because a leader must never see what it cannot read or what would make no transaction.
    ///
    /// - Throws: when the body is not a record of `op`.
    public static func check(_ op: OpCode, body: Span<UInt8>) throws(JuteError) -> ErrorCode {
        var reader = JuteReader(body, limits: .frame)
        switch op {
        case .create, .create2, .createContainer, .createTTL:
            let request = try CreateRequest(reading: &reader, op: op)
            return checkMode(request, op)
        case .delete: _ = try PathVersionRequest(reading: &reader)
        case .deleteContainer: _ = try reader.readBytes()
        case .setData: _ = try SetDataRequest(reading: &reader)
        case .setACL: _ = try SetACLRequest(reading: &reader)
        case .reconfig:
            for _ in 0..<3 { _ = try reader.readOptionalBytes() }
            _ = try reader.readLong()
        case .multi: if countOperations(body) == nil { return .marshallingError }
        default: preconditionFailure("only writes are forwarded")
        }
        return .ok
    }

    /// Whether the write creates an ephemeral znode, for which a local session is not enough. What
    /// cannot be read creates nothing.
    ///
    /// Source: ZooKeeper, `QuorumZooKeeperServer.checkUpgradeSession`.
    public static func createsEphemeral(_ op: OpCode, body: Span<UInt8>) -> Bool {
        var reader = JuteReader(body, limits: .frame)
        guard op == .multi else { return isEphemeralCreate(op, reader) }
        guard let count = countOperations(body) else { return false }
        for _ in 0..<count {
            guard let header = try? MultiHeader(reading: &reader),
                let type = OpCode(rawValue: header.type)
            else { preconditionFailure("the operations were counted") }
            if isEphemeralCreate(type, reader) { return true }
            try? skipOperation(type, &reader)
        }
        return false
    }

    /// The flag means nothing to the operations that create containers and TTL znodes.
    private static func isEphemeralCreate(_ op: OpCode, _ reader: JuteReader) -> Bool {
        guard op == .create || op == .create2 else { return false }
        var reader = reader
        guard let request = try? CreateRequest(reading: &reader, op: op) else { return false }
        return CreateMode(rawValue: request.flags)?.isEphemeral ?? false
    }

    /// A TTL has to be one where the request says so, and nowhere else.
    private static func checkMode(_ request: borrowing CreateRequest, _ op: OpCode) -> ErrorCode {
        guard let mode = CreateMode(rawValue: request.flags) else { return .badArguments }
        let isTTL = (1...Owner.ttlMillisecondsMax).contains(request.ttlMilliseconds)
        if mode.isTTL { return isTTL ? .ok : .badArguments }
        return op == .createTTL || request.ttlMilliseconds >= 0 ? .badArguments : .ok
    }
}
