import Vocabulary

/// What a leader knows of one learner.
struct LearnerLink: Equatable, Sendable {
    enum Stage: Equatable, Sendable {
        /// It has introduced itself; the epoch is not fixed yet.
        case arrived
        /// LEADERINFO is on its way.
        case offered
        /// It has promised the epoch, and its history ends here.
        case agreed(lastZxid: Zxid)
        /// It is being sent our history, and NEWLEADER.
        case syncing
        /// It has our history on disk.
        case synced
        /// It was told UPTODATE and serves clients.
        case upToDate
    }

    /// A proposal that was the last one when it was looked at.
    struct Sample: Equatable, Sendable {
        var zxid: Zxid
        var halfTick: Int
    }

    let id: LinkID
    let server: ServerID?
    let isObserver: Bool
    /// The tick of its last packet, or of what it is to answer.
    var lastHeard: Int
    /// Whether it is a voter of the configurations that count.
    var isCounted = false
    var stage = Stage.arrived
    /// It has every proposal up to this one on its disk.
    var acknowledged = Zxid.zero
    /// What came with the history, up to this one, it need not acknowledge.
    var received = Zxid.zero
    var sample: Sample?
    var pingsSent = 0
    var pingsEchoed = 0
    /// The echo that confirms the syncs of this round; nil: none is awaited from it.
    var awaitedPings: Int?

    var isUpToDate: Bool { stage == .upToDate }

    var hasEchoed: Bool { awaitedPings.map { pingsEchoed >= $0 } ?? false }

    /// It has promised the epoch: it follows nobody else.
    var hasAgreed: Bool {
        switch stage {
        case .arrived, .offered: false
        case .agreed, .syncing, .synced, .upToDate: true
        }
    }
}
