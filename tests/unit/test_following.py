"""A write on a learner: forwarded, applied when it is committed, and answered to whom it belongs, in order."""

import struct

import pytest
from dataserver import LENGTH_MAX, DataServer, buf, create_body, i32, multi_body, text
from hypothesis import given, settings
from hypothesis import strategies as st

from zktw.pipeline.following import Following
from zktw.pipeline.remote import RemoteRequests
from zktw.pipeline.request import Client
from zktw.pipeline.sessions import password_of
from zktw.terms.codes import ErrorCode, OpCode, PacketType
from zktw.terms.errors import ProtocolError, WireError
from zktw.tree.node import data_of
from zktw.wire.client import ConnectRequest
from zktw.wire.peers import PacketParser, QuorumPacket

CONNECTION = 4


class Pair:
    """A learner, and the leader that it forwards to; what passes between them waits until it is let through."""

    def __init__(self) -> None:
        # Each makes up ids of its own.
        self.learner, self.leader = DataServer(sid=2), DataServer(sid=1)
        # No learner gives zxids.
        self.learner.service.submit_set_data = None
        self.sent: list[QuorumPacket] = []
        self.following = Following(self.learner.service, self._say, LENGTH_MAX)
        # Each with the number of transactions that were proposed before it.
        self._answers: list[tuple[int, QuorumPacket]] = []
        self.remote = RemoteRequests(self.leader.service, self.leader.standalone, self._answer)
        self._told = 0

    def _say(self, data: bytes) -> None:
        self.sent += PacketParser(1 << 20).feed(data)

    def _answer(self, connection: int, data: bytes) -> None:
        self._answers += [(len(self.leader.log), packet) for packet in PacketParser(1 << 20).feed(data)]

    def pass_on(self) -> None:
        """The leader hears what was sent to it."""
        sent, self.sent = self.sent, []
        for packet in sent:
            if packet.type == PacketType.REQUEST:
                self.remote.on_request(CONNECTION, packet)
            else:
                self.remote.on_revalidate(CONNECTION, packet.data or b"")

    def commit(self) -> None:
        """All that the leader has proposed is committed, and the learner hears of it; of answers in their place."""
        self.leader.persist()
        answers, self._answers = self._answers, []
        for place, packet in answers:
            self._happen(place)
            if packet.type == PacketType.SYNC:
                self.following.on_sync()
            else:
                self.following.on_revalidated(packet.data)
        self._happen(len(self.leader.log))

    def _happen(self, upto: int) -> None:
        for payload in self.leader.log[self._told : upto]:
            self.following.on_proposed(payload)
        self.following.on_committed(max(0, upto - self._told))
        self._told = max(upto, self._told)

    def settle(self) -> None:
        """There and back."""
        self.pass_on()
        self.commit()

    def connect(self, session_id: int = 0) -> Client:
        """A client of the learner, with a session by the end of it."""
        client = Client(len(self.learner.service.clients) + 1, "192.0.2.1", None)
        self.learner.service.opened(client)
        asked = ConnectRequest(0, 0, 4000, session_id, password_of(session_id), False)
        self.learner.service.connect(client, asked)
        self.settle()
        self.learner.take(client)
        return client

    def replies(self, client: Client) -> list[tuple[int, int]]:
        return [(xid, err) for xid, err, _ in self.learner.take(client)]


def id_of(client: Client) -> int:
    assert client.session is not None
    return client.session.id


def test_a_write_happens_and_is_answered_once_it_is_committed() -> None:
    pair = Pair()
    client = pair.connect()
    pair.learner.send(client, OpCode.CREATE, create_body("/a", b"1"), 7)
    (packet,) = pair.sent
    assert (packet.type, packet.zxid) == (PacketType.REQUEST, -1)
    assert packet.data == struct.pack(">qii", id_of(client), 7, OpCode.CREATE) + create_body("/a", b"1")
    pair.pass_on()
    assert pair.replies(client) == []
    assert "/a" not in pair.learner.database.tree.nodes
    pair.commit()
    assert pair.replies(client) == [(7, 0)]
    assert data_of(pair.learner.database.tree.nodes["/a"]) == b"1"


