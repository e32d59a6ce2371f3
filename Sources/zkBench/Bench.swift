internal import EventLoop
internal import Glibc
internal import Jute
internal import Vocabulary

/// Runs one workload: a list of steps, each of which ends when its last request is answered.
final class Bench {
    private enum Phase {
        case connecting
        case filling(RequestKind, isMeasured: Bool)
        case running
        /// The time is over, and the last answers are awaited.
        case draining
        case holding
        case ending
    }

    private let options: Settings
    private let loop: EventLoop
    private let naming: Naming
    private let templates: RequestTemplates
    private var sessions: [Session] = []
    /// Those of `sessions` that put the load on.
    private var workers: ArraySlice<Session> { sessions[..<options.sessions] }

    private var steps: [Step] = []
    private var phase = Phase.connecting
    private var outstanding = 0
    private var nextToConnect = 0
    private var connecting = 0
    private var open = 0

    private var statistics = Statistics()
    private var random: UInt64 = 0x9E37_79B9_7F4A_7C15
    private var measureStart: UInt64 = 0
    private var measureEnd: UInt64 = 0
    private var isMeasuring = false
    private let readThreshold: UInt64

    /// The open load: when the next request is due, and how long it is to the one behind it.
    private var nextDue: Double = 0
    private let dueStep: Double
    private var nextWorker = 0

    private var fanOut = FanOut(znodes: 1, sessions: 1)

    private let progressTimer: LoopTimer
    private let pauseTimer: LoopTimer
    private var dueTimer: PreciseTimer?
    private var signals: [SignalWatcher] = []
    private var interrupts = 0
    private var failure: String?
    /// Why the last session was lost.
    private var lastReason: String?

    private static let connectsAtOnce = 128
    /// How long the servers may take to open the next session.
    private static let connectMilliseconds: UInt64 = 30_000
    private static let fillDepth = 64
    private static let listingPauseMilliseconds: UInt64 = 100
    private static let childOfChange = 999_999_999

    init(_ options: Settings) throws(UVError) {
        self.options = options
        loop = try EventLoop()
        let znodes = options.workload == .children ? 1000 : options.znodes
        naming = Naming(
            prefix: options.prefix, znodes: znodes, spreads: options.workload == .create)
        templates = RequestTemplates(
            naming: naming, valueBytes: options.valueBytes, operationsPerMulti: options.operations)
        readThreshold = UInt64(options.readShare * Double(UInt32.max))
        dueStep = options.rate.map { 1e9 / $0 } ?? 0
        progressTimer = LoopTimer(loop: loop)
        pauseTimer = LoopTimer(loop: loop)
        for index in 0..<options.sessions + options.idleSessions {
            let session = Session(
                loop: loop, index: index, depth: max(options.depth, Self.fillDepth),
                isIdle: index >= options.sessions, timeoutMilliseconds: options.sessionTimeout,
                delegate: self)
            session.templates = templates
            session.directories = naming.directories
            sessions.append(session)
        }
        steps = Step.plan(options, naming)
        signals = try [SIGINT, SIGTERM].map { signal throws(UVError) in
            try SignalWatcher(loop: loop, signal: signal) { [unowned self] in interrupted() }
        }
    }

    /// True when every session survived and every answer was good.
    func run() -> Bool {
        raiseDescriptorLimit()
        progressTimer.start(afterMilliseconds: 1000, repeatMilliseconds: 1000) { [unowned self] in
            tick()
        }
        startNextStep()
        loop.run()
        if let failure { writeLine("zkBench: \(failure)", to: STDERR_FILENO) }
        if statistics.errors > 0 {
            let codes = statistics.errorCodes.map { "\($0.count) times \($0.code)" }
            writeLine("zkBench: errors: \(codes.joined(separator: ", "))", to: STDERR_FILENO)
        }
        return failure == nil && statistics.errors == 0 && statistics.lostSessions == 0
    }

