/// What a server says of itself.
///
/// Source: ZooKeeper, `QuorumPeer.ServerState`, with the numbers of the wire.
public enum ServerState: Int32, Sendable {
    case looking = 0
    case following = 1
    case leading = 2
    case observing = 3
}
