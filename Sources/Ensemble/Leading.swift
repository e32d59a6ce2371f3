import ClientProtocol
import DequeModule
import Jute
import QuorumProtocol
import StorageFormat
import Transactions
import Vocabulary
import Zab
import Znodes

/// The leader's end of its links: packets in, history, proposals and commits out. An observer
/// master's end is the same, except for what it relays.
///
/// Source: ZooKeeper, `LearnerHandler`, `Leader`.
extension QuorumPeer {
    // MARK: Effects

    func perform(_ effect: Leader.Effect) {
        switch effect {
        case .saveAcceptedEpoch(let epoch):
            host.saveAcceptedEpoch(epoch)
            adoptFirstVersion(epoch: epoch)
            post(.leader(.acceptedEpochSaved))
        case .saveCurrentEpoch(let epoch):
            host.saveCurrentEpoch(epoch)
            post(.leader(.currentEpochSaved))
        case .offerEpoch(let epoch, let id):
            write(to: id) { $0.appendLeaderInfo(newEpoch: epoch) }
        case .synchronise(let id, let zxid):
            if let link = link(id) { synchronise(link, from: zxid) }
        case .sendUpToDate(let id):
            if let way = link(id)?.sync.take() { host.reached(.learnerSyncEnded(way)) }
            write(to: id) { $0.appendUpToDate() }
        case .serve(let epoch):
            if let lastSeen { activate(lastSeen) }
            beginLeading(lastZxid: Zxid(epoch: epoch, counter: 0))
            // The configuration that was completed with the epoch may be one without this leader.
            if configuration?.participants.contains(id) == false { post(.leader(.replaced)) }
        case .commit(let zxid): commit(upTo: zxid)
        case .commitReconfig(let zxid, let designated):
            commitReconfiguration(zxid, designated: designated)
        case .ping(let id):
            let zxid = isLeading ? lastProposed : database.lastProcessedZxid
            write(to: id) { $0.appendQuorumPacket(.ping, zxid: zxid) }
        case .answerSyncs(let count): answerSyncs(upTo: count)
        case .disconnect(let id, let reason):
            guard let link = link(id) else { return }
            host.disconnected(link, because: reason)
            drop(link)
        case .arm, .disarm, .resign: preconditionFailure("the peer passes these on by itself")
        }
    }

    func link(_ id: LinkID) -> QuorumLink? { links.first { $0.id == id } }

    func drop(_ link: QuorumLink) {
        links.removeAll { $0 === link }
        close(link)
    }

    private func write(to id: LinkID, _ body: (inout ByteBuffer) -> Void) {
        if let link = link(id) { write(to: link, body) }
    }

    func write(to link: QuorumLink, _ body: (inout ByteBuffer) -> Void) {
        link.write(body)
        host.markDirty(link)
    }

    /// To all that are in step: the observers, or those that vote.
    func broadcast(toObservers isObserver: Bool, _ body: (inout ByteBuffer) -> Void) {
        for link in links where link.isForwarding && link.isObserver == isObserver {
            write(to: link, body)
        }
    }

    func beginLeading(lastZxid: Zxid) {
        hasData = true
        proposer = Self.newProposer(database, settings, lastZxid: lastZxid)
        let now = host.clock
        for (session, timeout) in database.sessions.sorted(by: { $0.key < $1.key }) {
            proposer.tracker.add(session, timeoutMilliseconds: timeout, now: now)
        }
        if !isStandalone {
            proposer.reconfigure = { [unowned self] in nextConfiguration(for: $0, zxid: $1) }
        }
        serving = .leading
        host.servingBegan(as: .leading)
        // They have no session that could expire: they go by an ordinary transaction.
        for session in database.orphanedSessions { proposeSessionEnd(session) }
    }

    private func answerSyncs(upTo count: Int) {
        while syncsAnswered < count {
            syncsAnswered += 1
            precondition(!syncsWaiting.isEmpty, "every sync has who asked for it")
            answerSync()
        }
    }

    /// The oldest sync is done. The host makes nothing of one that nobody asked for.
    func answerSync() {
        guard let link = syncsWaiting.popFirst() ?? nil else { return host.syncCompleted() }
        guard !link.isClosed else { return }
        write(to: link) { $0.appendQuorumPacket(.sync, zxid: .zero) }
        guard isLeading else { return }
        link.pendingSyncs -= 1
        resume(link)
    }

    // MARK: Links

    /// A connection came to the quorum port. Nothing is known of it before it introduces itself.
    package func accepted(_ link: QuorumLink) {
        guard state == .leading || observerMaster != nil else { return close(link) }
        links.append(link)
    }

