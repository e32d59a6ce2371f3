import Configuration
import QuorumProtocol
import Testing
import Vocabulary

/// The expected values are what Java's `Properties.load` makes of the same text.
@Suite struct PropertiesTextTests {
    private func pairs(_ text: String) throws -> [[String]] {
        try PropertiesText.entries(of: text).map { [$0.key, $0.value] }
    }
    private func lines(_ text: String) throws -> [Int] {
        try PropertiesText.entries(of: text).map(\.lines.lowerBound)
    }

    @Test(arguments: [
        "key=value", "key:value", "key value", "key\tvalue", "key\u{c}value", "key = value",
        "key : value", "  key=value", "\t\u{c}key=value", "key   \t= \tvalue",
    ])
    func `a separator is =, : or white space, with white space around it`(text: String) throws {
        #expect(try pairs(text) == [["key", "value"]])
    }

    @Test func `only the first separator separates`() throws {
        #expect(try pairs("a==b") == [["a", "=b"]])
        #expect(try pairs("a:=b") == [["a", "=b"]])
        #expect(try pairs("a = : b") == [["a", ": b"]])
        #expect(try pairs("a b=c") == [["a", "b=c"]])
    }

    @Test func `a key alone has an empty value, a separator alone an empty key`() throws {
        #expect(try pairs("a") == [["a", ""]])
        #expect(try pairs("a=") == [["a", ""]])
        #expect(try pairs("=b") == [["", "b"]])
    }

    @Test func `white space at the end belongs to the value`() throws {
        #expect(try pairs("a=b  \t\nc=d") == [["a", "b  \t"], ["c", "d"]])
    }

    @Test func `comments and blank lines are no entries`() throws {
        #expect(try pairs("# a=b\n  ! c=d\n\n \t \n#\n!") == [])
        #expect(try pairs("a=#b\nc=d!") == [["a", "#b"], ["c", "d!"]])
    }

    @Test func `a backslash does not continue a comment`() throws {
        #expect(try pairs("# comment \\\na=b") == [["a", "b"]])
    }

    @Test(arguments: ["\n", "\r", "\r\n"])
    func `every line end ends a line and counts once`(lineEnd: String) throws {
        let text = ["a=1", "", "# c", "b=2\\", "  3", "c=4"].joined(separator: lineEnd)
        #expect(try pairs(text) == [["a", "1"], ["b", "23"], ["c", "4"]])
        #expect(try lines(text) == [1, 4, 6])
    }

    @Test func `an odd number of backslashes continues a line, without the indent`()
        throws
    {
        #expect(try pairs("a=b\\\n   c\\\n\td") == [["a", "bcd"]])
        #expect(try pairs("a=b\\\\\nc=d") == [["a", "b\\"], ["c", "d"]])
        #expect(try pairs("a=b\\\\\\\nc=d") == [["a", "b\\c=d"]])
    }

    @Test func `a continued line takes a comment in, and an empty line ends it`()
        throws
    {
        #expect(try pairs("a=b\\\n# c") == [["a", "b# c"]])
        #expect(try pairs("a=b\\\n\nc=d") == [["a", "b"], ["c", "d"]])
        #expect(try pairs("a=b\\\n  \nc=d") == [["a", "b"], ["c", "d"]])
    }

    @Test func `an entry knows all its lines`() throws {
        let lines = { try PropertiesText.entries(of: $0).map(\.lines) }
        #expect(try lines("# c\n\na=b\nc=d") == [3...3, 4...4])
        #expect(try lines("a=b\\\n  c\\\r\n d\ne=f") == [1...3, 4...4])
        #expect(try lines("a=b\\\n# c\nd=e") == [1...2, 3...3])
        #expect(try lines("a=b\\\n\nc=d") == [1...2, 3...3])
    }

    @Test func `a backslash at the end of the text is dropped`() throws {
        #expect(try pairs("a=b\\") == [["a", "b"]])
        #expect(try pairs("a=b\\\n") == [["a", "b"]])
    }

