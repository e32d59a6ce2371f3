import Configuration
internal import Glibc
import QuorumProtocol
import Storage
import SystemPackage

/// The files that keep the list of servers over a restart: `zoo.cfg` and what stands beside it.
///
/// Source: ZooKeeper, `QuorumPeer.setQuorumVerifier`, `setLastSeenQuorumVerifier`.
struct ConfigurationFiles {
    /// The absolute path of `zoo.cfg`.
    private let path: String

    init(configFile: String) {
        guard !configFile.hasPrefix("/"), let directory = getcwd(nil, 0) else {
            path = configFile
            return
        }
        path = String(cString: directory) + "/" + configFile
        free(directory)
    }

    /// Keeps `zoo.cfg` as its author wrote it, before a reconfiguration changes it.
    func backUp() -> String? {
        attempt { () throws(Failure) in
            try write(try read(), to: DynamicConfiguration.backupFileName(base: path))
        }
    }

    /// A list that was proposed; gives the reason if it cannot be written.
    func save(seen members: EnsembleConfiguration) -> String? {
        attempt { () throws(Failure) in
            try write(
                DynamicConfiguration.nextText(of: members),
                to: DynamicConfiguration.nextFileName(base: path))
        }
    }

    /// The list that counts, its file named in `zoo.cfg`; gives the reason if they cannot be written.
    /// One that was proposed behind it, `isAwaited`, stays.
    func save(
        active members: EnsembleConfiguration, own: EnsembleConfiguration.Member?, isAwaited: Bool
    ) -> String? {
        attempt { () throws(Failure) in
            let file = DynamicConfiguration.fileName(base: path, version: members.version)
            try write(DynamicConfiguration.text(of: members), to: file)
            try write(
                try staticText(of: try read(), dynamicFile: file, own: own), to: path)
            if !isAwaited { _ = unlink(DynamicConfiguration.nextFileName(base: path)) }
        }
    }

    private func staticText(
        of text: String, dynamicFile: String, own: EnsembleConfiguration.Member?
    ) throws(Failure) -> String {
        do throws(ConfigurationError) {
            return try DynamicConfiguration.staticText(
                text, file: path, dynamicFile: dynamicFile,
                keepsClientPort: own?.clientAddress == nil)
        } catch {
            throw Failure(reason: "\(error)")
        }
    }

    private struct Failure: Error {
        let reason: String
    }

    private func attempt(_ body: () throws(Failure) -> Void) -> String? {
        do throws(Failure) {
            try body()
            return nil
        } catch {
            return error.reason
        }
    }

    private func write(_ text: String, to file: String) throws(Failure) {
        do throws(StorageError) {
            try AtomicFile.write(text, to: FilePath(file))
        } catch {
            throw Failure(reason: "\(error)")
        }
    }

    private func read() throws(Failure) -> String {
        guard let text = TextFile.read(path) else {
            throw Failure(reason: "\(path): \(String(cString: strerror(errno)))")
        }
        return text
    }
}

/// Files that are read as a whole.
package enum TextFile {
    /// The text; nil if it cannot be read, and `errno` says why.
    package static func read(_ path: String) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while case let count = fread(&chunk, 1, chunk.count, file), count > 0 {
            bytes += chunk[..<count]
        }
        return ferror(file) == 0 ? String(decoding: bytes, as: UTF8.self) : nil
    }
}
