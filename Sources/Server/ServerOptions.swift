import Configuration
import Storage
import Znodes

/// How the keys reach the rooms they concern.
extension Proposer.Options {
    init(_ configuration: ServerConfiguration) {
        self.init()
        skipsACLs = configuration.skipACL
        extendedTypesEnabled = configuration.extendedTypesEnabled
        enforcesQuotas = configuration.enforceQuota
        reconfigEnabled = configuration.reconfigEnabled
        closeSessionListsPaths = configuration.closeSessionTxnEnabled
        digestEnabled = configuration.digestEnabled
        listedPathsBytesMax = configuration.juteMaxBufferBytes
    }
}

extension TxnLogOptions {
    init(_ configuration: ServerConfiguration) {
        let limit = configuration.txnLogSizeLimitKilobytes
        self.init(
            preallocBytes: configuration.preAllocKilobytes * 1024,
            forceSync: configuration.forceSync, sizeLimitBytes: limit > 0 ? limit * 1024 : nil)
    }
}

extension Duration {
    /// Whole milliseconds.
    var milliseconds: UInt64 {
        let (seconds, attoseconds) = components
        return UInt64(max(0, seconds)) * 1000 + UInt64(max(0, attoseconds / 1_000_000_000_000_000))
    }
}

/// Sessions per time: each takes a token, and time brings new ones.
struct TokenBucket {
    private let capacity: Int
    private let fillMilliseconds: UInt64
    private let fillCount: Int
    private var tokens: Int
    private var filledAt: UInt64 = 0

    /// `capacity`: 0 never refuses.
    init(capacity: Int, fillMilliseconds: Int, fillCount: Int) {
        self.capacity = capacity
        self.fillMilliseconds = UInt64(max(1, fillMilliseconds))
        self.fillCount = fillCount
        tokens = capacity
    }

    mutating func take(now: UInt64) -> Bool {
        guard capacity > 0 else { return true }
        let fills = (now - min(now, filledAt)) / fillMilliseconds
        if fills > 0 {
            tokens = min(capacity, tokens + Int(min(fills, UInt64(capacity))) * fillCount)
            filledAt = now
        }
        guard tokens > 0 else { return false }
        tokens -= 1
        return true
    }
}
