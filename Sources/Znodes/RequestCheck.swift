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

    /// A TTL has to be one where the request says so, and nowhere else.
    private static func checkMode(_ request: borrowing CreateRequest, _ op: OpCode) -> ErrorCode {
        guard let mode = CreateMode(rawValue: request.flags) else { return .badArguments }
        let isTTL = (1...Owner.ttlMillisecondsMax).contains(request.ttlMilliseconds)
        if mode.isTTL { return isTTL ? .ok : .badArguments }
        return op == .createTTL || request.ttlMilliseconds >= 0 ? .badArguments : .ok
    }
}
