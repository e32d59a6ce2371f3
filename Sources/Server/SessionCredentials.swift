package import Vocabulary

/// The ids and passwords of sessions.
package struct SessionIDs {
    private var next: Int64

    /// Ids of this server and this start: the server in the high byte, 40 bits of time, a counter.
    ///
    /// Deviation: the time is the wall clock's. Apache's servers use the time since boot, which can
    /// give out an id twice after a reboot.
    /// Source: ZooKeeper, `SessionTrackerImpl.initializeNextSessionId`.
    ///
    /// `time`: milliseconds since 1970.
    package init(server: ServerID, time: Int64) {
        let timeBits = (UInt64(bitPattern: time) << 24) >> 8
        next = Int64(bitPattern: timeBits) | server.rawValue << 56
        if next == .min { next += 1 }
    }

    package mutating func take() -> SessionID {
        defer { next &+= 1 }
        return SessionID(rawValue: next)
    }
}

extension SessionID {
    /// The password that goes with the id: every server of every ensemble derives the same one, so
    /// a client can go on with its session anywhere. It keeps honest clients apart, no more.
    ///
    /// Source: ZooKeeper, `ZooKeeperServer.generatePasswd`: Java's `Random`, seeded with the id.
    package var password: [UInt8] {
        let mask: UInt64 = (1 << 48) - 1
        var state = (UInt64(bitPattern: rawValue ^ 0xB341_5C00) ^ 0x5_DEEC_E66D) & mask
        var bytes: [UInt8] = []
        for _ in 0..<4 {
            state = (state &* 0x5_DEEC_E66D &+ 0xB) & mask
            let word = UInt32(truncatingIfNeeded: state >> 16)
            for shift in [0, 8, 16, 24] {
                bytes.append(UInt8(truncatingIfNeeded: word >> UInt32(shift)))
            }
        }
        return bytes
    }
}
