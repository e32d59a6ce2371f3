import Configuration
import Testing

@Suite struct ConfigurationRulesTests {
    /// The notices of a configuration that lacks nothing else.
    private func notices(
        _ text: String, overrides: [ConfigurationOverride] = []
    ) throws -> [String] {
        try parsed(text, overrides: overrides).notices.map(\.description)
    }

    // Keys

    @Test func `a key means the same with and without the prefix`() throws {
        #expect(try configuration("tickTime=7").tickTimeMilliseconds == 7)
        #expect(try configuration("zookeeper.tickTime=7").tickTimeMilliseconds == 7)
        #expect(try configuration("zookeeper.jute.maxbuffer=2048").juteMaxBufferBytes == 2048)
    }

    @Test(arguments: [
        ("connectionMaxTokens", \ServerConfiguration.connectionThrottleTokens),
        ("connectionTokenFillTime", \.connectionThrottleFillTimeMilliseconds),
        ("connectionTokenFillCount", \.connectionThrottleFillCount),
    ])
    func `a spelling that only Apache's documentation has works`(
        key: String, field: any KeyPath<ServerConfiguration, Int> & Sendable
    ) throws {
        #expect(try configuration("\(key)=77")[keyPath: field] == 77)
        #expect(try configuration("zookeeper.\(key)=77")[keyPath: field] == 77)
        #expect(try notices("\(key)=77") == [])
    }

