"""Watches: against a naive model; who hears what of each write, and before which reply."""

import struct

import pytest
from dataserver import DataServer, acl_list, buf, create_body, i32, multi_body, text
from hypothesis import given
from hypothesis import strategies as st

from zktw.pipeline.request import Client
from zktw.terms.codes import ErrorCode, EventType, OpCode, WatcherType
from zktw.tree.watches import CHILD, DATA, PERSISTENT, RECURSIVE, WatchManager
from zktw.wire.records import Acl

CREATED, DELETED = EventType.NODE_CREATED, EventType.NODE_DELETED
CHANGED, CHILDREN = EventType.NODE_DATA_CHANGED, EventType.NODE_CHILDREN_CHANGED
EVENTS = (CREATED, DELETED, CHANGED, CHILDREN)
OF_TYPE = {
    WatcherType.CHILDREN: (CHILD,),
    WatcherType.DATA: (DATA,),
    WatcherType.ANY: (DATA, CHILD, PERSISTENT, RECURSIVE),
    WatcherType.PERSISTENT: (PERSISTENT,),
    WatcherType.PERSISTENT_RECURSIVE: (RECURSIVE,),
}
PATHS = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/b"]


class Naive:
    """A set of (watcher, path, mode), and rules as a person reads them."""

    def __init__(self) -> None:
        self.all: set[tuple[int, str, int]] = set()

    def trigger(self, event: EventType, path: str) -> set[int]:
        told = set()
        for watcher, of, mode in sorted(self.all):
            below = of == path or of == "/" or path.startswith(of + "/")
            once = of == path and (
                (mode == DATA and event != CHILDREN) or (mode == CHILD and event in (CHILDREN, DELETED))
            )
            if once or (mode == PERSISTENT and of == path) or (mode == RECURSIVE and below and event != CHILDREN):
                told.add(watcher)
            if once:
                self.all.discard((watcher, of, mode))
        return told


watchers = st.integers(1, 4)
paths = st.sampled_from(PATHS)
steps = st.one_of(
    st.tuples(st.just("add"), watchers, paths, st.sampled_from([DATA, CHILD, PERSISTENT, RECURSIVE])),
    st.tuples(st.just("add"), watchers, paths, st.sampled_from([DATA, CHILD, PERSISTENT, RECURSIVE])),
    st.tuples(st.just("trigger"), watchers, paths, st.sampled_from(EVENTS)),
    st.tuples(st.just("remove"), watchers, paths, st.sampled_from(list(WatcherType))),
    st.tuples(st.just("forget"), watchers, paths, st.just(0)),
)


@given(st.lists(steps, max_size=50))
def test_the_manager_is_the_naive_model(done: list[tuple[str, int, str, int]]) -> None:
    manager, naive = WatchManager(), Naive()
    for what, watcher, path, arg in done:
        match what:
            case "add":
                manager.add(watcher, path, arg)
                naive.all.add((watcher, path, arg))
            case "trigger":
                told = manager.trigger(EventType(arg), path)
                assert len(told) == len(set(told))
                assert set(told) == naive.trigger(EventType(arg), path)
            case "remove":
                type_ = WatcherType(arg)
                gone = {(watcher, path, mode) for mode in OF_TYPE[type_]} & naive.all
                assert manager.has(watcher, path, type_) == bool(gone)
                assert manager.remove(watcher, path, type_) == bool(gone)
                naive.all -= gone
            case _:
                manager.forget(watcher)
                naive.all = {one for one in naive.all if one[0] != watcher}
        assert manager.is_empty == (not naive.all)
        assert len(manager) == sum(2 if mode == PERSISTENT else 1 for _, _, mode in naive.all)
        assert set(manager.data_watches()) == {(one, of) for one, of, mode in naive.all if mode != CHILD}
    for watcher in range(1, 5):
        manager.forget(watcher)
    assert not any(manager._tables.values()), "nothing is left in any table"
    assert not manager._by_watcher


# -- the service -----------------------------------------------------------------------------------------------------


