"""Requests that no client ought to send, from several clients that come, go and take each other's sessions.

The service of a standalone server, without sockets and with a disk that takes its time: nothing but errors may come of
them, every request is answered in its turn, and what went to the log gives the same tree when it is replayed.
ZKTW_FUZZ_EXAMPLES sets how many inputs each test tries (CI: a few).
"""

import os
import struct
from collections import deque
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zktw.pipeline.auth import Authentication
from zktw.pipeline.prep import PrepRequestProcessor
from zktw.pipeline.primary import Primary
from zktw.pipeline.request import Client
from zktw.pipeline.service import DataService
from zktw.pipeline.sessions import SessionTracker, password_of
from zktw.terms.codes import OpCode
from zktw.terms.errors import WireError
from zktw.tree.database import Database
from zktw.tree.owner import TTL_MAX_MS
from zktw.wire.client import ConnectRequest
from zktw.wire.txn import CreateTxn, MultiTxn, Txn, decode_txn

EXAMPLES = int(os.environ.get("ZKTW_FUZZ_EXAMPLES", 100))
LENGTH_MAX = 0xFFFFF
SUPER = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="  # of super:test
CLIENTS = 3

GRAMMAR = {
    OpCode.CREATE: "sdai",
    OpCode.CREATE2: "sdai",
    OpCode.CREATE_CONTAINER: "sdai",
    OpCode.CREATE_TTL: "sdail",
    OpCode.DELETE: "sv",
    OpCode.EXISTS: "sb",
    OpCode.GET_DATA: "sb",
    OpCode.SET_DATA: "sdv",
    OpCode.GET_ACL: "s",
    OpCode.SET_ACL: "sav",
    OpCode.GET_CHILDREN: "sb",
    OpCode.GET_CHILDREN2: "sb",
    OpCode.SYNC: "s",
    OpCode.PING: "",
    OpCode.CHECK: "sv",
    OpCode.RECONFIG: "sssl",
    OpCode.CHECK_WATCHES: "si",
    OpCode.REMOVE_WATCHES: "si",
    OpCode.DELETE_CONTAINER: "s",
    OpCode.AUTH: "isd",
    OpCode.SASL: "d",
    OpCode.SET_WATCHES: "lppp",
    OpCode.SET_WATCHES2: "lppppp",
    OpCode.GET_EPHEMERALS: "s",
    OpCode.GET_ALL_CHILDREN_NUMBER: "s",
    OpCode.ADD_WATCH: "si",
    OpCode.WHO_AM_I: "",
    OpCode.CREATE_SESSION: "i",
    OpCode.CLOSE_SESSION: "",
    OpCode.ERROR: "i",
    0: "",
    99: "s",
}
MULTI_OPS = (1, 2, 5, 13, 15, 19, 21)
OPEN_ACL = struct.pack(">iii", 1, 31, 5) + b"world" + struct.pack(">i", 6) + b"anyone"


def i32(value: int) -> bytes:
    return struct.pack(">i", value)


def buf(data: bytes | None) -> bytes:
    return i32(-1) if data is None else i32(len(data)) + data


