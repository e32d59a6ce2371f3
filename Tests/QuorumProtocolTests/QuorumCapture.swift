import Foundation
import UnitTestSupport

/// One message between Apache servers.
struct QuorumCapture: Sendable {
    enum Kind: Sendable { case initial, notification, packet, snapshot }

    let file: String
    let kind: Kind
    /// The connection and the direction on it: messages of one of these are in order.
    let stream: String
    let bytes: [UInt8]
    /// What the recorder's own decoder made of it.
    let decoded: String

    static let names = [
        "cold-start", "diff", "diff-nothing-missed", "leader-change", "mixed-38-39",
        "observer-master", "reconfig", "snap", "snap-after-diverging", "trunc",
    ]

    /// The messages of one file, in order, without the ends of connections.
    static func load(_ name: String) -> [QuorumCapture] {
        let url = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Fixtures/quorum/\(name).jsonl")
        guard let text = try? String(contentsOf: url, encoding: .utf8) else {
            fatalError("no capture \(url.path)")
        }
        return text.split(separator: "\n").compactMap { line in
            guard
                let json = try? JSONSerialization.jsonObject(with: Data(line.utf8)),
                let fields = json as? [String: Any], let hex = fields["hex"] as? String,
                let stream = fields["stream"] as? String, let sender = fields["from"],
                let decoded = fields["decoded"] as? String
            else { fatalError("not a line of a capture: \(line)") }
            if hex.isEmpty { return nil }
            return QuorumCapture(
                file: name, kind: kind(port: fields["port"] as? String, decoded),
                stream: "\(stream) from \(sender)", bytes: [UInt8](hex: hex), decoded: decoded)
        }
    }

    static var all: [QuorumCapture] { names.flatMap(load) }

    /// The first message of each kind: one for every word that `decoded` begins with, and packets
    /// that carry data apart from those that carry none.
    static var samples: [QuorumCapture] {
        var seen: Set<String> = []
        return all.filter { seen.insert("\($0.word) \($0.bytes.count > 20)").inserted }
    }

    /// The messages of one direction of a connection, in order.
    static var streams: [[QuorumCapture]] {
        names.flatMap { name in
            let messages = load(name)
            var order: [String] = []
            for message in messages where !order.contains(message.stream) {
                order.append(message.stream)
            }
            return order.map { stream in messages.filter { $0.stream == stream } }
        }
    }

    var word: String { String(decoded.prefix { $0 != " " }) }

    private static func kind(port: String?, _ decoded: String) -> Kind {
        if decoded.hasPrefix("snapshot stream") { return .snapshot }
        guard port == "election" else { return .packet }
        return decoded.hasPrefix("initial") ? .initial : .notification
    }
}
