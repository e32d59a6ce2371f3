import Testing
import UnitTestSupport

@testable import Znodes

@Suite struct `Handle tables` {
    /// Handles with hashes that a few bits decide, so that probes run long.
    private struct Twin {
        let hashBits: UInt32
        var handles: Set<UInt32> = []

        func hash(_ handle: UInt32) -> UInt32 { (handle &* 2_654_435_761) >> 7 & hashBits }
    }

    private static let hashBits: [UInt32] = [.max, 0xfff, 0x3f, 1, 0]

    @Test(arguments: hashBits)
    func `a table holds what a set holds while it grows and shrinks`(_ hashBits: UInt32) {
        var random = SeededGenerator(seed: UInt64(hashBits))
        var twin = Twin(hashBits: hashBits)
        var table = HandleTable(minimumSlots: 16)
        // Long probes make every step slow.
        let handlesMax: UInt32 = hashBits > 0x3f ? 3000 : 300
        for round in 0..<6 {
            // Rounds grow and shrink in turn.
            for _ in 0..<Int(handlesMax) {
                let handle = UInt32(random.below(Int(handlesMax)))
                let inserts = random.chance(percent: round.isMultiple(of: 2) ? 80 : 20)
                if inserts, twin.handles.insert(handle).inserted {
                    table.insert(twin.hash(handle), handle) { twin.hash($0) }
                } else if !inserts, twin.handles.remove(handle) != nil {
                    table.remove(twin.hash(handle), handle) { twin.hash($0) }
                }
            }
            for handle in 0..<handlesMax {
                let found = table.find(twin.hash(handle)) { $0 == handle }
                #expect(found == (twin.handles.contains(handle) ? handle : nil))
            }
            let count = table.count
            #expect(count == twin.handles.count)
        }
    }

    @Test func `between two tables every handle is found after every step`() {
        let twin = Twin(hashBits: 0xff)
        var table = HandleTable(minimumSlots: 16)
        for handle in UInt32(0)..<200 {
            table.insert(twin.hash(handle), handle) { twin.hash($0) }
            for known in 0...handle {
                let found = table.find(twin.hash(known)) { $0 == known }
                #expect(found == known)
            }
        }
        for handle in UInt32(0)..<200 {
            table.remove(twin.hash(handle), handle) { twin.hash($0) }
            for other in UInt32(0)..<200 {
                let found = table.find(twin.hash(other)) { $0 == other }
                #expect(found == (other > handle ? other : nil))
            }
        }
    }

    @Test func `removing while the old table is being left behind`() {
        // 1537 handles fill three quarters of 2048 slots and one more: the old table has moved
        // 64 slots per insertion since.
        let twin = Twin(hashBits: .max)
        var table = HandleTable(minimumSlots: 2048)
        for handle in UInt32(0)..<1540 {
            table.insert(twin.hash(handle), handle) { twin.hash($0) }
        }
        for handle in UInt32(0)..<1540 where !handle.isMultiple(of: 3) {
            table.remove(twin.hash(handle), handle) { twin.hash($0) }
        }
        for handle in UInt32(0)..<1540 {
            let found = table.find(twin.hash(handle)) { $0 == handle }
            #expect(found == (handle.isMultiple(of: 3) ? handle : nil))
        }
        let count = table.count
        #expect(count == 514)
    }

    @Test func `the largest handle that a slot can hold`() {
        var table = HandleTable()
        let handle = UInt32.max - 2
        table.insert(0, handle) { _ in 0 }
        let found = table.find(0) { _ in true }
        #expect(found == handle)
    }

    @Test func `an empty table finds nothing`() {
        let table = HandleTable()
        let found = table.find(5) { _ in true }
        #expect(found == nil)
    }
}
