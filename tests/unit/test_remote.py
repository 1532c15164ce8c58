"""What a leader does for clients of its learners: writes take their place, sessions have an owner, syncs a place."""

import struct

import pytest
from dataserver import LENGTH_MAX, DataServer, buf, create_body, i32, text

from zktw.pipeline.remote import RemoteRequests
from zktw.terms.codes import ErrorCode, OpCode, PacketType
from zktw.terms.errors import WireError
from zktw.tree.node import data_of
from zktw.wire.peers import PacketParser, QuorumPacket
from zktw.wire.txn import CreateSessionTxn, ErrorTxn, Txn, decode_txn

FOLLOWER, OTHER = 4, 5
SESSION = 0x2_0000_0000_0001


class Leader:
    """A data service that gives the order, and its learners on connections."""

    def __init__(self) -> None:
        self.server = DataServer()
        self.told: list[tuple[int, QuorumPacket]] = []
        self.remote = RemoteRequests(self.server.service, self.server.standalone, self._answer)

    def _answer(self, connection: int, data: bytes) -> None:
        self.told += [(connection, packet) for packet in PacketParser(1 << 20).feed(data)]

    def ask(
        self,
        op: int,
        body: bytes = b"",
        *,
        cxid: int = 1,
        session: int = SESSION,
        connection: int = FOLLOWER,
        authinfo: tuple[tuple[str, str], ...] | None = None,
    ) -> None:
        """A learner forwards this."""
        data = struct.pack(">qii", session, cxid, op) + body
        self.remote.on_request(connection, QuorumPacket(PacketType.REQUEST, -1, data, authinfo))

    def begin(self, session: int = SESSION, connection: int = FOLLOWER) -> None:
        """A session of a learner's client."""
        self.ask(OpCode.CREATE_SESSION, i32(4000), cxid=0, session=session, connection=connection)
        self.server.persist()

    def owner(self, session: int = SESSION) -> object:
        return self.server.tracker.sessions[session].owner

    def txns(self) -> list[tuple[int, int, Txn]]:
        """What was proposed: session, cxid, transaction."""
        decoded = [decode_txn(payload, LENGTH_MAX) for payload in self.server.log]
        return [(header.client_id, header.cxid, txn) for header, txn, _ in decoded]


def test_a_session_is_its_learners() -> None:
    leader = Leader()
    leader.begin()
    assert leader.txns() == [(SESSION, 0, CreateSessionTxn(4000))]
    assert leader.owner() == FOLLOWER
    assert leader.server.tracker.sessions[SESSION].timeout_ms == 4000


def test_writes_are_proposed_in_the_name_of_their_client() -> None:
    leader = Leader()
    leader.begin()
    leader.ask(OpCode.CREATE, create_body("/a", b"1"), cxid=7)
    leader.ask(OpCode.SET_DATA, text("/a") + buf(b"2") + i32(0), cxid=8)
    leader.ask(OpCode.SET_DATA, text("/a") + buf(b"3") + i32(0), cxid=9)
    leader.server.persist()
    assert [(session, cxid) for session, cxid, _ in leader.txns()[1:]] == [(SESSION, 7), (SESSION, 8), (SESSION, 9)]
    # The last one had an old version: what failed has a place too, since its learner waits for it.
    assert leader.txns()[-1][2] == ErrorTxn(ErrorCode.BAD_VERSION)
    assert data_of(leader.server.database.tree.nodes["/a"]) == b"2"
    leader.server.hold_to_log()


def test_a_client_is_who_its_learner_says() -> None:
    leader = Leader()
    leader.begin()
    lists = (("digest", "joe:x"),)
    body = text("/mine") + buf(b"") + i32(1) + i32(31) + text("auth") + text("") + i32(0)
    leader.ask(OpCode.CREATE, body, cxid=1, authinfo=lists)
    leader.ask(OpCode.SET_DATA, text("/mine") + buf(b"x") + i32(-1), cxid=2)
    leader.ask(OpCode.SET_DATA, text("/mine") + buf(b"y") + i32(-1), cxid=3, authinfo=lists)
    leader.server.persist()
    assert leader.txns()[2][2] == ErrorTxn(ErrorCode.NO_AUTH)
    assert data_of(leader.server.database.tree.nodes["/mine"]) == b"y"


@pytest.mark.parametrize("op", [OpCode.CREATE, OpCode.SET_DATA])
def test_a_session_that_is_unknown_or_another_learners_is_refused_in_its_place(op: int) -> None:
    leader = Leader()
    leader.begin()
    leader.begin(SESSION + 1, OTHER)
    leader.ask(OpCode.CREATE, create_body("/a", b"1"), cxid=1)
    body = create_body("/b") if op == OpCode.CREATE else text("/a") + buf(b"2") + i32(-1)
    leader.ask(op, body, cxid=5, connection=OTHER)
    leader.ask(op, body, cxid=6, session=99)
    leader.server.persist()
    assert leader.txns()[3:] == [
        (SESSION, 5, ErrorTxn(ErrorCode.SESSION_MOVED)),
        (99, 6, ErrorTxn(ErrorCode.SESSION_EXPIRED)),
    ]
    assert data_of(leader.server.database.tree.nodes["/a"]) == b"1"


def test_an_operation_that_does_not_exist_takes_a_place() -> None:
    leader = Leader()
    leader.begin()
    leader.ask(OpCode.GET_DATA, text("/") + b"\0", cxid=3)
    leader.ask(777, b"", cxid=4)
    leader.server.persist()
    assert leader.txns()[1:] == [
        (SESSION, 3, ErrorTxn(ErrorCode.UNIMPLEMENTED)),
        (SESSION, 4, ErrorTxn(ErrorCode.UNIMPLEMENTED)),
    ]


