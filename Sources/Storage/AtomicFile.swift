import Jute
package import SystemPackage

/// Small files that are replaced as a whole: a crash leaves the old content or the new one.
///
/// Source: ZooKeeper, `AtomicFileOutputStream`, `AtomicFileWritingIdiom`.
package enum AtomicFile {
    /// What the new content is called before it takes the name.
    package static func temporaryPath(of path: FilePath) -> FilePath {
        FilePath(path.string + ".tmp")
    }

    /// Replaces the file, or creates it. When this returns, the content and the name are on the disk.
    package static func write(
        _ text: String, to path: FilePath, calls: DiskCalls = .system
    ) throws(StorageError) {
        let temporary = temporaryPath(of: path)
        let file = try OpenFile(temporary, create: true)
        var content = ByteBuffer()
        content.append(utf8: text)
        try file.write(content.bytes, at: 0, calls: calls)
        try file.sync(calls.sync)
        try Directory.rename(temporary, to: path, calls: calls)
        try Directory.sync(path.removingLastComponent(), calls: calls)
    }
}
