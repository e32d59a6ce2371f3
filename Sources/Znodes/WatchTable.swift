internal import Glibc
import ClientProtocol
import Vocabulary

/// How a connection watches a path; one connection may do it in several ways at once.
public struct WatchModes: OptionSet, Hashable, Sendable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// One event about existence or data, set by getData and exists.
    public static let data = WatchModes(rawValue: 1)
    /// One event about children, set by getChildren.
    public static let child = WatchModes(rawValue: 2)
    /// Every event of the path.
    public static let persistent = WatchModes(rawValue: 4)
    /// Existence and data of the path and everything below it.
    public static let recursive = WatchModes(rawValue: 8)
    public static let all: WatchModes = [.data, .child, .persistent, .recursive]
}

/// The number of a connection in the watch table.
public typealias WatcherID = UInt32

/// Who watches what: 24 bytes for each pair of path and connection.
///
/// A pair is an edge in two doubly linked lists, one of its path and one of its connection, so
/// that firing and closing touch only their own. To find one pair, the shorter list is walked; a
/// path with many watchers keeps its edges in a hash table besides.
/// Watches belong to connections and die with them. Source: ZooKeeper, `WatchManager`.
public struct WatchTable: ~Copyable {
    private typealias EdgeID = UInt32
    private static let nothing = UInt32.max

    private struct Edge {
        /// The path's slot in the upper 28 bits, the modes in the lower 4.
        var pathAndModes: UInt32
        var watcher: WatcherID
        var nextOfPath: EdgeID
        var previousOfPath: EdgeID
        var nextOfWatcher: EdgeID
        var previousOfWatcher: EdgeID

        var path: UInt32 { pathAndModes >> 4 }
        var modes: WatchModes {
            get { WatchModes(rawValue: pathAndModes & 0xf) }
            set { pathAndModes = pathAndModes & ~0xf | newValue.rawValue }
        }
    }

    private struct PathSlot {
        var text: UnsafeMutableRawPointer
        var length: UInt32
        var hash: UInt32
        var firstEdge: EdgeID
        var edgeCount: UInt32
        /// Once a path had many watchers, its edges are found by hash until it is forgotten.
        var isIndexed: Bool

        var bytes: Bytes { Bytes(start: text, count: Int(length)) }
    }

    private struct Watcher {
        var firstEdge: EdgeID
        /// The last event round this watcher was told of.
        var round: UInt64
    }

    private static let edgesIndexedFrom = 32

    private var edges = Arena<Edge>()
    private var paths = Arena<PathSlot>()
    private var pathTable = HandleTable()
    /// The edges of paths with many watchers.
    private var edgeTable = HandleTable()
    private var watchers: [Watcher] = []
    private let hasher: PathHasher
    /// Pairs with a recursive mode: while there is none, ancestors need not be looked up.
    private var recursiveCount = 0
    private var round: UInt64 = 0

    /// - Parameter seed: unknown to clients, who choose paths.
    public init(seed: UInt64) { hasher = PathHasher(seed: seed) }

    deinit { paths.forEach { free($0.text) } }

    /// The number of pairs of path and connection.
    public var count: Int { edges.count }
    public var pathCount: Int { paths.count }

    // MARK: Registering

    public mutating func add(_ path: Bytes, watcher: WatcherID, modes: WatchModes) {
        while watchers.count <= Int(watcher) {
            watchers.append(Watcher(firstEdge: Self.nothing, round: 0))
        }
        let hash = hasher.hash(path)
        let slot = findPath(path, hash) ?? addPath(path, hash)
        if let edge = findEdge(slot, watcher) {
            setModes(edge, edges[edge].modes.union(modes))
        } else {
            addEdge(slot, watcher, modes)
        }
    }

    private func findPath(_ path: Bytes, _ hash: UInt32) -> UInt32? {
        pathTable.find(hash) { paths[$0].hash == hash && paths[$0].bytes.equals(path) }
    }

    private mutating func addPath(_ path: Bytes, _ hash: UInt32) -> UInt32 {
        let slot = paths.insert(
            PathSlot(
                text: path.copied(), length: UInt32(truncatingIfNeeded: path.count), hash: hash,
                firstEdge: Self.nothing, edgeCount: 0, isIndexed: false))
        precondition(slot < 1 << 28, "28 bits of an edge name its path")
        pathTable.insert(hash, slot) { paths[$0].hash }
        return slot
    }

