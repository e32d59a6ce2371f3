/// A key of the configuration: its name, what it may be, and what it sets. `docs/configuration.md`
/// is this, written out.
package struct ConfigurationKey: Sendable {
    package enum Status: Sendable {
        case implemented
        /// Known to Apache ZooKeeper; accepted with one notice and without effect.
        case notImplementedYet
        /// Tunes something that this server does not have; accepted with one notice.
        case notApplicable
    }

    typealias Field<Value> = any WritableKeyPath<ServerConfiguration, Value> & Sendable

    enum Setting: Sendable {
        /// `raised`: a value below the bounds counts as the lower bound.
        case integer(Field<Int>, Unit = .count, ClosedRange<Int>, raised: Bool = false)
        case boolean(Field<Bool>, BooleanWords = .trueFalse)
        /// Anything else. `assign` answers false when the value is not what `expectation` says.
        case other(
            expectation: String, defaultText: String,
            assign: @Sendable (String, inout ServerConfiguration) -> Bool)
        /// A part of the list of servers, which is read as a whole after all keys.
        case serverList(expectation: String, defaultText: String = "")
        case nothing
    }

    enum Unit: String, Sendable {
        case count = ""
        case milliseconds = " of milliseconds"
        case kilobytes = " of kilobytes (1024 bytes)"
        case bytes = " of bytes"
        /// Of `tickTime`.
        case ticks = " of ticks"
    }

    /// The words for true and false, compared without case.
    enum BooleanWords: Sendable {
        case trueFalse
        /// Where Apache ZooKeeper wants them.
        case yesNo

        var words: (true: String, false: String) {
            switch self {
            case .trueFalse: ("true", "false")
            case .yesNo: ("yes", "no")
            }
        }
    }

    /// Without the prefix `zookeeper.`. One that ends in `*` stands for all keys that begin so.
    package let name: String
    /// Other spellings, of Apache's documentation or source.
    package let aliases: [String]
    package let status: Status
    let setting: Setting
    /// Derived from another key: how, for the documentation.
    private let derivedDefault: String?
    /// One sentence on what it does, or on why it does nothing.
    package let summary: String
    /// Its value is never repeated in a message.
    let isSecret: Bool

    init(
        _ name: String, aliases: [String] = [], _ setting: Setting,
        derivedDefault: String? = nil, isSecret: Bool = false, _ summary: String
    ) {
        self.name = name
        self.aliases = aliases
        self.status = .implemented
        self.setting = setting
        self.derivedDefault = derivedDefault
        self.summary = summary
        self.isSecret = isSecret
    }

    init(_ name: String, aliases: [String] = [], _ status: Status, _ summary: String) {
        precondition(status != .implemented, "an implemented key sets something")
        self.name = name
        self.aliases = aliases
        self.status = status
        self.setting = .nothing
        self.derivedDefault = nil
        self.summary = summary
        self.isSecret = false
    }

    /// Type, unit and bounds: `a whole number of milliseconds from 1 to 2147483647`.
    package var expectation: String {
        switch setting {
        case .integer(_, let unit, let bounds, let raised):
            raised
                ? "a whole number\(unit.rawValue) up to \(bounds.upperBound)"
                    + " (less than \(bounds.lowerBound) counts as \(bounds.lowerBound))"
                : "a whole number\(unit.rawValue) from \(bounds.lowerBound) to \(bounds.upperBound)"
        case .boolean(_, let words): "\(words.words.true) or \(words.words.false)"
        case .other(let expectation, _, _), .serverList(let expectation, _): expectation
        case .nothing: ""
        }
    }

    /// What holds when the key is absent, as one would write it; empty: nothing.
    package var defaultText: String {
        if let derivedDefault { return derivedDefault }
        let defaults = ServerConfiguration(dataDir: "")
        switch setting {
        case .integer(let field, _, _, _): return String(defaults[keyPath: field])
        case .boolean(let field, let words):
            return defaults[keyPath: field] ? words.words.true : words.words.false
        case .other(_, let defaultText, _), .serverList(_, let defaultText): return defaultText
        case .nothing: return ""
        }
    }

    enum Assignment: Equatable {
        case done
        /// The value was below the bounds; the lower bound counts.
        case raised(to: Int)
        case badValue
    }

    func assign(_ value: String, to configuration: inout ServerConfiguration) -> Assignment {
        switch setting {
        case .integer(let field, _, let bounds, let raised):
            guard let number = wholeNumber(value), number <= bounds.upperBound else {
                return .badValue
            }
            if number >= bounds.lowerBound {
                configuration[keyPath: field] = number
                return .done
            }
            guard raised else { return .badValue }
            configuration[keyPath: field] = bounds.lowerBound
            return .raised(to: bounds.lowerBound)
        case .boolean(let field, let words):
            switch value.lowercased() {
            case words.words.true: configuration[keyPath: field] = true
            case words.words.false: configuration[keyPath: field] = false
            default: return .badValue
            }
            return .done
        case .other(_, _, let assign): return assign(value, &configuration) ? .done : .badValue
        case .serverList, .nothing: return .done
        }
    }

    var isOfServerList: Bool {
        if case .serverList = setting { true } else { false }
    }
}

/// Decimal, or hexadecimal after `0x`; a sign may come first. A leading zero is refused: Apache
/// ZooKeeper reads such a number as octal for some keys and as decimal for others.
func wholeNumber(_ text: String) -> Int? {
    var digits = Substring(text)
    let isNegative = digits.hasPrefix("-")
    if isNegative || digits.hasPrefix("+") { digits.removeFirst() }
    var radix = 10
    if digits.hasPrefix("0x") || digits.hasPrefix("0X") {
        digits.removeFirst(2)
        radix = 16
    } else if digits.count > 1, digits.first == "0" {
        return nil
    }
    guard digits.first?.isHexDigit == true else { return nil }
    return Int((isNegative ? "-" : "") + digits, radix: radix)
}
