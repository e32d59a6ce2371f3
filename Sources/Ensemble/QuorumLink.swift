internal import DequeModule
package import Jute
import QuorumProtocol
package import Vocabulary

/// One connection between a leader and a learner, seen from either end: the bytes that wait to be
/// sent, and those that are no whole packet yet.
package final class QuorumLink {
    package let id: LinkID
    /// What the host sends next; it empties the buffer, and wants to be told with `markDirty`.
    package var output = ByteBuffer()
    /// What comes behind a history or a snapshot that another thread still reads.
    private var held = ByteBuffer()
    private(set) var isHolding = false
    /// The beginning of a packet.
    private var stash = ByteBuffer()
    /// Before so many bytes are there, the packet cannot be whole.
    private var wanted = 0
    package internal(set) var isClosed = false

    // Of a learner, at its leader.
    package internal(set) var server: ServerID?
    package internal(set) var isObserver = false
    /// How it is being brought to our history; nil: it is not.
    package internal(set) var sync: SyncWay?
    /// It gets every proposal and commit.
    var isForwarding = false
    var isIntroduced = false
    /// Syncs of the learner's clients that are not answered.
    var pendingSyncs = 0
    /// What came behind them.
    var waiting: Deque<Waiting> = []

    enum Waiting {
        case request([UInt8], [Identity])
        /// A session that came back to this learner has, perhaps, been elsewhere since its requests
        /// in front of this, which must still find it there.
        case revalidation(RevalidateRequest)
    }

    /// Whether a write has to wait for syncs in front of it: Apache's learners want SYNC before the
    /// COMMIT of any write that they sent later.
    var holdsBackWrites: Bool { pendingSyncs > 0 }
    /// Whether everything else has to wait, for the writes that wait.
    var holdsBackAll: Bool { !waiting.isEmpty }

    var halfTicksUnintroduced = 0

    package init(id: LinkID) { self.id = id }

    /// Where packets go: behind what is held back, if anything is.
    @inline(__always)
    func write(_ body: (inout ByteBuffer) -> Void) {
        if isHolding { body(&held) } else { body(&output) }
    }

    /// Keeps back what is written from now on; forgets what was kept back before.
    func hold() {
        held.removeAll()
        isHolding = true
    }

    /// Sends what was kept back.
    func release() {
        isHolding = false
        output.append(held.span)
        held.removeAll(keepingAtMost: 0)
    }

    /// Hands the bytes to `parse`, which says how many it has used; keeps the rest.
    func receive(
        _ bytes: Span<UInt8>, _ parse: (Span<UInt8>) -> (used: Int, wanted: Int)
    ) {
        guard stash.isEmpty else {
            stash.append(bytes)
            guard stash.count >= wanted else { return }
            var whole = stash.take()
            let result = parse(whole.span)
            if result.used == whole.count {
                whole.removeAll(keepingAtMost: 0)
            } else {
                whole.removeFirst(result.used)
            }
            stash = whole
            wanted = result.wanted
            return
        }
        let result = parse(bytes)
        wanted = result.wanted
        if result.used < bytes.count { stash.append(bytes.extracting(droppingFirst: result.used)) }
    }
}
