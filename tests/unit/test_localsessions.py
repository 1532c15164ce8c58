"""Local sessions and those of readers, without sockets: what is agreed on for them, and what is not."""

import pytest
from dataserver import LENGTH_MAX, TICK_MS, DataServer, create_body, i32, multi_body, text

from zktw.pipeline.following import Following
from zktw.pipeline.localsessions import LocalSessions
from zktw.pipeline.request import Client
from zktw.pipeline.sessions import SessionTracker, password_of
from zktw.terms.codes import ErrorCode, OpCode, PacketType
from zktw.wire.client import ConnectRequest
from zktw.wire.peers import PacketParser
from zktw.wire.txn import decode_txn

EPHEMERAL, CONTAINER = 1, 4
SID = 1


class LocalServer(DataServer):
    """One that gives zxids, with local sessions."""

    def __init__(self, *, upgrades: bool = True, read_only: bool = False) -> None:
        super().__init__()
        self.local = keep_local(self, upgrades=upgrades)
        self.prep.may_own = self.tracker.sessions.__contains__
        self.service.read_only = read_only

    @property
    def agreed(self) -> list[int]:
        """The kinds of transactions that there have been."""
        return [decode_txn(payload, LENGTH_MAX)[0].type for payload in self.log]

    def come(self, session_id: int, password: bytes | None = None) -> Client:
        """A client with a session that it had before; what it was told is still in its out."""
        self._number += 1
        client = Client(self._number, "127.0.0.1", None)
        self.service.opened(client)
        secret = password_of(session_id) if password is None else password
        self.service.connect(client, ConnectRequest(0, 0, 4000, session_id, secret, True))
        return client


def keep_local(server: DataServer, *, upgrades: bool) -> LocalSessions:
    tracker = SessionTracker(SID, TICK_MS, 0.0, 0)
    local = server.service.local = LocalSessions(server.service, tracker, SID, LENGTH_MAX, upgrades=upgrades)
    return local


def id_of(client: Client) -> int:
    assert client.session is not None
    return client.session.id


def test_a_local_session_begins_and_ends_without_a_transaction() -> None:
    server = LocalServer()
    client = server.connect()
    session_id = id_of(client)
    assert server.local.find(session_id) is client.session
    assert not server.tracker.sessions
    assert not server.database.sessions
    assert server.create(client, "/a") == 0
    assert server.ask(client, OpCode.CLOSE_SESSION)[0] == 0
    assert client.closing
    assert server.local.find(session_id) is None
    assert server.agreed == [OpCode.CREATE]


def test_it_goes_on_over_another_connection_and_the_former_ends() -> None:
    server = LocalServer()
    first = server.connect()
    session_id = id_of(first)
    second = server.come(session_id)
    assert id_of(second) == session_id
    assert first.closing
    stranger = server.come(session_id, bytes(16))
    assert stranger.closing
    assert not second.closing


def test_it_expires_by_a_clock_of_its_own() -> None:
    server = LocalServer()
    client, other = server.connect(timeout_ms=2000), server.connect(timeout_ms=20_000)
    session_id = id_of(client)
    while server.local.deadline_ms <= 4 * TICK_MS:
        server.service.now_ms = server.local.deadline_ms
        server.local.on_clock()
    assert client.closing
    assert client.session is None
    assert server.local.find(session_id) is None
    assert not other.closing
    assert server.log == []


def test_before_an_ephemeral_it_becomes_the_ensembles() -> None:
    server = LocalServer()
    client = server.connect()
    session_id = id_of(client)
    assert server.create(client, "/e", flags=EPHEMERAL) == 0
    assert server.agreed == [OpCode.CREATE_SESSION, OpCode.CREATE]
    assert server.local.find(session_id) is None
    assert server.database.sessions == {session_id: 4000}
    assert client.session is server.tracker.sessions[session_id]
    # It is looked after where all are, and takes its nodes with it.
    client.session.heard_ms = 0.0
    while server.service.deadline_ms <= 8 * TICK_MS:
        server.service.now_ms = server.service.deadline_ms
        server.service.on_clock()
    server.persist()
    assert client.closing
    assert "/e" not in server.database.tree.nodes
    server.hold_to_log()


