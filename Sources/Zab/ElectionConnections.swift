package import Vocabulary

/// Decides which of two servers' connections on the election port stays: there is exactly one
/// between a pair of servers, and the server with the larger id has dialed it.
///
/// Both dial when they start. Without one rule for both, each could close the connection that the
/// other keeps, for ever:
/// 1. Servers 1 and 2 dial each other at once.
/// 2. Server 1 sees that 2 is larger and closes what it dialed; server 2 closes what it accepted
///    and dials, unless it has already.
/// 3. What 2 dialed is left, and both keep it.
///
/// Source: ZooKeeper, `QuorumCnxManager.startConnection`, `handleConnection`.
package enum ElectionConnections {
    package enum Decision: Equatable {
        /// This is the connection to the peer now; an older one is closed.
        case keep
        /// The peer will dial.
        case close
        /// Close this one and an older one too, then dial the peer.
        case closeAndDial
    }

    /// After our dialing succeeded and the initial message was sent.
    package static func afterDialing(_ peer: ServerID, from own: ServerID) -> Decision {
        peer < own ? .keep : .close
    }

    /// After a connection came in and said who it is. Unnamed observers are given negative ids,
    /// which are smaller than any server's.
    package static func afterAccepting(_ peer: ServerID, at own: ServerID) -> Decision {
        if peer == own { return .close }  // A second server with our id: nobody to talk to.
        return peer > own ? .keep : .closeAndDial
    }
}
