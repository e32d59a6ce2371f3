import Testing

/// Decoders under damaged input: they answer or refuse, and never trap. One after the other, so
/// that a trap can say whose it is.
@Suite(.serialized) struct FuzzTests {}
