import Jute
import QuorumProtocol
import Testing
import Transactions
import UnitTestSupport
import Vocabulary

/// A message after it was read: written again from its fields, and told as the recorder told it.
struct Rewritten {
    var bytes: [UInt8]
    var text: String
}

/// Reads a whole message with the types of its kind. Nothing may be left over.
func rewrite(_ message: QuorumCapture) throws -> Rewritten {
    let source = message.bytes
    switch message.kind {
    case .initial:
        var reader = JuteReader(source.span)
        let initial = try InitialMessage(reading: &reader)
        #expect(reader.remaining == 0)
        let version = initial.version == .v1 ? "-65536" : "\(initial.version)"
        let addresses = initial.addresses.map(\.description).joined(separator: "|")
        return Rewritten(
            bytes: bytes { initial.append(to: &$0) },
            text: "initial: version=\(version) sid=\(initial.server.rawValue) addrs='\(addresses)'")
    case .notification:
        #expect(try ElectionFrame.measure(source.span) == .whole(bytes: source.count))
        let notification = try ElectionNotification(source.span.extracting(droppingFirst: 4))
        return Rewritten(
            bytes: bytes { notification.append(to: &$0) }, text: told(notification))
    case .packet:
        var reader = JuteReader(source.span)
        let packet = try QuorumPacket(reading: &reader)
        #expect(reader.remaining == 0)
        return try rewrite(packet)
    case .snapshot:
        var snapshot = ReceivedSnapshot()
        var reader = SnapshotStreamReader()
        #expect(try reader.consume(source.span, into: &snapshot) == source.count)
        #expect(reader.isFinished)
        #expect(reader.nodes == snapshot.nodes.count)
        return Rewritten(
            bytes: bytes { snapshot.append(to: &$0) },
            text: "snapshot stream: \(reader.nodes) nodes, then signature")
    }
}

private func told(_ notification: ElectionNotification) -> String {
    let leader = notification.leader.rawValue
    let state = notification.state.map { "\($0)".uppercased() } ?? "unknown"
    return "notification state=\(state) leader=\(leader < 0 ? hex(leader) : "\(leader)")"
        + " zxid=\(notification.zxid) electionEpoch=\(hex(notification.electionEpoch))"
        + " peerEpoch=\(hex(notification.peerEpoch)) version=\(notification.version)"
        + " config=\(quoted(notification.configuration ?? "none"))"
}

private func hex(_ number: Int64) -> String { "0x" + Zxid(rawValue: number).hex }

private func quoted(_ text: String) -> String {
    "'" + text.split(separator: "\n").joined(separator: "\\n") + "'"
}

