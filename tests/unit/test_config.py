"""load_config and describe: what good configurations mean."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.config import Config, describe, load_config
from zktw.config.keys import FILE_KEYS, PROPERTIES
from zktw.quorum.ensemble import Address
from zktw.terms.errors import ConfigError

CONF = Path(__file__).resolve().parents[2] / "conf"
STANDALONE = "dataDir=/data\nclientPort=2181\n"
LIMITS = "initLimit=10\nsyncLimit=5\n"
THREE = "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n"
# What Debian's package puts into /etc/zookeeper/conf/zoo.cfg, comments left out.
DEBIAN = "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/var/lib/zookeeper\nclientPort=2181\n"


def load(text: str, environ: Mapping[str, str] | None = None, myid: str = "1\n", **files: str) -> Config:
    """The configuration of this text, beside which there are myid and other files, by their names in /."""
    contents = {"zoo.cfg": text, "/data/myid": myid} | {"/" + name: body for name, body in files.items()}

    def read(path: str) -> str:
        if path not in contents:
            raise FileNotFoundError(2, "No such file or directory")
        return contents[path]

    return load_config("zoo.cfg", read, environ or {})


def test_debians_file_is_a_standalone_server() -> None:
    config = load(DEBIAN)
    assert (config.ensemble, config.my_sid, config.client_port, config.tick_ms) == (None, 0, 2181, 2000)
    assert (config.data_dir, config.data_log_dir) == ("/var/lib/zookeeper", "/var/lib/zookeeper")
    assert (config.min_session_timeout_ms, config.max_session_timeout_ms) == (4000, 40_000)
    assert config.warnings == ()


def test_what_is_left_out_is_as_apache_has_it() -> None:
    config = load("dataDir=/data\nclientPort=2181")
    assert (config.tick_ms, config.max_client_cnxns, config.max_cnxns, config.client_backlog) == (3000, 60, 0, -1)
    assert (config.election_min_interval_ms, config.election_max_interval_ms) == (200, 60_000)
    assert (config.connect_timeout_ms, config.quorum_connect_timeout_ms, config.election_bind_retries) == (5000, -1, 3)
    assert (config.four_letter_words, config.client_address) == (frozenset({"srvr"}), "")
    assert (config.jute_maxbuffer, config.jute_extra, config.sessionless_timeout_ms) == (0xFFFFF, 0xFFFFF, 10_000)
    assert (config.purge_retain, config.purge_interval_hours, config.read_only_mode) == (3, 0, False)


def test_an_ensemble() -> None:
    config = load(STANDALONE + LIMITS + THREE + "peerType=observer\nserver.12=o:2888:3888:observer", myid="12\r\n")
    assert config.ensemble is not None
    assert (config.my_sid, config.is_observer) == (12, True)
    assert (config.ensemble.voters, config.ensemble.observers) == ((1, 2, 3), (12,))
    assert (config.init_limit, config.sync_limit, config.connect_limit) == (10, 5, 10)


@pytest.mark.parametrize(
    ("members", "alone", "distributed"),
    [
        ("", "true", False),
        ("server.1=a:1:2", "true", False),
        ("server.1=a:1:2", "false", True),
        ("server.1=a:1:2\nserver.2=b:1:2:observer", "false", True),
        ("server.1=a:1:2\nserver.2=b:1:2", "true", True),
        ("server.1=a:1:2\nserver.2=b:1:2", "false", True),
        ("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer", "true", True),
    ],
)
def test_when_there_is_an_ensemble(members: str, alone: str, distributed: bool) -> None:
    config = load(f"{STANDALONE}{LIMITS}standaloneEnabled={alone}\n{members}")
    assert (config.ensemble is not None) == distributed


def test_a_standalone_server_needs_no_myid_and_no_limits() -> None:
    assert load(f"{STANDALONE}server.7=a:1:2", myid="nonsense").my_sid == 0


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("clientPort=2181\nclientPortAddress=10.0.0.1\nserver.1=a:2888:3888", ("10.0.0.1", 2181)),
        ("clientPort=2181\nclientPortAddress=0.0.0.0\nserver.1=a:2888:3888", ("", 2181)),
        ("clientPort=2181\nserver.1=a:2888:3888;2181", ("", 2181)),
        ("clientPort=2181\nserver.1=a:2888:3888;10.0.0.1:2181", ("10.0.0.1", 2181)),
        ("server.1=a:2888:3888;10.0.0.1:2182", ("10.0.0.1", 2182)),
        ("clientPort=0\nserver.1=a:2888:3888", ("", 0)),
        ("clientPort=2181\nclientPortAddress=[::1]\nserver.1=a:2888:3888", ("::1", 2181)),
        (
            "clientPort=2181\nclientPortAddress=systemd:domain=INET6:name=zkq\nserver.1=a:2888:3888;2181",
            ("systemd:domain=INET6:name=zkq", 2181),
        ),
        # Another address may have the same port.
        ("clientPort=2888\nclientPortAddress=10.0.0.2\nserver.1=10.0.0.1:2888:3888", ("10.0.0.2", 2888)),
    ],
)
def test_the_client_port(lines: str, expected: tuple[str, int]) -> None:
    config = load(f"dataDir=/data\n{LIMITS}server.2=b:2888:3888\nserver.3=c:2888:3888\n{lines}")
    assert (config.client_address, config.client_port) == expected


def test_no_client_port_is_warned_about() -> None:
    config = load("dataDir=/data")
    assert config.client_port is None
    assert config.warnings == ("no clientPort: no client can connect",)


def test_several_addresses() -> None:
    config = load(f"{STANDALONE}{LIMITS}{THREE}multiAddress.enabled=true\nserver.4=d:1:2|[::1]:3:4")
    assert config.ensemble is not None
    assert config.ensemble.members[4].quorum_addresses == (Address("d", 1), Address("::1", 3))


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("zoo.cfg.dynamic.100000000", 0x100000000),
        ("zoo.cfg.dynamic", 0),
        ("dyn", 0),
        ("dyn.", 0),
        ("dyn.1_0", 0),
        ("dyn.7fffffffffffffff", 2**63 - 1),
        ("dyn.8000000000000000", 0),
    ],
)
def test_the_dynamic_file_and_its_version(name: str, version: int) -> None:
    config = load(f"{STANDALONE}{LIMITS}dynamicConfigFile=/{name}", None, "2", **{name: THREE})
    assert config.ensemble is not None
    assert (config.ensemble.version, config.my_sid) == (version, 2)


@pytest.mark.parametrize("name", ["jute.maxbuffer", "zookeeper.cnxTimeout", "cnxTimeout", "readonlymode.enabled"])
def test_properties_may_stand_in_the_file(name: str) -> None:
    value = "true" if name == "readonlymode.enabled" else "4321"
    config = load(f"{STANDALONE}{name}={value}")
    assert (config.jute_maxbuffer, config.connect_timeout_ms, config.read_only_mode).count(
        value == "true" or int(value)
    ) == 1
    assert not config.unknown


def test_the_environment_stands_behind_the_file() -> None:
    environ = {
        "SERVER_JVMFLAGS": "-Xmx1g -Djute.maxbuffer=1 -Dzookeeper.cnxTimeout=1 -Dzookeeper.maxCnxns=7",
        "JVMFLAGS": "-Djute.maxbuffer=0x2000 -Dzookeeper.cnxTimeout=2 '-Dzookeeper.4lw.commands.whitelist=stat, mntr'",
    }
    config = load(f"{STANDALONE}cnxTimeout=3", environ)
    assert (config.jute_maxbuffer, config.connect_timeout_ms, config.max_cnxns) == (0x2000, 3, 7)
    assert config.four_letter_words == frozenset({"srvr", "stat", "mntr"})


def test_the_environment_sets_properties_only() -> None:
    environ = {
        "JVMFLAGS": "-DclientPort=1 -Dzookeeper.tickTime=1 -DcnxTimeout=1 -Dfile.encoding=UTF-8 -Dzookeeper.ab=c"
    }
    config = load(STANDALONE, environ)
    assert (config.client_port, config.tick_ms, config.connect_timeout_ms) == (2181, 3000, 5000)
    assert config.unknown == {"zookeeper.tickTime": "1", "ab": "c"}


def test_unknown_keys_share_one_warning() -> None:
    config = load(f"{STANDALONE}zeta=1\nalpha=2\nzookeeper.beta=3")
    assert config.unknown == {"zeta": "1", "alpha": "2", "beta": "3"}
    assert config.warnings == ("unknown, kept without effect: alpha, beta, zeta",)


def test_keys_without_effect_share_one_warning_each_kind() -> None:
    keys = "nio.numWorkerThreads=3\nadmin.serverPort=9\njvm.pause.monitor=true\nadmin.idleTimeout=5"
    config = load(STANDALONE + keys)
    assert config.warnings == (
        "has meaning on a JVM only and is without effect: jvm.pause.monitor, nio.numWorkerThreads",
        "has no effect in this release: admin.idleTimeout, admin.serverPort",
    )


@pytest.mark.parametrize("key", [key for key, (default, _) in (FILE_KEYS | PROPERTIES).items() if default])
def test_saying_the_default_changes_and_warns_of_nothing(key: str) -> None:
    default = (FILE_KEYS | PROPERTIES)[key][0]
    # Defaults that are said in words stand for another key's value.
    words = {"dataDir": "/data", "any": "0.0.0.0", "2 ticks": "6000", "20 ticks": "60000", "initLimit": "0"}
    value = words.get(default, "1048575" if default == "jute.maxbuffer" else default)
    plain, said = load(STANDALONE), load(f"{STANDALONE}{key}={value}")
    assert {name: getattr(said, name) for name in Config.__slots__ if name not in ("settings", "warnings")} == {
        name: getattr(plain, name) for name in Config.__slots__ if name not in ("settings", "warnings")
    }
    assert (said.warnings, said.unknown) == ((), {})


@pytest.mark.parametrize(
    ("voters", "warning"),
    [
        (2, "2 voting server(s): none may fail; three or more are better"),
        (4, "4 voting servers: an odd number tolerates as many failures"),
    ],
)
def test_numbers_of_voters_that_are_warned_about(voters: int, warning: str) -> None:
    members = "".join(f"server.{sid}=h{sid}:1:2\n" for sid in range(1, voters + 1))
    assert load(STANDALONE + LIMITS + members).warnings == (warning,)


def test_the_list_of_servers_wins_over_the_peer_type() -> None:
    config = load(f"{STANDALONE}{LIMITS}{THREE}peerType=observer")
    assert not config.is_observer
    assert config.warnings == ("peerType=observer, but server.1 is a participant: the list of servers holds",)


def test_fewer_than_three_snapshots_are_never_kept() -> None:
    config = load(f"{STANDALONE}autopurge.snapRetainCount=1\nautopurge.purgeInterval=24")
    assert (config.purge_retain, config.purge_interval_hours) == (3, 24)
    assert config.warnings == ("autopurge.snapRetainCount=1: 3 snapshots are kept at least",)


@pytest.mark.parametrize(
    ("whitelist", "words"),
    [
        ("", {"srvr"}),
        ("*", None),
        ("ruok, *", None),
        ("ruok,mntr", {"srvr", "ruok", "mntr"}),
        (" conf , ", {"srvr", "conf"}),
    ],
)
def test_the_four_letter_words(whitelist: str, words: set[str] | None) -> None:
    config = load(f"{STANDALONE}4lw.commands.whitelist={whitelist}")
    assert config.four_letter_words == (None if words is None else frozenset(words))


def test_a_read_only_server_tells_that_it_is() -> None:
    config = load(f"{STANDALONE}readonlymode.enabled=true")
    assert config.four_letter_words == frozenset({"srvr", "isro"})


@pytest.mark.parametrize("number", ["0x1000", "0X1000", "#1000", "010000", "4096", "+4096"])
def test_numbers_as_java_decodes_them(number: str) -> None:
    assert load(f"{STANDALONE}jute.maxbuffer={number}".replace("#", "\\#")).jute_maxbuffer == 4096


def said_of(text: str) -> str:
    """What --check says of this file, or what is wrong with it."""
    try:
        return describe(load(text))
    except ConfigError as error:
        return str(error)


@given(st.text() | st.text("server.12=:;|gropweiht\n-D#\\u0"))
def test_any_file_is_a_configuration_or_one_line(text: str) -> None:
    said = said_of(STANDALONE + LIMITS + text)
    assert said.startswith("zoo.cfg is valid\n") or len(said.splitlines()) == 1


@given(st.sampled_from(sorted(FILE_KEYS | PROPERTIES)), st.text(max_size=30))
def test_any_value_of_any_key_is_taken_or_refused_in_one_line(key: str, value: str) -> None:
    said = said_of(f"{STANDALONE}{LIMITS}{THREE}{key}={value}")
    assert said.startswith("zoo.cfg is valid\n") or len(said.splitlines()) == 1


def test_describe_an_ensemble() -> None:
    text = describe(
        load(
            f"{STANDALONE}{LIMITS}{THREE}group.1=1:2:3\nautopurge.purgeInterval=1\nfoo=bar\nsnapCount=10\ncommitLogCount=10\n"
            "nio.numWorkerThreads=2\ncnxTimeout=100\nssl.keyStore.password=secret\n4lw.commands.whitelist=*"
        )
    )
    assert text.splitlines() == [
        "zoo.cfg is valid",
        "mode: voting server 1 of 3",
        "members:",
        "  server.1=a:2888:3888:participant",
        "  server.2=b:2888:3888:participant",
        "  server.3=c:2888:3888:participant",
        "  group.1=1:2:3",
        "quorums: hierarchical of 3 voters",
        "patience: initLimit 30000 ms, syncLimit 15000 ms",
        "client port: *:2181, at most 60 connections an address",
        "four-letter words: all",
        "data: /data/version-2; log: /data/version-2",
        "tick: 3000 ms; sessions: 6000 to 60000 ms",
        "purge: every 1 h, 3 kept",
        "properties:",
        "  snapCount=10",
        "  commitLogCount=10",
        "  cnxTimeout=100",
        "  4lw.commands.whitelist=*",
        "only for a JVM, without effect:",
        "  nio.numWorkerThreads=2",
        "without effect in this release:",
        "  ssl.keyStore.password=***",
        "unknown, kept without effect:",
        "  foo=bar",
        "warning: unknown, kept without effect: foo",
        "warning: has meaning on a JVM only and is without effect: nio.numWorkerThreads",
        "warning: has no effect in this release: ssl.keyStore.password",
    ]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("", "*:2181"),
        ("10.0.0.1", "10.0.0.1:2181"),
        ("fe80::1", "[fe80::1]:2181"),
        ("systemd:INET6:0", "2181, opened by systemd (systemd:INET6:0)"),
    ],
)
def test_describe_the_client_port(address: str, shown: str) -> None:
    text = describe(load(f"{STANDALONE}clientPortAddress={address}"))
    assert f"client port: {shown}, at most 60 connections an address" in text.splitlines()


def test_describe_a_server_without_a_client_port() -> None:
    assert "client port: none" in describe(load("dataDir=/data")).splitlines()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_three_sample_servers_agree(number: int) -> None:
    def read(path: str) -> str:
        return (CONF.parent / path).read_text(encoding="utf-8")

    config = load_config(f"conf/three/{number}/zoo.cfg", read, {})
    first = load_config("conf/three/1/zoo.cfg", read, {})
    assert config.ensemble is not None
    assert config.ensemble == first.ensemble
    assert (config.my_sid, config.client_port, config.data_dir) == (number, 2180 + number, f"conf/three/{number}")


def test_the_sample_is_a_standalone_server() -> None:
    config = load_config("conf/zoo.cfg", lambda path: (CONF.parent / path).read_text(encoding="utf-8"), {})
    assert (config.ensemble, config.client_port, config.unknown) == (None, 2181, {})
