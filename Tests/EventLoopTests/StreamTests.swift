import EventLoop
import Glibc
import Jute
import Testing

/// A listener whose connections share one recorder.
private final class Server {
    let loop: EventLoop
    let recorder = Recorder()
    private(set) var streams: [Stream] = []
    private(set) var listener: Listener?
    var port: UInt16 { listener?.port ?? 0 }

    init(host: String? = "127.0.0.1") throws {
        loop = try EventLoop()
        listener = try Listener(loop: loop, host: host, port: 0, backlog: 128) { [unowned self] in
            $0.delegate = recorder
            streams.append($0)
            $0.startReading()
        }
    }

    /// The next connection's stream.
    func accepted(_ count: Int = 1) throws -> Stream {
        #expect(loop.run { self.streams.count >= count })
        return try #require(streams.last)
    }

    func end() {
        listener?.close()
        for stream in streams { stream.close() }
        let count = streams.count
        #expect(loop.run { self.recorder.closed == count })
    }
}

private func pattern(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ ($0 >> 8) &* 17) }
}

@Suite(.serialized) struct StreamTests {
    @Test func `what a client sends comes back through the echo of the server`() throws {
        let server = try Server()
        server.recorder.keepsBytes = false
        server.recorder.onReceive = { stream, bytes in
            stream.output.append(bytes)
            stream.markDirty()
        }
        let client = try server.loop.connectNow(port: server.port)
        let recorder = Recorder()
        client.delegate = recorder
        client.startReading()
        let message = pattern(300_000)
        client.output.append(message)
        client.markDirty()
        #expect(server.loop.run { recorder.received.count >= message.count })
        #expect(recorder.received == message)
        #expect(client.peer.description == "/127.0.0.1:\(server.port)")
        client.close()
        #expect(server.loop.run { server.recorder.closed == 1 && recorder.closed == 1 })
        #expect(server.recorder.ended == 1 && server.recorder.endError == nil)
        server.end()
    }

