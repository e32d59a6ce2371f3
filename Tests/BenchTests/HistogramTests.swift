import Testing

@testable import zkBench

@Suite struct HistogramTests {
    @Test func `percentiles are those of the sorted values to less than one percent`() {
        var histogram = Histogram()
        var values: [UInt64] = []
        var state: UInt64 = 88_172_645_463_325_252
        for _ in 0..<20_000 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            // Spread over all magnitudes up to 2^40.
            values.append(state >> (24 + (state & 31)))
        }
        for value in values { histogram.record(value) }
        values.sort()
        for share in [0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1] {
            let exact = values[max(0, Int((share * Double(values.count)).rounded(.up)) - 1)]
            let found = histogram.percentile(share)
            #expect(found >= exact, "at \(share)")
            #expect(found - exact <= exact / 128, "at \(share)")
        }
        #expect(histogram.max == values.last)
        #expect(histogram.count == 20_000)
    }

    @Test(arguments: [0, 1, 127, 128, 255, 256, 257, 511, 512, 1 << 20, UInt64.max])
    func `a single value is every percentile`(value: UInt64) {
        var histogram = Histogram()
        histogram.record(value)
        #expect(histogram.percentile(0) == value)
        #expect(histogram.percentile(1) == value)
        #expect(histogram.max == value)
    }

    @Test func `merging counts what both counted`() {
        var a = Histogram()
        var b = Histogram()
        for value in 1...100 { a.record(UInt64(value)) }
        for value in 101...200 { b.record(UInt64(value)) }
        a.merge(b)
        #expect(a.count == 200)
        #expect(a.percentile(0.5) == 100)
        #expect(a.percentile(0.75) == 150)
        #expect(a.max == 200)
        #expect(a.mean == 100.5)
        a.removeAll()
        #expect(a.isEmpty && a.max == 0 && a.percentile(0.5) == 0)
    }
}