    private func raiseDescriptorLimit() {
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        getrlimit(resource, &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(resource, &limit)
    }

    // MARK: Steps

    private func startNextStep() {
        guard !steps.isEmpty, failure == nil else { return finish() }
        switch steps.removeFirst() {
        case .connect:
            phase = .connecting
            awaitConnection()
            connectMore()
        case .createByHand(let path):
            startByHand(.create, as: .create) {
                $0.appendField(path)
                RequestTemplates.appendCreation([], to: &$0)
            }
        case .deleteByHand(let path):
            startByHand(.delete, as: .delete) {
                $0.appendField(path)
                $0.append(Int32(-1))
            }
        case .fill(let kind, let count, let forEach, let isMeasured):
            startFilling(kind, isMeasured: isMeasured) { session in
                forEach
                    ? StridedWork(first: 0, stride: 1, end: count)
                    : StridedWork(first: session.index, stride: self.options.sessions, end: count)
            }
        case .deleteCreated:
            startFilling(.delete, isMeasured: false) { session in
                StridedWork(
                    first: session.index, stride: self.options.sessions, end: session.work.next)
            }
        case .run:
            startRun()
        case .report:
            report()
            startNextStep()
        case .hold:
            phase = .holding
            writeLine("zkBench: holding the sessions", to: STDERR_FILENO)
        case .closeSessions:
            finish()
        }
    }

    private func fail(_ reason: String) {
        guard failure == nil else { return }
        failure = reason
        finish()
    }

    /// Ends every session; the loop stops with the last one, or after a while.
    private func finish() {
        phase = .ending
        progressTimer.close()
        pauseTimer.start(afterMilliseconds: 5000) { [unowned self] in loop.stop() }
        for session in sessions { session.close() }
        if open == 0 { loop.stop() }
    }

    private func interrupted() {
        interrupts += 1
        guard interrupts == 1 else { exit(130) }
        switch phase {
        case .holding: startNextStep()
        case .running: stopAsking()
        case .connecting, .filling, .draining, .ending: fail("interrupted")
        }
    }

    // MARK: Connecting

    /// A server that is not ready may accept a connection and never answer.
    private func awaitConnection() {
        pauseTimer.start(afterMilliseconds: Self.connectMilliseconds) { [unowned self] in
            fail("\(open) of \(sessions.count) sessions open, the others get no answer")
        }
    }

    private func connectMore() {
        if sessions.isEmpty { return startNextStep() }
        while connecting < Self.connectsAtOnce, nextToConnect < sessions.count {
            let host = options.hosts[nextToConnect % options.hosts.count]
            connecting += 1
            sessions[nextToConnect].connect(host: host.host, port: host.port)
            nextToConnect += 1
        }
    }

    // MARK: Filling

    private func startByHand(
        _ op: OpCode, as kind: RequestKind, body: (inout ByteBuffer) -> Void
    ) {
        phase = .filling(kind, isMeasured: false)
        guard let session = workers.first(where: \.isOpen) else {
            return fail("no session is left")
        }
        session.work = StridedWork()
        outstanding += 1
        session.askByHand(op, sentAt: monotonicNanoseconds(), body: body)
    }

    private func startFilling(
        _ kind: RequestKind, isMeasured: Bool, work: (Session) -> StridedWork
    ) {
        phase = .filling(kind, isMeasured: isMeasured)
        let now = monotonicNanoseconds()
        if isMeasured { statistics.start(now) }
        let depth = isMeasured ? options.depth : Self.fillDepth
        for session in workers {
            session.work = work(session)
            for _ in 0..<depth { askNextToFill(kind, session, now: now) }
        }
        if outstanding == 0 { filled(now: now) }
    }

    @inline(__always)
    private func askNextToFill(_ kind: RequestKind, _ session: Session, now: UInt64) {
        guard session.isOpen, let index = session.work.take() else { return }
        outstanding += 1
        session.ask(kind, index: index, sentAt: now)
    }

    private func filled(now: UInt64) {
        if case .filling(_, isMeasured: true) = phase { statistics.stop(now) }
        startNextStep()
    }

    // MARK: The measured run

    private func startRun() {
        phase = .running
        statistics.start(monotonicNanoseconds())
        let now = monotonicNanoseconds()
        measureStart = now + UInt64(options.warmup * 1e9)
        measureEnd = measureStart + UInt64(options.duration * 1e9)
        isMeasuring = false
        for session in workers {
            let end = options.workload == .create ? Int.max : options.znodes
            session.work = StridedWork(first: session.index, stride: options.sessions, end: end)
        }
        if options.workload == .fanOut { return startFanOut(now) }
        // In the children workload the first session lists, and the others get.
        var asking = workers
        if options.workload == .children, let listing = asking.popFirst() {
            askNext(listing, sentAt: now)
        }
        if options.rate != nil {
            startAskingAtRate(now)
        } else {
            for session in asking {
                for _ in 0..<options.depth { askNext(session, sentAt: now) }
            }
        }
    }

    private func startAskingAtRate(_ now: UInt64) {
        do throws(UVError) {
            dueTimer = try PreciseTimer(loop: loop)
        } catch {
            return fail("no timer: \(error)")
        }
        nextDue = Double(now)
        nextWorker = firstAtRate
        askWhatIsDue()
    }

    private var firstAtRate: Int { options.workload == .children ? 1 : 0 }

    @inline(__always)
    private func randomBelow(_ count: Int) -> Int {
        random ^= random << 13
        random ^= random >> 7
        random ^= random << 17
        return Int(truncatingIfNeeded: (random >> 32) &* UInt64(count) >> 32)
    }

    /// Keeps a session busy.
    @inline(__always)
    private func askNext(_ session: Session, sentAt: UInt64) {
        guard session.isOpen else { return }
        outstanding += 1
        switch options.workload {
        case .get:
            session.ask(.get, index: randomBelow(options.znodes), sentAt: sentAt)
        case .set:
            session.ask(.set, index: randomBelow(options.znodes), sentAt: sentAt)
        case .create:
            session.ask(.create, index: session.work.take() ?? 0, sentAt: sentAt)
        case .mixed:
            let isRead = UInt64(randomBelow(Int(UInt32.max))) < readThreshold
            session.ask(isRead ? .get : .set, index: randomBelow(options.znodes), sentAt: sentAt)
        case .watch:
            askWatched(session, sentAt: sentAt)
        case .multi:
            session.askMulti(sentAt: sentAt) { randomBelow(options.znodes) }
        case .children:
            if session.index == 0 {
                session.ask(.getChildrenAndWatch, index: 0, sentAt: sentAt)
            } else {
                session.ask(.get, index: randomBelow(1000), sentAt: sentAt)
            }
        case .fanOut, .load, .watchTable, .idle:
            outstanding -= 1
        }
    }

    /// A watch and the change that fires it, on a znode that only this session touches.
    private func askWatched(_ session: Session, sentAt: UInt64) {
        var index = session.work.take()
        if index == nil {
            session.work = StridedWork(
                first: session.index, stride: options.sessions, end: options.znodes)
            index = session.work.take()
        }
        outstanding += 1
        session.ask(.getAndWatch, index: index ?? 0, sentAt: sentAt)
        session.ask(.set, index: index ?? 0, sentAt: sentAt)
    }

    /// Sends what is due in an open load, whether or not earlier requests are answered.
    private func askWhatIsDue() {
        let now = monotonicNanoseconds()
        while nextDue <= Double(now), UInt64(nextDue) < measureEnd {
            askNext(sessions[nextWorker], sentAt: UInt64(nextDue))
            nextWorker = nextWorker + 1 == options.sessions ? firstAtRate : nextWorker + 1
            nextDue += dueStep
        }
        if now >= measureEnd { return stopAsking() }
        dueTimer?.start(afterNanoseconds: UInt64(max(0, nextDue - Double(now)))) { [unowned self] in
            askWhatIsDue()
        }
    }

    private func stopAsking() {
        phase = .draining
        dueTimer?.close()
        statistics.stop(min(monotonicNanoseconds(), measureEnd))
        let drained = outstanding == 0
        if drained { return startNextStep() }
        pauseTimer.start(afterMilliseconds: 30_000) { [unowned self] in
            fail("\(outstanding) requests are not answered")
        }
    }

    @inline(__always)
    private func answeredInRun(
        _ session: Session, _ kind: RequestKind, sentAt: UInt64, error: Int32
    ) {
        let now = session.now
        if !isMeasuring, now >= measureStart {
            isMeasuring = true
            statistics.start(now)
        }
        if now >= measureEnd { return stopAsking() }
        statistics.requests &+= 1
        if error != 0 { statistics.count(error: error) }
        switch kind {
        case .getAndWatch where options.workload == .fanOut:
            return watches(session, now: now)
        case .set where options.workload == .fanOut:
            return  // Its events were measured, and they keep the sessions busy.
        case .getAndWatch:
            return  // The change behind it keeps the session busy.
        case .set where options.workload == .watch:
            break  // Its event was measured.
        case .getChildrenAndWatch, .createChild, .deleteChild:
            return answeredListing(session, kind, took: now &- sentAt)
        default:
            statistics.record(now &- min(now, sentAt))
        }
        if options.rate == nil { askNext(session, sentAt: now) }
    }

    /// Lists, adds a child, removes it, and rests.
    private func answeredListing(_ session: Session, _ kind: RequestKind, took: UInt64) {
        switch kind {
        case .getChildrenAndWatch:
            statistics.listing.record(took)
            outstanding += 1
            session.ask(.createChild, index: Self.childOfChange, sentAt: session.now)
        case .createChild:
            outstanding += 1
            session.ask(.deleteChild, index: Self.childOfChange, sentAt: session.now)
        default:
            pauseTimer.start(afterMilliseconds: Self.listingPauseMilliseconds) { [unowned self] in
                guard case .running = phase else { return }
                askNext(session, sentAt: monotonicNanoseconds())
            }
        }
    }

    // MARK: Fan-out

    private func startFanOut(_ now: UInt64) {
        fanOut = FanOut(znodes: options.depth, sessions: options.sessions)
        for session in workers.dropFirst() { askToWatch(session, now: now) }
    }

    @inline(__always)
    private func askToWatch(_ session: Session, now: UInt64) {
        guard session.isOpen else { return }
        outstanding += 1
        session.ask(.getAndWatch, index: fanOut.znode(watchedBy: session.index), sentAt: now)
    }

    /// With the last of its watchers the znode is set.
    @inline(__always)
    private func watches(_ session: Session, now: UInt64) {
        let znode = fanOut.znode(watchedBy: session.index)
        guard fanOut.addWatcher(of: znode, now: now), sessions[0].isOpen else { return }
        outstanding += 1
        sessions[0].ask(.set, index: znode, sentAt: now)
    }

    // MARK: Reports

    /// Once a second.
    private func tick() {
        let now = monotonicNanoseconds()
        for session in sessions { session.pingIfQuiet(now: now, templates: templates) }
        switch phase {
        case .connecting where open < sessions.count:
            writeLine("connecting: \(open) of \(sessions.count) sessions", to: STDERR_FILENO)
        case .filling(let kind, _):
            writeLine("\(kind): \(statistics.takeInterval().summary)", to: STDERR_FILENO)
        case .running:
            let isWarmUp = now < measureStart
            let summary = statistics.takeInterval().summary
            writeLine("\(isWarmUp ? "warm-up" : "measuring"): \(summary)", to: STDERR_FILENO)
            if options.rate == nil, now >= measureEnd { stopAsking() }
        case .connecting, .draining, .holding, .ending:
            break
        }
    }

    private func report() {
        let report = Report(options: options, statistics: statistics)
        writeLine(options.json ? report.json : report.text, to: STDOUT_FILENO)
    }
}

extension Bench: SessionDelegate {
    func sessionOpened(_ session: Session) {
        open += 1
        connecting -= 1
        awaitConnection()
        connectMore()
        connectedIfAll()
    }

