internal import Glibc
import Vocabulary

/// A znode's place in the slab: what the tree links nodes with.
public struct NodeHandle: Hashable, Sendable {
    public var index: UInt32

    @inline(__always)
    init(_ index: UInt32) { self.index = index }

    static let none = NodeHandle(.max)
    public static let root = NodeHandle(0)
}

/// One znode without its name and data: 112 bytes, moved by `memcpy` only.
struct NodeRecord {
    /// `[CRC-32 of path and data: 4][text][data]`, never changed in place: a snapshot may be
    /// reading it. The text is the full path where the znode has or had children, else the name.
    var blob: UnsafeMutableRawPointer
    var czxid: Int64
    var mzxid: Int64
    var pzxid: Int64
    var ctime: Int64
    var mtime: Int64
    var owner: Int64
    var version: Int32
    /// Creates below this znode so far.
    var cversion: Int32
    var aversion: Int32
    /// Of the full path.
    var hash: UInt32
    var parent: NodeHandle
    var firstChild: NodeHandle
    /// The next sibling; in a free record the next free one.
    var next: NodeHandle
    var previous: NodeHandle
    var childCount: UInt32
    /// -1: null.
    var dataLength: Int32
    /// Of the last path component.
    var nameLength: UInt32
    /// Of the text in the blob.
    var textLength: UInt32
    var acl: ACLTable.ID
    /// Znodes below /zookeeper do not count in the tree's digest.
    var isDigested: Bool

    static let blobHeaderBytes = 4

    @inline(__always)
    var text: Bytes { Bytes(start: blob + Self.blobHeaderBytes, count: Int(textLength)) }

    @inline(__always)
    var name: Bytes {
        let start = blob + Self.blobHeaderBytes + Int(textLength &- nameLength)
        return Bytes(start: start, count: Int(nameLength))
    }

    @inline(__always)
    var data: Bytes? {
        guard dataLength >= 0 else { return nil }
        let start = blob + Self.blobHeaderBytes + Int(textLength)
        return Bytes(start: start, count: Int(dataLength))
    }

    /// CRC-32 of full path and data: the constant part of the node's digest.
    @inline(__always)
    var contentCRC: UInt32 { blob.load(as: UInt32.self) }

    @inline(__always)
    var blobBytes: Int { Self.blobHeaderBytes + Int(textLength) + max(0, Int(dataLength)) }

    var stat: StatPersisted {
        StatPersisted(
            czxid: Zxid(rawValue: czxid), mzxid: Zxid(rawValue: mzxid), ctime: ctime, mtime: mtime,
            version: version, cversion: cversion, aversion: aversion, owner: Owner(rawValue: owner),
            pzxid: Zxid(rawValue: pzxid))
    }

    /// Makes a blob.
    ///
    /// `contentCRC`: see `contentCRC`.
    @inline(__always)
    static func makeBlob(contentCRC: UInt32, text: Bytes, data: Bytes?) -> UnsafeMutableRawPointer {
        let dataCount = data?.count ?? 0
        guard let blob = malloc(blobHeaderBytes + text.count + dataCount) else {
            fatalError("out of memory for a znode of \(text.count + dataCount) bytes")
        }
        blob.storeBytes(of: contentCRC, as: UInt32.self)
        if let start = text.baseAddress { memcpy(blob + blobHeaderBytes, start, text.count) }
        if let start = data?.baseAddress, dataCount > 0 {
            memcpy(blob + blobHeaderBytes + text.count, start, dataCount)
        }
        return blob
    }
}

/// The memory of all znodes: records in pages that a snapshot can freeze.
///
/// Freezing copies the table of page addresses and marks every page as shared; the first write to
/// a shared page replaces it by a copy. Blobs that are replaced while a frozen view exists are
/// retired and given back in small steps afterwards: freeing a hundred thousand at once would
/// be a pause of its own.
struct NodeSlab: ~Copyable {
    static let recordsPerPage = 64
    private static let pageShift: UInt32 = 6
    private static let pageMask: UInt32 = 63

    typealias Page = UnsafeMutablePointer<NodeRecord>

    private var pages: UnsafeMutablePointer<Page>
    /// 1 while the frozen view reads the page too.
    private var shared: UnsafeMutablePointer<UInt8>
    private var pageCount = 0
    private var pageCapacity = 64
    private var firstFree = NodeHandle.none
    private var used: UInt32 = 0
    private(set) var isFrozen = false
    /// Replaced or deleted while the frozen view may read them.
    private var retired: [UnsafeMutableRawPointer] = []
    /// What nobody reads any more, freed a little at a time.
    private var garbage: [UnsafeMutableRawPointer] = []

    init() {
        pages = .allocate(capacity: pageCapacity)
        shared = .allocate(capacity: pageCapacity)
    }

