import Foundation
package import SystemPackage

/// A directory that is removed at the end of its life.
package final class TemporaryDirectory {
    package let path: FilePath

    package init() {
        let url = FileManager.default.temporaryDirectory
            .appendingPathComponent("aviary-\(UUID().uuidString)")
        guard
            (try? FileManager.default.createDirectory(at: url, withIntermediateDirectories: true))
                != nil
        else { fatalError("tests need a temporary directory") }
        path = FilePath(url.path)
    }

    deinit { try? FileManager.default.removeItem(atPath: path.string) }
}

/// A dataDir that an Apache server left behind, and what that server made of it.
package struct Fixture: Sendable, CustomStringConvertible {
    package let name: String

    private static let root = FilePath(#filePath).removingLastComponent().removingLastComponent()
        .appending("Fixtures").appending("storage")

    package init(_ name: String) { self.name = name }

    package var description: String { name }

    /// Every folder that holds a dataDir.
    package static let all: [Fixture] = {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: root.string)) ?? []
        return names.sorted().map(Fixture.init).filter {
            FileManager.default.fileExists(atPath: $0.versionDirectory.string)
        }
    }()

    private var directory: FilePath { Self.root.appending(name) }

    package var versionDirectory: FilePath {
        directory.appending("data").appending("version-2")
    }

    /// The names in `version-2` that begin with `prefix`, in no order of meaning.
    package func files(_ prefix: String) -> [String] {
        let names =
            (try? FileManager.default.contentsOfDirectory(atPath: versionDirectory.string)) ?? []
        return names.filter { $0.hasPrefix(prefix) }.sorted()
    }

    package func bytes(_ file: String) -> [UInt8] {
        Files.read(versionDirectory.appending(file))
    }

    /// Copies the dataDir to `path/data`.
    package func copy(to directory: TemporaryDirectory) -> FilePath {
        let target = directory.path.appending("data")
        let source = self.directory.appending("data")
        do {
            try FileManager.default.copyItem(atPath: source.string, toPath: target.string)
        } catch {
            fatalError("cannot copy \(name): \(error)")
        }
        return target
    }

    package struct Expectation: Sendable {
        package var starts: Bool
        package var lastZxid: Int64?
        package var nodes: Int?
        package var sessions: Int?
    }

    /// What the Apache server showed after it had loaded a copy.
    package var expectation: Expectation {
        let bytes = Files.read(directory.appending("expected.json"))
        guard
            let json = (try? JSONSerialization.jsonObject(with: Data(bytes))) as? [String: Any],
            let starts = json["starts"] as? Bool
        else { fatalError("\(name) has no expectation") }
        let zxid = (json["lastZxid"] as? String).flatMap { Int64($0.dropFirst(2), radix: 16) }
        return Expectation(
            starts: starts, lastZxid: zxid, nodes: (json["nodes"] as? [Any])?.count,
            sessions: (json["sessions"] as? [Any])?.count)
    }
}

package enum Files {
    package static func read(_ path: FilePath) -> [UInt8] {
        guard let data = FileManager.default.contents(atPath: path.string) else {
            fatalError("no file \(path)")
        }
        return Array(data)
    }

    package static func write(_ bytes: [UInt8], to path: FilePath) {
        guard FileManager.default.createFile(atPath: path.string, contents: Data(bytes)) else {
            fatalError("cannot write \(path)")
        }
    }

    package static func remove(_ path: FilePath) {
        do {
            try FileManager.default.removeItem(atPath: path.string)
        } catch {
            fatalError("cannot remove \(path): \(error)")
        }
    }

    package static func makeDirectory(_ path: FilePath) {
        do {
            try FileManager.default.createDirectory(
                atPath: path.string, withIntermediateDirectories: true)
        } catch {
            fatalError("cannot create \(path): \(error)")
        }
    }

    package static func exists(_ path: FilePath) -> Bool {
        FileManager.default.fileExists(atPath: path.string)
    }

    package static func names(_ path: FilePath) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: path.string)) ?? []).sorted()
    }

    package static func size(_ path: FilePath) -> Int {
        let attributes = try? FileManager.default.attributesOfItem(atPath: path.string)
        return attributes?[.size] as? Int ?? -1
    }
}
