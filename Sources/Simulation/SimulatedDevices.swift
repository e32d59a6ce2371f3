import Ensemble
import Jute
import QuorumProtocol
import StorageFormat
import Vocabulary
import Zab
import Znodes

/// How the core of a simulated server reaches its disk, its network and its clock.
extension SimulatedServer: QuorumPeerHost {
    // MARK: Disk

    func append(_ batch: LogBatch) {
        guard isAlive() else { return }
        disk.append(batch)
        batches.append((batch.lastZxid, batch.recordCount, false))
        recordsSinceSnapshot += batch.recordCount
        if recordsSinceSnapshot > world.setup.snapshotRecords {
            recordsSinceSnapshot = 0
            isSnapshotDue = true
            batches[batches.count - 1].rolls = true
        }
        let isPlanted =
            world.plant == .acknowledgeBeforeFlush
            || world.plant == .leaderAcknowledgesBeforeFlush && peer.state == .leading
        if isPlanted {
            let last = batch.lastZxid
            world.schedule(in: 0, at: self) { [unowned self] in peer.flushed(upTo: last) }
        }
        beginFlush()
    }

    /// One flush is in flight; what comes meanwhile shares the next one.
    private func beginFlush() {
        guard !isFlushing, !batches.isEmpty else { return }
        isFlushing = true
        flushCount += 1
        let (number, count) = (flushCount, batches.count)
        let range = world.setup.flushMin...world.setup.flushMax
        world.schedule(in: world.random.within(range) * flushFactor, at: self) {
            [unowned self] in
            guard number == flushCount, isFlushing else { return }
            isFlushing = false
            endFlush(of: count)
            beginFlush()
        }
    }

    /// The oldest `count` batches are on the disk.
    private func endFlush(of count: Int) {
        let done = batches.prefix(count)
        batches.removeFirst(done.count)
        for batch in done {
            if world.plant != .forgetFlushes || world.random.chance(percent: 80) {
                do throws(Disk.Refusal) {
                    try disk.flush(batch.count)
                } catch {
                    return refuse(error)
                }
            }
            if batch.rolls { disk.roll() }
        }
        for batch in done { peer.flushed(upTo: batch.last) }
    }

    func refuse(_ refusal: Disk.Refusal) {
        check { () throws(Journal.Failure) in
            throw Journal.Failure(description: "\(title) cannot go on: \(refusal.reason)")
        }
    }

    func settleLog() {
        guard isAlive() else { return }
        flushCount += 1
        isFlushing = false
        endFlush(of: batches.count)
        disk.roll()
    }

    func saveAcceptedEpoch(_ epoch: Int64) {
        guard isAlive() else { return }
        if world.plant != .loseAcceptedEpoch { disk.saveAcceptedEpoch(epoch) }
    }

    func saveCurrentEpoch(_ epoch: Int64) {
        guard isAlive() else { return }
        // A leader has the promise of a quorum now, and nobody may forget it.
        if peer.state == .leading {
            let active = peer.configuration.flatMap { world.journal.active($0) }
            check { () throws(Journal.Failure) in
                try world.checkQuorum(
                    "has promised epoch \(epoch)", of: [active].compactMap(\.self)
                ) { $0.disk.acceptedEpoch ?? -1 >= epoch }
            }
        }
        if world.plant != .loseCurrentEpoch { disk.saveCurrentEpoch(epoch) }
    }

    func truncateLog(to zxid: Zxid) -> Bool {
        guard isAlive() else { return true }
        settleLog()
        world.statistics.truncations += 1
        world.note("\(title) truncates to \(zxid)")
        if world.plant == .skipTruncation { return true }
        let isCut = disk.truncate(after: zxid)
        // A tree came from a leader that never served, and the next one knows a part of its history.
        if !isCut { world.statistics.refusedTruncations += 1 }
        return isCut
    }

    func reload() -> [LogBatch] {
        endSnapshot(isWanted: false)
        guard isAlive() else {
            database.reset()
            return []
        }
        do throws(Disk.Refusal) {
            return try restore()
        } catch {
            refuse(error)
            return []
        }
    }

    // MARK: Snapshots

    func writeSnapshot() {
        guard isAlive() else { return }
        let report = { [unowned self] in peer.snapshotWritten() }
        if world.plant == .persistHistoryLater {
            world.schedule(in: 0, at: self, report)
            beginSnapshot {}
        } else {
            // One job at a time.
            endSnapshot(isWanted: true)
            beginSnapshot(report)
        }
    }

    func considerSnapshot() {
        guard isSnapshotDue, snapshotUnderWay == nil, peer.serving != nil, isAlive() else {
            return
        }
        isSnapshotDue = false
        beginSnapshot {}
    }

    private func beginSnapshot(_ ended: @escaping () -> Void) {
        snapshotJob += 1
        let job = snapshotJob
        let snapshot = Disk.Snapshot(
            zxid: database.lastProcessedZxid, bytes: SnapshotBytes.encode(database))
        snapshotUnderWay = (snapshot, ended)
        let range = world.setup.flushMin * 2...world.setup.flushMax * 10
        world.schedule(in: world.random.within(range) * flushFactor, at: self) {
            [unowned self] in
            if job == snapshotJob { endSnapshot(isWanted: true) }
        }
    }

