import EventLoop
import Glibc
import Jute
import Synchronization
import Testing

@Suite(.serialized) struct TimerTests {
    @Test func `timers fire in order of their time, not of their start`() throws {
        let loop = try EventLoop()
        var order: [Int] = []
        let timers = [30, 10, 20].map { delay in
            let timer = LoopTimer(loop: loop)
            timer.start(afterMilliseconds: UInt64(delay)) { order.append(delay) }
            return timer
        }
        let start = loop.nowMilliseconds
        #expect(loop.run { order.count == 3 })
        #expect(order == [10, 20, 30])
        #expect(loop.nowMilliseconds >= start + 30)
        for timer in timers { timer.close() }
    }

    @Test func `a repeating timer repeats until it is stopped inside its handler`() throws {
        let loop = try EventLoop()
        var calls = 0
        let timer = LoopTimer(loop: loop)
        timer.start(afterMilliseconds: 1, repeatMilliseconds: 1) {
            calls += 1
            if calls == 3 { timer.stop() }
        }
        #expect(loop.run { calls == 3 })
        var turns = 0
        #expect(
            loop.run {
                turns += 1
                return turns == 20
            })
        #expect(calls == 3)
        timer.start(afterMilliseconds: 0) { calls += 1 }
        #expect(loop.run { calls == 4 })
        timer.close()
    }

    @Test func `a timer that loses its last reference in its handler is gone safely`() throws {
        let loop = try EventLoop()
        var timer: LoopTimer? = LoopTimer(loop: loop)
        weak let reference = timer
        var fired = false
        timer?.start(afterMilliseconds: 0, repeatMilliseconds: 1) {
            timer = nil
            fired = true
        }
        #expect(loop.run { fired })
        #expect(reference == nil)
    }

    @Test func `a precise timer fires after its time, once for each start`() throws {
        let loop = try EventLoop()
        let timer = try PreciseTimer(loop: loop)
        var calls = 0
        let clock = ContinuousClock()
        let start = clock.now
        timer.start(afterNanoseconds: 3_000_000_000) { calls += 100 }
        timer.start(afterNanoseconds: 300_000) { calls += 1 }
        #expect(loop.run { calls == 1 })
        #expect(clock.now - start >= .microseconds(300))
        #expect(clock.now - start < .seconds(3))
        timer.start(afterNanoseconds: 0) { calls += 1 }
        #expect(loop.run { calls == 2 })
        timer.close()
        timer.start(afterNanoseconds: 0) { calls += 1 }
        #expect(loop.run { true })
        #expect(calls == 2)
    }

    @Test func `what a timer appends leaves in the same turn`() throws {
        let loop = try EventLoop()
        let recorder = Recorder()
        var accepted: Stream?
        let listener = try Listener(loop: loop, host: "127.0.0.1", port: 0, backlog: 1) {
            accepted = $0
            $0.delegate = recorder
        }
        let client = try RawClient(port: listener.port)
        #expect(loop.run { accepted != nil })
        let stream = try #require(accepted)
        let timer = LoopTimer(loop: loop)
        timer.start(afterMilliseconds: 1) {
            stream.output.append([1])
            stream.markDirty()
        }
        #expect(loop.run { client.receiveNow() == [1] })
        client.close()
        stream.close()
        listener.close()
        #expect(loop.run { recorder.closed == 1 })
    }
}

@Suite(.serialized) struct WakeUpTests {
    /// Carries the thread's work across the C call.
    private final class Work: Sendable {
        let wakeUp: WakeUp
        let posted = Mutex(0)
        init(_ wakeUp: WakeUp) { self.wakeUp = wakeUp }
    }

    @Test func `another thread wakes the loop, and after every signal there is a call`() throws {
        let loop = try EventLoop()
        var calls = 0
        let wakeUp = try WakeUp(loop: loop) { calls += 1 }
        let work = Work(wakeUp)
        var thread = pthread_t()
        let started = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let work = Unmanaged<Work>.fromOpaque(argument).takeRetainedValue()
                for _ in 0..<1000 {
                    work.posted.withLock { $0 += 1 }
                    work.wakeUp.signal()
                }
                return nil
            }, Unmanaged.passRetained(work).toOpaque())
        #expect(started == 0)
        #expect(loop.run { calls > 0 && work.posted.withLock { $0 } == 1000 })
        pthread_join(thread, nil)
        #expect(calls <= 1000)
        let callsBefore = calls
        wakeUp.close()
        wakeUp.signal()
        #expect(loop.run { true })  // The turn in which the handle ends.
        #expect(calls == callsBefore)
    }

    @Test func `a closed wake-up is freed`() throws {
        let loop = try EventLoop()
        weak var reference: WakeUp?
        do {
            let wakeUp = try WakeUp(loop: loop) {}
            reference = wakeUp
            wakeUp.signal()
            wakeUp.close()
        }
        #expect(loop.run { reference == nil })
    }

    @Test func `a signal to the process calls the watcher`() throws {
        let loop = try EventLoop()
        var calls = 0
        let watcher = try SignalWatcher(loop: loop, signal: SIGUSR1) { calls += 1 }
        kill(getpid(), SIGUSR1)
        #expect(loop.run { calls == 1 })
        watcher.close()
    }
}
