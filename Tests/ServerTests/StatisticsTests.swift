import Testing
import UnitTestSupport
import Vocabulary

@testable import Server

@Suite struct Statistics {
    @Test func `a summary knows its ends, its mean and its sum`() {
        var summary = LatencySummary()
        #expect(summary.minimum == 0)
        #expect(summary.maximum == 0)
        #expect(summary.mean == 0)
        for value in [Int64(7), 3, 11] { summary.record(value) }
        #expect(summary.minimum == 3)
        #expect(summary.maximum == 11)
        #expect(summary.mean == 7)
        #expect(summary.sum == 21)
        #expect(summary.count == 3)
    }

    @Test func `sizes begin at -1`() {
        var sizes = ByteSizes()
        #expect(sizes.last == -1)
        #expect(sizes.minimum == -1)
        #expect(sizes.maximum == -1)
        for size in [20, 100, 16] { sizes.record(size) }
        #expect(sizes.last == 16)
        #expect(sizes.minimum == 16)
        #expect(sizes.maximum == 100)
    }

    @Test func `small values have exact percentiles`() {
        var percentiles = Percentiles()
        for value in Int64(1)...8 { percentiles.record(value) }
        #expect(percentiles.quantile(0.5) == 4)
        #expect(percentiles.quantile(0.25) == 2)
        #expect(percentiles.quantile(1) == 8)
        #expect(Percentiles().quantile(0.99) == 0)
    }

    @Test(arguments: UInt64(0)..<10)
    func `a percentile is at most an eighth below the exact one`(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var percentiles = Percentiles()
        var values: [Int64] = []
        for _ in 0..<1000 {
            let value = Int64(random.next() >> UInt64(24 + random.below(40)))
            values.append(value)
            percentiles.record(value)
        }
        values.sort()
        for share in [0.01, 0.5, 0.95, 0.99, 0.999, 1] {
            let exact = values[Int((Double(values.count) * share).rounded(.up)) - 1]
            let found = percentiles.quantile(share)
            #expect(found <= exact)
            #expect(found >= exact - exact / 8)
        }
        #expect(percentiles.summary.maximum == values.last)
    }

    @Test(arguments: [Int64.min, -1, 0, 1, .max])
    func `no value is out of range`(_ value: Int64) {
        var percentiles = Percentiles()
        percentiles.record(value)
        let found = percentiles.quantile(0.5)
        #expect(found >= 0)
        #expect(found <= max(0, value))
    }

    @Test func `resetting a connection's numbers keeps when it came`() {
        var statistics = ConnectionStatistics()
        statistics.established = 5
        statistics.answered(xid: 3, zxid: .zero, latency: 9, now: 12)
        statistics.answered(xid: -2, zxid: .zero, latency: 1, now: 13)
        #expect(statistics.sent == 2)
        #expect(statistics.lastCxid == 3)
        #expect(statistics.lastLatency == 1)
        #expect(statistics.latency.maximum == 9)
        statistics.reset()
        #expect(statistics.established == 5)
        #expect(statistics.sent == 0)
        #expect(statistics.lastOperation == "NA")
        #expect(statistics.lastCxid == -1)
    }
}
