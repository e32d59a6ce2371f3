/// Who watches what in the fan-out workload: the first session sets the znodes, each of the others
/// watches one of them.
struct FanOut {
    private struct Watched {
        /// Sessions that watch it, when all of them do.
        var watchers = 0
        /// How many of them do not watch it at present.
        var missing = 0
        /// When it was last set, in nanoseconds.
        var setAt: UInt64 = 0
    }

    private var znodes: [Watched]

    init(znodes count: Int, sessions: Int) {
        znodes = Array(repeating: Watched(), count: count)
        for session in 1..<max(1, sessions) { znodes[session % count].watchers += 1 }
        for znode in znodes.indices { znodes[znode].missing = znodes[znode].watchers }
    }

    @inline(__always)
    func znode(watchedBy session: Int) -> Int { session % znodes.count }

    /// Notes that one more session watches a znode. Returns true when that was the last one that
    /// was missing: the znode is to be set now, and then nobody watches it any more.
    @inline(__always)
    mutating func addWatcher(of znode: Int, now: UInt64) -> Bool {
        znodes[znode].missing -= 1
        guard znodes[znode].missing == 0 else { return false }
        znodes[znode].missing = znodes[znode].watchers
        znodes[znode].setAt = now
        return true
    }

    /// When a znode was last set, in nanoseconds.
    @inline(__always)
    func whenSet(_ znode: Int) -> UInt64 { znodes[znode].setAt }
}
