internal import Glibc

/// A hash table of 32-bit handles that grows without a pause.
///
/// It knows neither keys nor values: callers bring the hash and decide what matches. Growing
/// allocates the larger table at once (lazily zeroed by the kernel) and moves some slots of the
/// smaller one with each insertion, so that no request waits for a million others to be rehashed.
/// Invariants: at most three quarters of the slots are taken; a handle is in one of the two tables.
struct HandleTable: ~Copyable {
    /// A slot holds handle + 1; 0 is empty.
    private struct Slots {
        var base: UnsafeMutablePointer<UInt32>
        var mask: Int

        static let removed = UInt32.max

        init(count: Int) {
            precondition(count.nonzeroBitCount == 1, "masks need powers of two")
            guard let memory = calloc(count, MemoryLayout<UInt32>.stride) else {
                fatalError("out of memory for \(count) slots")
            }
            base = memory.bindMemory(to: UInt32.self, capacity: count)
            mask = count - 1
        }
    }

    private var current: Slots
    /// The smaller table while its slots move over, and the first slot not yet moved.
    private var old: Slots?
    private var oldCursor = 0
    private(set) var count = 0

    private static let slotsMovedPerInsert = 64

    init(minimumSlots: Int = 16) { current = Slots(count: minimumSlots) }

    deinit {
        free(current.base)
        if let old { free(old.base) }
    }

    /// The handle of this hash that `matches`.
    @inline(__always)
    func find(_ hash: UInt32, where matches: (UInt32) -> Bool) -> UInt32? {
        var index = Int(hash) & current.mask
        while true {
            let slot = current.base[index]
            if slot == 0 { break }
            if matches(slot &- 1) { return slot &- 1 }
            index = (index &+ 1) & current.mask
        }
        guard let old else { return nil }
        index = Int(hash) & old.mask
        while true {
            let slot = old.base[index]
            if slot == 0 { return nil }
            if slot != Slots.removed, matches(slot &- 1) { return slot &- 1 }
            index = (index &+ 1) & old.mask
        }
    }

    /// Adds a handle that is not in the table.
    ///
    /// `hashOf`: the hash of any handle in the table.
    @inline(__always)
    mutating func insert(_ hash: UInt32, _ handle: UInt32, hashOf: (UInt32) -> UInt32) {
        if old != nil { moveSome(hashOf: hashOf) }
        if (count &+ 1) &* 4 > (current.mask &+ 1) &* 3 {
            precondition(old == nil, "a table is emptied long before its successor is full")
            old = current
            oldCursor = 0
            current = Slots(count: (current.mask + 1) * 2)
        }
        put(hash, handle)
        count &+= 1
    }

    @inline(__always)
    private func put(_ hash: UInt32, _ handle: UInt32) {
        var index = Int(hash) & current.mask
        while current.base[index] != 0 { index = (index &+ 1) & current.mask }
        current.base[index] = handle &+ 1
    }

    private mutating func moveSome(hashOf: (UInt32) -> UInt32) {
        guard let old else { return }
        let end = min(oldCursor + Self.slotsMovedPerInsert, old.mask + 1)
        while oldCursor < end {
            let slot = old.base[oldCursor]
            if slot != 0, slot != Slots.removed {
                put(hashOf(slot &- 1), slot &- 1)
                // Probes that pass here must go on to slots that have not moved yet.
                old.base[oldCursor] = Slots.removed
            }
            oldCursor &+= 1
        }
        if oldCursor > old.mask {
            free(old.base)
            self.old = nil
        }
    }

    /// Removes a handle that is in the table.
    @inline(__always)
    mutating func remove(_ hash: UInt32, _ handle: UInt32, hashOf: (UInt32) -> UInt32) {
        count &-= 1
        var index = Int(hash) & current.mask
        while true {
            let slot = current.base[index]
            if slot == handle &+ 1 { return closeGap(at: index, hashOf: hashOf) }
            if slot == 0 { break }
            index = (index &+ 1) & current.mask
        }
        guard let old else { preconditionFailure("only handles of the table are removed") }
        index = Int(hash) & old.mask
        while old.base[index] != handle &+ 1 {
            precondition(old.base[index] != 0, "only handles of the table are removed")
            index = (index &+ 1) & old.mask
        }
        old.base[index] = Slots.removed
    }

    /// Shifts later slots of the probe sequence back, so that no marks of removals pile up.
    private func closeGap(at start: Int, hashOf: (UInt32) -> UInt32) {
        var gap = start
        var index = start
        while true {
            index = (index &+ 1) & current.mask
            let slot = current.base[index]
            if slot == 0 { break }
            let home = Int(hashOf(slot &- 1)) & current.mask
            // The slot may fill the gap unless its home lies cyclically behind the gap.
            if (index &- home) & current.mask >= (index &- gap) & current.mask {
                current.base[gap] = slot
                gap = index
            }
        }
        current.base[gap] = 0
    }
}