def events(told: list[tuple[int, int, bytes]]) -> list[tuple[int, str]]:
    """(type, path) of the events among what a client was told."""
    return [
        (struct.unpack_from(">i", body)[0], body[12:].decode())
        for xid, _, body in told
        if xid == -1 and struct.unpack_from(">i", body, 4)[0] == 3
    ]


def watch(server: DataServer, client: Client, op: int, path: str) -> int:
    return server.ask(client, op, text(path) + b"\1")[0]


def add_watch(server: DataServer, client: Client, path: str, mode: int) -> None:
    assert server.ask(client, OpCode.ADD_WATCH, text(path) + i32(mode)) == (0, i32(0))


def test_an_event_comes_before_the_reply_that_shows_its_effect() -> None:
    server = DataServer()
    writer, reader = server.connect(), server.connect()
    server.create(writer, "/a")
    assert watch(server, reader, OpCode.GET_DATA, "/a") == 0
    server.send(reader, OpCode.SET_DATA, text("/a") + buf(b"own") + i32(-1), 5)
    server.send(reader, OpCode.GET_DATA, text("/a") + b"\0", 6)
    server.persist()
    assert [xid for xid, _, _ in server.take(reader)] == [-1, 5, 6]
    assert watch(server, reader, OpCode.GET_DATA, "/a") == 0
    server.send(writer, OpCode.SET_DATA, text("/a") + buf(b"other's") + i32(-1), 5)
    server.send(reader, OpCode.GET_DATA, text("/a") + b"\0", 6)
    server.persist()
    server.send(reader, OpCode.GET_DATA, text("/a") + b"\0", 7)
    assert [xid for xid, _, _ in server.take(reader)] == [6, -1, 7]


def test_standard_watches_fire_once() -> None:
    server = DataServer()
    client = server.connect()
    assert watch(server, client, OpCode.EXISTS, "/a") == ErrorCode.NO_NODE
    assert watch(server, client, OpCode.GET_CHILDREN, "/") == 0
    assert watch(server, client, OpCode.GET_DATA, "/nowhere") == ErrorCode.NO_NODE
    server.send(client, OpCode.CREATE, create_body("/a"))
    server.send(client, OpCode.SET_DATA, text("/a") + buf(b"x") + i32(-1))
    server.send(client, OpCode.DELETE, text("/a") + i32(-1))
    server.persist()
    assert events(server.take(client)) == [(CREATED, "/a"), (CHILDREN, "/")]
    assert server.service.watches.is_empty, "a getData that failed watches nothing"


def test_who_watches_data_and_children_hears_of_the_end_once() -> None:
    server = DataServer()
    client = server.connect()
    server.create(client, "/a")
    watch(server, client, OpCode.GET_DATA, "/a")
    watch(server, client, OpCode.GET_CHILDREN, "/a")
    server.send(client, OpCode.DELETE, text("/a") + i32(-1))
    server.persist()
    assert events(server.take(client)) == [(DELETED, "/a")]


def test_persistent_watches_stay() -> None:
    server = DataServer()
    client, writer = server.connect(), server.connect()
    add_watch(server, client, "/a", 0)
    add_watch(server, client, "/", 1)
    for _ in range(2):
        server.create(writer, "/a")
        server.create(writer, "/a/b")
        server.set_data(writer, "/a/b", b"x")
        server.delete(writer, "/a/b")
        server.delete(writer, "/a")
    one_round = [
        (CREATED, "/a"),
        (CREATED, "/a/b"),
        (CHILDREN, "/a"),
        (CHANGED, "/a/b"),
        (DELETED, "/a/b"),
        (CHILDREN, "/a"),
        (DELETED, "/a"),
    ]
    assert events(server.take(client)) == 2 * one_round
    err, _ = server.ask(client, OpCode.REMOVE_WATCHES, text("/a") + i32(WatcherType.PERSISTENT))
    assert err == 0
    err, _ = server.ask(client, OpCode.CHECK_WATCHES, text("/a") + i32(WatcherType.ANY))
    assert err == ErrorCode.NO_WATCHER