    /// The connection is gone, whoever closed it.
    package func closed(_ link: QuorumLink) {
        guard !link.isClosed else { return }
        link.isClosed = true
        forget(link)
    }

    /// The link is over, and not by the word of the reducer that knows it.
    private func forget(_ link: QuorumLink) {
        if link === leaderLink {
            leaderLink = nil
            post(.learner(.disconnected))
        } else {
            links.removeAll { $0 === link }
            post(.leader(.linkClosed(link.id)))
        }
    }

    /// Those that say nothing must not stay: the reducer does not know them yet.
    func closeUnintroduced() {
        for link in links where !link.isIntroduced {
            link.halfTicksUnintroduced += 1
            guard link.halfTicksUnintroduced > 2 * settings.peer.timing.initLimit else { continue }
            drop(link)
        }
    }

    package func received(_ bytes: Span<UInt8>, on link: QuorumLink) {
        link.receive(bytes) { parse($0, on: link) }
    }

    private func parse(_ bytes: Span<UInt8>, on link: QuorumLink) -> (used: Int, wanted: Int) {
        var used = 0
        while !link.isClosed, used < bytes.count {
            let rest = bytes.extracting(droppingFirst: used)
            if link === leaderLink, snapshotReader != nil {
                let count = receiveSnapshotPart(rest, on: link)
                used += count
                // A part of an item is left, or packets follow.
                if snapshotReader != nil { break }
                continue
            }
            do throws(QuorumProtocolError) {
                switch try QuorumPacket.measure(rest, limits: settings.packetLimits) {
                case .needsMore(let wanted): return (used, wanted)
                case .whole(let count):
                    var reader = JuteReader(
                        rest.extracting(first: count), limits: settings.packetLimits)
                    let packet = try QuorumPacket(reading: &reader)
                    used += count
                    if link === leaderLink {
                        try receiveFromLeader(packet)
                    } else {
                        try receiveFromLearner(packet, link)
                    }
                }
            } catch {
                refuse(link, error)
                return (bytes.count, 0)
            }
        }
        return (link.isClosed ? bytes.count : used, 0)
    }

    /// What cannot be read ends the link, never the process.
    func refuse(_ link: QuorumLink, _ error: QuorumProtocolError) {
        host.malformed(link, error)
        close(link)
        forget(link)
    }

    private func receiveFromLearner(
        _ packet: borrowing QuorumPacket, _ link: QuorumLink
    ) throws(QuorumProtocolError) {
        guard link.isIntroduced else { return try introduce(packet, link) }
        switch packet.type {
        case .ackEpoch:
            let epoch = try AckEpoch(packet.data).currentEpoch
            post(
                .leader(
                    .epochAcknowledged(link.id, lastZxid: packet.zxid, currentEpoch: epoch)))
        case .ack:
            if let server = link.server {
                measureAcks(from: packet.zxid, through: packet.zxid, by: server)
            }
            post(.leader(.acknowledged(link.id, packet.zxid)))
        case .ping:
            if let data = packet.data {
                var touched = try TouchedSessions(data)
                while let (session, timeout) = touched.next() {
                    touch(session, timeoutMilliseconds: timeout)
                }
            }
            post(.leader(.pingEchoed(link.id)))
        case .revalidate:
            let request = try RevalidateRequest(packet.requireData())
            host.reached(.revalidationAsked)
            if state != .leading {
                revalidate(
                    request.session, timeoutMilliseconds: request.timeoutMilliseconds, for: link)
            } else if link.holdsBackAll {
                link.waiting.append(.revalidation(request))
            } else {
                handle(request, from: link)
            }
            post(.leader(.heard(link.id)))
        case .request:
            let data = try packet.requireData()
            let request = try ForwardedRequest(data)
            post(.leader(.heard(link.id)))
            guard state == .leading else {
                return relay(request, authInfo: packet.authInfo, from: link)
            }
            let identities = packet.authInfo.decoded() ?? []
            if request.isSync ? link.holdsBackAll : link.holdsBackWrites {
                link.waiting.append(.request([UInt8](data), identities))
            } else {
                handle(request, identities: identities, from: link)
            }
        default:
            post(.leader(.heard(link.id)))  // Apache's leaders take no notice of others either.
        }
    }

    private func introduce(
        _ packet: borrowing QuorumPacket, _ link: QuorumLink
    ) throws(QuorumProtocolError) {
        guard packet.type == .followerInfo || packet.type == .observerInfo else {
            throw .unexpectedPacket(packet.number)
        }
        let info = try LearnerInfo(packet.data)
        // Learners from before 3.4 know no epochs.
        guard let version = info.protocolVersion, version >= quorumProtocolVersion else {
            throw .unknownVersion(Int64(info.protocolVersion ?? 0))
        }
        link.isIntroduced = true
        link.server = info.server
        link.isObserver = packet.type == .observerInfo
        post(
            .leader(
                .learnerArrived(
                    link.id,
                    .init(
                        server: info.server, isObserver: link.isObserver,
                        acceptedEpoch: packet.zxid.epoch, configVersion: info.configVersion))))
    }

