import Configuration
import QuorumProtocol
import Testing
import Vocabulary

@Suite struct DynamicConfigurationTests {
    @Test func `the names of the files`() {
        let version = Zxid(rawValue: 0x1_0000_000a)
        #expect(
            DynamicConfiguration.fileName(base: "/etc/zoo.cfg", version: version)
                == "/etc/zoo.cfg.dynamic.10000000a")
        #expect(
            DynamicConfiguration.fileName(base: "zoo.cfg", version: .zero) == "zoo.cfg.dynamic.0")
        #expect(DynamicConfiguration.nextFileName(base: "zoo.cfg") == "zoo.cfg.dynamic.next")
        #expect(DynamicConfiguration.backupFileName(base: "zoo.cfg") == "zoo.cfg.bak")
    }

    @Test(arguments: [
        ("/etc/zoo.cfg.dynamic.10000000a", 0x1_0000_000a), ("zoo.cfg.dynamic.0", 0),
        ("zoo.cfg.dynamic", 0), ("zoo.cfg.dynamic.next", 0), ("servers", 0), ("", 0), ("a.", 0),
        ("zoo.5/servers", 0), ("my.CAFE", 0xcafe), ("a.-1", 0), ("a.10000000000000000", 0),
        ("a.7fffffffffffffff", Int64.max),
    ])
    func `the version is what the name ends in`(name: String, version: Int64) {
        #expect(DynamicConfiguration.version(inFileName: name).rawValue == version)
    }

    @Test func `the texts of the files, sorted as Apache does`() throws {
        let members = try EnsembleConfiguration(
            """
            server.2=b:2888:3888;2181
            server.10=c:2888:3888:observer
            server.1=a:2888:3888
            group.1=1:2
            version=10000000a
            """)
        let lines = """
            group.1=1:2
            server.10=c:2888:3888:observer
            server.1=a:2888:3888:participant
            server.2=b:2888:3888:participant;0.0.0.0:2181
            """
        #expect(
            DynamicConfiguration.text(of: members) == lines + "\nweight.1=1\nweight.2=1")
        #expect(
            DynamicConfiguration.nextText(of: members)
                == lines + "\nversion=10000000a\nweight.1=1\nweight.2=1")
    }

    @Test func `what is written is read again`() throws {
        let servers = "server.1=[::1]:1:2:participant;[::]:5\nserver.2=b:1:2\nserver.30=c:1:2\n"
        let members = try EnsembleConfiguration(servers + "version=7")
        let base = "zoo.cfg"
        let file = DynamicConfiguration.fileName(base: base, version: members.version)
        let text = "dataDir=/d\ninitLimit=1\nsyncLimit=1\nreconfigEnabled=true\n"
        let rewritten = try DynamicConfiguration.staticText(
            text + servers, file: base, dynamicFile: file, keepsClientPort: false)
        var proposed = members
        proposed.version = Zxid(rawValue: 8)
        let draft = try drafted(
            rewritten,
            files: [
                file: DynamicConfiguration.text(of: members), "/d/myid": "1",
                DynamicConfiguration.nextFileName(base: base):
                    DynamicConfiguration.nextText(of: proposed),
            ])
        #expect(draft.configuration.ensemble?.members == members)
        #expect(draft.configuration.ensemble?.lastSeenMembers == proposed)
        #expect(draft.configuration.clientPort == 5)
    }

    // The rewritten zoo.cfg

    private func rewritten(_ text: String, keepsClientPort: Bool = true) throws -> String {
        try DynamicConfiguration.staticText(
            text, file: "zoo.cfg", dynamicFile: "/etc/zoo.cfg.dynamic.5",
            keepsClientPort: keepsClientPort)
    }

    private let pointer = "dynamicConfigFile=/etc/zoo.cfg.dynamic.5\n"

    @Test func `the list moves away, all other lines stay as they are`() throws {
        let text = """
            # An ensemble
            dataDir = /data
            server.1=a:1:2
            zookeeper.server.2 : \\
                b:1:2
              group.1=1:2

            weight.1=2
            peerType=observer
            fancy=1
            clientPortListenBacklog=5
            clientPort=2181
            clientPortAddress=x
            server.saslLoginContext=Server
            # The end
            """
        #expect(
            try rewritten(text)
                == """
                # An ensemble
                dataDir = /data

                fancy=1
                clientPortListenBacklog=5
                clientPort=2181
                clientPortAddress=x
                server.saslLoginContext=Server
                # The end
                \(pointer)
                """)
        #expect(
            try rewritten(text, keepsClientPort: false)
                == """
                # An ensemble
                dataDir = /data

                fancy=1
                clientPortListenBacklog=5
                server.saslLoginContext=Server
                # The end
                \(pointer)
                """)
    }

    @Test func `the next time only the path changes`() throws {
        let old =
            "dataDir=/d\ndynamicConfigFile=/etc/old.1\nversion=1\ndynamicConfigFile=/etc/old.2"
        #expect(try rewritten(old) == "dataDir=/d\nversion=1\n" + pointer)
    }

    @Test(arguments: ["", "a=1", "a=1\n", "a=1\\", "a=1\\\n", "# c\\", "a=1\\\\", "a=1\\\n\n"])
    func `the path is a line of its own, and rewriting twice is rewriting once`(
        text: String
    ) throws {
        let once = try rewritten(text)
        #expect(try rewritten(once) == once)
        let before = try PropertiesText.entries(of: text).map { [$0.key, $0.value] }
        let after = try PropertiesText.entries(of: once).map { [$0.key, $0.value] }
        #expect(after == before + [["dynamicConfigFile", "/etc/zoo.cfg.dynamic.5"]])
    }

    @Test func `every kind of line end`() throws {
        #expect(
            try rewritten("a=1\r\nserver.1=a:1:2\r\nb=2\rserver.2=b:1:2\rc=3\r\n")
                == "a=1\nb=2\nc=3\n" + pointer)
    }

    @Test func `a path is escaped`() throws {
        let path = #"/a\b"# + "\n/c\r"
        let text = try DynamicConfiguration.staticText(
            "", file: "zoo.cfg", dynamicFile: path, keepsClientPort: true)
        #expect(try PropertiesText.entries(of: text).map(\.value) == [path])
    }

    @Test func `a text that is no configuration is refused`() {
        #expect(throws: ConfigurationError.self) { try rewritten(#"a=\u12"#) }
    }
}
