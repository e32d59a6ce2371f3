import ClientProtocol
import Jute
import Testing
import UnitTestSupport
import Vocabulary

@Suite struct Connecting {
    private let password = [UInt8](hex: "b036ba287d9a407b0ee18afe8eafde59")

    @Test func `a response has its read-only byte only if the client sent one`() {
        func response(readOnly: Bool?) -> String {
            bytes {
                $0.appendConnectResponse(
                    timeoutMilliseconds: 10000, session: SessionID(rawValue: 0x1000_0114_40e0_0000),
                    password: password, readOnly: readOnly)
            }.hex
        }
        let fields = "00000000" + "00002710" + "1000011440e00000" + "00000010" + password.hex
        #expect(response(readOnly: nil) == "00000024" + fields)
        #expect(response(readOnly: false) == "00000025" + fields + "00")
        #expect(response(readOnly: true) == "00000025" + fields + "01")
    }

    @Test(arguments: Capture.names)
    func `captured responses are written again with the same bytes`(_ name: String) throws {
        var connected: Set<Int> = []
        var rewritten = 0
        for line in Capture.load(name)
        where line.direction == .fromServer && connected.insert(line.connection).inserted {
            var reader = PlainReader(line.payload)
            #expect(try reader.int() == 0)
            let timeout = try reader.int()
            let session = SessionID(rawValue: try reader.long())
            let password = try reader.field()
            let readOnly = reader.rest.isEmpty ? nil : try reader.bool()
            #expect(reader.rest.isEmpty)
            let again = bytes {
                $0.appendConnectResponse(
                    timeoutMilliseconds: timeout, session: session, password: password ?? [],
                    readOnly: readOnly)
            }
            #expect(again == line.frame, "\(line.note)")
            rewritten += 1
        }
        #expect(rewritten > 0)
    }

    @Test(arguments: Capture.names)
    func `captured requests are read field by field`(_ name: String) throws {
        var connected: Set<Int> = []
        for line in Capture.load(name)
        where line.direction == .fromClient && connected.insert(line.connection).inserted {
            guard line.isWhole, line.payload.count >= 28,
                line.note != "first frame: password length -2"
            else { continue }
            var plain = PlainReader(line.payload)
            let payload = line.payload
            var reader = JuteReader(payload.span)
            let request = try ConnectRequest(reading: &reader)
            #expect(request.protocolVersion == (try plain.int()))
            #expect(request.lastZxidSeen.rawValue == (try plain.long()))
            #expect(request.timeoutMilliseconds == (try plain.int()))
            #expect(request.session.rawValue == (try plain.long()))
            var password: [UInt8]?
            if let bytes = request.password { password = [UInt8](bytes) }
            #expect(password == (try plain.field()))
            #expect(request.readOnly == (plain.rest.isEmpty ? nil : try plain.bool()))
        }
    }

    private func request(_ payload: [UInt8]) -> JuteError? {
        var reader = JuteReader(payload.span)
        do throws(JuteError) {
            _ = try ConnectRequest(reading: &reader)
            return nil
        } catch {
            return error
        }
    }

    @Test func `only the read-only byte may be missing`() {
        let whole = [UInt8](repeating: 0, count: 28) + [0]
        #expect(request(whole) == nil)
        #expect(request(Array(whole.prefix(28))) == nil)
        for count in 0..<28 { #expect(request(Array(whole.prefix(count))) != nil) }
    }

    @Test func `a password may be null but not shorter than nothing`() {
        let front = [UInt8](repeating: 0, count: 24)
        #expect(request(front + [0xff, 0xff, 0xff, 0xff]) == nil)
        #expect(request(front + [0xff, 0xff, 0xff, 0xfe]) == .invalidLength(-2))
    }
}
