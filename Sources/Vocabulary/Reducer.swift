/// A protocol state machine: equal states and equal events give equal effects.
///
/// It reads no clock, socket, file or random source: time and completions arrive as events, and
/// what must be done in the world leaves as effects.
public protocol Reducer {
    associatedtype Event
    associatedtype Effect

    /// Consumes one event, updates the state, appends what the shell must do, in order.
    mutating func step(_ event: Event, into effects: inout [Effect])
}
