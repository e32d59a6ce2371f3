import ArgumentParser
import Configuration
import Glibc
import Logging
import Server

/// The daemon's command line.
@main
struct ZkServer: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "zkServer",
        abstract: "A coordination server that speaks Apache ZooKeeper's protocol.",
        version: ServerVersion.text,
        subcommands: [StartForeground.self])
}

struct StartForeground: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start-foreground",
        abstract: "Serve until SIGTERM; log to stderr.")

    @Argument(help: "The configuration file.")
    var configFile = "conf/zoo.cfg"

    func run() throws {
        let logger = Logger(label: "zkServer") { _ in LineLogHandler() }
        guard let text = Self.read(configFile) else {
            logger.critical(
                "cannot read the configuration",
                metadata: ["file": "\(configFile)", "reason": "\(String(cString: strerror(errno)))"])
            throw Self.exit(.badArguments)
        }
        let overrides = ["SERVER_JVMFLAGS", "JVMFLAGS"].flatMap { name in
            getenv(name).map {
                ConfigurationOverride.words(inJVMFlags: String(cString: $0), variable: name)
            } ?? []
        }
        let parsed: (configuration: ServerConfiguration, notices: [ConfigurationNotice])
        do {
            parsed = try ServerConfiguration.parse(text, file: configFile, overrides: overrides)
        } catch {
            logger.critical("bad configuration", metadata: ["reason": "\(error)"])
            throw Self.exit(.badArguments)
        }
        for notice in parsed.notices {
            logger.log(level: notice.kind == .notApplicable ? .info : .warning, "\(notice)")
        }
        throw Self.exit(Self.serve(parsed.configuration, logger))
    }

    private static func serve(
        _ configuration: ServerConfiguration, _ logger: Logger
    ) -> Server.ExitCode {
        do throws(StartError) {
            return try ZooKeeperServer(configuration, logger: logger).run()
        } catch {
            logger.critical("cannot start", metadata: ["reason": "\(error)"])
            return error.exitCode
        }
    }

    private static func exit(_ code: Server.ExitCode) -> ArgumentParser.ExitCode {
        ArgumentParser.ExitCode(code.rawValue)
    }

    private static func read(_ path: String) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while case let count = fread(&chunk, 1, chunk.count, file), count > 0 {
            bytes += chunk[..<count]
        }
        return ferror(file) == 0 ? String(decoding: bytes, as: UTF8.self) : nil
    }
}
