// The table of the keys that have an effect: name, type, unit, bounds, default, meaning.
//
// Source: ZooKeeper, `QuorumPeerConfig.parseProperties` and the properties named in its
// administrator's guide.

private import QuorumProtocol

private let int32Max = Int(Int32.max)

extension ConfigurationKey {
    package static let implemented = storage + clients + znodes + limits + access + ensemble

    package static let storage = [
        ConfigurationKey(
            "dataDir", path(\.dataDir), derivedDefault: "required", "Where the snapshots are."),
        ConfigurationKey(
            "dataLogDir", path(\.dataLogDir), derivedDefault: "dataDir",
            "Where the transaction logs are; best on a disk of its own."),
        ConfigurationKey(
            "datadir.autocreate", .boolean(\.dataDirAutocreate),
            "Create missing data directories at start."),
        ConfigurationKey(
            "db.autocreate", .boolean(\.dbAutocreate),
            "False: do not start a new database in empty directories without a file `initialize`"
                + " in `dataLogDir`."),
        ConfigurationKey(
            "snapCount", .integer(\.snapCount, .count, 2...int32Max, raised: true),
            "Transactions between two snapshots: a random number from half of this to this."),
        ConfigurationKey(
            "snapSizeLimitInKb", .integer(\.snapSizeLimitKilobytes, .kilobytes, -1...int32Max),
            "Log size between two snapshots, drawn in the same way; 0 or -1: no limit."),
        ConfigurationKey(
            "preAllocSize", .integer(\.preAllocKilobytes, .kilobytes, 0...int32Max),
            "The step in which a log file grows ahead of its content; 0: not ahead."),
        ConfigurationKey(
            "txnLogSizeLimitInKb", .integer(\.txnLogSizeLimitKilobytes, .kilobytes, -1...int32Max),
            "The size at which a new log file begins; 0 or -1: only a snapshot begins one."),
        ConfigurationKey(
            "forceSync", .boolean(\.forceSync, .yesNo),
            "Flush a write to the disk before it is acknowledged."),
        ConfigurationKey(
            "fsync.warningthresholdms",
            .integer(\.fsyncWarningThresholdMilliseconds, .milliseconds, 0...int32Max),
            "A flush that takes longer is logged."),
        ConfigurationKey(
            "autopurge.snapRetainCount",
            .integer(\.snapRetainCount, .count, 3...int32Max, raised: true),
            "Snapshots that a purge leaves, with the logs they need."),
        ConfigurationKey(
            "autopurge.purgeInterval",
            .other(
                expectation: "a whole number of hours from -1 to 596523, or one from 0 with the"
                    + " unit ms, s, m, h or d",
                defaultText: "0", assign: assignPurgeInterval),
            "Time between two purges of old snapshots and logs; 0 or -1: never."),
        ConfigurationKey(
            "snapshot.compression.method",
            .other(
                expectation: "gz or nothing (snappy snapshots are read, but not written)",
                defaultText: "", assign: assignSnapshotCompression),
            "How new snapshots are compressed; `gz` and snappy ones are always read."),
        ConfigurationKey(
            "snapshot.trust.empty", .boolean(\.snapshotTrustEmpty),
            "Accept a data directory with transaction logs but without any snapshot."),
        ConfigurationKey(
            "serializeLastProcessedZxid.enabled", .boolean(\.serializeLastProcessedZxid),
            "Write the last zxid at the end of each snapshot, as 3.9 does."),
        ConfigurationKey(
            "digest.enabled", .boolean(\.digestEnabled),
            "Keep the digest of the tree in transactions and snapshots, and compare it."),
    ]

