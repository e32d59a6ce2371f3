import Jute
import Testing
import UnitTestSupport

@Suite struct `Byte buffers` {
    /// What is not copyable cannot stand in an expectation itself.
    private final class Held {
        var buffer: ByteBuffer

        init(capacity: Int = 0) { buffer = ByteBuffer(capacity: capacity) }

        var contents: [UInt8] { Array(buffer.bytes) }
        var count: Int { buffer.count }
        var capacity: Int { buffer.capacity }
        var isEmpty: Bool { buffer.isEmpty }
        func load<T: FixedWidthInteger>(_: T.Type, at offset: Int) -> T {
            buffer.load(T.self, at: offset)
        }
    }

    @Test func `an empty buffer holds no memory`() {
        let held = Held()
        #expect(held.capacity == 0)
        #expect(held.isEmpty)
        let (bytes, span) = (held.buffer.bytes.count, held.buffer.span.count)
        #expect(bytes == 0)
        #expect(span == 0)
    }

    @Test func `growing keeps what was written`() {
        let held = Held()
        var twin: [UInt8] = []
        var random = SeededGenerator(seed: 1)
        for _ in 0..<2000 {
            let more = random.bytes(atMost: 70)
            held.buffer.append(more)
            twin += more
        }
        #expect(held.contents == twin)
        #expect(held.count == twin.count)
        #expect(held.capacity >= twin.count)
    }

    @Test func `room that is reserved counts once it is filled`() {
        let held = Held()
        held.buffer.append(UInt8(1))
        let room = held.buffer.reserve(1000)
        #expect(held.count == 1)
        room.storeBytes(of: 7, as: UInt8.self)
        held.buffer.advance(by: 1)
        #expect(held.contents == [1, 7])
    }

    @Test func `removing from the front moves the rest`() {
        let held = Held()
        held.buffer.append([1, 2, 3, 4, 5])
        held.buffer.removeFirst(0)
        #expect(held.contents == [1, 2, 3, 4, 5])
        held.buffer.removeFirst(2)
        #expect(held.contents == [3, 4, 5])
        held.buffer.append(UInt8(6))
        held.buffer.removeFirst(3)
        #expect(held.contents == [6])
        held.buffer.removeFirst(1)
        #expect(held.isEmpty)
    }

    @Test func `truncating forgets the end only`() {
        let held = Held()
        held.buffer.append([1, 2, 3])
        held.buffer.truncate(to: 3)
        held.buffer.truncate(to: 1)
        held.buffer.append(UInt8(9))
        #expect(held.contents == [1, 9])
        held.buffer.truncate(to: 0)
        #expect(held.isEmpty)
    }

    @Test func `taking leaves an empty buffer that can be used again`() {
        let held = Held()
        held.buffer.append([1, 2])
        let taken = Held()
        taken.buffer = held.buffer.take()
        #expect(taken.contents == [1, 2])
        #expect(held.isEmpty)
        #expect(held.capacity == 0)
        held.buffer.append(UInt8(3))
        #expect(held.contents == [3])
        #expect(taken.contents == [1, 2])
    }

    @Test func `removing all keeps the memory, unless there is too much of it`() {
        let held = Held(capacity: 100)
        held.buffer.append([1, 2])
        held.buffer.removeAll()
        #expect(held.isEmpty)
        #expect(held.capacity == 100)
        held.buffer.removeAll(keepingAtMost: 100)
        #expect(held.capacity == 100)
        held.buffer.removeAll(keepingAtMost: 99)
        #expect(held.capacity == 0)
        held.buffer.append(UInt8(4))
        #expect(held.contents == [4])
    }

    @Test func `integers can be written over and read again`() {
        let held = Held()
        held.buffer.append(UInt8(0xaa))
        held.buffer.append(Int32(0))
        held.buffer.append(Int64(-5))
        held.buffer.overwrite(Int32(0x0102_0304), at: 1)
        #expect(held.contents.hex == "aa01020304fffffffffffffffb")
        #expect(held.load(Int32.self, at: 1) == 0x0102_0304)
        #expect(held.load(Int64.self, at: 5) == -5)
        #expect(held.load(UInt8.self, at: 0) == 0xaa)
    }

    @Test func `text is appended as its UTF-8`() {
        #expect(bytes { $0.append(utf8: "a\u{e9}") } == [0x61, 0xc3, 0xa9])
        #expect(bytes { $0.append(utf8: "") } == [])
    }
}