    // MARK: Synchronisation

    /// Brings a learner whose log ends at `zxid` to our history. From here on it gets everything
    /// that is proposed.
    func synchronise(_ link: QuorumLink, from zxid: Zxid) {
        // What a learner has behind the snapshot would stay in its log, in front of what comes next.
        let sendsSnapshot =
            settings.alwaysSendsSnapshots && zxid <= database.lastProcessedZxid
        let plan =
            sendsSnapshot
            ? .snap
            : SyncPlan.decide(
                peer: zxid, committed: window.appliedZxids,
                lastProcessed: database.lastProcessedZxid, canReadLogs: settings.readsLogs)
        switch plan {
        case .diff(let after):
            begin(.transactions, link)
            link.output.appendQuorumPacket(.diff, zxid: database.lastProcessedZxid)
            appendHistory(after: after, to: link)
        case .trunc(let last):
            begin(.transactions, link)
            link.output.appendQuorumPacket(.trunc, zxid: last)
            appendHistory(after: last, to: link)
        case .readLogs:
            let last = window.appliedZxids.first ?? database.lastProcessedZxid
            link.hold()
            appendHistory(after: last, to: link)
            host.readHistory(for: link, after: zxid, upTo: last)
        case .snap:
            begin(.snapshot, link)
            host.readSnapshot(for: link)
        }
        host.markDirty(link)
    }

    private func begin(_ way: SyncWay, _ link: QuorumLink) {
        link.sync = way
        host.reached(.learnerSyncBegan(way))
    }

    /// The committed history behind `zxid`, NEWLEADER, and what is proposed behind that.
    private func appendHistory(after zxid: Zxid, to link: QuorumLink) {
        window.forEachApplied(after: zxid) { zxid, txn in
            link.write {
                $0.appendQuorumPacket(.proposal, zxid: zxid, data: txn)
                $0.appendQuorumPacket(.commit, zxid: zxid)
            }
        }
        appendOutstanding(to: link)
    }

    private func appendOutstanding(to link: QuorumLink) {
        // The quorum with which a leader begins to serve completes what was seen last. What is
        // proposed since is perhaps never committed: learners hear of it behind this, observers when
        // it is.
        let isCompleting = state == .leading && !isLeading
        let text = (isCompleting ? lastSeen : configuration)?.text ?? ""
        let epoch = currentEpoch
        link.write { $0.appendNewLeader(epoch: epoch, configuration: text) }
        // Behind NEWLEADER, though they could stand in front of it: Apache's learners stumble over a
        // proposal in front whose commit comes behind. What this turn has proposed so far goes to the
        // link with the turn's other proposals.
        if !link.isObserver {
            window.forEachOutstanding(sealedOnly: true) { zxid, txn in
                link.write { $0.appendQuorumPacket(.proposal, zxid: zxid, data: txn) }
            }
        }
        link.isForwarding = true
    }

    /// The tree is frozen for this link at this moment: everything from here on goes behind it.
    package func snapshotBegins(for link: QuorumLink) {
        guard !link.isClosed else { return }
        link.output.appendQuorumPacket(.snap, zxid: database.lastProcessedZxid)
        link.hold()
        appendOutstanding(to: link)
        host.markDirty(link)
    }

    /// Another thread has read something for this link.
    package func transferred(_ transfer: Transfer, to link: QuorumLink) {
        guard !link.isClosed else { return }
        switch transfer {
        case .usable:
            begin(.transactions, link)
            link.output.appendQuorumPacket(.diff, zxid: database.lastProcessedZxid)
        case .unusable:
            link.isForwarding = false
            link.hold()
            begin(.snapshot, link)
            host.readSnapshot(for: link)
        case .piece(let bytes): link.output.append(bytes)
        case .finished(let isSnapshot):
            if isSnapshot { link.output.appendField(SnapshotStreamReader.signature) }
            link.release()
        case .failed:
            close(link)
            forget(link)
        }
        host.markDirty(link)
    }

    // MARK: Broadcast

    /// PROPOSAL to every participant that is in step.
    func sendProposals(of batch: LogBatch) {
        guard links.contains(where: { $0.isForwarding && !$0.isObserver }) else { return }
        var start = 0
        while start < batch.buffer.count {
            let zxid = batch.zxid(at: start)
            start = batch.txn(at: start) {
                proposals.appendQuorumPacket(.proposal, zxid: zxid, data: $0)
            }
        }
        broadcast(toObservers: false) { $0.append(proposals.bytes) }
        proposals.removeAll(keepingAtMost: 1 << 20)
    }

