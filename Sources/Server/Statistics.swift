import Vocabulary

/// What one connection did since it was opened or since `crst`.
struct ConnectionStatistics {
    /// Milliseconds since 1970.
    var established: Int64 = 0
    var received: Int64 = 0
    var sent: Int64 = 0
    /// The last request answered; nil before the first.
    var lastOperation = "NA"
    var lastCxid: Int32 = -1
    var lastZxid = Zxid.none
    /// Milliseconds of the loop's clock.
    var lastResponseTime: UInt64 = 0
    var lastLatency: Int64 = 0
    var latency = LatencySummary()

    @inline(__always)
    mutating func answered(xid: Int32, zxid: Zxid, latency milliseconds: Int64, now: UInt64) {
        sent &+= 1
        lastLatency = milliseconds
        if xid >= 0 { lastCxid = xid }
        lastZxid = zxid
        lastResponseTime = now
        latency.record(milliseconds)
    }

    mutating func reset() {
        let kept = established
        self = ConnectionStatistics()
        established = kept
    }
}

/// Minimum, maximum, mean and sum of something measured.
struct LatencySummary {
    private(set) var count: Int64 = 0
    private(set) var sum: Int64 = 0
    private var least = Int64.max
    private(set) var maximum: Int64 = 0

    @inline(__always)
    mutating func record(_ value: Int64) {
        count &+= 1
        sum &+= value
        if value < least { least = value }
        if value > maximum { maximum = value }
    }

    var minimum: Int64 { count == 0 ? 0 : least }
    var mean: Double { count == 0 ? 0 : Double(sum) / Double(count) }
}

/// The sizes of replies or proposals; -1 before the first.
struct ByteSizes {
    private(set) var last = -1
    private(set) var minimum = -1
    private(set) var maximum = -1

    @inline(__always)
    mutating func record(_ bytes: Int) {
        last = bytes
        if bytes > maximum { maximum = bytes }
        if bytes < minimum || minimum < 0 { minimum = bytes }
    }
}

/// Values whose percentiles matter: a histogram whose buckets grow by an eighth.
struct Percentiles {
    private(set) var summary = LatencySummary()
    private var buckets = [UInt32](repeating: 0, count: 8 * 40)

    @inline(__always)
    mutating func record(_ value: Int64) {
        summary.record(value)
        buckets[Self.bucket(value)] &+= 1
    }

    private static func bucket(_ value: Int64) -> Int {
        guard value >= 8 else { return Int(max(0, value)) }
        let exponent = 63 - value.leadingZeroBitCount
        let eighth = Int(value >> Int64(exponent - 3)) & 7
        return min(8 * 40 - 1, (exponent - 2) * 8 + eighth)
    }

    private static func lowerBound(_ bucket: Int) -> Int64 {
        guard bucket >= 8 else { return Int64(bucket) }
        return Int64(8 + bucket % 8) << Int64(bucket / 8 - 1)
    }

    /// The value that a share of all values does not pass, rounded down to its bucket.
    func quantile(_ share: Double) -> Int64 {
        guard summary.count > 0 else { return 0 }
        var left = Int64((Double(summary.count) * share).rounded(.up))
        for (index, count) in buckets.enumerated() {
            left -= Int64(count)
            if left <= 0 { return Self.lowerBound(index) }
        }
        return summary.maximum
    }
}

/// What the server did since its start or since `srst`.
struct ServerStatistics {
    // Since the server has its role, at most
    var packetsReceived: Int64 = 0
    var packetsSent: Int64 = 0
    var latency = LatencySummary()
    var responseSizes = ByteSizes()
    var authFailures: Int64 = 0

    var bytesReceived = 0
    var readLatency = Percentiles()
    var updateLatency = Percentiles()
    var fsyncTime = LatencySummary()
    var flushTime = Percentiles()
    var snapshotTime = LatencySummary()
    var connectionRequests: Int64 = 0
    var connectionsRejected: Int64 = 0
    var connectionsDropped: Int64 = 0
    var connectionRevalidations: Int64 = 0
    var sessionlessExpired: Int64 = 0
    var staleSessionsExpired: Int64 = 0
    var snapshotErrors: Int64 = 0
    var throttleWaits: Int64 = 0
    /// Events per change, by the number of their type.
    var watchEvents = [LatencySummary](repeating: LatencySummary(), count: 5)
    var watchBytes = 0
    var responseBytes = 0
    var flushedBatchSize = LatencySummary()
    var startupSnapshotTime = LatencySummary()
    var startupLogTime = LatencySummary()
    var startupTime = LatencySummary()
    var roles = RoleStatistics()

    @inline(__always)
    mutating func answered(latency milliseconds: Int64, bytes: Int) {
        packetsSent &+= 1
        latency.record(milliseconds)
        responseSizes.record(bytes)
        responseBytes &+= bytes
    }

    mutating func recovered(snapshotMicroseconds: Int64, logMicroseconds: Int64) {
        startupSnapshotTime.record(snapshotMicroseconds / 1000)
        startupLogTime.record(logMicroseconds / 1000)
        startupTime.record((snapshotMicroseconds + logMicroseconds) / 1000)
    }

    /// A server that gets another role shows clients a new beginning, as Apache's does.
    mutating func beginRole() {
        packetsReceived = 0
        packetsSent = 0
        latency = LatencySummary()
        responseSizes = ByteSizes()
        authFailures = 0
    }

    mutating func reset() {
        var fresh = ServerStatistics()
        fresh.authFailures = authFailures
        swap(&fresh.roles, &roles)
        fresh.roles.reset()
        self = fresh
    }
}
