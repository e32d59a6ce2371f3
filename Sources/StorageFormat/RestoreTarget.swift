public import Jute
public import Vocabulary

/// Why what was read from disk does not make a tree.
public enum RestoreError: Error, Equatable, Sendable {
    case parentMissing(path: String)
    case duplicateNode(path: String)
    case unknownACL(Int64)
    case undecodable(JuteError)
    case unknownTxnType(Int32)
}

extension RestoreError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .parentMissing(let path): "znode \(path) comes before its parent"
        case .duplicateNode(let path): "znode \(path) is there twice"
        case .unknownACL(let id): "a znode refers to the unknown ACL \(id)"
        case .undecodable(let error): "a record cannot be decoded (\(error))"
        case .unknownTxnType(let type): "txn type \(type) is unknown"
        }
    }
}

/// The tree and the sessions while they are rebuilt from a snapshot and the logs behind it.
///
/// The calls come in the order of the file: sessions, ACLs, znodes, `finishSnapshot`, then txns.
/// A database without a snapshot gets only `replay`.
public protocol RestoreTarget: ~Copyable {
    /// A snapshot turned out damaged: forget everything, another one follows.
    mutating func reset()
    mutating func restoreSession(_ id: SessionID, timeoutMilliseconds: Int32)
    mutating func restoreACL(_ id: Int64, _ list: [ACL])
    /// A znode; null data is nil. The parent was there before.
    mutating func restoreNode(
        path: Span<UInt8>, data: Span<UInt8>?, aclID: Int64, stat: StatPersisted
    ) throws(RestoreError)
    /// The snapshot was read to its end and every checksum was right.
    ///
    /// - Parameters:
    ///   - zxid: the one in the file's name. Txns behind it are replayed.
    ///   - digest: that of the tree at its zxid, which is not below `zxid`; nil if the file has none
    ///     or one that means nothing.
    /// - Throws: what is wrong with the tree; the snapshot counts as damaged.
    mutating func finishSnapshot(
        zxid: Zxid, digest: (zxid: Zxid, value: UInt64)?
    ) throws(RestoreError)
    /// Applies a txn: header, record, digest trailer if there is one.
    mutating func replay(_ txn: Span<UInt8>) throws(RestoreError)
    /// The highest zxid so far.
    var lastProcessedZxid: Zxid { get }
}
