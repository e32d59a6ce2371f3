import Foundation
import Testing

@testable import Server

@Suite struct `Written times` {
    @Test(arguments: [
        (Int64(0), "1970-01-01T00:00:00.000Z"), (1, "1970-01-01T00:00:00.001Z"),
        (1_795_228_200_123, "2026-11-21T02:30:00.123Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        (1_700_000_000_045, "2023-11-14T22:13:20.045Z"),
    ])
    func `a time is written as ISO 8601 in UTC, to the millisecond`(
        _ milliseconds: Int64, _ expected: String
    ) {
        #expect(Clock.iso8601(milliseconds: milliseconds) == expected)
    }

    @Test func `the wall clock is the wall clock`() {
        let now = Int64(Date().timeIntervalSince1970 * 1000)
        #expect(abs(Clock.milliseconds - now) < 60_000)
        let first = Clock.monotonicMicroseconds
        #expect(Clock.monotonicMicroseconds >= first)
    }

    @Test func `Java's way has the day, the zone and the year`() {
        let text = Clock.javaDate(milliseconds: 1_795_228_200_123)
        // The zone is that of the machine.
        let shape = /(Fri|Sat) Nov 2\d \d\d:\d\d:00 \S+ 2026/
        #expect(text.wholeMatch(of: shape) != nil, "\(text)")
    }
}
