import Ensemble
import Jute
import QuorumProtocol
import StorageFormat
import Vocabulary
import Znodes

/// A whole tree as bytes: what goes to a learner behind SNAP, and what a snapshot on the simulated
/// disk holds.
enum SnapshotBytes {
    static func encode(_ database: Database) -> [UInt8] {
        let frozen = database.freeze()
        defer { database.thaw(frozen) }
        var bytes: [UInt8] = []
        frozen.encodeState(pieceBytes: 1 << 16) { bytes.append(contentsOf: $0) }
        return bytes
    }

    static func restore(
        _ bytes: [UInt8], zxid: Zxid, into database: Database
    ) throws(Disk.Refusal) {
        var whole = ByteBuffer(capacity: bytes.count + 16)
        whole.append(bytes)
        whole.appendField(SnapshotStreamReader.signature)
        var reader = SnapshotStreamReader()
        var target = ReceivedTree(database: database)
        do throws(QuorumProtocolError) {
            _ = try reader.consume(whole.span, into: &target)
        } catch {
            throw Disk.Refusal(reason: "snapshot \(zxid): \(error)")
        }
        guard reader.isFinished else { throw Disk.Refusal(reason: "snapshot \(zxid) is torn") }
        do throws(RestoreError) {
            try database.finishSnapshot(zxid: zxid, digest: nil)
        } catch {
            throw Disk.Refusal(reason: "snapshot \(zxid): \(error)")
        }
    }
}