def test_identities_go_with_a_request() -> None:
    pair = Pair()
    client = pair.connect()
    pair.learner.authenticate(client, "joe")
    pair.learner.send(client, OpCode.CREATE, create_body("/a"), 7)
    assert pair.sent[0].authinfo is not None
    assert [scheme for scheme, _ in pair.sent[0].authinfo] == [one.scheme for one in client.identities]
    assert "digest" in [scheme for scheme, _ in pair.sent[0].authinfo]


def test_reads_wait_for_writes_before_them_and_for_no_others() -> None:
    pair = Pair()
    writer, reader = pair.connect(), pair.connect()
    pair.learner.send(writer, OpCode.CREATE, create_body("/a"), 1)
    for client in (writer, reader):
        pair.learner.send(client, OpCode.EXISTS, text("/a") + b"\0", 2)
    assert (pair.replies(writer), pair.replies(reader)) == ([], [(2, ErrorCode.NO_NODE)])
    pair.settle()
    assert pair.replies(writer) == [(1, 0), (2, 0)]


def test_a_refusal_of_the_leaders_is_the_answer() -> None:
    pair = Pair()
    client = pair.connect()
    pair.learner.send(client, OpCode.CREATE, create_body("/no/parent"), 1)
    pair.learner.send(client, OpCode.SET_DATA, text("/nowhere") + buf(b"x") + i32(-1), 2)
    pair.settle()
    assert pair.replies(client) == [(1, ErrorCode.NO_NODE), (2, ErrorCode.NO_NODE)]


def test_what_cannot_be_read_is_not_forwarded_and_is_answered_in_its_turn() -> None:
    pair = Pair()
    client = pair.connect()
    pair.learner.send(client, OpCode.CREATE, create_body("/a"), 1)
    pair.learner.send(client, OpCode.CREATE, b"\0\0\0\7", 2)
    assert len(pair.sent) == 1
    assert pair.replies(client) == []
    pair.settle()
    assert pair.replies(client)[:2] == [(1, 0), (2, ErrorCode.MARSHALLING_ERROR)]


def test_writes_of_others_answer_nobody_here() -> None:
    pair = Pair()
    client = pair.connect()
    elsewhere = pair.leader.connect()
    pair.learner.send(client, OpCode.CREATE, create_body("/a"), 1)
    assert pair.leader.create(elsewhere, "/b") == 0
    assert pair.leader.set_data(elsewhere, "/b", b"2") == 0
    pair.commit()
    assert pair.replies(client) == []
    assert data_of(pair.learner.database.tree.nodes["/b"]) == b"2"
    pair.settle()
    assert pair.replies(client) == [(1, 0)]


def test_who_watches_hears_of_what_others_write() -> None:
    pair = Pair()
    client = pair.connect()
    pair.learner.send(client, OpCode.EXISTS, text("/b") + b"\1", 1)
    pair.learner.take(client)
    elsewhere = pair.leader.connect()
    pair.leader.create(elsewhere, "/b")
    pair.commit()
    assert [xid for xid, _ in pair.replies(client)] == [-1]


def test_a_sync_is_answered_when_it_has_come_back() -> None:
    pair = Pair()
    client = pair.connect()
    elsewhere = pair.leader.connect()
    pair.leader.create(elsewhere, "/b")
    pair.learner.send(client, OpCode.SYNC, text("/b"), 1)
    pair.learner.send(client, OpCode.EXISTS, text("/b") + b"\0", 2)
    pair.pass_on()
    assert pair.replies(client) == []
    pair.commit()
    assert pair.replies(client) == [(1, 0), (2, 0)]


def test_a_session_that_comes_from_elsewhere_is_asked_for() -> None:
    pair = Pair()
    elsewhere = pair.leader.connect()
    client = pair.connect(id_of(elsewhere))
    assert id_of(client) == id_of(elsewhere)
    pair.learner.send(client, OpCode.CREATE, create_body("/a"), 1)
    pair.settle()
    assert pair.replies(client) == [(1, 0)]


def test_an_unknown_session_is_told_so() -> None:
    pair = Pair()
    client = pair.connect(77)
    assert client.session is None
    assert client.closing


