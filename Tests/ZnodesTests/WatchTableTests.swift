import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// The watch table and a dictionary of dictionaries under the same random calls.
@Suite struct `Watch tables` {
    private struct Twin {
        var watches: [String: [WatcherID: WatchModes]] = [:]

        mutating func add(_ path: String, _ watcher: WatcherID, _ modes: WatchModes) {
            watches[path, default: [:]][watcher, default: []].formUnion(modes)
        }

        mutating func remove(
            _ path: String, _ watcher: WatcherID, _ modes: WatchModes
        ) -> Bool {
            guard let known = watches[path]?[watcher], !known.isDisjoint(with: modes) else {
                return false
            }
            set(path, watcher, known.subtracting(modes))
            return true
        }

        private mutating func set(_ path: String, _ watcher: WatcherID, _ modes: WatchModes) {
            watches[path]?[watcher] = modes.isEmpty ? nil : modes
            if watches[path]?.isEmpty == true { watches[path] = nil }
        }

        mutating func removeAll(of watcher: WatcherID) {
            for path in watches.keys { set(path, watcher, []) }
        }

        /// `/`, `/a` and `/a/b` for `/a/b/c`.
        private func ancestors(_ path: String) -> [String] {
            guard path != "/" else { return [] }
            let names = path.split(separator: "/").dropLast()
            return ["/"] + names.indices.map { "/" + names[...$0].joined(separator: "/") }
        }

        mutating func fireData(_ path: String) -> Set<WatcherID> {
            var found: Set<WatcherID> = []
            for (watcher, modes) in watches[path] ?? [:]
            where !modes.isDisjoint(with: [.data, .persistent, .recursive]) {
                found.insert(watcher)
                set(path, watcher, modes.subtracting(.data))
            }
            for ancestor in ancestors(path) {
                for (watcher, modes) in watches[ancestor] ?? [:] where modes.contains(.recursive) {
                    found.insert(watcher)
                }
            }
            return found
        }

        mutating func fireChild(_ path: String) -> Set<WatcherID> {
            var found: Set<WatcherID> = []
            for (watcher, modes) in watches[path] ?? [:]
            where !modes.isDisjoint(with: [.child, .persistent]) {
                found.insert(watcher)
                set(path, watcher, modes.subtracting(.child))
            }
            return found
        }

        var count: Int { watches.values.reduce(0) { $0 + $1.count } }
    }

    private static let modes: [WatchModes] = [
        .data, .child, .persistent, .recursive, [.data, .child], [.persistent, .recursive], .all,
    ]

    private func withBytes<R>(_ path: String, _ body: (Bytes) -> R) -> R {
        Array(path.utf8).withUnsafeBytes(body)
    }

    private func pairs(_ table: borrowing WatchTable) -> [String: [WatcherID: WatchModes]] {
        var all: [String: [WatcherID: WatchModes]] = [:]
        table.forEach { path, watcher, modes in
            all[String(decoding: path, as: UTF8.self), default: [:]][watcher] = modes
        }
        return all
    }

    private func fire(
        _ table: inout WatchTable, _ path: String, data: Bool, child: Bool
    ) -> [WatcherID] {
        var found: [WatcherID] = []
        table.beginRound()
        withBytes(path) {
            if data { table.fireData($0, into: &found) }
            if child { table.fireChild($0, into: &found) }
        }
        return found
    }

