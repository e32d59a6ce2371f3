import Jute
import Testing
import Transactions
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// Transactions that no proposer of ours would write: of old servers, behind fuzzy snapshots, or
/// damaged. ZooKeeper: `DataTree.processTxn`.
@Suite struct `Odd transactions` {
    private let open = bytes { $0.append([ACL.open]) }

    private func header(_ type: OpCode, zxid: Int64, session: Int64 = 1) -> [UInt8] {
        bytes {
            TxnHeader(
                session: SessionID(rawValue: session), cxid: 0, zxid: Zxid(rawValue: zxid),
                time: 1000, type: type
            ).append(to: &$0)
        }
    }

    private func record(
        create path: String, parentCVersion: Int32, isEphemeral: Bool = false
    ) -> [UInt8] {
        let path = Array(path.utf8)
        return bytes {
            CreateTxn.append(
                to: &$0, type: .create, path: path.span, data: nil, aclBytes: open.span,
                isEphemeral: isEphemeral, parentCVersion: parentCVersion, ttlMilliseconds: 0)
        }
    }

    private func apply(_ txn: [UInt8], to database: Database) -> Result<ErrorCode, TxnError> {
        do throws(TxnError) {
            return .success(try database.apply(txn.span).error)
        } catch {
            return .failure(error)
        }
    }

    @Test func `a create that was there already raises its parent`() {
        let database = Database(seed: 1)
        let first = header(.create, zxid: 1) + record(create: "/a", parentCVersion: 1)
        #expect(apply(first, to: database) == .success(.ok))
        let same = header(.create, zxid: 4) + record(create: "/a", parentCVersion: 1)
        #expect(apply(same, to: database) == .success(.nodeExists))
        #expect(database.stat("/")?.pzxid == Zxid(rawValue: 1))
        let again = header(.create, zxid: 5) + record(create: "/a", parentCVersion: 4)
        #expect(apply(again, to: database) == .success(.nodeExists))
        #expect(database.stat("/")?.cversion == 6)
        #expect(database.stat("/")?.pzxid == Zxid(rawValue: 5))
        let late = header(.create, zxid: 6) + record(create: "/a", parentCVersion: 2)
        #expect(apply(late, to: database) == .success(.nodeExists))
        #expect(database.stat("/")?.pzxid == Zxid(rawValue: 5))
    }

    @Test func `a parent version of -1 counts one more`() {
        let database = Database(seed: 1)
        for (zxid, path) in [(1, "/a"), (2, "/b")] as [(Int64, String)] {
            let txn = header(.create, zxid: zxid) + record(create: path, parentCVersion: -1)
            #expect(apply(txn, to: database) == .success(.ok))
        }
        #expect(database.stat("/")?.cversion == 1)
    }

