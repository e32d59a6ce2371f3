import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// ZooKeeper: `ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL`, the providers.
@Suite struct `Access control` {
    private typealias Entry = (permissions: Permissions, scheme: String?, id: String?)
    private let bob = Identity(scheme: "digest", id: "bob:hash")
    private let eve = Identity(scheme: "digest", id: "eve:hash")
    private let address = Identity(scheme: "ip", id: "10.1.2.3")

    private func acl(
        _ permissions: Permissions, _ scheme: String, _ id: String
    ) -> ACL { ACL(permissions: permissions, scheme: scheme, id: id) }

    @Test func `any one bit of an entry that matches is enough`() {
        let list = [acl([.read], "world", "anyone"), acl([.write, .admin], "digest", "bob:hash")]
        let cases: [(Permissions, [Identity], Bool)] = [
            (.read, [], true), (.write, [], false), (.write, [bob], true), (.write, [eve], false),
            (.write, [eve, bob], true), (.create, [bob], false), ([.read, .admin], [], true),
            (.admin, [address], false), (.admin, [bob], true),
            (.delete, [Identity(scheme: "super", id: "")], true),
            (.write, [Identity(scheme: "sasl", id: "bob:hash")], false),
        ]
        for (permissions, identities, expected) in cases {
            #expect(
                AccessControl.permits(list, permissions, to: identities) == expected,
                "\(permissions) \(identities)")
        }
        #expect(AccessControl.permits([], .all, to: []))
    }

    @Test func `only world anyone is everybody`() {
        #expect(!AccessControl.permits([acl(.all, "world", "nobody")], .read, to: [bob]))
    }

    @Test(arguments: [
        ("10.1.2.3", "10.1.2.3", true), ("10.1.2.4", "10.1.2.3", false),
        ("10.1.2.0/24", "10.1.2.255", true), ("10.1.2.0/24", "10.1.3.0", false),
        ("10.1.2.77/24", "10.1.2.3", true), ("0.0.0.0/0", "255.255.255.255", true),
        ("10.1.2.3/32", "10.1.2.3", true), ("10.1.2.3/32", "10.1.2.2", false),
        ("10.1.2.2/31", "10.1.2.3", true), ("128.0.0.0/1", "200.1.1.1", true),
        ("128.0.0.0/1", "100.1.1.1", false), ("10.1.2.0/24", "::1", false),
    ])
    func `addresses match networks`(_ entry: String, _ address: String, _ expected: Bool) {
        let list = [acl(.all, "ip", entry)]
        let identity = Identity(scheme: "ip", id: address)
        #expect(AccessControl.permits(list, .read, to: [identity]) == expected)
    }

    @Test(arguments: [
        "10.1.2.3", "0.0.0.0", "255.255.255.255", "10.0.0.0/8", "1.2.3.4/0", "1.2.3.4/32",
    ])
    func `these are addresses or networks`(_ id: String) {
        #expect(fixUp([(.all, "ip", id)]) != nil)
    }

    @Test(arguments: [
        "", "10", "10.1.2", "10.1.2.3.4", "10.1.2.256", "a.b.c.d", "10.1.2.3/", "10.1.2.3/33",
        "10.1.2.3/-1", "10.1.2.3/x", "::1", "10.1.2.3/8/8", "/8", "10..2.3", " 10.1.2.3",
    ])
    func `these are not`(_ id: String) {
        #expect(fixUp([(.all, "ip", id)]) == nil)
    }

    /// Nil for a list that is not valid.
    private func fixUp(_ list: [Entry]?, as identities: [Identity] = []) -> [ACL]? {
        if case .list(let fixed) = AccessControl.fixUp(list, identities: identities) {
            return fixed
        }
        return nil
    }

    private func refusal(_ list: [Entry]?) -> ErrorCode? {
        if case .refused(let error) = AccessControl.fixUp(list, identities: []) { return error }
        return nil
    }

    @Test func `no list and an empty list are not valid`() {
        #expect(fixUp(nil) == nil)
        #expect(fixUp([]) == nil)
    }

    @Test func `exact duplicates go, the order stays`() {
        let list: [Entry] = [
            (.read, "world", "anyone"), (.all, "digest", "bob:x"), (.read, "world", "anyone"),
            (.write, "world", "anyone"), (.all, "digest", "bob:x"),
        ]
        #expect(
            fixUp(list) == [
                acl(.read, "world", "anyone"), acl(.all, "digest", "bob:x"),
                acl(.write, "world", "anyone"),
            ])
    }

    @Test func `auth stands for who the requester proved to be`() {
        let auth: [Entry] = [(.read, "auth", "ignored")]
        #expect(fixUp(auth) == nil)
        #expect(fixUp(auth, as: [address]) == nil)
        #expect(fixUp(auth, as: [Identity(scheme: "super", id: "")]) == nil)
        #expect(fixUp([(.read, "auth", nil)], as: [bob]) == [acl(.read, "digest", "bob:hash")])
        #expect(
            fixUp(auth, as: [address, bob, eve]) == [
                acl(.read, "digest", "bob:hash"), acl(.read, "digest", "eve:hash"),
            ])
        for scheme in ["sasl", "x509"] {
            let identity = Identity(scheme: scheme, id: "me")
            #expect(fixUp(auth, as: [identity]) == [acl(.read, scheme, "me")])
        }
    }

    /// Asked of Apache's `fixupACL`: duplicates go first, and what `auth` becomes may be another.
    @Test func `what auth stands for may be in the list twice`() {
        let twice = [acl(.all, "digest", "bob:hash"), acl(.all, "digest", "bob:hash")]
        #expect(fixUp([(.all, "auth", ""), (.all, "digest", "bob:hash")], as: [bob]) == twice)
        #expect(fixUp([(.all, "auth", "a"), (.all, "auth", "b")], as: [bob]) == twice)
        #expect(fixUp([(.all, "auth", ""), (.all, "auth", "")], as: [bob])?.count == 1)
    }

    /// Asked of Apache's `DigestAuthenticationProvider.isValid`: Java's `split` forgets empty ends.
    @Test(arguments: [
        ("a:b", true), (":x", true), ("a:b:", true), (":x:", true), ("a:b::", true), ("bob", false),
        ("bob:", false), ("a::", false), ("a:b:c", false), ("::x", false), ("", false),
        (":", false),
    ])
    func `a digest id is two parts, and colons behind them do not count`(
        _ id: String, _ expected: Bool
    ) {
        #expect((fixUp([(.all, "digest", id)]) != nil) == expected)
    }

    @Test func `one entry that is not valid spoils the list`() {
        let bad: [(String?, String?)] = [
            ("world", "anybody"), ("world", ""), ("world", nil), (nil, "anyone"), ("", ""),
            ("digest", "bob"), ("digest", "bob:"), ("digest", "a:b:c"), ("super", ""),
            ("nonsense", "x"), ("digest", nil), ("World", "anyone"),
        ]
        for (scheme, id) in bad {
            let entry: Entry = (.all, scheme, id)
            #expect(fixUp([entry]) == nil, "\(entry)")
            #expect(fixUp([(.all, "world", "anyone"), entry]) == nil, "\(entry)")
        }
        #expect(fixUp([(.all, "digest", "bob:x")]) != nil)
        #expect(fixUp([(.all, "digest", ":x")]) != nil)
    }

    @Test func `a list that is not valid is an invalid one, a null id a malformed request`() {
        #expect(refusal(nil) == .invalidACL)
        #expect(refusal([]) == .invalidACL)
        #expect(refusal([(.all, nil, "anyone")]) == .invalidACL)
        #expect(refusal([(.all, "world", "anybody")]) == .invalidACL)
        #expect(refusal([(.all, "auth", "")]) == .invalidACL)
        #expect(refusal([(.all, "world", nil)]) == .marshallingError)
        #expect(refusal([(.all, "world", "anyone")]) == nil)
    }

    @Test func `permissions are kept as they are`() {
        for bits in [Int32(0), 0x7f, -1] {
            let permissions = Permissions(rawValue: bits)
            #expect(
                fixUp([(permissions, "world", "anyone")]) == [acl(permissions, "world", "anyone")])
        }
    }

    @Test func `hashes are masked, everything else is shown`() {
        let list = [
            acl(.all, "digest", "bob:secret"), acl(.read, "digest", "a:b:c"),
            acl(.read, "digest", "odd"), acl(.read, "ip", "1.2.3.4"),
            acl(.read, "world", "anyone"), acl(.read, "sasl", "me:you"),
        ]
        #expect(
            AccessControl.masked(list).map(\.id) == [
                "bob:x", "a:x", "odd", "1.2.3.4", "anyone", "me:you",
            ])
        #expect(AccessControl.masked(list).map(\.permissions) == list.map(\.permissions))
    }
}
