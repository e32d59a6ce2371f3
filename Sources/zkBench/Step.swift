/// What a run does, one thing after the other.
enum Step {
    case connect
    /// Creates one znode, which may exist.
    case createByHand(String)
    case deleteByHand(String)
    /// The sessions share a range of znodes and ask once for each; `forEach`: every session goes
    /// through the whole range.
    case fill(RequestKind, count: Int, forEach: Bool, isMeasured: Bool)
    /// Deletes what the create workload made.
    case deleteCreated
    case run
    case report
    case hold
    case closeSessions
}

extension Step {
    static func plan(_ options: Settings, _ naming: Naming) -> [Step] {
        var steps: [Step] = [.connect]
        if !options.reuse { steps += setUp(options, naming) }
        if options.workload == .watchTable {
            let watches = Step.fill(
                .getAndWatch, count: options.znodes, forEach: true, isMeasured: true)
            steps.append(watches)
        }
        if !options.workload.isFill { steps.append(.run) }
        steps.append(.report)
        if options.hold { steps.append(.hold) }
        if !options.keep, !options.reuse { steps += cleanUp(options, naming) }
        return steps + [.closeSessions]
    }

    /// The parents before their children.
    private static func setUp(_ options: Settings, _ naming: Naming) -> [Step] {
        guard options.workload != .idle else { return [] }
        var steps = pathAndParents(options.prefix).map { Step.createByHand($0) }
        steps.append(
            .fill(.createDirectory, count: naming.directories, forEach: false, isMeasured: false))
        switch options.workload {
        case .create, .idle:
            break
        case .children:
            steps.append(.fill(.create, count: 1000, forEach: false, isMeasured: false))
            steps.append(.createByHand(naming.parentOfChildren))
            steps.append(
                .fill(.createChild, count: options.znodes, forEach: false, isMeasured: false))
        case .get, .set, .mixed, .watch, .fanOut, .multi, .load, .watchTable:
            steps.append(
                .fill(
                    .create, count: options.znodes, forEach: false,
                    isMeasured: options.workload == .load))
        }
        return steps
    }

    private static func cleanUp(_ options: Settings, _ naming: Naming) -> [Step] {
        guard options.workload != .idle else { return [] }
        var steps: [Step] = []
        switch options.workload {
        case .create:
            steps.append(.deleteCreated)
        case .children:
            steps.append(
                .fill(.deleteChild, count: options.znodes, forEach: false, isMeasured: false))
            steps.append(.deleteByHand(naming.parentOfChildren))
            steps.append(.fill(.delete, count: 1000, forEach: false, isMeasured: false))
        case .get, .set, .mixed, .watch, .fanOut, .multi, .load, .watchTable, .idle:
            steps.append(.fill(.delete, count: options.znodes, forEach: false, isMeasured: false))
        }
        steps.append(
            .fill(.deleteDirectory, count: naming.directories, forEach: false, isMeasured: false))
        return steps + [.deleteByHand(options.prefix)]
    }

    /// `/a/b/c`: `/a`, `/a/b`, `/a/b/c`.
    private static func pathAndParents(_ path: String) -> [String] {
        var paths: [String] = []
        for name in path.split(separator: "/") { paths.append((paths.last ?? "") + "/" + name) }
        return paths
    }
}
