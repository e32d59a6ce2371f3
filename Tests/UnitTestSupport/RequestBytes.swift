import Jute
package import Vocabulary

/// The bodies of write requests, as clients send them.
package enum RequestBytes {
    package static func create(
        _ path: String, data: [UInt8]? = [], acl: [ACL]? = [.open], flags: Int32 = 0,
        ttlMilliseconds: Int64? = nil
    ) -> [UInt8] {
        bytes {
            $0.appendField(path)
            $0.appendOptional(data)
            if let acl { $0.append(acl) } else { $0.appendNull() }
            $0.append(flags)
            if let ttlMilliseconds { $0.append(ttlMilliseconds) }
        }
    }

    /// Of `delete` and `check`.
    package static func pathVersion(_ path: String, _ version: Int32 = -1) -> [UInt8] {
        bytes {
            $0.appendField(path)
            $0.append(version)
        }
    }

    package static func path(_ path: String) -> [UInt8] { bytes { $0.appendField(path) } }

    package static func setData(
        _ path: String, _ data: [UInt8]?, version: Int32 = -1
    ) -> [UInt8] {
        bytes {
            $0.appendField(path)
            $0.appendOptional(data)
            $0.append(version)
        }
    }

    package static func setACL(
        _ path: String, _ acl: [ACL], version: Int32 = -1
    ) -> [UInt8] {
        bytes {
            $0.appendField(path)
            $0.append(acl)
            $0.append(version)
        }
    }

    package static func multi(_ operations: [(op: OpCode, body: [UInt8])]) -> [UInt8] {
        bytes {
            for operation in operations {
                $0.append(operation.op)
                $0.append(false)
                $0.append(Int32(-1))
                $0.append(operation.body)
            }
            $0.append(Int32(-1))
            $0.append(true)
            $0.append(Int32(-1))
        }
    }

    package static func reconfig(joining: String? = nil, leaving: String? = nil) -> [UInt8] {
        bytes {
            for text in [joining, leaving, nil] {
                if let text { $0.appendField(text) } else { $0.appendNull() }
            }
            $0.append(Int64(-1))
        }
    }
}

extension ByteBuffer {
    /// A buffer that may be null.
    fileprivate mutating func appendOptional(_ data: [UInt8]?) {
        if let data { appendField(data.span) } else { appendNull() }
    }
}
