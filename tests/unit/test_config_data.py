"""The keys of the data service: of each its default, a value that is taken and one that is refused."""

import hashlib
from dataclasses import fields
from typing import NamedTuple

import pytest
from test_config import STANDALONE, load, said_of

from zktw.config.data import ALGORITHMS, ConnectionThrottle, DataConfig
from zktw.config.keys import PROPERTIES, Effect
from zktw.terms.errors import ConfigError

DIGEST = "DigestAuthenticationProvider."
# Of the password test, hashed by SHA1.
SUPER = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="


class Key(NamedTuple):
    """A key that is a field of its own: what it is without a word, a text and its meaning, and a text that has none."""

    key: str
    field: str
    default: object
    text: str
    value: object
    wrong: str


KEYS = [
    Key("snapCount", "snap_count", 100_000, "2", 2, "2k"),
    Key("snapSizeLimitInKb", "snap_size_limit_kb", 4_194_304, "8589934592", 2**33, "4G"),
    Key("txnLogSizeLimitInKb", "log_size_limit_kb", -1, "1024", 1024, "0x10"),
    Key("preAllocSize", "prealloc_kb", 65_536, "0", 0, "-1"),
    Key("fsync.warningthresholdms", "fsync_warning_ms", 1000, "20", 20, "-20"),
    Key("digest.enabled", "digest_enabled", True, "FALSE", False, "no"),
    Key("serializeLastProcessedZxid.enabled", "serialize_last_zxid", True, "false", False, "0"),
    Key("closeSessionTxn.enabled", "close_session_txn", True, "false", False, "off"),
    Key("snapshot.compression.method", "compression", "", "gz", "gz", "zip"),
    Key("snapshot.compression.method", "compression", "", "SNAPPY", "snappy", "gzip"),
    Key("extendedTypesEnabled", "extended_types", False, "true", True, "yes"),
    Key("emulate353TTLNodes", "emulate_353", False, "true", True, "1"),
    Key("znode.container.checkIntervalMs", "container_check_interval_ms", 60_000, "500", 500, "0"),
    Key("znode.container.maxPerMinute", "container_max_per_minute", 10_000, "60", 60, "0"),
    Key("znode.container.maxNeverUsedIntervalMs", "container_max_never_used_ms", 0, "9000", 9000, "-1"),
    Key("enforceQuota", "enforce_quota", False, "true", True, "hard"),
    Key(f"{DIGEST}digestAlg", "digest_alg", "sha1", "SHA3-256", "sha3_256", "ROT13"),
    Key(f"{DIGEST}enabled", "digest_auth_enabled", True, "false", False, "none"),
    Key("globalOutstandingLimit", "global_outstanding_limit", 1000, "1", 1, "0"),
    Key("largeRequestThreshold", "large_request_threshold", -1, "4096", 4096, "0"),
    Key("largeRequestMaxBytes", "large_request_max_bytes", 100 * 1024 * 1024, "1", 1, "0"),
]
THROTTLE = [
    Key("connection_throttle_tokens", "tokens", 0, "200", 200, "many"),
    Key("connection_throttle_fill_time", "fill_time", 1, "10", 10, "0"),
    Key("connection_throttle_fill_count", "fill_count", 1, "20", 20, "0"),
    Key("connection_throttle_freeze_time", "freeze_time", -1, "500", 500, "-2"),
    Key("connection_throttle_drop_increase", "drop_increase", 0.02, "0.5", 0.5, "1.01"),
    Key("connection_throttle_drop_decrease", "drop_decrease", 0.002, ".25", 0.25, "-0.1"),
    Key("connection_throttle_decrease_ratio", "decrease_ratio", 0.0, "1", 1.0, "1e-1"),
]
# Those with rules of their own, below.
OTHERS = {"force_sync", "skip_acl", "super_digest", "enforce_auth", "enforce_auth_schemes", "connection_throttle"}


def data(*lines: str) -> DataConfig:
    """What a standalone server's file with these lines says of the data service."""
    return load(STANDALONE + "\n".join(lines)).data


def refusal(*lines: str) -> str:
    """With which words these lines are refused."""
    with pytest.raises(ConfigError) as caught:
        data(*lines)
    return str(caught.value)


def test_each_field_has_its_test() -> None:
    assert {field.name for field in fields(DataConfig)} == {key.field for key in KEYS} | OTHERS
    assert [field.name for field in fields(ConnectionThrottle)] == [key.field for key in THROTTLE]


@pytest.mark.parametrize("key", KEYS + THROTTLE, ids=lambda key: f"{key.key}={key.text}")
def test_each_key(key: Key) -> None:
    def read(config: DataConfig) -> object:
        return getattr(config.connection_throttle if key in THROTTLE else config, key.field)

    assert read(data()) == read(DataConfig()) == key.default
    assert read(data(f"{key.key}={key.text}")) == key.value
    assert read(load(STANDALONE, {"JVMFLAGS": f"-D{_property(key.key)}={key.text}"}).data) == key.value
    assert refusal(f"{key.key}={key.wrong}").startswith(f"zoo.cfg: {key.key}={key.wrong}: ")