@pytest.mark.parametrize("op", [OpCode.CREATE, OpCode.CREATE2])
def test_a_multi_with_an_ephemeral_upgrades_once(op: OpCode) -> None:
    server = LocalServer()
    client = server.connect()
    plain = multi_body((OpCode.CREATE, create_body("/a")))
    assert server.ask(client, OpCode.MULTI, plain)[0] == 0
    assert server.agreed == [OpCode.MULTI]
    mixed = multi_body((OpCode.CREATE, create_body("/b")), (op, create_body("/e", flags=EPHEMERAL)))
    assert server.ask(client, OpCode.MULTI, mixed)[0] == 0
    assert server.ask(client, OpCode.MULTI, multi_body((op, create_body("/f", flags=EPHEMERAL))))[0] == 0
    assert server.agreed == [OpCode.MULTI, OpCode.CREATE_SESSION, OpCode.MULTI, OpCode.MULTI]
    assert set(server.database.tree.ephemerals[id_of(client)]) == {"/e", "/f"}


def test_what_cannot_be_read_upgrades_nothing() -> None:
    server = LocalServer()
    client = server.connect()
    assert server.ask(client, OpCode.CREATE, b"")[0] == ErrorCode.MARSHALLING_ERROR
    assert server.ask(client, OpCode.CREATE, create_body("/e", flags=EPHEMERAL)[:-1])[0] == ErrorCode.MARSHALLING_ERROR
    assert server.local.find(id_of(client)) is not None


def test_without_upgrades_it_owns_nothing_and_is_told_so_in_its_turn() -> None:
    server = LocalServer(upgrades=False)
    client = server.connect()
    server.send(client, OpCode.CREATE, create_body("/a"), xid=1)
    server.send(client, OpCode.CREATE, create_body("/e", flags=EPHEMERAL), xid=2)
    server.send(client, OpCode.CREATE, create_body("/b"), xid=3)
    server.send(client, OpCode.CLOSE_SESSION, xid=4)
    assert server.take(client) == []
    server.persist()
    told = [(xid, err) for xid, err, _ in server.take(client)]
    assert told == [(1, 0), (2, ErrorCode.EPHEMERAL_ON_LOCAL_SESSION), (3, 0), (4, 0)]
    assert server.agreed == [OpCode.CREATE, OpCode.CREATE]
    assert client.closing
    other = server.connect()
    body = server.ask(other, OpCode.MULTI, multi_body((OpCode.CREATE, create_body("/f", flags=EPHEMERAL))))[1]
    assert i32(ErrorCode.EPHEMERAL_ON_LOCAL_SESSION) in body
    assert server.ask(other, OpCode.CREATE_CONTAINER, create_body("/c", flags=CONTAINER))[0] == 0
    server.hold_to_log()


def test_whose_session_is_another_servers_own_may_write_and_ours_that_are_gone_may_not() -> None:
    local = LocalServer().local
    assert local.accepts(2 << 56 | 5)
    assert local.accepts(-1 << 56 | 5)
    assert not local.accepts(SID << 56 | 5)
    server = LocalServer()
    assert server.local.accepts(id_of(server.connect()))


# -- on a learner -----------------------------------------------------------------------------------------------------


class LocalLearner:
    """A learner with local sessions; what it says to its leader is noted."""

    def __init__(self, *, upgrades: bool = True) -> None:
        self.server = DataServer()
        self.to_leader: list[tuple[PacketType, int]] = []
        self.following = Following(self.server.service, self._on_said, LENGTH_MAX)
        self.local = keep_local(self.server, upgrades=upgrades)

    def _on_said(self, data: bytes) -> None:
        for packet in PacketParser(1 << 20).feed(data):
            op = int.from_bytes((packet.data or b"")[12:16], "big", signed=True)
            self.to_leader.append((packet.type, op))