    private static func edgeHash(_ path: UInt32, _ watcher: WatcherID) -> UInt32 {
        let product = (UInt64(path) << 32 | UInt64(watcher)) &* 0x9e37_79b9_7f4a_7c15
        return UInt32(truncatingIfNeeded: product >> 32)
    }

    private func findEdge(_ path: UInt32, _ watcher: WatcherID) -> EdgeID? {
        if paths[path].isIndexed {
            return edgeTable.find(Self.edgeHash(path, watcher)) {
                edges[$0].path == path && edges[$0].watcher == watcher
            }
        }
        var edge = paths[path].firstEdge
        while edge != Self.nothing {
            if edges[edge].watcher == watcher { return edge }
            edge = edges[edge].nextOfPath
        }
        return nil
    }

    private mutating func addEdge(_ path: UInt32, _ watcher: WatcherID, _ modes: WatchModes) {
        let nextOfPath = paths[path].firstEdge
        let nextOfWatcher = watchers[Int(watcher)].firstEdge
        let edge = edges.insert(
            Edge(
                pathAndModes: path << 4 | modes.rawValue, watcher: watcher,
                nextOfPath: nextOfPath, previousOfPath: Self.nothing,
                nextOfWatcher: nextOfWatcher, previousOfWatcher: Self.nothing))
        if nextOfPath != Self.nothing { edges[nextOfPath].previousOfPath = edge }
        if nextOfWatcher != Self.nothing { edges[nextOfWatcher].previousOfWatcher = edge }
        paths[path].firstEdge = edge
        paths[path].edgeCount += 1
        watchers[Int(watcher)].firstEdge = edge
        if modes.contains(.recursive) { recursiveCount += 1 }
        if paths[path].isIndexed {
            indexEdge(edge)
        } else if paths[path].edgeCount > Self.edgesIndexedFrom {
            paths[path].isIndexed = true
            var each = edge
            while each != Self.nothing {
                indexEdge(each)
                each = edges[each].nextOfPath
            }
        }
    }

    private mutating func indexEdge(_ edge: EdgeID) {
        let hash = Self.edgeHash(edges[edge].path, edges[edge].watcher)
        edgeTable.insert(hash, edge) { Self.edgeHash(edges[$0].path, edges[$0].watcher) }
    }

    private mutating func setModes(_ edge: EdgeID, _ modes: WatchModes) {
        let old = edges[edge].modes
        if old.contains(.recursive) != modes.contains(.recursive) {
            recursiveCount += modes.contains(.recursive) ? 1 : -1
        }
        edges[edge].modes = modes
        if modes.isEmpty { removeEdge(edge) }
    }

    private mutating func removeEdge(_ edge: EdgeID) {
        let gone = edges[edge]
        let path = gone.path
        if paths[path].isIndexed {
            edgeTable.remove(Self.edgeHash(path, gone.watcher), edge) {
                Self.edgeHash(edges[$0].path, edges[$0].watcher)
            }
        }
        if gone.previousOfPath == Self.nothing {
            paths[path].firstEdge = gone.nextOfPath
        } else {
            edges[gone.previousOfPath].nextOfPath = gone.nextOfPath
        }
        if gone.nextOfPath != Self.nothing {
            edges[gone.nextOfPath].previousOfPath = gone.previousOfPath
        }
        if gone.previousOfWatcher == Self.nothing {
            watchers[Int(gone.watcher)].firstEdge = gone.nextOfWatcher
        } else {
            edges[gone.previousOfWatcher].nextOfWatcher = gone.nextOfWatcher
        }
        if gone.nextOfWatcher != Self.nothing {
            edges[gone.nextOfWatcher].previousOfWatcher = gone.previousOfWatcher
        }
        edges.remove(edge)
        paths[path].edgeCount -= 1
        if paths[path].firstEdge == Self.nothing {
            pathTable.remove(paths[path].hash, path) { paths[$0].hash }
            free(paths[path].text)
            paths.remove(path)
        }
    }

    // MARK: Removing and asking

    /// The modes in which a connection watches exactly this path.
    public func modes(_ path: Bytes, watcher: WatcherID) -> WatchModes {
        guard let slot = findPath(path, hasher.hash(path)), let edge = findEdge(slot, watcher)
        else { return [] }
        return edges[edge].modes
    }

