import Ensemble
import Jute
import QuorumProtocol
import Vocabulary

/// What travels on a connection.
enum Chunk {
    case bytes([UInt8])
    case notification(ElectionNotification)
    case request(ClientMessage)
    case reply(ServerMessage)
    /// The other end has closed, or is gone.
    case end
}

/// Who is at an end of a connection.
enum Party: Equatable {
    case server(Int)
    case client(Int)
}

/// A stream of each direction: what is sent arrives in its order, late, or with the connection not
/// at all. A cut line keeps it back; its ends need not notice.
final class Connection {
    struct End {
        let party: Party
        /// Of the server: a restarted one knows nothing of it.
        let incarnation: Int
        var isOpen = true
        /// On its way to this end.
        var incoming: [Chunk] = []
        /// So many of them wait for a line to be mended.
        var stalled = 0
        /// When the last one arrives.
        var lastArrival = 0
        var link: QuorumLink?
    }

    enum Kind { case election, quorum, client }

    let id: Int
    let kind: Kind
    var ends: [End]

    init(id: Int, kind: Kind, ends: [End]) {
        self.id = id
        self.kind = kind
        self.ends = ends
    }

    /// Which end this is.
    func side(_ party: Party) -> Int { ends[0].party == party ? 0 : 1 }
}

/// What clients say to servers.
enum ClientMessage {
    case connect(SessionID, lastZxidSeen: Zxid, timeoutMilliseconds: Int32)
    case request(cxid: Int32, ClientRequest)
    case ping
}

enum ClientRequest {
    case write(OpCode, body: [UInt8])
    case read(path: Int, watch: Bool)
    case sync
    case close
}

enum ServerMessage {
    /// No session: the one that was asked for is over.
    case connected(SessionID)
    case written(cxid: Int32, Zxid, ErrorCode)
    case read(cxid: Int32, Zxid, value: Int64?, version: Int32)
    case synced(cxid: Int32, Zxid)
    case fired(path: Int, Zxid)
}
