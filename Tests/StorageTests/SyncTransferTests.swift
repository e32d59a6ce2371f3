import Dispatch
import Glibc
import Jute
import Storage
import StorageFormat
import StorageTestSupport
import Synchronization
import SystemPackage
import Testing
import Vocabulary

/// A transfer and what came of it, as the loop's thread sees it.
private final class Receiver {
    enum Outcome: Equatable {
        case finished(hasSource: Bool)
        case failed(StorageError, hasSource: Bool)
        case unusable(StorageError)
    }

    let wakeups = Wakeups()
    let transfer: SyncTransfer
    var isUsable = false
    var pieces: [[UInt8]] = []
    var outcome: Outcome?

    init() {
        let wakeups = wakeups
        transfer = SyncTransfer { wakeups.wake() }
    }

    /// Takes one event if there is one.
    func takeOne() -> Bool {
        guard let event = transfer.take() else { return false }
        #expect(outcome == nil, "nothing comes behind the last event")
        switch event {
        case .usable:
            #expect(!isUsable && pieces.isEmpty, "the outcome comes first and once")
            isUsable = true
        case .piece(let piece): pieces.append(Array(piece.buffer.bytes))
        case .finished(let source): outcome = .finished(hasSource: source != nil)
        case .failed(let error, let source):
            outcome = .failed(error, hasSource: source != nil)
        case .unusable(let error): outcome = .unusable(error)
        }
        return true
    }

    /// Waits for one event and takes it.
    func receiveOne() -> Bool { wakeups.wait { takeOne() } }

    /// Takes everything to the end.
    func receive() -> Outcome? {
        _ = wakeups.wait {
            while takeOne() {}
            return outcome != nil
        }
        return outcome
    }

    var bytes: [UInt8] { Array(pieces.joined()) }
}

private func zxid(_ value: Int64) -> Zxid { Zxid(rawValue: value) }
private func zxid(_ epoch: Int64, _ counter: UInt32) -> Int64 {
    Zxid(epoch: epoch, counter: counter).rawValue
}

@Suite struct HistoryTransferTests {
    private let scratch = Scratch()

    /// Sends the txns with their bytes, each behind its length.
    private func send(
        after peer: Int64, upTo last: Int64, factor: Double = 0, to receiver: Receiver,
        watching: @escaping @Sendable (Zxid) -> Void = { _ in }
    ) throws {
        receiver.transfer.sendHistory(
            try scratch.directories, after: zxid(peer), upTo: zxid(last), sizeLimitFactor: factor,
            limits: .default
        ) { txn, buffer in
            watching(LogFormat.zxid(ofTxn: txn))
            buffer.appendField(txn)
        }
    }

    private func bytes(_ zxids: [Int64], extra: Int = 0) -> [UInt8] {
        var buffer = ByteBuffer()
        for zxid in zxids {
            let txn = txnBytes(zxid: zxid, extra: extra)
            buffer.appendField(txn.span)
        }
        return Array(buffer.bytes)
    }

    private func gap(after peer: Int64, upTo last: Int64, factor: Double = 0) throws -> HistoryGap?
    {
        let receiver = Receiver()
        try send(after: peer, upTo: last, factor: factor, to: receiver)
        let outcome = receiver.receive()
        if outcome == .finished(hasSource: false) { return nil }
        guard case .unusable(let error) = outcome, case .history(let gap) = error.reason else {
            Issue.record("\(String(describing: outcome))")
            return nil
        }
        #expect(!receiver.isUsable && receiver.pieces.isEmpty)
        #expect(error.description.contains("\(gap)"))
        return gap
    }

    // MARK: Usable logs

    @Test func `every stretch of a whole history is sent`() throws {
        let zxids =
            [1, 2, 3] + [zxid(1, 1), zxid(1, 2), zxid(1, 3)] + [zxid(3, 1), zxid(3, 2)]
        try scratch.addSnapshot(0)
        try scratch.addSnapshot(3)
        try scratch.addSnapshot(zxid(1, 3))
        scratch.addLog([1, 2])
        scratch.addLog([3, zxid(1, 1)])
        scratch.addLog([zxid(1, 2), zxid(1, 3), zxid(3, 1)])
        scratch.addLog([zxid(3, 2)])
        for peer in zxids + [zxid(1, 0), zxid(2, 0), zxid(3, 0)] {
            for last in zxids where last > peer {
                let receiver = Receiver()
                try send(after: peer, upTo: last, to: receiver)
                #expect(receiver.receive() == .finished(hasSource: false))
                #expect(receiver.isUsable)
                #expect(receiver.bytes == bytes(zxids.filter { $0 > peer && $0 <= last }))
            }
        }
    }

