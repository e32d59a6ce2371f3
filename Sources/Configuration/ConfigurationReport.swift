/// Why a configuration is refused.
package struct ConfigurationError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The file, or the name of what else held the key (`SERVER_JVMFLAGS`, `--set`).
    package var file: String
    /// `nil` when no line holds the key.
    package var line: Int?
    /// As written; empty when the text could not be split into keys.
    package var key: String
    /// What was expected and what was found.
    package var message: String

    package var description: String { place(file, line, key) + message }
}

/// What an operator should know of a configuration that is accepted: one log line each.
package struct ConfigurationNotice: Equatable, Sendable, CustomStringConvertible {
    package enum Kind: Sendable {
        /// Neither Apache ZooKeeper nor this server knows the key; it has no effect.
        case unknownKey
        /// Apache ZooKeeper honours the key, this version does not.
        case notImplementedYet
        /// The key tunes something that this server does not have.
        case notApplicable
        /// The value is accepted, but may not be what was meant.
        case suspicious
    }

    package var kind: Kind
    /// The file, or the name of what else held the key (`SERVER_JVMFLAGS`, `--set`).
    package var file: String
    /// `nil` when no line holds the key.
    package var line: Int?
    /// As written.
    package var key: String
    package var message: String

    package var description: String { place(file, line, key) + message }
}

/// `zoo.cfg:7: tickTime: `
private func place(_ file: String, _ line: Int?, _ key: String) -> String {
    let lineText = line.map { ":\($0)" } ?? ""
    return key.isEmpty ? "\(file)\(lineText): " : "\(file)\(lineText): \(key): "
}