    @Test func `an unknown key is one notice, with the name that was meant if only case differs`()
        throws
    {
        #expect(
            try notices("fancy=1\nsnapcount=5") == [
                "zoo.cfg:3: fancy: unknown key, ignored",
                "zoo.cfg:4: snapcount: unknown key, ignored; did you mean snapCount?",
            ])
        #expect(try parsed("fancy=1").notices.map(\.kind) == [.unknownKey])
    }

    @Test func `a key of Apache's without effect is one notice with its reason`() throws {
        #expect(
            try notices("oraclePath=/o\nzookeeper.nio.numWorkerThreads=4") == [
                "zoo.cfg:3: oraclePath: not implemented yet, ignored:"
                    + " an oracle for two servers is not there yet",
                "zoo.cfg:4: zookeeper.nio.numWorkerThreads: does not apply, ignored:"
                    + " one event loop, no thread pools and no choice of them",
            ])
        let kinds = try parsed("secureClientPort=2281\nflushDelay=nonsense").notices.map(\.kind)
        #expect(kinds == [.notImplementedYet, .notApplicable])
    }

    @Test func `families of keys`() throws {
        let text = """
            admin.enableServer=true
            metricsProvider.httpPort=7000
            ssl.quorum.keyStore.location=/x
            authProvider.1=org.example.Provider
            server.saslLoginContext=Server
            """
        let kinds = try parsed(text).notices.map(\.kind)
        #expect(kinds == Array(repeating: .notImplementedYet, count: 5))
    }

    @Test func `a name in the table goes before the family it would belong to`() throws {
        #expect(
            try parsed("netty.server.outstandingHandshake.limit=5").notices.map(\.kind)
                == [.notImplementedYet])
        #expect(try parsed("netty.other=5").notices.map(\.kind) == [.notApplicable])
        #expect(
            try parsed("java.security.auth.login.config=/x").notices.map(\.kind)
                == [.notImplementedYet])
    }

    @Test func `no name is in the table twice`() {
        let all =
            ConfigurationKey.implemented + ConfigurationKey.notImplementedYet
            + ConfigurationKey.notApplicable
        let names = all.flatMap { [$0.name] + $0.aliases }
        #expect(Set(names).count == names.count)
    }

    // Values

    @Test func `a bad value names file, line, key, what was expected and what was found`() {
        #expect(
            refusal("\n\ntickTime=abc")
                == "zoo.cfg:5: tickTime: expected a whole number of milliseconds from 1 to"
                + " 2147483647, found \"abc\"")
        #expect(
            refusal("zookeeper.skipACL=true")
                == "zoo.cfg:3: zookeeper.skipACL: expected yes or no, found \"true\"")
    }

    @Test(arguments: [
        "", " ", "abc", "1.5", "1 000", "1k", "--1", "+-1", "0x", "0xg", "x10", "010",
    ])
    func `what is not a whole number is refused`(value: String) {
        #expect(refusal("snapCount=\(value)") != nil)
    }

    @Test(arguments: [("5000", 5000), ("+5000", 5000), ("0x1388", 5000), ("0X1388", 5000)])
    func `whole numbers are decimal or hexadecimal`(value: String, number: Int) throws {
        #expect(try configuration("jute.maxbuffer=\(value)").juteMaxBufferBytes == number)
    }

    @Test func `a number beyond 64 bits is refused`() {
        #expect(refusal("tickTime=99999999999999999999") != nil)
        #expect(refusal("tickTime=0xffffffffffffffffffff") != nil)
    }

    @Test func `values are trimmed`() throws {
        #expect(try configuration("tickTime= 12 \t").tickTimeMilliseconds == 12)
        #expect(try configuration("enforceQuota=true  ").enforceQuota)
    }

    @Test func `booleans are true and false in any case, and nothing else`() throws {
        #expect(try configuration("enforceQuota=TRUE").enforceQuota)
        #expect(try !configuration("digest.enabled=False").digestEnabled)
        for value in ["", "yes", "1", "truee"] {
            #expect(
                refusal("enforceQuota=\(value)")
                    == "zoo.cfg:3: enforceQuota: expected true or false, found \"\(value)\"")
        }
    }

    @Test func `forceSync and skipACL are yes and no, and their weaker value is told`() throws {
        #expect(try configuration("forceSync=yes\nskipACL=NO").forceSync)
        #expect(try notices("forceSync=yes\nskipACL=no") == [])
        let weak = try parsed("forceSync=no\nskipACL=yes")
        #expect(!weak.configuration.forceSync)
        #expect(weak.configuration.skipACL)
        #expect(
            weak.notices.map(\.description) == [
                "zoo.cfg:3: forceSync: writes are acknowledged before they are on the disk;"
                    + " a power failure loses them",
                "zoo.cfg:4: skipACL: ACLs are not checked",
            ])
    }

    @Test func `a broken escape is refused with its line`() {
        #expect(
            refusal(#"clientPortAddress=\u00"#)
                == "zoo.cfg:3: expected four hexadecimal digits after \\u, found something else")
    }

    // Duplicates and overrides

    @Test func `the last duplicate counts, in any spelling, and the others are told`() throws {
        let result = try parsed("tickTime=1\nzookeeper.tickTime=2\ntickTime=3")
        #expect(result.configuration.tickTimeMilliseconds == 3)
        #expect(
            result.notices.map(\.description) == [
                "zoo.cfg:3: tickTime: is set again in zoo.cfg line 5, and that one counts",
                "zoo.cfg:4: zookeeper.tickTime: is set again in zoo.cfg line 5, and that one counts",
            ])
        #expect(result.notices.allSatisfy { $0.kind == .suspicious })
    }

    @Test func `a bad value that does not count is not refused`() throws {
        #expect(try configuration("tickTime=abc\ntickTime=3").tickTimeMilliseconds == 3)
    }

    @Test func `keys of one family are not duplicates of each other`() throws {
        #expect(try parsed("admin.serverPort=1\nadmin.enableServer=true").notices.count == 2)
    }

    @Test func `the command line wins over the file, without a notice`() throws {
        let override = ConfigurationOverride(
            key: "tickTime", value: "9", origin: .commandLine("--set"))
        let result = try parsed("tickTime=1", overrides: [override])
        #expect(result.configuration.tickTimeMilliseconds == 9)
        #expect(result.notices == [])
    }

    @Test func `the file wins over JVM options, with a notice where they differ`() throws {
        let overrides = ConfigurationOverride.words(
            inJVMFlags: "-Dzookeeper.tickTime=9 -Dzookeeper.snapCount=50 -DmaxCnxns=3",
            variable: "SERVER_JVMFLAGS")
        let result = try parsed("tickTime=1\nmaxCnxns=3", overrides: overrides)
        #expect(result.configuration.tickTimeMilliseconds == 1)
        #expect(result.configuration.snapCount == 50)
        #expect(
            result.notices.map(\.description) == [
                "SERVER_JVMFLAGS: zookeeper.tickTime: is set again in zoo.cfg line 3,"
                    + " and that one counts"
            ])
    }

    @Test func `a bad override names where it came from`() {
        let override = ConfigurationOverride(
            key: "tickTime", value: "0", origin: .commandLine("--set"))
        #expect(
            refusal("", overrides: [override])
                == "--set: tickTime: expected a whole number of milliseconds from 1 to 2147483647,"
                + " found \"0\"")
    }

    @Test func `JVM options: the -D words, split at white space`() {
        let flags =
            " -Xmx1g -Dzookeeper.snapCount=5\n-Djute.maxbuffer=0x100\t-Da=b=c -Dempty -D x=y"
        #expect(
            ConfigurationOverride.words(inJVMFlags: flags, variable: "SERVER_JVMFLAGS") == [
                .init(
                    key: "zookeeper.snapCount", value: "5", origin: .jvmFlags("SERVER_JVMFLAGS")),
                .init(
                    key: "jute.maxbuffer", value: "0x100", origin: .jvmFlags("SERVER_JVMFLAGS")),
                .init(key: "a", value: "b=c", origin: .jvmFlags("SERVER_JVMFLAGS")),
                .init(key: "empty", value: "", origin: .jvmFlags("SERVER_JVMFLAGS")),
            ])
    }

    // Keys together

    @Test func `dataDir is required`() {
        #expect(
            wholeRefusal("clientPort=1")
                == "zoo.cfg: dataDir: expected the path of a directory, found no such key")
        #expect(wholeRefusal("dataDir=\nclientPort=1") != nil)
    }

    @Test func `dataLogDir is dataDir unless set, and relative directories are told`() throws {
        #expect(try configuration("").dataLogDir == "/data")
        #expect(try configuration("dataLogDir=/log").dataLogDir == "/log")
        #expect(
            try notices("dataLogDir=log") == [
                "zoo.cfg:3: dataLogDir: log is relative to the directory in which the server is"
                    + " started"
            ])
    }

    @Test func `without clientPort nobody can connect, and an address alone is refused`() throws {
        let result = try drafted("dataDir=/d")
        #expect(result.configuration.clientPort == nil)
        #expect(
            result.notices.map(\.description)
                == ["zoo.cfg: clientPort: is not set: no client can connect"])
        #expect(
            wholeRefusal("dataDir=/d\nclientPortAddress=::1")
                == "zoo.cfg:2: clientPortAddress: expected clientPort beside it, found no such key")
    }

    @Test func `clientPort 0 lets the kernel choose`() throws {
        #expect(try configuration("clientPort=0").clientPort == 0)
        #expect(try configuration("clientPort=65535").clientPort == 65535)
        #expect(refusal("clientPort=65536") != nil)
        #expect(refusal("clientPort=-1") != nil)
    }

    @Test func `an IPv6 address may have brackets`() throws {
        #expect(try configuration("clientPortAddress=[::1]").clientPortAddress == "::1")
        #expect(try configuration("clientPortAddress=::1").clientPortAddress == "::1")
        #expect(refusal("clientPortAddress=") != nil)
        #expect(refusal("clientPortAddress=a b") != nil)
    }

    @Test func `session timeouts follow tickTime unless set; -1 is not set`() throws {
        let derived = try configuration("tickTime=100\nminSessionTimeout=-1")
        #expect(derived.minSessionTimeoutMilliseconds == 200)
        #expect(derived.maxSessionTimeoutMilliseconds == 2000)
        let given = try configuration("minSessionTimeout=5\nmaxSessionTimeout=5")
        #expect(given.minSessionTimeoutMilliseconds == 5)
        #expect(given.maxSessionTimeoutMilliseconds == 5)
        let long = try configuration("tickTime=2147483647")
        #expect(long.maxSessionTimeoutMilliseconds == 2_147_483_647)
    }

    @Test func `minSessionTimeout over maxSessionTimeout is refused, also when one is derived`() {
        #expect(
            refusal("minSessionTimeout=6\nmaxSessionTimeout=5")
                == "zoo.cfg:3: minSessionTimeout: expected minSessionTimeout up to"
                + " maxSessionTimeout, found 6 ms and 5 ms")
        #expect(
            refusal("maxSessionTimeout=5")
                == "zoo.cfg:3: maxSessionTimeout: expected minSessionTimeout up to"
                + " maxSessionTimeout, found 6000 ms and 5 ms")
    }

    @Test func `counts below their minimum are raised and told`() throws {
        let result = try parsed(
            "snapCount=-7\nautopurge.snapRetainCount=2\njute.maxbuffer.extrasize=1")
        #expect(result.configuration.snapCount == 2)
        #expect(result.configuration.snapRetainCount == 3)
        #expect(result.configuration.juteMaxBufferExtraBytes == 1024)
        #expect(
            result.notices.map(\.description) == [
                "zoo.cfg:3: snapCount: -7 is too small, 2 is used",
                "zoo.cfg:4: autopurge.snapRetainCount: 2 is too small, 3 is used",
                "zoo.cfg:5: jute.maxbuffer.extrasize: 1 is too small, 1024 is used",
            ])
        #expect(try notices("snapCount=2\nautopurge.snapRetainCount=3") == [])
    }

    @Test func `jute.maxbuffer.extrasize follows jute.maxbuffer`() throws {
        #expect(try configuration("jute.maxbuffer=5000").juteMaxBufferExtraBytes == 5000)
        #expect(
            try configuration("jute.maxbuffer=5000\njute.maxbuffer.extrasize=6000")
                .juteMaxBufferExtraBytes == 6000)
    }

    @Test(arguments: [
        ("0", Duration.zero), ("-1", .zero), ("1", .seconds(3600)), ("24", .seconds(86400)),
        ("1500ms", .milliseconds(1500)), ("90s", .seconds(90)), ("5m", .seconds(300)),
        ("5 m", .seconds(300)), ("2h", .seconds(7200)), ("1d", .seconds(86400)),
        ("596523", .seconds(2_147_482_800)),
    ])
    func `autopurge.purgeInterval is hours or has a unit`(value: String, time: Duration) throws {
        #expect(try configuration("autopurge.purgeInterval=\(value)").purgeInterval == time)
    }

    @Test(arguments: [
        "", "x", "h", "-2", "-1h", "1w", "1.5h", "0x1d", "596524", "999999999999999d",
    ])
    func `other purge intervals are refused`(value: String) {
        #expect(refusal("autopurge.purgeInterval=\(value)") != nil)
    }

    @Test func `snapshots are written plain or as gz; snappy is refused with the reason`() throws {
        let compression = { try configuration($0).snapshotCompression }
        #expect(try compression("snapshot.compression.method=") == SnapshotCompression.none)
        #expect(try compression("snapshot.compression.method=gz") == .gzip)
        #expect(
            refusal("snapshot.compression.method=snappy")
                == "zoo.cfg:3: snapshot.compression.method: expected gz or nothing (snappy"
                + " snapshots are read, but not written), found \"snappy\"")
        #expect(refusal("snapshot.compression.method=GZ") != nil)
    }

    // Access

    @Test func `the whitelist: words, all, and srvr always`() throws {
        let none = try configuration("4lw.commands.whitelist=").fourLetterWordsWhitelist
        #expect(none.contains("srvr") && !none.contains("ruok"))
        let some = try configuration("4lw.commands.whitelist= ruok , stat,")
            .fourLetterWordsWhitelist
        #expect(some.contains("ruok") && some.contains("stat") && some.contains("srvr"))
        #expect(!some.contains("mntr"))
        let all = try configuration("4lw.commands.whitelist=stat, *").fourLetterWordsWhitelist
        #expect(all == .all && all.contains("mntr"))
        #expect(
            try notices("4lw.commands.whitelist=ruok,nope") == [
                "zoo.cfg:3: 4lw.commands.whitelist: there is no four-letter word \"nope\""
            ])
    }

    @Test(arguments: [
        ("SHA1", DigestAlgorithm.sha1), ("sha-1", .sha1), ("SHA-256", .sha256), ("SHA256", .sha256),
        ("SHA-224", .sha224), ("SHA-384", .sha384), ("SHA-512", .sha512),
    ])
    func `digest algorithms`(value: String, algorithm: DigestAlgorithm) throws {
        #expect(
            try configuration("DigestAuthenticationProvider.digestAlg=\(value)").digestAlgorithm
                == algorithm)
        #expect(refusal("DigestAuthenticationProvider.digestAlg=SHA-2") != nil)
    }

    @Test func `a bad superDigest is refused without repeating it`() throws {
        let key = "DigestAuthenticationProvider.superDigest"
        #expect(try configuration("\(key)=super:x/y=").superDigest == "super:x/y=")
        #expect(
            refusal("\(key)=secret")
                == "zoo.cfg:3: \(key): expected user:hash, as the digest scheme stores it,"
                + " found something else")
        #expect(refusal("\(key)=super:") != nil)
    }

    @Test func `enforced authentication needs schemes that are offered`() throws {
        let on = "enforce.auth.enabled=true\n"
        let result = try parsed(on + "enforce.auth.schemes=digest, ip")
        #expect(result.configuration.enforceAuthEnabled)
        #expect(result.configuration.enforceAuthSchemes == ["digest", "ip"])
        #expect(result.notices.map(\.kind) == [.suspicious])
        #expect(
            refusal(on)
                == "zoo.cfg:3: enforce.auth.enabled: expected enforce.auth.schemes beside it,"
                + " found none")
        #expect(refusal(on + "enforce.auth.schemes=,") != nil)
        #expect(
            refusal(on + "enforce.auth.schemes=sasl")
                == "zoo.cfg:4: enforce.auth.schemes: expected schemes of digest, ip, found \"sasl\""
        )
        #expect(
            refusal(
                on + "enforce.auth.schemes=digest\nDigestAuthenticationProvider.enabled=false")
                == "zoo.cfg:4: enforce.auth.schemes: expected schemes of ip, found \"digest\"")
        #expect(try notices("enforce.auth.schemes=sasl") == [])
    }

    @Test func `SASL cannot be demanded`() throws {
        #expect(try notices("sessionRequireClientSASLAuth=false") == [])
        #expect(refusal("sessionRequireClientSASLAuth=true") != nil)
    }

    @Test func `a server that may serve without a leader answers isro`() throws {
        let words = { try configuration($0).fourLetterWordsWhitelist }
        #expect(try words("readonlymode.enabled=true") == .words(["isro"]))
        #expect(
            try words("4lw.commands.whitelist=stat\nreadonlymode.enabled=true")
                == .words(["stat", "isro"]))
        #expect(try words("4lw.commands.whitelist=*\nreadonlymode.enabled=true") == .all)
        #expect(try words("readonlymode.enabled=false") == .words([]))
    }
}
