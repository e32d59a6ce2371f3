import ClientProtocol
import Jute
import QuorumProtocol
import StorageFormat
import Transactions
import Vocabulary
import Zab
import Znodes

/// The learner's end of its link: history, proposals and commits in; acknowledgements, requests and
/// signs of life out.
///
/// Source: ZooKeeper, `Learner`, `Follower`, `Observer`.
extension QuorumPeer {
    // MARK: Effects

    func perform(_ effect: Learner.Effect) {
        switch effect {
        case .connect(let leader): host.dial(leader)
        case .introduce(let acceptedEpoch): introduce(acceptedEpoch)
        case .saveAcceptedEpoch(let epoch):
            host.saveAcceptedEpoch(epoch)
            post(.learner(.acceptedEpochSaved))
        case .saveCurrentEpoch(let epoch):
            host.saveCurrentEpoch(epoch)
            post(.learner(.currentEpochSaved))
        case .acknowledgeEpoch(let lastZxid, let currentEpoch):
            tellLeader { $0.appendAckEpoch(lastZxid: lastZxid, currentEpoch: currentEpoch) }
            host.reached(.syncBegan)
        case .truncate(let zxid):
            guard isTreeKept else {
                // There is nothing to cut: the leader must hear where the disk ends.
                isTreeBroken = true
                return post(.learner(.disconnected))
            }
            guard host.truncateLog(to: zxid) else {
                if let link = leaderLink.take() { close(link) }
                return post(.learner(.truncationRefused))
            }
            reload()
            forgetSeen(behind: zxid)
            adoptConfiguration()
            post(.learner(.truncated))
        case .forgetTree:
            forgetTree()
            adoptConfiguration()
        case .receiveSnapshot(let zxid): beginSnapshot(zxid)
        case .apply(let zxid):
            inform(upTo: zxid, designated: designatedLeader)
            apply(upTo: zxid)
        case .persistHistory(let asSnapshot): persistHistory(asSnapshot: asSnapshot)
        case .startLogging: startLogging()
        case .acknowledge(let zxid): tellLeader { $0.appendQuorumPacket(.ack, zxid: zxid) }
        case .serve:
            if let offered = offered.take(), activate(offered) {
                return post(.learner(.roleChanged))
            }
            serving = state
            host.servingBegan(as: state)
        case .echoPing(let zxid): echoPing(zxid)
        case .arm, .disarm, .leave: preconditionFailure("the peer passes these on by itself")
        }
    }

    func tellLeader(_ body: (inout ByteBuffer) -> Void) {
        if let link = leaderLink { write(to: link, body) }
    }

    private func persistHistory(asSnapshot: Bool) {
        hasData = true
        if asSnapshot {
            if keepsHistory { return host.writeSnapshot() }
            isTreeBroken = false  // Not on the disk, but whole.
        }
        if isLogging, let batch = window.seal() { append(batch) }
        if isLogging, lastAppended > window.flushed {
            awaitedFlush = lastAppended
        } else {
            post(.learner(.historyPersisted))
        }
    }

    /// The snapshot that `writeSnapshot` asked for is on the disk.
    package func snapshotWritten() {
        guard state == .following || state == .observing else { return }
        // What the log holds beyond the snapshot never came to be, and must not be replayed.
        if logEnd > database.lastProcessedZxid {
            let isCut = host.truncateLog(to: database.lastProcessedZxid)
            precondition(isCut, "the snapshot leads there")
        }
        isTreeBroken = false
        post(.learner(.historyPersisted))
    }

    /// What came before was applied to the tree of the snapshot; the log goes on behind that.
    private func startLogging() {
        isLogging = keepsHistory
        guard isLogging else { return }
        _ = window.seal()
        let batch = LogBatch(capacity: 1024)
        window.forEachOutstanding { batch.appendTxn($1, zxid: $0) }
        if !batch.isEmpty { append(batch) }
    }

    // MARK: The link

    /// Dialing the leader succeeded.
    package func connected(_ link: QuorumLink) {
        guard state == .following || state == .observing, leaderLink == nil else {
            return close(link)
        }
        leaderLink = link
        post(.learner(.connected))
    }

    /// Dialing the leader failed.
    package func dialFailed() { post(.learner(.disconnected)) }

    func introduce(_ acceptedEpoch: Int64) {
        let version = configuration?.version ?? .zero
        tellLeader {
            $0.appendLearnerInfo(
                isObserver: state == .observing, acceptedEpoch: acceptedEpoch, server: id,
                configVersion: version)
        }
    }

