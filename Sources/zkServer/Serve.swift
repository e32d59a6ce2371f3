import Configuration
import Glibc
import Logging
import Server

/// Reads the configuration and serves until the end; every reason not to is one log line.
func serve(configFile: String) -> ExitCode {
    let logger = Logger(label: "zkServer") { _ in LineLogHandler() }
    guard let text = TextFile.read(configFile) else {
        logger.critical(
            "cannot read the configuration",
            metadata: ["file": "\(configFile)", "reason": "\(String(cString: strerror(errno)))"])
        return .badArguments
    }
    let overrides = ["SERVER_JVMFLAGS", "JVMFLAGS"].flatMap { name in
        getenv(name).map {
            ConfigurationOverride.words(inJVMFlags: String(cString: $0), variable: name)
        } ?? []
    }
    let draft: ConfigurationDraft
    do throws(ConfigurationError) {
        draft = try complete(text, file: configFile, overrides)
    } catch {
        logger.critical("bad configuration", metadata: ["reason": "\(error)"])
        return .badArguments
    }
    for notice in draft.notices {
        logger.log(level: notice.kind == .notApplicable ? .info : .warning, "\(notice)")
    }
    do throws(StartError) {
        return try ZooKeeperServer(
            draft.configuration, configFile: configFile, logger: logger
        ).run()
    } catch {
        logger.critical("cannot start", metadata: ["reason": "\(error)"])
        return error.exitCode
    }
}

/// Reads the other files that the configuration wants: those of an ensemble.
private func complete(
    _ text: String, file: String, _ overrides: [ConfigurationOverride]
) throws(ConfigurationError) -> ConfigurationDraft {
    var draft = try ConfigurationDraft(text, file: file, overrides: overrides)
    while let path = draft.wantedFile { try draft.adopt(TextFile.read(path)) }
    return draft
}
