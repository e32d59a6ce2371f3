import Jute
import QuorumProtocol
import Testing
import UnitTestSupport
import Vocabulary

@Suite struct `Captured messages` {
    @Test(arguments: QuorumCapture.names)
    func `every message is read and written again with the same bytes`(_ name: String) throws {
        for message in QuorumCapture.load(name) {
            let again = try rewrite(message)
            #expect(again.bytes == message.bytes, "\(message.decoded)")
        }
    }

    @Test(arguments: QuorumCapture.names)
    func `the fields are those the recorder saw`(_ name: String) throws {
        for message in QuorumCapture.load(name) {
            let text = try rewrite(message).text
            if ["PROPOSAL", "INFORM", "INFORMANDACTIVATE"].contains(message.word) {
                #expect(message.decoded.hasPrefix(text), "\(text)")
            } else {
                #expect(message.decoded == text)
            }
        }
    }

    @Test func `every type of packet was among them`() {
        var types: Set<QuorumPacketType> = []
        for message in QuorumCapture.all where message.kind == .packet {
            let number = message.bytes[3]
            if let type = QuorumPacketType(rawValue: Int32(number)) { types.insert(type) }
        }
        #expect(Set(QuorumPacketType.allCases).subtracting(types) == [])
    }

    @Test func `every configuration is written again with the same text`() throws {
        var seen = 0
        for message in QuorumCapture.all {
            let text: String?
            switch message.word {
            case "notification":
                let span = message.bytes.span
                text = try ElectionNotification(span.extracting(droppingFirst: 4)).configuration
            case "NEWLEADER":
                var reader = JuteReader(message.bytes.span)
                let packet = try QuorumPacket(reading: &reader)
                text = NewLeader(packet.data).configuration
            default: continue
            }
            let configuration = try EnsembleConfiguration(try #require(text))
            #expect(configuration.text == text)
            seen += 1
        }
        #expect(seen > 100)
    }
}

/// The messages of a connection arrive in pieces that have nothing to do with their ends.
@Suite struct `Streams in pieces` {
    /// Takes messages from the front of a buffer, as a connection does.
    private struct Splitter {
        private(set) var buffered: [UInt8] = []
        private(set) var messages: [[UInt8]] = []
        private var snapshot: SnapshotStreamReader?
        private var received = ReceivedSnapshot()
        private var snapshotBytes: [UInt8] = []
        private var kind: QuorumCapture.Kind
        /// How long each message is: a reader that asks for more waits for ever.
        private let lengths: [Int]

        init(kind: QuorumCapture.Kind, lengths: [Int]) {
            self.kind = kind
            self.lengths = lengths
        }

        mutating func receive(_ piece: some Sequence<UInt8>) throws {
            buffered += piece
            while !buffered.isEmpty, try takeOne() {}
        }

        private mutating func takeOne() throws -> Bool {
            if snapshot != nil { return try takeSnapshotItems() }
            switch try measured() {
            case .needsMore(let bytes):
                #expect(bytes > buffered.count)
                #expect(bytes <= lengths[messages.count], "it waits for what never comes")
                return false
            case .whole(let bytes):
                let message = Array(buffered.prefix(bytes))
                buffered.removeFirst(bytes)
                messages.append(message)
                if kind == .initial { kind = .notification }
                if kind == .packet, message[3] == QuorumPacketType.snap.rawValue {
                    snapshot = SnapshotStreamReader()
                }
                return true
            }
        }

        private func measured() throws -> StreamPart {
            switch kind {
            case .initial: try InitialMessage.measure(buffered.span)
            case .notification: try ElectionFrame.measure(buffered.span)
            case .packet, .snapshot: try QuorumPacket.measure(buffered.span)
            }
        }

        private mutating func takeSnapshotItems() throws -> Bool {
            guard var reader = snapshot else { return false }
            var target = received
            let taken = try reader.consume(buffered.span, into: &target)
            received = target
            snapshotBytes += buffered.prefix(taken)
            buffered.removeFirst(taken)
            snapshot = reader.isFinished ? nil : reader
            if reader.isFinished { messages.append(snapshotBytes) }
            return reader.isFinished
        }
    }

    private func split(
        _ stream: [QuorumCapture], nextPiece: (Int) -> Int
    ) throws -> [[UInt8]] {
        let kind = try #require(stream.first).kind
        var splitter = Splitter(kind: kind, lengths: stream.map(\.bytes.count))
        var rest = stream.flatMap(\.bytes)[...]
        while !rest.isEmpty {
            let count = nextPiece(rest.count)
            try splitter.receive(rest.prefix(count))
            rest = rest.dropFirst(count)
        }
        #expect(splitter.buffered.isEmpty)
        return splitter.messages
    }

    @Test(arguments: [1, 7, 64])
    func `pieces of one size`(_ size: Int) throws {
        for stream in QuorumCapture.streams {
            #expect(try split(stream) { _ in size } == stream.map(\.bytes))
        }
    }

    @Test(arguments: 0..<4 as Range<UInt64>)
    func `pieces of all sizes`(_ seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for stream in QuorumCapture.streams {
            let messages = try split(stream) { _ in
                random.chance(percent: 30) ? 1 : 1 + random.below(600)
            }
            #expect(messages == stream.map(\.bytes), "seed \(seed)")
        }
    }

    @Test func `a snapshot was among them, and packets behind it`() throws {
        let snapshots = QuorumCapture.streams.filter { $0.contains { $0.kind == .snapshot } }
        #expect(snapshots.count == 3)
        for stream in snapshots { #expect(stream.last?.kind == .packet) }
    }
}
