import CStorage
package import Glibc

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

    package init(
        write:
            @escaping @Sendable (
                _ file: Int32, _ pieces: UnsafePointer<iovec>, _ count: Int32, _ offset: Int64
            ) -> Int,
        syncData: @escaping @Sendable (_ file: Int32) -> Int32,
        sync: @escaping @Sendable (_ file: Int32) -> Int32,
        preallocate:
            @escaping @Sendable (_ file: Int32, _ offset: Int64, _ bytes: Int64) -> Int32
    ) {
        self.write = write
        self.syncData = syncData
        self.sync = sync
        self.preallocate = preallocate
    }

    package static let system = DiskCalls(
        write: { file, pieces, count, offset in
            let written = pwritev(file, pieces, count, off_t(offset))
            return written < 0 ? -Int(errno) : written
        },
        syncData: { fdatasync($0) == 0 ? 0 : -errno },
        sync: { fsync($0) == 0 ? 0 : -errno },
        preallocate: { cstorage_fallocate($0, $1, $2) })
}
