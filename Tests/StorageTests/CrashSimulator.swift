import Glibc
import Storage
import StorageTestSupport
import Synchronization
import SystemPackage

/// Notes what is done to the files of one directory, and says what a crash can leave of it.
///
/// What was not synced when the crash comes may have happened or not, each change for itself: a
/// name needs its directory synced, content and size the file.
final class CrashSimulator: Sendable {
    enum Change: Equatable, Sendable {
        case write(String, [UInt8])
        case truncate(String, to: Int)
        case rename(String, to: String)
        case remove(String)
        case sync(String)
    }

    private let directory: FilePath
    private let before: [String: [UInt8]]
    private let noted = Mutex<[Change]>([])

    init(_ scratch: Scratch) {
        directory = scratch.version
        before = scratch.contents
    }

    var changes: [Change] { noted.withLock { $0 } }

    private func note(_ change: Change) { noted.withLock { $0.append(change) } }

    private static func name(_ file: Int32) -> String {
        var path = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/fd/\(file)", &path, path.count - 1)
        let text = String(decoding: path.prefix(max(0, count)).map(UInt8.init), as: UTF8.self)
        return name(FilePath(text))
    }

    private static func name(_ path: FilePath) -> String { path.lastComponent?.string ?? "" }

    /// The disk that does what it is told, and is watched. It does not spend time on syncs.
    var calls: DiskCalls {
        let system = DiskCalls.system
        return DiskCalls(
            write: { file, pieces, count, offset in
                precondition(count == 1 && offset == 0, "small files are written at once")
                let bytes = UnsafeRawBufferPointer(
                    start: pieces[0].iov_base, count: pieces[0].iov_len)
                self.note(.write(Self.name(file), Array(bytes)))
                return system.write(file, pieces, count, offset)
            },
            syncData: system.syncData,
            sync: {
                self.note(.sync(Self.name($0)))
                return 0
            },
            preallocate: system.preallocate,
            truncate: {
                self.note(.truncate(Self.name($0), to: Int($1)))
                return system.truncate($0, $1)
            },
            rename: {
                self.note(.rename(Self.name($0), to: Self.name($1)))
                return system.rename($0, $1)
            },
            remove: {
                self.note(.remove(Self.name($0)))
                return system.remove($0)
            })
    }

    /// Every directory that a crash can leave, after each of the calls.
    var crashes: Set<[String: [UInt8]]> {
        (0...changes.count).reduce(into: []) { $0.formUnion(crashes(after: $1)) }
    }

    /// The directories that a crash can leave after all calls.
    var outcomes: Set<[String: [UInt8]]> { crashes(after: changes.count) }

    private func crashes(after count: Int) -> Set<[String: [UInt8]]> {
        let done = changes.prefix(count)
        let open = done.indices.filter { isOpen(done[$0], in: done[$0...]) }
        precondition(open.count < 10, "too many changes share a sync to try all subsets")
        var states: Set<[String: [UInt8]]> = []
        for subset in 0..<(1 << open.count) {
            let lost = Set(open.indices.filter { subset & (1 << $0) == 0 }.map { open[$0] })
            states.insert(state(after: done, without: lost))
        }
        return states
    }

    /// Whether a change is not yet certain to be on the disk.
    private func isOpen(_ change: Change, in rest: ArraySlice<Change>) -> Bool {
        switch change {
        case .write(let name, _), .truncate(let name, _): !rest.contains(.sync(name))
        case .rename, .remove: !rest.contains(.sync(Self.name(directory)))
        case .sync: false
        }
    }

    private func state(
        after changes: ArraySlice<Change>, without lost: Set<Int>
    ) -> [String: [UInt8]] {
        var files = before
        for index in changes.indices {
            let isLost = lost.contains(index)
            switch changes[index] {
            case .write(let name, let bytes): files[name] = isLost ? [] : bytes
            case .truncate(let name, let count):
                if !isLost { files[name] = files[name].map { Array($0.prefix(count)) } }
            case .rename(let name, let target):
                if !isLost { files[target] = files.removeValue(forKey: name) }
            case .remove(let name):
                if !isLost { files[name] = nil }
            case .sync: break
            }
        }
        return files
    }
}

extension Scratch {
    /// A dataDir with these files.
    convenience init(contents: [String: [UInt8]]) {
        self.init()
        for (name, bytes) in contents { write(bytes, to: name) }
    }
}