ints = st.sampled_from([-(2**31), -9, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 31, 0xFFFFF, 0x100000, 2**31 - 1]).map(i32)
longs = st.sampled_from([-(2**63), -1, 0, 1, 1000, 2**40 - 1, 2**40, 2**63 - 1]).map(lambda v: struct.pack(">q", v))
strange_paths = (
    st.sampled_from(
        [None, b"", b"/", b"//", b"a", b"/a/", b"/a//b", b"/./a", b"/a\0", b"/\x01", b"/\xff", b"/\xf0\x9f\x98\x80"]
    )
    | st.sampled_from(
        [b"/\xed\xa0\x80", b"/zookeeper", b"/zookeeper/config", b"/zookeeper/quota", b"/zookeeper/quota/a"]
    )
    | st.sampled_from(
        [b"/zookeeper/quota/a/zookeeper_limits", b"/zookeeper/quota/a/zookeeper_stats", b"/" + b"n" * 3000]
    )
)
paths = st.one_of(
    st.sampled_from([b"/a", b"/a/b", b"/a/b/c", b"/d"]), st.sampled_from([b"/a", b"/d", b"/d/e"]), strange_paths
).map(buf)
limits = [b"count=1,bytes=5", b"count=1,bytes=2=;byteHardLimit=3;countHardLimit=2", b"count=" + b"8" * 30]
data = st.sampled_from([None, b"", b"x", bytes(300), b"super:test", b"user:password", *limits]).map(buf)
entries = st.builds(
    lambda perms, scheme, id_: perms + buf(scheme) + buf(id_),
    ints,
    st.sampled_from([b"world", b"digest", b"ip", b"auth", b"sasl", b"x", b"", None]),
    st.sampled_from([b"anyone", b"a:b", b"127.0.0.0/8", b"1.2.3.4/33", b"::1", b"", None]),
)
acls = st.one_of(
    st.just(OPEN_ACL),
    st.just(OPEN_ACL),
    st.builds(
        lambda items, count: i32(len(items) if count is None else count) + b"".join(items),
        st.lists(entries, max_size=3),
        st.sampled_from([None, None, None, -1, -5, 2, 65537, 2**31 - 1]),
    ),
)
lists = st.builds(
    lambda items, count: i32(len(items) if count is None else count) + b"".join(items),
    st.lists(paths, max_size=3),
    st.sampled_from([None, None, None, -1, -5, 4, 2**31 - 1]),
)
KINDS: dict[str, st.SearchStrategy[bytes]] = {
    "s": paths,
    "d": data,
    "a": acls,
    "i": st.one_of(st.sampled_from([0, 0, 1, 2, 3]).map(i32), ints),
    "v": st.one_of(st.sampled_from([-1, -1, 0, 1]).map(i32), ints),
    "l": longs,
    "b": st.sampled_from([b"\0", b"\1", b"\xff"]),
    "p": lists,
}


def record(fields: str) -> st.SearchStrategy[bytes]:
    return st.tuples(*(KINDS[kind] for kind in fields)).map(b"".join)


parts = st.sampled_from(MULTI_OPS).flatmap(
    lambda op: record(GRAMMAR[OpCode(op)]).map(lambda body: i32(op) + b"\0" + i32(-1) + body)
)
read_parts = st.sampled_from([4, 8]).flatmap(lambda op: record("sb").map(lambda body: i32(op) + b"\0" + i32(-1) + body))
ends = st.sampled_from([b"\xff\xff\xff\xff\x01\xff\xff\xff\xff"] * 5 + [b"", i32(14) + b"\0" + i32(-1)])
multis = st.builds(
    lambda op, items, end: (op, b"".join(items) + end),
    st.just(int(OpCode.MULTI)),
    st.lists(st.one_of(parts, parts, parts, read_parts), max_size=4),
    ends,
)
multi_reads = st.builds(
    lambda op, items, end: (op, b"".join(items) + end),
    st.just(int(OpCode.MULTI_READ)),
    st.lists(read_parts, max_size=3),
    ends,
)
singles = st.sampled_from(sorted(map(int, GRAMMAR))).flatmap(
    lambda op: record(GRAMMAR[op]).map(lambda body: (op, body))
)
# A setData goes a shorter way than other writes.
writes = st.sampled_from([1, 15, 2, 5, 5, 5, 7, 19, 21]).flatmap(
    lambda op: record(GRAMMAR[OpCode(op)]).map(lambda body: (op, body))
)
damages = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1 << 16), st.integers(0, 15)), max_size=2)


def damaged(body: bytes, done: list[tuple[int, int, int]]) -> bytes:
    result = bytearray(body)
    for kind, at, value in done:
        if not result:
            break
        at %= len(result)
        if kind == 0:
            result[at] ^= 1 << value % 8
        elif kind == 1:
            del result[at:]
        elif kind == 4:
            del result[-1 - value % 4 :]
        elif kind == 2:
            result[at : at + 4] = i32((-(2**31), -2, -1, 0, 1, 0xFFFFF, 0x100000, 2**31 - 1)[value % 8])
        else:
            result += bytes([value]) * value
    return bytes(result)


