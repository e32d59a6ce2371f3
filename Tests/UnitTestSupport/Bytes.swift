package import Jute

/// What a few appends leave in a buffer.
package func bytes(_ build: (inout ByteBuffer) -> Void) -> [UInt8] {
    var buffer = ByteBuffer()
    build(&buffer)
    return [UInt8](buffer.span)
}

extension Array where Element == UInt8 {
    /// Bytes from hex digits, an even number of them.
    package init(hex text: String) {
        let digits = Array<Character>(text).map { digit -> UInt8 in
            guard let value = digit.hexDigitValue else { fatalError("no hex digit: \(digit)") }
            return UInt8(value)
        }
        precondition(digits.count.isMultiple(of: 2), "two digits are a byte")
        self = stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    /// Lower-case hex digits.
    package var hex: String {
        map { byte in
            let digits = String(byte, radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }.joined()
    }
}