    @Test func `what comes again in a later log is sent once`() throws {
        scratch.addLog([1, 2, 2, 3, 4])
        scratch.addLog([3, 4, 5])
        let receiver = Receiver()
        try send(after: 1, upTo: 5, to: receiver)
        #expect(receiver.receive() == .finished(hasSource: false))
        #expect(receiver.bytes == bytes([2, 3, 4, 5]))
    }

    @Test func `a torn record whose txn comes again in the next log hides nothing`() throws {
        scratch.write(Array(logBytes([1, 2, 3]).dropLast(3)), to: "log.1")
        scratch.addLog([3, 4])
        let receiver = Receiver()
        try send(after: 1, upTo: 4, to: receiver)
        #expect(receiver.receive() == .finished(hasSource: false))
        #expect(receiver.bytes == bytes([2, 3, 4]))
    }

    @Test(arguments: ["3.9.3-rotated", "3.8.0-rotated", "3.9.3-quorum-truncated"])
    func `Apache's logs are sent as recovery replays them`(name: String) throws {
        let scratch = Scratch(name)
        for file in try scratch.directories.snapshotFiles() where file.name.zxid > .zero {
            Files.remove(file.path)
        }
        let txns = try restore(scratch).tree.txns
        let receiver = Receiver()
        let zxids = txns.map { LogFormat.zxid(ofTxn: $0.span) }
        receiver.transfer.sendHistory(
            try scratch.directories, after: zxids[2], upTo: zxids[zxids.count - 2],
            sizeLimitFactor: 0, limits: .default
        ) { $1.append($0) }
        #expect(receiver.receive() == .finished(hasSource: false))
        #expect(receiver.bytes == Array(txns[3..<txns.count - 1].joined()))
    }

    @Test func `nothing behind the last txn is looked at`() throws {
        // As the log thread may leave it while it writes.
        let next = recordBytes(txnBytes(zxid: 4))
        for count in 1...next.count {
            var garbled = Array(next.prefix(count))
            garbled[count - 1] ^= 0xff
            scratch.write(logBytes([1, 2, 3]) + garbled, to: "log.1")
            #expect(try gap(after: 1, upTo: 3) == nil)
        }
        // In a file that begins behind it, too.
        scratch.write([1, 2, 3], to: "log.4")
        #expect(try gap(after: 1, upTo: 3) == nil)
    }

    // MARK: Gaps

    @Test func `logs that begin behind the learner's last txn are of no use`() throws {
        scratch.addLog([4, 5])
        #expect(try gap(after: 3, upTo: 5) == .beginsLater(than: zxid(3)))
        #expect(try gap(after: 0, upTo: 5) == .beginsLater(than: .zero))
        #expect(try gap(after: 4, upTo: 5) == nil)
    }

    @Test func `a learner with a txn that we lack is not known`() throws {
        scratch.addLog([1, 2, 5, 6, zxid(1, 1), zxid(1, 2)])
        #expect(try gap(after: 3, upTo: 6) == .unknownPeer(zxid(3)))
        #expect(try gap(after: 7, upTo: zxid(1, 2)) == .unknownPeer(zxid(7)))
        #expect(try gap(after: 5, upTo: 6) == nil)
    }

