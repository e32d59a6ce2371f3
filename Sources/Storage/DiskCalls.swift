import CStorage
package import Glibc
package import SystemPackage

/// The calls that a full or failing disk answers with an error; tests put a failing disk in their
/// place. Each returns what the system call returns, or the negative error number.
package struct DiskCalls: Sendable {
    package var write:
        @Sendable (_ file: Int32, _ pieces: UnsafePointer<iovec>, _ count: Int32, _ offset: Int64)
            -> Int
    /// Data, and of the metadata only what reading it needs.
    package var syncData: @Sendable (_ file: Int32) -> Int32
    package var sync: @Sendable (_ file: Int32) -> Int32
    package var preallocate: @Sendable (_ file: Int32, _ offset: Int64, _ bytes: Int64) -> Int32
    package var truncate: @Sendable (_ file: Int32, _ bytes: Int64) -> Int32
    package var rename: @Sendable (_ path: FilePath, _ target: FilePath) -> Int32
    package var remove: @Sendable (_ path: FilePath) -> Int32

    package init(
        write:
            @escaping @Sendable (
                _ file: Int32, _ pieces: UnsafePointer<iovec>, _ count: Int32, _ offset: Int64
            ) -> Int,
        syncData: @escaping @Sendable (_ file: Int32) -> Int32,
        sync: @escaping @Sendable (_ file: Int32) -> Int32,
        preallocate:
            @escaping @Sendable (_ file: Int32, _ offset: Int64, _ bytes: Int64) -> Int32,
        truncate: @escaping @Sendable (_ file: Int32, _ bytes: Int64) -> Int32,
        rename: @escaping @Sendable (_ path: FilePath, _ target: FilePath) -> Int32,
        remove: @escaping @Sendable (_ path: FilePath) -> Int32
    ) {
        self.write = write
        self.syncData = syncData
        self.sync = sync
        self.preallocate = preallocate
        self.truncate = truncate
        self.rename = rename
        self.remove = remove
    }

    package static let system = DiskCalls(
        write: { file, pieces, count, offset in
            let written = pwritev(file, pieces, count, off_t(offset))
            return written < 0 ? -Int(errno) : written
        },
        syncData: { fdatasync($0) == 0 ? 0 : -errno },
        sync: { fsync($0) == 0 ? 0 : -errno },
        preallocate: { cstorage_fallocate($0, $1, $2) },
        truncate: { ftruncate($0, off_t($1)) == 0 ? 0 : -errno },
        rename: { path, target in
            let result = path.withPlatformString { from in
                target.withPlatformString { Glibc.rename(from, $0) }
            }
            return result == 0 ? 0 : -errno
        },
        remove: { $0.withPlatformString { unlink($0) } == 0 ? 0 : -errno })
}
