import Foundation

/// One line of a client session recorded from an Apache server.
package struct Capture: Sendable {
    package enum Direction: String, Sendable {
        case fromClient = "c2s"
        case fromServer = "s2c"
        case close, reset, silence
    }

    package let connection: Int
    package let direction: Direction
    /// The whole frame with its length.
    package let frame: [UInt8]
    package let note: String
    /// The recorder cut the frame.
    package let isCut: Bool

    package static let names = [
        "auth", "crud", "malformed", "multi", "paths", "pipeline", "session", "watch",
    ]

    /// The lines of one file, in order.
    package static func load(_ name: String) -> [Capture] {
        let url = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Fixtures/client/3.9.3/\(name).jsonl")
        guard let text = try? String(contentsOf: url, encoding: .utf8) else {
            fatalError("no capture \(url.path)")
        }
        return text.split(separator: "\n").map { line in
            guard
                let json = try? JSONSerialization.jsonObject(with: Data(line.utf8)),
                let fields = json as? [String: Any], let connection = fields["conn"] as? Int,
                let direction = (fields["dir"] as? String).flatMap(Direction.init(rawValue:)),
                let hex = fields["hex"] as? String
            else { fatalError("not a line of a capture: \(line)") }
            return Capture(
                connection: connection, direction: direction, frame: [UInt8](hex: hex),
                note: fields["note"] as? String ?? "", isCut: fields["total"] != nil)
        }
    }

    /// Whether the frame is as long as it says.
    package var isWhole: Bool {
        guard frame.count >= 4, !isCut else { return false }
        return frame.prefix(4).reduce(0) { $0 << 8 | Int($1) } == frame.count - 4
    }

    package var payload: [UInt8] { Array(frame.dropFirst(4)) }
}

/// A request and the answer it got.
package struct Exchange: Sendable {
    package let name: String
    package let connection: Int
    package let note: String
    package let op: Int32
    package let request: [UInt8]
    package let reply: [UInt8]

    /// The exchanges behind the connects, matched by connection and xid in their order; watch
    /// events are left out.
    package static func load(_ name: String) -> [Exchange] {
        var waiting: [Int: [Capture]] = [:]
        var connected: Set<Int> = []
        var exchanges: [Exchange] = []
        for line in Capture.load(name) where line.isWhole {
            if line.direction == .fromClient {
                waiting[line.connection, default: []].append(line)
                continue
            }
            guard line.direction == .fromServer else { continue }
            if connected.insert(line.connection).inserted {
                waiting[line.connection] = Array((waiting[line.connection] ?? []).dropFirst())
                continue
            }
            let requests = waiting[line.connection] ?? []
            guard let index = requests.firstIndex(where: { $0.answers(line) }) else { continue }
            let request = requests[index]
            waiting[line.connection]?.remove(at: index)
            exchanges.append(
                Exchange(
                    name: name, connection: line.connection, note: request.note,
                    op: request.word(at: 8), request: request.frame, reply: line.frame))
        }
        return exchanges
    }
}

extension Capture {
    fileprivate func word(at offset: Int) -> Int32 {
        guard frame.count >= offset + 4 else { return .min }
        return Int32(
            bitPattern: frame[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) })
    }

    /// Whether the reply may belong to this request: the same xid, or a ping's.
    fileprivate func answers(_ reply: Capture) -> Bool {
        if word(at: 8) == 11 { return reply.word(at: 4) == -2 }
        return frame.count >= 12 && word(at: 4) == reply.word(at: 4)
    }
}
