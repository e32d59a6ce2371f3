import Jute
import Vocabulary

/// The jute types as this room reads them: every failure is one of its own errors.
extension JuteReader {
    @_lifetime(self: copy self)
    mutating func int() throws(QuorumProtocolError) -> Int32 {
        do throws(JuteError) { return try readInt() } catch { throw .malformed(error) }
    }

    @_lifetime(self: copy self)
    mutating func long() throws(QuorumProtocolError) -> Int64 {
        do throws(JuteError) { return try readLong() } catch { throw .malformed(error) }
    }

    @_lifetime(self: copy self)
    mutating func bool() throws(QuorumProtocolError) -> Bool {
        do throws(JuteError) { return try readBool() } catch { throw .malformed(error) }
    }

    @_lifetime(self: copy self)
    mutating func zxid() throws(QuorumProtocolError) -> Zxid { Zxid(rawValue: try long()) }

    @_lifetime(self: copy self)
    mutating func session() throws(QuorumProtocolError) -> SessionID {
        SessionID(rawValue: try long())
    }

    @_lifetime(self: copy self)
    mutating func server() throws(QuorumProtocolError) -> ServerID {
        ServerID(rawValue: try long())
    }

    /// A vector's count; a null vector counts as empty.
    @_lifetime(self: copy self)
    mutating func count() throws(QuorumProtocolError) -> Int {
        do throws(JuteError) { return try readCount() ?? 0 } catch { throw .malformed(error) }
    }

    @_lifetime(copy self)
    mutating func bytes(_ count: Int) throws(QuorumProtocolError) -> Span<UInt8> {
        do throws(JuteError) { return try take(count) } catch { throw .malformed(error) }
    }

    @_lifetime(copy self)
    mutating func field() throws(QuorumProtocolError) -> Span<UInt8> {
        do throws(JuteError) { return try readBytes() } catch { throw .malformed(error) }
    }

    @_lifetime(copy self)
    mutating func optionalField() throws(QuorumProtocolError) -> Span<UInt8>? {
        do throws(JuteError) { return try readOptionalBytes() } catch { throw .malformed(error) }
    }

    @_lifetime(self: copy self)
    mutating func acls() throws(QuorumProtocolError) -> [ACL] {
        do throws(JuteError) { return try readACLs() ?? [] } catch { throw .malformed(error) }
    }

    @_lifetime(self: copy self)
    mutating func statPersisted() throws(QuorumProtocolError) -> StatPersisted {
        do throws(JuteError) { return try readStatPersisted() } catch { throw .malformed(error) }
    }
}
