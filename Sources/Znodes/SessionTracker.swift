public import Vocabulary

/// Which sessions live, and until when: kept by the leader, who alone lets them expire.
///
/// Expiry times are rounded up to whole ticks, so that touching a session usually changes nothing
/// and a tick expires one bucket. Times are milliseconds of a monotonic clock that the caller reads.
/// Source: ZooKeeper, `SessionTrackerImpl`, `ExpiryQueue`.
public struct SessionTracker {
    /// Where a session is tracked; valid until the session is removed.
    public typealias Slot = Int

    private struct Entry {
        var id: SessionID
        var timeoutMilliseconds: Int32
        /// The tick that ends the session; nil once it is closing.
        var bucket: Int64?
        var next: Slot?
        var previous: Slot?
        var isClosing: Bool
        /// Where its client is; nil: nobody has heard from it since this leader began.
        var owner: LinkID?
    }

    private let tickMilliseconds: Int64
    private var entries: [Entry] = []
    private var freeSlots: [Slot] = []
    private var slots: [SessionID: Slot] = [:]
    private var buckets: [Int64: Slot] = [:]
    /// The earliest bucket that may hold sessions.
    private var nextBucket: Int64?

    public init(tickMilliseconds: Int32) {
        self.tickMilliseconds = Int64(max(1, tickMilliseconds))
    }

    public var count: Int { slots.count }

    public func slot(of id: SessionID) -> Slot? { slots[id] }

    public func isClosing(_ slot: Slot) -> Bool { entries[slot].isClosing }

    public func owner(_ slot: Slot) -> LinkID? { entries[slot].owner }

    /// The session's client is connected there now; requests from elsewhere are of its past.
    public mutating func setOwner(_ slot: Slot, _ owner: LinkID) { entries[slot].owner = owner }

    public func timeoutMilliseconds(_ slot: Slot) -> Int32 { entries[slot].timeoutMilliseconds }

    /// Starts tracking, or goes on with the session and its new timeout.
    @discardableResult
    public mutating func add(
        _ id: SessionID, timeoutMilliseconds: Int32, now: Int64
    ) -> Slot {
        let entry = Entry(
            id: id, timeoutMilliseconds: timeoutMilliseconds, bucket: nil, next: nil,
            previous: nil, isClosing: false, owner: nil)
        let slot: Slot
        if let known = slots[id] {
            slot = known
            entries[slot].timeoutMilliseconds = timeoutMilliseconds
        } else if let free = freeSlots.popLast() {
            slot = free
            entries[slot] = entry
        } else {
            slot = entries.count
            entries.append(entry)
        }
        slots[id] = slot
        touch(slot, now: now)
        return slot
    }

    /// The session gave a sign of life.
    @inline(__always)
    public mutating func touch(_ slot: Slot, now: Int64) {
        let end = now &+ Int64(entries[slot].timeoutMilliseconds)
        let bucket = (end / tickMilliseconds &+ 1) &* tickMilliseconds
        if entries[slot].bucket != bucket { move(slot, to: bucket) }
    }

    @inline(never)
    private mutating func move(_ slot: Slot, to bucket: Int64) {
        guard !entries[slot].isClosing else { return }
        unlink(slot)
        let next = buckets[bucket]
        entries[slot].bucket = bucket
        entries[slot].next = next
        entries[slot].previous = nil
        if let next { entries[next].previous = slot }
        buckets[bucket] = slot
        nextBucket = min(nextBucket ?? bucket, bucket)
    }

    private mutating func unlink(_ slot: Slot) {
        guard let bucket = entries[slot].bucket else { return }
        let (next, previous) = (entries[slot].next, entries[slot].previous)
        if let next { entries[next].previous = previous }
        if let previous {
            entries[previous].next = next
        } else {
            buckets[bucket] = next
        }
        entries[slot].bucket = nil
    }

    /// The session is about to end: it cannot be touched or attached to any more.
    public mutating func markClosing(_ slot: Slot) {
        unlink(slot)
        entries[slot].isClosing = true
    }

    /// The session has ended.
    public mutating func remove(_ id: SessionID) {
        guard let slot = slots.removeValue(forKey: id) else { return }
        unlink(slot)
        freeSlots.append(slot)
    }

    /// No session lives any more.
    public mutating func removeAll() {
        self = SessionTracker(tickMilliseconds: Int32(tickMilliseconds))
    }

    /// The sessions whose time is over; they are closing from now on.
    public mutating func expire(now: Int64) -> [SessionID] {
        guard var bucket = nextBucket else { return [] }
        var expired: [SessionID] = []
        while bucket <= now {
            while let slot = buckets[bucket] {
                expired.append(entries[slot].id)
                markClosing(slot)
            }
            bucket += tickMilliseconds
        }
        nextBucket = bucket
        return expired
    }

    /// Sessions by the time left, for the `dump` command: milliseconds until expiry, ids.
    public func expiries(now: Int64) -> [(millisecondsLeft: Int64, ids: [SessionID])] {
        buckets.keys.sorted().map { bucket in
            var ids: [SessionID] = []
            var slot = buckets[bucket]
            while let each = slot {
                ids.append(entries[each].id)
                slot = entries[each].next
            }
            return (bucket - now, ids.sorted())
        }
    }
}
