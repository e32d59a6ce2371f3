package import ClientProtocol
import Configuration
import EventLoop
import Logging
package import Vocabulary
package import Znodes

/// Who is connected: accepting within the limits, leaving, waiting while there is too much to do.
extension ZooKeeperServer {
    func accept(_ stream: Stream) {
        let address = stream.peer.bytes
        let perAddress = connectionsPerAddress[address, default: 0]
        let isFull = configuration.maxCnxns > 0 && connectionCount >= configuration.maxCnxns
        let hasTooMany =
            configuration.maxClientCnxns > 0 && perAddress >= configuration.maxClientCnxns
        guard !isFull, !hasTooMany else {
            statistics.connectionsRejected += 1
            let reason = isFull ? "maxCnxns" : "maxClientCnxns"
            logger.warning(
                "connection refused", metadata: ["peer": "\(stream.peer)", "limit": "\(reason)"])
            return stream.close()
        }
        connectionsPerAddress[address] = perAddress + 1
        connectionCount += 1
        let watcher = freeWatchers.popLast() ?? WatcherID(connections.count)
        let connection = ClientConnection(server: self, stream: stream, watcher: watcher)
        if Int(watcher) == connections.count { connections.append(nil) }
        connections[Int(watcher)] = connection
        if configuration.clientTcpKeepAlive { stream.setKeepAlive(delaySeconds: 60) }
        let patience = UInt64(max(0, configuration.sessionlessTimeoutMilliseconds))
        sessionless.append((now + patience, connection))
        stream.delegate = connection
        stream.startReading()
    }

    /// The connection takes no part any more; its descriptor closes soon.
    func left(_ connection: ClientConnection) {
        database.watches.removeAll(of: connection.watcher)
        if connectionsBySession[connection.session] === connection {
            connectionsBySession[connection.session] = nil
        }
        if revalidating[connection.session] === connection {
            revalidating[connection.session] = nil
        }
        connectionCount -= 1
        let address = connection.stream.peer.bytes
        let rest = connectionsPerAddress[address, default: 1] - 1
        connectionsPerAddress[address] = rest == 0 ? nil : rest
    }

    func gone(_ connection: ClientConnection) {
        connections[Int(connection.watcher)] = nil
        freeWatchers.append(connection.watcher)
    }

    func expireSessionless() {
        while let first = sessionless.first {
            let isWaiting =
                first.connection.phase == .fresh || first.connection.phase == .establishing
            if isWaiting, first.deadline > now { return }
            sessionless.removeFirst()
            if isWaiting {
                statistics.sessionlessExpired += 1
                first.connection.close()
            }
        }
    }

    // MARK: Throttling

    func throttleIfBusy(_ connection: ClientConnection) {
        guard outstanding >= configuration.globalOutstandingLimit else { return }
        statistics.throttleWaits += 1
        connection.throttle()
        throttled.append(connection)
    }

    func resumeThrottled() {
        guard !throttled.isEmpty, outstanding < configuration.globalOutstandingLimit else { return }
        let waiting = throttled
        throttled.removeAll(keepingCapacity: true)
        for connection in waiting where connection.phase != .closing {
            connection.isThrottled = false
            connection.resume()
        }
    }
}

extension ZooKeeperServer: WatchSink {
    package func deliver(
        _ type: WatchEventType, path: UnsafeRawBufferPointer, zxid: Zxid, acl: Access,
        to watchers: [WatcherID]
    ) {
        statistics.watchEvents[Int(type.rawValue)].record(Int64(watchers.count))
        for watcher in watchers {
            guard let connection = connections[Int(watcher)],
                configuration.skipACL || acl.permits(.read, to: connection.identities)
            else { continue }
            connection.sendEvent(type, path: path, zxid: zxid)
        }
    }
}