    package static let clients = [
        ConfigurationKey(
            "clientPort",
            .other(
                expectation: "a port from 0 to 65535", defaultText: "",
                assign: { value, configuration in
                    guard let port = wholeNumber(value).flatMap(UInt16.init(exactly:)) else {
                        return false
                    }
                    configuration.clientPort = port
                    return true
                }),
            "The TCP port for clients; 0: a free one, which the log names."),
        ConfigurationKey(
            "clientPortAddress",
            .other(
                expectation: "a host name or an IP address", defaultText: "",
                assign: { value, configuration in
                    let isBracketed = value.hasPrefix("[") && value.hasSuffix("]")
                    let address = isBracketed ? String(value.dropFirst().dropLast()) : value
                    guard !address.isEmpty, !address.contains(where: \.isWhitespace) else {
                        return false
                    }
                    configuration.clientPortAddress = address
                    return true
                }),
            "The address to listen on; without it, all."),
        ConfigurationKey(
            "clientPortListenBacklog", .integer(\.clientPortListenBacklog, .count, -1...int32Max),
            "Connections that may wait to be accepted; -1: the kernel's limit."),
        ConfigurationKey(
            "tickTime", .integer(\.tickTimeMilliseconds, .milliseconds, 1...int32Max),
            "The unit of session expiry."),
        ConfigurationKey(
            "minSessionTimeout",
            .integer(\.minSessionTimeoutMilliseconds, .milliseconds, -1...int32Max),
            derivedDefault: "2 × tickTime",
            "The shortest session timeout a client gets; -1: the default."),
        ConfigurationKey(
            "maxSessionTimeout",
            .integer(\.maxSessionTimeoutMilliseconds, .milliseconds, -1...int32Max),
            derivedDefault: "20 × tickTime",
            "The longest session timeout a client gets; -1: the default."),
        ConfigurationKey(
            "maxClientCnxns", .integer(\.maxClientCnxns, .count, -1...int32Max),
            "Connections from one address; 0 or -1: no limit."),
        ConfigurationKey(
            "maxCnxns", .integer(\.maxCnxns, .count, -1...int32Max),
            "Connections in all; 0 or -1: no limit."),
        ConfigurationKey(
            "nio.sessionlessCnxnTimeout",
            .integer(\.sessionlessTimeoutMilliseconds, .milliseconds, 1...int32Max),
            "A connection without a session is closed after this time."),
        ConfigurationKey(
            "clientTcpKeepAlive", .boolean(\.clientTcpKeepAlive),
            "TCP keep-alive on client connections."),
        ConfigurationKey(
            "closeSessionTxn.enabled", .boolean(\.closeSessionTxnEnabled),
            "List the ephemeral znodes in the transaction that closes a session, as 3.6 and newer"
                + " do."),
        ConfigurationKey(
            "4lw.commands.whitelist",
            .other(
                expectation: "four-letter words with commas between them, or *",
                defaultText: "srvr", assign: assignFourLetterWords),
            "The four-letter words that are answered; `*`: all; `srvr` always is."),
    ]

    package static let znodes = [
        ConfigurationKey(
            "extendedTypesEnabled", .boolean(\.extendedTypesEnabled), "Allow znodes with a TTL."),
        ConfigurationKey(
            "znode.container.checkIntervalMs",
            .integer(\.containerCheckIntervalMilliseconds, .milliseconds, 1...int32Max),
            "Time between two looks for containers and TTL znodes to remove."),
        ConfigurationKey(
            "znode.container.maxPerMinute",
            .integer(\.containerMaxPerMinute, .count, 1...int32Max),
            "Containers and TTL znodes removed per minute, at most."),
        ConfigurationKey(
            "znode.container.maxNeverUsedIntervalMs",
            .integer(\.containerMaxNeverUsedIntervalMilliseconds, .milliseconds, 0...int32Max),
            "A container that never had a child is removed after this time; 0: kept."),
        ConfigurationKey(
            "enforceQuota", .boolean(\.enforceQuota), "Refuse writes over a hard quota."),
        ConfigurationKey(
            "reconfigEnabled", .boolean(\.reconfigEnabled),
            "Allow `reconfig` requests; a standalone server has no ensemble to change."),
    ]

    package static let limits = [
        ConfigurationKey(
            "jute.maxbuffer", .integer(\.juteMaxBufferBytes, .bytes, 1024...int32Max),
            "The longest request; a longer one ends its connection."),
        ConfigurationKey(
            "jute.maxbuffer.extrasize",
            .integer(
                \.juteMaxBufferExtraBytes, .bytes,
                ServerConfiguration.juteMaxBufferExtraBytesMin...int32Max, raised: true),
            derivedDefault: "jute.maxbuffer",
            "What a record read from the disk may have beyond `jute.maxbuffer`."),
        ConfigurationKey(
            "globalOutstandingLimit", .integer(\.globalOutstandingLimit, .count, 1...int32Max),
            "Requests in progress; at the limit the server reads no further ones."),
        ConfigurationKey(
            "connection_throttle_tokens", aliases: ["connectionMaxTokens"],
            .integer(\.connectionThrottleTokens, .count, 0...int32Max),
            "Sessions that begin or go on take a token each from a bucket of this size; 0: no bucket."
        ),
        ConfigurationKey(
            "connection_throttle_fill_time", aliases: ["connectionTokenFillTime"],
            .integer(\.connectionThrottleFillTimeMilliseconds, .milliseconds, 1...int32Max),
            "Time between two fillings of the bucket."),
        ConfigurationKey(
            "connection_throttle_fill_count", aliases: ["connectionTokenFillCount"],
            .integer(\.connectionThrottleFillCount, .count, 1...int32Max),
            "Tokens that a filling adds."),
        ConfigurationKey(
            "connection_throttle_weight_enabled", .boolean(\.connectionThrottleWeightEnabled),
            "Sessions take as many tokens as they weigh; the bucket and its fillings then count in"
                + " global sessions."),
        ConfigurationKey(
            "connection_throttle_global_session_weight",
            .integer(\.globalSessionWeight, .count, 1...int32Max),
            "What a new global session weighs; at least as much as a local one."),
        ConfigurationKey(
            "connection_throttle_local_session_weight",
            .integer(\.localSessionWeight, .count, 1...int32Max),
            "What a new local session weighs."),
        ConfigurationKey(
            "connection_throttle_renew_session_weight",
            .integer(\.renewedSessionWeight, .count, 1...int32Max),
            "What a session weighs that goes on; at least as much as a local one."),
    ]