    deinit {
        for index in 0..<pageCount { free(pages[index]) }
        pages.deallocate()
        shared.deallocate()
        for memory in retired + garbage { free(memory) }
    }

    @inline(__always)
    func read(_ handle: NodeHandle) -> UnsafePointer<NodeRecord> {
        UnsafePointer(
            pages[Int(handle.index >> Self.pageShift)] + Int(handle.index & Self.pageMask))
    }

    @inline(__always)
    mutating func write(_ handle: NodeHandle) -> Page {
        let page = Int(handle.index >> Self.pageShift)
        if shared[page] != 0 { copyPage(page) }
        return pages[page] + Int(handle.index & Self.pageMask)
    }

    @inline(never)
    private mutating func copyPage(_ page: Int) {
        let copy = Self.newPage()
        memcpy(copy, pages[page], Self.recordsPerPage * MemoryLayout<NodeRecord>.stride)
        pages[page] = copy
        shared[page] = 0
    }

    /// A record with undefined contents.
    mutating func allocate() -> NodeHandle {
        if firstFree != .none {
            let handle = firstFree
            firstFree = read(handle).pointee.next
            return handle
        }
        let handle = NodeHandle(used)
        precondition(used < .max - 1, "handles are 32 bits wide")
        used += 1
        if Int(handle.index >> Self.pageShift) == pageCount { addPage() }
        return handle
    }

    /// By `malloc`, as the blobs: what is retired is freed without a look at what it was.
    private static func newPage() -> Page {
        let bytes = recordsPerPage * MemoryLayout<NodeRecord>.stride
        guard let memory = malloc(bytes) else { fatalError("out of memory for \(bytes) bytes") }
        return memory.bindMemory(to: NodeRecord.self, capacity: recordsPerPage)
    }

    private mutating func addPage() {
        if pageCount == pageCapacity {
            let capacity = pageCapacity * 2
            let morePages = UnsafeMutablePointer<Page>.allocate(capacity: capacity)
            memcpy(morePages, pages, pageCount * MemoryLayout<Page>.stride)
            pages.deallocate()
            pages = morePages
            let moreShared = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
            memcpy(moreShared, shared, pageCount)
            shared.deallocate()
            shared = moreShared
            pageCapacity = capacity
        }
        pages[pageCount] = Self.newPage()
        shared[pageCount] = 0
        pageCount += 1
    }

    /// Gives a record and its blob back.
    mutating func deallocate(_ handle: NodeHandle) {
        let record = write(handle)
        retire(record.pointee.blob)
        record.pointee.next = firstFree
        firstFree = handle
    }

    /// Replaces a record's blob.
    @inline(__always)
    mutating func replaceBlob(of record: Page, by blob: UnsafeMutableRawPointer) {
        retire(record.pointee.blob)
        record.pointee.blob = blob
    }

    @inline(__always)
    private mutating func retire(_ blob: UnsafeMutableRawPointer) {
        if isFrozen { retired.append(blob) } else { free(blob) }
    }

    // MARK: The frozen view

    /// Pages as they are now, readable by another thread until `thaw`.
    struct Frozen {
        fileprivate let pages: UnsafeMutablePointer<Page>
        fileprivate let pageCount: Int

        @inline(__always)
        func read(_ handle: NodeHandle) -> UnsafePointer<NodeRecord> {
            UnsafePointer(
                pages[Int(handle.index >> NodeSlab.pageShift)]
                    + Int(handle.index & NodeSlab.pageMask))
        }
    }

    mutating func freeze() -> Frozen {
        precondition(!isFrozen, "one snapshot at a time")
        isFrozen = true
        let copy = UnsafeMutablePointer<Page>.allocate(capacity: max(1, pageCount))
        memcpy(copy, pages, pageCount * MemoryLayout<Page>.stride)
        memset(shared, 1, pageCount)
        return Frozen(pages: copy, pageCount: pageCount)
    }

    /// Ends the frozen view. Nobody may read it any more.
    mutating func thaw(_ frozen: Frozen) {
        precondition(isFrozen, "only a frozen slab thaws")
        isFrozen = false
        for page in 0..<frozen.pageCount where pages[page] != frozen.pages[page] {
            retired.append(UnsafeMutableRawPointer(frozen.pages[page]))
        }
        memset(shared, 0, frozen.pageCount)
        frozen.pages.deallocate()
        if garbage.isEmpty { swap(&garbage, &retired) } else { garbage += retired }
        retired = []
    }

    var hasGarbage: Bool { !garbage.isEmpty }

    /// Frees some of what finished views kept.
    mutating func reclaim(atMost limit: Int) {
        for _ in 0..<min(limit, garbage.count) { free(garbage.removeLast()) }
        if garbage.isEmpty { garbage = [] }
    }
}
