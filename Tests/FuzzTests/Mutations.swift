import UnitTestSupport

extension SeededGenerator {
    private static let ints: [Int32] = [
        -1, -2, 0, 1, 2, 4, 12, 13, 14, 100, 0xffff, 0x10000, 1_048_575, .max, .min, .max - 1,
    ]
    private static let longs: [Int64] = [
        -1, 0, 1, .max, .min, 1 << 32, 1 << 40, Int64(bitPattern: 0xff00_0000_0000_0001),
    ]

    /// Damages bytes as strangers and disks do.
    mutating func mutate(_ bytes: inout [UInt8], with other: [UInt8]) {
        for _ in 0..<1 + below(4) { mutateOnce(&bytes, with: other) }
    }

    private mutating func mutateOnce(_ bytes: inout [UInt8], with other: [UInt8]) {
        guard !bytes.isEmpty else {
            bytes = self.bytes(atMost: 20)
            return
        }
        let at = below(bytes.count)
        switch below(10) {
        case 0: bytes[at] ^= 1 << UInt8(below(8))
        case 1: bytes[at] = pick([0, 0xff, 0x7f, 0x80, 0x2f, 0x2e, 0x3d])
        case 2, 3, 4: overwrite(&bytes, at, pick(Self.ints))
        case 5: overwrite(&bytes, at, pick(Self.longs))
        case 6: bytes.removeLast(bytes.count - at)
        case 7: bytes.removeSubrange(at..<min(bytes.count, at + 1 + below(12)))
        case 8: bytes.insert(contentsOf: self.bytes(atMost: 12), at: at)
        default:
            guard !other.isEmpty else { return }
            let from = below(other.count)
            let piece = other[from..<min(other.count, from + 1 + below(40))]
            bytes.insert(contentsOf: piece, at: at)
        }
    }

    private func overwrite<T: FixedWidthInteger>(_ bytes: inout [UInt8], _ at: Int, _ value: T) {
        let width = T.bitWidth / 8
        for offset in 0..<min(width, bytes.count - at) {
            let shift = (width - 1 - offset) * 8
            bytes[at + offset] = UInt8(truncatingIfNeeded: value >> T(shift))
        }
    }
}
