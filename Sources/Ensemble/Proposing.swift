import ClientProtocol
package import Jute
import QuorumProtocol
import StorageFormat
package import Vocabulary
import Zab
package import Znodes

/// How requests become transactions at the leader, and how sessions live there.
extension QuorumPeer {
    /// Writes a transaction into this turn's batch.
    @discardableResult
    package func propose(_ write: (inout ByteBuffer) -> Zxid) -> Zxid {
        let batch = window.current
        batch.beginRecord()
        let zxid = write(&batch.buffer)
        batch.endRecord(zxid: zxid)
        return zxid
    }

    /// Turns a client's write into a transaction.
    ///
    /// - Throws: when the body is not a record of `op`; no zxid was used then. A record that can be
    ///   read and names nothing is a failure like any other.
    @discardableResult
    package func propose(
        _ op: OpCode, body: Span<UInt8>, from origin: Proposer.Origin
    ) throws(JuteError) -> Zxid {
        let batch = window.current
        let start = batch.buffer.count
        batch.beginRecord()
        let zxid: Zxid
        do throws(JuteError) {
            zxid = try proposer.propose(op, body: body, from: origin, into: &batch.buffer)
        } catch .unexpectedNull {
            zxid = proposer.proposeFailure(.marshallingError, from: origin, into: &batch.buffer)
        } catch {
            batch.cancelRecord()
            throw error
        }
        batch.endRecord(zxid: zxid)
        if op == .reconfig {
            _ = batch.txn(at: start) { proposeConfiguration(in: $0, zxid: zxid) }
        }
        return zxid
    }

    /// The request may have failed: then there is no configuration.
    private func proposeConfiguration(in txn: Span<UInt8>, zxid: Zxid) {
        guard let text = Database.configurationText(in: txn) else { return }
        reconfigurationProposed(text, zxid: zxid)
    }

    /// Begins a session; it is owned by where it was asked for.
    @discardableResult
    package func proposeSession(
        _ session: SessionID, timeoutMilliseconds: Int32, owner: LinkID = .here
    ) -> Zxid {
        propose {
            proposer.proposeSession(
                session, timeoutMilliseconds: timeoutMilliseconds, owner: owner, now: host.clock,
                time: host.wallClock, into: &$0)
        }
    }

    /// Ends a session: its client has asked for it, or its time is over.
    @discardableResult
    package func proposeSessionEnd(_ session: SessionID, cxid: Int32 = 0) -> Zxid {
        propose {
            proposer.proposeSessionEnd(session, cxid: cxid, time: host.wallClock, into: &$0)
        }
    }

    /// A client goes on with its session at this server or at a learner; false if the session is
    /// over.
    package func adopt(
        _ session: SessionID, timeoutMilliseconds: Int32, owner: LinkID
    ) -> Bool {
        guard isLeading, let slot = proposer.tracker.slot(of: session),
            !proposer.tracker.isClosing(slot)
        else { return false }
        if proposer.tracker.owner(slot) == .here, owner != .here { host.sessionMoved(session) }
        proposer.tracker.add(session, timeoutMilliseconds: timeoutMilliseconds, now: host.clock)
        proposer.tracker.setOwner(slot, owner)
        return true
    }

    /// A sign of life, told by a learner. Its leader's learner passes it on.
    func touch(_ session: SessionID, timeoutMilliseconds: Int32) {
        if observerMaster != nil {
            relayedTouches.append((session, timeoutMilliseconds))
        }
        guard isLeading, let slot = proposer.tracker.slot(of: session) else { return }
        proposer.tracker.touch(slot, now: host.clock)
    }

    // MARK: Anywhere

    /// Asks the leader, this server or another, for the moment from which a read here sees all that
    /// was acknowledged before; `syncCompleted` tells it, in the order of the calls.
    package func sync(
        _ session: SessionID, cxid: Int32, body: Span<UInt8>, identities: [Identity]
    ) {
        syncsWaiting.append(nil)
        if isLeading {
            post(.leader(.syncRequested(after: lastProposed)))
        } else {
            forward(session, cxid: cxid, op: .sync, body: body, identities: identities)
        }
    }

    /// Sends a client's write to the leader; its transaction comes back.
    package func forward(
        _ session: SessionID, cxid: Int32, op: OpCode, body: Span<UInt8>, identities: [Identity]?
    ) {
        tellLeader {
            $0.appendRequest(
                session: session, cxid: cxid, type: op.rawValue, body: body,
                identities: identities)
        }
    }

    /// Asks the leader whether the session still lives; `revalidated` brings the answer, or goes to
    /// the observer that asks.
    package func revalidate(
        _ session: SessionID, timeoutMilliseconds: Int32, for link: QuorumLink? = nil
    ) {
        revalidationsWaiting.append(link)
        tellLeader { $0.appendRevalidate(session, timeoutMilliseconds: timeoutMilliseconds) }
    }
}
