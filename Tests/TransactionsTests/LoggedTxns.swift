import Jute
import StorageFormat
import StorageTestSupport

/// The txns that Apache servers wrote.
enum LoggedTxns {
    /// Every txn of every log of a folder, up to where the log's records end.
    static func all(_ fixture: Fixture) -> [[UInt8]] {
        fixture.files("log.").flatMap { records(fixture.bytes($0)) }
    }

    private static func records(_ file: [UInt8]) -> [[UInt8]] {
        var txns: [[UInt8]] = []
        var offset = LogFormat.headerBytes
        let span = file.span
        while offset <= span.count {
            let rest = span.extracting(droppingFirst: offset)
            guard
                case .record(let txn, let count)? = try? LogFormat.scan(
                    rest, isLast: true, limits: .default)
            else { return txns }
            txns.append([UInt8](rest.extracting(txn)))
            offset += count
        }
        return txns
    }
}
