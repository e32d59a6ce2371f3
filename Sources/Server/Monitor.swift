import ClientProtocol
import Ensemble
import QuorumProtocol
import Vocabulary
import Zab
import Znodes

/// The `mntr` command: one `zk_<name>` and value per line.
///
/// Source: ZooKeeper, `MonitorCommand`, `ServerMetrics`, in the shape of its default metrics
/// provider.
extension ZooKeeperServer {
    func monitorText(_ mode: String) -> String {
        var lines = Lines()
        lines.add("version", ServerVersion.text)
        lines.add("server_state", mode)
        if ensemble != nil, !isReadOnly { addRole(&lines) }
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

    private func addRole(_ lines: inout Lines) {
        // Whoever serves clients is in that phase.
        lines.add("peer_state", "\(peer.state) - broadcast")
        lines.add("quorum_size", peer.configuration?.participants.count ?? 0)
        if peer.state == .observing {
            lines.add("observer_master_id", ensemble?.master?.rawValue ?? -1)
        }
        if let master = peer.observerMaster { lines.add("synced_observers", master.syncedCount) }
        guard let leader = peer.leader else { return }
        let roles = statistics.roles
        lines.add("learners", peer.links.count)
        lines.add("synced_followers", leader.syncedCount(areObservers: false))
        lines.add("synced_non_voting_followers", leader.syncedNonVoterCount)
        lines.add("synced_observers", leader.syncedCount(areObservers: true))
        lines.add("pending_syncs", peer.pendingSyncs)
        lines.add("leader_uptime", now - roles.since.serving)
        lines.add("last_proposal_size", roles.proposalSizes.last)
        lines.add("max_proposal_size", roles.proposalSizes.maximum)
        lines.add("min_proposal_size", roles.proposalSizes.minimum)
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
        let inRole = statistics.roles.since.role.map { Int64(bitPattern: now &- $0) }
        lines.add("uptime", inRole ?? Clock.milliseconds - startedAt)
        lines.add("znode_count", shownZnodeCount)
        lines.add("watch_count", database.watches.count)
        lines.add("ephemerals_count", database.tree.ephemeralCount)
        lines.add("approximate_data_size", database.tree.dataBytes)
        lines.add("global_sessions", database.sessions.count)
        lines.add("local_sessions", localSessionCount)
        lines.add("open_file_descriptor_count", descriptors.open)
        lines.add("max_file_descriptor_count", descriptors.maximum)
        lines.add("connection_drop_probability", "0.0")
        lines.add("outstanding_tls_handshake", 0)
        lines.add("auth_failed_count", statistics.authFailures)
        lines.add("non_mtls_remote_conn_count", 0)
        lines.add("non_mtls_local_conn_count", 0)
        lines.add("last_client_response_size", statistics.responseSizes.last)
        lines.add("max_client_response_size", statistics.responseSizes.maximum)
        lines.add("min_client_response_size", statistics.responseSizes.minimum)
    }

    private func addSummaries(_ lines: inout Lines) {
        let roles = statistics.roles
        lines.add("fsynctime", statistics.fsyncTime)
        lines.add("snapshottime", statistics.snapshotTime)
        lines.add("startup_snap_load_time", statistics.startupSnapshotTime)
        lines.add("startup_txns_load_time", statistics.startupLogTime)
        lines.add("dbinittime", statistics.startupTime)
        lines.add("sync_processor_batch_size", statistics.flushedBatchSize)
        lines.add("sync_processor_queue_flush_time_ms", statistics.flushTime)
        lines.add("readlatency", statistics.readLatency)
        lines.add("updatelatency", statistics.updateLatency)
        lines.add("propagation_latency", roles.propagationLatency)
        lines.add("quorum_ack_latency", roles.quorumAckLatency)
        for (server, latency) in roles.ackLatency.sorted(by: { $0.key < $1.key }) {
            lines.add("\(server.rawValue)_ack_latency", latency)
        }
        lines.add("proposal_latency", roles.proposalLatency)
        lines.add("proposal_ack_creation_latency", roles.proposalAckCreationLatency)
        lines.add("commit_propagation_latency", roles.commitPropagationLatency)
        lines.add("election_time", roles.electionTime)
        lines.add("unavailable_time", roles.unavailableTime)
        lines.add("leader_unavailable_time", roles.leaderUnavailableTime)
        lines.add("follower_sync_time", roles.followerSyncTime)
        lines.add("observer_sync_time", roles.observerSyncTime)
        lines.add("inflight_snap_count", roles.inflightSnapCount)
        lines.add("inflight_diff_count", roles.inflightDiffCount)
        for (type, name) in [
            (WatchEventType.nodeCreated, "created"), (.nodeDeleted, "deleted"),
            (.nodeDataChanged, "changed"), (.nodeChildrenChanged, "children"),
        ] {
            lines.add("node_\(name)_watch_count", statistics.watchEvents[Int(type.rawValue)])
        }
        for name in Self.otherSummaries { lines.add(name, LatencySummary()) }
        for name in Self.otherPercentiles { lines.add(name, Percentiles()) }
    }

    private func addCounters(_ lines: inout Lines) {
        let roles = statistics.roles
        lines.add("looking_count", roles.lookingCount)
        lines.add("proposal_count", roles.proposalCount)
        lines.add("commit_count", roles.commitCount)
        lines.add("diff_count", roles.diffCount)
        lines.add("snap_count", roles.snapCount)
        lines.add("revalidate_count", roles.revalidateCount)
        lines.add("learner_proposal_received_count", roles.proposalsReceived)
        lines.add("learner_commit_received_count", roles.commitsReceived)
        lines.add("response_bytes", statistics.responseBytes)
        lines.add("watch_bytes", statistics.watchBytes)
        lines.add("bytes_received_count", statistics.bytesReceived)
        lines.add("connection_request_count", statistics.connectionRequests)
        lines.add("connection_rejected", statistics.connectionsRejected)
        lines.add("connection_drop_count", statistics.connectionsDropped)
        lines.add("connection_revalidate_count", statistics.connectionRevalidations)
        lines.add("sessionless_connections_expired", statistics.sessionlessExpired)
        lines.add("stale_sessions_expired", statistics.staleSessionsExpired)
        lines.add("request_throttle_wait_count", statistics.throttleWaits)
        lines.add("snapshot_error_count", statistics.snapshotErrors)
        lines.add("digest_mismatches_count", database.digestMismatches)
        for name in Self.otherCounters { lines.add(name, 0) }
    }

    // What cannot happen here, or has no counterpart; tools expect the names all the same.
    private static let otherSummaries = [
        "sync_processor_queue_size", "prep_processor_queue_size", "commit_commit_proc_req_queued",
        "restore_time",
    ]
    private static let otherPercentiles = ["prep_processor_queue_time_ms"]
    private static let otherCounters = [
        "throttled_ops", "large_requests_rejected", "stale_requests", "stale_requests_dropped",
        "stale_replies", "unsuccessful_handshake", "tls_handshake_exceeded",
        "ensemble_auth_success", "ensemble_auth_fail", "ensemble_auth_skip",
        "insecure_admin_count", "unrecoverable_error_count",
        "cnxn_closed_without_zk_server_running", "quit_leading_due_to_disloyal_voter",
        "snapshot_rate_limited_count", "restore_error_count", "restore_rate_limited_count",
    ]
}
