"""The tree against what can be counted by hand; replay from snapshots that were written while the tree changed."""

import struct
from collections.abc import Iterator

import pytest
from dataserver import DataServer, acl_list, buf, create_body, described, i32, multi_body, text
from hypothesis import given, settings
from hypothesis import strategies as st

from zktw.terms.codes import OpCode
from zktw.tree.acl import AclTable
from zktw.tree.database import Database
from zktw.tree.image import Image
from zktw.tree.node import acl_of, data_of, digest_of, owner_of, pack_node, unpack_node
from zktw.tree.owner import NodeKind
from zktw.tree.paths import ROOT, SYSTEM_PREFIX, child_of, name_of, parent_of
from zktw.wire.records import OPEN_ACL, Acl, Acls
from zktw.wire.txn import decode_txn

LISTS: list[Acls] = [
    OPEN_ACL,
    (Acl(31, "ip", "127.0.0.1"),),
    (Acl(31, "ip", "127.0.0.1"), Acl(1, "world", "anyone")),
    (Acl(31, "ip", "127.0.0.0/8"),),
]
paths = st.sampled_from(
    ["/a", "/a/b", "/a/b/c", "/d", "/d/e", "/at-the-top-with-a-name", "/d/below-with-a-name", "/zookeeper/quota/q"]
)
bodies = st.none() | st.binary(max_size=4)
acls = st.sampled_from(LISTS)
creates = st.one_of(
    st.builds(
        lambda op, path, data, acl, flags: (op, create_body(path, data, acl, flags)),
        st.sampled_from([1, 15]),
        paths,
        bodies,
        acls,
        st.sampled_from([0, 0, 0, 1, 2, 3]),
    ),
    st.builds(lambda path, acl: (19, create_body(path, b"c", acl, 4)), paths, acls),
    st.builds(
        lambda path, ttl: (21, create_body(path, b"t", OPEN_ACL, 5) + struct.pack(">q", ttl)),
        paths,
        st.integers(1, 2**40 - 1),
    ),
)
deletes = st.builds(lambda path: (2, text(path) + i32(-1)), paths)
sets = st.builds(lambda path, data: (5, text(path) + buf(data) + i32(-1)), paths, bodies)
set_acls = st.builds(lambda path, acl: (7, text(path) + acl_list(acl) + i32(-1)), paths, acls)
parts = st.one_of(creates, deletes, sets)
multis = st.lists(parts, max_size=3).map(lambda some: (14, multi_body(*some)))
requests = st.one_of(creates, creates, deletes, sets, set_acls, multis)
steps = st.tuples(st.integers(0, 1), requests | st.just((int(OpCode.CLOSE_SESSION), b"")))


def server_after(done: list[tuple[int, tuple[int, bytes]]]) -> DataServer:
    """Two clients; who has closed its session comes back with another."""
    server = DataServer()
    clients = [server.connect(), server.connect()]
    for which, (op, body) in done:
        server.service.wall_ms += 3
        server.send(clients[which], op, body)
        server.persist()
        server.take(clients[which])
        if op == OpCode.CLOSE_SESSION:
            server.service.closed(clients[which])
            clients[which] = server.connect()
    return server


def hold_together(database: Database) -> None:
    """All that the tree knows by heart is what one finds by looking at each node."""
    tree = database.tree
    digest = size = 0
    uses: dict[int, int] = {}
    children: dict[str, set[str]] = {}
    owned: dict[NodeKind, set[str]] = {kind: set() for kind in NodeKind}
    for path, record in tree.nodes.items():
        fields = unpack_node(record)
        if not path.startswith(SYSTEM_PREFIX):
            digest += digest_of(b"" if path == ROOT else path.encode(), record)
        size += len(path) + len(data_of(record) or b"")
        if path != ROOT:
            assert parent_of(path) in tree.nodes
            children.setdefault(parent_of(path), set()).add(name_of(path))
        if acl_of(record) != -1:
            uses[acl_of(record)] = uses.get(acl_of(record), 0) + 1
        kind = database.rules.kind(owner_of(record))
        owned[kind].add(path)
        assert fields.shown_owner == (fields.owner if kind is NodeKind.EPHEMERAL else 0)
    assert tree.digest == digest & 0xFFFF_FFFF_FFFF_FFFF
    assert tree.data_bytes == size
    assert {path: set(names) for path, names in tree.children.items()} == children
    for path, record in tree.nodes.items():
        assert unpack_node(record).num_children == len(children.get(path, ()))
    assert set(tree.acls.copy()) == set(uses)
    assert tree.acls._uses == uses
    assert {path for some in tree.ephemerals.values() for path in some} == owned[NodeKind.EPHEMERAL]
    assert set(tree.containers) == owned[NodeKind.CONTAINER]
    assert set(tree.ttls) == owned[NodeKind.TTL]
    # Parents first: that is the order of a snapshot.
    seen: set[str] = set()
    for path in tree.nodes:
        assert path == ROOT or parent_of(path) in seen
        seen.add(path)


