// Decides what a configuration file and the overrides around it mean, and which of them are
// refused. The servers of an ensemble are another matter: see `ConfigurationDraft`.
//
// Source: ZooKeeper, `QuorumPeerConfig.parse`, `parseProperties`.

struct ConfigurationParser {
    private let file: String
    private(set) var configuration = ServerConfiguration(dataDir: "")
    private(set) var notices: [ConfigurationNotice] = []
    /// What counts, in the order of the text.
    private(set) var items: [ConfigurationItem]
    private var byName: [String: ConfigurationItem] = [:]

    init(
        _ text: String, file: String, overrides: [ConfigurationOverride]
    ) throws(ConfigurationError) {
        self.file = file
        let given = try ConfigurationItem.items(of: text, file: file)
        let outside = overrides.map { ConfigurationItem($0) }
        items = ConfigurationItem.counting(
            of: outside.filter { $0.source == .jvmFlags } + given
                + outside.filter { $0.source == .commandLine },
            notices: &notices)
        for item in items { byName[item.name] = item }
        for item in items { try apply(item) }
        try check()
    }

    /// The item that counts for a name of the table; `nil`: nobody set it.
    func item(_ name: String) -> ConfigurationItem? { byName[name] }

    private mutating func apply(_ item: ConfigurationItem) throws(ConfigurationError) {
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
            throw item.error("expected \(entry.expectation), found \(found)")
        }
    }

    /// What only several keys together tell.
    private mutating func check() throws(ConfigurationError) {
        guard byName["dataDir"] != nil else {
            throw missing("dataDir", "expected the path of a directory, found no such key")
        }
        for item in [byName["dataDir"], byName["dataLogDir"], byName["dynamicConfigFile"]]
            .compactMap(\.self) where !item.value.hasPrefix("/")
        {
            notice(
                .suspicious, item,
                "\(item.value) is relative to the directory in which the server is started")
        }
        if byName["clientPort"] == nil, let item = byName["clientPortAddress"] {
            throw item.error("expected clientPort beside it, found no such key")
        }

        let shortest = configuration.minSessionTimeoutMilliseconds
        let longest = configuration.maxSessionTimeoutMilliseconds
        if shortest > longest {
            let message =
                "expected minSessionTimeout up to maxSessionTimeout, found \(shortest) ms and"
                + " \(longest) ms"
            let item = byName["minSessionTimeout"] ?? byName["maxSessionTimeout"]
            throw item?.error(message) ?? missing("minSessionTimeout", message)
        }
        try checkAuthentication()

        if !configuration.forceSync, let item = byName["forceSync"] {
            notice(
                .suspicious, item,
                "writes are acknowledged before they are on the disk; a power failure loses them")
        }
        if configuration.skipACL, let item = byName["skipACL"] {
            notice(.suspicious, item, "ACLs are not checked")
        }
        checkFourLetterWords()
    }

    /// Source: ZooKeeper, `AuthenticationHelper.validateConfiguredProperties`.
    private mutating func checkAuthentication() throws(ConfigurationError) {
        guard configuration.enforceAuthEnabled, let enabled = byName["enforce.auth.enabled"] else {
            return
        }
        guard let schemes = byName["enforce.auth.schemes"],
            !configuration.enforceAuthSchemes.isEmpty
        else {
            throw enabled.error("expected enforce.auth.schemes beside it, found none")
        }
        let offered = configuration.digestAuthEnabled ? ["digest", "ip"] : ["ip"]
        for scheme in configuration.enforceAuthSchemes where !offered.contains(scheme) {
            throw schemes.error(
                "expected schemes of \(offered.joined(separator: ", ")), found \"\(scheme)\"")
        }
        if configuration.enforceAuthSchemes.contains("digest") {
            notice(
                .suspicious, schemes,
                "digest takes any user and password: it proves only that a client sent some")
        }
    }

    private mutating func checkFourLetterWords() {
        guard case .words(var words) = configuration.fourLetterWordsWhitelist else { return }
        if let item = byName["4lw.commands.whitelist"] {
            for word in words.subtracting(FourLetterWordsWhitelist.known).sorted() {
                notice(.suspicious, item, "there is no four-letter word \"\(word)\"")
            }
        }
        guard configuration.quorum.readOnlyModeEnabled else { return }
        // Clients that would do with reading ask a server first whether it only reads.
        words.insert("isro")
        configuration.fourLetterWordsWhitelist = .words(words)
    }

    private mutating func notice(
        _ kind: ConfigurationNotice.Kind, _ item: ConfigurationItem, _ message: String
    ) {
        notices.append(item.notice(kind, message))
    }

    private func missing(_ key: String, _ message: String) -> ConfigurationError {
        ConfigurationError(file: file, line: nil, key: key, message: message)
    }
}
