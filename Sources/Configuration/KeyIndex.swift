/// Finds the entry of a key, by its name or by the longest name with `*` that it begins with.
enum KeyIndex {
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