@settings(deadline=None)
@given(st.lists(steps, max_size=30))
def test_what_is_known_by_heart_is_so(done: list[tuple[int, tuple[int, bytes]]]) -> None:
    server = server_after(done)
    hold_together(server.database)
    server.hold_to_log()
    hold_together(server.replayed())


creations = st.tuples(st.just("create"), st.sampled_from(["/a", "/a/b", "/c", "/c/d"]), bodies)
others = st.tuples(st.sampled_from(["delete", "set", "sequence"]), st.sampled_from(["/a", "/a/b", "/c"]), bodies)


@settings(deadline=None)
@given(st.lists(st.one_of(creations, others), max_size=30))
def test_stats_are_those_of_a_naive_model(done: list[tuple[str, str, bytes | None]]) -> None:
    server = DataServer()
    client = server.connect()
    stats: dict[str, list[int]] = {}  # czxid, mzxid, pzxid, version, creates
    data: dict[str, bytes | None] = {}
    for what, path, value in done:
        parent = parent_of(path)
        known = parent == ROOT or parent in stats
        leaf = not any(one != path and parent_of(one) == path for one in stats)
        match what:
            case "create" | "sequence":
                below = path + "/" if what == "sequence" else path
                holder = path if what == "sequence" else parent
                good = (holder == ROOT or holder in stats) and below not in stats
                err = server.create(client, below, value, flags=2 if what == "sequence" else 0)
                assert (err == 0) == good
                zxid = server.database.last_zxid
                if good:
                    name = f"{below}{stats[holder][4]:010d}" if what == "sequence" else path
                    stats[name], data[name] = [zxid, zxid, zxid, 0, 0], value
                    if holder != ROOT:
                        stats[holder][2] = zxid
                        stats[holder][4] += 1
            case "delete":
                good = known and path in stats and leaf
                assert (server.delete(client, path) == 0) == good
                if good:
                    del stats[path], data[path]
                    if parent != ROOT:
                        stats[parent][2] = server.database.last_zxid
            case _:
                assert (server.set_data(client, path, value) == 0) == (path in stats)
                if path in stats:
                    stats[path][1] = server.database.last_zxid
                    stats[path][3] += 1
                    data[path] = value
    nodes = {path: record for path, record in server.database.tree.nodes.items() if not path.startswith("/zookeeper")}
    assert set(nodes) == set(stats) | {ROOT}
    for path, (czxid, mzxid, pzxid, version, made) in stats.items():
        fields = unpack_node(nodes[path])
        assert (fields.czxid, fields.mzxid, fields.pzxid, fields.version) == (czxid, mzxid, pzxid, version)
        assert fields.cversion == made
        assert fields.data == data[path]
        err, body = server.ask(client, OpCode.GET_CHILDREN2, text(path) + b"\0")
        assert err == 0
        count = sum(1 for one in stats if parent_of(one) == path)
        shown_cversion = struct.unpack_from(">i", body, len(body) - 32)[0]
        shown_count = struct.unpack_from(">i", body, len(body) - 12)[0]
        assert (shown_cversion, shown_count) == (2 * made - count, count)


# -- snapshots of a tree that changes --------------------------------------------------------------------------------


def walk(database: Database) -> Iterator[tuple[str, bytes]]:
    """Nodes as Apache dumps them: each with the list of its children at that moment, parents first."""
    waiting = [ROOT]
    while waiting:
        path = waiting.pop()
        record = database.tree.nodes.get(path)
        if record is None:
            continue
        waiting += [child_of(path, name) for name in database.tree.children.get(path, ())]
        yield path, record


def dumped(log: list[bytes], begin: int, pace: list[int]) -> Image:
    """What a server writes that goes on with its log meanwhile: pace[n] transactions before the nth node."""
    database = Database(extended_types=True)
    for payload in log[:begin]:
        database.replay(payload)
    zxid, sessions, lists = database.last_zxid, dict(database.sessions), database.tree.acls.copy()
    rest = iter(log[begin:])
    nodes: dict[str, bytes] = {}
    for number, (path, record) in enumerate(walk(database)):
        nodes[path] = record
        for _ in range(pace[number % len(pace)]):
            if (payload := next(rest, b"")) != b"":
                database.replay(payload)
    return Image(zxid, sessions, lists, nodes, None)


