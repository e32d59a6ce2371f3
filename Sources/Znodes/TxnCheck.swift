import Jute
import Transactions
public import Vocabulary

extension Database {
    /// Whether the bytes are a transaction with this zxid, one that `apply` can read.
    public static func isTxn(_ txn: Span<UInt8>, zxid: Zxid) -> Bool {
        var reader = JuteReader(txn, limits: .frame)
        do throws(TxnError) {
            let header = try TxnHeader(reading: &reader)
            guard header.zxid == zxid else { return false }
            if header.type == .multi {
                _ = try scanMulti(&reader)
            } else {
                do throws(JuteError) {
                    try skipRecord(header.type, &reader)
                } catch {
                    return false
                }
            }
            return true
        } catch {
            return false
        }
    }

    @_lifetime(reader: copy reader)
    private static func skipRecord(
        _ type: OpCode, _ reader: inout JuteReader
    ) throws(JuteError) {
        switch type {
        case .create, .create2, .createContainer, .createTTL:
            _ = try CreateTxn(reading: &reader, type: type)
        case .setData, .reconfig: _ = try SetDataTxn(reading: &reader)
        case .setACL: _ = try SetACLTxn(reading: &reader)
        case .delete, .deleteContainer: _ = try DeleteTxn(reading: &reader)
        case .createSession, .error: _ = try reader.readInt()
        default: break  // Only the header of what closes a session has to be there.
        }
    }
}

extension Database {
    /// The text of the configuration that the transaction brings, if it is a reconfiguration.
    public static func configurationText(in txn: Span<UInt8>) -> String? {
        var reader = JuteReader(txn, limits: .frame)
        guard let header = try? TxnHeader(reading: &reader), header.type == .reconfig,
            let record = try? SetDataTxn(reading: &reader)
        else { return nil }
        guard let data = record.data else { return nil }
        return String(lenientUTF8: data)
    }
}
