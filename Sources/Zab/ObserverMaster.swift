package import Vocabulary

/// A follower that serves observers in its leader's place: it brings them to its history, and looks
/// whether they live.
///
///     observer           follower                                            leader
///        |-- OBSERVERINFO -->|                                                  |
///        |<-- LEADERINFO ----|   the epoch is established: nothing to wait for  |
///        |-- ACKEPOCH ------>|                                                  |
///        |<- history --------|   of its own                                     |
///        |-- ACK ----------->|                                                  |
///        |<-- UPTODATE ------|                                                  |
///        |<-- INFORM --------|<-- COMMIT ---------------------------------------|
///        |-- REQUEST ------->|-- REQUEST -------------------------------------->|
///
/// One value for each time that the server follows, from the moment it serves clients. It hears and
/// orders what a `Leader` does, so that nobody else need know which of the two serves a link; but
/// nothing depends on what its observers acknowledge.
///
/// Source: ZooKeeper, `ObserverMaster`, `LearnerHandler`.
package struct ObserverMaster: Reducer {
    package typealias Event = Leader.Event
    package typealias Effect = Leader.Effect

    private let epoch: Int64
    private let timing: LinkTiming
    private var configVersion: Zxid
    /// In the order of arrival.
    private var links: [LearnerLink] = []
    private var halfTicks = 0

    /// `epoch`: the leader's, established here. `configVersion`: of the active configuration.
    package init(epoch: Int64, configVersion: Zxid, timing: LinkTiming) {
        self.epoch = epoch
        self.configVersion = configVersion
        self.timing = timing
    }

    /// Observers that were told UPTODATE.
    package var syncedCount: Int { links.count { $0.isUpToDate } }

    package mutating func step(_ event: Event, into effects: inout [Effect]) {
        switch event {
        case .started: effects.append(.arm(.halfTick, after: timing.tick / 2))
        case .learnerArrived(let link, let greeting): greet(link, greeting, into: &effects)
        case .epochAcknowledged(let link, let lastZxid, _):
            receiveHistory(link, lastZxid, into: &effects)
        case .acknowledged(let link, let zxid): receiveAck(link, zxid, into: &effects)
        case .pingEchoed(let link), .heard(let link):
            if let index = index(of: link) { links[index].lastHeard = tick }
        case .linkClosed(let link): links.removeAll { $0.id == link }
        case .configurationActivated(let version): configVersion = version
        case .timerExpired(.halfTick): passHalfTick(into: &effects)
        case .outvoted: break  // It stands for nothing.
        case .timerExpired(.step): break  // Of a time when this server led.
        case .acceptedEpochSaved, .currentEpochSaved, .proposed, .reconfigProposed, .replaced,
            .flushed, .syncRequested:
            preconditionFailure("its leader decides that")
        }
    }

    private func index(of link: LinkID) -> Int? { links.firstIndex { $0.id == link } }

    private mutating func greet(
        _ link: LinkID, _ greeting: Leader.Greeting, into effects: inout [Effect]
    ) {
        if let index = index(of: link) { return disconnect(index, .outOfPlace, into: &effects) }
        guard greeting.isObserver else {
            return effects.append(.disconnect(link, .noObserver))
        }
        if let version = greeting.configVersion, version > configVersion {
            return effects.append(.disconnect(link, .knowsNewerConfiguration))
        }
        if let server = greeting.server,
            let older = links.firstIndex(where: { $0.server == server })
        {
            disconnect(older, .replaced, into: &effects)
        }
        var observer = LearnerLink(
            id: link, server: greeting.server, isObserver: true, lastHeard: tick)
        observer.stage = .offered
        links.append(observer)
        effects.append(.offerEpoch(epoch, to: link))
    }

    private mutating func receiveHistory(
        _ link: LinkID, _ lastZxid: Zxid, into effects: inout [Effect]
    ) {
        guard let index = index(of: link) else { return }
        guard links[index].stage == .offered else {
            return disconnect(index, .outOfPlace, into: &effects)
        }
        links[index].lastHeard = tick
        links[index].stage = .syncing
        effects.append(.synchronise(link, from: lastZxid))
    }

    private mutating func receiveAck(
        _ link: LinkID, _ zxid: Zxid, into effects: inout [Effect]
    ) {
        guard let index = index(of: link) else { return }
        guard zxid.counter == 0 else {
            return disconnect(index, .acknowledgedUnsent(zxid), into: &effects)
        }
        links[index].lastHeard = tick
        switch links[index].stage {
        case .syncing:
            links[index].stage = .upToDate
            effects.append(.sendUpToDate(link))
        case .upToDate: break  // UPTODATE is acknowledged with the same zxid.
        case .arrived, .offered, .agreed, .synced: disconnect(index, .outOfPlace, into: &effects)
        }
    }

    // MARK: Time

    private var tick: Int { halfTicks / 2 }

    private mutating func passHalfTick(into effects: inout [Effect]) {
        effects.append(.arm(.halfTick, after: timing.tick / 2))
        halfTicks += 1
        for index in links.indices.reversed() {
            let patience = links[index].isUpToDate ? timing.syncLimit : timing.initLimit
            if tick - links[index].lastHeard > patience {
                disconnect(index, .silent, into: &effects)
            }
        }
        for link in links where link.isUpToDate { effects.append(.ping(link.id)) }
    }

    private mutating func disconnect(
        _ index: Int, _ reason: Leader.Disconnection, into effects: inout [Effect]
    ) {
        effects.append(.disconnect(links[index].id, reason))
        links.remove(at: index)
    }
}
