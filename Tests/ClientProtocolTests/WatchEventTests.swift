import ClientProtocol
import Jute
import Testing
import UnitTestSupport
import Vocabulary

@Suite struct `Watch events` {
    @Test func `every captured event is written with the same bytes`() throws {
        var types: Set<WatchEventType> = []
        for line in Capture.load("watch") + Capture.load("pipeline")
        where line.direction == .fromServer && line.isWhole {
            var reader = PlainReader(line.payload)
            let (xid, zxid, error) = (try reader.int(), try reader.long(), try reader.int())
            guard xid == SpecialXid.notification else { continue }
            let (number, state, path) = (try reader.int(), try reader.int(), try reader.field())
            #expect(error == 0)
            #expect(state == 3)
            let type = try #require(WatchEventType(rawValue: number))
            types.insert(type)
            let again = bytes { buffer in
                (path ?? []).withUnsafeBytes {
                    buffer.appendWatchEvent(type, path: $0, zxid: Zxid(rawValue: zxid))
                }
            }
            #expect(again == line.frame, "\(line.note)")
        }
        #expect(types.count == 4)
    }

    @Test func `the root's event carries one slash`() {
        let frame = bytes { buffer in
            [UInt8(0x2f)].withUnsafeBytes {
                buffer.appendWatchEvent(
                    .nodeChildrenChanged, path: $0, zxid: Zxid(rawValue: 0x60))
            }
        }
        let hex =
            "0000001d" + "ffffffff" + "0000000000000060" + "00000000" + "00000004" + "00000003"
            + "00000001" + "2f"
        #expect(frame.hex == hex)
    }

    @Test func `the special xids are those of the protocol`() {
        #expect(SpecialXid.notification == -1)
        #expect(SpecialXid.ping == -2)
        #expect(SpecialXid.auth == -4)
        #expect(SpecialXid.setWatches == -8)
    }
}
