"""ReplicationConfig: what members of an ensemble need to know of zoo.cfg to carry the same data."""

import re
from dataclasses import dataclass

from zktw.config.values import Values

COMMIT_LOG_COUNT_MIN = 500
_FACTOR = re.compile(r"-?[0-9]*\.?[0-9]+")


@dataclass(frozen=True, slots=True)
class ReplicationConfig:
    """Synchronisation, observers and sessions. Units stand in the names."""

    # Transactions kept in memory for learners that lack them.
    commit_log_count: int = COMMIT_LOG_COUNT_MIN
    # How much of the log a learner is sent, as a share of the newest snapshot's size; 0: any; below 0: none.
    snapshot_size_factor: float = 0.33
    force_snapshot_sync: bool = False
    snap_syncs_max: int = 10
    diff_syncs_max: int = 100
    leader_serves: bool = True
    # Whether an observer has a log of its own.
    observer_logs: bool = True
    local_sessions: bool = False
    local_sessions_upgrade: bool = False
    # 0: this server serves no observers while it follows; else where, and where an observer finds those that do.
    observer_master_port: int = 0
    observer_master_bytes_max: int = 33_554_432
    observer_reconnect_delay_ms: int = 0
    # How long a leader may be silent before its learners leave it; 0: syncLimit.
    leader_silence_ms: int = 0
    # How long a leader that is told to stop waits for what is in flight.
    resign_timeout_ms: int = 1000


def read_replication(values: Values, tick_ms: int) -> ReplicationConfig:
    """The keys of replication. Raises ConfigError."""
    syncs = values.flag("syncEnabled", True) and values.flag("observer.syncEnabled", True)
    local = values.flag("localSessionsEnabled", False)
    return ReplicationConfig(
        commit_log_count=max(COMMIT_LOG_COUNT_MIN, values.number("commitLogCount", COMMIT_LOG_COUNT_MIN)),
        snapshot_size_factor=_factor(values),
        force_snapshot_sync=values.flag("forceSnapshotSync", False),
        snap_syncs_max=values.number("leader.maxConcurrentSnapSyncs", 10, lowest=1),
        diff_syncs_max=values.number("leader.maxConcurrentDiffSyncs", 100, lowest=1),
        leader_serves=not values.word("leaderServes", False, truth="no"),
        observer_logs=syncs,
        local_sessions=local,
        local_sessions_upgrade=values.flag("localSessionsUpgradingEnabled", False) and local,
        observer_master_port=values.port("observerMasterPort") or 0,
        observer_master_bytes_max=values.number("observerMaster.sizeLimit", 33_554_432, lowest=1),
        observer_reconnect_delay_ms=values.number("observer.reconnectDelayMs", 0, lowest=0),
        leader_silence_ms=_leader_silence_ms(values, tick_ms),
        resign_timeout_ms=values.number("resignTimeoutMs", 1000, lowest=0),
    )


def _leader_silence_ms(values: Values, tick_ms: int) -> int:
    key = "leaderSilenceTimeoutMs"
    silence_ms = values.number(key, 0, lowest=0)
    if 0 < silence_ms < tick_ms:
        # A leader that is well says something every half tick.
        raise values.error(key, f"shorter than tickTime ({tick_ms} ms), the least there may be")
    return silence_ms


def _factor(values: Values) -> float:
    key = "snapshotSizeFactor"
    if key not in values.settings:
        return 0.33
    text = values.text(key)
    if not _FACTOR.fullmatch(text):
        raise values.error(key, "not a number")
    return float(text)
