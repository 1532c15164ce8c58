"""DataConfig: what the data service needs to know of zoo.cfg, from the tree to the disk."""

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import Literal

from zktw.config.values import Values

SNAP_COUNT_MIN = 2
KB_MAX = 2**53
Compression = Literal["", "gz", "snappy"]
COMPRESSIONS: tuple[Compression, ...] = ("", "gz", "snappy")
DIGEST_KEY = "DigestAuthenticationProvider."
# Java's names of digests, in capitals, and hashlib's.
ALGORITHMS = {
    "MD5": "md5",
    "SHA": "sha1",
    "SHA1": "sha1",
    "SHA-1": "sha1",
    "SHA-224": "sha224",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
    "SHA-512/224": "sha512_224",
    "SHA-512/256": "sha512_256",
    "SHA3-224": "sha3_224",
    "SHA3-256": "sha3_256",
    "SHA3-384": "sha3_384",
    "SHA3-512": "sha3_512",
}


@dataclass(frozen=True, slots=True)
class ConnectionThrottle:
    """The bucket of tokens at the handshake. Times in milliseconds, shares from 0 to 1; tokens 0: no throttle."""

    tokens: int = 0
    fill_time: int = 1
    fill_count: int = 1
    # -1: the share of connections that are dropped never moves.
    freeze_time: int = -1
    drop_increase: float = 0.02
    drop_decrease: float = 0.002
    decrease_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Log, snapshots, tree, rights and limits of requests. Units stand in the names."""

    snap_count: int = 100_000
    # 0 or less: size alone is no reason for a snapshot, or for another file.
    snap_size_limit_kb: int = 4_194_304
    log_size_limit_kb: int = -1
    prealloc_kb: int = 65_536
    force_sync: bool = True
    fsync_warning_ms: int = 1000
    digest_enabled: bool = True
    serialize_last_zxid: bool = True
    close_session_txn: bool = True
    # "", "gz" or "snappy".
    compression: Compression = ""
    extended_types: bool = False
    emulate_353: bool = False
    container_check_interval_ms: int = 60_000
    container_max_per_minute: int = 10_000
    # 0: a container that never had a child stays.
    container_max_never_used_ms: int = 0
    enforce_quota: bool = False
    skip_acl: bool = False
    # "user:base64", or "" for nobody; kept out of whatever shows a configuration.
    super_digest: str = field(default="", repr=False)
    # By hashlib's name.
    digest_alg: str = "sha1"
    digest_auth_enabled: bool = True
    enforce_auth: bool = False
    enforce_auth_schemes: tuple[str, ...] = ()
    global_outstanding_limit: int = 1000
    # -1: no request counts as large.
    large_request_threshold: int = -1
    large_request_max_bytes: int = 104_857_600
    connection_throttle: ConnectionThrottle = field(default_factory=ConnectionThrottle)


def read_data(values: Values) -> DataConfig:
    """The keys of the data service. Raises ConfigError."""
    digest_enabled, close_session_txn = _digests(values)
    digest_auth_enabled = values.flag(f"{DIGEST_KEY}enabled", True)
    enforce_auth = values.flag("enforce.auth.enabled", False)
    return DataConfig(
        snap_count=max(SNAP_COUNT_MIN, values.number("snapCount", 100_000)),
        snap_size_limit_kb=values.number("snapSizeLimitInKb", 4_194_304, highest=KB_MAX),
        log_size_limit_kb=values.number("txnLogSizeLimitInKb", -1, highest=KB_MAX),
        prealloc_kb=values.number("preAllocSize", 65_536, lowest=0),
        force_sync=not values.word("forceSync", False, truth="no"),
        fsync_warning_ms=values.number("fsync.warningthresholdms", 1000, lowest=0),
        digest_enabled=digest_enabled,
        # What stands behind a tree is told by its place: a reader with digests would take the zxid for one.
        serialize_last_zxid=values.flag("serializeLastProcessedZxid.enabled", True) and digest_enabled,
        close_session_txn=close_session_txn,
        compression=_compression(values),
        extended_types=values.flag("extendedTypesEnabled", False),
        emulate_353=values.flag("emulate353TTLNodes", False),
        container_check_interval_ms=values.number("znode.container.checkIntervalMs", 60_000, lowest=1),
        container_max_per_minute=values.number("znode.container.maxPerMinute", 10_000, lowest=1),
        container_max_never_used_ms=values.number("znode.container.maxNeverUsedIntervalMs", 0, lowest=0),
        enforce_quota=values.flag("enforceQuota", False),
        skip_acl=values.word("skipACL", False, truth="yes"),
        super_digest=values.text(f"{DIGEST_KEY}superDigest"),
        digest_alg=_digest_algorithm(values),
        digest_auth_enabled=digest_auth_enabled,
        enforce_auth=enforce_auth,
        enforce_auth_schemes=_enforced_schemes(values, enforce_auth, digest_auth_enabled),
        global_outstanding_limit=values.number("globalOutstandingLimit", 1000, lowest=1),
        large_request_threshold=_large_request_threshold(values),
        large_request_max_bytes=values.number("largeRequestMaxBytes", 104_857_600, lowest=1),
        connection_throttle=_connection_throttle(values),
    )


def data_warnings(values: Values, data: DataConfig) -> list[str]:
    """What of these keys is valid, but seldom meant."""
    warnings = []
    if values.number("snapCount", SNAP_COUNT_MIN) < SNAP_COUNT_MIN:
        warnings.append(f"snapCount={values.text('snapCount')}: taken for {SNAP_COUNT_MIN}, the least there is")
    if not data.force_sync:
        warnings.append("forceSync=no: what was acknowledged may be lost when the machine fails")
    if not data.close_session_txn:
        warnings.append("closeSessionTxn.enabled=false: no digests are written either, which need it")
    if data.emulate_353 and not data.extended_types:
        warnings.append("emulate353TTLNodes=true is without effect unless extendedTypesEnabled=true")
    if data.skip_acl:
        warnings.append("skipACL=yes: every client may do everything")
    key = f"{DIGEST_KEY}superDigest"
    if data.super_digest and not data.digest_auth_enabled:
        warnings.append(f"{key} is without effect: {DIGEST_KEY}enabled=false")
    elif data.super_digest and not _is_digest(data.super_digest, data.digest_alg):
        # The value is a secret, and stays out of the message.
        warnings.append(f"{key} is not user:base64 of a {data.digest_alg} digest: nobody can be super by it")
    return warnings


def _digests(values: Values) -> tuple[bool, bool]:
    """Whether digests are written, and the nodes of a closed session.

    A digest behind a closed session without its nodes would be read as their list, by us and by Apache.
    """
    digest = values.flag("digest.enabled", True)
    close_session = values.flag("closeSessionTxn.enabled", True)
    if close_session or not digest:
        return digest, close_session
    if "digest.enabled" in values.settings:
        raise values.error("closeSessionTxn.enabled", "digest.enabled=true needs it; say digest.enabled=false as well")
    return False, False


def _compression(values: Values) -> Compression:
    wanted = values.text("snapshot.compression.method").lower()
    for method in COMPRESSIONS:
        if method == wanted:
            return method
    raise values.error("snapshot.compression.method", "unknown method; gz or snappy, or nothing for none")


def _digest_algorithm(values: Values) -> str:
    key = f"{DIGEST_KEY}digestAlg"
    name = ALGORITHMS.get(values.text(key, "SHA1").upper())
    if name is None or name not in hashlib.algorithms_available:
        raise values.error(key, "unknown digest; SHA1, SHA-256, SHA-512, SHA3-256, MD5 or the like")
    return name


def _is_digest(text: str, algorithm: str) -> bool:
    """Whether this is user:base64, of as many bytes as the algorithm gives."""
    user, _, encoded = text.partition(":")
    try:
        digest = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return bool(user) and len(digest) == hashlib.new(algorithm, usedforsecurity=False).digest_size


def _enforced_schemes(values: Values, enforced: bool, with_digest: bool) -> tuple[str, ...]:
    """The schemes of which a client must have one; of no consequence, and so not checked, unless it is enforced."""
    key = "enforce.auth.schemes"
    schemes = tuple(dict.fromkeys(scheme for part in values.text(key).split(",") if (scheme := part.strip())))
    if not enforced:
        return schemes
    if not schemes:
        raise values.error("enforce.auth.enabled", f"{key} names no scheme, so that no client could do anything")
    known = ("digest", "ip") if with_digest else ("ip",)
    for scheme in schemes:
        if scheme not in known:
            shown = scheme if len(scheme) <= 40 else f"{scheme[:40]}..."
            raise values.error(key, f"unknown scheme {shown!r}; this server has {' and '.join(known)}")
    return schemes


def _large_request_threshold(values: Values) -> int:
    threshold = values.number("largeRequestThreshold", -1, lowest=-1)
    if threshold == 0:
        raise values.error("largeRequestThreshold", "neither -1 for none nor a number of bytes")
    return threshold


def _connection_throttle(values: Values) -> ConnectionThrottle:
    prefix = "connection_throttle_"
    return ConnectionThrottle(
        tokens=max(0, values.number(f"{prefix}tokens", 0)),
        fill_time=values.number(f"{prefix}fill_time", 1, lowest=1),
        fill_count=values.number(f"{prefix}fill_count", 1, lowest=1),
        freeze_time=values.number(f"{prefix}freeze_time", -1, lowest=-1),
        drop_increase=values.share(f"{prefix}drop_increase", 0.02),
        drop_decrease=values.share(f"{prefix}drop_decrease", 0.002),
        decrease_ratio=values.share(f"{prefix}decrease_ratio", 0.0),
    )
