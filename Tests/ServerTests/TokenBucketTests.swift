import Testing

@testable import Server

@Suite struct `Token buckets` {
    private func takes(_ bucket: inout TokenBucket, _ count: Int, now: UInt64) -> Int {
        (0..<count).count { _ in bucket.take(now: now) }
    }

    @Test func `without a capacity nothing is refused`() {
        var bucket = TokenBucket(capacity: 0, fillMilliseconds: 1, fillCount: 1)
        #expect(takes(&bucket, 1000, now: 0) == 1000)
    }

    @Test func `a full bucket gives its capacity, then what time brings`() {
        var bucket = TokenBucket(capacity: 3, fillMilliseconds: 100, fillCount: 2)
        #expect(takes(&bucket, 5, now: 0) == 3)
        #expect(takes(&bucket, 5, now: 99) == 0)
        #expect(takes(&bucket, 5, now: 100) == 2)
        #expect(takes(&bucket, 5, now: 150) == 0)
        #expect(takes(&bucket, 5, now: 200) == 2)
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
        #expect(takes(&bucket, 2, now: 600) == 1)
    }

    @Test func `a time of 0 between fills is one of a millisecond`() {
        var bucket = TokenBucket(capacity: 1, fillMilliseconds: 0, fillCount: 1)
        #expect(takes(&bucket, 2, now: 0) == 1)
        #expect(takes(&bucket, 2, now: 1) == 1)
    }
}
