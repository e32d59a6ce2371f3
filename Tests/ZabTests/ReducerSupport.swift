import Vocabulary

extension Reducer {
    /// What one event gives.
    mutating func effects(of event: Event) -> [Effect] {
        var effects: [Effect] = []
        step(event, into: &effects)
        return effects
    }
}