def test_who_has_gone_is_answered_nothing_and_its_writes_happen() -> None:
    pair = Pair()
    client = pair.connect()
    pair.learner.send(client, OpCode.CREATE, create_body("/a"), 1)
    pair.learner.service.closed(client)
    pair.settle()
    assert "/a" in pair.learner.database.tree.nodes
    assert pair.replies(client) == []


def test_clients_that_were_heard_of_are_told_to_the_leader_once() -> None:
    pair = Pair()
    first, second = pair.connect(), pair.connect()
    pair.learner.service.now_ms += 1000
    pair.following.touched()
    pair.learner.service.now_ms += 1000
    assert first.session is not None
    first.session.heard_ms = pair.learner.service.now_ms
    pair.learner.service.now_ms += 1
    assert pair.following.touched() == struct.pack(">qi", id_of(first), 4000)
    pair.learner.service.now_ms += 1000
    pair.following.passed_touches[99] = 5000
    assert second.session is not None
    second.session.heard_ms = pair.learner.service.now_ms
    assert pair.following.touched() == struct.pack(">qiqi", 99, 5000, id_of(second), 4000)


@pytest.mark.parametrize("data", [None, b"", bytes(8), bytes(10)])
def test_a_malformed_word_on_a_session(data: bytes | None) -> None:
    with pytest.raises(WireError, match=r"^a REVALIDATE of \d+ bytes$"):
        Pair().following.on_revalidated(data)


def test_answers_to_nothing_that_was_asked() -> None:
    pair = Pair()
    with pytest.raises(ProtocolError, match="none was asked for"):
        pair.following.on_sync()
    with pytest.raises(ProtocolError, match="session 0x7, which was not asked for"):
        pair.following.on_revalidated(struct.pack(">q?", 7, True))


def test_what_is_no_transaction_is_refused_before_it_is_logged() -> None:
    with pytest.raises(WireError):
        Pair().following.on_proposed(bytes(32) + b"\xff")


writes = st.sampled_from(
    [
        (OpCode.CREATE, create_body("/a", b"1")),
        (OpCode.CREATE2, create_body("/a/s", b"", flags=2)),
        (OpCode.SET_DATA, text("/a") + buf(b"2") + i32(-1)),
        (OpCode.SET_DATA, text("/a") + buf(b"3") + i32(1)),
        (OpCode.SET_DATA, text("/a") + buf(None) + i32(-1)),
        (OpCode.DELETE, text("/a") + i32(-1)),
        (OpCode.EXISTS, text("/a") + b"\1"),
        (OpCode.SYNC, text("/a")),
        (OpCode.MULTI, multi_body((OpCode.CREATE, create_body("/m")), (OpCode.DELETE, text("/m") + i32(-1)))),
        (OpCode.MULTI, multi_body((OpCode.CREATE, create_body("/m")), (OpCode.DELETE, text("/no") + i32(-1)))),
    ]
)
steps = st.lists(st.one_of(st.tuples(st.integers(0, 2), writes), st.sampled_from(["pass", "commit"])), max_size=40)


@settings(deadline=None)
@given(done=steps)
def test_every_client_hears_all_its_answers_in_order_and_both_trees_are_one(
    done: list[tuple[int, tuple[int, bytes]] | str],
) -> None:
    pair = Pair()
    clients = [pair.connect(), pair.connect()]
    elsewhere = pair.leader.connect()
    asked: list[list[int]] = [[], []]
    for number, step in enumerate(done, 1):
        if step == "pass":
            pair.pass_on()
        elif step == "commit":
            pair.commit()
        else:
            assert not isinstance(step, str)
            who, (op, body) = step
            if who == 2:
                pair.leader.send(elsewhere, op, body, number)
            else:
                asked[who].append(number)
                pair.learner.send(clients[who], op, body, number)
    pair.settle()
    for client, numbers in zip(clients, asked, strict=True):
        assert [xid for xid, _ in pair.replies(client) if xid > 0] == numbers
        assert not client.waiting
    leader, learner = pair.leader.database, pair.learner.database
    assert learner.tree.nodes == leader.tree.nodes
    assert (learner.last_zxid, learner.tree.digest) == (leader.last_zxid, leader.tree.digest)
    assert learner.digest_mismatches == 0
    assert pair.learner.service.outstanding == 0