    @Test func `output appended in one turn leaves in one piece`() throws {
        let server = try Server()
        let client = try RawClient(port: server.port)
        let stream = try server.accepted()
        for part in 0..<100 {
            stream.output.append(UInt8(part))
            stream.markDirty()
            stream.markDirty()
        }
        #expect(stream.unsentBytes == 100)
        var pieces: [[UInt8]] = []
        #expect(
            server.loop.run {
                if let piece = client.receiveNow() { pieces.append(piece) }
                return !pieces.isEmpty
            })
        #expect(pieces == [(0..<100).map { UInt8($0) }])
        #expect(stream.unsentBytes == 0)
        client.close()
        server.end()
    }

    @Test func `a slow reader gets every byte in order and the stream says when it is drained`()
        throws
    {
        let server = try Server()
        let client = try RawClient(port: server.port)
        let stream = try server.accepted()
        let message = pattern(20_000_000)
        stream.output.append(message)
        stream.markDirty()
        // A second part queues up behind the write that is under way.
        #expect(server.loop.run { stream.output.isEmpty })
        #expect(stream.unsentBytes > 0)
        stream.output.append(message)
        stream.markDirty()
        #expect(stream.unsentBytes > message.count)
        #expect(server.recorder.drained == 0)
        var got: [UInt8] = []
        #expect(
            server.loop.run {
                if let piece = client.receiveNow() { got += piece }
                return got.count >= 2 * message.count
            })
        #expect(got == message + message)
        #expect(server.loop.run { server.recorder.drained > 0 })
        #expect(stream.unsentBytes == 0)
        // A large buffer is not kept for later.
        #expect(stream.output.capacity <= 262_144)
        client.close()
        server.end()
    }

    @Test func `an idle stream gives its output memory back`() throws {
        let server = try Server()
        let client = try RawClient(port: server.port)
        let stream = try server.accepted()
        stream.output.append(pattern(20_000))
        stream.markDirty()
        #expect(server.loop.run { stream.output.isEmpty })
        #expect(stream.output.capacity >= 20_000)
        #expect(server.loop.run { stream.output.capacity == 0 })
        client.close()
        server.end()
    }

    @Test func `close inside the receive callback ends the calls`() throws {
        let server = try Server()
        server.recorder.onReceive = { stream, _ in
            stream.output.append([1, 2, 3])
            stream.markDirty()
            stream.close()
            stream.close()
            stream.markDirty()
        }
        let client = try RawClient(port: server.port)
        _ = try server.accepted()
        client.send(pattern(200_000))
        #expect(server.loop.run { server.recorder.closed == 1 })
        #expect(server.recorder.receivedBytes <= 65_536)
        #expect(server.recorder.ended == 0)
        client.close()
        server.end()
    }

    @Test func `close inside the end callback is safe while a write is under way`() throws {
        let server = try Server()
        let client = try RawClient(port: server.port)
        let stream = try server.accepted()
        stream.output.append(pattern(20_000_000))
        stream.markDirty()
        #expect(server.loop.run { stream.output.isEmpty })
        client.reset()
        #expect(server.loop.run { server.recorder.closed == 1 })
        #expect(server.recorder.ended == 1)
        #expect(
            server.recorder.endError?.name == "ECONNRESET"
                || server.recorder.endError?.name == "EPIPE")
        server.end()
    }

    @Test func `closeAfterFlush delivers everything although the peer goes on sending`() throws {
        let server = try Server()
        let message = pattern(8_000_000)
        server.recorder.onReceive = { stream, _ in
            guard !stream.isClosing else { return }
            stream.output.append(message)
            stream.closeAfterFlush()
        }
        let client = try RawClient(port: server.port)
        _ = try server.accepted()
        client.send([1])
        var got: [UInt8] = []
        var sawEnd = false
        #expect(
            server.loop.run {
                // Unread bytes at the server are what turns a plain close into a reset.
                if !sawEnd { client.send([2]) }
                if let piece = client.receiveNow() {
                    got += piece
                    sawEnd = sawEnd || piece.isEmpty
                }
                return sawEnd
            })
        #expect(got == message)
        #expect(server.recorder.closed == 0)
        client.close()
        #expect(server.loop.run { server.recorder.closed == 1 })
        #expect(server.recorder.ended == 0)
        server.end()
    }

    @Test func `a peer that never ends its side is closed after a while`() throws {
        let server = try Server()
        let client = try RawClient(port: server.port)
        let stream = try server.accepted()
        stream.closeAfterFlush()
        #expect(server.loop.run { server.recorder.closed == 1 })
        client.close()
        server.end()
    }

    @Test func `closeAfterFlush on a stream whose peer has ended still sends what is queued`()
        throws
    {
        let server = try Server()
        server.recorder.onEnd = { stream in
            stream.output.append([7, 8, 9])
            stream.closeAfterFlush()
        }
        let client = try RawClient(port: server.port)
        _ = try server.accepted()
        client.end()
        #expect(server.loop.run { server.recorder.closed == 1 })
        #expect(client.receiveNow() == [7, 8, 9])
        #expect(client.receiveNow() == [])
        client.close()
        server.end()
    }

    @Test func `a paused stream leaves the bytes with the kernel until it reads again`() throws {
        let server = try Server()
        let client = try RawClient(port: server.port)
        let stream = try server.accepted()
        stream.pauseReading()
        client.send([1, 2, 3])
        var turns = 0
        #expect(
            server.loop.run {
                turns += 1
                return turns > 20
            })
        #expect(server.recorder.received.isEmpty)
        stream.startReading()
        #expect(server.loop.run { server.recorder.received == [1, 2, 3] })
        client.close()
        server.end()
    }

    @Test func `a thousand connections opened and closed leave no object behind`() throws {
        final class WeakStream {
            weak var stream: Stream?
            init(_ stream: Stream) { self.stream = stream }
        }
        weak var loopReference: EventLoop?
        var references: [WeakStream] = []
        weak var lastRecorder: Recorder?
        do {
            let loop = try EventLoop()
            loopReference = loop
            var accepted = 0
            var closed = 0
            let listener = try Listener(loop: loop, host: "127.0.0.1", port: 0, backlog: 1024) {
                let recorder = Recorder()
                lastRecorder = recorder
                $0.delegate = recorder
                references.append(WeakStream($0))
                accepted += 1
                recorder.onReceive = { stream, bytes in
                    stream.output.append(bytes)
                    stream.closeAfterFlush()
                }
                $0.startReading()
            }
            for _ in 0..<10 {
                for _ in 0..<100 {
                    loop.connect(host: "127.0.0.1", port: listener.port) { result in
                        guard case .success(let stream) = result else { return }
                        let recorder = Recorder()
                        stream.delegate = recorder
                        references.append(WeakStream(stream))
                        recorder.onEnd = {
                            closed += 1
                            $0.close()
                        }
                        stream.output.append([1])
                        stream.markDirty()
                        stream.startReading()
                    }
                }
                let wanted = closed + 100
                #expect(loop.run { closed == wanted })
            }
            #expect(accepted == 1000)
            listener.close()
            #expect(loop.run { references.allSatisfy { $0.stream == nil } })
        }
        #expect(references.count == 2000)
        #expect(lastRecorder == nil)
        #expect(loopReference == nil)
    }
}

