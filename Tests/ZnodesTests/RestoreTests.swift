import Foundation
import Jute
import Storage
import StorageFormat
import StorageTestSupport
import SystemPackage
import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// What Apache's servers left on disk, and what the same servers showed after loading it.
@Suite struct `Restored trees` {
    /// What an Apache server of the same version showed.
    private struct Recorded {
        var starts: Bool
        var lastZxid: Int64
        var nodes: [String: Shown]
        /// Not every folder has them.
        var sessions: [SessionID: Int32]?
        var digest: (zxid: Int64, value: UInt64)?
    }

    @Test(arguments: Fixture.all)
    func `have the znodes, stats, lists and sessions that Apache shows`(
        _ fixture: Fixture
    ) throws {
        let recorded = try recorded(fixture)
        let scratch = TemporaryDirectory()
        var database = Database(seed: 11)
        let directories = try DataDirectories(dataDir: fixture.copy(to: scratch))
        guard recorded.starts else {
            #expect(throws: StorageError.self) {
                try Recovery.restore(directories, into: &database)
            }
            return
        }
        let report = try Recovery.restore(directories, into: &database)
        #expect(report.lastZxid.rawValue == recorded.lastZxid)
        #expect(database.lastProcessedZxid.rawValue == recorded.lastZxid)
        #expect(database.digestMismatches == 0)
        let shown = try database.shown()
        #expect(Set(shown.keys) == Set(recorded.nodes.keys))
        for (path, node) in recorded.nodes { #expect(shown[path] == node, "\(path)") }
        #expect(database.tree.count == recorded.nodes.count)
        if let sessions = recorded.sessions { #expect(database.sessions == sessions) }
        #expect(database.orphanedSessions == [])
        if let digest = recorded.digest {
            #expect(digest.zxid == recorded.lastZxid)
            #expect(database.digest == digest.value)
        }
        withExtendedLifetime(scratch) {}
    }

    @Test func `some folders recorded a digest`() throws {
        let withDigest = try Fixture.all.filter { try recorded($0).digest != nil }
        #expect(withDigest.count > 3)
    }

    private func recorded(_ fixture: Fixture) throws -> Recorded {
        let file = fixture.versionDirectory.removingLastComponent().removingLastComponent()
            .appending("expected.json")
        let object = try JSONSerialization.jsonObject(with: Data(Files.read(file)))
        let json = try #require(object as? [String: Any])
        var recorded = Recorded(
            starts: try #require(json["starts"] as? Bool), lastZxid: 0, nodes: [:])
        guard recorded.starts else { return recorded }
        recorded.lastZxid = Int64(try hex(json["lastZxid"]))
        for node in try #require(json["nodes"] as? [[String: Any]]) {
            recorded.nodes[try #require(node["path"] as? String)] = try shown(node)
        }
        if let sessions = json["sessions"] as? [[String: Any]] {
            recorded.sessions = [:]
            for session in sessions {
                let id = SessionID(rawValue: Int64(bitPattern: try hex(session["id"])))
                let timeout = try #require(session["timeout"] as? NSNumber)
                recorded.sessions?[id] = timeout.int32Value
            }
        }
        if let digest = json["treeDigest"] as? [String: Any] {
            #expect(digest["version"] as? Int == 2)
            recorded.digest = (Int64(try hex(digest["zxid"])), try hex(digest["value"]))
        }
        return recorded
    }

    private func hex(_ value: Any?) throws -> UInt64 {
        let text = try #require(value as? String)
        return try #require(UInt64(text.dropFirst(2), radix: 16))
    }

    private func shown(_ node: [String: Any]) throws -> Shown {
        let text = node["data"] as? String
        let data = try text.map { try #require(Data(base64Encoded: $0)) }
        let acl = try #require(node["acl"] as? [[String: Any]]).map { entry in
            ACL(
                permissions: Permissions(
                    rawValue: try #require(entry["perms"] as? NSNumber).int32Value),
                scheme: try #require(entry["scheme"] as? String),
                id: try #require(entry["id"] as? String))
        }
        let fields = try #require(node["stat"] as? [String: NSNumber])
        func long(_ name: String) throws -> Int64 { try #require(fields[name]).int64Value }
        func int(_ name: String) throws -> Int32 { try #require(fields[name]).int32Value }
        let stat = Stat(
            czxid: Zxid(rawValue: try long("czxid")), mzxid: Zxid(rawValue: try long("mzxid")),
            ctime: try long("ctime"), mtime: try long("mtime"), version: try int("version"),
            cversion: try int("cversion"), aversion: try int("aversion"),
            ephemeralOwner: try long("ephemeralOwner"), dataLength: try int("dataLength"),
            numChildren: try int("numChildren"), pzxid: Zxid(rawValue: try long("pzxid")))
        return Shown(data: data.map { Array($0) }, acl: acl, stat: stat)
    }

    @Test func `a new tree has the reserved znodes and their digest`() throws {
        let database = Database(seed: 1)
        #expect(database.digest == 1_371_985_504)
        let shown = try database.shown()
        #expect(Set(shown.keys) == ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"])
        #expect(shown["/"]?.stat.cversion == -1)
        #expect(shown["/"]?.data == [])
        #expect(shown["/zookeeper/config"]?.stat.aversion == -1)
        #expect(shown["/zookeeper/config"]?.acl == [.readOnly])
        #expect(shown["/zookeeper/quota"]?.acl == [.open])
    }

    private func restore(
        _ nodes: [(path: String, aclID: Int64)], into database: Database
    ) -> RestoreError? {
        do throws(RestoreError) {
            for (path, aclID) in nodes {
                let path = Array(path.utf8)
                try database.restoreNode(
                    path: path.span, data: nil, aclID: aclID, stat: StatPersisted())
            }
            return nil
        } catch {
            return error
        }
    }

    @Test func `a snapshot with an orphan, a double or an unknown list is refused`() {
        #expect(
            restore([("", -1), ("/a/b", -1)], into: Database(seed: 1))
                == .parentMissing(path: "/a/b"))
        #expect(
            restore([("", -1), ("/a", -1), ("/a", -1)], into: Database(seed: 1))
                == .duplicateNode(path: "/a"))
        #expect(restore([("", -1), ("/a", 7)], into: Database(seed: 1)) == .unknownACL(7))
        #expect(restore([("", -1), ("/a", 0)], into: Database(seed: 1)) == .unknownACL(0))
        let database = Database(seed: 1)
        database.restoreACL(7, [.readOnly])
        #expect(restore([("", -1), ("/a", 7)], into: database) == nil)
        #expect(
            database.tree.find(Array("/a".utf8).span).map { database.tree.acl($0) } == [.readOnly])
    }

    @Test func `ephemerals without a session are found`() throws {
        let database = Database(seed: 1)
        database.restoreSession(SessionID(rawValue: 5), timeoutMilliseconds: 1000)
        for (path, owner) in [("", 0), ("/a", 5), ("/b", 6), ("/c", 6)] as [(String, Int64)] {
            let path = Array(path.utf8)
            try database.restoreNode(
                path: path.span, data: nil, aclID: -1,
                stat: StatPersisted(owner: Owner(rawValue: owner)))
        }
        try database.finishSnapshot(zxid: Zxid(rawValue: 9), digest: nil)
        #expect(database.orphanedSessions == [SessionID(rawValue: 6)])
        #expect(database.tree.ephemeralPaths(of: SessionID(rawValue: 6)) == ["/b", "/c"])
    }
}
