internal import DequeModule
import QuorumProtocol
import Vocabulary

/// What an observer master passes on between its observers and its leader. Answers come in the order
/// of the questions, whoever asked: observers, or clients of this server.
///
/// Source: ZooKeeper, `ObserverMaster`, `FollowerZooKeeperServer.processObserverRequest`.
extension QuorumPeer {
    /// The leader takes it for a request of this server's; its transaction reaches the observer like
    /// any other.
    func relay(
        _ request: borrowing ForwardedRequest, authInfo: AuthInfoField, from link: QuorumLink
    ) {
        let (session, cxid, type, body) =
            (request.session, request.cxid, request.type, request.body)
        if request.isSync { syncsWaiting.append(link) }
        tellLeader {
            $0.appendRequest(
                session: session, cxid: cxid, type: type, body: body, authInfo: authInfo)
        }
    }

    func passOn(_ answer: RevalidateReply) {
        guard let link = revalidationsWaiting.popFirst() ?? nil else {
            return host.revalidated(answer.session, isValid: answer.isValid)
        }
        if !link.isClosed { reply(to: link, answer.session, isValid: answer.isValid) }
    }

    func reply(to link: QuorumLink, _ session: SessionID, isValid: Bool) {
        write(to: link) { $0.appendRevalidateReply(session, isValid: isValid) }
    }
}
