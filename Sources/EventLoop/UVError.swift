internal import CUV

/// Why libuv refused something: a negative error number, such as that of `ECONNRESET`.
public struct UVError: Error, Equatable, CustomStringConvertible {
    public let code: Int32

    public init(code: Int32) { self.code = code }

    /// The symbol, such as `ECONNRESET`.
    public var name: String { String(cString: uv_err_name(code)) }

    /// The sentence, such as `connection reset by peer`.
    public var message: String { String(cString: uv_strerror(code)) }

    public var description: String { "\(name): \(message)" }

    /// The error that a system call left in `errno`; libuv's numbers are the negated ones.
    static func fromErrno(_ number: Int32) -> UVError { UVError(code: -number) }

    /// Throws for a negative result.
    @discardableResult
    static func check(_ result: Int32) throws(UVError) -> Int32 {
        guard result >= 0 else { throw UVError(code: result) }
        return result
    }
}
