internal import Jute
internal import Vocabulary

/// What a session can ask for.
enum RequestKind: UInt8, CaseIterable {
    case get
    case set
    case create
    case getAndWatch
    case multi
    case delete
    case createDirectory
    case deleteDirectory
    case createChild
    case deleteChild
    case getChildrenAndWatch
    /// One part of the prefix, and the parent of the children: requests that are built by hand.
    case byHand
    case ping
    case close
}

/// How znodes are named: `<prefix>/d0012/n000000512`. Every number has a fixed width, so that a
/// path is made by writing digits over a template.
struct Naming {
    static let directoryDigits = 4
    static let nodeDigits = 9

    let prefix: String
    let directories: Int

    init(prefix: String, znodes: Int, spreads: Bool) {
        self.prefix = prefix
        // ZooKeeper keeps the children of one znode in one set: a thousand a piece is ordinary.
        directories = spreads ? 1000 : max(1, min(1000, znodes / 1000))
    }

    var parentOfChildren: String { prefix + "/children" }
    var directoryPattern: String { prefix + "/d0000" }
    var nodePattern: String { directoryPattern + "/n000000000" }
    var childPattern: String { parentOfChildren + "/n000000000" }
}

/// A request's frame with the places of its xid and of the numbers in its paths.
final class RequestTemplate {
    private struct Slot {
        /// Where the directory's last digit stands; 0: the path has none.
        var directoryEnd: Int
        /// Where the node's last digit stands; 0: the path has none.
        var nodeEnd: Int
    }

    private var frame: ByteBuffer
    private var slots: [Slot] = []

    /// How many znodes one request names.
    var paths: Int { slots.count }

    static let openACL = [
        ACL(permissions: Permissions(rawValue: 31), scheme: "world", id: "anyone")
    ]

    /// A frame without a body yet.
    init(_ op: OpCode) {
        frame = ByteBuffer(capacity: 128)
        frame.append(Int32(0))  // The length, known at the end.
        frame.append(Int32(0))  // The xid.
        frame.append(op)
    }

    /// Appends to the body and corrects the length.
    func add(_ write: (inout ByteBuffer) -> Void) -> Self {
        write(&frame)
        frame.overwrite(Int32(frame.count - 4), at: 0)
        return self
    }

    /// Appends a path whose directory and node numbers are written later.
    func addPath(_ path: String, hasDirectory: Bool, hasNode: Bool) -> Self {
        let end = frame.count + 4 + path.utf8.count - 1
        slots.append(
            Slot(
                directoryEnd: !hasDirectory ? 0 : hasNode ? end - Naming.nodeDigits - 2 : end,
                nodeEnd: hasNode ? end : 0))
        return add { $0.appendField(path) }
    }

    /// Writes the request for one znode.
    @inline(__always)
    func append(to output: inout ByteBuffer, xid: Int32, index: Int, directories: Int) {
        let start = output.reserve(frame.count)
        copy(to: start, xid: xid)
        write(index, directories: directories, slot: 0, at: start)
        output.advance(by: frame.count)
    }

    /// Writes the request with a znode of its own for each path.
    func append(
        to output: inout ByteBuffer, xid: Int32, directories: Int, nextIndex: () -> Int
    ) {
        let start = output.reserve(frame.count)
        copy(to: start, xid: xid)
        for slot in slots.indices {
            write(nextIndex(), directories: directories, slot: slot, at: start)
        }
        output.advance(by: frame.count)
    }

    @inline(__always)
    private func copy(to start: UnsafeMutableRawPointer, xid: Int32) {
        UnsafeMutableRawBufferPointer(start: start, count: frame.count).copyMemory(
            from: frame.bytes)
        start.storeBytes(of: xid.bigEndian, toByteOffset: 4, as: Int32.self)
    }

    @inline(__always)
    private func write(
        _ index: Int, directories: Int, slot: Int, at start: UnsafeMutableRawPointer
    ) {
        guard slot < slots.count else { return }
        let slot = slots[slot]
        if slot.nodeEnd > 0 {
            write(index, digits: Naming.nodeDigits, endingAt: start + slot.nodeEnd)
        }
        if slot.directoryEnd > 0 {
            write(
                index % directories, digits: Naming.directoryDigits,
                endingAt: start + slot.directoryEnd)
        }
    }

