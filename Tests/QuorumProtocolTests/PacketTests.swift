import Jute
import QuorumProtocol
import Testing
import UnitTestSupport
import Vocabulary

@Suite struct `Quorum packets` {
    private func packet(
        data: Int32, bytes content: Int = 0, authInfo: (inout ByteBuffer) -> Void
    ) -> [UInt8] {
        bytes {
            $0.append(Int32(1))
            $0.append(Zxid.none)
            $0.append(data)
            $0.append([UInt8](repeating: 0, count: content))
            authInfo(&$0)
        }
    }

    private func measure(
        _ bytes: [UInt8], limits: JuteLimits = .default
    ) -> Result<StreamPart, QuorumProtocolError> {
        Result { () throws(QuorumProtocolError) in
            try QuorumPacket.measure(bytes.span, limits: limits)
        }
    }

    @Test func `the numbers are Apache's`() {
        let names: [Int32: QuorumPacketType] = [
            1: .request, 2: .proposal, 3: .ack, 4: .commit, 5: .ping, 6: .revalidate, 7: .sync,
            8: .inform, 9: .commitAndActivate, 10: .newLeader, 11: .followerInfo, 12: .upToDate,
            13: .diff, 14: .trunc, 15: .snap, 16: .observerInfo, 17: .leaderInfo, 18: .ackEpoch,
            19: .informAndActivate,
        ]
        for number in Int32(-2)...30 {
            #expect(QuorumPacketType(rawValue: number) == names[number])
        }
    }

    @Test func `an unknown type is read, for those who ignore it`() throws {
        let bare = bytes {
            $0.append(Int32(77))
            $0.append(Zxid(rawValue: 5))
            $0.appendNull()
            $0.appendNull()
        }
        var reader = JuteReader(bare.span)
        let packet = try QuorumPacket(reading: &reader)
        let (type, number, zxid) = (packet.type, packet.number, packet.zxid)
        #expect(type == nil)
        #expect(number == 77)
        #expect(zxid == Zxid(rawValue: 5))
    }

    @Test func `data up to the limit, not more`() {
        let limits = JuteLimits(fieldBytesMax: 100)
        let largest = packet(data: 100, bytes: 100) { $0.appendNull() }
        #expect(measure(largest, limits: limits) == .success(.whole(bytes: 120)))
        let cut = Array(largest.prefix(16))
        #expect(measure(cut, limits: limits) == .success(.needsMore(bytes: 116)))
        for length in [Int32.min, -2, 101, .max] {
            let wrong = packet(data: length) { _ in }
            #expect(
                measure(wrong, limits: limits) == .failure(.malformed(.invalidLength(length))))
        }
        let byDefault = packet(data: 2_097_150) { _ in }
        #expect(measure(byDefault) == .success(.needsMore(bytes: 2_097_166)))
        let tooLong = packet(data: 2_097_151) { _ in }
        #expect(measure(tooLong) == .failure(.malformed(.invalidLength(2_097_151))))
    }

    @Test func `identities are counted before they are awaited`() {
        let most = packet(data: -1) { $0.append(Int32(4096)) }
        #expect(measure(most) == .success(.needsMore(bytes: 24)))
        for count in [4097, Int32.max] {
            let more = packet(data: -1) { $0.append(count) }
            #expect(measure(more) == .failure(.tooManyIdentities(Int(count))))
        }
        let negative = packet(data: -1) { $0.append(Int32(-2)) }
        #expect(measure(negative) == .success(.whole(bytes: 20)))
    }

    @Test func `identities have a limit of bytes in all`() {
        let id = String(repeating: "x", count: 600_000)
        func identities(_ count: Int32) -> [UInt8] {
            packet(data: -1) {
                $0.append(count)
                for _ in 0..<count {
                    $0.appendField("digest")
                    $0.appendField(id)
                }
            }
        }
        let one = identities(1)
        #expect(measure(one) == .success(.whole(bytes: one.count)))
        #expect(measure(identities(2)) == .failure(.invalidLength(1_200_032)))
    }

    @Test func `an identity without a scheme is nobody`() throws {
        let encoded = packet(data: -1) {
            $0.append(Int32(3))
            $0.appendNull()
            $0.appendField("bob")
            $0.appendField("super")
            $0.appendNull()
            $0.appendField("ip")
            $0.appendField("127.0.0.1")
        }
        var reader = JuteReader(encoded.span)
        let packet = try QuorumPacket(reading: &reader)
        let identities = packet.authInfo.decoded()
        #expect(
            identities == [
                Identity(scheme: "super", id: ""), Identity(scheme: "ip", id: "127.0.0.1"),
            ])
    }

    @Test func `no identities and a null are different`() throws {
        for (count, expected) in [(Int32(-1), nil), (0, [])] as [(Int32, [Identity]?)] {
            let encoded = packet(data: -1) { $0.append(count) }
            var reader = JuteReader(encoded.span)
            let packet = try QuorumPacket(reading: &reader)
            let identities = packet.authInfo.decoded()
            #expect(identities == expected)
        }
    }
}

