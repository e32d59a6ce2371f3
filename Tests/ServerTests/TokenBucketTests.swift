import Configuration
import Testing

@testable import Server

@Suite struct `Token buckets` {
    /// How many of so many sessions of one weight get what they need.
    private func takes(
        _ bucket: inout TokenBucket, _ count: Int, of weight: Int = 1, now: UInt64
    ) -> Int {
        (0..<count).count { _ in bucket.take(weight, now: now) }
    }

    @Test func `without a capacity nothing is refused`() {
        var bucket = TokenBucket(capacity: 0, fillMilliseconds: 1, fillCount: 1)
        #expect(takes(&bucket, 1000, now: 0) == 1000)
    }

    @Test func `a full bucket gives its capacity, then what time brings`() {
        var bucket = TokenBucket(capacity: 3, fillMilliseconds: 100, fillCount: 2)
        #expect(takes(&bucket, 5, now: 0) == 3)
        #expect(takes(&bucket, 5, now: 100) == 0)
        #expect(takes(&bucket, 5, now: 101) == 2)
        #expect(takes(&bucket, 5, now: 200) == 0)
        #expect(takes(&bucket, 5, now: 251) == 3, "what is more than one filling counts as well")
    }

    @Test func `a long pause fills it to the brim and not over`() {
        var bucket = TokenBucket(capacity: 3, fillMilliseconds: 100, fillCount: 2)
        #expect(takes(&bucket, 5, now: 0) == 3)
        #expect(takes(&bucket, 5, now: 1_000_000) == 3)
        #expect(takes(&bucket, 5, now: .max) == 3)
    }

    @Test func `a clock that stands or steps back brings nothing`() {
        var bucket = TokenBucket(capacity: 1, fillMilliseconds: 100, fillCount: 1)
        #expect(takes(&bucket, 2, now: 500) == 1)
        #expect(takes(&bucket, 2, now: 400) == 0)
        #expect(takes(&bucket, 2, now: 500) == 0)
        #expect(takes(&bucket, 2, now: 601) == 1)
    }

    @Test func `a time of 0 between fills is one of a millisecond`() {
        var bucket = TokenBucket(capacity: 1, fillMilliseconds: 0, fillCount: 1)
        #expect(takes(&bucket, 2, now: 0) == 1)
        #expect(takes(&bucket, 2, now: 2) == 1)
    }

    // MARK: Weights

    private func configuration(
        _ change: (inout ServerConfiguration) -> Void
    ) -> ServerConfiguration {
        var configuration = ServerConfiguration(dataDir: "")
        configuration.connectionThrottleTokens = 2
        configuration.connectionThrottleFillTimeMilliseconds = 100
        change(&configuration)
        return configuration
    }

    @Test func `who weighs more than there is gets nothing, and leaves it to others`() {
        var bucket = TokenBucket(capacity: 4, fillMilliseconds: 100, fillCount: 1)
        #expect(takes(&bucket, 2, of: 3, now: 0) == 1)
        #expect(takes(&bucket, 1, of: 2, now: 0) == 0)
        #expect(takes(&bucket, 2, of: 1, now: 0) == 1)
    }

    @Test func `without weights every session takes one token`() {
        let plain = configuration { $0.globalSessionWeight = 7 }
        let weights = SessionWeights(plain)
        #expect([weights.global, weights.local, weights.renewed] == [1, 1, 1])
        var bucket = TokenBucket(plain, weights)
        #expect(takes(&bucket, 5, now: 0) == 2)
        #expect(takes(&bucket, 5, now: 101) == 1)
    }

    @Test func `with weights the keys of the bucket count in global sessions`() {
        let weighing = configuration { $0.connectionThrottleWeightEnabled = true }
        let weights = SessionWeights(weighing)
        #expect([weights.global, weights.local, weights.renewed] == [3, 1, 2])
        var bucket = TokenBucket(weighing, weights)
        #expect(takes(&bucket, 9, now: 0) == 6)
        #expect(takes(&bucket, 9, now: 101) == 3)
    }

    @Test func `no session weighs less than a local one`() {
        let weights = SessionWeights(
            configuration {
                $0.connectionThrottleWeightEnabled = true
                $0.localSessionWeight = 5
            })
        #expect([weights.global, weights.local, weights.renewed] == [5, 5, 5])
    }

    @Test func `the largest weights and sizes that can be configured do no harm`() {
        let huge = configuration {
            $0.connectionThrottleWeightEnabled = true
            $0.connectionThrottleTokens = Int(Int32.max)
            $0.connectionThrottleFillCount = Int(Int32.max)
            $0.globalSessionWeight = Int(Int32.max)
        }
        var bucket = TokenBucket(huge, SessionWeights(huge))
        #expect(takes(&bucket, 2, of: Int(Int32.max), now: 0) == 1)
        #expect(takes(&bucket, 2, of: Int(Int32.max), now: .max) == 1)
    }
}
