import Server
import Testing
import UnitTestSupport
import Vocabulary

/// ZooKeeper: `ZooKeeperServer.generatePasswd`, `SessionTrackerImpl.initializeNextSessionId`.
@Suite struct `Session credentials` {
    @Test func `every captured session has the password that we derive`() throws {
        var compared = 0
        for name in Capture.names {
            for line in Capture.load(name) where line.direction == .fromServer {
                var reader = PlainReader(line.payload)
                guard try reader.int() == 0, try reader.int() > 0 else { continue }
                let session = SessionID(rawValue: try reader.long())
                guard let password = try? reader.field(), password.count == 16,
                    session.rawValue >> 56 == 1
                else { continue }
                #expect(session.password == password, "\(name): \(session)")
                compared += 1
            }
        }
        #expect(compared > 40)
    }

    @Test func `ids that differ in one bit have passwords that differ`() {
        let id = SessionID(rawValue: 0x0100_0114_40e0_0000)
        for bit in 0..<48 {
            let other = SessionID(rawValue: id.rawValue ^ 1 << bit)
            #expect(other.password != id.password)
        }
        #expect(SessionID.none.password.count == 16)
        #expect(SessionID(rawValue: -1).password.count == 16)
    }

    @Test func `an id begins with the server, then 40 bits of time, then a counter`() {
        var ids = SessionIDs(server: ServerID(rawValue: 1), time: 0x0123_4567_89ab_cdef)
        #expect(ids.take() == SessionID(rawValue: 0x0167_89ab_cdef_0000))
        #expect(ids.take() == SessionID(rawValue: 0x0167_89ab_cdef_0001))
        var high = SessionIDs(server: ServerID(rawValue: 254), time: 0)
        #expect(UInt64(bitPattern: high.take().rawValue) == 0xfe00_0000_0000_0000)
    }

    @Test func `the id that means a container is not given out`() {
        var ids = SessionIDs(server: ServerID(rawValue: 128), time: 0)
        #expect(ids.take() == SessionID(rawValue: .min + 1))
    }
}
