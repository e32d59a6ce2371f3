import Configuration
import Foundation
import Testing

/// `docs/configuration.md` and `conf/zoo_sample.cfg` say what the table of keys says.
@Suite struct DocumentationTests {
    private static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private func text(_ path: String) throws -> String {
        try String(contentsOf: Self.root.appending(path: path), encoding: .utf8)
    }

    /// With `UPDATE_DOCUMENTATION=1` in the environment, it is written instead.
    @Test func `docs/configuration.md has the table of keys`() throws {
        let begin = "<!-- The table of keys begins: make docs -->\n"
        let end = "<!-- The table of keys ends -->\n"
        let document = try text("docs/configuration.md")
        let beginRange = try #require(document.range(of: begin))
        let endRange = try #require(document.range(of: end))
        let written = String(document[beginRange.upperBound..<endRange.lowerBound])
        if ProcessInfo.processInfo.environment["UPDATE_DOCUMENTATION"] == "1" {
            let updated = document.replacingCharacters(
                in: beginRange.upperBound..<endRange.lowerBound, with: tables)
            try updated.write(
                to: Self.root.appending(path: "docs/configuration.md"), atomically: true,
                encoding: .utf8)
        } else {
            #expect(written == tables, "run `make docs`")
        }
    }

    private var tables: String {
        let sections: [(String, [ConfigurationKey])] = [
            ("Storage", ConfigurationKey.storage),
            ("Clients and sessions", ConfigurationKey.clients),
            ("Znodes", ConfigurationKey.znodes),
            ("Limits", ConfigurationKey.limits),
            ("Access", ConfigurationKey.access),
            ("Ensembles", ConfigurationKey.ensemble),
        ]
        var result = ""
        for (title, keys) in sections {
            result += "\n### \(title)\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
            for key in keys {
                let names = ([key.name] + key.aliases).map { "`\($0)`" }.joined(separator: ", ")
                result +=
                    "| \(names) | \(key.expectation) | \(key.defaultText) | \(key.summary) |\n"
            }
        }
        result += without("Known, but not implemented yet", ConfigurationKey.notImplementedYet)
        result += without("Not applicable", ConfigurationKey.notApplicable)
        return result + "\n"
    }

    /// The keys without effect, one row per reason.
    private func without(_ title: String, _ keys: [ConfigurationKey]) -> String {
        var reasons: [String] = []
        for key in keys where reasons.last != key.summary { reasons.append(key.summary) }
        var result = "\n### \(title)\n\n| keys | why |\n|---|---|\n"
        for reason in reasons {
            let names = keys.filter { $0.summary == reason }.map { "`\($0.name)`" }
            result += "| \(names.joined(separator: ", ")) | \(reason) |\n"
        }
        return result
    }

    @Test func `conf/zoo_sample.cfg is accepted without a notice`() throws {
        let sample = try ConfigurationDraft(
            text("conf/zoo_sample.cfg"), file: "conf/zoo_sample.cfg")
        #expect(sample.notices == [])
        #expect(sample.configuration.clientPort == 2181)
        #expect(sample.configuration.tickTimeMilliseconds == 2000)
        #expect(sample.configuration.dataDir == "/tmp/zookeeper")
    }

    /// What is commented out with one `#` and no space is a key.
    @Test func `conf/zoo_sample.cfg has every implemented key with its default`() throws {
        let lines = try text("conf/zoo_sample.cfg").split(separator: "\n")
        var values: [String: String] = [:]
        for line in lines where line.contains("=") && !line.hasPrefix("# ") {
            let words = line.drop { $0 == "#" }.split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            values[String(words[0])] = String(words[1])
        }
        #expect(
            values.keys.sorted() == ConfigurationKey.implemented.map(nameInSample).sorted())

        /// Whose value in the sample is not the default, but an example.
        let examples = [
            "dataDir", "dataLogDir", "clientPort", "clientPortAddress", "tickTime",
            "minSessionTimeout", "maxSessionTimeout", "jute.maxbuffer.extrasize",
            "DigestAuthenticationProvider.superDigest", "enforce.auth.schemes", "server.1",
            "group.1", "dynamicConfigFile", "initLimit", "syncLimit", "connectToLearnerMasterLimit",
        ]
        for key in ConfigurationKey.implemented {
            let name = nameInSample(key)
            let value = try #require(values[name])
            if examples.contains(name) {
                _ = try ConfigurationDraft(
                    "dataDir=/data\nclientPort=2181\n\(name)=\(value)", file: "zoo.cfg")
            } else {
                #expect(value == key.defaultText, "\(name)")
            }
        }
    }

    /// Of a family of keys, the sample has the first one.
    private func nameInSample(_ key: ConfigurationKey) -> String {
        key.name.hasSuffix("*") ? key.name.dropLast() + "1" : key.name
    }

    @Test func `conf/zoo_sample.cfg explains each key with the table's bounds`() throws {
        let lines = try text("conf/zoo_sample.cfg").components(separatedBy: "\n")
        for key in ConfigurationKey.implemented {
            let name = nameInSample(key)
            let index = try #require(
                lines.firstIndex { $0.hasPrefix("\(name)=") || $0.hasPrefix("#\(name)=") })
            let comment = lines[..<index].reversed().prefix { $0.hasPrefix("# ") }.reversed()
                .map { $0.dropFirst(2) }.joined(separator: " ")
            #expect(comment.contains(key.expectation), "\(key.name)")
        }
    }
}
