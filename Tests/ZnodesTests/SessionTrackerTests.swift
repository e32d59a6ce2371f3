import Testing
import UnitTestSupport
import Vocabulary

@testable import Znodes

/// ZooKeeper: `SessionTrackerImpl`, `ExpiryQueue`.
@Suite struct `Session tracking` {
    private func id(_ number: Int64) -> SessionID { SessionID(rawValue: number) }

    @Test(arguments: [Int64(0), 1, 1999, 2000, 2001, 123_457])
    func `a session lives for its timeout and at most a tick longer`(_ start: Int64) {
        for timeout in [Int32(1), 1000, 2000, 3999, 4000, 10001] {
            var tracker = SessionTracker(tickMilliseconds: 2000)
            tracker.add(id(1), timeoutMilliseconds: timeout, now: start)
            var end = start
            while tracker.expire(now: end).isEmpty { end += 1 }
            #expect(end - start > Int64(timeout))
            #expect(end - start <= Int64(timeout) + 2000)
            #expect(end.isMultiple(of: 2000))
        }
    }

    @Test func `a sign of life moves the end`() throws {
        var tracker = SessionTracker(tickMilliseconds: 100)
        let slot = tracker.add(id(1), timeoutMilliseconds: 1000, now: 0)
        tracker.touch(slot, now: 700)
        #expect(tracker.expire(now: 1700) == [])
        #expect(tracker.expire(now: 1800) == [id(1)])
        #expect(tracker.isClosing(slot))
        // A sign of life comes too late.
        tracker.touch(slot, now: 1800)
        #expect(tracker.expire(now: 100_000) == [])
        #expect(tracker.slot(of: id(1)) == slot)
        tracker.remove(id(1))
        #expect(tracker.slot(of: id(1)) == nil)
        #expect(tracker.count == 0)
    }

    @Test func `who closes does not expire`() {
        var tracker = SessionTracker(tickMilliseconds: 100)
        let slot = tracker.add(id(1), timeoutMilliseconds: 1000, now: 0)
        tracker.markClosing(slot)
        tracker.markClosing(slot)
        #expect(tracker.isClosing(slot))
        #expect(tracker.expire(now: 10000) == [])
        tracker.add(id(1), timeoutMilliseconds: 5000, now: 10000)
        #expect(tracker.isClosing(slot))
        #expect(tracker.expire(now: 100_000) == [])
    }

    @Test func `a session that goes on elsewhere has its new timeout`() {
        var tracker = SessionTracker(tickMilliseconds: 100)
        let slot = tracker.add(id(1), timeoutMilliseconds: 1000, now: 0)
        #expect(tracker.add(id(1), timeoutMilliseconds: 300, now: 50) == slot)
        #expect(tracker.timeoutMilliseconds(slot) == 300)
        #expect(tracker.count == 1)
        #expect(tracker.expire(now: 400) == [id(1)])
    }

    @Test func `expiries list what is left, ids in their order`() {
        var tracker = SessionTracker(tickMilliseconds: 100)
        for number in [Int64(3), 1, 2] {
            tracker.add(id(number), timeoutMilliseconds: 1000, now: 0)
        }
        tracker.add(id(4), timeoutMilliseconds: 500, now: 0)
        let expiries = tracker.expiries(now: 40)
        #expect(expiries.map(\.millisecondsLeft) == [560, 1060])
        #expect(expiries.map(\.ids) == [[id(4)], [id(1), id(2), id(3)]])
    }

    /// What the tracker does, with a list.
    private struct Twin {
        var sessions: [SessionID: (timeout: Int64, end: Int64, isClosing: Bool)] = [:]

        static func end(_ now: Int64, _ timeout: Int64) -> Int64 { ((now + timeout) / 50 + 1) * 50 }

        mutating func expire(_ now: Int64) -> Set<SessionID> {
            let over = sessions.filter { !$0.value.isClosing && $0.value.end <= now }.keys
            for id in over { sessions[id]?.isClosing = true }
            return Set(over)
        }
    }

    @Test(arguments: UInt64(0)..<10)
    func `the tracker does what a list does`(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var (tracker, twin) = (SessionTracker(tickMilliseconds: 50), Twin())
        var now = Int64(random.below(10000))
        for _ in 0..<4000 {
            now += Int64(random.below(40))
            let session = id(Int64(1 + random.below(30)))
            switch random.below(10) {
            case 0..<2:
                let timeout = Int64(random.below(2000))
                tracker.add(session, timeoutMilliseconds: Int32(timeout), now: now)
                let isClosing = twin.sessions[session]?.isClosing ?? false
                twin.sessions[session] = (timeout, Twin.end(now, timeout), isClosing)
            case 2..<7:
                guard let slot = tracker.slot(of: session) else {
                    #expect(twin.sessions[session] == nil)
                    continue
                }
                tracker.touch(slot, now: now)
                let timeout = twin.sessions[session]?.timeout ?? -1
                #expect(Int64(tracker.timeoutMilliseconds(slot)) == timeout)
                twin.sessions[session]?.end = Twin.end(now, timeout)
            case 7:
                if let slot = tracker.slot(of: session) { tracker.markClosing(slot) }
                twin.sessions[session]?.isClosing = true
            case 8:
                tracker.remove(session)
                twin.sessions[session] = nil
            default:
                let expired = tracker.expire(now: now)
                #expect(Set(expired) == twin.expire(now))
                #expect(expired.count == Set(expired).count)
            }
            #expect(tracker.count == twin.sessions.count)
            if let slot = tracker.slot(of: session) {
                #expect(tracker.isClosing(slot) == twin.sessions[session]?.isClosing)
            }
        }
    }
}
