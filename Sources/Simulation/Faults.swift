import Vocabulary

/// What goes wrong, and how all of it is mended.
extension World {
    private enum Fault: CaseIterable {
        case crash, crashInside, crashAll, cut, isolate, mendLines, reset, pause, slowDisk
    }

    /// One more fault, of the classes that this run has; then the next one.
    func fail() throws {
        guard isFailing else { return }
        schedule(in: 1 + random.below(2 * setup.faultInterval)) { [unowned self] in try fail() }
        // What befalls a leader shows most.
        let leaders = servers.filter { $0.isServing(as: .leading) }
        let server = random.pick(
            leaders.isEmpty || random.chance(percent: 60) ? servers : leaders)
        switch random.pick(Fault.allCases) {
        case .crash:
            if setup.crashes { crash(server) }
        case .crashInside:
            if setup.crashesInside, server.isUp {
                server.callsUntilCrash = random.below(12)
                restart(server)
            }
        case .crashAll:
            if setup.crashes, random.chance(percent: 20) {
                for server in servers { crash(server) }
            }
        case .cut:
            if setup.cuts { cut(server.index, random.below(servers.count)) }
        case .isolate:
            guard setup.cuts else { break }
            let (incoming, outgoing) = random.pick([
                (true, true), (true, true), (true, false), (false, true),
            ])
            for other in servers.indices {
                if outgoing { cut(server.index, other) }
                if incoming { cut(other, server.index) }
            }
        case .mendLines: mendLines()
        case .reset:
            guard setup.resets else { break }
            let candidates = connections.filter { $0.ends[0].isOpen && $0.ends[1].isOpen }
            if !candidates.isEmpty { reset(random.pick(candidates)) }
        case .pause:
            guard setup.pauses, server.isUp else { break }
            let time = setup.tickMilliseconds * 1000 * random.pick([1, 3, 10, 20])
            note("\(server.name) pauses for \(time / 1000) ms")
            server.pausedUntil = now + time
            server.wallOffset += Int64(random.within(-2000...2000))
        case .slowDisk:
            if setup.slowDisks { server.flushFactor = random.pick([1, 1, 5, 30]) }
        }
    }

    private func crash(_ server: SimulatedServer) {
        guard server.isUp else { return }
        server.crash()
        restart(server)
    }

    /// Starts it some time later, if it is not up then.
    private func restart(_ server: SimulatedServer) {
        let tick = setup.tickMilliseconds * 1000
        schedule(in: random.pick([1, tick / 4, 2 * tick, 10 * tick])) { [unowned self] in
            guard !server.isUp else {
                if isFailing, server.callsUntilCrash != nil { restart(server) }
                return
            }
            try server.start()
        }
    }

    private func cut(_ from: Int, _ to: Int) {
        guard from != to else { return }
        note("nothing comes from \(from + 1) to \(to + 1)")
        isCut[from * servers.count + to] = true
    }

    private func mendLines() {
        for from in servers.indices {
            for to in servers.indices where isCut[from * servers.count + to] {
                isCut[from * servers.count + to] = false
                resume(from, to)
            }
        }
    }

    /// From here on nothing fails.
    func mend() throws {
        note("mending")
        isFailing = false
        mendLines()
        for server in servers {
            server.callsUntilCrash = nil
            server.flushFactor = 1
            server.pausedUntil = min(server.pausedUntil, now)
            if !server.isUp { try server.start() }
        }
    }
}
