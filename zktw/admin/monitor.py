"""What mntr says, line by line: Apache's gauges, counters and summaries in Apache's order, then a block of our own.

What has not happened, or what this release does not do yet, stands at 0 (sizes at -1) as on a fresh Apache server. The
block of our own comes behind all that Apache prints: `zk_election_*` and `zk_last_election_ms`, in ensembles only.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from zktw.admin.facts import Facts
from zktw.admin.figures import ADVANCED, BASIC, COUNTERS
from zktw.admin.stats import Summary

_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999))
_NOTHING = Summary()
# Java writes doubles from here on, and below the other, with an exponent.
_PLAIN_MIN, _PLAIN_MAX = 1e-3, 1e7


def monitor_lines(facts: Facts) -> Iterator[str]:
    """Every line of mntr without its newline."""
    for key, value in _gauges(facts):
        yield f"zk_{key}\t{value}"
    stats = facts.stats
    for name in COUNTERS:
        yield f"zk_{name}\t{stats.counters[name]}"
    for name in BASIC:
        yield from _summary(name, stats.summaries[name], advanced=False)
    for name in ADVANCED:
        yield from _summary(name, stats.summaries[name], advanced=True)
    learners = [str(sid) for sid in facts.learner_sids()]
    # The tree of an ensemble holds the configuration from its first moment, and a write is counted for it.
    written = ["zookeeper"] if facts.config.ensemble is not None else []
    yield from _set(facts, "learner_handler_qp_size", learners, advanced=False)
    yield from _set(facts, "read_per_namespace", [], advanced=False)
    yield from _set(facts, "write_per_namespace", written, advanced=False)
    yield from _set(facts, "learner_handler_qp_time_ms", learners, advanced=True)
    for key, value in facts.election_figures():
        yield f"zk_{key}\t{value}"


def _gauges(facts: Facts) -> Iterator[tuple[str, object]]:
    mode = facts.mode()
    leader = mode == "leader"
    quorum = facts.config.ensemble is not None and mode != "read-only"
    stats, served = facts.stats, facts.served
    yield "version", facts.version
    yield "server_state", mode
    if quorum:
        yield "peer_state", facts.peer_state()
    if mode == "observer":
        yield "observer_master_id", facts.master_sid()
    yield "ephemerals_count", served.ephemeral_count
    yield "num_alive_connections", facts.connection_count()
    yield "avg_latency", format_double(stats.latency.average)
    if leader:
        yield "min_proposal_size", -1
    yield "outstanding_requests", served.outstanding
    yield "znode_count", facts.node_count
    yield "global_sessions", served.session_count
    yield "non_mtls_remote_conn_count", 0
    yield "last_client_response_size", stats.last_response_bytes
    yield "packets_sent", stats.sent
    yield "packets_received", stats.received
    if leader:
        yield "max_proposal_size", -1
    yield "max_client_response_size", stats.max_response_bytes
    if leader:
        yield "synced_followers", facts.synced_followers()
    yield "connection_drop_probability", "0.0"
    yield "watch_count", served.watch_count
    if leader:
        yield "synced_non_voting_followers", facts.synced_non_voting_followers()
        yield "synced_observers", facts.synced_observers()
    elif mode == "follower" and (observers := facts.observer_master_synced()) is not None:
        yield "synced_observers", observers
    yield "auth_failed_count", served.auth_failures
    yield "min_latency", stats.latency.smallest
    yield "max_file_descriptor_count", facts.descriptors()[1]
    yield "approximate_data_size", facts.data_size()
    yield "open_file_descriptor_count", facts.descriptors()[0]
    if leader:
        yield "last_proposal_size", -1
        yield "pending_syncs", 0
        yield "leader_uptime", facts.leader_uptime_ms()
    yield "local_sessions", served.local_session_count
    yield "uptime", facts.uptime_ms()
    yield "max_latency", stats.latency.largest
    yield "outstanding_tls_handshake", 0
    if leader:
        yield "learners", len(facts.learner_sids())
    yield "min_client_response_size", stats.min_response_bytes
    yield "non_mtls_local_conn_count", 0
    if quorum:
        yield "quorum_size", facts.quorum_size()
    yield from served.quotas()


def _set(facts: Facts, name: str, keys: Iterable[str], *, advanced: bool) -> Iterator[str]:
    known = facts.stats.sets[name]
    for key in dict.fromkeys([*keys, *known]):
        yield from _summary(f"{key}_{name}", known.get(key, _NOTHING), advanced=advanced)


def _summary(name: str, summary: Summary, *, advanced: bool) -> Iterator[str]:
    yield f"zk_avg_{name}\t{format_double(summary.average)}"
    yield f"zk_min_{name}\t{summary.smallest}"
    yield f"zk_max_{name}\t{summary.largest}"
    yield f"zk_cnt_{name}\t{summary.count}"
    yield f"zk_sum_{name}\t{summary.total}"
    if advanced:
        for label, fraction in _QUANTILES:
            yield f"zk_{label}_{name}\t{summary.percentile(fraction)}"


def format_double(value: float) -> str:
    """As Java writes a double: at least one digit behind the point, an exponent where Java has one."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or _PLAIN_MIN <= abs(value) < _PLAIN_MAX:
        return repr(value)
    sign, digits, _ = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{Decimal(repr(value)).adjusted()}"
