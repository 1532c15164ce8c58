"""Parts of the data service as they are configured, and what is told of a recovery."""

from twisted.logger import Logger

from zktw.config import Config
from zktw.node.clock import Random
from zktw.pipeline.auth import Authentication
from zktw.pipeline.throttle import ConnectionThrottle
from zktw.storage.recovery import Recovered
from zktw.terms.zxid import format_zxid
from zktw.tree.database import Database

log = Logger()


def make_database(config: Config) -> Database:
    """The fresh database of a server with this configuration."""
    data = config.data
    return Database(
        extended_types=data.extended_types,
        emulate_353=data.emulate_353,
        digest_enabled=data.digest_enabled,
        config_version=0 if config.ensemble is None else -1,
    )


def make_authentication(config: Config) -> Authentication:
    """The schemes that are configured."""
    data = config.data
    return Authentication(
        digest=data.digest_auth_enabled,
        digest_alg=data.digest_alg,
        super_digest=data.super_digest,
        skip_acl=data.skip_acl,
    )


def make_throttle(config: Config, random: Random, now_ms: float) -> ConnectionThrottle:
    """The throttle of handshakes that is configured."""
    throttle = config.data.connection_throttle
    return ConnectionThrottle(
        random.random,
        now_ms,
        tokens=throttle.tokens,
        fill_time_ms=throttle.fill_time,
        fill_count=throttle.fill_count,
        freeze_time_ms=throttle.freeze_time,
        drop_increase=throttle.drop_increase,
        drop_decrease=throttle.drop_decrease,
        decrease_ratio=throttle.decrease_ratio,
    )


def log_recovery(recovered: Recovered) -> None:
    """What was found on disk."""
    for warning in recovered.warnings:
        log.warn("{warning}", warning=warning)
    log.info(
        "{nodes} nodes and {sessions} sessions at zxid {zxid}; {replayed} transactions replayed",
        nodes=len(recovered.database.tree.nodes),
        sessions=len(recovered.database.sessions),
        zxid=format_zxid(recovered.last_zxid),
        replayed=recovered.txns_replayed,
    )