@Suite(.serialized) struct ListenerTests {
    @Test func `without a host it serves IPv4 and IPv6 on one port`() throws {
        let server = try Server(host: nil)
        let v4 = try server.loop.connectNow(port: server.port)
        let stream = try server.accepted()
        #expect(stream.peer.host == "127.0.0.1")
        #expect(!stream.peer.isIPv6)
        #expect(stream.peer.bytes == [127, 0, 0, 1])
        let v6 = try server.loop.connectNow(port: server.port, host: "::1")
        let second = try server.accepted(2)
        #expect(second.peer.host == "0:0:0:0:0:0:0:1")
        #expect(second.peer.description == "/[0:0:0:0:0:0:0:1]:\(second.peer.port)")
        #expect(second.peer.bytes == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        v4.close()
        v6.close()
        server.end()
    }

    @Test func `a port in use is refused by name`() throws {
        let server = try Server()
        #expect(throws: UVError(code: -EADDRINUSE)) {
            _ = try Listener(loop: server.loop, host: "127.0.0.1", port: server.port, backlog: 1) {
                _ in
            }
        }
        #expect(throws: UVError(code: -EADDRINUSE)) {
            _ = try Listener(loop: server.loop, host: nil, port: server.port, backlog: 1) { _ in }
        }
        server.end()
    }

    @Test func `nobody listening is a failed connection`() throws {
        let loop = try EventLoop()
        let listener = try Listener(loop: loop, host: "127.0.0.1", port: 0, backlog: 1) {
            $0.close()
        }
        let port = listener.port
        listener.close()
        #expect(throws: UVError(code: -ECONNREFUSED)) { try loop.connectNow(port: port) }
    }

    /// In a process of its own: it takes every descriptor there is.
    @Test func `out of descriptors it refuses connections, says so and goes on afterwards`() async {
        await #expect(processExitsWith: .success) {
            let server = try Server()
            var errors: [UVError] = []
            server.listener?.onError = { errors.append($0) }
            let waiting = try RawClient(port: server.port)
            setDescriptorLimit(64)
            var held: [Int32] = []
            while case let descriptor = open("/dev/null", O_RDONLY), descriptor >= 0 {
                held.append(descriptor)
            }
            let refused = server.loop.run { !errors.isEmpty && waiting.receiveNow() == [] }
            for descriptor in held { Glibc.close(descriptor) }
            #expect(refused)
            #expect(errors.first?.name == "EMFILE")
            #expect(server.streams.isEmpty)
            waiting.close()
            let client = try RawClient(port: server.port)
            _ = try server.accepted()
            client.close()
            server.end()
        }
    }
}

private func setDescriptorLimit(_ count: UInt) {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = rlim_t(count)
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}