def test_a_learner_forwards_writes_of_local_sessions_and_nothing_of_the_sessions() -> None:
    learner = LocalLearner()
    server = learner.server
    client = server.connect()
    server.send(client, OpCode.CREATE, create_body("/a"))
    assert learner.to_leader == [(PacketType.REQUEST, OpCode.CREATE)]
    assert learner.following.touched() == b""
    other = server.connect()
    server.send(other, OpCode.CLOSE_SESSION)
    assert [err for _, err, _ in server.take(other)] == [0]
    session_id = id_of(client)
    assert id_of(server.connect(session_id)) == session_id
    assert learner.to_leader == [(PacketType.REQUEST, OpCode.CREATE)]


def test_a_learner_lets_the_ensemble_know_the_session_before_it_wants_to_own_something() -> None:
    learner = LocalLearner()
    client = learner.server.connect()
    learner.server.send(client, OpCode.CREATE, create_body("/e", flags=EPHEMERAL))
    assert learner.to_leader == [
        (PacketType.REQUEST, OpCode.CREATE_SESSION),
        (PacketType.REQUEST, OpCode.CREATE),
    ]
    # From now on the leader hears that it lives.
    assert learner.following.touched().startswith(id_of(client).to_bytes(8, "big"))


def test_a_learner_that_may_not_upgrade_asks_the_leader_of_multis_only() -> None:
    learner = LocalLearner(upgrades=False)
    server = learner.server
    client = server.connect()
    server.send(client, OpCode.CREATE, create_body("/e", flags=EPHEMERAL))
    assert [err for _, err, _ in server.take(client)] == [ErrorCode.EPHEMERAL_ON_LOCAL_SESSION]
    server.send(client, OpCode.MULTI, multi_body((OpCode.CREATE, create_body("/e", flags=EPHEMERAL))))
    assert learner.to_leader == [(PacketType.REQUEST, OpCode.MULTI)]


# -- where nobody leads -----------------------------------------------------------------------------------------------


def test_a_server_for_readers_turns_away_who_asks_for_more() -> None:
    server = LocalServer()
    ensembles = server.connect()
    assert server.create(ensembles, "/e", flags=EPHEMERAL) == 0
    known = id_of(ensembles)
    server.service.read_only = True
    other = Client(99, "127.0.0.1", None)
    server.service.opened(other)
    assert "read-only" in server.service.connect(other, ConnectRequest(0, 0, 4000, 0, bytes(16), False))
    assert other.closing
    assert other.out == []
    client = server.come(known)
    assert client.closing
    assert client.out == []
    # One that nobody knows here is told that it is over.
    stranger = server.come(5 << 56)
    assert stranger.closing
    assert stranger.out
    reader = server.come(0)
    assert not reader.closing
    assert reader.out[0].endswith(b"\1")
    assert server.tracker.sessions.keys() == {known}


def test_a_reader_that_wants_to_own_something_is_refused_as_any_writer() -> None:
    server = LocalServer(read_only=True)
    server.service.submit = lambda request: server.service.not_readable(request, ErrorCode.NOT_READ_ONLY)
    server.service.submit_set_data = None
    reader = server.come(0)
    server.take(reader)
    assert server.ask(reader, OpCode.CREATE, create_body("/e", flags=EPHEMERAL))[0] == ErrorCode.NOT_READ_ONLY
    assert server.ask(reader, OpCode.SET_DATA, text("/") + text("") + i32(-1))[0] == ErrorCode.NOT_READ_ONLY
    assert server.ask(reader, OpCode.GET_CHILDREN, text("/") + b"\0")[0] == 0
    assert server.log == []