@Suite struct `Data of packets` {
    @Test func `a learner's info ends where its version ended it`() throws {
        let whole = [UInt8](hex: "0000000000000007" + "00010000" + "0000000300000001")
        for count in 0...24 {
            let data = Array((whole + [9, 9, 9, 9]).prefix(count))
            let info = try LearnerInfo(data.span)
            #expect(info.server == (count >= 8 ? ServerID(rawValue: 7) : nil))
            #expect(info.protocolVersion == (count >= 12 ? 0x10000 : nil))
            #expect(info.configVersion == (count >= 20 ? Zxid(epoch: 3, counter: 1) : nil))
        }
        #expect(try LearnerInfo(nil).server == nil)
    }

    @Test func `an int must be there, what follows is ignored`() throws {
        for count in 0..<4 {
            let cut = [UInt8](repeating: 0, count: count)
            let expected = QuorumProtocolError.malformed(.truncated(need: 4, have: count))
            #expect(throws: expected) { try LeaderInfo(cut.span) }
            #expect(throws: expected) { try AckEpoch(cut.span) }
        }
        #expect(throws: QuorumProtocolError.malformed(.unexpectedNull)) { try LeaderInfo(nil) }
        #expect(throws: QuorumProtocolError.malformed(.unexpectedNull)) { try AckEpoch(nil) }
        let long: [UInt8] = [0, 0, 0, 5, 1]
        #expect(try AckEpoch(long.span).currentEpoch == 5)
        #expect(try LeaderInfo(long.span).protocolVersion == 5)
    }

    @Test func `an epoch promised before is -1, and no other is negative`() throws {
        func read(_ epoch: Int32) throws -> Int64? {
            let data = bytes { $0.append(epoch) }
            return try AckEpoch(data.span).currentEpoch
        }
        #expect(try read(-1) == nil)
        #expect(try read(0) == 0)
        #expect(try read(.max) == Int64(Int32.max))
        #expect(throws: QuorumProtocolError.invalidEpoch(-2)) { try read(-2) }
    }

    @Test func `a leader before 3_5 has no configuration`() {
        let (none, byte): ([UInt8], [UInt8]) = ([], [0x41])
        #expect(NewLeader(nil).configuration == nil)
        #expect(NewLeader(none.span).configuration == nil)
        #expect(NewLeader(byte.span).configuration == nil)
    }

    @Test func `a request's body may be empty, its front may not be cut`() throws {
        for count in 0..<16 {
            let cut = [UInt8](repeating: 0, count: count)
            let error = failure { () throws(QuorumProtocolError) in
                _ = try ForwardedRequest(cut.span)
            }
            guard case .malformed(.truncated)? = error else {
                Issue.record("\(count) bytes were taken for a request")
                continue
            }
        }
        let front = [UInt8](repeating: 0, count: 16)
        let bytes = try ForwardedRequest(front.span).body.count
        #expect(bytes == 0)
    }

    @Test func `touched sessions are whole`() throws {
        for count in 0...36 {
            let data = [UInt8](repeating: 0, count: count)
            let error = failure { () throws(QuorumProtocolError) in
                _ = try TouchedSessions(data.span)
            }
            #expect(error == (count % 12 == 0 ? nil : .invalidLength(count)))
        }
    }

    @Test func `revalidation and activation may not be cut`() {
        for count in 0..<12 {
            let cut = [UInt8](repeating: 0, count: count)
            #expect(throws: QuorumProtocolError.self) { try RevalidateRequest(cut.span) }
            if count < 9 {
                #expect(throws: QuorumProtocolError.self) { try RevalidateReply(cut.span) }
            }
            let error = failure { () throws(QuorumProtocolError) in
                _ = try Activation(cut.span)
            }
            #expect((error == nil) == (count >= 8))
        }
    }

    @Test func `a packet that must have data says so`() throws {
        let bare = bytes { $0.appendQuorumPacket(.proposal, zxid: .zero) }
        var reader = JuteReader(bare.span)
        let packet = try QuorumPacket(reading: &reader)
        let error = failure { () throws(QuorumProtocolError) in _ = try packet.requireData() }
        #expect(error == .malformed(.unexpectedNull))
    }
}