    private func connectedIfAll() {
        guard case .connecting = phase, connecting == 0, nextToConnect == sessions.count else {
            return
        }
        guard open > 0, options.sessions == 0 || workers.contains(where: \.isOpen) else {
            return fail(lastReason.map { "no session opens: \($0)" } ?? "no session opens")
        }
        pauseTimer.stop()
        startNextStep()
    }

    func session(_ session: Session, answered kind: RequestKind, sentAt: UInt64, error: Int32) {
        outstanding -= 1
        switch phase {
        case .running:
            answeredInRun(session, kind, sentAt: sentAt, error: error)
        case .filling(let filling, let isMeasured):
            statistics.requests &+= 1
            statistics.record(session.now &- sentAt)
            // What an earlier run left, or a lost session did not make, is no news.
            let isExpected = error == 0 || error == -110 || error == -101
            if !isExpected || (isMeasured && error != 0) { statistics.count(error: error) }
            askNextToFill(filling, session, now: session.now)
            if outstanding == 0 { filled(now: session.now) }
        case .draining:
            if error != 0 { statistics.count(error: error) }
            if outstanding == 0 {
                pauseTimer.stop()
                startNextStep()
            }
        case .connecting, .holding, .ending:
            break
        }
    }

    func sessionNotified(_ session: Session) {
        statistics.events &+= 1
        guard case .running = phase else { return }
        switch options.workload {
        case .watch:
            statistics.record(session.now &- min(session.now, session.oldestSentAt))
        case .fanOut:
            let setAt = fanOut.whenSet(fanOut.znode(watchedBy: session.index))
            statistics.record(session.now &- min(session.now, setAt))
            askToWatch(session, now: session.now)
        default:
            break
        }
    }

    func sessionEnded(_ session: Session, reason: String?) {
        outstanding -= session.outstanding
        if session.wasOpen { open -= 1 } else { connecting -= 1 }
        if let reason { lost(reason) }
        switch phase {
        case .connecting:
            connectMore()
            connectedIfAll()
        case .running, .filling, .draining:
            guard workers.contains(where: \.isOpen) else {
                return fail("no session is left: \(reason ?? "")")
            }
            if outstanding == 0 {
                if case .running = phase { stopAsking() } else { startNextStep() }
            }
        case .holding:
            break
        case .ending:
            if open == 0 { loop.stop() }
        }
    }

    private func lost(_ reason: String) {
        if statistics.lostSessions == 0 {
            writeLine("zkBench: a session is lost: \(reason)", to: STDERR_FILENO)
        }
        lastReason = reason
        statistics.lostSessions += 1
    }
}

/// Writes a line to a descriptor; a reader that is gone is nobody's problem.
func writeLine(_ text: String, to descriptor: Int32) {
    var line = text + "\n"
    line.withUTF8 { bytes in
        var rest = UnsafeRawBufferPointer(bytes)
        while case let count = write(descriptor, rest.baseAddress, rest.count), count > 0 {
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }
}
