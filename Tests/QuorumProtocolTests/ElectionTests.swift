import Jute
import QuorumProtocol
import Testing
import UnitTestSupport
import Vocabulary

/// What reading throws; nil if it does not.
func failure(_ read: () throws(QuorumProtocolError) -> Void) -> QuorumProtocolError? {
    do throws(QuorumProtocolError) {
        try read()
        return nil
    } catch {
        return error
    }
}

@Suite struct `Election frames` {
    private func measure(_ length: Int32, follow: Int) -> Result<StreamPart, QuorumProtocolError> {
        let frame = bytes { $0.append(length) } + [UInt8](repeating: 0, count: follow)
        return Result { () throws(QuorumProtocolError) in try ElectionFrame.measure(frame.span) }
    }

    @Test func `a frame is as long as it says, and no longer than the limit`() {
        #expect(measure(1, follow: 5) == .success(.whole(bytes: 5)))
        #expect(measure(40, follow: 39) == .success(.needsMore(bytes: 44)))
        #expect(measure(524_288, follow: 0) == .success(.needsMore(bytes: 524_292)))
        for length in [Int32.min, -1, 0, 524_289, .max] {
            #expect(measure(length, follow: 8) == .failure(.invalidLength(Int(length))))
        }
    }

    @Test(arguments: 0..<4)
    func `a cut length is waited for`(_ count: Int) throws {
        let cut = [UInt8](repeating: 0xff, count: count)
        #expect(try ElectionFrame.measure(cut.span) == .needsMore(bytes: 4))
    }
}

@Suite struct `Election notifications` {
    private let front = "00000002" + "0000000000000003" + "0000000500000007" + "0000000000000009"

    private func read(_ hex: String) throws -> ElectionNotification {
        let message = [UInt8](hex: hex)
        return try ElectionNotification(message.span)
    }

    private func written(_ notification: ElectionNotification) -> String {
        Array(bytes { notification.append(to: &$0) }.dropFirst(4)).hex
    }

    @Test func `28 bytes have the zxid's epoch as peer epoch`() throws {
        let notification = try read(front)
        #expect(notification.state == .leading)
        #expect(notification.leader == ServerID(rawValue: 3))
        #expect(notification.zxid == Zxid(epoch: 5, counter: 7))
        #expect(notification.electionEpoch == 9)
        #expect(notification.peerEpoch == 5)
        #expect(notification.version == 0)
        #expect(notification.configuration == nil)
        #expect(written(notification) == front)
    }

    @Test func `40 bytes have a peer epoch, and a version that does not count`() throws {
        let notification = try read(front + "0000000000000006" + "00000002")
        #expect(notification.peerEpoch == 6)
        #expect(notification.version == 0)
        #expect(notification.configuration == nil)
        #expect(written(notification) == front + "0000000000000006" + "00000000")
    }

    @Test func `version 1 has no configuration, whatever follows`() throws {
        let notification = try read(front + "0000000000000006" + "00000001" + "ffffffff")
        #expect(notification.version == 1)
        #expect(notification.configuration == nil)
        #expect(written(notification) == front + "0000000000000006" + "00000001")
    }

    @Test func `version 2 has a configuration, perhaps an empty one`() throws {
        let base = front + "0000000000000006" + "00000002"
        #expect(try read(base + "00000000").configuration == "")
        #expect(try read(base + "0000000361626300").configuration == "abc")
        #expect(written(try read(base + "00000003616263")) == base + "00000003616263")
        for wrong in ["ffffffff", "80000000", "0000000361", "7fffffff61", "0000"] {
            #expect(throws: QuorumProtocolError.self) { try read(base + wrong) }
        }
    }

    @Test func `no other length is a notification`() {
        for count in Array(0..<28) + Array(29..<40) {
            let message = [UInt8](repeating: 0, count: count)
            #expect(
                failure { () throws(QuorumProtocolError) in
                    _ = try ElectionNotification(message.span)
                } == .invalidLength(count))
        }
    }

    @Test(arguments: [Int32.min, -1, 4, .max])
    func `an unknown state is read, for those who answer it`(_ state: Int32) throws {
        let notification = try read(bytes { $0.append(state) }.hex + front.dropFirst(8))
        #expect(notification.state == nil)
        #expect(notification.stateNumber == state)
    }

    @Test func `a new one has the current version`() throws {
        let notification = ElectionNotification(
            state: .looking, leader: ServerID(rawValue: .min), zxid: Zxid(rawValue: .min),
            electionEpoch: 1, peerEpoch: .min, configuration: "version=0")
        #expect(notification.version == 2)
        #expect(try read(written(notification)) == notification)
    }
}

@Suite struct `Initial messages` {
    private func message(_ version: Int64, sid: Int64, _ text: String) -> [UInt8] {
        bytes {
            $0.append(version)
            $0.append(sid)
            $0.appendField(text)
        }
    }

    private func read(_ bytes: [UInt8]) -> Result<InitialMessage, QuorumProtocolError> {
        Result { () throws(QuorumProtocolError) in
            var reader = JuteReader(bytes.span)
            return try InitialMessage(reading: &reader)
        }
    }