    @Test func `deleting what is gone still marks the parent`() {
        let database = Database(seed: 1)
        let txn = header(.delete, zxid: 9) + RequestBytes.path("/zookeeper/no")
        #expect(apply(txn, to: database) == .success(.noNode))
        #expect(database.stat("/zookeeper")?.pzxid == Zxid(rawValue: 9))
        #expect(
            apply(header(.delete, zxid: 10) + RequestBytes.path("/no/x"), to: database)
                == .success(.noNode))
        #expect(database.lastProcessedZxid == Zxid(rawValue: 10))
    }

    @Test func `an old closeSession without a list deletes the session's ephemerals`() {
        for rest in [[], bytes { TxnDigest(value: 1).append(to: &$0) }] {
            let database = Database(seed: 1)
            let create =
                header(.create, zxid: 1)
                + record(create: "/e", parentCVersion: 1, isEphemeral: true)
            #expect(apply(create, to: database) == .success(.ok))
            #expect(apply(header(.closeSession, zxid: 2) + rest, to: database) == .success(.ok))
            #expect(database.stat("/e") == nil)
        }
    }

    /// `//x` is no path, and must not become a second znode with the name of `/x`.
    @Test func `an ephemeral of an odd path ends with its session`() {
        let database = Database(seed: 1)
        for (zxid, path) in [(1, "//x"), (2, "/x")] as [(Int64, String)] {
            let create = record(create: path, parentCVersion: Int32(zxid), isEphemeral: true)
            _ = apply(header(.create, zxid: zxid) + create, to: database)
        }
        let end = header(.closeSession, zxid: 3) + bytes { $0.append(Int32(0)) }
        #expect(apply(end, to: database) == .success(.ok))
        #expect(database.tree.ephemeralCount == 0)
        #expect(database.tree.count == 4)
    }

    @Test func `a TTL that means nothing makes a znode that stays`() {
        let database = Database(seed: 1)
        let path = Array("/t".utf8)
        for ttl in [Int64(-1), 0, 1 << 40] {
            let record = bytes {
                CreateTxn.append(
                    to: &$0, type: .createTTL, path: path.span, data: nil, aclBytes: open.span,
                    isEphemeral: false, parentCVersion: 1, ttlMilliseconds: ttl)
            }
            #expect(apply(header(.createTTL, zxid: 1) + record, to: database) == .success(.ok))
            #expect(database.tree.ttls.isEmpty)
            _ = apply(header(.delete, zxid: 2) + RequestBytes.path("/t"), to: database)
        }
    }

    @Test func `a digest that does not match is counted`() {
        let database = Database(seed: 1)
        let digest = bytes { TxnDigest(value: database.digest).append(to: &$0) }
        let wrong = bytes { TxnDigest(value: database.digest &+ 1).append(to: &$0) }
        let old = bytes { TxnDigest(version: 1, value: 0).append(to: &$0) }
        let create = bytes { $0.append(Int32(5000)) }
        for (rest, mismatches) in [(digest, 0), (wrong, 1), (old, 1)] {
            let txn = header(.createSession, zxid: Int64(mismatches) + 1) + create + rest
            #expect(apply(txn, to: database) == .success(.ok))
            #expect(database.digestMismatches == mismatches)
        }
    }

    private func multi(_ parts: [(type: Int32, record: [UInt8])]) -> [UInt8] {
        header(.multi, zxid: 1)
            + bytes {
                $0.append(Int32(parts.count))
                for part in parts {
                    $0.append(part.type)
                    $0.appendField(part.record.span)
                }
            }
    }

    /// Whatever is wrong with one operation, none of the others may happen.
    @Test(arguments: [
        (Int32(99), "00000000"), (7, "000000022f61"), (14, "00000000"), (1, "000000022f62"),
        (2, "000000"), (5, "000000022f61"), (13, "000000"), (13, "000000022f6100"), (-1, "00"),
        (-10, "00001388"), (20, "ffffffff"),
    ])
    func `a multi with one operation that cannot be read changes nothing`(
        _ type: Int32, _ record: String
    ) throws {
        let database = Database(seed: 1)
        let good = self.record(create: "/a", parentCVersion: 1)
        let txn = multi([(1, good), (type, [UInt8](hex: record))])
        guard case .failure = apply(txn, to: database) else {
            Issue.record("it was applied")
            return
        }
        #expect(database.stat("/a") == nil)
        #expect(database.digest == Database(seed: 1).digest)
        #expect(try database.shown() == Database(seed: 1).shown())
    }

    @Test func `a multi with an error inside changes nothing and is no failure`() {
        let database = Database(seed: 1)
        let txn = multi([
            (1, record(create: "/a", parentCVersion: 1)), (-1, bytes { $0.append(Int32(-101)) }),
        ])
        #expect(apply(txn, to: database) == .success(.ok))
        #expect(database.stat("/a") == nil)
    }

    @Test func `no truncation of a multi changes anything`() {
        let good = record(create: "/a", parentCVersion: 1)
        let whole = multi([(1, good), (2, RequestBytes.path("/a")), (1, good)])
        for count in 0..<whole.count {
            let database = Database(seed: 1)
            guard case .failure = apply(Array(whole.prefix(count)), to: database) else {
                Issue.record("\(count) bytes were applied")
                continue
            }
            #expect(database.digest == Database(seed: 1).digest)
        }
    }

    @Test func `containers and TTL znodes are swept when they are empty and old`() throws {
        let world = World { $0.extendedTypesEnabled = true }
        let containers = ["/used", "/never"].map { RequestBytes.create($0, flags: 4) }
        for body in containers { #expect(try world.error(.createContainer, body) == .ok) }
        try world.create("/used/x")
        let ttl = RequestBytes.create("/ttl", flags: 5, ttlMilliseconds: 100)
        #expect(try world.error(.createTTL, ttl) == .ok)
        let now = world.time
        func expired(_ later: Int64, neverUsed: Int64 = 0, limit: Int = 10) -> [String] {
            world.database.expiredZnodes(
                now: now + later, neverUsedMilliseconds: neverUsed, limit: limit
            )
            .map { String(decoding: $0, as: UTF8.self) }
        }
        #expect(expired(0) == [])
        #expect(expired(101) == ["/ttl"])
        #expect(expired(50, neverUsed: 10) == ["/never"])
        #expect(try world.error(.delete, RequestBytes.pathVersion("/used/x")) == .ok)
        #expect(Set(expired(0)) == ["/used"])
        #expect(Set(expired(500, neverUsed: 10)) == ["/used", "/never", "/ttl"])
        #expect(expired(500, neverUsed: 10, limit: 2).count == 2)
    }
}