    /// Few watchers keep lists, many make the table build an index for a path.
    @Test(arguments: UInt64(0)..<12)
    func `the table does what a dictionary does`(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var table = WatchTable(seed: seed)
        var twin = Twin()
        let watcherCount = [3, 40, 150][Int(seed % 3)]
        let names = ["a", "b", "c"]
        func path() -> String {
            let depth = random.below(5)
            return depth == 0 ? "/" : (0..<depth).map { _ in "/" + random.pick(names) }.joined()
        }
        for step in 0..<6000 {
            let (path, watcher) = (path(), WatcherID(random.below(watcherCount)))
            let modes = random.pick(Self.modes)
            switch random.below(100) {
            case 0..<70:
                withBytes(path) { table.add($0, watcher: watcher, modes: modes) }
                twin.add(path, watcher, modes)
            case 70..<82:
                let isRemoved = withBytes(path) {
                    table.remove($0, watcher: watcher, modes: modes)
                }
                #expect(isRemoved == twin.remove(path, watcher, modes))
            case 82..<84:
                table.removeAll(of: watcher)
                twin.removeAll(of: watcher)
            case 84..<92:
                let found = fire(&table, path, data: true, child: false)
                #expect(Set(found) == twin.fireData(path))
                #expect(Set(found).count == found.count)
            case 92..<97:
                let found = fire(&table, path, data: false, child: true)
                #expect(Set(found) == twin.fireChild(path))
                #expect(Set(found).count == found.count)
            default:
                // A deletion: who watches data and children hears of it once.
                let found = fire(&table, path, data: true, child: true)
                #expect(Set(found) == twin.fireData(path).union(twin.fireChild(path)))
                #expect(Set(found).count == found.count)
            }
            let known = withBytes(path) { table.modes($0, watcher: watcher) }
            #expect(known == twin.watches[path]?[watcher] ?? [])
            if step % 500 == 0 {
                #expect(pairs(table) == twin.watches)
                let (count, pathCount) = (table.count, table.pathCount)
                #expect(count == twin.count)
                #expect(pathCount == twin.watches.count)
            }
        }
        for watcher in 0..<WatcherID(watcherCount) { table.removeAll(of: watcher) }
        let (count, pathCount) = (table.count, table.pathCount)
        #expect(count == 0)
        #expect(pathCount == 0)
    }

    @Test(arguments: [31, 32, 33, 34, 1000])
    func `a path with many watchers finds, fires and forgets each of them`(_ count: Int) {
        var table = WatchTable(seed: 1)
        let all = (0..<count).map { WatcherID($0 * 3) }
        for watcher in all { withBytes("/hot") { table.add($0, watcher: watcher, modes: .data) } }
        // Again changes nothing.
        for watcher in all { withBytes("/hot") { table.add($0, watcher: watcher, modes: .child) } }
        let known = table.count
        #expect(known == count)
        for watcher in all.prefix(10) {
            let isRemoved = withBytes("/hot") { table.remove($0, watcher: watcher, modes: .all) }
            #expect(isRemoved)
        }
        let found = fire(&table, "/hot", data: true, child: false)
        #expect(Set(found) == Set(all.dropFirst(10)))
        let again = fire(&table, "/hot", data: true, child: false)
        #expect(again == [])
        let children = fire(&table, "/hot", data: false, child: true)
        #expect(Set(children) == Set(all.dropFirst(10)))
        let (left, paths) = (table.count, table.pathCount)
        #expect(left == 0)
        #expect(paths == 0)
    }

    @Test func `recursive watches hear of everything below and nothing of children`() {
        var table = WatchTable(seed: 1)
        for (watcher, path) in ["/", "/a", "/a/b", "/a/b/c", "/x"].enumerated() {
            withBytes(path) {
                table.add($0, watcher: WatcherID(watcher), modes: .recursive)
            }
        }
        func data(_ path: String) -> Set<WatcherID> {
            Set(fire(&table, path, data: true, child: false))
        }
        #expect(data("/a/b") == [0, 1, 2])
        #expect(data("/a/b/c/d") == [0, 1, 2, 3])
        #expect(data("/ab") == [0])
        #expect(data("/") == [0])
        #expect(data("/x/y") == [0, 4])
        let children = fire(&table, "/a", data: false, child: true)
        #expect(children == [])
        let isRemoved = withBytes("/") { table.remove($0, watcher: 0, modes: .recursive) }
        #expect(isRemoved)
        #expect(data("/a/b") == [1, 2])
        for watcher in WatcherID(1)...4 { table.removeAll(of: watcher) }
        #expect(data("/a/b") == [])
    }

    @Test func `a watcher that was never seen has no watches and loses none`() {
        var table = WatchTable(seed: 1)
        table.removeAll(of: 7)
        let modes = withBytes("/a") { table.modes($0, watcher: 7) }
        #expect(modes == [])
        let isRemoved = withBytes("/a") { table.remove($0, watcher: 7, modes: .all) }
        #expect(!isRemoved)
    }
}
