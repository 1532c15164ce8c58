"""Primary: zxids without a gap, refusals in their places, and rows of setData that equal what one by one would do."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from dataserver import LENGTH_MAX, DataServer, buf, create_body, described, i32, text
from hypothesis import example, given
from hypothesis import strategies as st

from zktw.pipeline.primary import Primary
from zktw.pipeline.remote import RemoteRequests
from zktw.pipeline.request import Request
from zktw.pipeline.sessions import NOBODY
from zktw.terms.codes import ErrorCode, OpCode, PacketType
from zktw.terms.zxid import COUNTER_MAX, make_zxid
from zktw.tree.database import DIGEST_EVERY
from zktw.wire.peers import QuorumPacket
from zktw.wire.txn import CreateTxn, ErrorTxn, Txn, decode_txn, zxid_of_payload

SESSION, UNKNOWN = 0x2_0000_0000_0001, 0x2_0000_0000_0099
FOLLOWER, OTHER = 4, 5


class Server:
    """A data service whose proposals are kept, with local clients and a learner's. Options are Primary's."""

    def __init__(self, last_zxid: int = 0, **options: Any) -> None:
        self.data = DataServer()
        self.data.database.last_zxid = last_zxid
        self.proposed: list[tuple[int, bytes]] = []
        service = self.data.service
        self.primary = self.data.standalone = Primary(
            service, self.data.prep, lambda zxid, payload: self.proposed.append((zxid, payload)), **options
        )
        self.remote = RemoteRequests(service, self.primary, lambda connection, packet: None)

    def request(self, op: int, body: bytes, *, session: int = SESSION, cxid: int = 1) -> Request:
        """What nobody here has sent."""
        return Request(None, session, cxid, op, struct.pack(">ii", cxid, op) + body, (), 0.0)

    def ask(self, op: int, body: bytes, *, cxid: int = 1) -> None:
        """A learner forwards this."""
        data = struct.pack(">qii", SESSION, cxid, op) + body
        self.remote.on_request(FOLLOWER, QuorumPacket(PacketType.REQUEST, -1, data, None))

    def txns(self) -> list[Txn]:
        return [decode_txn(payload, LENGTH_MAX)[1] for _, payload in self.proposed]

    def zxids(self) -> list[int]:
        assert [zxid_of_payload(payload) for _, payload in self.proposed] == [zxid for zxid, _ in self.proposed]
        return [zxid for zxid, _ in self.proposed]


def set_body(path: str, data: bytes = b"new", version: int = -1) -> bytes:
    return text(path) + buf(data) + i32(version)


# -- zxids -----------------------------------------------------------------------------------------------------------


def test_zxids_follow_one_another_whatever_the_way_and_the_outcome() -> None:
    server = Server(make_zxid(3, 0))
    client = server.data.connect()
    server.data.send(client, OpCode.CREATE, create_body("/a"))
    server.data.send(client, OpCode.SET_DATA, set_body("/a"))
    server.data.send(client, OpCode.SET_DATA, set_body("/a", version=7))
    server.ask(OpCode.CREATE_SESSION, i32(4000))
    server.ask(OpCode.SET_DATA, set_body("/a"))
    server.ask(99, b"")
    server.data.send(client, OpCode.DELETE, text("/a") + i32(-1))
    assert server.zxids() == [make_zxid(3, counter) for counter in range(1, 9)]
    assert server.txns()[3] == ErrorTxn(ErrorCode.BAD_VERSION)
    assert server.txns()[6] == ErrorTxn(ErrorCode.UNIMPLEMENTED)
    assert server.primary.last_proposed == make_zxid(3, 8)


def test_what_is_agreed_on_happens_and_no_more() -> None:
    server = Server()
    client = server.data.connect()
    for path in ("/a", "/b"):
        server.data.send(client, OpCode.CREATE, create_body(path, b"old"))
    for path in ("/a", "/b"):
        server.data.send(client, OpCode.SET_DATA, set_body(path))
    assert server.primary.in_flight == 4
    for upto, left, last in ((1, 4, 1), (2, 3, 2), (4, 1, 4), (5, 0, 5)):
        server.data.persist(upto)
        assert (server.primary.in_flight, server.data.database.last_zxid) == (left, last)
        assert len(server.data.take(client)) == {1: 0, 2: 1, 4: 2, 5: 1}[upto]


def near_the_end(server: Server) -> None:
    """The last zxid of the epoch is given to a node."""
    client = server.data.connect()
    server.data.send(client, OpCode.CREATE, create_body("/a"))
    assert server.zxids()[-1] == make_zxid(5, COUNTER_MAX)


@pytest.mark.parametrize(
    "ask",
    [
        lambda server: server.primary.submit(server.request(OpCode.CREATE, create_body("/b"))),
        lambda server: server.primary.refuse_unknown(server.request(99, b"")),
        lambda server: server.data.send(server.data.service.clients[1], OpCode.SET_DATA, set_body("/a")),
    ],
    ids=["write", "unknown", "setData"],
)
def test_an_epoch_that_has_no_other_zxid_proposes_nothing_more(ask: Callable[[Server], None]) -> None:
    told: list[int] = []
    server: Server = Server(make_zxid(5, COUNTER_MAX - 2), exhausted=lambda: told.append(server.primary.last_proposed))
    near_the_end(server)
    assert not told
    ask(server)
    assert told == [make_zxid(5, COUNTER_MAX)]
    assert server.zxids() == [make_zxid(5, COUNTER_MAX - 1), make_zxid(5, COUNTER_MAX)]
    assert server.primary.in_flight == 1


def test_a_server_alone_goes_on_in_the_next_epoch_behind_its_zero() -> None:
    server = Server(make_zxid(5, COUNTER_MAX - 2))
    near_the_end(server)
    client = server.data.service.clients[1]
    for _ in range(2):
        server.data.send(client, OpCode.SET_DATA, set_body("/a"))
    assert server.zxids()[2:] == [make_zxid(6, 1), make_zxid(6, 2)]
    server.data.persist()
    assert [err for _, err, _ in server.data.take(client)] == [0, 0, 0]


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "asks", "expected"),
    [
        (FOLLOWER, FOLLOWER, None),
        (FOLLOWER, OTHER, ErrorCode.SESSION_MOVED),
        (NOBODY, FOLLOWER, ErrorCode.SESSION_MOVED),
        (NOBODY, NOBODY, None),
        (None, FOLLOWER, None),
        # A server for itself: nobody's session is looked at.
        (NOBODY, None, None),
    ],
)
def test_only_who_speaks_for_a_session_writes_for_it(
    owner: object | None, asks: object | None, expected: ErrorCode | None
) -> None:
    server = Server()
    session = server.data.tracker.add(SESSION, 4000, 0.0)
    session.owner = owner
    server.primary.submit_as(server.request(OpCode.CREATE, create_body("/a")), asks)
    (txn,) = server.txns()
    assert txn == ErrorTxn(expected) if expected else isinstance(txn, CreateTxn)
    # Whoever comes first where nobody knows, speaks for it from now on; otherwise nothing has changed.
    assert session.owner == (FOLLOWER if owner is None else owner)


@pytest.mark.parametrize("closing", [False, True])
def test_a_session_that_is_not_there_or_about_to_go_writes_nothing(closing: bool) -> None:
    server = Server()
    if closing:
        session = server.data.tracker.add(SESSION, 4000, 0.0)
        session.owner, session.closing = FOLLOWER, True
    server.primary.submit_as(server.request(OpCode.CREATE, create_body("/a")), FOLLOWER)
    assert server.txns() == [ErrorTxn(ErrorCode.SESSION_EXPIRED)]


@pytest.mark.parametrize("op", [OpCode.CREATE_SESSION, OpCode.CLOSE_SESSION])
def test_the_beginning_and_the_end_of_a_session_are_refused_to_nobody(op: OpCode) -> None:
    server = Server()
    server.primary.submit_as(server.request(op, i32(4000), session=UNKNOWN), FOLLOWER)
    assert not isinstance(server.txns()[0], ErrorTxn)


def test_a_setdata_of_a_session_that_went_away_goes_the_long_way_and_is_refused() -> None:
    server = Server()
    client = server.data.connect()
    server.data.create(client, "/a")
    assert client.session is not None
    client.session.owner = NOBODY
    server.data.send(client, OpCode.SET_DATA, set_body("/a"))
    assert server.txns()[-1] == ErrorTxn(ErrorCode.SESSION_MOVED)


# -- what cannot be read ---------------------------------------------------------------------------------------------


def test_what_cannot_be_read_takes_a_place_where_others_wait_for_one() -> None:
    server = Server(answers_all=True)
    client = server.data.connect()
    server.data.send(client, OpCode.CREATE, b"\0")
    server.data.send(client, OpCode.CREATE, create_body("/a"), xid=2)
    assert server.zxids() == [1, 2, 3]
    assert server.txns()[1] == ErrorTxn(ErrorCode.MARSHALLING_ERROR)
    assert not server.data.take(client)
    server.data.persist()
    assert [(xid, err) for xid, err, _ in server.data.take(client)] == [(1, ErrorCode.MARSHALLING_ERROR), (2, 0)]


def test_what_cannot_be_read_takes_none_where_nobody_does() -> None:
    server = Server()
    client = server.data.connect()
    server.data.send(client, OpCode.CREATE, create_body("/a"))
    server.data.send(client, OpCode.CREATE, b"\0", xid=2)
    assert server.zxids() == [1, 2]
    assert not server.data.take(client)
    server.data.persist()
    assert [(xid, err) for xid, err, _ in server.data.take(client)] == [(1, 0), (2, ErrorCode.MARSHALLING_ERROR)]


# -- rows ------------------------------------------------------------------------------------------------------------

paths = st.sampled_from(["/a", "/b", "/c"])
values = st.binary(max_size=6)
who = st.sampled_from([0, 1, None])
steps = st.one_of(
    st.tuples(st.just("set"), who, paths, values, st.sampled_from([-1, -1, -1, 0, 1])),
    st.tuples(st.just("set"), who, paths, values, st.just(-1)),
    st.tuples(st.just("create"), who, paths),
    st.tuples(st.just("delete"), who, paths),
    st.tuples(st.just("get"), st.integers(0, 1), paths, st.sampled_from([False, False, False, True])),
    st.tuples(st.just("time")),
    st.tuples(st.just("persist"), st.integers(0, 6)),
)


def run(server: Server, asked: list[tuple[Any, ...]]) -> list[Any]:
    """Do it all; what the two local clients were told. None among who asks is a learner's client."""
    data = server.data
    clients = [data.connect(), data.connect()]
    server.ask(OpCode.CREATE_SESSION, i32(4000), cxid=0)
    for path in ("/a", "/b"):
        data.create(clients[0], path)

    def send(number: int, asks: int | None, op: int, body: bytes) -> None:
        if asks is None:
            server.ask(op, body, cxid=number)
        else:
            data.send(clients[asks], op, body, xid=number)

    for number, step in enumerate(asked, start=1):
        match step:
            case ("set", asks, path, value, version):
                send(number, asks, OpCode.SET_DATA, set_body(path, value, version))
            case ("create", asks, path):
                send(number, asks, OpCode.CREATE2, create_body(path, b"made"))
            case ("delete", asks, path):
                send(number, asks, OpCode.DELETE, text(path) + i32(-1))
            case ("get", asks, path, watch):
                send(number, asks, OpCode.GET_DATA, text(path) + bytes([watch]))
            case ("time",):
                data.service.wall_ms += 5
                data.service.now_ms += 5
            case ("persist", count):
                data.persist(data.database.last_zxid + count)
    data.persist()
    return [data.take(client) for client in clients]