/// Reads the data with the type for it. Identities other than a request's are nobody's.
private func rewrite(_ packet: borrowing QuorumPacket) throws -> Rewritten {
    let known = packet.type
    let type = try #require(known)
    let zxid = packet.zxid
    if type != .request { #expect(packet.authInfo.decoded() == nil) }
    var out = ByteBuffer()
    let fields = try append(packet, type, to: &out)
    let name = "\(type)".uppercased()
    return Rewritten(
        bytes: [UInt8](out.span),
        text: "\(name) zxid=\(zxid)" + (fields.isEmpty ? "" : " ") + fields)
}

/// - Returns: what the recorder says behind the zxid.
private func append(
    _ packet: borrowing QuorumPacket, _ type: QuorumPacketType, to out: inout ByteBuffer
) throws -> String {
    let zxid = packet.zxid
    switch type {
    case .ack, .commit, .sync, .diff, .trunc, .snap, .upToDate:
        let hasData = packet.data != nil
        #expect(!hasData)
        if type == .upToDate {
            out.appendUpToDate()
        } else {
            out.appendQuorumPacket(type, zxid: zxid)
        }
        return ""
    case .followerInfo, .observerInfo:
        let info = try LearnerInfo(packet.data)
        let server = try #require(info.server)
        let config = try #require(info.configVersion)
        #expect(info.protocolVersion == quorumProtocolVersion)
        out.appendLearnerInfo(
            isObserver: type == .observerInfo, acceptedEpoch: zxid.epoch, server: server,
            configVersion: config)
        return "LearnerInfo(sid=\(server.rawValue) proto=0x10000 config=\(config))"
    case .leaderInfo:
        #expect(try LeaderInfo(packet.data).protocolVersion == quorumProtocolVersion)
        out.appendLeaderInfo(newEpoch: zxid.epoch)
        return "leaderProto=0x10000"
    case .ackEpoch:
        let epoch = try AckEpoch(packet.data).currentEpoch
        out.appendAckEpoch(lastZxid: zxid, currentEpoch: epoch)
        return "currentEpoch=\(epoch ?? -1)"
    case .newLeader:
        let configuration = NewLeader(packet.data).configuration
        let text = try #require(configuration)
        out.appendNewLeader(epoch: zxid.epoch, configuration: text)
        return "config=\(quoted(text))"
    case .proposal, .inform:
        let txn = try packet.requireData()
        out.appendQuorumPacket(type, zxid: zxid, data: txn)
        return try told(txn: txn, zxid: zxid)
    case .request: return try appendRequest(packet, to: &out)
    case .ping: return try appendPing(packet, to: &out)
    case .revalidate: return try appendRevalidate(packet, to: &out)
    case .commitAndActivate:
        let activation = try Activation(try packet.requireData())
        let (leader, rest) = (activation.designatedLeader, activation.txn.count)
        #expect(rest == 0)
        out.appendCommitAndActivate(zxid: zxid, designatedLeader: leader)
        return "designated=\(leader.rawValue)"
    case .informAndActivate:
        let activation = try Activation(try packet.requireData())
        let leader = activation.designatedLeader
        out.appendInformAndActivate(zxid: zxid, designatedLeader: leader, txn: activation.txn)
        return "designated=\(leader.rawValue) " + (try told(txn: activation.txn, zxid: zxid))
    }
}

private func appendRequest(
    _ packet: borrowing QuorumPacket, to out: inout ByteBuffer
) throws -> String {
    let request = try ForwardedRequest(try packet.requireData())
    let (session, cxid, type) = (request.session, request.cxid, request.type)
    let identities = packet.authInfo.decoded()
    out.appendRequest(
        session: session, cxid: cxid, type: type, body: request.body, identities: identities)
    let verbatim = out.count
    out.appendRequest(
        session: session, cxid: cxid, type: type, body: request.body, authInfo: packet.authInfo)
    let both = [UInt8](out.span)
    #expect(both.prefix(verbatim) == both.dropFirst(verbatim), "relaying changes a request")
    out.truncate(to: verbatim)
    let auth = identities.map { list in
        " auth=[" + list.map { "('\($0.scheme)', '\($0.id)')" }.joined(separator: ", ") + "]"
    }
    return "session=\(session) cxid=\(cxid) op=\(type) body=\([UInt8](request.body).hex)"
        + (auth ?? "")
}

private func appendPing(_ packet: borrowing QuorumPacket, to out: inout ByteBuffer) throws -> String
{
    guard let data = packet.data else {
        out.appendQuorumPacket(.ping, zxid: packet.zxid)
        return "data=null"
    }
    let ping = out.beginPing(zxid: packet.zxid)
    var told: [String] = []
    var sessions = try TouchedSessions(data)
    while let (session, timeout) = sessions.next() {
        out.appendTouched(session, timeoutMilliseconds: timeout)
        told.append("('\(session)', \(timeout))")
    }
    out.endQuorumPacket(ping)
    return "sessions=[" + told.joined(separator: ", ") + "]"
}

/// A learner's has 12 bytes, a leader's 9.
private func appendRevalidate(
    _ packet: borrowing QuorumPacket, to out: inout ByteBuffer
) throws -> String {
    let data = try packet.requireData()
    if data.count == 12 {
        let request = try RevalidateRequest(data)
        out.appendRevalidate(
            request.session, timeoutMilliseconds: request.timeoutMilliseconds)
        return "session=\(request.session) timeout=\(request.timeoutMilliseconds)"
    }
    let reply = try RevalidateReply(data)
    out.appendRevalidateReply(reply.session, isValid: reply.isValid)
    return "session=\(reply.session) valid=\(reply.isValid ? "True" : "False")"
}

/// The header of a txn. What follows it belongs to the tests of transactions.
private func told(txn: Span<UInt8>, zxid: Zxid) throws -> String {
    var reader = JuteReader(txn)
    let header = try TxnHeader(reading: &reader)
    #expect(header.zxid == zxid)
    return "{'clientId': \(header.session.rawValue), 'cxid': \(header.cxid),"
        + " 'zxid': \(header.zxid.rawValue), 'time': \(header.time), 'type': '\(header.type)'}"
}
