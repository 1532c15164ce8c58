"""load_config: zoo.cfg, dynamic file and myid, read through a given function, into a Config."""

from collections.abc import Mapping

from zktw.config.clientport import read_client_port
from zktw.config.data import DataConfig, data_warnings, read_data
from zktw.config.keys import FILE_KEYS, PROPERTIES, REFUSED, Effect, effect_of
from zktw.config.members import Membership, read_membership
from zktw.config.model import Config
from zktw.config.replication import read_replication
from zktw.config.sources import MEMBER_KEYS, Read, flag_settings, plain_name, read_keys
from zktw.config.values import INT_MAX, Values
from zktw.terms.limits import JUTE_MAXBUFFER

RETAIN_MIN = 3
EXTRA_MIN = 1024
# Checked although nothing depends on them yet: a value that a later release would refuse is a mistake now.
IDLE_FLAGS = (
    "sslQuorumReloadCertFiles",
    "multiAddress.reachabilityCheckEnabled",
    "jvm.pause.monitor",
    "enableEagerACLCheck",
)
IDLE_NUMBERS = (
    "multiAddress.reachabilityCheckTimeoutMs",
    "quorum.cnxn.threads.size",
    "jvm.pause.sleep.time.ms",
    "jvm.pause.warn-threshold.ms",
    "jvm.pause.info-threshold.ms",
    "flushDelay",
    "maxBatchSize",
)


def load_config(path: str, read: Read, environ: Mapping[str, str]) -> Config:
    """The configuration of path, with -D settings of the environment behind it. Raises ConfigError.

    read(path) gives a file's text and raises OSError or UnicodeError; relative paths are passed on as they are.
    """
    keys = read_keys(path, read)
    dynamic = {key: value for key, value in keys.items() if key.startswith(MEMBER_KEYS)}
    static = {plain_name(key): value for key, value in keys.items() if key not in dynamic}
    values = Values(path, static, flag_settings(environ))
    _refuse(values)
    _check_idle(values)
    data_dir = values.text("dataDir")
    if not data_dir:
        raise values.error("dataDir", "dataDir is not set")
    membership = read_membership(values, dynamic, data_dir, read)
    return _build(values, membership, data_dir)


def _build(values: Values, membership: Membership, data_dir: str) -> Config:
    tick_ms = values.number("tickTime", 3000, lowest=1)
    init_limit, sync_limit = _limits(values, membership)
    client_port, client_address = read_client_port(values, membership)
    min_session, max_session = _session_timeouts(values, tick_ms)
    jute_maxbuffer = values.java_number("jute.maxbuffer", JUTE_MAXBUFFER, lowest=1)
    read_only = values.flag("readonlymode.enabled", False)
    data = read_data(values)
    unknown = {key: value for key, value in values.settings.items() if effect_of(key) is None}
    return Config(
        path=values.file,
        data_dir=data_dir,
        data_log_dir=values.text("dataLogDir") or data_dir,
        client_port=client_port,
        client_address=client_address,
        client_backlog=values.number("clientPortListenBacklog", -1),
        max_client_cnxns=max(0, values.number("maxClientCnxns", 60)),
        max_cnxns=max(0, values.number("maxCnxns", 0)),
        tick_ms=tick_ms,
        init_limit=init_limit,
        sync_limit=sync_limit,
        connect_limit=values.number("connectToLearnerMasterLimit", 0, lowest=0) or init_limit,
        min_session_timeout_ms=min_session,
        max_session_timeout_ms=max_session,
        ensemble=membership.ensemble if membership.distributed else None,
        my_sid=membership.my_sid if membership.distributed else 0,
        is_observer=membership.is_observer,
        listen_on_all_ips=values.flag("quorumListenOnAllIPs", False),
        multi_address=values.flag("multiAddress.enabled", False),
        reconfig_enabled=values.flag("reconfigEnabled", False),
        purge_retain=max(RETAIN_MIN, values.number("autopurge.snapRetainCount", RETAIN_MIN)),
        purge_interval_hours=max(0, values.number("autopurge.purgeInterval", 0)),
        election_min_interval_ms=values.number("fastleader.minNotificationInterval", 200, lowest=1),
        election_max_interval_ms=values.number("fastleader.maxNotificationInterval", 60_000, lowest=1),
        election_bind_retries=values.number("electionPortBindRetry", 3, lowest=0),
        connect_timeout_ms=values.number("cnxTimeout", 5000, lowest=1),
        quorum_connect_timeout_ms=values.number("quorumCnxnTimeoutMs", -1),
        leader_connect_delay_ms=values.number("leaderConnectDelayDuringRetryMs", 100, lowest=1),
        max_time_to_wait_for_epoch_ms=values.number("leader.maxTimeToWaitForEpoch", -1),
        observer_election_delay_ms=values.number("observer.election.DelayMs", 200, lowest=0),
        tcp_keepalive=values.flag("tcpKeepAlive", False),
        client_tcp_keepalive=values.flag("clientTcpKeepAlive", False),
        leader_nodelay=values.word("leader.nodelay", True, truth="true"),
        follower_nodelay=values.word("follower.nodelay", True, truth="true"),
        four_letter_words=_four_letter_words(values, read_only),
        sessionless_timeout_ms=values.number("nio.sessionlessCnxnTimeout", 10_000, lowest=1),
        read_only_mode=read_only,
        jute_maxbuffer=jute_maxbuffer,
        jute_extra=max(EXTRA_MIN, values.java_number("jute.maxbuffer.extrasize", jute_maxbuffer, lowest=0)),
        datadir_autocreate=values.flag("datadir.autocreate", True),
        db_autocreate=values.flag("db.autocreate", True),
        snapshot_trust_empty=values.flag("snapshot.trust.empty", False),
        data=data,
        replication=read_replication(values, tick_ms),
        settings=dict(values.settings),
        unknown=unknown,
        warnings=tuple(_warnings(values, membership, data, unknown)),
    )


