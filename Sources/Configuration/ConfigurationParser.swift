// Decides what a configuration file and the overrides around it mean, and which of them are
// refused.
//
// Source: ZooKeeper, `QuorumPeerConfig.parse`, `parseProperties`, `setupQuorumPeerConfig`.

extension ServerConfiguration {
    /// Reads `text` and `overrides`.
    ///
    /// 1. A key that has an effect: a value that is not what the table says is refused.
    /// 2. A key of Apache ZooKeeper's without an effect here, and a key that nobody knows: a notice.
    /// 3. The same key again: the last one counts, and what came before is not even looked at. JVM
    ///    options come before the file, the command line after it.
    /// 4. `zookeeper.` before a key changes nothing.
    ///
    /// - Parameters:
    ///   - text: the whole file.
    ///   - file: its name, for messages.
    ///   - overrides: keys from elsewhere, in the order in which they were given.
    /// - Returns: the configuration, and notices in the order of the text.
    /// - Throws: `ConfigurationError`, the first one in the order of the text; then those that no
    ///   single key is to blame for.
    package static func parse(
        _ text: String, file: String, overrides: [ConfigurationOverride] = []
    ) throws(ConfigurationError) -> (
        configuration: ServerConfiguration, notices: [ConfigurationNotice]
    ) {
        var parser = ConfigurationParser(file: file)
        parser.add(overrides.filter { $0.origin.isBeforeFile })
        try parser.add(text)
        parser.add(overrides.filter { !$0.origin.isBeforeFile })
        return try parser.result()
    }
}

extension ConfigurationOverride.Origin {
    fileprivate var isBeforeFile: Bool {
        switch self {
        case .jvmFlags: true
        case .commandLine: false
        }
    }
}

private struct ConfigurationParser {
    /// A key and its value as somebody wrote them, and where.
    private struct Item {
        enum Source { case jvmFlags, file, commandLine }
        var source: Source
        var file: String
        var line: Int?
        var key: String
        var value: String
        /// The name in the table; for a name with `*`, and for a key that is in no table, the key
        /// without its prefix.
        var name: String
        var entry: ConfigurationKey?
    }

    private let file: String
    private var items: [Item] = []
    private var notices: [ConfigurationNotice] = []

    init(file: String) { self.file = file }

    mutating func add(_ overrides: [ConfigurationOverride]) {
        for override in overrides {
            let source: Item.Source =
                switch override.origin {
                case .jvmFlags: .jvmFlags
                case .commandLine: .commandLine
                }
            add(
                source, file: override.origin.name, line: nil, key: override.key,
                value: override.value)
        }
    }

    mutating func add(_ text: String) throws(ConfigurationError) {
        let entries: [PropertiesText.Entry]
        do {
            entries = try PropertiesText.entries(of: text)
        } catch {
            throw ConfigurationError(
                file: file, line: error.line, key: "",
                message: "expected four hexadecimal digits after \\u, found something else")
        }
        for entry in entries {
            add(.file, file: file, line: entry.line, key: entry.key, value: entry.value)
        }
    }

    private mutating func add(
        _ source: Item.Source, file: String, line: Int?, key: String, value: String
    ) {
        let key = trimmed(key)
        let bare = key.hasPrefix("zookeeper.") ? String(key.dropFirst("zookeeper.".count)) : key
        let entry = KeyIndex.entry(for: bare)
        let isExact = entry.map { !$0.name.hasSuffix("*") } ?? false
        items.append(
            Item(
                source: source, file: file, line: line, key: key, value: trimmed(value),
                name: isExact ? entry?.name ?? bare : bare, entry: entry))
    }

    mutating func result() throws(ConfigurationError) -> (
        configuration: ServerConfiguration, notices: [ConfigurationNotice]
    ) {
        var configuration = ServerConfiguration(dataDir: "")
        let counting = itemsThatCount()
        for item in counting {
            try apply(item, to: &configuration)
        }
        try refuseEnsemble(counting)
        try check(configuration, counting)
        return (configuration, notices)
    }

