import QuorumProtocol
import StorageFormat
package import Vocabulary
package import Znodes

/// Builds a database from the tree that a leader streams.
package struct ReceivedTree: SnapshotStreamTarget {
    let database: Database

    package init(database: Database) { self.database = database }

    package mutating func receiveSession(_ id: SessionID, timeoutMilliseconds: Int32) {
        database.restoreSession(id, timeoutMilliseconds: timeoutMilliseconds)
    }

    package mutating func receiveACL(_ id: Int64, _ list: [ACL]) { database.restoreACL(id, list) }

    package mutating func receiveNode(
        path: Span<UInt8>, data: Span<UInt8>?, aclID: Int64, stat: StatPersisted
    ) -> Bool {
        do throws(RestoreError) {
            try database.restoreNode(path: path, data: data, aclID: aclID, stat: stat)
            return true
        } catch {
            return false
        }
    }
}
