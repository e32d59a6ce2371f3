/// What is to happen, by time; at the same time in the order of adding.
struct Agenda<Happening> {
    /// Numbers only: they move often, and what they stand for stays where it is.
    private struct Item {
        var time: Int
        var order: Int
        var slot: Int
    }

    private var heap: [Item] = []
    private var slots: [Happening?] = []
    private var freeSlots: [Int] = []
    private var added = 0

    mutating func add(_ happening: Happening, at time: Int) {
        added += 1
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
            slots[free] = happening
        } else {
            slot = slots.count
            slots.append(happening)
        }
        heap.append(Item(time: time, order: added, slot: slot))
        var child = heap.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func next() -> (time: Int, happening: Happening)? {
        guard !heap.isEmpty else { return nil }
        heap.swapAt(0, heap.count - 1)
        let item = heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count {
                if isBefore(child, least) { least = child }
            }
            guard least != parent else { break }
            heap.swapAt(parent, least)
            parent = least
        }
        guard let happening = slots[item.slot].take() else {
            preconditionFailure("a slot is emptied once")
        }
        freeSlots.append(item.slot)
        return (item.time, happening)
    }

    private func isBefore(_ a: Int, _ b: Int) -> Bool {
        (heap[a].time, heap[a].order) < (heap[b].time, heap[b].order)
    }
}