    private func error(_ bytes: [UInt8]) -> QuorumProtocolError? {
        guard case .failure(let error) = read(bytes) else { return nil }
        return error
    }

    @Test func `a server before 3_5 sends its id alone`() throws {
        let bare = bytes { $0.append(Int64(7)) }
        let initial = try read(bare).get()
        #expect(initial.version == .bare)
        #expect(initial.server == ServerID(rawValue: 7))
        #expect(initial.addresses.isEmpty)
        #expect(bytes { initial.append(to: &$0) } == bare)
    }

    @Test func `the second version has several addresses, the first one`() throws {
        let text = "10.0.0.1:3888|[fe80::1]:3889|host.example:3890"
        let whole = message(-65535, sid: 4, text)
        let initial = try read(whole).get()
        #expect(initial.addresses.map(\.host) == ["10.0.0.1", "fe80::1", "host.example"])
        #expect(initial.addresses.map(\.port) == [3888, 3889, 3890])
        #expect(bytes { initial.append(to: &$0) } == whole)
        #expect(InitialMessage(server: initial.server, addresses: initial.addresses) == initial)
        #expect(error(message(-65536, sid: 4, text)) == .invalidAddress(text))
        #expect(try read(message(-65535, sid: 4, "a:1")).get().version == .v2)
    }

    @Test func `nobody dials a wildcard`() throws {
        let text = "0.0.0.0:1|[::]:2|[0:0:0:0:0:0:0:0]:3|127.0.0.1:4"
        let initial = try read(message(-65535, sid: 1, text)).get()
        #expect(initial.addresses.count == 4)
        #expect(initial.dialable == [ServerAddress(host: "127.0.0.1", port: 4)])
    }

    @Test func `an anonymous observer is not a negative id`() throws {
        #expect(try read(message(-65536, sid: .max, "h:1")).get().server == .anonymousObserver)
        #expect(error(message(-65536, sid: -1, "h:1")) == .invalidServerID(-1))
    }

    @Test(arguments: [
        "host", "host:", ":1", "host:0", "host:99999", "host:65536", "host:-1", "host:1:2",
        "host:port", "[::1:1", "[::1]1", "[]:1", "::1:1", "ho st:1", "h\u{0}st:1", "h=:1",
    ])
    func `what is not an address is an error`(_ text: String) {
        #expect(error(message(-65536, sid: 1, text)) == .invalidAddress(text))
        #expect(error(message(-65535, sid: 1, "a:1|" + text)) == .invalidAddress(text))
    }

    @Test(arguments: ["|", "a:1|", "|a:1", "a:1||b:2"])
    func `between the bars are addresses`(_ text: String) {
        #expect(error(message(-65535, sid: 1, text)) == .invalidAddress(""))
    }

    @Test func `only three versions are known`() {
        for version in [Int64.min, -65537, -65534, -1] {
            #expect(error(message(version, sid: 1, "a:1")) == .unknownVersion(version))
        }
    }

    @Test func `the text has 1 to 2048 bytes`() throws {
        let longest = "a:1" + String(repeating: "|a:1", count: 511) + "5"
        #expect(longest.utf8.count == 2048)
        #expect(try read(message(-65535, sid: 1, longest)).get().addresses.count == 512)
        #expect(error(message(-65535, sid: 1, longest + "5")) == .invalidLength(2049))
        #expect(error(message(-65535, sid: 1, "")) == .invalidLength(0))
        for length in [Int32.min, -1, .max] {
            let wrong = bytes {
                $0.append(Int64(-65536))
                $0.append(Int64(1))
                $0.append(length)
            }
            #expect(error(wrong) == .invalidLength(Int(length)))
        }
    }

    @Test func `what follows is the first frame's`() throws {
        let whole = message(-65536, sid: 1, "a:1")
        #expect(try InitialMessage.measure((whole + [1, 2, 3]).span) == .whole(bytes: whole.count))
    }
}

@Suite struct `Authenticating servers` {
    private let packet = [UInt8](hex: "5f2435013501edcc" + "00000000" + "ffffffff")

    @Test func `the magic number is recognised, and only whole`() {
        #expect(QuorumAuthPacket.recognize(packet.span) == .authenticating)
        #expect(QuorumAuthPacket.magic == 0 &- Int64(bitPattern: 0xa0db_cafe_cafe_1234))
        for count in 0..<8 {
            let cut = Array(packet.prefix(count))
            #expect(QuorumAuthPacket.recognize(cut.span) == .needsMore(bytes: 8))
            var other = cut + [~packet[count]]
            #expect(QuorumAuthPacket.recognize(other.span) == .notAuthenticating)
            other += packet
            #expect(QuorumAuthPacket.recognize(other.span) == .notAuthenticating)
        }
    }

    @Test func `no captured message is taken for it`() {
        for message in QuorumCapture.all {
            #expect(QuorumAuthPacket.recognize(message.bytes.span) == .notAuthenticating)
        }
    }

    @Test func `a refusal has the status of an error and no token`() {
        let refusal = bytes { $0.appendQuorumAuthRefusal() }
        #expect(refusal.hex == "5f2435013501edcc" + "ffffffff" + "ffffffff")
    }
}
