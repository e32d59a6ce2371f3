/// Counts durations in buckets that are never wider than 1/128 of their value.
///
/// The first 256 nanoseconds have a bucket each; above, every power of two is cut into 128 equal
/// ones. Recording is a shift and an addition, whatever the range.
package struct Histogram {
    private static let precisionBits = 7
    private static let stepsPerOctave = 1 << precisionBits

    private var counts = [UInt64](
        repeating: 0, count: (64 - precisionBits + 1) * stepsPerOctave)
    private var sum: UInt64 = 0
    package private(set) var count: UInt64 = 0
    package private(set) var max: UInt64 = 0

    package init() {}

    package var isEmpty: Bool { count == 0 }

    @inline(__always)
    private static func bucket(of value: UInt64) -> Int {
        let shift = Swift.max(0, 63 - precisionBits - (value | 1).leadingZeroBitCount)
        return shift << precisionBits + Int(truncatingIfNeeded: value >> UInt64(shift))
    }

    /// The largest value of a bucket.
    private static func top(ofBucket bucket: Int) -> UInt64 {
        let octave = bucket >> precisionBits
        guard octave > 1 else { return UInt64(bucket) }
        let shift = UInt64(octave - 1)
        let steps = UInt64(bucket & (stepsPerOctave - 1) | stepsPerOctave)
        return steps << shift | (1 << shift - 1)
    }

    @inline(__always)
    package mutating func record(_ value: UInt64) {
        counts[Self.bucket(of: value)] &+= 1
        count &+= 1
        sum &+= value
        if value > max { max = value }
    }

    package mutating func removeAll() {
        guard count > 0 else { return }
        for bucket in counts.indices { counts[bucket] = 0 }
        (sum, count, max) = (0, 0, 0)
    }

    package mutating func merge(_ other: Histogram) {
        guard other.count > 0 else { return }
        for bucket in counts.indices { counts[bucket] &+= other.counts[bucket] }
        sum &+= other.sum
        count &+= other.count
        max = Swift.max(max, other.max)
    }

    package var mean: Double { count == 0 ? 0 : Double(sum) / Double(count) }

    /// The value that `share` (0...1) of the recorded ones do not exceed, to the bucket's width.
    package func percentile(_ share: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let rank = Swift.max(1, UInt64((share * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (bucket, inBucket) in counts.enumerated() {
            seen += inBucket
            if seen >= rank { return Swift.min(max, Self.top(ofBucket: bucket)) }
        }
        return max
    }
}