    /// The last item of each name; a notice for each that gives way where that may be a mistake.
    private mutating func itemsThatCount() -> [Item] {
        var lastIndices: [String: Int] = [:]
        for (index, item) in items.enumerated() { lastIndices[item.name] = index }
        var counting: [Item] = []
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
            notice(
                .suspicious, item, "is set again in \(last.file)\(lineText), and that one counts")
        }
        return counting
    }

    private mutating func apply(
        _ item: Item, to configuration: inout ServerConfiguration
    ) throws(ConfigurationError) {
        guard let entry = item.entry else {
            let hint = KeyIndex.nameIgnoringCase(item.name).map { "; did you mean \($0)?" } ?? ""
            return notice(.unknownKey, item, "unknown key, ignored\(hint)")
        }
        switch entry.status {
        case .notImplementedYet:
            return notice(
                .notImplementedYet, item, "not implemented yet, ignored: \(entry.summary)")
        case .notApplicable:
            return notice(.notApplicable, item, "does not apply, ignored: \(entry.summary)")
        case .implemented: break
        }
        switch entry.assign(item.value, to: &configuration) {
        case .done: break
        case .raised(let minimum):
            notice(.suspicious, item, "\(item.value) is too small, \(minimum) is used")
        case .badValue:
            let found = entry.isSecret ? "something else" : "\"\(item.value)\""
            throw error(item, "expected \(entry.expectation), found \(found)")
        }
    }

    /// Servers that each started alone on the configuration of an ensemble would all accept writes,
    /// each its own. One `server.N` line is a standalone server for Apache ZooKeeper too.
    private func refuseEnsemble(_ counting: [Item]) throws(ConfigurationError) {
        let servers = counting.filter { $0.name.hasPrefix("server.") && $0.entry != nil }
            .filter { $0.name.dropFirst("server.".count).allSatisfy(\.isWholeNumber) }
        let dynamic = counting.last { $0.name == "dynamicConfigFile" }
        guard let item = dynamic ?? (servers.count > 1 ? servers.last : nil) else { return }
        throw error(
            item,
            "expected the configuration of a standalone server, found that of an ensemble, which"
                + " is not implemented yet")
    }

    /// What only several keys together tell.
    private mutating func check(
        _ configuration: ServerConfiguration, _ counting: [Item]
    ) throws(ConfigurationError) {
        var byName: [String: Item] = [:]
        for item in counting { byName[item.name] = item }

        guard byName["dataDir"] != nil else {
            throw missing("dataDir", "expected the path of a directory, found no such key")
        }
        for item in [byName["dataDir"], byName["dataLogDir"]].compactMap(\.self)
        where !item.value.hasPrefix("/") {
            notice(
                .suspicious, item,
                "\(item.value) is relative to the directory in which the server is started")
        }
        if byName["clientPort"] == nil {
            if let item = byName["clientPortAddress"] {
                throw error(item, "expected clientPort beside it, found no such key")
            }
            notices.append(
                ConfigurationNotice(
                    kind: .suspicious, file: file, line: nil, key: "clientPort",
                    message: "is not set: no client can connect"))
        }

        let shortest = configuration.minSessionTimeoutMilliseconds
        let longest = configuration.maxSessionTimeoutMilliseconds
        if shortest > longest {
            let message =
                "expected minSessionTimeout up to maxSessionTimeout, found \(shortest) ms and"
                + " \(longest) ms"
            let item = byName["minSessionTimeout"] ?? byName["maxSessionTimeout"]
            throw item.map { error($0, message) } ?? missing("minSessionTimeout", message)
        }
        try checkAuthentication(configuration, byName)

        if !configuration.forceSync, let item = byName["forceSync"] {
            notice(
                .suspicious, item,
                "writes are acknowledged before they are on the disk; a power failure loses them")
        }
        if configuration.skipACL, let item = byName["skipACL"] {
            notice(.suspicious, item, "ACLs are not checked")
        }
        if case .words(let words) = configuration.fourLetterWordsWhitelist,
            let item = byName["4lw.commands.whitelist"]
        {
            for word in words.subtracting(FourLetterWordsWhitelist.known).sorted() {
                notice(.suspicious, item, "there is no four-letter word \"\(word)\"")
            }
        }
    }

    /// Source: ZooKeeper, `AuthenticationHelper.validateConfiguredProperties`.
    private mutating func checkAuthentication(
        _ configuration: ServerConfiguration, _ byName: [String: Item]
    ) throws(ConfigurationError) {
        guard configuration.enforceAuthEnabled, let enabled = byName["enforce.auth.enabled"] else {
            return
        }
        guard let schemes = byName["enforce.auth.schemes"],
            !configuration.enforceAuthSchemes.isEmpty
        else {
            throw error(enabled, "expected enforce.auth.schemes beside it, found none")
        }
        let offered = configuration.digestAuthEnabled ? ["digest", "ip"] : ["ip"]
        for scheme in configuration.enforceAuthSchemes where !offered.contains(scheme) {
            throw error(
                schemes,
                "expected schemes of \(offered.joined(separator: ", ")), found \"\(scheme)\"")
        }
        if configuration.enforceAuthSchemes.contains("digest") {
            notice(
                .suspicious, schemes,
                "digest takes any user and password: it proves only that a client sent some")
        }
    }

    private mutating func notice(
        _ kind: ConfigurationNotice.Kind, _ item: Item, _ message: String
    ) {
        notices.append(
            ConfigurationNotice(
                kind: kind, file: item.file, line: item.line, key: item.key, message: message))
    }

    private func error(_ item: Item, _ message: String) -> ConfigurationError {
        ConfigurationError(file: item.file, line: item.line, key: item.key, message: message)
    }

    private func missing(_ key: String, _ message: String) -> ConfigurationError {
        ConfigurationError(file: file, line: nil, key: key, message: message)
    }
}

/// Finds the entry of a key, by its name or by the longest name with `*` that it begins with.
private enum KeyIndex {
    private static let all =
        ConfigurationKey.implemented + ConfigurationKey.notImplementedYet
        + ConfigurationKey.notApplicable

    private static let exact: [String: ConfigurationKey] = {
        var index: [String: ConfigurationKey] = [:]
        for entry in all {
            for name in [entry.name] + entry.aliases {
                let previous = index.updateValue(entry, forKey: name)
                precondition(previous == nil, "each name is in the table once")
            }
        }
        return index
    }()

    private static let families: [(prefix: String, entry: ConfigurationKey)] =
        all.filter { $0.name.hasSuffix("*") }
        .map { (String($0.name.dropLast()), $0) }
        .sorted { $0.0.utf8.count > $1.0.utf8.count }

    private static let namesInLowerCase: [String: String] = Dictionary(
        exact.keys.sorted().map { ($0.lowercased(), $0) }, uniquingKeysWith: { first, _ in first })

    static func entry(for key: String) -> ConfigurationKey? {
        exact[key] ?? families.first { key.hasPrefix($0.prefix) }?.entry
    }

    static func nameIgnoringCase(_ key: String) -> String? { namesInLowerCase[key.lowercased()] }
}

/// Without spaces and control characters at the ends, as Java trims.
func trimmed(_ text: some StringProtocol) -> String {
    let scalars = text.unicodeScalars
    guard let first = scalars.firstIndex(where: { $0.value > 0x20 }),
        let last = scalars.lastIndex(where: { $0.value > 0x20 })
    else { return "" }
    return String(text[first...last])
}
