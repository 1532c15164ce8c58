"""Writes under way: what waits, what is counted, what is forgotten, and what the reaper may take."""

import struct

from dataserver import DataServer, acl_list, buf, create_body, i32, multi_body, text
from hypothesis import given
from hypothesis import strategies as st

from zktw.terms.codes import ErrorCode, OpCode
from zktw.terms.limits import CLOSE_SESSION_BYTES_MAX, OUTLOOK_ACLS_MAX
from zktw.tree.acl import is_allowed
from zktw.tree.owner import NodeKind
from zktw.wire.records import OPEN_ACL, Acl, Acls, Identity


def test_large_requests_are_counted_while_they_wait_reads_too() -> None:
    server = DataServer(large_bytes=100)
    client = server.connect()
    long_path = "/" + "n" * 300
    server.send(client, OpCode.CREATE, create_body("/a", bytes(500)), 1)
    server.send(client, OpCode.EXISTS, text(long_path) + b"\0", 2)
    assert server.service.large_bytes > 800
    server.persist()
    assert server.service.large_bytes == server.service.outstanding == 0
    server.send(client, OpCode.SET_DATA, text("/a") + buf(bytes(500)) + i32(-1), 3)
    server.send(client, OpCode.EXISTS, text(long_path) + b"\0", 4)
    server.service.closed(client)
    assert server.service.large_bytes == server.service.outstanding == 0


def test_the_reaper_takes_no_node_that_came_in_the_place_of_a_container() -> None:
    server = DataServer()
    client = server.connect()
    assert server.ask(client, OpCode.CREATE_CONTAINER, create_body("/c", flags=4))[0] == 0
    assert server.create(client, "/c/x") == 0
    assert server.delete(client, "/c/x") == 0
    server.send(client, OpCode.DELETE, text("/c") + i32(-1), 1)
    server.send(client, OpCode.CREATE, create_body("/c", b"to stay"), 2)
    assert server.service.reap(0, 10) == ["/c"], "it looks at what is, not at what will be"
    server.persist()
    assert [err for _, err, _ in server.take(client)] == [0, 0]
    assert "/c" in server.database.tree.nodes
    server.hold_to_log()


def test_the_reaper_takes_containers_and_nodes_whose_time_is_over() -> None:
    server = DataServer()
    client = server.connect()
    server.ask(client, OpCode.CREATE_CONTAINER, create_body("/c", flags=4))
    server.create(client, "/c/x")
    server.ask(client, OpCode.CREATE_TTL, create_body("/t", flags=5) + struct.pack(">q", 1000))
    server.service.wall_ms += 1000
    assert server.service.reap(0, 10) == []
    server.service.wall_ms += 1
    assert server.service.reap(0, 10) == ["/t"]
    server.persist()
    assert server.service.reap(0, 10) == []
    server.delete(client, "/c/x")
    assert server.service.reap(0, 0) == []
    assert server.service.reap(0, 10) == ["/c"]
    server.persist()
    assert {"/c", "/t"}.isdisjoint(server.database.tree.nodes)
    assert not server.database.tree.containers
    assert not server.database.tree.ttls
    server.hold_to_log()


def test_a_container_never_used_goes_only_where_that_is_wanted() -> None:
    server = DataServer()
    client = server.connect()
    server.ask(client, OpCode.CREATE_CONTAINER, create_body("/c", flags=4))
    server.service.wall_ms += 1001
    assert server.service.reap(0, 10) == []
    assert server.service.reap(1001, 10) == []
    assert server.service.reap(1000, 10) == ["/c"]


def test_lists_of_access_that_were_proposed_are_forgotten_on_a_server_that_is_never_idle() -> None:
    server = DataServer()
    client = server.connect()
    for number in range(3 * OUTLOOK_ACLS_MAX):
        acls = (Acl(1, "digest", f"user{number}:x"),)
        server.send(client, OpCode.CREATE, create_body(f"/n{number}", b"", acls), number)
        # One is always under way.
        server.persist(server.standalone._last_zxid - 1)
        server.take(client)
    assert len(server.prep.outlook._acls) <= OUTLOOK_ACLS_MAX + 1
    server.hold_to_log()


def test_a_list_that_is_still_proposed_is_kept() -> None:
    server = DataServer()
    client = server.connect()
    mine = (Acl(31, "digest", "me:x"),)
    server.send(client, OpCode.CREATE, create_body("/mine", b"", mine), 1)
    for number in range(OUTLOOK_ACLS_MAX + 10):
        server.send(client, OpCode.CREATE, create_body(f"/n{number}", b"", (Acl(1, "digest", f"u{number}:x"),)), 2)
    first = server.standalone._last_zxid - OUTLOOK_ACLS_MAX - 11
    server.persist(first)
    server.send(client, OpCode.CREATE, create_body("/mine/x"), 3)
    server.persist()
    told = server.take(client)
    assert told[-1][:2] == (3, ErrorCode.NO_AUTH)
    server.hold_to_log()


def test_ephemerals_by_prefix() -> None:
    server = DataServer()
    client = server.connect()
    for path in ("/e1", "/e2", "/f"):
        assert server.create(client, path, flags=1) == 0

    def listed(prefix: bytes | None) -> int:
        err, body = server.ask(client, OpCode.GET_EPHEMERALS, buf(prefix))
        assert err == 0
        count: int = struct.unpack_from(">i", body)[0]
        return count

    assert [listed(prefix) for prefix in (None, b"", b" ", b"/", b" / ", b"/e", b"/e1", b"/x")] == [
        3,
        3,
        3,
        3,
        3,
        2,
        1,
        0,
    ]
    assert listed(b" /e") == 0, "a blank in front is part of the prefix"
    assert listed("\u00a0".encode()) == 0, "Java trims no such blank"


