/// A bug that is put into the simulated shell on purpose, to see whether the checks find it. Those
/// inside the core are planted by `scripts/plant-bugs`.
package enum Plant: String, CaseIterable, Sendable {
    /// The log says "flushed" as soon as it is given something.
    case acknowledgeBeforeFlush
    /// The leader counts itself before its own flush.
    case leaderAcknowledgesBeforeFlush
    /// A flush that was reported is lost by a crash.
    case forgetFlushes
    /// `acceptedEpoch` is not written.
    case loseAcceptedEpoch
    /// `currentEpoch` is not written.
    case loseCurrentEpoch
    /// A configuration that was proposed is not written.
    case loseSeenConfiguration
    /// A configuration that has become active is not written.
    case loseActiveConfiguration
    /// The snapshot of a leader's tree counts as written before it is.
    case persistHistoryLater
    /// TRUNC leaves the log as it is.
    case skipTruncation
    /// Recovery reads the logs across what a SNAP has left out.
    case readAcrossHoles
    /// A server answers sync without asking its leader.
    case answerSyncsAlone
    /// A leader answers sync without asking whether it still leads.
    case answerSyncsUnconfirmed
    /// A client is answered when its write is proposed.
    case answerProposals
    /// A read is answered in front of an earlier write of its session.
    case readBeforeWrites
    /// A client may go on at a server that is behind what it has seen.
    case acceptClientsAhead
    /// Watch events get lost now and then.
    case loseWatches
}