def _refuse(values: Values) -> None:
    """What asks for more safety than this release has must not be passed over."""
    for key, (harmless, reason) in REFUSED.items():
        if key in values.settings and values.text(key).lower() not in harmless:
            raise values.error(key, reason)
    if "electionAlg" in values.settings and values.number("electionAlg", 3) != 3:
        raise values.error("electionAlg", "Invalid electionAlg value. Only 3 is supported.")


def _check_idle(values: Values) -> None:
    for key in IDLE_FLAGS:
        values.flag(key, False)
    for key in IDLE_NUMBERS:
        values.number(key, 0)


def _limits(values: Values, membership: Membership) -> tuple[int, int]:
    init_limit = values.number("initLimit", 0, lowest=0, highest=INT_MAX)
    sync_limit = values.number("syncLimit", 0, lowest=0, highest=INT_MAX)
    if membership.distributed:
        for key, value in (("initLimit", init_limit), ("syncLimit", sync_limit)):
            if value == 0:
                raise values.error(key, f"{key} is not set" if key not in values.settings else "must be at least 1")
    return init_limit, sync_limit


def _session_timeouts(values: Values, tick_ms: int) -> tuple[int, int]:
    shortest = values.number("minSessionTimeout", -1, lowest=-1)
    longest = values.number("maxSessionTimeout", -1, lowest=-1)
    shortest = 2 * tick_ms if shortest == -1 else shortest
    longest = 20 * tick_ms if longest == -1 else longest
    if shortest > longest:
        raise values.error("minSessionTimeout", f"greater than maxSessionTimeout ({longest}): {shortest}")
    return shortest, longest


def _four_letter_words(values: Values, read_only: bool) -> frozenset[str] | None:
    words = [word.strip() for word in values.text("4lw.commands.whitelist").split(",")]
    if "*" in words:
        return None
    # zkServer.sh asks srvr, and clients that may read from a read-only server ask isro.
    return frozenset([word for word in words if word] + ["srvr"] + (["isro"] if read_only else []))


def _warnings(values: Values, membership: Membership, data: DataConfig, unknown: Mapping[str, str]) -> list[str]:
    warnings = list(membership.warnings)
    if unknown:
        warnings.append(f"unknown, kept without effect: {', '.join(sorted(unknown))}")
    for effect in (Effect.JVM, Effect.LATER):
        named = sorted(key for key in values.settings if effect_of(key) is effect and not _is_default(values, key))
        if named:
            warnings.append(f"{effect.value}: {', '.join(named)}")
    retain = values.number("autopurge.snapRetainCount", RETAIN_MIN)
    warnings += [
        f"{key}={values.text(key)}: a relative path depends on where the server is started"
        for key in ("dataDir", "dataLogDir", "dynamicConfigFile")
        if key in values.settings and not values.text(key).startswith("/")
    ]
    if "clientPort" not in values.settings and (membership.me is None or membership.me.client_address is None):
        warnings.append("no clientPort: no client can connect")
    if retain < RETAIN_MIN:
        warnings.append(f"autopurge.snapRetainCount={retain}: {RETAIN_MIN} snapshots are kept at least")
    return warnings + data_warnings(values, data)


def _is_default(values: Values, key: str) -> bool:
    """Whether a key only says what holds anyway."""
    default = (FILE_KEYS.get(key) or PROPERTIES.get(key) or ("", None))[0]
    return bool(default) and values.text(key).lower() == default.lower()
