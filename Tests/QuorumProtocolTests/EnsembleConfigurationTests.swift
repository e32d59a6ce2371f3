import Foundation
import QuorumProtocol
import Testing
import Vocabulary

@Suite struct `Configuration texts` {
    private func parse(_ text: String) throws -> EnsembleConfiguration {
        try EnsembleConfiguration(text)
    }

    private func error(_ text: String) -> EnsembleConfigurationError? {
        do throws(EnsembleConfigurationError) {
            _ = try EnsembleConfiguration(text)
            return nil
        } catch {
            return error
        }
    }

    @Test func `a text is members, their addresses and a version`() throws {
        let text = """
            server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181
            server.2=[fe80::2]:2888:3888:participant;[::1]:2182
            server.10=ten.example:2890:3890:observer
            version=10000000d
            """
        let configuration = try parse(text)
        #expect(configuration.text == text)
        #expect(configuration.version == Zxid(epoch: 1, counter: 13))
        #expect(configuration.participants == [ServerID(rawValue: 1), ServerID(rawValue: 2)])
        #expect(configuration.observers == [ServerID(rawValue: 10)])
        #expect(!configuration.isHierarchical)
        let second = try #require(configuration.member(ServerID(rawValue: 2)))
        #expect(second.clientAddress == ServerAddress(host: "::1", port: 2182))
        #expect(second.endpoints.map(\.quorum) == [ServerAddress(host: "fe80::2", port: 2888)])
        #expect(second.endpoints.map(\.election) == [ServerAddress(host: "fe80::2", port: 3888)])
        #expect(configuration.member(ServerID(rawValue: 3)) == nil)
        #expect(
            configuration.textWithoutVersion
                == text.split(separator: "\n").dropLast().joined(separator: "\n"))
    }

    @Test func `what may be missing is filled in, and lines are sorted`() throws {
        let text = "version=a\n# a comment\n\n server.10 = c:3:4:OBSERVER \r\nserver.9=b:1:2;2181\n"
        #expect(
            try parse(text).text == """
                server.9=b:1:2:participant;0.0.0.0:2181
                server.10=c:3:4:observer
                version=a
                """)
        #expect(try parse("server.1=a:1:2; ") == parse("server.1=a:1:2"))
        #expect(try parse("server.1=a:1:2").text == "server.1=a:1:2:participant\nversion=0")
    }

    @Test func `several addresses are sorted by host, the role stands behind the last`() throws {
        let text = "server.1=b:1:2|a:3:4:observer;5\nserver.2=z:1:2"
        #expect(
            try parse(text).textWithoutVersion == """
                server.1=a:3:4|b:1:2:observer;0.0.0.0:5
                server.2=z:1:2:participant
                """)
        let both = "server.1=b:1:2:observer|a:3:4:participant"
        #expect(error(both) == .invalidServer("b:1:2:observer|a:3:4:participant"))
    }

    @Test func `groups and weights make a hierarchy`() throws {
        let text = """
            server.1=a:1:2:participant
            server.2=b:1:2:participant
            server.3=c:1:2:participant
            group.1=1:2
            group.2=3
            weight.1=1
            weight.2=0
            weight.3=5
            version=0
            """
        let configuration = try parse(text)
        #expect(configuration.isHierarchical)
        #expect(
            configuration.groups.map(\.servers) == [[1, 2], [3]].map { $0.map(ServerID.init) })
        #expect(configuration.weights[ServerID(rawValue: 3)] == 5)
        #expect(configuration.text == text)
        let without = text.replacingOccurrences(of: "weight.1=1\n", with: "")
        #expect(try parse(without) == configuration)
    }

    @Test func `a hierarchy has every participant in one group`() {
        let servers = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\n"
        #expect(error(servers + "group.1=1:2") == nil)
        #expect(error(servers + "group.1=1") == .serverWithoutGroup(ServerID(rawValue: 2)))
        #expect(error(servers + "weight.1=1") == .serverWithoutGroup(ServerID(rawValue: 1)))
        #expect(
            error(servers + "group.1=1:2\ngroup.2=2") == .serverInTwoGroups(ServerID(rawValue: 2)))
        #expect(error(servers + "group.1=1:2:4") == .unknownServer(ServerID(rawValue: 4)))
        #expect(error(servers + "group.x=1:2") == .invalidGroup("x"))
        #expect(error(servers + "group.1=1::2") == .invalidServerID(""))
        for weight in ["-1", "2147483648", "x", ""] {
            #expect(error(servers + "group.1=1:2\nweight.1=\(weight)") == .invalidWeight(weight))
        }
    }

    @Test(arguments: [
        "", "a", "a:1", "a:1:2:", "a:1:2:leader", "a:1:2:participant:5", ":1:2", "a:0:2", "a:1:0",
        "a:1:1", "a:1:65536", "a:-1:2", "a:x:2", "a b:1:2", "a\\:1:2", "a,b:1:2", "[::1:1:2",
        "a:1:2|", "|a:1:2", "a:1:2;x", "a:1:2;h:", "a:1:2;:5", "a:1:2;h:1:2", "a:1:2;65536",
    ])
    func `what is not a server is an error`(_ value: String) {
        #expect(error("server.1=\(value)") == .invalidServer(value))
    }

    @Test func `a second client port hides both, as in 3_9`() throws {
        #expect(try parse("server.1=a:1:2;5;6").textWithoutVersion == "server.1=a:1:2:participant")
        #expect(try parse("server.1=a:1:2;;6").textWithoutVersion == "server.1=a:1:2:participant")
        #expect(
            try parse("server.1=a:1:2;5;").textWithoutVersion
                == "server.1=a:1:2:participant;0.0.0.0:5")
    }

    @Test func `ids, keys and versions are checked`() {
        let server = "server.1=a:1:2\n"
        for id in ["", "x", "-1", "9223372036854775807", "9223372036854775808", "1.2"] {
            #expect(error("server.\(id)=a:1:2") == .invalidServerID(id))
        }
        #expect(error(server + "clientPort=2181") == .unknownKey("clientPort"))
        #expect(error(server + "nonsense") == .notAnEntry("nonsense"))
        for version in ["", "g", "-1", "8000000000000000", "10000000000000000"] {
            #expect(error(server + "version=\(version)") == .invalidVersion(version))
        }
        #expect(error("version=0") == .noParticipant)
        #expect(error("server.1=a:1:2:observer") == .noParticipant)
        #expect(error("") == .noParticipant)
    }

    @Test func `the last line of a server counts`() throws {
        let text = try parse("server.1=a:1:2\nserver.1=b:3:4").textWithoutVersion
        #expect(text == "server.1=b:3:4:participant")
    }

    @Test func `members given twice are an error`() throws {
        let member = try EnsembleConfiguration.Member(
            id: ServerID(rawValue: 1), specification: "a:1:2")
        #expect(throws: EnsembleConfigurationError.repeatedServer(member.id)) {
            try EnsembleConfiguration(members: [member, member])
        }
    }

    @Test func `configurations that differ in their version have the same servers`() throws {
        let old = try parse("server.1=a:1:2\nversion=1")
        let new = try parse("server.1=a:1:2:participant\nversion=2")
        #expect(old != new)
        #expect(old.hasSameServers(as: new))
        #expect(!old.hasSameServers(as: try parse("server.1=a:1:3\nversion=1")))
    }

    @Test func `the longest text still fits into a notification`() throws {
        var lines: [String] = []
        var bytes = -1
        while true {
            let line = "server.\(lines.count)=h:1:2;3"
            if bytes + line.utf8.count + 1 > EnsembleConfiguration.textBytesMax { break }
            lines.append(line)
            bytes += line.utf8.count + 1
        }
        let configuration = try parse(lines.joined(separator: "\n"))
        #expect(configuration.text.utf8.count < ElectionFrame.messageBytesMax - 44)
        let tooLong = EnsembleConfiguration.textBytesMax + 1
        #expect(error(String(repeating: "#", count: tooLong)) == .tooLong(bytes: tooLong))
    }

    @Test func `dynamic files of an Apache server are written again with the same text`() throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent()
            .appending(path: "Fixtures/storage/3.9.3-reconfig-files")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            .filter { $0.hasPrefix("zoo.cfg.dynamic.") }
        #expect(names.count == 8)
        for name in names {
            let text = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
            #expect(try parse(text).textWithoutVersion == text, "\(name)")
        }
    }
}
