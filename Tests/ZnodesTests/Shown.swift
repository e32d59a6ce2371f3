import Jute
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// A znode as a client sees it.
struct Shown: Equatable {
    var data: [UInt8]?
    var acl: [ACL]
    var stat: Stat
}

extension Database {
    /// Every znode as a client finds it, walking down by the names of children.
    func shown() throws -> [String: Shown] {
        var shown: [String: Shown] = [:]
        var waiting = ["/"]
        while let path = waiting.popLast() {
            guard let handle = tree.find(Array(path.utf8).span) else {
                fatalError("\(path) is a child that cannot be found")
            }
            var data = PlainReader(bytes { tree.appendData(handle, to: &$0) })
            shown[path] = Shown(
                data: try data.field(), acl: tree.acl(handle), stat: tree.stat(handle))
            var names = PlainReader(bytes { tree.appendChildren(handle, to: &$0) })
            waiting += try names.texts().map { (path == "/" ? "" : path) + "/" + $0 }
        }
        return shown
    }

    func stat(_ path: String) -> Stat? { tree.find(Array(path.utf8).span).map { tree.stat($0) } }

    func data(_ path: String) throws -> [UInt8]? {
        guard let handle = tree.find(Array(path.utf8).span) else { return nil }
        var reader = PlainReader(bytes { tree.appendData(handle, to: &$0) })
        return try reader.field()
    }
}