    /// The job that is under way is done. `isWanted`: who asked for it still waits.
    private func endSnapshot(isWanted: Bool) {
        guard let (snapshot, ended) = snapshotUnderWay.take() else { return }
        snapshotJob += 1
        disk.write(snapshot, keeping: world.setup.snapshotsKept)
        if isWanted { ended() }
    }

    // MARK: Links

    func dial(_ leader: ServerID) {
        guard isAlive() else { return }
        let target = world.servers[Int(leader.rawValue) - 1]
        let role = role
        guard knows(leader) else {
            return world.schedule(in: 0, at: self) { [unowned self] in
                if role == self.role { peer.dialFailed() }
            }
        }
        world.reach(target, from: self, isAccepted: { $0.listens }) {
            [unowned self] isReached in
            guard role == self.role else { return }
            guard isReached, target.listens else { return peer.dialFailed() }
            let connection = world.connect(.quorum, .server(index), .server(target.index))
            let link = newLink(on: connection, side: 0)
            let theirs = target.newLink(on: connection, side: 1)
            world.schedule(in: 0, at: target) { target.peer.accepted(theirs) }
            peer.connected(link)
        }
    }

    private func newLink(on connection: Connection, side: Int) -> QuorumLink {
        linkCount += 1
        let link = QuorumLink(id: LinkID(rawValue: linkCount))
        connection.ends[side].link = link
        quorumConnections[link.id] = (connection, side)
        return link
    }

    func markDirty(_ link: QuorumLink) { dirty.append(link) }

    /// What the links gathered in this turn goes out.
    func flushLinks() {
        let links = dirty
        dirty.removeAll(keepingCapacity: true)
        for link in links { flush(link) }
    }

    private func flush(_ link: QuorumLink) {
        guard !link.output.isEmpty, let (connection, side) = quorumConnections[link.id] else {
            return
        }
        let bytes = Array(link.output.bytes)
        link.output.removeAll()
        world.send(.bytes(bytes), on: connection, from: side)
    }

    func close(_ link: QuorumLink) {
        guard isAlive(), let (connection, side) = quorumConnections.removeValue(forKey: link.id)
        else { return }
        let bytes = Array(link.output.bytes)
        link.output.removeAll()
        if !bytes.isEmpty { world.send(.bytes(bytes), on: connection, from: side) }
        world.close(connection, from: side)
    }

    func received(_ chunk: Chunk, on connection: Connection) throws {
        let side = connection.side(.server(index))
        switch (connection.kind, chunk) {
        case (.quorum, .bytes(let bytes)):
            guard let link = connection.ends[side].link, !link.isClosed else { break }
            peer.received(bytes.span, on: link)
        case (.quorum, .end):
            guard let link = connection.ends[side].link else { break }
            quorumConnections[link.id] = nil
            peer.closed(link)
        case (.election, .notification(let notification)):
            guard case .server(let other) = connection.ends[1 - side].party,
                elections[other] === connection
            else { break }
            peer.received(notification, from: world.servers[other].id)
        case (.election, .end):
            guard case .server(let other) = connection.ends[1 - side].party,
                elections[other] === connection
            else { break }
            elections[other] = nil
            dialElection(other)
        case (.client, .request(let message)): received(message, on: connection)
        case (.client, .end): clientGone(connection)
        default: preconditionFailure("each kind of connection has its chunks")
        }
    }

    func readHistory(for link: QuorumLink, after peer: Zxid, upTo last: Zxid) {
        guard isAlive() else { return }
        let records = disk.history(
            after: peer, upTo: last, trusting: world.plant == .readAcrossHoles)
        transfer(after: world.delay()) { [unowned self] in
            guard let records else { return self.peer.transferred(.unusable, to: link) }
            self.peer.transferred(.usable, to: link)
            transferRecords(records[...], to: link)
        }
    }

    private func transferRecords(_ records: ArraySlice<Disk.Record>, to link: QuorumLink) {
        guard !records.isEmpty else {
            return transfer { [unowned self] in
                peer.transferred(.finished(isSnapshot: false), to: link)
            }
        }
        let count = world.random.within(1...records.count)
        transfer { [unowned self] in
            var piece = ByteBuffer()
            for record in records.prefix(count) {
                piece.appendQuorumPacket(.proposal, zxid: record.zxid, data: record.txn.span)
                piece.appendQuorumPacket(.commit, zxid: record.zxid)
            }
            peer.transferred(.piece(piece.bytes), to: link)
            transferRecords(records.dropFirst(count), to: link)
        }
    }

