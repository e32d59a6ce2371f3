import ClientProtocol
import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// Which events a transaction fires, in which order. ZooKeeper: `DataTree`, `WatchManager`.
@Suite struct `Watch events of transactions` {
    private final class Sink: WatchSink {
        var events: [String] = []

        func deliver(
            _ type: WatchEventType, path: UnsafeRawBufferPointer, zxid: Zxid, acl: Access,
            to watchers: [WatcherID]
        ) {
            for watcher in watchers.sorted() {
                let reads = acl.permits(.read, to: []) ? "" : " hidden"
                events.append(
                    "\(watcher) \(type) \(String(decoding: path, as: UTF8.self))\(reads)")
            }
        }

        func take() -> [String] {
            defer { events = [] }
            return events
        }
    }

    private let sink = Sink()
    private let world: World

    init() {
        world = World { _ in }
        world.database.watchSink = sink
    }

    private func watch(_ path: String, _ watcher: WatcherID, _ modes: WatchModes) {
        Array(path.utf8).withUnsafeBytes {
            world.database.watches.add($0, watcher: watcher, modes: modes)
        }
    }

    @Test func `a create fires the znode's data watches, then the parent's child watches`() throws {
        watch("/a", 1, .data)
        watch("/", 2, .child)
        watch("/", 3, .recursive)
        try world.create("/a")
        #expect(
            sink.take() == ["1 nodeCreated /a", "3 nodeCreated /a", "2 nodeChildrenChanged /"])
        try world.create("/b")
        #expect(sink.take() == ["3 nodeCreated /b"])
    }

    @Test func `a deletion tells each connection once, and the parent's`() throws {
        try world.create("/p", "/p/x")
        watch("/p/x", 1, [.data, .child])
        watch("/p/x", 2, .child)
        watch("/p", 3, .child)
        watch("/p", 4, .persistent)
        #expect(try world.error(.delete, RequestBytes.pathVersion("/p/x")) == .ok)
        #expect(
            sink.take() == [
                "1 nodeDeleted /p/x", "2 nodeDeleted /p/x", "3 nodeChildrenChanged /p",
                "4 nodeChildrenChanged /p",
            ])
        #expect(world.database.watches.pathCount == 1)
    }

    @Test func `new data fires data watches only, a new list none`() throws {
        try world.create("/a")
        watch("/a", 1, .data)
        watch("/a", 2, .child)
        watch("/a", 3, .persistent)
        #expect(try world.error(.setACL, RequestBytes.setACL("/a", [.open])) == .ok)
        #expect(sink.take() == [])
        #expect(try world.error(.setData, RequestBytes.setData("/a", [1])) == .ok)
        #expect(sink.take() == ["1 nodeDataChanged /a", "3 nodeDataChanged /a"])
        #expect(try world.error(.setData, RequestBytes.setData("/a", [1])) == .ok)
        #expect(sink.take() == ["3 nodeDataChanged /a"])
    }

    @Test func `the root's data is watched under one slash`() throws {
        watch("/", 1, .data)
        #expect(try world.error(.setData, RequestBytes.setData("/", [1])) == .ok)
        #expect(sink.take() == ["1 nodeDataChanged /"])
    }

    @Test func `a multi fires operation by operation, and nothing when it fails`() throws {
        watch("/", 1, [.persistent, .recursive])
        let good: [(OpCode, [UInt8])] = [
            (.create, RequestBytes.create("/a")), (.setData, RequestBytes.setData("/a", [1])),
            (.delete, RequestBytes.pathVersion("/a")),
        ]
        #expect(try world.error(.multi, RequestBytes.multi(good)) == .ok)
        let fired = [
            "1 nodeCreated /a", "1 nodeChildrenChanged /", "1 nodeDataChanged /a",
            "1 nodeDeleted /a", "1 nodeChildrenChanged /",
        ]
        #expect(sink.take() == fired)
        let bad = good.dropLast() + [(.delete, RequestBytes.pathVersion("/no"))]
        #expect(try world.error(.multi, RequestBytes.multi(Array(bad))) == .ok)
        #expect(sink.take() == [])
    }

    @Test func `the end of a session fires the deletion of its ephemerals`() throws {
        let session = SessionID(rawValue: 9)
        world.begin(session)
        try world.create("/e", flags: 1, session: session)
        try world.propose(.create, RequestBytes.create("/f", flags: 1), session: session)
        world.proposeEnd(of: session)
        world.applyNext()
        watch("/e", 1, .data)
        watch("/f", 1, .data)
        world.applyAll()
        #expect(sink.take() == ["1 nodeDeleted /e", "1 nodeDeleted /f"])
    }

    @Test func `who may read is the znode's last list, for children the parent's`() throws {
        try world.create("/p", "/p/x")
        #expect(try world.error(.setACL, RequestBytes.setACL("/p/x", [.bobs])) == .ok)
        watch("/p/x", 1, .persistent)
        watch("/p", 2, .child)
        _ = try world.run(.setData, RequestBytes.setData("/p/x", [1]), as: [World.bob])
        #expect(sink.take() == ["1 nodeDataChanged /p/x hidden"])
        #expect(try world.error(.delete, RequestBytes.pathVersion("/p/x")) == .ok)
        #expect(sink.take() == ["1 nodeDeleted /p/x hidden", "2 nodeChildrenChanged /p"])
    }
}