    /// Applies what a quorum holds, and tells the learners.
    func commit(upTo zxid: Zxid) {
        if !links.isEmpty {
            window.forEachOutstanding(upTo: zxid) { next, _ in
                commits.appendQuorumPacket(.commit, zxid: next)
            }
            broadcast(toObservers: false) { $0.append(commits.bytes) }
            commits.removeAll(keepingAtMost: 1 << 16)
            inform(upTo: zxid)
        }
        apply(upTo: zxid)
    }

    /// Tells observers what is applied next. `designated`: it is a reconfiguration, by which this
    /// server is to lead.
    func inform(upTo zxid: Zxid, designated: ServerID? = nil) {
        guard links.contains(where: { $0.isForwarding && $0.isObserver }) else { return }
        window.forEachOutstanding(upTo: zxid) { next, txn in
            if let designated {
                informs.appendInformAndActivate(zxid: next, designatedLeader: designated, txn: txn)
            } else {
                informs.appendQuorumPacket(.inform, zxid: next, data: txn)
            }
        }
        broadcast(toObservers: true) { $0.append(informs.bytes) }
        informs.removeAll(keepingAtMost: 1 << 20)
    }

    /// A server has these on its disk. Some of those that are not committed are measured.
    func measureAcks(from first: Zxid, through last: Zxid, by server: ServerID) {
        let frequency = Int64(settings.ackLoggingFrequency)
        guard frequency > 0, last.rawValue - last.rawValue % frequency >= first.rawValue,
            isLeading, configuration?.participants.contains(server) == true
        else { return }
        window.forEachOutstanding(upTo: last) { zxid, txn in
            guard zxid >= first, zxid.rawValue.isMultiple(of: frequency) else { return }
            var reader = JuteReader(txn)
            guard let header = try? TxnHeader(reading: &reader) else {
                preconditionFailure("the window holds transactions")
            }
            host.reached(.acknowledged(by: server, madeAt: header.time))
        }
    }

    // MARK: Requests

    /// Goes on with what stands behind the syncs of a link.
    func resume(_ link: QuorumLink) {
        while let next = link.waiting.first {
            switch next {
            case .request(let data, let identities):
                guard let request = try? ForwardedRequest(data.span) else {
                    preconditionFailure("it was read before")
                }
                guard request.isSync || !link.holdsBackWrites else { return }
                link.waiting.removeFirst()
                handle(request, identities: identities, from: link)
            case .revalidation(let request):
                link.waiting.removeFirst()
                handle(request, from: link)
            }
        }
    }

    private func handle(_ request: RevalidateRequest, from link: QuorumLink) {
        let isValid = adopt(
            request.session, timeoutMilliseconds: request.timeoutMilliseconds, owner: link.id)
        reply(to: link, request.session, isValid: isValid)
    }

    private func handle(
        _ request: borrowing ForwardedRequest, identities: [Identity], from link: QuorumLink
    ) {
        guard isLeading else { return }
        let origin = Proposer.Origin(
            session: request.session, cxid: request.cxid, identities: identities,
            time: host.wallClock, owner: link.id)
        switch OpCode(rawValue: request.type) {
        case .sync:
            link.pendingSyncs += 1
            syncsWaiting.append(link)
            post(.leader(.syncRequested(after: lastProposed)))
        case .createSession:
            var reader = JuteReader(request.body)
            guard let timeout = try? reader.readInt() else { return drop(link) }
            let session = request.session
            proposeSession(session, timeoutMilliseconds: timeout, owner: link.id)
        case .closeSession:
            proposeSessionEnd(request.session, cxid: request.cxid)
        case .create, .create2, .createContainer, .createTTL, .delete, .deleteContainer, .setData,
            .setACL, .reconfig, .multi:
            propose(OpCode(rawValue: request.type) ?? .error, request.body, origin)
        default:
            // The learner's client waits for an answer to whatever was forwarded.
            propose { proposer.proposeFailure(.unimplemented, from: origin, into: &$0) }
        }
    }

    /// Unlike a client's, a request that cannot be decoded becomes a failure: the learner waits for
    /// a transaction.
    private func propose(_ op: OpCode, _ body: Span<UInt8>, _ origin: Proposer.Origin) {
        do throws(JuteError) {
            try propose(op, body: body, from: origin)
        } catch {
            propose {
                proposer.proposeFailure(.marshallingError, from: origin, into: &$0)
            }
        }
    }
}

extension ForwardedRequest {
    var isSync: Bool { type == OpCode.sync.rawValue }
}
