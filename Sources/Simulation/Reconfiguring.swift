import Jute
import QuorumProtocol
import Vocabulary

/// What an administrator wants the ensemble to be: some servers that join, become something else
/// or leave; or all of them at once.
struct ReconfigurationRequest {
    var joining: [EnsembleConfiguration.Member] = []
    var leaving: [ServerID] = []
    var newMembers: EnsembleConfiguration?
    /// The configuration that is to be changed; nil: whichever is active.
    var expected: Zxid?

    /// The three lists of servers; nil: there is none.
    private var texts: [String?] {
        let joining = joining.map { "server.\($0.id.rawValue)=\($0.specification)" }
        let leaving = leaving.map { "\($0.rawValue)" }
        return [
            joining.isEmpty ? nil : joining.joined(separator: ","),
            leaving.isEmpty ? nil : leaving.joined(separator: ","),
            newMembers?.textWithoutVersion,
        ]
    }

    /// The record of the request.
    var body: [UInt8] {
        var buffer = ByteBuffer()
        for text in texts {
            if let text { buffer.appendField(text) } else { buffer.append(Int32(-1)) }
        }
        buffer.append((expected ?? .none).rawValue)
        return Array(buffer.bytes)
    }
}

extension ReconfigurationRequest: CustomStringConvertible {
    var description: String {
        let changes = zip(["joining", "leaving", "members"], texts).compactMap { name, text in
            text.map { "\(name) \($0.split(whereSeparator: \.isNewline).joined(separator: ","))" }
        }
        return changes.joined(separator: ", ") + (expected.map { ", instead of \($0)" } ?? "")
    }
}

/// What is asked for is drawn from what is committed. It may be refused: another one is on its way,
/// too few would be left, or too few of the new ones are in step.
extension World {
    func drawReconfiguration() -> ReconfigurationRequest {
        let current = journal.membership.configuration
        var request = ReconfigurationRequest()
        if random.chance(percent: current.isHierarchical ? 90 : 20) {
            request.newMembers = drawMembers()
        } else {
            for _ in 0..<random.pick([1, 1, 1, 2]) { drawChange(of: current, into: &request) }
        }
        switch random.below(10) {
        case ..<4: if current.version != .zero { request.expected = current.version }
        case ..<5: request.expected = Zxid(epoch: 1, counter: 1)
        default: break
        }
        return request
    }

    private func drawChange(
        of current: EnsembleConfiguration, into request: inout ReconfigurationRequest
    ) {
        // What befalls a leader shows most.
        let leaders = servers.filter { $0.isServing(as: .leading) }
        let index = random.pick(random.chance(percent: 70) ? servers : leaders + servers).index
        let id = servers[index].id
        guard !request.leaving.contains(id), !request.joining.contains(where: { $0.id == id })
        else { return }
        let chosen = random.below(10)
        switch current.member(id)?.role {
        case nil where chosen < 8: request.joining.append(.simulated(index, .participant))
        case nil: request.joining.append(.simulated(index, .observer))
        case .observer where chosen < 6: request.joining.append(.simulated(index, .participant))
        case .participant where chosen < 1:
            request.joining.append(.simulated(index, .participant, place: random.below(3)))
        // Few are left, and another crash ends all: that comes seldom.
        case .participant where current.participants.count < 4 && chosen < 6:
            request.joining.append(.simulated(index, .participant))
        case .participant where chosen.isMultiple(of: 2):
            request.joining.append(.simulated(index, .observer))
        case .participant, .observer: request.leaving.append(id)
        }
    }

    private func drawMembers() -> EnsembleConfiguration {
        let leavingPercent = random.pick([10, 30, 50])
        var members: [EnsembleConfiguration.Member] = []
        for index in servers.indices where !random.chance(percent: leavingPercent) {
            let isObserver = random.chance(percent: 20)
            members.append(.simulated(index, isObserver ? .observer : .participant))
        }
        if members.count(where: { $0.role == .participant }) < 2 {
            members = servers.indices.map { .simulated($0, .participant) }
        }
        guard random.chance(percent: 25) else {
            return EnsembleConfiguration(simulated: members, groups: [])
        }
        let voters = members.filter { $0.role == .participant }
        let groupCount = random.within(1...min(3, voters.count))
        let groups = voters.enumerated().map { place, voter in
            // A group without weight decides nothing, and somebody must.
            let weight = place < groupCount ? random.within(1...2) : random.below(3)
            return (voter.id, place % groupCount, weight)
        }
        return EnsembleConfiguration(simulated: members, groups: groups)
    }
}
