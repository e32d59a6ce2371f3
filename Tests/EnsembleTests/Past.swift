import Jute
import QuorumProtocol
import Testing
import Transactions
import UnitTestSupport
import Vocabulary
import Zab

/// What servers had on their disks when a recording began: what an earlier one has brought them, or
/// what one of them has left behind.
enum Past: Sendable {
    case nothing
    /// The ensemble of `cold-start`, behind it.
    case coldStart
    /// Behind `diff`.
    case diff
    /// Behind `snap`, and behind two transactions more.
    case snap
    /// The ensemble of `trunc`: its servers 1 and 2.
    case diverging
    /// Server 3, with a transaction that nobody else has.
    case diverged
    /// The ensemble of `snap-after-diverging`, before the epoch of its leader.
    case twoEpochs
    /// Server 2 there, with a transaction that nobody else has.
    case divergedAgain
    /// The ensemble of `mixed-38-39` without its first leader.
    case mixed
    /// The ensemble of `reconfig`, behind so many transactions.
    case reconfig(Int)

    func history() throws -> History {
        switch self {
        case .nothing: return History()
        case .coldStart:
            return History(
                txns: try Recorded.proposals("cold-start"), epochs: .init(accepted: 1, current: 1))
        case .diff:
            return History(
                txns: try Recorded.proposals("cold-start") + Recorded.proposals("diff"),
                epochs: .init(accepted: 1, current: 1))
        case .snap:
            let log = try Recorded.log("3.9.3-quorum-follower/data/version-2/log.100000019")
            return History(
                tree: (Zxid(epoch: 1, counter: 0x18), try Recorded.tree(in: Recorded.load("snap"))),
                txns: Array(log.prefix(2)),
                epochs: .init(accepted: 1, current: 1))
        case .diverging:
            return History(
                txns: try Self.log("100000001"), epochs: .init(accepted: 1, current: 1))
        case .diverged:
            return try Past.diverging.history().withStray()
        case .twoEpochs:
            return History(
                txns: try Self.log("100000001") + Self.log("200000001"),
                epochs: .init(accepted: 2, current: 2))
        case .divergedAgain:
            return try Past.twoEpochs.history().withStray()
        case .mixed:
            let first = try Recorded.load("mixed-38-39").filter { $0.stream == "Q1" }
            return History(
                txns: first.compactMap { $0.packet?.txn }, epochs: .init(accepted: 1, current: 1))
        case .reconfig(let count):
            return History(
                txns: Array(try Recorded.proposals("reconfig").prefix(count)),
                epochs: .init(accepted: 1, current: 1))
        }
    }

    /// What a client of the leader did between `diff-nothing-missed` and `snap`, which the tree of the
    /// latter tells: it has created three znodes.
    static func creationsBeforeSnapshot() throws -> [[UInt8]] {
        var content = TreeContent()
        _ = try content.read(Recorded.tree(in: Recorded.load("snap")))
        let last = try RecordedTxn(try #require(try Recorded.proposals("diff").last))
        let created = content.nodes.filter { $0.value.stat.czxid > last.zxid }
            .sorted { $0.value.stat.czxid < $1.value.stat.czxid }
        return created.enumerated().map { index, node in
            let data = node.value.data ?? []
            return bytes {
                TxnHeader(
                    session: last.session, cxid: last.cxid + 1 + Int32(index),
                    zxid: node.value.stat.czxid, time: node.value.stat.ctime, type: .create
                ).append(to: &$0)
                $0.appendField(node.key)
                $0.appendField(data.span)
                $0.append([ACL(permissions: .all, scheme: "world", id: "anyone")])
                $0.append(false)
                $0.append(Int32(0))
            }
        }
    }

    private static func log(_ zxid: String) throws -> [[UInt8]] {
        try Recorded.log("3.9.3-quorum-truncated/data/version-2/log.\(zxid)")
    }
}

extension History {
    /// With one transaction more, which was never sent to anybody: what it was is not known, only
    /// that it came next. Here it is a session, which must be gone in the end.
    fileprivate func withStray() throws -> History {
        var strayed = self
        let bytesOfLast = try #require(txns.last)
        let last = try RecordedTxn(bytesOfLast)
        let stray = TxnHeader(
            session: SessionID(rawValue: last.session.rawValue + 1), cxid: 0, zxid: last.zxid.next,
            time: last.time, type: .createSession)
        strayed.txns.append(
            bytes {
                stray.append(to: &$0)
                $0.append(Int32(30_000))
            })
        return strayed
    }
}