    @Test func `a gap is of no use, within an epoch or at its start`() throws {
        scratch.addLog([1, 2, 5, 6])
        #expect(try gap(after: 1, upTo: 6) == .missing(after: zxid(2), before: zxid(5)))
        #expect(try gap(after: 2, upTo: 6) == .missing(after: zxid(2), before: zxid(5)))
        scratch.addLog([zxid(1, 3), zxid(1, 4)])
        #expect(
            try gap(after: 6, upTo: zxid(1, 4))
                == .missing(after: zxid(6), before: zxid(zxid(1, 3))))
        #expect(
            try gap(after: zxid(1, 0), upTo: zxid(1, 4))
                == .missing(after: zxid(zxid(1, 0)), before: zxid(zxid(1, 3))))
    }

    @Test func `a torn log with txns lost is a gap`() throws {
        scratch.write(Array(logBytes([1, 2, 3]).dropLast(3)), to: "log.1")
        scratch.addLog([4, 5])
        #expect(try gap(after: 1, upTo: 5) == .missing(after: zxid(2), before: zxid(4)))
    }

    @Test func `a snapshot that no log leads to is a gap`() throws {
        // Received at the start of an epoch, with the first epoch's last txns.
        scratch.addLog([1, 2])
        scratch.addLog([zxid(1, 1), zxid(1, 2)])
        #expect(try gap(after: 2, upTo: zxid(1, 2)) == nil)
        try scratch.addSnapshot(7)
        #expect(try gap(after: 2, upTo: zxid(1, 2)) == .snapshotOnly(zxid(7)))
        #expect(try gap(after: 1, upTo: 2) == nil)
        Files.remove(scratch.file("snapshot.7"))
        scratch.write([1], to: "snapshot.100000000")
        #expect(try gap(after: 2, upTo: zxid(1, 2)) == .snapshotOnly(zxid(zxid(1, 0))))
        #expect(try gap(after: zxid(1, 0), upTo: zxid(1, 2)) == nil)
        #expect(try gap(after: zxid(1, 1), upTo: zxid(1, 2)) == nil)
    }

    @Test func `logs that end before the last txn are of no use`() throws {
        scratch.addLog([1, 2])
        scratch.addLog([3, 4])
        #expect(try gap(after: 1, upTo: 5) == .endsEarly(at: zxid(4)))
        scratch.addLog([zxid(1, 1)])
        #expect(try gap(after: 1, upTo: 5) == .endsEarly(at: zxid(4)))
        scratch.addLog([3, 4, zxid(1, 1)], name: "log.3")
        #expect(try gap(after: 1, upTo: 5) == .endsEarly(at: zxid(4)))
        #expect(try gap(after: 4, upTo: 5) == .endsEarly(at: zxid(4)))
    }

    @Test func `the size of the logs to read is limited by the newest snapshot's`() throws {
        try scratch.addSnapshot(0)
        scratch.addLog([1, 2])
        scratch.addLog([3, 4])
        scratch.addLog([5])
        let snapshot = scratch.read("snapshot.0").count
        let read = scratch.read("log.1").count + scratch.read("log.3").count
        let exact = Double(read) / Double(snapshot)
        #expect(try gap(after: 1, upTo: 4, factor: exact * 1.01) == nil)
        let limit = Int(exact * 0.98 * Double(snapshot))
        #expect(
            try gap(after: 1, upTo: 4, factor: exact * 0.98)
                == .tooLarge(bytes: read, limit: limit))
        #expect(try gap(after: 3, upTo: 4, factor: exact * 0.98) == nil)
        #expect(try gap(after: 1, upTo: 4, factor: 0) == nil)
    }

    @Test func `a damaged log is of no use`() throws {
        var bytes = logBytes([1, 2, 3])
        bytes[70] ^= 1
        scratch.write(bytes, to: "log.1")
        let receiver = Receiver()
        try send(after: 1, upTo: 3, to: receiver)
        guard case .unusable(let error) = receiver.receive() else {
            Issue.record("damage was sent")
            return
        }
        guard case .log(.checksumMismatch) = error.reason else {
            Issue.record("\(error)")
            return
        }
    }

    @Test func `a log that goes away behind the check is a failure`() throws {
        scratch.addLog([1, 2])
        scratch.addLog([3, 4])
        let path = scratch.file("log.3")
        let receiver = Receiver()
        try send(after: 1, upTo: 4, to: receiver) { zxid in
            if zxid.rawValue == 2 { Files.remove(path) }
        }
        guard case .failed(let error, hasSource: false) = receiver.receive() else {
            Issue.record("half a history was taken for a whole one")
            return
        }
        #expect(error.file == path)
        #expect(receiver.isUsable)
    }

    // MARK: Pieces

    /// A log of `count` txns that each make a piece.
    private func addLargeLog(_ count: Int64) {
        let records = (1...count).flatMap {
            recordBytes(txnBytes(zxid: $0, extra: SyncTransfer.pieceBytes))
        }
        scratch.write(logBytes([]) + records, to: "log.1")
    }

    @Test func `pieces are of their size and in order`() throws {
        let records = (1...2000).flatMap { recordBytes(txnBytes(zxid: $0, extra: 1000)) }
        scratch.write(logBytes([]) + records, to: "log.1")
        let receiver = Receiver()
        try send(after: 1, upTo: 2000, to: receiver)
        #expect(receiver.receive() == .finished(hasSource: false))
        #expect(receiver.bytes == bytes(Array(2...2000), extra: 1000))
        let record = txnBytes(zxid: 1, extra: 1000).count + 4
        for piece in receiver.pieces.dropLast() {
            #expect(piece.count >= SyncTransfer.pieceBytes)
            #expect(piece.count < SyncTransfer.pieceBytes + record)
        }
        let full = (SyncTransfer.pieceBytes + record - 1) / record
        #expect(receiver.pieces.count == (1999 + full - 1) / full)
    }

    @Test func `the thread waits while enough waits to be taken`() throws {
        addLargeLog(20)
        let encoded = DispatchSemaphore(value: 0)
        let receiver = Receiver()
        try send(after: 1, upTo: 20, to: receiver) { _ in encoded.signal() }
        func waitForOne() -> Bool { encoded.wait(timeout: .now() + .seconds(20)) == .success }
        // Those that wait behind `usable`, and the one there is no room for.
        for _ in 0..<SyncTransfer.waitingMax { #expect(waitForOne()) }
        #expect(encoded.wait(timeout: .now() + .milliseconds(300)) == .timedOut)
        for _ in 0..<3 {
            #expect(receiver.receiveOne())
            #expect(waitForOne())
            #expect(encoded.wait(timeout: .now() + .milliseconds(100)) == .timedOut)
        }
        #expect(receiver.receive() == .finished(hasSource: false))
        #expect(receiver.pieces.count == 19)
    }

    @Test func `a cancelled transfer stops and says so`() throws {
        addLargeLog(20)
        let encoded = DispatchSemaphore(value: 0)
        let receiver = Receiver()
        try send(after: 1, upTo: 20, to: receiver) { _ in encoded.signal() }
        for _ in 0..<SyncTransfer.waitingMax {
            #expect(encoded.wait(timeout: .now() + .seconds(20)) == .success)
        }
        receiver.transfer.cancel()
        #expect(receiver.receive() == .finished(hasSource: false))
        #expect(!receiver.isUsable && receiver.pieces.isEmpty)
        #expect(encoded.wait(timeout: .now()) == .timedOut)
        // The handle serves again.
        receiver.outcome = nil
        try send(after: 18, upTo: 20, to: receiver)
        #expect(receiver.receive() == .finished(hasSource: false))
        #expect(receiver.pieces.count == 2)
    }

    @Test func `a handle that is let go of ends its thread`() throws {
        addLargeLog(20)
        let encoded = DispatchSemaphore(value: 0)
        do {
            let receiver = Receiver()
            try send(after: 1, upTo: 20, to: receiver) { _ in encoded.signal() }
            #expect(encoded.wait(timeout: .now() + .seconds(20)) == .success)
        }
        // The thread was joined: whatever it has encoded it has encoded before.
        while encoded.wait(timeout: .now()) == .success {}
        #expect(encoded.wait(timeout: .now() + .milliseconds(100)) == .timedOut)
    }
}