def _property(key: str) -> str:
    return key if key.startswith("znode.") else f"zookeeper.{key}"


def test_the_defaults_are_those_that_the_page_of_keys_shows() -> None:
    for key in KEYS + THROTTLE:
        shown = PROPERTIES[key.key][0]
        assert data(f"{key.key}={shown}") == data(), key


@pytest.mark.parametrize("key", KEYS + THROTTLE, ids=lambda key: f"{key.key}={key.text}")
def test_no_key_is_said_to_be_without_effect(key: Key) -> None:
    assert PROPERTIES[key.key][1] is Effect.WORKS


@pytest.mark.parametrize(("said", "synced"), [("yes", True), ("no", False), ("NO", True), ("false", True), ("", True)])
def test_only_no_lets_the_log_unsynced(said: str, synced: bool) -> None:
    config = load(f"{STANDALONE}forceSync={said}")
    assert config.data.force_sync is synced
    assert [warning for warning in config.warnings if "may be lost" in warning] == (
        [] if synced else ["forceSync=no: what was acknowledged may be lost when the machine fails"]
    )
    assert data().force_sync


@pytest.mark.parametrize(("said", "skipped"), [("yes", True), ("no", False), ("YES", False), ("true", False)])
def test_only_yes_skips_the_rights(said: str, skipped: bool) -> None:
    config = load(f"{STANDALONE}skipACL={said}")
    assert config.data.skip_acl is skipped
    assert ("skipACL=yes: every client may do everything" in config.warnings) is skipped
    assert not data().skip_acl


def test_fewer_than_two_transactions_between_snapshots_are_two() -> None:
    config = load(f"{STANDALONE}snapCount=0")
    assert config.data.snap_count == 2
    assert config.warnings == ("snapCount=0: taken for 2, the least there is",)
    assert load(f"{STANDALONE}snapCount=2").warnings == ()


IDLE = [
    ("maxBatchSize", "7", "seven", Effect.JVM),
    ("flushDelay", "3", "1.5", Effect.JVM),
    ("enableEagerACLCheck", "true", "eager", Effect.LATER),
]


@pytest.mark.parametrize(("key", "text", "wrong", "effect"), IDLE)
def test_a_key_that_nothing_reads_is_said_to_be_idle(key: str, text: str, wrong: str, effect: Effect) -> None:
    config = load(f"{STANDALONE}{key}={text}")
    assert config.data == data()
    assert [warning for warning in config.warnings if warning.startswith(effect.value) and key in warning]
    assert refusal(f"{key}={wrong}").startswith(f"zoo.cfg: {key}={wrong}: ")


@pytest.mark.parametrize("number", ["9" * 25, "9" * 50, "-" + "9" * 25, "-" + "9" * 50])
def test_numbers_beyond_any_bound_are_out_of_range(number: str) -> None:
    assert "out of range" in refusal(f"snapSizeLimitInKb={number}")
    assert "out of range" in refusal(f"snapCount={number}")


@pytest.mark.parametrize("number", ["nan", "inf", "1e0", "0x1p-1", "٠", ".", "", "0.5f", "1_0", "0. 5"])
def test_a_share_is_a_plain_decimal_fraction(number: str) -> None:
    assert refusal(f"connection_throttle_drop_increase={number}").endswith(": not a number")


def test_no_tokens_are_no_throttle() -> None:
    assert data("connection_throttle_tokens=-3").connection_throttle == ConnectionThrottle()


def test_without_the_nodes_of_closed_sessions_there_are_no_digests() -> None:
    config = load(f"{STANDALONE}closeSessionTxn.enabled=false")
    assert (config.data.close_session_txn, config.data.digest_enabled) == (False, False)
    assert config.warnings == ("closeSessionTxn.enabled=false: no digests are written either, which need it",)


def test_both_may_be_off() -> None:
    off = data("closeSessionTxn.enabled=false", "digest.enabled=false")
    assert (off.close_session_txn, off.digest_enabled) == (False, False)


def test_no_digests_do_not_need_the_nodes_left_out() -> None:
    config = load(f"{STANDALONE}digest.enabled=false")
    assert (config.data.close_session_txn, config.data.digest_enabled, config.warnings) == (True, False, ())


@pytest.mark.parametrize("line", ["digest.enabled=false", "closeSessionTxn.enabled=false"])
def test_without_digests_a_snapshot_ends_with_its_tree(line: str) -> None:
    """Apache's servers that expect a digest found no valid snapshot: they took the last zxid for one."""
    assert not data(line, "serializeLastProcessedZxid.enabled=true").serialize_last_zxid


