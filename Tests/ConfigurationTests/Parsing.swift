import Configuration

/// A standalone server's file that lacks nothing, with `text` from line 3 on.
func parsed(
    _ text: String, overrides: [ConfigurationOverride] = []
) throws -> (configuration: ServerConfiguration, notices: [ConfigurationNotice]) {
    let draft = try drafted(
        "dataDir=/data\n\(clientPortUnlessIn(text))\n\(text)", files: ["/data/myid": "1"],
        overrides: overrides)
    return (draft.configuration, draft.notices)
}

/// What becomes of the file `zoo.cfg` with `text` among other files, by their paths.
func drafted(
    _ text: String, files: [String: String] = [:], overrides: [ConfigurationOverride] = []
) throws(ConfigurationError) -> ConfigurationDraft {
    var draft = try ConfigurationDraft(text, file: "zoo.cfg", overrides: overrides)
    while let path = draft.wantedFile { try draft.adopt(files[path]) }
    return draft
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
func wholeRefusal(
    _ text: String, files: [String: String] = [:], overrides: [ConfigurationOverride] = []
) -> String? {
    do throws(ConfigurationError) {
        _ = try drafted(text, files: files, overrides: overrides)
        return nil
    } catch {
        return error.description
    }
}

private func clientPortUnlessIn(_ text: String) -> String {
    text.contains("clientPort=") ? "# its own" : "clientPort=2181"
}
