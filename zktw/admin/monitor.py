"""What mntr says: gauges, counters and summaries by Apache's names and in Apache's order, then our own at the end.

What has not happened, or what this release does not do yet, stands at 0 as it does on a fresh Apache server.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from zktw.admin.stats import Summary

if TYPE_CHECKING:
    from zktw.admin.commands import Facts

COUNTERS = (
    "proposal_count",
    "watch_bytes",
    "outstanding_changes_removed",
    "throttled_ops",
    "stale_requests_dropped",
    "large_requests_rejected",
    "insecure_admin_count",
    "connection_rejected",
    "cnxn_closed_without_zk_server_running",
    "sessionless_connections_expired",
    "looking_count",
    "dead_watchers_queued",
    "stale_requests",
    "connection_drop_count",
    "learner_proposal_received_count",
    "digest_mismatches_count",
    "dead_watchers_cleared",
    "response_packet_cache_hits",
    "bytes_received_count",
    "add_dead_watcher_stall_time",
    "request_throttle_wait_count",
    "requests_not_forwarded_to_commit_processor",
    "response_packet_cache_misses",
    "ensemble_auth_success",
    "prep_processor_request_queued",
    "learner_commit_received_count",
    "stale_replies",
    "connection_request_count",
    "response_bytes",
    "ensemble_auth_fail",
    "diff_count",
    "response_packet_get_children_cache_misses",
    "connection_revalidate_count",
    "quit_leading_due_to_disloyal_voter",
    "snap_count",
    "unrecoverable_error_count",
    "unsuccessful_handshake",
    "commit_count",
    "stale_sessions_expired",
    "response_packet_get_children_cache_hits",
    "sync_processor_request_queued",
    "outstanding_changes_queued",
    "request_commit_queued",
    "ensemble_auth_skip",
    "skip_learner_request_to_next_processor_count",
    "tls_handshake_exceeded",
    "revalidate_count",
)

BASIC = (
    "socket_closing_time",
    "proposal_process_time",
    "leader_unavailable_time",
    "node_created_watch_count",
    "session_queues_drained",
    "write_commit_proc_req_queued",
    "connection_token_deficit",
    "read_commit_proc_req_queued",
    "node_deleted_watch_count",
    "startup_txns_load_time",
    "sync_processor_queue_size",
    "follower_sync_time",
    "prep_processor_queue_size",
    "fsynctime",
    "inflight_snap_count",
    "reads_issued_from_session_queue",
    "learner_request_processor_queue_size",
    "snapshottime",
    "unavailable_time",
    "startup_txns_loaded",
    "reads_after_write_in_session_queue",
    "requests_in_session_queue",
    "write_commit_proc_issued",
    "prep_process_time",
    "pending_session_queue_size",
    "time_waiting_empty_pool_in_commit_processor_read_ms",
    "commit_process_time",
    "dbinittime",
    "inflight_diff_count",
    "netty_queued_buffer_capacity",
    "election_time",
    "commit_commit_proc_req_queued",
    "sync_processor_batch_size",
    "node_children_watch_count",
    "write_batch_time_in_commit_processor",
    "read_commit_proc_issued",
    "concurrent_request_processing_in_commit_processor",
    "observer_sync_time",
    "node_changed_watch_count",
    "sync_process_time",
    "startup_snap_load_time",
)

ADVANCED = (
    "prep_processor_queue_time_ms",
    "jvm_pause_time_ms",
    "close_session_prep_time",
    "read_commitproc_time_ms",
    "updatelatency",
    "local_write_committed_time_ms",
    "request_throttle_queue_time_ms",
    "readlatency",
    "quorum_ack_latency",
    "om_commit_process_time_ms",
    "read_final_proc_time_ms",
    "commit_propagation_latency",
    "dead_watchers_cleaner_latency",
    "write_final_proc_time_ms",
    "proposal_ack_creation_latency",
    "proposal_latency",
    "om_proposal_process_time_ms",
    "sync_processor_queue_and_flush_time_ms",
    "propagation_latency",
    "server_write_committed_time_ms",
    "sync_processor_queue_time_ms",
    "sync_processor_queue_flush_time_ms",
    "write_commitproc_time_ms",
)

_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999))
_NOTHING = Summary()


def monitor_lines(facts: "Facts") -> Iterator[str]:
    """Every line of mntr without its newline."""
    for key, value in _gauges(facts):
        yield f"zk_{key}\t{value}"
    stats = facts.stats
    for name in COUNTERS:
        yield f"zk_{name}\t{stats.counters.get(name, 0)}"
    for name in BASIC:
        yield from _summary(name, stats.summaries.get(name, _NOTHING), advanced=False)
    for name in ADVANCED:
        yield from _summary(name, stats.summaries.get(name, _NOTHING), advanced=True)
    for sid in facts.learner_sids():
        yield from _summary(f"{sid}_learner_handler_qp_size", _NOTHING, advanced=False)
        yield from _summary(f"{sid}_learner_handler_qp_time_ms", _NOTHING, advanced=True)
    for key, value in facts.election_figures():
        yield f"zk_{key}\t{value}"


def _gauges(facts: "Facts") -> Iterator[tuple[str, object]]:
    mode = facts.mode()
    leader = mode == "leader"
    quorum = facts.config.ensemble is not None and mode != "read-only"
    stats = facts.stats
    yield "version", facts.version
    yield "server_state", mode
    if quorum:
        yield "peer_state", facts.peer_state()
    if mode == "observer":
        yield "observer_master_id", facts.leader_sid()
    yield "ephemerals_count", 0
    yield "num_alive_connections", facts.connection_count()
    yield "avg_latency", "0.0"
    if leader:
        yield "min_proposal_size", -1
    yield "outstanding_requests", 0
    yield "znode_count", facts.node_count
    yield "global_sessions", 0
    yield "non_mtls_remote_conn_count", 0
    yield "last_client_response_size", -1
    yield "packets_sent", stats.sent
    yield "packets_received", stats.received
    if leader:
        yield "max_proposal_size", -1
    yield "max_client_response_size", -1
    if leader:
        yield "synced_followers", facts.synced_followers()
    yield "connection_drop_probability", "0.0"
    yield "watch_count", 0
    if leader:
        yield "synced_non_voting_followers", facts.synced_non_voting_followers()
        yield "synced_observers", facts.synced_observers()
    yield "auth_failed_count", 0
    yield "min_latency", 0
    yield "max_file_descriptor_count", facts.descriptors()[1]
    yield "approximate_data_size", facts.data_size()
    yield "open_file_descriptor_count", facts.descriptors()[0]
    if leader:
        yield "last_proposal_size", -1
        yield "pending_syncs", 0
        yield "leader_uptime", facts.leader_uptime_ms()
    yield "local_sessions", 0
    yield "uptime", facts.uptime_ms()
    yield "max_latency", 0
    yield "outstanding_tls_handshake", 0
    if leader:
        yield "learners", len(facts.learner_sids())
    yield "min_client_response_size", -1
    yield "non_mtls_local_conn_count", 0
    if quorum:
        yield "quorum_size", facts.quorum_size()


def _summary(name: str, summary: Summary, *, advanced: bool) -> Iterator[str]:
    yield f"zk_avg_{name}\t{format_average(summary.average)}"
    yield f"zk_min_{name}\t{summary.smallest}"
    yield f"zk_max_{name}\t{summary.largest}"
    yield f"zk_cnt_{name}\t{summary.count}"
    yield f"zk_sum_{name}\t{summary.total}"
    if advanced:
        for label, fraction in _QUANTILES:
            yield f"zk_{label}_{name}\t{summary.percentile(fraction)}"


def format_average(value: float) -> str:
    """A mean with up to four digits, one at least."""
    text = f"{value:.4f}".rstrip("0")
    return text + "0" if text.endswith(".") else text
