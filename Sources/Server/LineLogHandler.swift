internal import Glibc
package import Logging

/// Writes one line per event to stderr: time, level, message, then `key=value` fields.
package struct LineLogHandler: LogHandler {
    package var logLevel = Logger.Level.info
    package var metadata: Logger.Metadata = [:]

    package init() {}

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var line = Clock.iso8601(milliseconds: Clock.milliseconds)
        line += " \(Self.name(event.level)) \(Self.oneLine(event.message.description))"
        let fields = metadata.merging(event.metadata ?? [:]) { $1 }
        for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
            line += " \(key)=\(Self.quoted(value.description))"
        }
        line += "\n"
        line.withUTF8 { bytes in _ = write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
    }

    private static func name(_ level: Logger.Level) -> String {
        level == .warning ? "WARN" : level.rawValue.uppercased()
    }

    /// What a stranger sent must not look like a line of ours.
    private static func oneLine(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) else { return text }
        return text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7f ? "?" : String($0) }
            .joined()
    }

    private static func quoted(_ text: String) -> String {
        let text = oneLine(text)
        guard text.isEmpty || text.utf8.contains(where: { $0 == 0x20 || $0 == 0x22 }) else {
            return text
        }
        let escaped = text.split(separator: "\"", omittingEmptySubsequences: false)
            .joined(separator: "\\\"")
        return "\"\(escaped)\""
    }
}
