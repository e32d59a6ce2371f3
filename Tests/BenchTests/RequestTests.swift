import ArgumentParser
import Jute
import Testing

@testable import zkBench

@Suite struct RequestTests {
    let naming = Naming(prefix: "/bench", znodes: 5000, spreads: false)

    private func frame(_ kind: RequestKind, index: Int) -> [UInt8] {
        let templates = RequestTemplates(naming: naming, valueBytes: 3, operationsPerMulti: 2)
        var output = ByteBuffer()
        output.append(UInt8(0xEE))  // What stands before is left alone.
        templates[kind].append(
            to: &output, xid: 7, index: index, directories: naming.directories)
        #expect(output.bytes.first == 0xEE)
        return Array(output.bytes.dropFirst())
    }

    private func text(_ path: String) -> [UInt8] {
        [0, 0, 0, UInt8(path.utf8.count)] + Array(path.utf8)
    }

    @Test func `a get names the znode of its index`() {
        let body = [0, 0, 0, 7, 0, 0, 0, 4] + text("/bench/d0003/n000001003") + [0]
        #expect(frame(.get, index: 1003) == [0, 0, 0, UInt8(body.count)] + body)
    }

    @Test func `a set carries the value and any version`() {
        let body =
            [0, 0, 0, 7, 0, 0, 0, 5] + text("/bench/d0000/n000000000") + text("vvv")
            + [255, 255, 255, 255]
        #expect(frame(.set, index: 0) == [0, 0, 0, UInt8(body.count)] + body)
    }

    @Test func `a create is open to the world and persistent`() {
        let body =
            [0, 0, 0, 7, 0, 0, 0, 1] + text("/bench/d0004/n000004999") + text("vvv")
            + [0, 0, 0, 1, 0, 0, 0, 31] + text("world") + text("anyone") + [0, 0, 0, 0]
        #expect(frame(.create, index: 4999) == [0, 0, 0, UInt8(body.count)] + body)
    }

    @Test func `directories and children have numbers of their own`() {
        let directory = [0, 0, 0, 7, 0, 0, 0, 2] + text("/bench/d0004") + [255, 255, 255, 255]
        #expect(frame(.deleteDirectory, index: 4) == [0, 0, 0, UInt8(directory.count)] + directory)
        let child =
            [0, 0, 0, 7, 0, 0, 0, 2] + text("/bench/children/n000000042") + [255, 255, 255, 255]
        #expect(frame(.deleteChild, index: 42) == [0, 0, 0, UInt8(child.count)] + child)
    }

    @Test func `a multi names another znode in each operation and ends as the protocol wants`() {
        let templates = RequestTemplates(naming: naming, valueBytes: 3, operationsPerMulti: 2)
        var output = ByteBuffer()
        var next = 10
        templates[.multi].append(to: &output, xid: 1, directories: naming.directories) {
            next += 1
            return next
        }
        func operation(_ path: String) -> [UInt8] {
            [0, 0, 0, 5, 0, 255, 255, 255, 255] + text(path) + text("vvv") + [255, 255, 255, 255]
        }
        let body =
            [0, 0, 0, 1, 0, 0, 0, 14] + operation("/bench/d0001/n000000011")
            + operation("/bench/d0002/n000000012") + [255, 255, 255, 255, 1, 255, 255, 255, 255]
        #expect(Array(output.bytes) == [0, 0, 0, UInt8(body.count)] + body)
    }
}

@Suite struct ArgumentTests {
    @Test func `addresses have a host, and a port or the usual one`() {
        #expect(HostAndPort("a:1").map { ($0.host, $0.port) } ?? ("", 0) == ("a", 1))
        #expect(HostAndPort("a").map { ($0.host, $0.port) } ?? ("", 0) == ("a", 2181))
        #expect(HostAndPort("[::1]:5").map { ($0.host, $0.port) } ?? ("", 0) == ("::1", 5))
        #expect(HostAndPort("[::1]").map { ($0.host, $0.port) } ?? ("", 0) == ("::1", 2181))
        for wrong in ["", ":1", "a:", "a:b", "a:70000"] { #expect(HostAndPort(wrong[...]) == nil) }
        #expect(HostAndPort.list("a:1,b:2")?.count == 2)
        #expect(HostAndPort.list("a:1,") == nil)
    }

    @Test func `what cannot be measured is refused before anything is connected`() throws {
        #expect(throws: (any Error).self) { try ZkBench.parse(["--prefix", "/"]) }
        #expect(throws: (any Error).self) { try ZkBench.parse(["--hosts", "a:b"]) }
        #expect(throws: (any Error).self) { try ZkBench.parse(["--depth", "0"]) }
        #expect(throws: (any Error).self) {
            try ZkBench.parse(["--workload", "watch", "--rate", "5"])
        }
        let bench = try ZkBench.parse(["--workload", "watch-table", "--znodes", "5"])
        #expect(bench.workload == .watchTable && bench.znodes == 5)
    }

    @Test func `decimals are rounded and padded`() {
        #expect(decimal(1.005, places: 1) == "1.0")
        #expect(decimal(0.0456, places: 3) == "0.046")
        #expect(decimal(-2.5, places: 1) == "-2.5")
        #expect(decimal(99.6, places: 0) == "100")
    }

    @Test func `a share of a range takes every index once`() {
        var seen: [Int] = []
        for first in 0..<3 {
            var work = StridedWork(first: first, stride: 3, end: 10)
            while let index = work.take() { seen.append(index) }
        }
        #expect(seen.sorted() == Array(0..<10))
    }
}
