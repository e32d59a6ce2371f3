// The table of the keys of Apache ZooKeeper that have no effect here, and why.

extension ConfigurationKey {
    package static let notImplementedYet: [ConfigurationKey] =
        list(.notImplementedYet, because: "an oracle for two servers is not there yet") {
            "oraclePath"
        }
        + list(.notImplementedYet, because: "a leader waits for epochs as long as initLimit says") {
            "leader.maxTimeToWaitForEpoch maxTimeToWaitForEpoch"
        }
        + list(.notImplementedYet, because: "the record of what was sent last is not there yet") {
            "messageTracker.Enabled messageTracker.BufferSize"
        }
        + list(.notImplementedYet, because: "TLS is not there yet") {
            """
            secureClientPort secureClientPortAddress sslQuorum portUnification \
            sslQuorumReloadCertFiles client.portUnification client.certReload ssl.* fips-mode \
            X509AuthenticationProvider.* netty.server.outstandingHandshake.limit \
            outstandingHandshake.limit netty.server.earlyDropSecureConnectionHandshakes
            """
        }
        + list(.notImplementedYet, because: "SASL and further authentication are not there yet") {
            """
            authProvider.* allowSaslFailedClients sasl.* SASLAuthenticationProvider.* \
            letAnySaslUserDoX requireKerberosConfig security.auth_to_local kerberos.* superUser \
            superUser.* ensembleAuthName quorum.auth.* learner.saslLoginContext \
            server.saslLoginContext server.realm java.security.auth.login.config \
            IPAuthenticationProvider.usexforwardedfor
            """
        }
        + list(.notImplementedYet, because: "the admin and metrics servers are not there yet") {
            "admin.* metricsProvider.*"
        }
        + list(.notImplementedYet, because: "the audit log is not there yet") { "audit.*" }
        + list(.notImplementedYet, because: "path statistics are not there yet") { "pathStats.*" }
        + list(.notImplementedYet, because: "the early check of ACLs is not there yet") {
            "enableEagerACLCheck"
        }
        + list(.notImplementedYet, because: "the layout of 3.5.3 is not there yet") {
            "emulate353TTLNodes"
        }
        + list(
            .notImplementedYet,
            because: "of connection throttling, refusing at random is not there yet"
        ) {
            """
            connection_throttle_freeze_time connectionFreezeTime \
            connection_throttle_drop_increase connectionDropIncrease \
            connection_throttle_drop_decrease connectionDropDecrease \
            connection_throttle_decrease_ratio connectionDecreaseRatio
            """
        }
        + list(
            .notImplementedYet,
            because: "of request throttling, only globalOutstandingLimit is there"
        ) {
            """
            request_throttle_max_requests requestThrottleLimit request_throttle_stall_time \
            requestThrottleStallTime request_throttle_drop_stale requestThrottleDropStale \
            request_stale_connection_check requestStaleConnectionCheck \
            request_stale_latency_check requestStaleLatencyCheck \
            request_throttler.shutdownTimeout throttled_op_wait_time throttledOpWaitTime \
            largeRequestThreshold largeRequestMaxBytes
            """
        }

    package static let notApplicable: [ConfigurationKey] =
        list(.notApplicable, because: "one event loop, no thread pools and no choice of them") {
            """
            nio.numSelectorThreads nio.numWorkerThreads nio.shutdownTimeout nio.directBufferBytes \
            serverCnxnFactory netty.* advancedFlowControlEnabled intBufferStartingSizeBytes \
            commitProcessor.* quorum.cnxn.threads.size learner.asyncSending \
            learner.closeSocketAsync leader.closeSocketAsync \
            forward_learner_requests_to_commit_processor_disabled \
            follower.skipLearnerRequestToNextProcessor
            """
        }
        + list(.notApplicable, because: "packets between servers never wait for more to send") {
            "leader.nodelay follower.nodelay"
        }
        + list(.notApplicable, because: "all addresses of a server are dialed at once") {
            """
            multiAddress.reachabilityCheckEnabled multiAddress.reachabilityCheckTimeoutMs
            """
        }
        + list(.notApplicable, because: "a port that is taken ends the start at once") {
            "electionPortBindRetry"
        }
        + list(.notApplicable, because: "a learner dials again after 10 to 100 milliseconds") {
            "leaderConnectDelayDuringRetryMs"
        }
        + list(
            .notApplicable, because: "a master serves observers from memory and from its logs"
        ) { "observerMaster.sizeLimit" }
        + list(.notApplicable, because: "one tree at a time is read for learners, others wait") {
            """
            leader.maxConcurrentSnapSyncs maxConcurrentSnapSyncs leader.maxConcurrentSnapshots \
            leader.maxConcurrentDiffSyncs maxConcurrentDiffSyncs
            """
        }
        + list(
            .notApplicable,
            because: "while one flush is in flight the next batch gathers, whatever its size"
        ) { "flushDelay maxWriteQueuePollTime maxBatchSize" }
        + list(.notApplicable, because: "replies are not cached") {
            "maxResponseCacheSize maxGetChildrenResponseCacheSize"
        }
        + list(.notApplicable, because: "there is one watch manager") {
            """
            watchManagerName watcherCleanThreadsNum watcherCleanThreshold \
            watcherCleanIntervalInSeconds maxInProcessingDeadWatchers bitHashCacheSize
            """
        }
        + list(.notApplicable, because: "there is no Java virtual machine, JMX or log4j") {
            """
            jvm.pause.* jmx.* log.* log4j* root.logger console.threshold java.* javax.* \
            sun.* com.sun.* jdk.* org.* file.encoding user.*
            """
        }
        + list(.notApplicable, because: "a switch for Apache's own tests") {
            "controllerPort test.allowDiscontinuousProposals testingonly.initialZxid"
        }
        + list(.notApplicable, because: "a choice among Java's TLS libraries") {
            "ssl.context.supplier.class ssl.sslProvider"
        }

    private static func list(
        _ status: Status, because reason: String, _ names: () -> String
    ) -> [ConfigurationKey] {
        names().split(separator: " ").map { ConfigurationKey(String($0), status, reason) }
    }
}