    func receiveFromLeader(_ packet: borrowing QuorumPacket) throws(QuorumProtocolError) {
        let zxid = packet.zxid
        switch packet.type {
        case .leaderInfo:
            _ = try LeaderInfo(packet.data)
            post(.learner(.epochOffered(zxid.epoch)))
        case .diff:
            adoptConfiguration()
            post(.learner(.syncBegun(.diff)))
        case .trunc: post(.learner(.syncBegun(.trunc(zxid))))
        case .snap: post(.learner(.syncBegun(.snap(zxid))))
        case .proposal:
            try keep(packet.requireData(), zxid)
            post(.learner(.proposed(zxid)))
        case .commit: post(.learner(.committed(zxid)))
        case .inform:
            try keep(packet.requireData(), zxid)
            post(.learner(.informed(zxid)))
        case .commitAndActivate:
            let leader = try Activation(packet.requireData()).designatedLeader
            activateSeen(designated: leader) {
                designatedLeader = leader
                post(.learner(.committed(zxid)))
                designatedLeader = nil
            }
        case .informAndActivate:
            let activation = try Activation(packet.requireData())
            let leader = activation.designatedLeader
            try keep(activation.txn, zxid)
            activateSeen(designated: leader) { post(.learner(.informed(zxid))) }
        case .newLeader:
            receiveConfiguration(NewLeader(packet.data).configuration)
            post(.learner(.historyEnded(epoch: zxid.epoch)))
        case .upToDate: post(.learner(.admitted))
        case .ping:
            // A tree that was read while its leader wrote to it is exact from here on at the latest.
            database.resumeDigests(from: zxid)
            post(.learner(.pinged(zxid)))
        case .sync:
            answerSync()
            post(.learner(.heard))
        case .revalidate:
            passOn(try RevalidateReply(packet.requireData()))
            post(.learner(.heard))
        case .request, .ack, .followerInfo, .observerInfo, .ackEpoch, nil:
            post(.learner(.heard))  // Apache's learners take no notice either.
        }
    }

    /// Puts a transaction into this turn's batch, if it continues the history and is one: what is
    /// logged must be readable.
    private func keep(_ txn: Span<UInt8>, _ zxid: Zxid) throws(QuorumProtocolError) {
        guard accepts(zxid) else { return }  // The reducer is told, and leaves.
        guard Database.isTxn(txn, zxid: zxid) else { throw .malformedTxn(zxid) }
        if !keepsHistory { isTreeKept = false }
        window.current.appendTxn(txn, zxid: zxid)
        seeReconfiguration(in: txn)
    }

    /// The echo tells the leader which sessions live.
    func echoPing(_ zxid: Zxid) {
        tellLeader { buffer in
            let packet = buffer.beginPing(zxid: zxid)
            host.takeTouchedSessions { session, timeout in
                buffer.appendTouched(session, timeoutMilliseconds: timeout)
            }
            for (session, timeout) in relayedTouches {
                buffer.appendTouched(session, timeoutMilliseconds: timeout)
            }
            relayedTouches.removeAll(keepingCapacity: true)
            buffer.endQuorumPacket(packet)
        }
    }

    // MARK: SNAP

    /// Another one comes in its place, and the disk keeps the old one until that is whole.
    private func forgetTree() {
        isLogging = false
        isTreeBroken = true
        if !keepsHistory { isTreeKept = false }
        window.removeAll()
        logEnd = database.lastProcessedZxid
        database.reset()
    }

    private func beginSnapshot(_ zxid: Zxid) {
        forgetTree()
        snapshotZxid = zxid
        snapshotReader = SnapshotStreamReader(limits: settings.packetLimits)
    }

    /// Takes what is whole of the tree and says how many bytes that was.
    func receiveSnapshotPart(_ bytes: Span<UInt8>, on link: QuorumLink) -> Int {
        guard var reader = snapshotReader else { return 0 }
        var target = ReceivedTree(database: database)
        do throws(QuorumProtocolError) {
            let used = try reader.consume(bytes, into: &target)
            snapshotReader = reader
            guard reader.isFinished else {
                post(.learner(.heard))
                return used
            }
            snapshotReader = nil
            do throws(RestoreError) {
                try database.finishSnapshot(zxid: snapshotZxid, digest: nil)
            } catch {
                throw .snapshotRefused
            }
            // What follows may repeat what the tree has already.
            database.suspendDigests()
            adoptConfiguration()
            post(.learner(.snapshotReceived))
            return used
        } catch {
            snapshotReader = nil
            refuse(link, error)
            return bytes.count
        }
    }
}