# A read between two of one client ends a row.
@example([("set", 0, "/a", b"1", -1), ("get", 0, "/a", False), ("set", 0, "/a", b"2", -1), ("persist", 2)])
@given(st.lists(steps, max_size=40))
def test_rows_among_creates_and_others_requests_equal_the_long_way(asked: list[tuple[Any, ...]]) -> None:
    short, long = Server(), Server()
    long.data.service.submit_set_data = None
    assert run(short, asked) == run(long, asked)
    assert short.proposed == long.proposed
    ours, theirs = short.data, long.data
    assert described(ours.database) == described(theirs.database)
    for each in ("digest", "data_bytes"):
        assert getattr(ours.database.tree, each) == getattr(theirs.database.tree, each)
    assert ours.database.last_zxid == theirs.database.last_zxid == short.primary.last_proposed
    assert ours.service.write_latencies == theirs.service.write_latencies
    assert short.primary.in_flight == ours.service.outstanding == theirs.service.outstanding == 0
    assert not ours.prep.outlook.records
    ours.log[:] = [payload for _, payload in short.proposed]
    assert described(ours.replayed()) == described(ours.database)
    assert ours.replayed().digest_mismatches == 0


def test_a_row_notes_the_digests_that_the_long_way_notes() -> None:
    short, long = Server(DIGEST_EVERY - 6), Server(DIGEST_EVERY - 6)
    long.data.service.submit_set_data = None
    asked = [("set", 0, "/a", bytes([number]), -1) for number in range(4)]
    assert run(short, asked) == run(long, asked)
    assert [zxid for zxid, _ in short.data.database.digests] == [DIGEST_EVERY]
    assert list(short.data.database.digests) == list(long.data.database.digests)