def test_a_multi_fires_part_by_part_and_a_failed_one_not_at_all() -> None:
    server = DataServer()
    client = server.connect()
    add_watch(server, client, "/", 1)
    good = (OpCode.CREATE, create_body("/a")), (OpCode.SET_DATA, text("/a") + buf(b"1") + i32(0))
    bad = (OpCode.DELETE, text("/nowhere") + i32(-1))
    server.send(client, OpCode.MULTI, multi_body(*good, bad))
    server.persist()
    assert events(server.take(client)) == []
    server.send(client, OpCode.MULTI, multi_body(*good))
    server.persist()
    assert events(server.take(client)) == [(CREATED, "/a"), (CHANGED, "/a")]


def test_who_may_not_read_hears_nothing_and_the_watch_is_used_up() -> None:
    server = DataServer()
    owner, stranger = server.connect(), server.connect()
    assert server.authenticate(owner, "me") == 0
    mine = (Acl(31, "auth", ""),)
    for client in (owner, stranger):
        assert watch(server, client, OpCode.EXISTS, "/secret") == ErrorCode.NO_NODE
    assert server.create(stranger, "/open") == 0
    assert server.ask(owner, OpCode.CREATE, create_body("/secret", b"", mine))[0] == 0
    assert events(server.take(stranger)) == []
    assert server.service.watches.is_empty


def test_the_end_of_a_session_is_seen_by_others() -> None:
    server = DataServer()
    client, other = server.connect(), server.connect()
    server.create(client, "/e", flags=1)
    watch(server, other, OpCode.EXISTS, "/e")
    watch(server, other, OpCode.GET_CHILDREN, "/")
    server.send(client, OpCode.CLOSE_SESSION)
    server.persist()
    assert events(server.take(other)) == [(DELETED, "/e"), (CHILDREN, "/")]


def lists(*paths_of: list[str]) -> bytes:
    return b"".join(i32(len(some)) + b"".join(map(text, some)) for some in paths_of)


def test_watches_of_a_former_connection_are_set_again_or_caught_up() -> None:
    server = DataServer()
    writer = server.connect()
    server.create(writer, "/old")
    since = server.database.last_zxid
    server.create(writer, "/new")
    client = server.connect()
    body = struct.pack(">q", since) + lists(
        ["/old", "/new", "/gone"], ["/old", "/gone"], ["/old", "/gone"], ["/p"], ["/r"]
    )
    server.send(client, OpCode.SET_WATCHES2, body, -8)
    told = server.take(client)
    assert events(told) == [
        (CHANGED, "/new"),
        (DELETED, "/gone"),
        (CREATED, "/old"),
        (DELETED, "/gone"),
    ]
    assert told[-1][:2] == (-8, 0)
    assert server.service.watches.has(client.number, "/old", WatcherType.DATA)
    assert server.service.watches.has(client.number, "/old", WatcherType.CHILDREN)
    assert server.service.watches.has(client.number, "/gone", WatcherType.DATA)
    assert server.service.watches.has(client.number, "/r", WatcherType.PERSISTENT_RECURSIVE)


@pytest.mark.parametrize("ends", ["closed", "taken over", "expired"])
def test_whose_connection_has_ended_is_told_no_more(ends: str) -> None:
    server = DataServer()
    client, writer = server.connect(timeout_ms=2000), server.connect(timeout_ms=20_000)
    assert client.session is not None
    add_watch(server, client, "/", 1)
    match ends:
        case "closed":
            server.service.closed(client)
        case "taken over":
            server.connect(client.session.id)
            server.service.closed(client)
        case _:
            while client.session is not None and not client.session.closing:
                server.service.now_ms = server.service.deadline_ms
                server.service.on_clock()
            server.persist()
            server.service.closed(client)
    client.out.clear()
    assert server.create(writer, "/a") == 0
    assert not client.out
    assert server.service.watches.is_empty


def test_setting_a_list_of_access_is_no_event() -> None:
    server = DataServer()
    client = server.connect()
    server.create(client, "/a")
    add_watch(server, client, "/", 1)
    err, _ = server.ask(client, OpCode.SET_ACL, text("/a") + acl_list((Acl(31, "ip", "127.0.0.1"),)) + i32(-1))
    assert err == 0
    assert server.take(client) == []
