internal import DequeModule
import Vocabulary

/// The syncs that a leader was asked for and has not answered.
///
/// One is answered when everything proposed before it is committed, and a quorum has answered a
/// ping that was sent after it came: then no other leader had committed anything before it came.
/// Syncs that come while a round of pings is under way share the next one.
///
/// Deviation: Apache's leader answers without asking. After a pause it may have been replaced
/// without knowing, and a read behind such a sync can miss what the new leader has acknowledged.
struct SyncRounds {
    private struct Waiting {
        var number: Int
        var zxid: Zxid
    }

    private var waiting: Deque<Waiting> = []
    private var requested = 0
    private var confirmed = 0
    /// The last sync that the round under way confirms.
    private var roundCovers: Int?

    var isEmpty: Bool { waiting.isEmpty }
    var isRoundUnderWay: Bool { roundCovers != nil }

    /// `zxid`: the last proposal when it came.
    mutating func request(after zxid: Zxid) {
        requested += 1
        waiting.append(Waiting(number: requested, zxid: zxid))
    }

    mutating func confirmAll() {
        confirmed = requested
        roundCovers = nil
    }

    mutating func endRound() {
        guard let covered = roundCovers.take() else { preconditionFailure("no round was begun") }
        confirmed = covered
    }

    /// False if nothing waits for another round.
    mutating func beginRound() -> Bool {
        guard !isRoundUnderWay, confirmed < requested else { return false }
        roundCovers = requested
        return true
    }

    /// Takes those that can be answered, and says up to which one; nil if none can.
    mutating func answerable(committed: Zxid) -> Int? {
        var last: Int?
        while let first = waiting.first, first.number <= confirmed, first.zxid <= committed {
            last = first.number
            waiting.removeFirst()
        }
        return last
    }
}
