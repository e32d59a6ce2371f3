import Configuration
import QuorumProtocol
import Testing
import Vocabulary

@Suite struct EnsembleTests {
    /// Everything but the servers; they begin in line 5.
    private let keys = "dataDir=/data\nclientPort=2181\ninitLimit=5\nsyncLimit=2\n"
    private let three = "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n"

    private func ensemble(
        _ text: String, myID: String = "1", files: [String: String] = [:]
    ) throws -> EnsembleSettings {
        let files = files.merging(["/data/myid": myID]) { first, _ in first }
        return try #require(try drafted(keys + text, files: files).configuration.ensemble)
    }

    private func notices(
        _ text: String, myID: String = "1", files: [String: String] = [:]
    ) throws -> [String] {
        let files = files.merging(["/data/myid": myID]) { first, _ in first }
        return try drafted(keys + text, files: files).notices.map(\.description)
    }

    private func refusal(
        _ text: String, myID: String = "1", files: [String: String] = [:]
    ) -> String? {
        wholeRefusal(keys + text, files: files.merging(["/data/myid": myID]) { first, _ in first })
    }

    // Standalone or not

    @Test func `no server, or one alone, is standalone`() throws {
        #expect(try drafted(keys).configuration.ensemble == nil)
        #expect(try drafted(keys).notices == [])
        let alone = try drafted("dataDir=/data\nserver.7=a:2888:3888;127.0.0.1:2190")
        #expect(alone.configuration.ensemble == nil)
        #expect(alone.configuration.clientPort == 2190)
        #expect(alone.configuration.clientPortAddress == "127.0.0.1")
        #expect(
            alone.notices.map(\.description) == [
                "zoo.cfg:2: server.7: one server alone is no ensemble; standaloneEnabled=false"
                    + " makes it one"
            ])
        #expect(try drafted("dataDir=/d\nserver.1=a:1:2").notices.count == 2, "no client port")
        #expect(try drafted("dataDir=/d\nserver.1=a:1:2;0.0.0.0:9").notices.count == 1)
        #expect(
            wholeRefusal(keys + "server.1=a:1:2;2182")
                == "zoo.cfg:5: server.1: expected the same address for clients as in clientPort,"
                + " 0.0.0.0:2181, found 0.0.0.0:2182")
    }

    @Test func `with standaloneEnabled=false one participant is an ensemble`() throws {
        let alone = "standaloneEnabled=false\nserver.1=a:2888:3888\n"
        #expect(try ensemble(alone).members.participants == [ServerID(rawValue: 1)])
        #expect(try ensemble(alone).standaloneEnabled == false)
        #expect(
            try notices(alone) == ["zoo.cfg: 1 participant: none may fail; of three, one may"])
        let observed = alone + "server.2=b:2888:3888:observer"
        #expect(try ensemble(observed, myID: "2").own.role == .observer)
        #expect(
            refusal("standaloneEnabled=false")
                == "zoo.cfg:5: standaloneEnabled: expected a server.N line if it is false, found"
                + " none")
    }

    @Test func `observers need participants`() {
        #expect(
            refusal("server.1=a:1:2:observer\nserver.2=b:1:2:observer")
                == "zoo.cfg: no server is a participant")
        #expect(
            refusal("server.1=a:1:2\nserver.2=b:1:2:observer")
                == "zoo.cfg: standaloneEnabled: expected false or a second participant beside the"
                + " observers, found true")
        #expect(refusal("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer") == nil)
    }

    @Test(arguments: [
        (2, "2 participants: none may fail; of three, one may"), (3, nil),
        (4, "4 participants: no more of them may fail than of 3"), (5, nil),
    ])
    func `a number of participants that is no better than a smaller one is told`(
        count: Int, advice: String?
    ) throws {
        let servers = (1...count).map { "server.\($0)=h\($0):2888:3888\n" }.joined()
        let observer = "server.9=o:2888:3888:observer\n"
        #expect(try notices(servers + observer) == (advice.map { ["zoo.cfg: \($0)"] } ?? []))
    }

    @Test func `an ensemble needs its limits, a standalone server does not`() {
        let myID = ["/d/myid": "1"]
        #expect(
            wholeRefusal("dataDir=/d\nclientPort=1\nsyncLimit=1\n\(three)", files: myID)
                == "zoo.cfg: initLimit: expected a whole number of ticks in an ensemble, found no"
                + " such key")
        #expect(
            wholeRefusal("dataDir=/d\nclientPort=1\ninitLimit=1\n\(three)", files: myID)
                == "zoo.cfg: syncLimit: expected a whole number of ticks in an ensemble, found no"
                + " such key")
        #expect(wholeRefusal("dataDir=/d\nclientPort=1\n") == nil)
    }

    // The list of servers

    @Test func `the list has members, groups, weights and a version`() throws {
        let groups = "group.1=1:2\ngroup.2=3\nweight.3=0\nversion=100000004\n"
        let members = try ensemble(three + groups).members
        #expect(
            members.text
                == """
                server.1=a:2888:3888:participant
                server.2=b:2888:3888:participant
                server.3=c:2888:3888:participant
                group.1=1:2
                group.2=3
                weight.1=1
                weight.2=1
                weight.3=0
                version=100000004
                """)
        #expect(try ensemble(three).members.version == .zero)
        #expect(try notices(three + groups) == [])
        #expect(
            try ensemble("zookeeper." + three).members == ensemble(three).members,
            "the prefix changes nothing")
    }

    @Test func `names of hosts stay text`() throws {
        let text = "server.1=[::1]:2888:3888;[fe80::1]:2181\nserver.2=no.such.host:2888:3888"
        let members = try ensemble(text).members
        #expect(members.members.map { $0.endpoints.map(\.host) } == [["::1"], ["no.such.host"]])
        #expect(try ensemble(text).own.clientAddress?.host == "fe80::1")
    }

    @Test(arguments: [
        (
            "server.2=b",
            "zoo.cfg:8: server.2: \"b\" is not host:port:port[:role][;[host:]port] with two ports"
        ),
        (
            "server.2=b:1:1",
            "zoo.cfg:8: server.2: \"b:1:1\" is not host:port:port[:role][;[host:]port] with two"
                + " ports"
        ),
        ("server.x=b:1:2", "zoo.cfg:8: server.x: \"x\" is no server's id"),
        ("zookeeper.server.=b:1:2", "zoo.cfg:8: zookeeper.server.: \"\" is no server's id"),
        ("group.1=1:2:3\nweight.2=-1", "zoo.cfg:9: weight.2: \"-1\" is not a weight from 0 to"),
        ("group.1=1:2:3\nweight.two=1", "zoo.cfg:9: weight.two: \"two\" is no server's id"),
        ("weight.1=3", "zoo.cfg:5: server.1: server 1 is not in a group"),
        ("group.1=1:2", "zoo.cfg:7: server.3: server 3 is not in a group"),
        ("group.1=1:2:3\ngroup.2=3", "group.2: server 3 is in two groups"),
        (
            "group.1=1:2:3:4",
            "zoo.cfg:8: group.1: a group names server 4, which does not exist"
        ),
        ("group.1=1:2:3:x", "zoo.cfg:8: group.1: \"x\" is no server's id"),
        ("group.x=1:2:3", "zoo.cfg:8: group.x: \"x\" is not a group of servers"),
        ("version=0x1", "zoo.cfg:8: version: \"0x1\" is not a version"),
    ])
    func `a bad line of the list is named`(line: String, message: String) throws {
        #expect(try #require(refusal(three + line)).contains(message))
    }

    @Test func `of two lines of a server the last one counts, and that is told`() throws {
        let text = three + "server.2=d:2888:3888"
        let second = try #require(ensemble(text).members.member(ServerID(rawValue: 2)))
        #expect(second.endpoints.map(\.host) == ["d"])
        #expect(
            try notices(text) == [
                "zoo.cfg:6: server.2: is set again in zoo.cfg line 8, and that one counts"
            ])
    }

    @Test func `lines of the list without a server are told`() throws {
        #expect(
            try drafted(keys + "weight.1=3\nversion=5").notices.map(\.description) == [
                "zoo.cfg:5: weight.1: means nothing without server.N lines",
                "zoo.cfg:6: version: means nothing without server.N lines",
            ])
    }

    @Test func `several addresses need multiAddress.enabled`() throws {
        let text = three + "server.2=b:1:2|c:1:2\n"
        #expect(
            refusal(text)
                == "zoo.cfg:8: server.2: expected one address unless multiAddress.enabled=true,"
                + " found 2")
        let settings = try ensemble(text + "multiAddress.enabled=true")
        #expect(settings.multiAddressEnabled)
        #expect(settings.members.members[1].endpoints.count == 2)
    }

    // Which server it is

    @Test func `myid says which server it is`() throws {
        #expect(try ensemble(three, myID: "2\n").own.id == ServerID(rawValue: 2))
        #expect(try ensemble(three, myID: " 3 \r\nnot read").own.endpoints[0].host == "c")
        #expect(
            refusal(three, myID: "4")
                == "/data/myid:1: expected the id of a server in the list (1, 2, 3), found 4")
        #expect(
            wholeRefusal(keys + three)
                == "/data/myid: expected the number of this server, found no such file")
        #expect(
            refusal(three, myID: "one")
                == "/data/myid:1: expected the number of this server, from 0 to"
                + " 9223372036854775806, found \"one\"")
        #expect(
            try ConfigurationDraft("dataDir=/d/\ninitLimit=1\nsyncLimit=1\n" + three, file: "z")
                .wantedFile == "/d/myid")
    }

    @Test(arguments: ["0", "1", "255", "256", "9223372036854775806", "007", "+5"])
    func `an id is a whole number`(text: String) throws {
        #expect(try ServerConfiguration.myID(text: text).rawValue == Int64(text))
    }

    @Test(arguments: [
        "", "\n1", "-1", "1.0", "0x1", "1 2", "9223372036854775807", "9223372036854775808", "１",
    ])
    func `anything else is no id`(text: String) {
        #expect(throws: ConfigurationError.self) { try ServerConfiguration.myID(text: text) }
    }

    @Test func `with TTL znodes an id is at most 254`() throws {
        let text = "server.254=a:1:2\nserver.255=b:1:2\nserver.3=c:1:2\nextendedTypesEnabled=true\n"
        #expect(try ensemble(text, myID: "254").own.id.rawValue == 254)
        #expect(
            refusal(text, myID: "255")
                == "zoo.cfg:8: extendedTypesEnabled: expected a number of this server up to 254 if"
                + " it is true, found 255")
        #expect(refusal(text + "extendedTypesEnabled=false", myID: "255") == nil)
    }

    @Test func `ids with the same low byte are told`() throws {
        let text = three + "server.257=d:1:2\nserver.4=e:1:2\n"
        let notice =
            "/data/myid:1: servers 257 and 1 have the same low byte: they may give two sessions"
            + " the same id"
        #expect(try notices(text, myID: "257") == [notice])
        #expect(try notices(text, myID: "2") == [])
    }

    @Test func `peerType gives way to the list`() throws {
        let observed = three + "server.4=d:2888:3888:observer\n"
        #expect(try notices(observed + "peerType=observer", myID: "4") == [])
        #expect(try notices(observed, myID: "4") == [])
        #expect(
            try notices(observed + "peerType=Participant", myID: "4") == [
                "zoo.cfg:9: peerType: the list of servers says observer, and that counts"
            ])
        #expect(try ensemble(observed + "peerType=observer").own.role == .participant)
        #expect(try notices(observed + "peerType=observer").count == 1)
        #expect(
            refusal(three + "peerType=leader")
                == "zoo.cfg:8: peerType: expected participant or observer, found \"leader\"")
    }

    // Where it serves clients

    @Test func `the own line says where clients are served`() throws {
        let listed = "server.1=a:1:2;2191\nserver.2=b:1:2;x:2192\nserver.3=c:1:2\n"
        let rest = "dataDir=/data\ninitLimit=1\nsyncLimit=1\n"
        let client = { (id: String) throws -> (UInt16?, String?) in
            let configuration = try drafted(rest + listed, files: ["/data/myid": id]).configuration
            return (configuration.clientPort, configuration.clientPortAddress)
        }
        #expect(try client("1") == (2191, nil))
        #expect(try client("2") == (2192, "x"))
        #expect(try client("3") == (nil, nil))
        #expect(
            try drafted(rest + listed, files: ["/data/myid": "3"]).notices.map(\.description)
                == ["zoo.cfg: clientPort: is not set: no client can connect"])
    }

    /// clientPortAddress; the own line's client address; accepted; whether something is told.
    @Test(arguments: [
        (nil, "2181", true, false), (nil, "x:2181", true, false), (nil, "2182", false, false),
        (nil, "x:2182", false, false), ("0.0.0.0", "x:2181", true, false),
        ("::", "2181", true, false), ("x", "2181", false, false), ("x", "X:2181", true, false),
        ("x", "y:2181", true, true), ("x", "x:2182", false, false),
    ])
    func `clientPort must agree with the own line`(
        address: String?, listed: String, isAccepted: Bool, isTold: Bool
    ) throws {
        let text =
            three + "server.1=a:2888:3888;\(listed)\n"
            + (address.map { "clientPortAddress=\($0)" } ?? "")
        guard isAccepted else {
            let message = try #require(refusal(text))
            #expect(
                message.hasPrefix(
                    "zoo.cfg:8: server.1: expected the same address for clients as in clientPort, "
                ))
            return #expect(refusal(text, myID: "2") == nil, "only the own line matters")
        }
        let overwritten = 1
        #expect(try notices(text).count == overwritten + (isTold ? 1 : 0))
        let result = try drafted(keys + text, files: ["/data/myid": "1"]).configuration
        #expect(result.clientPort == 2181)
        #expect(result.clientPortAddress == result.ensemble?.own.clientAddress.flatMap(specific))
    }

    private func specific(_ address: ServerAddress) -> String? {
        address.isWildcard ? nil : address.host
    }

    // Files of their own

    private let dynamicKey = "dynamicConfigFile=/etc/zoo.cfg.dynamic.10000000a\n"
    private let dynamicFile = "/etc/zoo.cfg.dynamic.10000000a"

    @Test func `the list may be in a file of its own, whose name has the version`() throws {
        let settings = try ensemble(dynamicKey, files: [dynamicFile: three])
        #expect(settings.members.version == Zxid(rawValue: 0x1_0000_000a))
        #expect(settings.members.hasSameServers(as: try ensemble(three).members))
        #expect(settings.dynamicConfigFile == dynamicFile)
        #expect(try notices(dynamicKey, files: [dynamicFile: three]) == [])
        let unversioned = try ensemble(
            "dynamicConfigFile=/etc/zoo.cfg.dynamic", files: ["/etc/zoo.cfg.dynamic": three])
        #expect(unversioned.members.version == .zero)
    }

    @Test func `the draft asks for one file after the other`() throws {
        let text = keys + dynamicKey + "reconfigEnabled=true"
        var draft = try ConfigurationDraft(text, file: "/etc/zoo.cfg")
        #expect(draft.wantedFile == dynamicFile)
        try draft.adopt(three)
        #expect(draft.wantedFile == "/etc/zoo.cfg.dynamic.next")
        try draft.adopt(nil)
        #expect(draft.wantedFile == "/data/myid")
        try draft.adopt("3")
        #expect(draft.wantedFile == nil)
        #expect(draft.configuration.ensemble?.own.id == ServerID(rawValue: 3))
        #expect(draft.configuration.ensemble?.lastSeenMembers == nil)
    }

    @Test func `a file of its own may make a standalone server too`() throws {
        let draft = try drafted(keys + dynamicKey, files: [dynamicFile: "server.1=a:1:2"])
        #expect(draft.configuration.ensemble == nil)
        #expect(draft.notices.map(\.file) == [dynamicFile])
        #expect(try drafted(keys + dynamicKey, files: [dynamicFile: ""]).notices == [])
    }

    @Test func `the list is in one file only`() {
        #expect(
            refusal(three + dynamicKey, files: [dynamicFile: three])
                == "zoo.cfg:5: server.1: expected it in the file that dynamicConfigFile names,"
                + " found it beside that key")
        #expect(refusal(dynamicKey + "weight.1=1", files: [dynamicFile: three]) != nil)
        #expect(refusal(dynamicKey + "version=7", files: [dynamicFile: three]) == nil)
        #expect(
            refusal(dynamicKey)
                == "\(dynamicFile): expected the list of servers that zoo.cfg says is here, found"
                + " no such file")
    }

    @Test(arguments: [
        ("version=10000000a", "4: version: expected the version in the name of the file, found it"),
        ("clientPort=2181", "4: clientPort: expected server.N, group.N or weight.N, found another"),
        ("fancy=1", "4: fancy: expected server.N, group.N or weight.N, found another key"),
        ("server.4=d", "4: server.4: \"d\" is not host:port:port"),
        (#"server.4=\u00"#, "4: expected four hexadecimal digits after \\u, found something else"),
    ])
    func `a bad line of the file with the list is named`(line: String, message: String) throws {
        let text = try #require(refusal(dynamicKey, files: [dynamicFile: three + line]))
        #expect(text.hasPrefix("\(dynamicFile):\(message)"))
    }

    @Test func `a proposed list is last seen while it is newer`() throws {
        let text = dynamicKey + "reconfigEnabled=true\n"
        let lastSeen = { (version: String) in
            let next = three + "server.4=d:2888:3888\nversion=\(version)"
            return try ensemble(text, files: [dynamicFile: three, "zoo.cfg.dynamic.next": next])
                .lastSeenMembers
        }
        let newer = try #require(try lastSeen("10000000b"))
        #expect(newer.version == Zxid(rawValue: 0x1_0000_000b))
        #expect(newer.members.count == 4)
        #expect(try lastSeen("10000000a") == nil, "active meanwhile")
        #expect(try lastSeen("9") == nil)
        for broken in ["", "server.1=a", "fancy=1"] {
            let message = try #require(
                refusal(text, files: [dynamicFile: three, "zoo.cfg.dynamic.next": broken]))
            #expect(message.hasPrefix("zoo.cfg.dynamic.next"))
        }
    }

    @Test func `without reconfig nobody asks for a proposed list`() throws {
        let files = [dynamicFile: three, "zoo.cfg.dynamic.next": "broken", "/data/myid": "1"]
        let listed = try drafted(keys + dynamicKey, files: files).configuration
        #expect(listed.ensemble?.lastSeenMembers == nil)
        let own = try drafted(keys + three + "reconfigEnabled=true", files: files).configuration
        #expect(own.ensemble?.lastSeenMembers == nil)
    }

    @Test func `only a standalone server's configuration is one file`() throws {
        #expect(try ConfigurationDraft(keys, file: "zoo.cfg").configuration.ensemble == nil)
        for text in [keys + three, keys + dynamicKey] {
            #expect(try ConfigurationDraft(text, file: "zoo.cfg").wantedFile != nil)
        }
    }

    // Keys

    @Test func `the settings have what the keys say`() throws {
        let settings = try ensemble(three + "tcpKeepAlive=true\nleaderServes=no\n")
        #expect(settings.initLimit == 5)
        #expect(settings.syncLimit == 2)
        #expect(settings.tcpKeepAlive)
        #expect(!settings.leaderServes)
    }

    @Test func `connectToLearnerMasterLimit is initLimit unless set`() throws {
        #expect(try ensemble(three).connectToLearnerMasterLimit == 5)
        #expect(
            try ensemble(three + "connectToLearnerMasterLimit=0").connectToLearnerMasterLimit == 5)
        #expect(
            try ensemble(three + "connectToLearnerMasterLimit=9").connectToLearnerMasterLimit == 9)
    }

    @Test func `limits of 0 ticks are refused`() {
        for key in ["initLimit", "syncLimit"] {
            #expect(
                refusal("\(key)=0")
                    == "zoo.cfg:5: \(key): expected a whole number of ticks from 1 to 2147483647,"
                    + " found \"0\"")
        }
        #expect(refusal("connectToLearnerMasterLimit=-1") != nil)
    }

    @Test func `there is one election algorithm`() {
        #expect(refusal("electionAlg=3") == nil)
        #expect(
            refusal("electionAlg=0")
                == "zoo.cfg:5: electionAlg: expected 3 (fast leader election; there is no other any"
                + " more), found \"0\"")
    }

    @Test func `commitLogCount is at least 500`() throws {
        #expect(try ensemble(three + "commitLogCount=501").commitLogCount == 501)
        #expect(try ensemble(three + "commitLogCount=10").commitLogCount == 500)
        #expect(
            try notices(three + "commitLogCount=10")
                == ["zoo.cfg:8: commitLogCount: 10 is too small, 500 is used"])
    }

    @Test(arguments: [("0.33", 0.33), ("0", 0), ("-1", -1), ("1", 1), ("0.5", 0.5), (".25", 0.25)])
    func `snapshotSizeFactor is a share`(text: String, share: Double) throws {
        #expect(try ensemble(three + "snapshotSizeFactor=\(text)").snapshotSizeFactor == share)
    }

    @Test(arguments: ["", "1.01", "nan", "-inf", "0x1p-1", "a", "1,0"])
    func `other values of snapshotSizeFactor are refused`(text: String) {
        #expect(
            refusal("snapshotSizeFactor=\(text)")
                == "zoo.cfg:5: snapshotSizeFactor: expected a decimal number up to 1, found"
                + " \"\(text)\"")
    }

    @Test(arguments: [
        ("observer.electionDelayMs", \QuorumSettings.observerElectionDelayMilliseconds)
    ])
    func `other spellings`(
        key: String, field: any KeyPath<QuorumSettings, Int> & Sendable
    ) throws {
        #expect(try ensemble(three + "\(key)=77").quorum[keyPath: field] == 77)
        #expect(try notices(three + "\(key)=77") == [])
    }

    @Test func `observer.syncEnabled is syncEnabled`() throws {
        #expect(try !ensemble(three + "zookeeper.observer.syncEnabled=false").syncEnabled)
    }
}