    func readSnapshot(for link: QuorumLink) {
        guard isAlive() else { return }
        transfer(after: world.random.below(2) * world.delay()) { [unowned self] in
            guard !link.isClosed else { return }
            world.statistics.snapshotsSent += 1
            peer.snapshotBegins(for: link)
            let bytes = SnapshotBytes.encode(database)
            let cut = world.random.below(bytes.count)
            for piece in [bytes[..<cut], bytes[cut...]] {
                transfer { [unowned self] in
                    piece.withUnsafeBytes { peer.transferred(.piece($0), to: link) }
                }
            }
            transfer { [unowned self] in
                peer.transferred(.finished(isSnapshot: true), to: link)
            }
        }
    }

    /// What another thread hands over, one thing after the other.
    private func transfer(after delay: Int = 0, _ body: @escaping () -> Void) {
        world.schedule(in: delay, at: self, body)
    }

    // MARK: Time

    func arm(_ timer: Peer.Timer, after delay: Duration) {
        guard isAlive() else { return }
        armingCount += 1
        let arming = armingCount
        armings[timer] = arming
        world.schedule(in: delay.microseconds * 1000 / speed, at: self) { [unowned self] in
            if armings[timer] == arming { peer.expired(timer) }
        }
    }

    func disarm(_ timer: Peer.Timer) { armings[timer] = nil }

    var clock: Int64 { Int64(world.now / 1000 * speed / 1000) + clockOffset }

    var wallClock: Int64 { 1_700_000_000_000 + Int64(world.now / 1000) + wallOffset }

    // MARK: Roles

    func roleBegan(as state: ServerState, leader: ServerID) {
        world.note("\(title) is \(state), leader \(leader.rawValue), at \(position)")
        listens = state == .leading
    }

    func servingBegan(as state: ServerState) {
        guard !isDead else { return }
        let (epoch, last) = (peer.currentEpoch, database.lastProcessedZxid)
        world.note("\(title) serves as \(state) in epoch \(epoch), at \(last)")
        expiryDue = clock + expiryMilliseconds
        check { () throws(Journal.Failure) in
            if let promised = disk.acceptedEpoch, promised > epoch {
                throw Journal.Failure(
                    description: "\(title) serves in epoch \(epoch), but has promised \(promised)")
            }
            guard state == .leading else {
                guard world.journal.isCommitted(last) else {
                    throw Journal.Failure(
                        description: "\(title) serves \(last), which is not committed")
                }
                return
            }
            let deciding = world.journal.deciding(upTo: last)
            try world.journal.leaderServes(title, epoch: epoch, history: last)
            try world.checkQuorum("holds \(last) in epoch \(epoch)", of: deciding) {
                $0.disk.holds(last) && $0.disk.currentEpoch ?? -1 >= epoch
            }
        }
    }

    func roleEnded(_ reason: Peer.Departure) {
        world.note("\(title): \(reason)")
        role += 1
        listens = false
        forgetClients()
    }

    func seen(_ configuration: EnsembleConfiguration) {
        guard isAlive() else { return }
        world.note("\(title) has seen the configuration \(configuration.version)")
        if world.plant != .loseSeenConfiguration { disk.save(seen: configuration) }
    }

    func activated(_ configuration: EnsembleConfiguration) {
        guard isAlive() else { return }
        world.note("\(title) goes by the configuration \(configuration.summary)")
        if world.plant != .loseActiveConfiguration { disk.save(active: configuration) }
    }

    /// Nothing here is counted.
    func reached(_ milestone: Milestone) {}

    func disconnected(_ link: QuorumLink, because reason: Leader.Disconnection) {
        world.note("\(title) disconnects \(link.server?.rawValue ?? -1): \(reason)")
    }

    func malformed(_ link: QuorumLink, _ error: QuorumProtocolError) {
        check { () throws(Journal.Failure) in
            throw Journal.Failure(description: "\(title) cannot read a packet: \(error)")
        }
    }
}

extension World {
    /// Fails unless a quorum of each configuration is in this state.
    func checkQuorum(
        _ claim: String, of memberships: [Membership], _ holds: (SimulatedServer) -> Bool
    ) throws(Journal.Failure) {
        for membership in memberships where !membership.isQuorum(where: { holds(servers[$0]) }) {
            throw failure("no quorum of \(membership.configuration.summary) \(claim)")
        }
    }

    /// Dials a server: a dead one refuses, a cut line stays silent until the dialer gives up.
    func reach(
        _ target: SimulatedServer, from dialer: SimulatedServer,
        isAccepted: @escaping (SimulatedServer) -> Bool, _ done: @escaping (Bool) -> Void
    ) {
        let (a, b) = (Party.server(dialer.index), Party.server(target.index))
        let isSilent = isCut(from: a, to: b) || isCut(from: b, to: a)
        let time = isSilent ? setup.tickMilliseconds * 1000 * 2 : delay() + delay()
        schedule(in: time, at: dialer) { [unowned self] in
            let isOpen =
                !isSilent && !isCut(from: a, to: b) && !isCut(from: b, to: a) && target.isUp
            done(isOpen && isAccepted(target))
        }
    }
}

extension Duration {
    var microseconds: Int {
        Int(components.seconds) * 1_000_000 + Int(components.attoseconds / 1_000_000_000_000)
    }
}
