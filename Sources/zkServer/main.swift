import Configuration
import Glibc
import Logging
import Server

// The daemon's command line. One verb and one file need no library: the one that other tools use
// brings Foundation's code and tables along, megabytes of an idle server's memory.

let usage = """
    usage: zkServer start-foreground [CFG]
           zkServer version | help

      start-foreground  serve until SIGTERM, and log to stderr; CFG is conf/zoo.cfg unless given

    """

let arguments = CommandLine.arguments.dropFirst()
let verb = arguments.first ?? "help"
let status: ExitCode
switch (verb, arguments.count) {
case ("start-foreground", 1...2):
    status = serve(configFile: arguments.dropFirst().first ?? "conf/zoo.cfg")
case ("version", 1), ("--version", 1):
    print(ServerVersion.text)
    status = .ok
case ("help", 0...1), ("--help", 1), ("-h", 1):
    print(usage, terminator: "")
    status = .ok
default:
    let message = "zkServer: cannot make sense of: \(arguments.joined(separator: " "))\n" + usage
    _ = message.withCString { write(STDERR_FILENO, $0, strlen($0)) }
    status = .badArguments
}
exit(status.rawValue)
