/// The patience that leaders and learners have with each other.
package struct LinkTiming: Equatable, Sendable {
    /// `tickTime`
    package var tick: Duration
    /// `initLimit`: ticks for each step until the ensemble serves, or the learner has caught up.
    package var initLimit: Int
    /// `syncLimit`: ticks without a sign of life, afterwards.
    package var syncLimit: Int

    package init(tick: Duration, initLimit: Int, syncLimit: Int) {
        (self.tick, self.initLimit, self.syncLimit) = (tick, initLimit, syncLimit)
    }
}
