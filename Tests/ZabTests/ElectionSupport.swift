import Testing
import Vocabulary
import Zab

func server(_ id: Int64) -> ServerID { ServerID(rawValue: id) }

func zxid(_ epoch: Int64, _ counter: UInt32) -> Zxid { Zxid(epoch: epoch, counter: counter) }

func vote(_ leader: Int64, zxid: Int64 = 5, epoch: Int64 = 1) -> Election.Vote {
    Election.Vote(leader: server(leader), zxid: Zxid(rawValue: zxid), peerEpoch: epoch)
}

func looking(_ vote: Election.Vote, round: Int64 = 1, version: Int32 = 2) -> Election.Notification {
    Election.Notification(state: .looking, vote: vote, round: round, version: version)
}

func following(
    _ vote: Election.Vote, round: Int64 = 1, version: Int32 = 2
) -> Election.Notification {
    Election.Notification(state: .following, vote: vote, round: round, version: version)
}

func leading(_ vote: Election.Vote, round: Int64 = 1, version: Int32 = 2) -> Election.Notification {
    Election.Notification(state: .leading, vote: vote, round: round, version: version)
}

func majority(_ voters: Int64...) -> QuorumVerifier {
    QuorumVerifier(voters: voters.map(server))
}

/// One server's election, told event by event; each event gives its effects.
struct Scenario {
    let id: Int64
    var election: Election

    /// A server that has not started, by default with a history up to zxid 5 of epoch 1.
    init(
        _ id: Int64, zxid: Int64 = 5, epoch: Int64 = 1, electorate: Election.Electorate,
        timing: Election.Timing = Election.Timing()
    ) {
        self.id = id
        election = Election(
            id: server(id),
            history: Election.History(lastZxid: Zxid(rawValue: zxid), currentEpoch: epoch),
            electorate: electorate, timing: timing)
    }

    /// A server that looks, in round 1, among so many voters.
    init(_ id: Int64, zxid: Int64 = 5, epoch: Int64 = 1, of voters: ClosedRange<Int64> = 1...3) {
        self.init(
            id, zxid: zxid, epoch: epoch,
            electorate: Election.Electorate(
                active: QuorumVerifier(voters: voters.map(server))))
        start()
    }

    @discardableResult
    mutating func start() -> [Election.Effect] { step(.started) }

    @discardableResult
    mutating func step(_ event: Election.Event) -> [Election.Effect] {
        election.effects(of: event)
    }

    @discardableResult
    mutating func hear(_ notification: Election.Notification, from id: Int64) -> [Election.Effect] {
        step(.notificationReceived(notification, from: server(id)))
    }

    /// Ends the role that the server has, with its history as it is here.
    @discardableResult
    mutating func endRole(zxid: Int64 = 5, epoch: Int64 = 1) -> [Election.Effect] {
        step(.roleEnded(Election.History(lastZxid: Zxid(rawValue: zxid), currentEpoch: epoch)))
    }
}

/// The same notification to several servers, in this order.
func tell(_ notification: Election.Notification, _ ids: Int64...) -> [Election.Effect] {
    ids.map { .send(notification, to: server($0)) }
}

let resend = Election.Effect.arm(.resend, after: .milliseconds(200))
let finalizeWait = Election.Effect.arm(.finalizeWait, after: .milliseconds(200))
/// A result ends both timers, if both run.
let noMoreTimers: [Election.Effect] = [.disarm(.resend), .disarm(.finalizeWait)]
