/// What a seed draws before its world begins. Whole classes of faults are switched off at random,
/// so that those which are left can go far.
struct Setup {
    /// Microseconds.
    typealias Time = Int

    var participantCount = 3
    var observerCount = 0
    /// The group and the weight of each participant; nil: a majority.
    var groups: [(group: Int, weight: Int)]?

    var tickMilliseconds = 200
    var initLimit = 10
    var syncLimit = 5
    var keptTxns = 500
    var readsLogs = true
    var alwaysSendsSnapshots = false
    var observerLogs = true
    /// Whether the end of a session names its ephemeral znodes.
    var listsEphemerals = true
    /// So many records in the log make a snapshot due.
    var snapshotRecords = 1000
    var snapshotsKept = 3

    var delayMin: Time = 50
    var delayMax: Time = 1000
    var flushMin: Time = 100
    var flushMax: Time = 2000
    var turnMax: Time = 0
    /// Chunks are cut at random places.
    var fragments = false

    var faultsEnd: Time = 20_000_000
    var faultInterval: Time = 500_000
    var crashes = false
    /// In the middle of a step, between two calls of the core.
    var crashesInside = false
    var cuts = false
    var resets = false
    var pauses = false
    var slowDisks = false
    /// Clocks that run at different speeds.
    var drifts = false

    var clientCount = 3
    var thinkMax: Time = 50_000
    var pipelineMax = 1
    var sessionTimeoutMilliseconds: Int32 = 4000
    /// Clients that move between servers without need.
    var wanderPercent = 0

    /// Whether an administrator changes the servers while they serve.
    var reconfigures = false
    var reconfigurationInterval: Time = 0
    /// So many, the last ones that could vote, are no members at first.
    var outsiderCount = 0
    /// What an outsider takes itself for.
    var outsidersObserve = false

    init() {}

    init(drawnFrom random: inout SeededGenerator, servers: [Int], minutes: Int?) {
        let count = servers.isEmpty ? random.within(3...7) : random.pick(servers)
        observerCount = count > 3 && random.chance(percent: 40) ? 1 : 0
        participantCount = count - observerCount
        if participantCount >= 3, random.chance(percent: 15) {
            let groupCount = random.within(1...3)
            groups = (0..<participantCount).map { ($0 % groupCount, random.within(0...2)) }
            // A group without weight decides nothing, and somebody must.
            for index in 0..<groupCount { groups?[index].weight = random.within(1...2) }
        }

        tickMilliseconds = random.pick([50, 200, 200, 1000])
        initLimit = random.within(5...10)
        syncLimit = random.within(2...5)
        keptTxns = random.pick([1, 5, 20, 100, 500])
        readsLogs = random.chance(percent: 70)
        alwaysSendsSnapshots = random.chance(percent: 7)
        observerLogs = random.chance(percent: 50)
        listsEphemerals = random.chance(percent: 50)
        snapshotRecords = random.pick([5, 30, 100, 1000])
        snapshotsKept = random.pick([3, 10])

        delayMin = random.pick([10, 100, 1000])
        delayMax = delayMin * random.pick([2, 10, 50])
        flushMin = random.pick([50, 500, 5000])
        flushMax = flushMin * random.pick([2, 10, 40])
        turnMax = random.pick([0, 20, 1000])
        fragments = random.chance(percent: 40)

        let tick = tickMilliseconds * 1000
        faultsEnd = tick * random.pick([40, 80, 160])
        if let minutes { faultsEnd = minutes * 60_000_000 }
        faultInterval = tick * random.pick([1, 3, 8])
        crashes = random.chance(percent: 75)
        crashesInside = crashes && random.chance(percent: 50)
        cuts = random.chance(percent: 60)
        resets = random.chance(percent: 50)
        pauses = random.chance(percent: 50)
        slowDisks = random.chance(percent: 40)
        drifts = random.chance(percent: 50)

        clientCount = random.within(1...8)
        thinkMax = tick / random.pick([2, 10, 40])
        pipelineMax = random.pick([1, 3, 10])
        sessionTimeoutMilliseconds = Int32(tickMilliseconds * random.pick([4, 10, 40]))
        wanderPercent = random.pick([0, 2, 10])
    }

    /// From a generator of its own, so that what a seed draws beside it stays.
    mutating func drawReconfigurations(from random: inout SeededGenerator) {
        reconfigures = random.chance(percent: 45)
        guard reconfigures else { return }
        reconfigurationInterval = tickMilliseconds * 1000 * random.pick([1, 3, 8])
        outsidersObserve = random.chance(percent: 50)
        guard groups == nil else { return }
        outsiderCount = min(random.pick([0, 1, 1, 2]), max(0, participantCount - 2))
    }

    var serverCount: Int { participantCount + observerCount }

    /// Lines and disks that are fast enough for the limits: with slower ones no ensemble gets on.
    mutating func calm() {
        let tenth = tickMilliseconds * 100
        (delayMin, delayMax) = (min(delayMin, tenth), min(delayMax, tenth))
        (flushMin, flushMax) = (min(flushMin, tenth / 10), min(flushMax, tenth / 10))
    }
}