def loaded(image: Image, piece: int = 1 << 20) -> Database:
    database = Database(extended_types=True)
    parser = database.parser()
    body = b"".join(image.pieces())
    ends = [parser.feed(body[at : at + piece]) for at in range(0, len(body), piece)]
    assert ends[-1]
    assert not any(ends[:-1])
    database.settle(image.zxid)
    return database


@settings(max_examples=200, deadline=None)
@given(
    st.lists(steps, min_size=3, max_size=30), st.integers(0, 30), st.lists(st.integers(0, 4), min_size=1, max_size=6)
)
def test_a_snapshot_of_a_changing_tree_and_the_log_give_the_tree(
    done: list[tuple[int, tuple[int, bytes]]], begin: int, pace: list[int]
) -> None:
    server = server_after(done)
    log = server.log
    begin = min(begin, len(log))
    database = loaded(dumped(log, begin, pace))
    for payload in log:
        header, _, _ = decode_txn(payload, 1 << 30)
        if header.zxid > database.last_zxid:
            database.fuzzy_until = 2**62
            database.replay(payload)
    assert described(database) == described(server.database)
    assert database.sessions == server.database.sessions
    hold_together(database)


@settings(deadline=None)
@given(st.lists(steps, max_size=20), st.integers(1, 300))
def test_an_image_is_read_as_it_was_written_in_any_pieces(
    done: list[tuple[int, tuple[int, bytes]]], piece: int
) -> None:
    server = server_after(done)
    image = server.database.image()
    database = loaded(image, piece)
    assert database.tree.nodes == server.database.tree.nodes
    assert list(database.tree.nodes) == list(server.database.tree.nodes)
    assert database.tree.acls.copy() == server.database.tree.acls.copy()
    assert database.sessions == server.database.sessions
    assert database.tree.digest == server.database.tree.digest == image.digest
    hold_together(database)
    assert b"".join(database.image().pieces(3)) == b"".join(image.pieces(1000))


@pytest.mark.parametrize("names", [["/long-enough-to-be-plain"], ["/a", "/a/long-enough", "/long-enough-at-the-top"]])
def test_children_of_the_root_are_still_its_children_after_a_start(names: list[str]) -> None:
    server = DataServer()
    client = server.connect()
    for name in names:
        assert server.create(client, name) == 0
    database = loaded(server.database.image())
    assert database.tree.children == server.database.tree.children
    assert database.tree.nodes == server.database.tree.nodes


def test_an_image_does_not_change_with_the_tree() -> None:
    server = DataServer()
    client = server.connect()
    server.create(client, "/a", b"before", LISTS[1])
    image = server.database.image()
    before = b"".join(image.pieces())
    server.set_data(client, "/a", b"after")
    server.delete(client, "/a")
    server.create(client, "/b", b"", LISTS[2])
    server.connect()
    assert b"".join(image.pieces()) == before


def test_the_sequence_sticks_at_its_end() -> None:
    server = DataServer()
    client = server.connect()
    server.create(client, "/s")
    tree = server.database.tree
    fields = unpack_node(tree.nodes["/s"])
    tree.nodes["/s"] = pack_node(fields._replace(cversion=2**31 - 1))
    server.prep.begin(server.database)
    assert server.create(client, "/s/n", flags=2) == 0
    assert list(tree.children["/s"]) == ["n2147483647"]
    assert server.create(client, "/s/n", flags=2) == -110
    assert unpack_node(tree.nodes["/s"]).cversion == 2**31 - 1


@pytest.mark.parametrize("version", [2**31 - 1, -2, -1])
def test_versions_wrap(version: int) -> None:
    server = DataServer()
    client = server.connect()
    server.create(client, "/v")
    tree = server.database.tree
    tree.nodes["/v"] = pack_node(unpack_node(tree.nodes["/v"])._replace(version=version))
    server.prep.begin(server.database)
    assert server.set_data(client, "/v", b"", version) == 0
    wrapped = (version + 1 + 2**31) % 2**32 - 2**31
    assert unpack_node(tree.nodes["/v"]).version == wrapped


def test_a_table_that_was_cleared_begins_anew() -> None:
    database = Database()
    database.parser()
    assert isinstance(database.tree.acls, AclTable)
    assert not database.tree.nodes
    assert database.tree.data_bytes == database.tree.digest == 0
