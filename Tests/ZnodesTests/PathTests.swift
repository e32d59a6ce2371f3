import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// ZooKeeper: `PathUtils.validatePath`.
@Suite struct `Path names` {
    private func isValid(_ bytes: [UInt8]) -> Bool { bytes.withUnsafeBytes { Paths.isValid($0) } }
    private func isValid(_ path: String) -> Bool { isValid(Array(path.utf8)) }

    @Test(arguments: [
        "/", "/a", "/a/b", "/...", "/.a", "/a.", "/a..", "/a/.b/c.", "/ ", "/a b", "/\u{a0}",
        "/\u{e9}", "/\u{8c48}", "/\u{d7ff}", "/\u{f900}", "/\u{ffef}", "/a:b", "/-", "/~", "/!",
    ])
    func `these are paths`(_ path: String) { #expect(isValid(path)) }

    @Test(arguments: [
        "", "a", "a/b", "//", "/a/", "/a//b", "//a", "/.", "/..", "/a/.", "/a/..", "/./a",
        "/../a", "/a/../b", "/\u{0}", "/a\u{0}b", "/\u{1}", "/\u{1f}", "/\u{7f}", "/\u{80}",
        "/\u{9f}", "/\u{e000}", "/\u{f8ff}", "/\u{fff0}", "/\u{fffd}", "/\u{ffff}",
        "/\u{10000}", "/\u{1f600}", "/\u{10ffff}", " ", " /a",
    ])
    func `these are not`(_ path: String) { #expect(!isValid(path)) }

    @Test(arguments: [
        "2fff", "2f80", "2fbf", "2fc3", "2fc328", "2fc080", "2fc1bf", "2fe28c", "2fe2", "2fe0809f",
        "2fe08080", "2feda080", "2fedbfbf", "2ff0908080", "2ff8888080", "2fc3a9c3", "2fe28c28",
    ])
    func `broken UTF-8 is no path`(_ hex: String) { #expect(!isValid([UInt8](hex: hex))) }

    @Test func `every character of the first plane is judged as UTF-16 units are`() {
        for number in UInt32(1)...0xffff {
            guard let scalar = Unicode.Scalar(number) else { continue }
            let isForbidden =
                number < 0x20 || (0x7f...0x9f).contains(number)
                || (0xd800...0xf8ff).contains(number) || number >= 0xfff0
            let path = "/a" + String(Character(scalar))
            if number == 0x2f { continue }
            #expect(isValid(Array(path.utf8)) == !isForbidden, "U+\(String(number, radix: 16))")
        }
    }

    /// Every create, setData and setACL of the capture, with the answer of Apache's server.
    @Test func `the captured writes get the captured answers`() throws {
        let world = World { _ in }
        // What the recorder created before: the number in its sequential name tells how much.
        try world.create("/a")
        var compared = 0
        for exchange in Exchange.load("paths") {
            guard let op = OpCode(rawValue: exchange.op),
                [.create, .delete, .setData, .setACL].contains(op)
            else { continue }
            var reply = PlainReader(exchange.reply.dropFirst(16))
            let expected = ErrorCode(rawValue: try reply.int())
            let body = Array(exchange.request.dropFirst(12))
            guard expected != .marshallingError else {
                #expect(throws: (any Error).self) { try world.propose(op, body) }
                continue
            }
            let answer = try world.run(op, body)
            #expect(answer.error == expected, "\(exchange.note)")
            if expected == .ok, !exchange.note.hasPrefix("sequential") {
                #expect(answer.body == Array(exchange.reply.dropFirst(20)), "\(exchange.note)")
            }
            compared += 1
        }
        #expect(compared > 35)
    }

    @Test func `what lies below what`() {
        func isBelow(_ path: String, _ ancestor: String) -> Bool {
            Array(path.utf8).withUnsafeBytes { path in
                Array(ancestor.utf8).withUnsafeBytes { path.isBelow($0) }
            }
        }
        #expect(isBelow("/a/b", "/a"))
        #expect(isBelow("/a/b", "/"))
        #expect(isBelow("/a/b", ""))
        #expect(isBelow("/a/b/c", "/a"))
        #expect(!isBelow("/a", "/a"))
        #expect(!isBelow("/ab", "/a"))
        #expect(!isBelow("/", "/"))
        #expect(!isBelow("/a", "/a/b"))
        #expect(!isBelow("", ""))
    }

    @Test func `the root has two names and every other path one`() {
        let tree = Database(seed: 2).tree
        func find(_ path: String) -> NodeHandle? { tree.find(Array(path.utf8).span) }
        #expect(find("") == .root)
        #expect(find("/") == .root)
        #expect(find("x") == nil)
        #expect(find("//") == nil)
        #expect(find("/zookeeper/") == nil)
        #expect(find("zookeeper") == nil)
        #expect(find("/zookeeper/quota").map { tree.path(of: $0) } == "/zookeeper/quota")
        #expect(find("/zookeeperXquota") == nil)
    }
}
