import QuorumProtocol

/// A key and its value as somebody wrote them, and where.
struct ConfigurationItem {
    enum Source { case jvmFlags, file, commandLine }
    var source: Source
    /// The file, or the name of what else held the key.
    var file: String
    /// `nil` when no line holds the key.
    var lines: ClosedRange<Int>?
    var key: String
    var value: String
    /// The name in the table; for a name with `*`, and for a key that is in no table, the key
    /// without its prefix.
    var name: String
    var entry: ConfigurationKey?

    init(
        _ source: Source, file: String, lines: ClosedRange<Int>?, key: String, value: String
    ) {
        let key = key.trimmed
        let bare = key.hasPrefix("zookeeper.") ? String(key.dropFirst("zookeeper.".count)) : key
        let entry = KeyIndex.entry(for: bare)
        let isExact = entry.map { !$0.name.hasSuffix("*") } ?? false
        self.source = source
        self.file = file
        self.lines = lines
        self.key = key
        self.value = value.trimmed
        self.name = isExact ? entry?.name ?? bare : bare
        self.entry = entry
    }

    init(_ override: ConfigurationOverride) {
        let source: Source =
            switch override.origin {
            case .jvmFlags: .jvmFlags
            case .commandLine: .commandLine
            }
        self.init(
            source, file: override.origin.name, lines: nil, key: override.key,
            value: override.value)
    }

    var line: Int? { lines?.lowerBound }

    /// The items of a whole file, in their order.
    static func items(
        of text: String, file: String
    ) throws(ConfigurationError) -> [ConfigurationItem] {
        let entries: [PropertiesText.Entry]
        do {
            entries = try PropertiesText.entries(of: text)
        } catch {
            throw ConfigurationError(
                file: file, line: error.line, key: "",
                message: "expected four hexadecimal digits after \\u, found something else")
        }
        return entries.map { entry in
            ConfigurationItem(
                .file, file: file, lines: entry.lines, key: entry.key, value: entry.value)
        }
    }

    /// The last item of each name; a notice for each that gives way where that may be a mistake.
    static func counting(
        of items: [ConfigurationItem], notices: inout [ConfigurationNotice]
    ) -> [ConfigurationItem] {
        var lastIndices: [String: Int] = [:]
        for (index, item) in items.enumerated() { lastIndices[item.name] = index }
        var counting: [ConfigurationItem] = []
        for (index, item) in items.enumerated() {
            guard let lastIndex = lastIndices[item.name], lastIndex != index else {
                counting.append(item)
                continue
            }
            let last = items[lastIndex]
            let isExpected = last.source == .commandLine && item.source != .commandLine
            let isHarmless = item.source != last.source && item.value == last.value
            guard !isExpected, !isHarmless else { continue }
            let lineText = last.line.map { " line \($0)" } ?? ""
            notices.append(
                item.notice(
                    .suspicious, "is set again in \(last.file)\(lineText), and that one counts"))
        }
        return counting
    }

    func notice(_ kind: ConfigurationNotice.Kind, _ message: String) -> ConfigurationNotice {
        ConfigurationNotice(kind: kind, file: file, line: line, key: key, message: message)
    }

    func error(_ message: String) -> ConfigurationError {
        ConfigurationError(file: file, line: line, key: key, message: message)
    }
}
