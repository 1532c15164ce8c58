"""Config: everything that the rest of the server needs to know, checked and with its defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from zktw.config.data import DataConfig
from zktw.config.replication import ReplicationConfig
from zktw.quorum.ensemble import Ensemble
from zktw.terms.limits import JUTE_MAXBUFFER


@dataclass(frozen=True, slots=True)
class Config:
    """One server's configuration. Times in milliseconds where the name says so; limits in ticks."""

    path: str
    data_dir: str
    data_log_dir: str = ""
    client_port: int | None = None
    client_address: str = ""
    client_backlog: int = -1
    max_client_cnxns: int = 60
    max_cnxns: int = 0
    tick_ms: int = 3000
    init_limit: int = 10
    sync_limit: int = 5
    connect_limit: int = 10
    min_session_timeout_ms: int = 6000
    max_session_timeout_ms: int = 60_000
    # None: a standalone server.
    ensemble: Ensemble | None = None
    my_sid: int = 0
    is_observer: bool = False
    listen_on_all_ips: bool = False
    multi_address: bool = False
    reconfig_enabled: bool = False
    purge_retain: int = 3
    purge_interval_hours: int = 0
    election_min_interval_ms: int = 200
    election_max_interval_ms: int = 60_000
    election_bind_retries: int = 3
    connect_timeout_ms: int = 5000
    quorum_connect_timeout_ms: int = -1
    leader_connect_delay_ms: int = 100
    max_time_to_wait_for_epoch_ms: int = -1
    observer_election_delay_ms: int = 200
    tcp_keepalive: bool = False
    client_tcp_keepalive: bool = False
    leader_nodelay: bool = True
    follower_nodelay: bool = True
    # None: every four-letter word is allowed.
    four_letter_words: frozenset[str] | None = frozenset({"srvr"})
    sessionless_timeout_ms: int = 10_000
    read_only_mode: bool = False
    jute_maxbuffer: int = JUTE_MAXBUFFER
    jute_extra: int = JUTE_MAXBUFFER
    datadir_autocreate: bool = True
    db_autocreate: bool = True
    snapshot_trust_empty: bool = False
    data: DataConfig = field(default_factory=DataConfig)
    replication: ReplicationConfig = field(default_factory=ReplicationConfig)
    # Everything that was set, by Apache's name without "zookeeper.".
    settings: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