# Nothing is the matter with it, so that it goes its way to the end.
sound = st.just((int(OpCode.SET_DATA), buf(b"/zookeeper") + buf(b"x") + i32(-1)))
requests = st.builds(
    lambda typed, done: (typed[0], damaged(typed[1], done)),
    st.one_of(singles, writes, writes, sound, multis, multi_reads),
    st.one_of(st.just([]), st.just([]), damages),
)
clients = st.integers(0, CLIENTS - 1)
actions = st.one_of(
    st.tuples(st.just("request"), clients, requests),
    st.tuples(st.just("request"), clients, requests),
    st.tuples(st.just("request"), clients, requests),
    st.tuples(st.just("persist"), st.integers(1, 5)),
    st.tuples(st.just("write"), st.booleans()),
    st.tuples(st.just("connect"), clients, st.sampled_from([None, None, 0, 1, 2])),
    st.tuples(st.just("drop"), clients),
    st.tuples(st.just("tick"), st.sampled_from([100, 1000, 5000, 60_000])),
)


class Figures:
    """Counts nothing."""

    def count(self, name: str, by: int = 1) -> None:
        """Not counted."""

    def add(self, name: str, value: int) -> None:
        """Not added."""


class Peer:
    """A client with what it was told, and which requests it has not been answered."""

    def __init__(self, number: int) -> None:
        self.client = Client(number, "127.0.0.1", None)
        self.asked: deque[tuple[int, int]] = deque()
        self.xid = 0
        self.session_id = 0
        self.greeted = False
        self.gone = False

    def told(self, data: bytes) -> None:
        """Frames from the server: a greeting, events, and answers in the order of the requests."""
        at = 0
        while at < len(data):
            size = struct.unpack_from(">i", data, at)[0]
            frame, at = data[at + 4 : at + 4 + size], at + 4 + size
            assert len(frame) == size
            if not self.greeted:
                self.greeted = True
                continue
            xid, _, _ = struct.unpack_from(">iqi", frame)
            if xid == -1:
                continue
            if (xid, int(OpCode.AUTH)) in self.asked or (xid, int(OpCode.SASL)) in self.asked:
                self.asked.remove((xid, int(OpCode.AUTH)) if (xid, int(OpCode.AUTH)) in self.asked else (xid, 102))
                continue
            wanted, op = self.asked.popleft()
            assert xid == (-2 if op == OpCode.PING else wanted)


