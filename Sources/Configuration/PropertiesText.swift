// Decides how the text of a configuration file falls into keys and values: exactly as Java reads a
// properties file, so that a file that Apache ZooKeeper reads means the same here.
//
// Source: Java, `Properties.load`, `Properties.LineReader`.
// Deviation: a backslash alone at the end of the text is nothing; in Java, a key without letters.

/// The entries of a properties file, in the order of the text.
package struct PropertiesText {
    package struct Entry: Equatable, Sendable {
        package var key: String
        package var value: String
        /// The lines of the entry; the first line of the text is 1.
        package var lines: ClosedRange<Int>
    }

    /// A `\u` without four hexadecimal digits after it.
    package struct MalformedEscape: Error, Equatable {
        package var line: Int

        package init(line: Int) { self.line = line }
    }

    /// Duplicates are all there; the last one counts.
    package static func entries(of text: String) throws(MalformedEscape) -> [Entry] {
        var reader = LogicalLineReader(text)
        var entries: [Entry] = []
        while let (units, lines) = reader.next() {
            entries.append(try entry(units, lines: lines))
        }
        return entries
    }

    /// The key ends at the first `=`, `:` or white space without a backslash before it. White space
    /// around one separator belongs to neither side; white space at the end belongs to the value.
    private static func entry(
        _ units: [UInt16], lines: ClosedRange<Int>
    ) throws(MalformedEscape) -> Entry {
        var keyEnd = 0
        var isEscaped = false
        while keyEnd < units.count {
            let unit = units[keyEnd]
            if !isEscaped, Unit.isSeparator(unit) || Unit.isBlank(unit) { break }
            isEscaped = unit == Unit.backslash && !isEscaped
            keyEnd += 1
        }
        var valueStart = keyEnd
        var hasSeparator = false
        while valueStart < units.count {
            let unit = units[valueStart]
            if Unit.isSeparator(unit), !hasSeparator {
                hasSeparator = true
            } else if !Unit.isBlank(unit) {
                break
            }
            valueStart += 1
        }
        return Entry(
            key: try unescaped(units[..<keyEnd], line: lines.lowerBound),
            value: try unescaped(units[valueStart...], line: lines.lowerBound), lines: lines)
    }

    /// A value as it must be written to be read as `value`, which neither begins nor ends with
    /// white space.
    static func escaped(_ value: String) -> String {
        var result = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func unescaped(
        _ units: ArraySlice<UInt16>, line: Int
    ) throws(MalformedEscape) -> String {
        var result: [UInt16] = []
        var rest = units
        while let unit = rest.popFirst() {
            guard unit == Unit.backslash, let escape = rest.popFirst() else {
                result.append(unit)
                continue
            }
            switch escape {
            case Unit.n: result.append(Unit.lineFeed)
            case Unit.r: result.append(Unit.carriageReturn)
            case Unit.t: result.append(Unit.tab)
            case Unit.f: result.append(Unit.formFeed)
            case Unit.u:
                let digits = rest.prefix(4).compactMap(Unit.hexadecimalValue)
                guard digits.count == 4 else { throw MalformedEscape(line: line) }
                result.append(digits.reduce(0) { $0 << 4 | $1 })
                rest = rest.dropFirst(4)
            default: result.append(escape)
            }
        }
        // Two escapes can be the two halves of one character, hence the UTF-16 until here.
        return String(decoding: result, as: UTF16.self)
    }
}

/// Joins continued lines and drops comments and blank lines.
private struct LogicalLineReader {
    private let units: [UInt16]
    private var index = 0
    private var lineNumber = 1

    init(_ text: String) { units = Array(text.utf16) }

    mutating func next() -> (units: [UInt16], lines: ClosedRange<Int>)? {
        var logical: [UInt16] = []
        var firstLine = lineNumber
        var isInIndent = true
        var isContinued = false
        /// The line ends in an odd number of backslashes so far.
        var isEscaped = false
        while index < units.count {
            let unit = units[index]
            if isInIndent, Unit.isBlank(unit) {
                index += 1
                continue
            }
            isInIndent = false
            if Unit.isLineEnd(unit) {
                let lastLine = lineNumber
                consumeLineEnd()
                if logical.isEmpty || isEscaped {
                    // An empty line after a continued one ends it, one before an entry is skipped.
                    if isEscaped { logical.removeLast() }
                    (isInIndent, isContinued, isEscaped) = (true, isEscaped, false)
                    continue
                }
                return (logical, firstLine...lastLine)
            }
            if logical.isEmpty {
                if Unit.isCommentStart(unit) {
                    skipToLineEnd()
                    continue
                }
                if !isContinued { firstLine = lineNumber }
            }
            logical.append(unit)
            isEscaped = unit == Unit.backslash && !isEscaped
            index += 1
        }
        if isEscaped { logical.removeLast() }
        return logical.isEmpty ? nil : (logical, firstLine...lineNumber)
    }

    private mutating func skipToLineEnd() {
        while index < units.count, !Unit.isLineEnd(units[index]) { index += 1 }
    }

    /// `\n`, `\r` and `\r\n` are each one line end.
    private mutating func consumeLineEnd() {
        let isCarriageReturn = units[index] == Unit.carriageReturn
        index += 1
        if isCarriageReturn, index < units.count, units[index] == Unit.lineFeed { index += 1 }
        lineNumber += 1
    }
}

private enum Unit {
    static let tab: UInt16 = 0x09
    static let lineFeed: UInt16 = 0x0a
    static let formFeed: UInt16 = 0x0c
    static let carriageReturn: UInt16 = 0x0d
    static let backslash: UInt16 = 0x5c
    static let f: UInt16 = 0x66
    static let n: UInt16 = 0x6e
    static let r: UInt16 = 0x72
    static let t: UInt16 = 0x74
    static let u: UInt16 = 0x75

    static func isBlank(_ unit: UInt16) -> Bool {
        unit == 0x20 || unit == tab || unit == formFeed
    }
    static func isLineEnd(_ unit: UInt16) -> Bool { unit == lineFeed || unit == carriageReturn }
    /// `=` or `:`
    static func isSeparator(_ unit: UInt16) -> Bool { unit == 0x3d || unit == 0x3a }
    /// `#` or `!`
    static func isCommentStart(_ unit: UInt16) -> Bool { unit == 0x23 || unit == 0x21 }

    static func hexadecimalValue(_ unit: UInt16) -> UInt16? {
        switch unit {
        case 0x30...0x39: unit - 0x30
        case 0x41...0x46: unit - 0x41 + 10
        case 0x61...0x66: unit - 0x61 + 10
        default: nil
        }
    }
}
