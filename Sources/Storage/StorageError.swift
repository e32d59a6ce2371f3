import Glibc
package import StorageFormat
package import SystemPackage
package import Vocabulary

/// A failure of the disk or of what is on it: which file, where, and what the operator can do.
package struct StorageError: Error, Equatable, Sendable {
    package enum Call: String, Sendable {
        case create, open, list, read, write, truncate, sync, rename, remove, lock, preallocate
    }

    package enum Reason: Equatable, Sendable {
        case system(Call, errno: Int32)
        case shortWrite(bytes: Int, of: Int)
        case directoryMissing
        /// Another process has the directory; 0 if it does not say which.
        case locked(processID: Int32)
        /// dataDir and dataLogDir differ, and a log lies with the snapshots.
        case logAmongSnapshots
        /// dataDir and dataLogDir differ, and a snapshot lies with the logs.
        case snapshotAmongLogs
        case log(LogDamage)
        case txn(Zxid, RestoreError)
        case snapshot(SnapshotDamage)
        case compression(CompressionDamage)
        /// The two ends of the file are not those of a snapshot.
        case implausibleSnapshot
        /// Snapshots are there, and none of so many can be read.
        case noUsableSnapshot(rejected: Int)
        case logsWithoutSnapshot
        /// A snapshot is damaged, and the logs do not reach its zxid from an older one.
        case txnsMissing(upTo: Zxid)
        /// A new log would replace one that holds txns.
        case logExists
        case notAnEpoch(text: String)
        case acceptedEpochBehind(Int64, currentEpoch: Int64)
        /// No snapshot and the logs behind it lead to exactly this zxid.
        case cannotTruncate(to: Zxid)
        case history(HistoryGap)
    }

    package var file: FilePath
    package var offset: Int64?
    package var reason: Reason

    package init(file: FilePath, offset: Int64? = nil, reason: Reason) {
        self.file = file
        self.offset = offset
        self.reason = reason
    }
}

/// Why a compressed snapshot does not yield its stream.
package enum CompressionDamage: Error, Equatable, Sendable {
    case truncated
    case badHeader
    case badBlock(bytes: Int)
    /// zlib's error code.
    case deflate(Int32)
}

extension StorageError: CustomStringConvertible {
    /// One line: where, what, and the way out.
    package var description: String {
        var text = file.string
        if let offset { text += " at offset \(offset)" }
        text += ": \(reason)"
        if let wayOut = reason.wayOut { text += "; \(wayOut)" }
        return text
    }
}

extension StorageError.Reason: CustomStringConvertible {
    package var description: String {
        switch self {
        case .system(let call, let number):
            "\(call.rawValue) failed: \(String(cString: strerror(number))) (errno \(number))"
        case .shortWrite(let bytes, let all): "write stopped after \(bytes) of \(all) bytes"
        case .directoryMissing: "the directory does not exist and must not be created"
        case .locked(processID: 0): "the directory is locked by another server"
        case .locked(let processID):
            "the directory is locked by the server with process id \(processID)"
        case .logAmongSnapshots:
            "a txn log lies in the snapshot directory, but dataLogDir is another"
        case .snapshotAmongLogs: "a snapshot lies in the log directory, but dataDir is another"
        case .log(let damage): "\(damage)"
        case .txn(let zxid, let error): "the txn \(zxid) cannot be applied: \(error)"
        case .snapshot(let damage): "\(damage)"
        case .compression(let damage): "\(damage)"
        case .implausibleSnapshot: "the file does not begin and end as a snapshot does"
        case .noUsableSnapshot(let rejected): "none of \(rejected) snapshots can be read"
        case .logsWithoutSnapshot: "there are txn logs but no snapshot"
        case .txnsMissing(let zxid):
            "the snapshot is damaged, and the logs behind the older one do not contain its txn \(zxid)"
        case .logExists: "a log of this name holds transactions already"
        case .notAnEpoch(let text): "the file holds no epoch but '\(text)'"
        case .acceptedEpochBehind(let accepted, let current):
            "the accepted epoch \(accepted) is lower than the current epoch \(current)"
        case .cannotTruncate(let zxid):
            "no snapshot and the logs behind it lead to exactly \(zxid)"
        case .history(let gap): "\(gap)"
        }
    }

    fileprivate var wayOut: String? {
        let otherData =
            "restore the directory from a backup, or empty it if an ensemble can supply the data"
        switch self {
        case .system(_, errno: ENOSPC), .system(_, errno: EDQUOT), .system(_, errno: EFBIG),
            .shortWrite:
            return "make room on the disk and start again"
        case .system(_, errno: EACCES), .system(_, errno: EPERM), .system(_, errno: EROFS):
            return "give the server's user the right to it"
        case .system:
            return nil
        case .directoryMissing:
            return "create it, or allow datadir.autocreate"
        case .locked:
            return "stop that server first, or configure another dataDir"
        case .logAmongSnapshots, .snapshotAmongLogs:
            return "move the file to where it belongs, or configure both directories as one"
        case .log(.empty), .log(.shortHeader):
            return "move the file away if no txn was ever written to it, else \(otherData)"
        case .log, .txn:
            return "\(otherData); moving this file and all later logs away gives up their txns"
        case .snapshot, .compression, .implausibleSnapshot, .history:
            return nil
        case .logExists:
            return "move it away if its transactions are not wanted"
        case .noUsableSnapshot, .txnsMissing, .cannotTruncate, .acceptedEpochBehind,
            .notAnEpoch:
            return otherData
        case .logsWithoutSnapshot:
            return
                "put the snapshots back, or set snapshot.trust.empty=true if the server that wrote the logs never had one"
        }
    }
}

extension CompressionDamage: CustomStringConvertible {
    package var description: String {
        switch self {
        case .truncated: "the compressed file ends too early"
        case .badHeader: "the file does not begin as its suffix says"
        case .badBlock(let bytes): "a compressed block of \(bytes) bytes is damaged"
        case .deflate(let code): "the compressed bytes are damaged (zlib error \(code))"
        }
    }
}
