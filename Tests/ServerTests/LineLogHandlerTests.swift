import Foundation
import Logging
import Server
import Testing

/// What a stranger sends can end up in a log line: it must stay one line, and its fields apart.
@Suite(.serialized) struct `Log lines` {
    /// What the handler writes to stderr, without the time.
    private func line(
        _ message: Logger.Message, level: Logger.Level = .info,
        _ metadata: Logger.Metadata = [:]
    ) throws -> String {
        let marker = "line-\(UUID().uuidString)"
        let file = FileManager.default.temporaryDirectory.appendingPathComponent(marker).path
        let target = open(file, O_CREAT | O_RDWR | O_TRUNC, 0o600)
        let stderr = dup(STDERR_FILENO)
        dup2(target, STDERR_FILENO)
        var logger = Logger(label: "test") { _ in LineLogHandler() }
        logger.logLevel = .trace
        logger.log(level: level, message, metadata: metadata.merging(["zz": "\(marker)"]) { $1 })
        dup2(stderr, STDERR_FILENO)
        let text = try String(contentsOfFile: file, encoding: .utf8)
        unlink(file)
        close(target)
        // Others may have written in between: their lines go where they belong.
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let ours = lines.filter { $0.contains(marker) }
        for other in lines where !other.contains(marker) && !other.isEmpty {
            let bytes = Array("\(other)\n".utf8)
            _ = write(stderr, bytes, bytes.count)
        }
        close(stderr)
        #expect(ours.count == 1)
        let whole = try #require(ours.first)
        let time = try #require(whole.split(separator: " ").first)
        #expect(time.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/) != nil)
        let rest = whole.dropFirst(time.count + 1)
        #expect(rest.hasSuffix(" zz=\(marker)"))
        return String(rest.dropLast(" zz=\(marker)".count))
    }

    @Test func `a line is level, message and fields in the order of their names`() throws {
        #expect(try line("started") == "INFO started")
        #expect(try line("odd", level: .warning) == "WARN odd")
        #expect(try line("bad", level: .error) == "ERROR bad")
        #expect(try line("hello", ["b": "2", "a": "1"]) == "INFO hello a=1 b=2")
    }

    @Test func `values with spaces or quotes are quoted, empty ones too`() throws {
        #expect(try line("m", ["k": "a b"]) == "INFO m k=\"a b\"")
        #expect(try line("m", ["k": ""]) == "INFO m k=\"\"")
        #expect(try line("m", ["k": "say \"x\""]) == #"INFO m k="say \"x\"""#)
    }

    @Test func `what is no text stays in its line`() throws {
        #expect(try line("two\nlines\r\u{0}", ["k": "a\nb=c\u{7f}"]) == "INFO two?lines?? k=a?b=c?")
        #expect(try line("caf\u{e9}", ["k": "\u{8c48}"]) == "INFO caf\u{e9} k=\u{8c48}")
    }
}
