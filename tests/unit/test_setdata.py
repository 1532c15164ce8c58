"""The short way of a plain setData equals the long one, in the log, in the replies and in the tree."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from zktw.pipeline.auth import Authentication
from zktw.pipeline.prep import PrepRequestProcessor
from zktw.pipeline.primary import Primary
from zktw.pipeline.request import Client
from zktw.pipeline.service import DataService
from zktw.pipeline.sessions import SessionTracker
from zktw.terms.codes import OpCode
from zktw.tree.database import Database
from zktw.wire.client import ConnectRequest

LENGTH_MAX = 1 << 20
OPEN_ACL = struct.pack(">ii", 1, 31) + b"\x00\x00\x00\x05world\x00\x00\x00\x06anyone"
READ_ACL = struct.pack(">ii", 1, 1) + b"\x00\x00\x00\x05world\x00\x00\x00\x06anyone"


class NoFigures:
    """Counts nothing."""

    def count(self, name: str, by: int = 1) -> None:
        """See Figures."""

    def add(self, name: str, value: int) -> None:
        """See Figures."""


class Server:
    """A server alone, whose disk takes its time; short says whether it has the short way."""

    def __init__(self, short: bool) -> None:
        self.log: list[bytes] = []
        self.database = Database()
        tracker = SessionTracker(1, 2000, 0.0, 0)
        auth = Authentication()
        self.service = DataService(
            self.database, tracker, auth, NoFigures(), length_max=LENGTH_MAX, timeout_min_ms=1, timeout_max_ms=60_000
        )
        prep = PrepRequestProcessor(self.database, auth, LENGTH_MAX)
        self.standalone = Primary(self.service, prep, lambda _zxid, payload: self.log.append(payload))
        if not short:
            self.service.submit_set_data = None
        self.client = Client(1, "127.0.0.1", None)
        self.service.opened(self.client)
        self.service.connect(self.client, ConnectRequest(0, 0, 10_000, 0, None, None))
        self.persist()
        self.xid = 0
        for path, acl in (("/a", OPEN_ACL), ("/b", OPEN_ACL), ("/c", READ_ACL)):
            self.send(OpCode.CREATE, text(path) + text("x") + acl + struct.pack(">i", 0))

    def send(self, op: int, body: bytes) -> None:
        self.xid += 1
        self.service.wall_ms += 7
        self.service.on_frame(self.client, struct.pack(">ii", self.xid, op) + body)

    def persist(self) -> None:
        self.standalone.on_committed(1 << 40)


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack(">i", len(raw)) + raw


paths = st.sampled_from(["/a", "/b", "/c", "/", "/nowhere", "", "a", "/zookeeper", "/zookeeper/config", "/a\x00"])
sets = st.tuples(
    st.just("set"), paths, st.one_of(st.none(), st.binary(max_size=20)), st.integers(-2, 4), st.binary(max_size=3)
)
others = st.sampled_from([("get",), ("persist",), ("watch",), ("acl",), ("delete",), ("create",), ("multi",), ("cut",)])


@given(st.lists(st.one_of(sets, others), max_size=25))
def test_both_ways_lead_to_the_same(steps: list[tuple[object, ...]]) -> None:
    servers = [Server(True), Server(False)]
    for server in servers:
        assert (server.service.submit_set_data is not None) == (server is servers[0])
        for step in steps:
            _do(server, step)
        server.persist()
    short, long = servers
    assert short.log == long.log
    assert short.client.out == long.client.out
    assert short.database.tree.nodes == long.database.tree.nodes
    assert short.database.tree.digest == long.database.tree.digest
    assert short.database.tree.data_bytes == long.database.tree.data_bytes
    assert short.service.outstanding == long.service.outstanding == 0
    assert not short.client.waiting
    replayed = Database()
    for payload in short.log:
        replayed.replay(payload)
    assert replayed.tree.nodes == short.database.tree.nodes
    assert replayed.digest_mismatches == 0


def _do(server: Server, step: tuple[object, ...]) -> None:
    match step:
        case ("set", str(path), data, int(version), bytes(behind)):
            assert data is None or isinstance(data, bytes)
            field = struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data
            server.send(OpCode.SET_DATA, text(path) + field + struct.pack(">i", version) + behind)
        case ("get",):
            server.send(OpCode.GET_DATA, text("/a") + b"\x00")
        case ("watch",):
            server.send(OpCode.GET_DATA, text("/a") + b"\x01")
        case ("persist",):
            server.persist()
        case ("acl",):
            server.send(OpCode.SET_ACL, text("/b") + READ_ACL + struct.pack(">i", -1))
        case ("delete",):
            server.send(OpCode.DELETE, text("/b") + struct.pack(">i", -1))
        case ("create",):
            server.send(OpCode.CREATE2, text("/b") + text("new") + OPEN_ACL + struct.pack(">i", 0))
        case ("multi",):
            part = struct.pack(">i?i", OpCode.SET_DATA, False, -1) + text("/a") + text("m") + struct.pack(">i", 1)
            server.send(OpCode.MULTI, part + part + b"\xff\xff\xff\xff\x01\xff\xff\xff\xff")
        case ("cut",):
            server.send(OpCode.SET_DATA, text("/a") + struct.pack(">i", 100) + b"short")


def test_the_short_way_is_taken() -> None:
    server = Server(True)
    server.persist()
    server.service.submit = lambda request: pytest_fail(request.op)
    server.send(OpCode.SET_DATA, text("/a") + text("new") + struct.pack(">i", 0))
    server.persist()
    assert server.database.tree.nodes["/a"][24:27] == b"new"


def pytest_fail(op: int) -> None:
    raise AssertionError(f"operation {op} went the long way")
