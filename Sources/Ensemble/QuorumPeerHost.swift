import ClientProtocol
package import QuorumProtocol
package import StorageFormat
import Transactions
package import Vocabulary
package import Zab
package import Znodes

/// What a server of an ensemble needs of the world: its disk, its network, its timers, its clients.
///
/// A real server gives it sockets and threads, a simulation virtual ones.
package protocol QuorumPeerHost: AnyObject {
    // MARK: Disk

    /// Writes the batch behind those before it; `QuorumPeer.flushed` says when it is on the disk.
    func append(_ batch: LogBatch)
    /// Returns when everything appended is on the disk and `flushed` was told so. Only while no
    /// clients are served.
    func settleLog()
    /// On the disk when it returns.
    func saveAcceptedEpoch(_ epoch: Int64)
    func saveCurrentEpoch(_ epoch: Int64)
    /// Cuts the log behind this zxid, so that it ends there when it returns. False: the disk does
    /// not lead there, and nothing was changed.
    func truncateLog(to zxid: Zxid) -> Bool
    /// Makes the database what the disk says, and returns the last transactions of the log. No
    /// transaction is on its way to the log.
    func reload() -> [LogBatch]
    /// Writes a snapshot of the tree as it is now; `QuorumPeer.snapshotWritten` says when it is on
    /// the disk.
    func writeSnapshot()
    /// Committed transactions were applied: a snapshot may be due.
    func considerSnapshot()

    // MARK: Network

    /// Dials the leader; `QuorumPeer.connected` or `dialFailed` says what came of it.
    func dial(_ leader: ServerID)
    /// The link has output.
    func markDirty(_ link: QuorumLink)
    /// Sends what can be sent at once and closes.
    func close(_ link: QuorumLink)
    func send(_ notification: ElectionNotification, to server: ServerID)
    /// Reads the records behind `peer` up to `last` from the logs and hands them to
    /// `QuorumPeer.transferred`.
    func readHistory(for link: QuorumLink, after peer: Zxid, upTo last: Zxid)
    /// Hands the whole tree to `QuorumPeer.transferred`, as soon as it can be frozen:
    /// `QuorumPeer.snapshotBegins` is called at that moment.
    func readSnapshot(for link: QuorumLink)

    // MARK: Time

    func arm(_ timer: Peer.Timer, after delay: Duration)
    func disarm(_ timer: Peer.Timer)
    /// Milliseconds of a monotonic clock.
    var clock: Int64 { get }
    /// Milliseconds since 1970.
    var wallClock: Int64 { get }

    // MARK: Clients and roles

    /// The election has a result; a leader's learners may come.
    func roleBegan(as state: ServerState, leader: ServerID)
    /// Clients may come.
    func servingBegan(as state: ServerState)
    /// The role is over: no client and no link stays.
    func roleEnded(_ reason: Peer.Departure)
    /// A transaction is applied. `body`: the record of the reply.
    func applied(_ applied: Database.Applied, reply body: UnsafeRawBufferPointer)
    /// A configuration was proposed: its servers are to be known from now on.
    func seen(_ configuration: EnsembleConfiguration)
    /// A configuration became the active one.
    func activated(_ configuration: EnsembleConfiguration)
    /// The oldest sync that was asked for here is done.
    func syncCompleted()
    /// The leader's answer to `revalidate`.
    func revalidated(_ session: SessionID, isValid: Bool)
    /// A client of this server, the leader, goes on with its session at a learner.
    func sessionMoved(_ session: SessionID)
    /// Hands out the sessions that were heard from since the last call.
    func takeTouchedSessions(_ body: (SessionID, _ timeoutMilliseconds: Int32) -> Void)
    /// Something happened that is only worth counting.
    func reached(_ milestone: Milestone)
    /// The leader's link was closed, and why: for the log.
    func disconnected(_ link: QuorumLink, because reason: Leader.Disconnection)
    /// What came on the link cannot be read, and it was closed: for the log.
    func malformed(_ link: QuorumLink, _ error: QuorumProtocolError)
}

/// What is worth counting, and nothing else depends on.
package enum Milestone: Equatable, Sendable {
    /// The leader's history comes next.
    case syncBegan
    /// At the leader: a learner is brought to our history, or has it.
    case learnerSyncBegan(SyncWay)
    case learnerSyncEnded(SyncWay)
    /// At the leader: a learner's client wants to go on with its session.
    case revalidationAsked
    /// At the leader: a voter has a transaction on its disk that is not committed.
    /// `madeAt`: the transaction's time, in milliseconds since 1970.
    case acknowledged(by: ServerID, madeAt: Int64)
}

/// How a learner is brought to its leader's history.
package enum SyncWay: Sendable {
    /// DIFF or TRUNC
    case transactions
    /// SNAP
    case snapshot
}

/// What another thread reads for a learner.
package enum Transfer {
    /// The logs lead from the learner's last transaction to ours.
    case usable
    /// The logs cannot serve this learner.
    case unusable
    case piece(UnsafeRawBufferPointer)
    /// Everything was handed out.
    case finished(isSnapshot: Bool)
    /// Reading failed.
    case failed
}
