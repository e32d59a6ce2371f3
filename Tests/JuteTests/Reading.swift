import Jute

/// What reading throws; nil when it throws nothing.
func failure(reading bytes: [UInt8], _ read: (Span<UInt8>) throws -> Void) -> JuteError? {
    do {
        try read(bytes.span)
        return nil
    } catch let error as JuteError {
        return error
    } catch {
        fatalError("readers throw nothing else: \(error)")
    }
}
