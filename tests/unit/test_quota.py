"""Quotas: their text, whatever it says; the figures against a count by hand; what hard limits refuse."""

import pytest
from dataserver import DataServer
from hypothesis import given
from hypothesis import strategies as st

from zktw.pipeline.request import Client
from zktw.terms.codes import ErrorCode
from zktw.tree.node import data_of
from zktw.tree.quota import StatsTrack, exceeded, limits_path, quota_node, stats_path

QUOTA = "/zookeeper/quota"
HARD = b"count=3,bytes=6=;byteHardLimit=6;countHardLimit=3"


def limit(server: DataServer, client: Client, path: str, limits: bytes | None = b"count=100,bytes=1000") -> None:
    parts = path.split("/")[1:]
    for depth in range(len(parts)):
        server.create(client, f"{QUOTA}/{'/'.join(parts[: depth + 1])}")
    assert server.create(client, limits_path(path), limits) == 0
    assert server.create(client, stats_path(path), b"count=0,bytes=0") == 0


def figures(server: DataServer, path: str) -> tuple[int, int]:
    track = StatsTrack.parse(data_of(server.database.tree.nodes[stats_path(path)]))
    return track.count, track.size


def counted(server: DataServer, path: str, limited: list[str]) -> tuple[int, int]:
    """By hand: each node counts for the deepest path with limits."""
    count = size = 0
    for node, record in server.database.tree.nodes.items():
        above = [one for one in limited if node == one or node.startswith(one + "/")]
        if above and max(above, key=len) == path:
            count += 1
            size += len(data_of(record) or b"")
    return count, size


@pytest.mark.parametrize(
    ("data", "track"),
    [
        (None, StatsTrack()),
        (b"", StatsTrack()),
        (b"count=3,bytes=4", StatsTrack(3, 4)),
        (b"count=3,bytes=4=;byteHardLimit=5;countHardLimit=6", StatsTrack(3, 4, 6, 5)),
        (b"count=-5,bytes=x", StatsTrack(-5)),
        (b"count=--1,bytes=2", StatsTrack(-1, 2)),
        (b"count=" + b"8" * 5000, StatsTrack()),
        (b"count=9223372036854775808", StatsTrack()),
        (b"count=9223372036854775807", StatsTrack(2**63 - 1)),
        ("count=\u00b2,bytes=\u0663".encode(), StatsTrack()),
        (b"\xff\xfe=,=,;;count", StatsTrack()),
    ],
)
def test_any_text_can_be_read(data: bytes | None, track: StatsTrack) -> None:
    assert StatsTrack.parse(data) == track


@given(st.binary(max_size=40) | st.text("count=bytes,;-0123456789", max_size=40).map(str.encode))
def test_no_text_is_too_strange(data: bytes) -> None:
    again = StatsTrack.parse(StatsTrack.parse(data).text())
    assert again.count == StatsTrack.parse(data).count


@pytest.mark.parametrize("nonsense", [b"count=--1", b"bytes=" + b"9" * 5000, b"\xff", None])
def test_nonsense_in_the_figures_neither_ends_the_server_nor_forbids_its_start(nonsense: bytes | None) -> None:
    server = DataServer(enforce_quota=True)
    client = server.connect()
    limit(server, client, "/a")
    assert server.set_data(client, stats_path("/a"), nonsense) == 0
    assert server.create(client, "/a") == 0
    assert server.set_data(client, limits_path("/a"), nonsense) == 0
    assert server.create(client, "/a/b") == 0
    server.hold_to_log()


def test_names_of_the_quota_tree() -> None:
    assert quota_node("/zookeeper/quota/a/b/zookeeper_limits") == ("/a/b", "zookeeper_limits")
    assert quota_node("/zookeeper/quota/a/b/zookeeper_stats") == ("/a/b", "zookeeper_stats")
    assert quota_node("/zookeeper/quota/zookeeper_stats") == ("/", "zookeeper_stats")
    assert quota_node("/zookeeper/quota/a") is None
    assert quota_node("/a/zookeeper_limits") is None


def test_a_hard_limit_hides_the_soft_one() -> None:
    soft, hard = StatsTrack(count=1), StatsTrack(count=1, count_hard=5)
    assert [is_hard for is_hard, _ in exceeded(soft, StatsTrack(1, 0), 1, 0)] == [False]
    assert not list(exceeded(hard, StatsTrack(1, 0), 1, 0))
    assert [is_hard for is_hard, _ in exceeded(hard, StatsTrack(5, 0), 1, 0)] == [True]
    assert not list(exceeded(hard, StatsTrack(5, 0), 0, 0))


def test_hard_limits_refuse() -> None:
    server = DataServer(enforce_quota=True)
    client = server.connect()
    assert server.create(client, "/a", b"123") == 0
    limit(server, client, "/a", HARD)
    assert figures(server, "/a") == (1, 3)
    assert server.create(client, "/a/b", b"1234") == ErrorCode.QUOTA_EXCEEDED
    assert server.create(client, "/a/b", b"123") == 0
    assert server.set_data(client, "/a/b", b"1234") == ErrorCode.QUOTA_EXCEEDED
    assert server.set_data(client, "/a/b", b"xyz") == 0, "no more bytes than before"
    assert server.set_data(client, "/a/b", None) == 0
    assert figures(server, "/a") == (2, 3)
    assert server.create(client, "/a/c") == 0
    assert server.create(client, "/a/d") == ErrorCode.QUOTA_EXCEEDED
    assert server.delete(client, "/a/c") == 0
    assert server.create(client, "/a/d") == 0
    assert server.create(client, "/ab", b"far too many bytes") == 0, "another path that begins the same"
    server.hold_to_log()


def test_soft_limits_only_tell() -> None:
    server = DataServer(enforce_quota=True)
    client = server.connect()
    limit(server, client, "/a", b"count=1,bytes=-1")
    assert server.create(client, "/a") == 0
    assert server.create(client, "/a/b") == 0
    assert server.prep.over_quota == [("/a", "count 2 (limit 1)")]


def test_without_enforcement_nothing_is_refused() -> None:
    server = DataServer()
    client = server.connect()
    limit(server, client, "/a", HARD)
    for path in ("/a", "/a/1", "/a/2", "/a/3", "/a/4"):
        assert server.create(client, path, b"1234567") == 0


names = st.sampled_from(["/a", "/a/b", "/a/b/c", "/a/d", "/e"])
values = st.none() | st.binary(max_size=6)
steps = st.one_of(
    st.tuples(st.just("create"), names, values),
    st.tuples(st.just("create"), names, values),
    st.tuples(st.just("set"), names, values),
    st.tuples(st.just("delete"), names, values),
    st.tuples(st.just("limit"), st.sampled_from(["/a", "/a/b"]), values),
)


@given(st.lists(steps, max_size=25))
def test_figures_are_what_one_counts(done: list[tuple[str, str, bytes | None]]) -> None:
    """A limit that comes later counts its own subtree whole; nodes that change afterwards go to the deepest one."""
    server = DataServer()
    client = server.connect()
    limit(server, client, "/a")
    limited = ["/a"]
    for step, path, value in done:
        match step:
            case "create":
                server.create(client, path, value)
            case "set":
                server.set_data(client, path, value)
            case "delete":
                server.delete(client, path)
            case _ if path not in limited and path not in server.database.tree.nodes:
                limit(server, client, path)
                limited.append(path)
    for path in limited:
        assert figures(server, path) == counted(server, path, limited)
    server.hold_to_log()
