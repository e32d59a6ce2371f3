import Zab

/// What is to happen, by time; at the same time in the order of adding.
struct Agenda<Happening> {
    private var heap: [(time: Int, order: Int, happening: Happening)] = []
    private var added = 0

    mutating func add(_ happening: Happening, at time: Int) {
        added += 1
        heap.append((time, added, happening))
        var child = heap.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func next() -> (time: Int, happening: Happening)? {
        guard !heap.isEmpty else { return nil }
        heap.swapAt(0, heap.count - 1)
        let (time, _, happening) = heap.removeLast()
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
        return (time, happening)
    }

    private func isBefore(_ a: Int, _ b: Int) -> Bool {
        (heap[a].time, heap[a].order) < (heap[b].time, heap[b].order)
    }
}

extension Election.Timer {
    var index: Int {
        switch self {
        case .resend: 0
        case .finalizeWait: 1
        }
    }
}

extension Duration {
    var microseconds: Int {
        Int(components.seconds) * 1_000_000 + Int(components.attoseconds / 1_000_000_000_000)
    }
}
