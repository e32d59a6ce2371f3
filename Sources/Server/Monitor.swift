import Ensemble
import StorageFormat
import ClientProtocol
import Vocabulary
import Zab
import Znodes

/// The `mntr` command: one `zk_<name>` and value per line.
///
/// Source: ZooKeeper, `MonitorCommand`, `ServerMetrics`, in the shape of its default metrics
/// provider.
extension ZooKeeperServer {
    var monitorText: String {
        var lines = Lines()
        lines.add("version", ServerVersion.text)
        lines.add("server_state", modeText)
        if ensemble != nil, let leader = peer.leader {
            lines.add("synced_followers", leader.syncedCount(areObservers: false))
            lines.add("synced_observers", leader.syncedCount(areObservers: true))
        }
        addServer(&lines)
        addSummaries(&lines)
        addCounters(&lines)
        return lines.text
    }

    private struct Lines {
        var text = ""

        mutating func add(_ name: String, _ value: some CustomStringConvertible) {
            text += "zk_\(name)\t\(value)\n"
        }

        mutating func add(_ name: String, _ summary: LatencySummary) {
            add("avg_\(name)", decimal(summary.mean))
            add("min_\(name)", summary.minimum)
            add("max_\(name)", summary.maximum)
            add("cnt_\(name)", summary.count)
            add("sum_\(name)", summary.sum)
        }

        mutating func add(_ name: String, _ percentiles: Percentiles) {
            add(name, percentiles.summary)
            add("p50_\(name)", percentiles.quantile(0.5))
            add("p95_\(name)", percentiles.quantile(0.95))
            add("p99_\(name)", percentiles.quantile(0.99))
            add("p999_\(name)", percentiles.quantile(0.999))
        }
    }

    private func addServer(_ lines: inout Lines) {
        let latency = statistics.latency
        let descriptors = Environment.fileDescriptors
        lines.add("avg_latency", decimal(latency.mean))
        lines.add("min_latency", latency.minimum)
        lines.add("max_latency", latency.maximum)
        lines.add("packets_received", statistics.packetsReceived)
        lines.add("packets_sent", statistics.packetsSent)
        lines.add("num_alive_connections", connectionCount)
        lines.add("outstanding_requests", outstanding)
        lines.add("uptime", Clock.milliseconds - startedAt)
        lines.add("znode_count", shownZnodeCount)
        lines.add("watch_count", database.watches.count)
        lines.add("ephemerals_count", database.tree.ephemeralCount)
        lines.add("approximate_data_size", database.tree.dataBytes)
        lines.add("global_sessions", proposer.tracker.count)
        lines.add("local_sessions", 0)
        lines.add("open_file_descriptor_count", descriptors.open)
        lines.add("max_file_descriptor_count", descriptors.maximum)
        lines.add("connection_drop_probability", "0.0")
        lines.add("outstanding_tls_handshake", 0)
        lines.add("auth_failed_count", statistics.authFailures)
        lines.add("non_mtls_remote_conn_count", 0)
        lines.add("non_mtls_local_conn_count", 0)
        lines.add("last_client_response_size", statistics.responseBytes.last)
        lines.add("max_client_response_size", statistics.responseBytes.maximum)
        lines.add("min_client_response_size", statistics.responseBytes.minimum)
    }

    private func addSummaries(_ lines: inout Lines) {
        lines.add("fsynctime", statistics.fsyncTime)
        lines.add("snapshottime", statistics.snapshotTime)
        lines.add("readlatency", statistics.readLatency)
        lines.add("updatelatency", statistics.updateLatency)
        for (name, milliseconds) in [
            ("startup_snap_load_time", statistics.startupSnapshotMilliseconds),
            ("startup_txns_load_time", statistics.startupLogMilliseconds),
            (
                "dbinittime",
                statistics.startupSnapshotMilliseconds + statistics.startupLogMilliseconds
            ),
        ] {
            var summary = LatencySummary()
            summary.record(milliseconds)
            lines.add(name, summary)
        }
        for (type, name) in [
            (WatchEventType.nodeCreated, "created"), (.nodeDeleted, "deleted"),
            (.nodeDataChanged, "changed"), (.nodeChildrenChanged, "children"),
        ] {
            lines.add("node_\(name)_watch_count", statistics.watchEvents[Int(type.rawValue)])
        }
        lines.add("sync_processor_batch_size", statistics.flushedBatchSize)
        for name in Self.summariesOfEnsembles { lines.add(name, LatencySummary()) }
        for name in Self.percentilesOfEnsembles { lines.add(name, Percentiles()) }
    }

    /// What a standalone server has nothing to say about; tools expect the names all the same.
    private static let summariesOfEnsembles = [
        "election_time", "unavailable_time", "leader_unavailable_time", "follower_sync_time",
        "observer_sync_time", "inflight_snap_count", "inflight_diff_count",
        "sync_processor_queue_size", "prep_processor_queue_size", "commit_commit_proc_req_queued",
    ]
    private static let percentilesOfEnsembles = [
        "propagation_latency", "proposal_latency", "quorum_ack_latency",
        "sync_processor_queue_flush_time_ms", "prep_processor_queue_time_ms",
    ]
    private static let countersOfEnsembles = [
        "throttled_ops", "large_requests_rejected", "looking_count", "diff_count", "snap_count",
        "connection_revalidate_count",
        "stale_requests", "stale_requests_dropped", "stale_replies", "unsuccessful_handshake",
        "tls_handshake_exceeded", "ensemble_auth_success", "ensemble_auth_fail",
        "ensemble_auth_skip", "insecure_admin_count", "unrecoverable_error_count",
        "cnxn_closed_without_zk_server_running", "snapshot_rate_limited_count",
        "restore_error_count", "restore_rate_limited_count",
    ]

    private func addCounters(_ lines: inout Lines) {
        lines.add("proposal_count", statistics.commits)
        lines.add("commit_count", statistics.commits)
        lines.add("response_bytes", statistics.responseBytes.sum)
        lines.add("watch_bytes", statistics.watchBytes)
        lines.add("bytes_received_count", statistics.bytesReceived)
        lines.add("connection_request_count", statistics.connectionRequests)
        lines.add("connection_rejected", statistics.connectionsRejected)
        lines.add("connection_drop_count", statistics.connectionsDropped)
        lines.add("sessionless_connections_expired", statistics.sessionlessExpired)
        lines.add("stale_sessions_expired", statistics.staleSessionsExpired)
        lines.add("request_throttle_wait_count", statistics.throttleWaits)
        lines.add("snapshot_error_count", statistics.snapshotErrors)
        lines.add("digest_mismatches_count", database.digestMismatches)
        for name in Self.countersOfEnsembles { lines.add(name, 0) }
    }
}