def test_digests_that_are_asked_for_need_the_nodes() -> None:
    assert "digest.enabled=true needs it" in refusal("closeSessionTxn.enabled=false", "digest.enabled=true")


def test_a_time_to_live_of_353_needs_the_types() -> None:
    warning = "emulate353TTLNodes=true is without effect unless extendedTypesEnabled=true"
    assert load(f"{STANDALONE}emulate353TTLNodes=true").warnings == (warning,)
    assert load(f"{STANDALONE}emulate353TTLNodes=true\nextendedTypesEnabled=true").warnings == ()


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_hashes_by_their_names_in_java(name: str) -> None:
    if ALGORITHMS[name] not in hashlib.algorithms_available:
        assert "unknown digest" in refusal(f"{DIGEST}digestAlg={name}")
        return
    bits = {"MD5": 128, "SHA": 160, "SHA1": 160, "SHA-1": 160}.get(name) or int(name[-3:])
    for said in (name, name.lower()):
        alg = data(f"{DIGEST}digestAlg={said}").digest_alg
        assert hashlib.new(alg, usedforsecurity=False).digest_size * 8 == bits


@pytest.mark.parametrize("name", ["", "SHA-257", "SHAKE128", "sha3_256", "SHA 256"])
def test_names_that_java_has_not(name: str) -> None:
    assert "unknown digest" in refusal(f"{DIGEST}digestAlg={name}")


def test_the_digest_of_super() -> None:
    config = load(f"{STANDALONE}{DIGEST}superDigest={SUPER}")
    assert (config.data.super_digest, config.warnings, data().super_digest) == (SUPER, (), "")


@pytest.mark.parametrize(
    "text",
    ["super", "super:", ":D/InIHSb7yEEbrWz8b9l71RjZJU=", "super:secret", "super:D/InIHSb7yEE", f"{SUPER}:x", "s:é"],
)
def test_a_digest_that_nobody_can_have_is_warned_about_and_not_shown(text: str) -> None:
    config = load(f"{STANDALONE}{DIGEST}superDigest={text}")
    (warning,) = config.warnings
    assert warning == f"{DIGEST}superDigest is not user:base64 of a sha1 digest: nobody can be super by it"


def test_the_digest_of_super_is_one_of_the_hash_in_use() -> None:
    (warning,) = load(f"{STANDALONE}{DIGEST}superDigest={SUPER}\n{DIGEST}digestAlg=SHA-256").warnings
    assert "of a sha256 digest" in warning


def test_the_digest_of_super_needs_the_scheme() -> None:
    (warning,) = load(f"{STANDALONE}{DIGEST}superDigest={SUPER}\n{DIGEST}enabled=false").warnings
    assert warning == f"{DIGEST}superDigest is without effect: {DIGEST}enabled=false"


def test_the_digest_of_super_is_never_shown() -> None:
    text = f"{STANDALONE}{DIGEST}superDigest={SUPER}"
    assert f"  {DIGEST}superDigest=***" in said_of(text).splitlines()
    assert SUPER not in said_of(text) + repr(load(text).data)


def test_authentication_is_enforced_by_the_schemes_that_are_named() -> None:
    assert (data().enforce_auth, data().enforce_auth_schemes) == (False, ())
    enforced = data("enforce.auth.enabled=true", "enforce.auth.schemes=digest, ip,digest,")
    assert (enforced.enforce_auth, enforced.enforce_auth_schemes) == (True, ("digest", "ip"))


@pytest.mark.parametrize("schemes", ["", ",", " , "])
def test_enforced_authentication_needs_a_scheme(schemes: str) -> None:
    reason = "enforce.auth.schemes names no scheme, so that no client could do anything"
    said = refusal("enforce.auth.enabled=true", f"enforce.auth.schemes={schemes}")
    assert said == f"zoo.cfg: enforce.auth.enabled=true: {reason}"


@pytest.mark.parametrize("scheme", ["sasl", "x509", "world", "auth", "super", "Digest", "d" * 300])
def test_an_unknown_scheme_is_refused_only_where_it_is_enforced(scheme: str) -> None:
    said = refusal("enforce.auth.enabled=true", f"enforce.auth.schemes=digest,{scheme}")
    assert f"unknown scheme '{scheme[:40]}" in said
    assert data(f"enforce.auth.schemes=digest,{scheme}").enforce_auth_schemes == ("digest", scheme)


def test_a_scheme_that_is_off_is_unknown() -> None:
    off = f"{DIGEST}enabled=false"
    assert "unknown scheme 'digest'" in refusal(off, "enforce.auth.enabled=true", "enforce.auth.schemes=ip,digest")
    assert data(off, "enforce.auth.enabled=true", "enforce.auth.schemes=ip").enforce_auth_schemes == ("ip",)