    /// Takes modes away; false when the connection had none of them here.
    public mutating func remove(
        _ path: Bytes, watcher: WatcherID, modes: WatchModes
    ) -> Bool {
        guard let slot = findPath(path, hasher.hash(path)), let edge = findEdge(slot, watcher),
            !edges[edge].modes.isDisjoint(with: modes)
        else { return false }
        let rest = edges[edge].modes.subtracting(modes)
        if edges[edge].modes.contains(.recursive), !rest.contains(.recursive) {
            recursiveCount -= 1
        }
        edges[edge].modes = rest
        if rest.isEmpty { removeEdge(edge) }
        return true
    }

    /// Forgets a connection.
    public mutating func removeAll(of watcher: WatcherID) {
        guard Int(watcher) < watchers.count else { return }
        while watchers[Int(watcher)].firstEdge != Self.nothing {
            let edge = watchers[Int(watcher)].firstEdge
            if edges[edge].modes.contains(.recursive) { recursiveCount -= 1 }
            removeEdge(edge)
        }
    }

    /// Every pair, in no particular order.
    public func forEach(_ body: (_ path: Bytes, _ watcher: WatcherID, _ modes: WatchModes) -> Void)
    {
        edges.forEach { body(paths[$0.path].bytes, $0.watcher, $0.modes) }
    }

    // MARK: Firing

    /// Starts the events of one change: until the next round a connection hears of a deletion once,
    /// even if it watches data and children.
    mutating func beginRound() { round += 1 }

    /// Whom a creation, deletion or new data of `path` concerns. One-shot watches end.
    mutating func fireData(_ path: Bytes, into found: inout [WatcherID]) {
        if edges.count == 0 { return }
        fire(path, oneShot: .data, lasting: [.persistent, .recursive], into: &found)
        guard recursiveCount > 0 else { return }
        var end = path.lastSlash
        while let slash = end, path.count > 1 {
            // The root watches under its own name.
            let ancestor = path.prefix(bytes: max(1, slash))
            fire(ancestor, oneShot: [], lasting: .recursive, into: &found)
            if slash == 0 { break }
            end = path.prefix(bytes: slash).lastSlash
        }
    }

    /// Whom a change of the children of `path`, or its deletion, concerns. One-shot watches end.
    mutating func fireChild(_ path: Bytes, into found: inout [WatcherID]) {
        if edges.count == 0 { return }
        fire(path, oneShot: .child, lasting: .persistent, into: &found)
    }

    private mutating func fire(
        _ path: Bytes, oneShot: WatchModes, lasting: WatchModes, into found: inout [WatcherID]
    ) {
        guard let slot = findPath(path, hasher.hash(path)) else { return }
        var edge = paths[slot].firstEdge
        while edge != Self.nothing {
            let next = edges[edge].nextOfPath
            let modes = edges[edge].modes
            if !modes.isDisjoint(with: oneShot.union(lasting)) {
                let watcher = edges[edge].watcher
                if watchers[Int(watcher)].round != round {
                    watchers[Int(watcher)].round = round
                    found.append(watcher)
                }
                if !modes.isDisjoint(with: oneShot) {
                    setModes(edge, modes.subtracting(oneShot))
                }
            }
            edge = next
        }
    }
}

/// Slots with stable numbers in memory that grows without being copied slot by slot.
struct Arena<Element>: ~Copyable {
    private var base: UnsafeMutablePointer<Element>
    private var capacity = 16
    private var used: UInt32 = 0
    private var freeSlots: [UInt32] = []
    private var isUsed: [Bool] = []
    private(set) var count = 0

    init() { base = .allocate(capacity: capacity) }

    deinit { free(base) }

    /// Of plain memory only: elements are moved by `realloc`.
    subscript(slot: UInt32) -> Element {
        @inline(__always) get { base[Int(slot)] }
        @inline(__always) nonmutating _modify { yield &base[Int(slot)] }
    }

    mutating func insert(_ element: Element) -> UInt32 {
        count += 1
        if let slot = freeSlots.popLast() {
            base[Int(slot)] = element
            isUsed[Int(slot)] = true
            return slot
        }
        if Int(used) == capacity {
            capacity *= 2
            guard let memory = realloc(base, capacity * MemoryLayout<Element>.stride) else {
                fatalError("out of memory for \(capacity) slots")
            }
            base = memory.assumingMemoryBound(to: Element.self)
        }
        base[Int(used)] = element
        isUsed.append(true)
        used += 1
        return used - 1
    }

    mutating func remove(_ slot: UInt32) {
        isUsed[Int(slot)] = false
        freeSlots.append(slot)
        count -= 1
    }

    func forEach(_ body: (Element) -> Void) {
        for slot in 0..<Int(used) where isUsed[slot] { body(base[slot]) }
    }
}
