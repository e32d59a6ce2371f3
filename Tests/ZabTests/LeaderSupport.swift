import Testing
import Vocabulary
import Zab

func link(_ number: Int) -> LinkID { LinkID(rawValue: number) }

/// Ticks of two seconds; three for a step, two of silence.
let linkTiming = LinkTiming(tick: .seconds(2), initLimit: 3, syncLimit: 2)

let threeVoters = Election.Electorate(active: majority(1, 2, 3))

/// Server 1 leads, told event by event; each event gives its effects. Unless it says otherwise, its
/// history ends at 4:7, and a link has the number of the server at its other end.
struct LeaderScenario {
    var leader: Leader

    /// A leader that has not started.
    init(
        zxid last: Zxid = zxid(4, 7), epoch: Int64 = 4, accepted: Int64 = 4,
        electorate: Election.Electorate = threeVoters, version: Zxid = .zero,
        confirmsSyncs: Bool = true
    ) {
        leader = Leader(
            id: server(1), history: .init(lastZxid: last, currentEpoch: epoch),
            acceptedEpoch: accepted, electorate: electorate, configVersion: version,
            timing: linkTiming, confirmsSyncs: confirmsSyncs)
    }

    /// A leader that waits for promises.
    static func collecting(
        _ electorate: Election.Electorate = threeVoters, confirmsSyncs: Bool = true
    ) -> Self {
        var one = Self(electorate: electorate, confirmsSyncs: confirmsSyncs)
        one.step(.started)
        return one
    }

    /// A leader that has offered epoch 5 to these voters, a quorum with it.
    static func establishing(
        _ voters: Int64..., electorate: Election.Electorate = threeVoters
    ) -> Self {
        var one = collecting(electorate)
        one.establish(voters)
        return one
    }

    /// A leader that sends its history to these voters.
    static func synchronising(
        _ voters: Int64..., electorate: Election.Electorate = threeVoters
    ) -> Self {
        var one = collecting(electorate)
        one.establish(voters)
        one.synchronise(voters)
        return one
    }

    /// A leader that serves in epoch 5, with these voters up to date.
    static func serving(
        _ voters: Int64..., electorate: Election.Electorate = threeVoters,
        confirmsSyncs: Bool = true
    ) -> Self {
        var one = collecting(electorate, confirmsSyncs: confirmsSyncs)
        one.establish(voters)
        one.synchronise(voters)
        for voter in voters { one.ack(voter, zxid(5, 0)) }
        return one
    }

    private mutating func establish(_ voters: [Int64]) {
        for voter in voters { arrive(voter) }
        step(.acceptedEpochSaved)
    }

    private mutating func synchronise(_ voters: [Int64]) {
        for voter in voters { agree(voter) }
        step(.currentEpochSaved)
    }

    @discardableResult
    mutating func step(_ event: Leader.Event) -> [Leader.Effect] {
        leader.effects(of: event)
    }

    @discardableResult
    mutating func arrive(
        _ id: Int64, on number: Int? = nil, observes: Bool = false, epoch: Int64 = 4,
        version: Zxid? = nil
    ) -> [Leader.Effect] {
        step(
            .learnerArrived(
                link(number ?? Int(id)),
                .init(
                    server: server(id), isObserver: observes, acceptedEpoch: epoch,
                    configVersion: version)))
    }

    /// ACKEPOCH
    @discardableResult
    mutating func agree(
        _ number: Int64, zxid last: Zxid = zxid(4, 7), epoch: Int64? = 4
    ) -> [Leader.Effect] {
        step(.epochAcknowledged(link(Int(number)), lastZxid: last, currentEpoch: epoch))
    }

    /// ACK
    @discardableResult
    mutating func ack(_ number: Int64, _ zxid: Zxid) -> [Leader.Effect] {
        step(.acknowledged(link(Int(number)), zxid))
    }

    /// A server comes late, and is brought up to date.
    @discardableResult
    mutating func join(
        _ id: Int64, on number: Int? = nil, observes: Bool = false
    ) -> [Leader.Effect] {
        let effects =
            arrive(id, on: number, observes: observes)
            + agree(Int64(number ?? Int(id)), epoch: nil)
            + ack(Int64(number ?? Int(id)), zxid(5, 0))
        #expect(effects.last == .sendUpToDate(link(number ?? Int(id))))
        return effects
    }

    /// A whole tick, and the packets that end the silence of these links in each half of it.
    @discardableResult
    mutating func tick(heard links: Int...) -> [Leader.Effect] {
        (0..<2).flatMap { _ in
            for number in links { step(.heard(link(number))) }
            return step(.timerExpired(.halfTick))
        }
    }
}

func pings(_ links: Int...) -> [Leader.Effect] { links.map { .ping(link($0)) } }

func gone(_ number: Int, _ reason: Leader.Disconnection) -> Leader.Effect {
    .disconnect(link(number), reason)
}

func resigned(_ reason: Leader.Resignation) -> [Leader.Effect] {
    [.disarm(.step), .disarm(.halfTick), .resign(reason)]
}

let armStep = Leader.Effect.arm(.step, after: .seconds(6))
let armHalfTick = Leader.Effect.arm(.halfTick, after: .seconds(1))
