import Vocabulary

/// The rules of path names, and the paths that every tree has.
///
/// Source: ZooKeeper, `PathUtils.validatePath`.
public enum Paths {
    public static let zookeeper = "/zookeeper"
    public static let quota = "/zookeeper/quota"
    public static let config = "/zookeeper/config"
    static let limitsName = "zookeeper_limits"
    static let statsName = "zookeeper_stats"

    /// Whether a znode may have this path: absolute, no empty, `.` or `..` component, no trailing
    /// slash, no control or private-use character, nothing outside the basic multilingual plane.
    public static func isValid(_ path: Bytes) -> Bool {
        guard path.count > 0, path[0] == 0x2f else { return false }
        if path.count == 1 { return true }
        guard path[path.count - 1] != 0x2f else { return false }
        var index = 1
        var componentStart = 1
        while index < path.count {
            let byte = path[index]
            if byte == 0x2f {
                if isForbiddenComponent(path, componentStart, index) { return false }
                componentStart = index + 1
                index += 1
            } else if byte < 0x80 {
                if byte < 0x20 || byte == 0x7f { return false }
                index += 1
            } else {
                guard let length = validScalar(path, at: index) else { return false }
                index += length
            }
        }
        return !isForbiddenComponent(path, componentStart, path.count)
    }

    private static func isForbiddenComponent(_ path: Bytes, _ start: Int, _ end: Int) -> Bool {
        switch end - start {
        case 0: true
        case 1: path[start] == 0x2e
        case 2: path[start] == 0x2e && path[start + 1] == 0x2e
        default: false
        }
    }

    /// The length of a permitted character that starts with a byte of 0x80 or more. Broken UTF-8
    /// counts as U+FFFD, which is forbidden.
    private static func validScalar(_ path: Bytes, at index: Int) -> Int? {
        func continuation(_ offset: Int) -> UInt32? {
            guard index + offset < path.count, path[index + offset] & 0xc0 == 0x80 else {
                return nil
            }
            return UInt32(path[index + offset] & 0x3f)
        }
        let lead = UInt32(path[index])
        switch lead {
        case 0xc2...0xdf:
            guard let second = continuation(1) else { return nil }
            let scalar = (lead & 0x1f) << 6 | second
            return scalar < 0xa0 ? nil : 2
        case 0xe0...0xef:
            guard let second = continuation(1), let third = continuation(2) else { return nil }
            let scalar = (lead & 0x0f) << 12 | second << 6 | third
            if scalar < 0x800 || (0xd800...0xf8ff).contains(scalar) || scalar >= 0xfff0 {
                return nil
            }
            return 3
        default:
            return nil
        }
    }

    /// The path that deletes refuse: the root and the reserved znodes.
    static func isReserved(_ path: Bytes) -> Bool {
        path.equals("/") || path.equals(zookeeper) || path.equals(quota) || path.equals(config)
    }
}

extension UnsafeRawBufferPointer {
    /// Whether these bytes are the UTF-8 of `text`.
    public func equals(_ text: String) -> Bool {
        count == text.utf8.count && elementsEqual(text.utf8)
    }
}