    @inline(__always)
    private func write(_ number: Int, digits: Int, endingAt last: UnsafeMutableRawPointer) {
        var rest = UInt32(truncatingIfNeeded: number)
        for position in 0..<digits {
            (last - position).storeBytes(of: UInt8(48 + rest % 10), as: UInt8.self)
            rest /= 10
        }
    }
}

/// One template for each kind of request.
final class RequestTemplates {
    private let templates: [RequestTemplate]

    init(naming: Naming, valueBytes: Int, operationsPerMulti: Int) {
        let value = [UInt8](repeating: UInt8(ascii: "v"), count: valueBytes)
        templates = RequestKind.allCases.map { kind in
            Self.template(
                kind, naming: naming, value: value, operationsPerMulti: operationsPerMulti)
        }
    }

    @inline(__always)
    subscript(_ kind: RequestKind) -> RequestTemplate { templates[Int(kind.rawValue)] }

    private static func template(
        _ kind: RequestKind, naming: Naming, value: [UInt8], operationsPerMulti: Int
    ) -> RequestTemplate {
        switch kind {
        case .get: node(.getData, naming).add { $0.append(false) }
        case .getAndWatch: node(.getData, naming).add { $0.append(true) }
        case .set: node(.setData, naming).add { appendValue(value, to: &$0) }
        case .create: node(.create, naming).add { appendCreation(value, to: &$0) }
        case .delete: node(.delete, naming).add { $0.append(Int32(-1)) }
        case .createDirectory: directory(.create, naming).add { appendCreation([], to: &$0) }
        case .deleteDirectory: directory(.delete, naming).add { $0.append(Int32(-1)) }
        case .createChild: child(.create, naming).add { appendCreation([], to: &$0) }
        case .deleteChild: child(.delete, naming).add { $0.append(Int32(-1)) }
        case .getChildrenAndWatch:
            RequestTemplate(.getChildren2).add {
                $0.appendField(naming.parentOfChildren)
                $0.append(true)
            }
        case .multi: multi(naming, value: value, operations: operationsPerMulti)
        case .ping: RequestTemplate(.ping).add { _ in }
        case .close, .byHand: RequestTemplate(.closeSession).add { _ in }
        }
    }

    private static func node(_ op: OpCode, _ naming: Naming) -> RequestTemplate {
        RequestTemplate(op).addPath(naming.nodePattern, hasDirectory: true, hasNode: true)
    }

    private static func directory(_ op: OpCode, _ naming: Naming) -> RequestTemplate {
        RequestTemplate(op).addPath(naming.directoryPattern, hasDirectory: true, hasNode: false)
    }

    private static func child(_ op: OpCode, _ naming: Naming) -> RequestTemplate {
        RequestTemplate(op).addPath(naming.childPattern, hasDirectory: false, hasNode: true)
    }

    private static func appendValue(_ value: [UInt8], to body: inout ByteBuffer) {
        value.withUnsafeBytes { body.appendField($0) }
        body.append(Int32(-1))  // Any version.
    }

    static func appendCreation(_ value: [UInt8], to body: inout ByteBuffer) {
        value.withUnsafeBytes { body.appendField($0) }
        body.append(RequestTemplate.openACL)
        body.append(CreateMode.persistent.rawValue)
    }

    private static func multi(
        _ naming: Naming, value: [UInt8], operations: Int
    ) -> RequestTemplate {
        var template = RequestTemplate(.multi)
        for _ in 0..<operations {
            template =
                template.add { appendMultiHeader(OpCode.setData.rawValue, isLast: false, to: &$0) }
                .addPath(naming.nodePattern, hasDirectory: true, hasNode: true)
                .add { appendValue(value, to: &$0) }
        }
        return template.add { appendMultiHeader(-1, isLast: true, to: &$0) }
    }

    private static func appendMultiHeader(_ type: Int32, isLast: Bool, to body: inout ByteBuffer) {
        body.append(type)
        body.append(isLast)
        body.append(Int32(-1))
    }
}