    package static let access = [
        ConfigurationKey("skipACL", .boolean(\.skipACL, .yesNo), "Do not check ACLs."),
        ConfigurationKey(
            "DigestAuthenticationProvider.enabled", .boolean(\.digestAuthEnabled),
            "Offer the `digest` scheme."),
        ConfigurationKey(
            "DigestAuthenticationProvider.digestAlg",
            .other(
                expectation: "one of "
                    + DigestAlgorithm.allCases.map(\.rawValue).joined(separator: ", "),
                defaultText: DigestAlgorithm.sha1.rawValue,
                assign: { value, configuration in
                    guard let algorithm = DigestAlgorithm(javaName: value) else { return false }
                    configuration.digestAlgorithm = algorithm
                    return true
                }),
            "The hash of the `digest` scheme; the same on all servers, or ACLs stop matching."),
        ConfigurationKey(
            "DigestAuthenticationProvider.superDigest",
            .other(
                expectation: "user:hash, as the digest scheme stores it", defaultText: "",
                assign: { value, configuration in
                    let parts = value.split(separator: ":", omittingEmptySubsequences: false)
                    guard parts.count == 2, !parts[1].isEmpty else { return false }
                    configuration.superDigest = value
                    return true
                }),
            isSecret: true, "Who authenticates as this user may do everything."),
        ConfigurationKey(
            "enforce.auth.enabled", .boolean(\.enforceAuthEnabled),
            "Serve only clients that authenticated with a scheme of `enforce.auth.schemes`."),
        ConfigurationKey(
            "enforce.auth.schemes",
            .other(
                expectation: "schemes with commas between them", defaultText: "",
                assign: { value, configuration in
                    configuration.enforceAuthSchemes = commaSeparated(value)
                    return true
                }),
            "The schemes that `enforce.auth.enabled` accepts: `digest`, `ip`."),
        ConfigurationKey(
            "sessionRequireClientSASLAuth",
            .other(
                expectation: "false (SASL is not implemented yet, so no client could be served)",
                defaultText: "false", assign: { value, _ in value.lowercased() == "false" }),
            "Serve only clients that authenticated with SASL; only `false` is accepted."),
    ]
}

private func path(_ field: ConfigurationKey.Field<String>) -> ConfigurationKey.Setting {
    .other(
        expectation: "the path of a directory", defaultText: "",
        assign: { value, configuration in
            guard !value.isEmpty, !value.utf8.contains(0) else { return false }
            configuration[keyPath: field] = value
            return true
        })
}

private func commaSeparated(_ value: String) -> [String] {
    value.split(separator: ",").map(\.trimmed).filter { !$0.isEmpty }
}

private func assignSnapshotCompression(
    _ value: String, _ configuration: inout ServerConfiguration
) -> Bool {
    switch value {
    case "": configuration.snapshotCompression = .none
    case "gz": configuration.snapshotCompression = .gzip
    default: return false
    }
    return true
}

private func assignFourLetterWords(
    _ value: String, _ configuration: inout ServerConfiguration
) -> Bool {
    let words = commaSeparated(value)
    configuration.fourLetterWordsWhitelist = words.contains("*") ? .all : .words(Set(words))
    return true
}

/// Hours without a unit, as in 3.9; the units are those of 3.10.
private func assignPurgeInterval(
    _ value: String, _ configuration: inout ServerConfiguration
) -> Bool {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
    let unit = units.first { value.hasSuffix($0.0) }
    let digits = unit.map { value.dropLast($0.0.count).trimmed } ?? value
    let millisecondsMax = 596_523 * 3_600_000
    // A hexadecimal number could end in the letter of a unit.
    guard let count = wholeNumber(digits), !digits.lowercased().contains("x"),
        count >= (unit == nil ? -1 : 0)
    else { return false }
    let (milliseconds, hasOverflown) = count.multipliedReportingOverflow(by: unit?.1 ?? 3_600_000)
    guard !hasOverflown, milliseconds <= millisecondsMax else { return false }
    configuration.purgeInterval = .milliseconds(max(0, milliseconds))
    return true
}