    @Test func `a key may be continued`() throws {
        #expect(try pairs("tick\\\n  Time=1") == [["tickTime", "1"]])
        #expect(try lines("\n\ntick\\\n  Time=1") == [3])
    }

    @Test func `escapes`() throws {
        #expect(try pairs(#"a=\t\n\r\f"#) == [["a", "\t\n\r\u{c}"]])
        #expect(try pairs(#"a\=b\:c\ d=e"#) == [["a=b:c d", "e"]])
        #expect(try pairs(#"a=\b\x\"\\"#) == [["a", #"bx"\"#]])
        #expect(try pairs(#"a\\=b"#) == [[#"a\"#, "b"]])
        #expect(try pairs("\\#a=b") == [["#a", "b"]])
    }

    @Test func `unicode escapes, also of two halves`() throws {
        #expect(try pairs(#"\u0061=\u00e9\u00E9"#) == [["a", "éé"]])
        #expect(try pairs(#"a=\ud83d\ude00"#) == [["a", "😀"]])
    }

    @Test(arguments: [#"a=\u"#, #"a=\u12"#, #"a=\u12g4"#, #"\u00=b"#])
    func `a unicode escape without four digits is an error with its line`(text: String) {
        #expect(throws: PropertiesText.MalformedEscape(line: 3)) {
            try PropertiesText.entries(of: "# one\n\n" + text)
        }
    }

    @Test func `duplicates keep their order`() throws {
        #expect(try pairs("a=1\nb=2\na=3") == [["a", "1"], ["b", "2"], ["a", "3"]])
    }

    @Test func `no text, no entries`() throws {
        #expect(try pairs("") == [])
    }
}

@Suite struct ConfigurationOfAnything {
    /// A fixed sequence: the same texts in every run.
    private struct Sequence: RandomNumberGenerator {
        var state: UInt64 = 1
        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state
        }
    }

    @Test func `no text traps, and what is accepted is accepted again`() {
        let pieces = [
            "tickTime", "zookeeper.", "clientPort", "dataDir=/d\n", "server.1", "autopurge",
            ".purgeInterval", "=", ":", " ", "\t", "\\", "\\\n", "\n", "\r", "#", "!", "\\u00",
            "41",
            "-", "0x", "9223372036854775807", "9223372036854775808", "h", "true", "\u{0}", "é", "😀",
            "4lw.commands.whitelist", ",", "*", "jute.maxbuffer", "enforce.auth.enabled",
            "server.1=a:1:2\n", "server.2=[::1]:1:2:observer;3\n", "server.", "group.1", "weight.2",
            "initLimit=1\nsyncLimit=1\n", "standaloneEnabled=false\n", "|", ";", "version=1f\n",
            "dynamicConfigFile=/f\n", "reconfigEnabled=true\n", "snapshotSizeFactor",
        ]
        var sequence = Sequence()
        var acceptedCount = 0
        for _ in 0..<20_000 {
            let count = Int.random(in: 0...12, using: &sequence)
            let text =
                "dataDir=/d\n"
                + (0..<count).map { _ in
                    pieces[Int.random(in: 0..<pieces.count, using: &sequence)]
                }.joined()
            let files = ["/d/myid": "1", "/f": text.replacing("dataDir=/d\n", with: "")]
            guard let first = try? drafted(text, files: files) else { continue }
            acceptedCount += 1
            let second = try? drafted(text + "\n", files: files)
            #expect(second?.configuration == first.configuration)
            let moved = try? DynamicConfiguration.staticText(
                text, file: "zoo.cfg", dynamicFile: "/next.5", keepsClientPort: true)
            let listed = "server.1=a:1:2\nserver.3=c:1:2"
            let third = try? drafted(
                #require(moved) + "initLimit=1\nsyncLimit=1",
                files: ["/next.5": listed, "/d/myid": "1"])
            #expect(third?.configuration.ensemble?.members.version == Zxid(rawValue: 5))
        }
        #expect(acceptedCount > 1000)
    }
}