class Machine:
    """The service, its clients, and the transactions that are on their way to the disk."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.database = Database(extended_types=True)
        self.tracker = SessionTracker(1, 1000, 0, 1_700_000_000_000)
        auth = Authentication(super_digest=SUPER)
        self.service = DataService(
            self.database,
            self.tracker,
            auth,
            Figures(),
            length_max=LENGTH_MAX,
            timeout_min_ms=2000,
            timeout_max_ms=20_000,
        )
        prep = PrepRequestProcessor(self.database, auth, LENGTH_MAX, enforce_quota=True)
        self.standalone = Primary(self.service, prep, self.persist)
        self.service.wall_ms = 1_700_000_000_000
        self.journal: deque[int] = deque()
        self.payloads: list[bytes] = []
        self.numbers = 0
        self.peers: list[Peer] = []
        for _ in range(CLIENTS):
            self.peers.append(self.arrive(None))
        self.act(("persist", 2))

    def persist(self, zxid: int, payload: bytes) -> None:
        self.journal.append(zxid)
        self.payloads.append(payload)

    def arrive(self, former: Peer | None) -> Peer:
        self.numbers += 1
        peer = Peer(self.numbers)
        self.service.opened(peer.client)
        session_id = former.session_id if former else 0
        self.service.connect(peer.client, ConnectRequest(0, 0, 4000, session_id, password_of(session_id), False))
        if peer.client.session is not None:
            peer.session_id = peer.client.session.id
        return peer

    def act(self, action: tuple[Any, ...]) -> None:
        match action:
            case ("request", number, (op, body)):
                peer = self.peers[number]
                # The shell reads no further until the session is ready.
                if not peer.gone and not peer.client.closing and not peer.client.connect:
                    peer.xid += 1
                    if peer.client.session is not None and not peer.client.session.closing:
                        peer.asked.append((peer.xid, op))
                    self.service.on_frame(peer.client, struct.pack(">ii", peer.xid, op) + body)
            case ("persist", count):
                for _ in range(min(count, len(self.journal))):
                    zxid = self.journal.popleft()
                    if not self.journal or count == 1:
                        break
                else:
                    zxid = 0
                if zxid:
                    self.standalone.on_committed(zxid)
            case ("write", end):
                self.write(end)
            case ("connect", number, of):
                self.leave(self.peers[number], dropped=False)
                self.peers[number] = self.arrive(None if of is None else self.peers[of])
            case ("drop", number):
                self.leave(self.peers[number], dropped=True)
            case ("tick", step):
                self.service.now_ms += step
                self.service.on_clock()

    def write(self, end: bool) -> None:
        """As a shell does at the end of its turn; a connection may take its time to end."""
        dirty, self.service.dirty = self.service.dirty, []
        by_client = {peer.client: peer for peer in self.peers}
        for client in dirty:
            client.dirty = False
            data, client.out = b"".join(client.out), []
            peer = by_client.get(client)
            if peer is not None and not peer.gone:
                peer.told(data)
                if client.closing and end:
                    self.leave(peer, dropped=True)

    def leave(self, peer: Peer, *, dropped: bool) -> None:
        """Its connection ends now, or (a new one stands in its place) nobody ever hears of it again."""
        if not peer.gone and (dropped or peer.client.closing):
            peer.gone = True
            self.service.closed(peer.client)

    def finish(self) -> None:
        """The disk comes to its end, and all that was asked is answered."""
        while self.journal:
            self.act(("persist", 100))
        self.write(False)
        for peer in self.peers:
            if not peer.gone and not peer.client.closing and peer.client.session is not None:
                assert not peer.client.waiting
                assert not peer.asked, peer.asked
        assert self.standalone.in_flight == 0


def hold_to_log(machine: Machine) -> None:
    """Replay gives the same tree, digests included; nothing in the log would harm another server."""
    other = Database(extended_types=True)
    for payload in machine.payloads:
        _, txn, digest = decode_txn(payload, 1 << 30)
        assert_harmless(txn, decode_txn(payload, 1 << 30)[0].type)
        assert digest is not None or decode_txn(payload, 1 << 30)[0].type == OpCode.ERROR
        other.replay(payload)
    assert other.digest_mismatches == 0
    assert other.tree.nodes == machine.database.tree.nodes
    assert other.tree.ephemerals == machine.database.tree.ephemerals
    assert other.sessions == machine.database.sessions
    assert set(machine.database.tree.ephemerals) <= set(machine.database.sessions)
    image = machine.database.image()
    third = Database(extended_types=True)
    parser = third.parser()
    assert [parser.feed(piece) for piece in image.pieces()][-1]
    third.settle(image.zxid)
    assert third.tree.digest == other.tree.digest


def assert_harmless(txn: Txn, type_: int) -> None:
    match txn:
        case CreateTxn() if type_ == OpCode.CREATE_TTL:
            assert 0 < txn.ttl <= TTL_MAX_MS
        case MultiTxn(txns):
            for sub_type, sub in txns:
                assert sub_type != OpCode.CREATE2, "3.8.0 would apply nothing of this multi"
                assert_harmless(sub, sub_type)


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.lists(actions, min_size=5, max_size=60))
def test_nothing_but_answers_comes_of_requests(done: list[tuple[Any, ...]]) -> None:
    machine = Machine()
    for action in done:
        try:
            machine.act(action)
        except WireError:
            # The shell closes the connection that the frame came from.
            assert action[0] == "request"
            machine.leave(machine.peers[action[1]], dropped=True)
    machine.finish()
    hold_to_log(machine)
