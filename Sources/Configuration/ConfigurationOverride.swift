/// A key and its value from outside the configuration file.
package struct ConfigurationOverride: Equatable, Sendable {
    package enum Origin: Equatable, Sendable {
        /// An environment variable with JVM options, by its name. The file wins over it: Apache
        /// ZooKeeper turns the keys of the file into properties after the JVM has read its options.
        case jvmFlags(String)
        /// The command line. It wins over the file.
        case commandLine(String)

        /// For messages, in the place of a file name.
        package var name: String {
            switch self {
            case .jvmFlags(let name), .commandLine(let name): name
            }
        }
    }

    package var key: String
    package var value: String
    package var origin: Origin

    package init(key: String, value: String, origin: Origin) {
        self.key = key
        self.value = value
        self.origin = origin
    }

    /// The `-Dkey=value` words of `flags`, what the environment variable `variable` holds.
    ///
    /// It is split at white space as an unquoted shell variable is. Other words are options of a
    /// JVM and mean nothing here; `-Dkey` has an empty value.
    package static func words(
        inJVMFlags flags: String, variable: String
    ) -> [ConfigurationOverride] {
        flags.split(whereSeparator: \.isWhitespace).compactMap { word in
            guard word.hasPrefix("-D"), word.count > 2 else { return nil }
            let parts = word.dropFirst(2).split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return ConfigurationOverride(
                key: String(parts[0]), value: parts.count == 2 ? String(parts[1]) : "",
                origin: .jvmFlags(variable))
        }
    }
}