def test_the_end_of_a_session_takes_nothing_behind_it() -> None:
    leader = Leader()
    leader.begin()
    leader.ask(OpCode.CREATE, create_body("/e", flags=1), cxid=1)
    leader.ask(OpCode.CLOSE_SESSION, cxid=2)
    leader.ask(OpCode.CREATE, create_body("/f"), cxid=3)
    leader.server.persist()
    assert SESSION not in leader.server.tracker.sessions
    assert not {"/e", "/f"} & leader.server.database.tree.nodes.keys()
    leader.remote.on_revalidate(FOLLOWER, struct.pack(">qi", SESSION, 4000))
    assert leader.told[-1][1].data == struct.pack(">q?", SESSION, False)


def test_a_sync_is_answered_and_is_no_transaction() -> None:
    leader = Leader()
    leader.begin()
    leader.ask(OpCode.SYNC, text("/"), cxid=2)
    assert leader.told == [(FOLLOWER, QuorumPacket(PacketType.SYNC, 0))]
    assert len(leader.txns()) == 1


# -- who lives -------------------------------------------------------------------------------------------------------


def test_whoever_has_the_client_now_is_the_owner() -> None:
    leader = Leader()
    leader.begin()
    leader.remote.on_revalidate(OTHER, struct.pack(">qi", SESSION, 6000))
    assert leader.told == [(OTHER, QuorumPacket(PacketType.REVALIDATE, -1, struct.pack(">q?", SESSION, True)))]
    assert leader.owner() == OTHER
    assert leader.server.tracker.sessions[SESSION].timeout_ms == 6000
    # What was under way through the former one comes too late.
    leader.ask(OpCode.CREATE, create_body("/a"), cxid=1)
    leader.server.persist()
    assert leader.txns()[-1][2] == ErrorTxn(ErrorCode.SESSION_MOVED)


@pytest.mark.parametrize("session", [SESSION + 1, 0, -1])
def test_an_unknown_session_may_not_go_on(session: int) -> None:
    leader = Leader()
    leader.begin()
    leader.remote.on_revalidate(OTHER, struct.pack(">qi", session, 6000))
    assert leader.told[-1][1].data == struct.pack(">q?", session, False)
    assert session not in leader.server.tracker.sessions


def test_sessions_that_were_heard_of_live() -> None:
    leader = Leader()
    leader.begin()
    leader.begin(SESSION + 1)
    leader.server.service.now_ms = 3900.0
    leader.remote.on_touched(FOLLOWER, struct.pack(">qiqi", SESSION, 4000, 99, 4000))
    assert leader.server.tracker.sessions[SESSION].heard_ms == 3900
    assert leader.server.tracker.sessions[SESSION + 1].heard_ms == 0
    assert 99 not in leader.server.tracker.sessions


def test_a_request_is_a_word_of_its_client_too() -> None:
    leader = Leader()
    leader.begin()
    leader.server.service.now_ms = 3900.0
    leader.ask(OpCode.SYNC, text("/"))
    assert leader.server.tracker.sessions[SESSION].heard_ms == 3900


def test_who_has_left_still_owns_its_sessions() -> None:
    """Until its client comes elsewhere, or is silent for too long."""
    leader = Leader()
    leader.begin()
    leader.remote.left(FOLLOWER)
    assert leader.owner() == FOLLOWER


def test_a_client_that_has_left_the_leader_is_not_whoever_asks() -> None:
    """What it had sent through a learner before comes late, and is not carried out behind what it has asked since."""
    leader = Leader()
    leader.begin()
    moved = leader.server.connect(SESSION)
    assert leader.owner() is moved
    leader.server.service.closed(moved)
    leader.ask(OpCode.CREATE, create_body("/late"), cxid=1)
    leader.server.persist()
    assert leader.txns()[-1] == (SESSION, 1, ErrorTxn(ErrorCode.SESSION_MOVED))
    # Until it comes back through it.
    leader.remote.on_revalidate(FOLLOWER, struct.pack(">qi", SESSION, 4000))
    leader.ask(OpCode.CREATE, create_body("/again"), cxid=1)
    leader.server.persist()
    assert "/again" in leader.server.database.tree.nodes


@pytest.mark.parametrize("data", [None, b"", bytes(15)])
def test_a_request_that_is_too_short(data: bytes | None) -> None:
    leader = Leader()
    with pytest.raises(WireError, match=r"^a REQUEST of \d+ bytes$"):
        leader.remote.on_request(FOLLOWER, QuorumPacket(PacketType.REQUEST, -1, data))
    for size in (0, 11, 13):
        with pytest.raises(WireError, match=rf"^a REVALIDATE of {size} bytes$"):
            leader.remote.on_revalidate(FOLLOWER, bytes(size))
    for size in (1, 13):
        with pytest.raises(WireError, match=rf"^a PING with {size} bytes of sessions$"):
            leader.remote.on_touched(FOLLOWER, bytes(size))
    assert leader.txns() == []


def test_who_stops_takes_nothing_more() -> None:
    leader = Leader()
    leader.begin()
    leader.remote.is_deaf = True
    leader.ask(OpCode.CREATE, create_body("/a"))
    leader.ask(OpCode.SYNC, text("/"))
    assert (len(leader.txns()), leader.told) == (1, [])
