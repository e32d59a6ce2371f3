import Ensemble
import Jute
import StorageFormat
import Testing
import Transactions
import Vocabulary

@testable import Server

@Suite struct RolesMeasured {
    private var roles = RoleStatistics()

    private func batch(times: [Int64]) -> LogBatch {
        let batch = LogBatch()
        for (index, time) in times.enumerated() {
            batch.beginRecord()
            header(zxid: index + 1, time: time).append(to: &batch.buffer)
            batch.endRecord(zxid: Zxid(rawValue: Int64(index + 1)))
        }
        return batch
    }

    private func header(zxid: Int, time: Int64) -> TxnHeader {
        TxnHeader(
            session: .none, cxid: 0, zxid: Zxid(rawValue: Int64(zxid)), time: time, type: .error)
    }

    @Test mutating func `a leader was unavailable from looking to serving`() {
        roles.lookingBegan(now: 100)
        roles.elected(as: .leading, now: 130)
        roles.servingBegan(as: .leading, now: 190)
        #expect(roles.lookingCount == 1)
        #expect(roles.electionTime.sum == 30)
        #expect(roles.unavailableTime.sum == 90)
        #expect(roles.leaderUnavailableTime.sum == 90)
        #expect(roles.followerSyncTime.count == 0)
        #expect(roles.since.serving == 190)
    }

    @Test mutating func `a role that never served is part of the time without service`() {
        roles.lookingBegan(now: 100)
        roles.elected(as: .following, now: 110)
        roles.lookingBegan(now: 150)
        roles.elected(as: .following, now: 170)
        roles.syncBegan(now: 175)
        roles.servingBegan(as: .following, now: 180)
        #expect(roles.lookingCount == 2)
        #expect(roles.electionTime.count == 2)
        #expect(roles.electionTime.sum == 30)
        #expect(roles.unavailableTime.count == 1)
        #expect(roles.unavailableTime.sum == 80)
        #expect(roles.leaderUnavailableTime.count == 0)
        #expect(roles.followerSyncTime.sum == 5)
    }

    @Test mutating func `an observer elects nobody`() {
        roles.lookingBegan(now: 0)
        roles.elected(as: .observing, now: 10)
        roles.syncBegan(now: 20)
        roles.servingBegan(as: .observing, now: 50)
        #expect(roles.electionTime.count == 0)
        #expect(roles.unavailableTime.sum == 50)
        #expect(roles.observerSyncTime.sum == 30)
        #expect(roles.followerSyncTime.count == 0)
    }

    @Test mutating func `each role counts transactions in its own way`() {
        let batch = batch(times: [1000, 1004])
        roles.logged(batch, as: .leading, wallClock: 1010)
        #expect(roles.proposalCount == 2)
        #expect(roles.proposalSizes.last == TxnHeader.bytes)
        #expect(roles.proposalLatency.summary.count == 0)
        roles.logged(batch, as: .following, wallClock: 1010)
        #expect(roles.proposalCount == 2)
        #expect(roles.proposalsReceived == 2)
        #expect(roles.proposalLatency.summary.sum == 16)
        roles.logged(batch, as: .observing, wallClock: 1010)
        #expect(roles.proposalsReceived == 2)

        roles.flushed(batch, as: .observing, wallClock: 1010)
        #expect(roles.proposalAckCreationLatency.summary.count == 0)
        roles.flushed(batch, as: .following, wallClock: 1011)
        #expect(roles.proposalAckCreationLatency.summary.sum == 18)

        let header = header(zxid: 1, time: 1000)
        roles.applied(header, as: .leading, wallClock: 1007)
        #expect(roles.commitCount == 1)
        #expect(roles.quorumAckLatency.summary.sum == 7)
        roles.applied(header, as: .observing, wallClock: 1008)
        roles.applied(header, as: .following, wallClock: 1009)
        #expect(roles.commitsReceived == 2)
        #expect(roles.commitPropagationLatency.summary.sum == 17)
        roles.applied(header, as: nil, wallClock: 1001)
        #expect(roles.commitCount == 1)
        #expect(roles.propagationLatency.summary.sum == 25)
    }

    @Test mutating func `acknowledgements are measured server by server`() {
        let (one, two) = (ServerID(rawValue: 1), ServerID(rawValue: 2))
        roles.acknowledged(by: one, madeAt: 1000, wallClock: 1003)
        roles.acknowledged(by: two, madeAt: 1000, wallClock: 1004)
        roles.acknowledged(by: two, madeAt: 1001, wallClock: 1006)
        #expect(roles.ackLatency[one]?.summary.sum == 3)
        #expect(roles.ackLatency[two]?.summary.sum == 9)
    }

    @Test mutating func `a clock behind the leader's counts nothing`() {
        roles.logged(batch(times: [1000]), as: .following, wallClock: 999)
        #expect(roles.proposalsReceived == 1)
        #expect(roles.proposalLatency.summary.count == 0)
    }

    @Test mutating func `synchronisations are counted once, those in flight at both ends`() {
        roles.learnerSync(.snapshot, began: true, inFlight: 1)
        roles.learnerSync(.transactions, began: true, inFlight: 1)
        roles.learnerSync(.snapshot, began: false, inFlight: 0)
        #expect(roles.snapCount == 1)
        #expect(roles.diffCount == 1)
        #expect(roles.inflightSnapCount.count == 2)
        #expect(roles.inflightSnapCount.sum == 1)
        #expect(roles.inflightDiffCount.count == 1)
    }

    @Test mutating func `what goes on outlives a reset and another role forgets the sizes`() {
        roles.lookingBegan(now: 5)
        roles.logged(batch(times: [0]), as: .leading, wallClock: 0)
        roles.reset()
        #expect(roles.lookingCount == 0)
        #expect(roles.proposalSizes.last == -1)
        roles.logged(batch(times: [0]), as: .leading, wallClock: 0)
        roles.elected(as: .leading, now: 15)
        #expect(roles.electionTime.sum == 10)
        #expect(roles.proposalSizes.last == -1)
        #expect(roles.proposalCount == 1)
        #expect(roles.since.role == 15)
    }

    @Test func `a server's own numbers begin anew with each role, all others with srst`() {
        var statistics = ServerStatistics()
        statistics.answered(latency: 3, bytes: 20)
        statistics.authFailures = 1
        statistics.fsyncTime.record(4)
        statistics.beginRole()
        #expect(statistics.packetsSent == 0)
        #expect(statistics.latency.count == 0)
        #expect(statistics.responseSizes.last == -1)
        #expect(statistics.authFailures == 0)
        #expect(statistics.responseBytes == 20)
        #expect(statistics.fsyncTime.count == 1)
        statistics.authFailures = 1
        statistics.roles.lookingBegan(now: 7)
        statistics.reset()
        #expect(statistics.responseBytes == 0)
        #expect(statistics.fsyncTime.count == 0)
        #expect(statistics.authFailures == 1)
        #expect(statistics.roles.lookingCount == 0)
        #expect(statistics.roles.since.looking == 7)
    }
}
