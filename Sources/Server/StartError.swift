package import EventLoop
internal import Glibc
package import Storage
package import Zab

/// How the process ends. Source: ZooKeeper, `ExitCode`.
package enum ExitCode: Int32, Sendable {
    case ok = 0
    case unexpected = 1
    case badArguments = 2
    case dataDirectoryInaccessible = 3
    /// A write or flush of the transaction log failed.
    case storageFailed = 10
}

/// Ends the process at once: nothing more is written, sent or acknowledged.
func exitProcess(_ code: ExitCode) -> Never { _exit(code.rawValue) }

/// Why the server does not serve.
package enum StartError: Error, CustomStringConvertible {
    case loop(UVError)
    case storage(StorageError)
    case noClientPort
    /// The data directory is empty, and `db.autocreate=false` wants a file `initialize` there.
    case notInitialized
    case listen(String?, UInt16, UVError)
    /// The groups and weights of the servers make no quorum.
    case noQuorum(QuorumVerifier.Fault)
    /// The port for elections.
    case listenForServers([String], UVError)

    package var description: String {
        switch self {
        case .loop(let error): "the event loop cannot be set up: \(error)"
        case .storage(let error): "\(error)"
        case .noClientPort: "clientPort is not set: clients could not connect"
        case .notInitialized:
            "the data directory is empty, and db.autocreate=false asks for a file `initialize`"
                + " in dataLogDir before a new database begins"
        case .listen(let address, let port, let error):
            "cannot listen on \(address ?? "*"):\(port): \(error)"
        case .noQuorum(let fault): "the servers can never agree: \(fault)"
        case .listenForServers(let addresses, let error):
            "cannot listen for elections on \(addresses.joined(separator: ", ")): \(error)"
        }
    }

    package var exitCode: ExitCode {
        switch self {
        case .storage, .notInitialized: .dataDirectoryInaccessible
        case .loop, .noClientPort, .listen, .noQuorum, .listenForServers: .unexpected
        }
    }
}

/// What clients and tools see as the version: they parse the first two numbers.
package enum ServerVersion {
    package static let number = "3.9.3-aviary-0.1.0"
    package static let built = "2026-11-21 00:00 UTC"
    package static let text = "\(number), built on \(built)"
}
