import Dispatch
import Jute
import StorageFormat
import Testing
import Vocabulary

/// A txn with the given zxid, the header and `extra` bytes.
private func txn(_ zxid: Int64, extra: Int = 0) -> [UInt8] {
    var buffer = ByteBuffer()
    buffer.append(Int64(1))
    buffer.append(Int32(2))
    buffer.append(zxid)
    buffer.append(Int64(3))
    buffer.append(Int32(-1))
    buffer.append([UInt8](repeating: 0x55, count: extra))
    return Array(buffer.bytes)
}

/// A record as a slow and obvious writer makes it.
private func record(_ txn: [UInt8], checksum: Int64) -> [UInt8] {
    var buffer = ByteBuffer()
    buffer.append(checksum)
    buffer.appendField(txn.span)
    buffer.append(UInt8(ascii: "B"))
    return Array(buffer.bytes)
}

private func batch(_ txns: [[UInt8]]) -> LogBatch {
    let batch = LogBatch()
    for txn in txns { batch.appendTxn(txn.span, zxid: LogFormat.zxid(ofTxn: txn.span)) }
    return batch
}

@Suite struct LogBatchTests {
    private let txns = [txn(5, extra: 3), txn(6), txn(9, extra: 100)]

    private func read(_ batch: LogBatch) -> [[UInt8]] {
        var txns: [[UInt8]] = []
        batch.forEachTxn { txns.append(Array($0)) }
        return txns
    }

    @Test func `a batch is framed and hands its txns back`() {
        let batch = batch(txns)
        #expect(batch.recordCount == 3)
        #expect(batch.firstZxid == Zxid(rawValue: 5))
        #expect(batch.lastZxid == Zxid(rawValue: 9))
        #expect(read(batch) == txns)
        #expect(Array(batch.buffer.bytes) == txns.flatMap { record($0, checksum: 0) })
    }

    @Test func `a txn that is written in place makes the same record as a whole one`() {
        let inPlace = LogBatch()
        for txn in txns {
            inPlace.beginRecord()
            inPlace.buffer.append(txn)
            inPlace.endRecord(zxid: LogFormat.zxid(ofTxn: txn.span))
        }
        let whole = batch(txns)
        #expect(Array(inPlace.buffer.bytes) == Array(whole.buffer.bytes))
    }

    @Test func `records are found by their offsets`() {
        let batch = batch(txns)
        var start = 0
        for txn in txns {
            var found: [UInt8] = []
            let next = batch.txn(at: start) { found = Array($0) }
            #expect(found == txn)
            #expect(batch.zxid(at: start) == LogFormat.zxid(ofTxn: txn.span))
            #expect(batch.nextRecord(after: start) == next)
            #expect(next == start + 13 + txn.count)
            start = next
        }
        #expect(start == batch.buffer.count)
    }

    @Test func `sealing fills in the checksums and changes nothing else`() {
        let batch = batch(txns)
        var sizes: [Int] = []
        batch.seal { sizes.append($0) }
        #expect(sizes == txns.map { $0.count + 13 })
        #expect(
            Array(batch.buffer.bytes)
                == txns.flatMap { record($0, checksum: Adler32.of($0.span)) })
        LogBatch().seal { _ in Issue.record("an empty batch has no records") }
    }

    @Test func `txns can be read while the batch is sealed`() {
        let txns = (1...2000).map { txn(Int64($0), extra: 50) }
        let batch = batch(txns)
        let started = DispatchSemaphore(value: 0)
        let sealed = DispatchSemaphore(value: 0)
        DispatchQueue.global().async {
            started.signal()
            batch.seal { _ in }
            sealed.signal()
        }
        started.wait()
        repeat {
            #expect(read(batch) == txns)
        } while sealed.wait(timeout: .now()) == .timedOut
        #expect(
            Array(batch.buffer.bytes)
                == txns.flatMap { record($0, checksum: Adler32.of($0.span)) })
    }

    @Test func `a record that is given up leaves nothing`() {
        let batch = batch([txn(5)])
        let before = Array(batch.buffer.bytes)
        batch.beginRecord()
        batch.buffer.append([1, 2, 3])
        batch.cancelRecord()
        #expect(Array(batch.buffer.bytes) == before)
        #expect(batch.lastZxid == Zxid(rawValue: 5))
    }

    @Test func `an emptied batch starts anew`() {
        let batch = batch([txn(5)])
        batch.removeAll()
        #expect(batch.isEmpty)
        #expect(batch.firstZxid == .none)
        batch.forEachTxn { _ in Issue.record("an empty batch has no txns") }
        let txn = txns[1]
        batch.appendTxn(txn.span, zxid: Zxid(rawValue: 6))
        #expect(batch.firstZxid == Zxid(rawValue: 6))
    }
}
