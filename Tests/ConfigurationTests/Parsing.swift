import Configuration

/// A file that lacks nothing, with `text` from line 3 on.
func parsed(
    _ text: String, overrides: [ConfigurationOverride] = []
) throws -> (configuration: ServerConfiguration, notices: [ConfigurationNotice]) {
    try ServerConfiguration.parse(
        "dataDir=/data\n\(clientPortUnlessIn(text))\n\(text)", file: "zoo.cfg",
        overrides: overrides)
}

func configuration(_ text: String) throws -> ServerConfiguration {
    try parsed(text).configuration
}

/// The message with which the same is refused; `nil` when it is accepted.
func refusal(_ text: String, overrides: [ConfigurationOverride] = []) -> String? {
    wholeRefusal(
        "dataDir=/data\n\(clientPortUnlessIn(text))\n\(text)", overrides: overrides)
}

/// The message with which the file `text` is refused; `nil` when it is accepted.
func wholeRefusal(_ text: String, overrides: [ConfigurationOverride] = []) -> String? {
    do {
        _ = try ServerConfiguration.parse(text, file: "zoo.cfg", overrides: overrides)
        return nil
    } catch {
        return error.description
    }
}

private func clientPortUnlessIn(_ text: String) -> String {
    text.contains("clientPort=") ? "# its own" : "clientPort=2181"
}