def test_a_session_that_ends_takes_what_it_has_proposed_with_it() -> None:
    server = DataServer()
    client, other = server.connect(), server.connect()
    assert server.create(client, "/old", flags=1) == 0
    server.send(client, OpCode.CREATE, create_body("/new", flags=1), 1)
    server.send(client, OpCode.DELETE, text("/old") + i32(-1), 2)
    server.send(client, OpCode.CREATE, create_body("/old", flags=0), 3)
    server.send(client, OpCode.CLOSE_SESSION, b"", 4)
    # Another gives the names new meanings only once the end of the session has been proposed.
    server.send(other, OpCode.CREATE, create_body("/new", b"other"), 1)
    server.persist()
    assert [(xid, err) for xid, err, _ in server.take(client)] == [(1, 0), (2, 0), (3, 0), (4, 0)]
    assert [(xid, err) for xid, err, _ in server.take(other)] == [(1, 0)]
    assert {"/new", "/old"} <= set(server.database.tree.nodes)
    assert server.database.tree.ephemeral_count == 0
    server.hold_to_log()


def test_the_end_of_a_session_with_many_ephemerals_is_no_longer_than_a_request() -> None:
    """Apache's servers read no longer entry of a log: the directory could never be given to one."""
    server = DataServer()
    client = server.connect()
    name = "/" + "n" * 10_000
    count = 2 * CLOSE_SESSION_BYTES_MAX // len(name)
    for number in range(count):
        assert server.create(client, f"{name}{number}", flags=1) == 0
    assert server.ask(client, OpCode.CLOSE_SESSION)[0] == 0
    assert CLOSE_SESSION_BYTES_MAX - 2 * len(name) < len(server.log[-1]) < CLOSE_SESSION_BYTES_MAX + 100
    assert server.database.tree.ephemeral_count == 0
    assert not any(path.startswith(name) for path in server.database.tree.nodes)
    server.hold_to_log()


ACLS: list[Acls] = [OPEN_ACL, (Acl(31, "ip", "127.0.0.1"),), (Acl(1, "world", "anyone"), Acl(12, "ip", "127.0.0.1"))]
paths = st.sampled_from(["/a", "/a/b", "/a/b/c", "/d", "/zookeeper/quota/a"])
writes = st.one_of(
    st.tuples(
        st.sampled_from([1, 15, 19]),
        st.builds(
            lambda path, data, acls, flags: create_body(path, data, acls, flags),
            paths,
            st.none() | st.binary(max_size=3),
            st.sampled_from(ACLS),
            st.sampled_from([0, 0, 1, 2, 3]),
        ),
    ),
    st.tuples(st.just(2), st.builds(lambda path, version: text(path) + i32(version), paths, st.integers(-1, 1))),
    st.tuples(
        st.just(5),
        st.builds(
            lambda path, data, version: text(path) + buf(data) + i32(version),
            paths,
            st.none() | st.binary(max_size=3),
            st.integers(-1, 1),
        ),
    ),
)
set_acls = st.builds(lambda path, acls: (7, text(path) + acl_list(acls) + i32(-1)), paths, st.sampled_from(ACLS))
multis = st.lists(writes, max_size=4).map(lambda parts: (14, multi_body(*parts)))
steps = st.lists(st.one_of(writes, writes, set_acls, multis, st.integers(1, 4), st.just("close")), max_size=30)


@given(steps)
def test_what_is_foreseen_is_what_happens(done: "list[tuple[int, bytes] | int | str]") -> None:
    """The outlook's records, but for numbers of lists, are those that the tree has once all is applied."""
    server = DataServer()
    client = server.connect()
    behind: list[int] = []
    for step in done:
        match step:
            case (op, body):
                before = server.standalone._last_zxid
                server.send(client, op, body)
                behind += range(before + 1, server.standalone._last_zxid + 1)
            case int(count):
                if behind:
                    server.persist(behind[:count][-1])
                    del behind[:count]
            case _:
                server.send(client, OpCode.CLOSE_SESSION)
                behind.append(server.standalone._last_zxid)
                server.persist()
                behind.clear()
                client = server.connect()
    outlook = server.prep.outlook
    foreseen = {
        path: None if record is None else (record[8:], outlook.acls_of(record))
        for path, record in outlook.records.items()
    }
    digest = outlook.digest
    server.persist()
    tree = server.database.tree
    for path, what in foreseen.items():
        record = tree.nodes.get(path)
        if not path.endswith("zookeeper_stats"):
            assert what == (None if record is None else (record[8:], tree.acls_of(record)))
    assert digest == tree.digest
    assert not outlook.records
    assert not outlook._acls
    assert not outlook._newest
    assert server.service.outstanding == 0
    server.hold_to_log()


def test_kinds_of_nodes_are_as_their_requests_say() -> None:
    server = DataServer()
    client = server.connect()
    rules = server.database.rules
    for op, flags, kind in ((1, 0, NodeKind.PERSISTENT), (1, 1, NodeKind.EPHEMERAL), (19, 4, NodeKind.CONTAINER)):
        assert server.ask(client, op, create_body(f"/n{op}{flags}", flags=flags))[0] == 0
        record = server.database.tree.nodes[f"/n{op}{flags}"]
        assert rules.kind(struct.unpack_from(">q", record, 8)[0]) is kind
    assert server.create(client, "/n11/x") == ErrorCode.NO_CHILDREN_FOR_EPHEMERALS
    assert is_allowed(OPEN_ACL, 31, (Identity("ip", "1.2.3.4"),))
