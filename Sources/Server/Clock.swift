internal import Glibc

/// The wall clock, and how its times are written.
package enum Clock {
    /// Milliseconds since 1970.
    package static var milliseconds: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// Microseconds of a clock that never steps back.
    static var monotonicMicroseconds: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    }

    /// As `2026-11-21T02:30:00.123Z`.
    package static func iso8601(milliseconds: Int64) -> String {
        formatted("%Y-%m-%dT%H:%M:%S", milliseconds, isUTC: true) + "."
            + padded(milliseconds % 1000, columns: 3) + "Z"
    }

    /// As Java prints a date: `Sat Nov 21 02:30:00 UTC 2026`.
    static func javaDate(milliseconds: Int64) -> String {
        formatted("%a %b %d %H:%M:%S %Z %Y", milliseconds, isUTC: false)
    }

    private static func formatted(_ format: String, _ milliseconds: Int64, isUTC: Bool) -> String {
        var seconds = time_t(milliseconds / 1000)
        var parts = tm()
        if isUTC { gmtime_r(&seconds, &parts) } else { localtime_r(&seconds, &parts) }
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { text in
            guard let base = text.baseAddress else { return "" }
            let count = strftime(base, 64, format, &parts)
            return String(
                decoding: UnsafeRawBufferPointer(start: base, count: count), as: UTF8.self)
        }
    }

    private static func padded(_ value: Int64, columns: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, columns - digits.utf8.count)) + digits
    }
}