@Suite struct SnapshotTransferTests {
    private let tree = RecordedTree(
        zxid: Zxid(rawValue: 0x2a), count: 6000, dataBytes: 400)

    private var state: [UInt8] {
        var bytes: [UInt8] = []
        tree.encodeState(pieceBytes: 1 << 20) { bytes += $0 }
        return bytes
    }

    @Test func `the state comes in pieces and the source at the end`() {
        let receiver = Receiver()
        receiver.transfer.sendSnapshot(tree)
        #expect(receiver.receive() == .finished(hasSource: true))
        #expect(!receiver.isUsable)
        #expect(receiver.bytes == state)
        #expect(receiver.pieces.count == state.count / SyncTransfer.pieceBytes + 1)
        for piece in receiver.pieces.dropLast() {
            #expect(piece.count >= SyncTransfer.pieceBytes)
            #expect(piece.count < SyncTransfer.pieceBytes + 1000)
        }
    }

    @Test func `a captured snapshot is sent as its file has it`() throws {
        let scratch = Scratch("3.9.3-quorum-follower")
        let tree = try restore(scratch).tree
        let receiver = Receiver()
        receiver.transfer.sendSnapshot(tree)
        #expect(receiver.receive() == .finished(hasSource: true))
        let file = scratch.read("snapshot.100000018")
        #expect(receiver.bytes == Array(file.dropFirst(16).dropLast(13 + 33 + 21)))
    }

    @Test func `a cancelled transfer gives the source back`() {
        let receiver = Receiver()
        receiver.transfer.sendSnapshot(tree)
        #expect(receiver.receiveOne())
        receiver.transfer.cancel()
        #expect(receiver.receive() == .finished(hasSource: true))
        #expect(receiver.pieces.count == 1)
    }

    @Test func `a transfer that is cancelled at its end keeps its last event`() {
        let receiver = Receiver()
        receiver.transfer.sendSnapshot(RecordedTree(zxid: .zero, count: 1, dataBytes: 1))
        #expect(receiver.receiveOne())
        receiver.transfer.cancel()
        receiver.transfer.cancel()
        #expect(receiver.receive() == .finished(hasSource: true))
        #expect(receiver.transfer.take() == nil)
        receiver.transfer.cancel()
    }

    @Test func `one handle makes one transfer after the other`() {
        let receiver = Receiver()
        for _ in 0..<3 {
            receiver.transfer.sendSnapshot(tree)
            #expect(receiver.receive() == .finished(hasSource: true))
            #expect(receiver.bytes == state)
            receiver.pieces = []
            receiver.outcome = nil
        }
    }
}
