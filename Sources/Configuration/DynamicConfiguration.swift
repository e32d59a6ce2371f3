package import QuorumProtocol
package import Vocabulary

/// The files that a reconfig writes beside the configuration file: their names and texts. Each must
/// be written under another name, flushed and renamed.
///
/// Source: ZooKeeper, `QuorumPeerConfig.writeDynamicConfig`, `editStaticConfig`.
package enum DynamicConfiguration {
    /// `zoo.cfg.dynamic.100000003`: the active list of servers. `base` is the path of `zoo.cfg`.
    package static func fileName(base: String, version: Zxid) -> String {
        "\(base).dynamic.\(version.hex)"
    }

    /// `zoo.cfg.dynamic.next`: a list that was proposed and is not active yet.
    package static func nextFileName(base: String) -> String { "\(base).dynamic.next" }

    /// `zoo.cfg.bak`: the file as its author left it, before a reconfig moves the servers away.
    package static func backupFileName(base: String) -> String { "\(base).bak" }

    /// The version of the list in a file: the number that its name ends in, else 0.
    package static func version(inFileName path: String) -> Zxid {
        guard let dot = path.lastIndex(of: "."),
            let number = Int64(path[path.index(after: dot)...], radix: 16), number >= 0
        else { return .zero }
        return Zxid(rawValue: number)
    }

    /// The text of the file with the active list. It does not say the version, its name does.
    package static func text(of members: EnsembleConfiguration) -> String {
        sortedLines(of: members.textWithoutVersion)
    }

    /// The text of the file with the list that is not active yet, with its version.
    package static func nextText(of members: EnsembleConfiguration) -> String {
        sortedLines(of: members.text)
    }

    /// Apache sorts the lines as text: `server.10` stands before `server.2`.
    private static func sortedLines(of text: String) -> String {
        text.split(separator: "\n").sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            .joined(separator: "\n")
    }

    /// The text of `zoo.cfg` after a reconfig: without the list of servers, with the path of the
    /// file that has it now. Comments and all other keys stay as they are.
    ///
    /// - Parameters:
    ///   - text: of `zoo.cfg`, until now.
    ///   - file: its path, for messages.
    ///   - dynamicFile: the path of the file with the list; an absolute one.
    ///   - keepsClientPort: false if the list says where this server serves clients.
    /// - Returns: the text to write.
    /// - Throws: `ConfigurationError` if the text cannot be split into keys.
    package static func staticText(
        _ text: String, file: String, dynamicFile: String, keepsClientPort: Bool
    ) throws(ConfigurationError) -> String {
        var moved: Set<Int> = []
        for item in try ConfigurationItem.items(of: text, file: file) {
            let moves: Bool =
                switch item.name {
                case "dynamicConfigFile", "peerType": true
                case "clientPort", "clientPortAddress": !keepsClientPort
                // Nobody looks at it any more, and Apache leaves it.
                case "version": false
                default: item.entry?.isOfServerList == true
                }
            if moves, let lines = item.lines { moved.formUnion(lines) }
        }
        var lines = text.split(omittingEmptySubsequences: false) {
            $0 == "\n" || $0 == "\r" || $0 == "\r\n"
        }
        .enumerated().filter { !moved.contains($0.offset + 1) }.map { String($0.element) }
        if lines.last == "" { lines.removeLast() }
        // The next line would belong to it.
        if lines.last?.hasSuffix("\\") == true { lines.append("") }
        lines.append("dynamicConfigFile=" + PropertiesText.escaped(dynamicFile))
        return lines.joined(separator: "\n") + "\n"
    }
}
