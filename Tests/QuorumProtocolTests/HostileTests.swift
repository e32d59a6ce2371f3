import Jute
import QuorumProtocol
import Testing
import UnitTestSupport
import Vocabulary

/// No bytes from a stranger trap, and no cut message passes for a whole one.
@Suite struct `Hostile peers` {
    @Test(arguments: QuorumCapture.samples.map(\.word).uniqued)
    func `every truncation is noticed`(_ word: String) throws {
        for sample in QuorumCapture.samples where sample.word == word {
            for count in 0..<sample.bytes.count {
                try expectCut(sample, at: count)
            }
        }
    }

    private func expectCut(_ sample: QuorumCapture, at count: Int) throws {
        let cut = Array(sample.bytes.prefix(count))
        let place: Comment = "\(sample.word) cut at \(count)"
        switch sample.kind {
        case .initial:
            #expect(needed(try InitialMessage.measure(cut.span), behind: cut, of: sample), place)
            var reader = JuteReader(cut.span)
            #expect(throws: QuorumProtocolError.self, place) {
                try InitialMessage(reading: &reader)
            }
        case .notification:
            #expect(needed(try ElectionFrame.measure(cut.span), behind: cut, of: sample), place)
            let message = Array(cut.dropFirst(4))
            // Cut there it is a whole message of an older server.
            guard message.count != 28, message.count != 40 else { return }
            #expect(throws: QuorumProtocolError.self, place) {
                try ElectionNotification(message.span)
            }
        case .packet:
            #expect(needed(try QuorumPacket.measure(cut.span), behind: cut, of: sample), place)
            let error = failure { () throws(QuorumProtocolError) in
                var reader = JuteReader(cut.span)
                _ = try QuorumPacket(reading: &reader)
            }
            #expect(error != nil, place)
        case .snapshot:
            var snapshot = ReceivedSnapshot()
            var reader = SnapshotStreamReader()
            #expect(try reader.consume(cut.span, into: &snapshot) <= count, place)
            #expect(!reader.isFinished, place)
        }
    }

    private func needed(_ part: StreamPart, behind cut: [UInt8], of sample: QuorumCapture) -> Bool {
        guard case .needsMore(let bytes) = part else { return false }
        return bytes > cut.count && bytes <= sample.bytes.count
    }

    @Test func `a changed byte is read or refused, never more than the limit awaited`() {
        let packetBytesMax = 16 + 2_097_150 + AuthInfoField.bytesMax + 2 * 2_097_150
        var outcomes = (whole: 0, cut: 0, refused: 0)
        for sample in QuorumCapture.samples {
            for index in sample.bytes.indices {
                for value in [0, 0x7f, 0x80, 0xff, ~sample.bytes[index]] as [UInt8] {
                    var changed = sample.bytes
                    changed[index] = value
                    switch read(changed, as: sample.kind) {
                    case .success(.whole(let bytes)):
                        #expect(bytes <= changed.count)
                        outcomes.whole += 1
                    case .success(.needsMore(let bytes)):
                        #expect(bytes > changed.count && bytes <= packetBytesMax)
                        outcomes.cut += 1
                    case .failure: outcomes.refused += 1
                    }
                }
            }
        }
        #expect(outcomes.whole > 1000)
        #expect(outcomes.cut > 100)
        #expect(outcomes.refused > 100)
    }

    @Test(arguments: 0..<8 as Range<UInt64>)
    func `noise is read or refused`(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<2000 {
            // Small numbers make counts and lengths that lead deeper than noise does.
            let isSmall = random.chance(percent: 70)
            let noise = random.bytes(atMost: 200).map { isSmall ? $0 & 0x80 == 0 ? 0 : $0 & 7 : $0 }
            for kind in [.initial, .notification, .packet, .snapshot] as [QuorumCapture.Kind] {
                if case .success(.whole(let bytes)) = read(noise, as: kind) {
                    #expect(bytes <= noise.count, "seed \(seed)")
                }
            }
        }
    }

    /// Reads bytes and all that can be read of what is in them.
    private func read(
        _ bytes: [UInt8], as kind: QuorumCapture.Kind
    ) -> Result<StreamPart, QuorumProtocolError> {
        Result { () throws(QuorumProtocolError) in
            switch kind {
            case .initial: return try InitialMessage.measure(bytes.span)
            case .notification:
                let part = try ElectionFrame.measure(bytes.span)
                guard case .whole(let count) = part else { return part }
                let notification = try ElectionNotification(bytes.span.extracting(4..<count))
                readConfiguration(notification.configuration ?? "")
                return part
            case .packet:
                let part = try QuorumPacket.measure(bytes.span)
                guard case .whole = part else { return part }
                var reader = JuteReader(bytes.span)
                let packet = try QuorumPacket(reading: &reader)
                _ = packet.authInfo.decoded()
                try readAll(packet)
                return part
            case .snapshot:
                var snapshot = ReceivedSnapshot()
                var reader = SnapshotStreamReader()
                let taken = try reader.consume(bytes.span, into: &snapshot)
                return reader.isFinished ? .whole(bytes: taken) : .needsMore(bytes: bytes.count + 1)
            }
        }
    }

    private func readAll(_ packet: borrowing QuorumPacket) throws(QuorumProtocolError) {
        _ = try LearnerInfo(packet.data)
        readConfiguration(NewLeader(packet.data).configuration ?? "")
        guard let data = packet.data else { return }
        _ = failure { () throws(QuorumProtocolError) in _ = try LeaderInfo(data) }
        _ = failure { () throws(QuorumProtocolError) in _ = try AckEpoch(data) }
        _ = failure { () throws(QuorumProtocolError) in _ = try ForwardedRequest(data) }
        _ = failure { () throws(QuorumProtocolError) in _ = try RevalidateRequest(data) }
        _ = failure { () throws(QuorumProtocolError) in _ = try RevalidateReply(data) }
        _ = failure { () throws(QuorumProtocolError) in _ = try Activation(data) }
        _ = failure { () throws(QuorumProtocolError) in
            var sessions = try TouchedSessions(data)
            while sessions.next() != nil {}
        }
    }

    /// What can be read can be written and read again.
    private func readConfiguration(_ text: String) {
        guard let configuration = try? EnsembleConfiguration(text) else { return }
        #expect((try? EnsembleConfiguration(configuration.text)) == configuration)
    }
}

extension Array where Element: Hashable {
    fileprivate var uniqued: [Element] {
        var seen: Set<Element> = []
        return filter { seen.insert($0).inserted }
    }
}
