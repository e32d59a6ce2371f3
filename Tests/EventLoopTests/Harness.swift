import EventLoop
import Glibc
import Testing

/// Ends a run when a condition holds.
private final class ConditionCheck: TurnDelegate {
    let condition: () -> Bool
    private(set) var held = false
    init(_ condition: @escaping () -> Bool) { self.condition = condition }
    func turnEnded(_ loop: EventLoop) {
        held = held || condition()
        if held { loop.stop() }
    }
}

extension EventLoop {
    /// Turns until `condition` held once; it is looked at in every turn. False after the deadline.
    func run(seconds: UInt64 = 20, until condition: @escaping () -> Bool) -> Bool {
        let check = ConditionCheck(condition)
        turnDelegate = check
        let deadline = LoopTimer(loop: self)
        deadline.start(afterMilliseconds: seconds * 1000) { self.stop() }
        let ticks = LoopTimer(loop: self)
        ticks.start(afterMilliseconds: 1, repeatMilliseconds: 1) {}
        run()
        turnDelegate = nil
        deadline.close()
        ticks.close()
        return check.held
    }

    func connectNow(port: UInt16, host: String = "127.0.0.1") throws -> Stream {
        var outcome: Result<Stream, UVError>?
        connect(host: host, port: port) { outcome = $0 }
        #expect(run { outcome != nil })
        return try #require(outcome).get()
    }
}

/// Records what a stream tells, and does what a test wants at each call.
final class Recorder: StreamDelegate {
    var received: [UInt8] = []
    var receivedBytes = 0
    var keepsBytes = true
    var drained = 0
    var ended = 0
    var endError: UVError?
    var closed = 0
    var onReceive: (Stream, [UInt8]) -> Void = { _, _ in }
    var onEnd: (Stream) -> Void = { $0.close() }

    func stream(_ stream: Stream, received bytes: Span<UInt8>) {
        receivedBytes += bytes.count
        let copy = bytes.withUnsafeBufferPointer { Array($0) }
        if keepsBytes { received += copy }
        onReceive(stream, copy)
    }
    func streamDrained(_ stream: Stream) { drained += 1 }
    func streamEnded(_ stream: Stream, error: UVError?) {
        ended += 1
        endError = error
        onEnd(stream)
    }
    func streamClosed(_ stream: Stream) { closed += 1 }
}

/// A blocking client socket of the C library, for peers that misbehave.
struct RawClient {
    let descriptor: Int32

    init(port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        try #require(descriptor >= 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(result == 0)
    }

    @discardableResult
    func send(_ bytes: [UInt8]) -> Int { write(descriptor, bytes, bytes.count) }

    /// What is there, without waiting; nil when there is nothing, empty at the end.
    func receiveNow() -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &buffer, buffer.count, Int32(truncatingIfNeeded: MSG_DONTWAIT))
        return count < 0 ? nil : Array(buffer[..<count])
    }

    func end() { shutdown(descriptor, Int32(SHUT_WR)) }
    func close() { Glibc.close(descriptor) }

    /// Closes so that the kernel sends a reset.
    func reset() {
        var option = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        close()
    }
}
