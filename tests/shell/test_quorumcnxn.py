"""Both ends of the quorum port: packets and trees in any cutting of the bytes, early learners, garbage."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from zktw.net.quorumcnxn import LearnerCnxn, LearnerHandlerCnxn, QuorumPort
from zktw.terms.codes import OpCode, PacketType
from zktw.terms.limits import EARLY_LEARNERS_MAX, JUTE_MAXBUFFER
from zktw.tree.database import Database
from zktw.wire.peers import TREE_SIGNATURE, QuorumPacket, encode_packet
from zktw.wire.records import OPEN_ACL
from zktw.wire.txn import CreateSessionTxn, CreateTxn, TxnHeader

PACKETS = [
    QuorumPacket(PacketType.LEADERINFO, 1 << 32, b"\x00\x01\x00\x00"),
    QuorumPacket(PacketType.SNAP, 5 << 32),
    QuorumPacket(PacketType.NEWLEADER, 1 << 32, b"version=0"),
    QuorumPacket(PacketType.UPTODATE, -1),
    QuorumPacket(PacketType.PING, 1 << 32, b"", (("ip", "127.0.0.1"),)),
]


def database() -> Database:
    """Some nodes and a session."""
    made = Database()
    made.apply(TxnHeader(0x1234, 0, 1, 0, OpCode.CREATE_SESSION), CreateSessionTxn(30_000))
    for number in range(3):
        create = CreateTxn(f"/n{number}", bytes(number), OPEN_ACL, number == 2, number + 1)
        made.apply(TxnHeader(0x1234, number, 2 + number, 0, OpCode.CREATE), create)
    return made


SENT = database()
TREE = b"".join(SENT.image().pieces())
STREAM = b"".join(
    encode_packet(packet) + (TREE + TREE_SIGNATURE if packet.type == PacketType.SNAP else b"") for packet in PACKETS
)
# Up to where a tree begins.
BEFORE_TREE = STREAM[: STREAM.index(TREE)]


class Transport(StringTransport):
    """A StringTransport with what TCP has."""

    aborted = False

    @property
    def written(self) -> bytes:
        """All of it."""
        written: bytes = self.value()  # type: ignore[no-untyped-call]
        return written

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass


def transport_of(protocol: Any) -> Transport:
    make: Callable[[], Transport] = Transport
    transport = make()
    protocol.makeConnection(transport)
    return transport


class Learner:
    """Keeps what a learner's end is told, ends of batches apart; asks for the tree where the core would."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.batches: list[int] = []
        self.received = Database()
        self.end_at: PacketType | None = None
        self.cnxn = LearnerCnxn(JUTE_MAXBUFFER, lambda _: None)
        self.cnxn.events = self
        self.transport = transport_of(self.cnxn)

    def on_packet(self, packet: QuorumPacket) -> None:
        self.told.append(packet)
        if packet.type == PacketType.SNAP:
            self.cnxn.read_tree(self.received.parser())
        if packet.type == self.end_at:
            self.cnxn.abort()

    def on_tree(self) -> None:
        self.received.settle(SENT.last_zxid)
        assert self.received.sessions == SENT.sessions
        assert self.received.tree.nodes == SENT.tree.nodes
        self.told.append("tree")
        if self.end_at is None:
            self.cnxn.send(QuorumPacket(PacketType.ACK, 5))

    def broken(self, failure: Failure) -> None:
        failure.raiseException()

    def on_batch_end(self) -> None:
        self.batches.append(len(self.told))

    def on_stream_error(self, reason: str) -> None:
        self.told.append(f"error: {reason}")


class Leader:
    """Keeps what a leading role is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, object]] = []
        self.batches: list[int] = []
        self.close_at: PacketType | None = None

    def on_learner(self, cnxn: LearnerHandlerCnxn) -> None:
        self.told.append(("learner", cnxn.number, None))

    def on_learner_packet(self, cnxn: LearnerHandlerCnxn, packet: QuorumPacket) -> None:
        self.told.append(("packet", cnxn.number, packet.type))
        if packet.type == self.close_at:
            cnxn.abort()

    def broken(self, failure: Failure) -> None:
        failure.raiseException()

    def on_learner_batch_end(self, cnxn: LearnerHandlerCnxn) -> None:
        self.batches.append(len(self.told))

    def on_learner_lost(self, cnxn: LearnerHandlerCnxn, reason: str) -> None:
        self.told.append(("lost", cnxn.number, None))


def quorum_port(soon: Callable[[Callable[[], None]], None] = lambda call: call()) -> QuorumPort:
    """A port whose next turn comes at once."""
    return QuorumPort(JUTE_MAXBUFFER, soon)


def connect(port: QuorumPort) -> tuple[LearnerHandlerCnxn, Transport]:
    cnxn = port.buildProtocol(None)
    return cnxn, transport_of(cnxn)


def in_pieces(data: bytes, cuts: list[int], feed: Callable[[bytes], None]) -> None:
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        feed(data[start:end])


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_packets_and_tree_in_any_cutting(cuts: list[int]) -> None:
    learner = Learner()
    in_pieces(STREAM, cuts, learner.cnxn.dataReceived)
    expected: list[object] = [*PACKETS]
    expected.insert(2, "tree")
    assert learner.told == expected
    assert learner.transport.written == encode_packet(QuorumPacket(PacketType.ACK, 5))


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_what_arrives_together_ends_once(cuts: list[int]) -> None:
    """After all of its packets."""
    learner = Learner()
    told: list[int] = []

    def feed(data: bytes) -> None:
        learner.cnxn.dataReceived(data)
        told.append(len(learner.told))

    in_pieces(STREAM, cuts, feed)
    assert learner.batches == told


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    "signature",
    [TREE_SIGNATURE[:-1] + b"E", TREE_SIGNATURE[:3] + b"\x0bBenWasThere", b"\xff\xff\xff\xff" + bytes(10)],
    ids=["another word", "a longer word", "null"],
)
def test_a_tree_that_ends_with_another_word_is_none(signature: bytes, size: int) -> None:
    learner = Learner()
    stream = BEFORE_TREE + TREE + signature + encode_packet(PACKETS[2])
    for start in range(0, len(stream), size):
        learner.cnxn.dataReceived(stream[start : start + size])
    assert learner.told[:2] == PACKETS[:2]
    (said,) = learner.told[2:]
    assert isinstance(said, str)
    assert said.startswith("error: the tree ends with b'")
    assert said.endswith(" instead of its signature")
    assert learner.transport.aborted


def test_half_a_tree_is_none() -> None:
    learner = Learner()
    learner.cnxn.dataReceived(BEFORE_TREE + TREE + TREE_SIGNATURE[:-1])
    learner.cnxn.connectionLost()
    assert learner.told[:2] == PACKETS[:2]
    (said,) = learner.told[2:]
    assert isinstance(said, str)
    assert said.startswith("error: connection to the leader ended")


def test_a_learner_writes_packets_that_are_encoded_already() -> None:
    learner = Learner()
    learner.cnxn.write(b"encoded")
    assert learner.transport.written == b"encoded"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x00\x00\x63" + bytes(20),
        b"\x00\x00\x00\x0a" + bytes(8) + b"\x7f\xff\xff\xff",
        encode_packet(QuorumPacket(PacketType.SNAP, 0)) + b"\xff\xff\xff\xfe" + bytes(40),
    ],
    ids=["unknown packet", "impossible length", "no tree"],
)
def test_garbage_ends_a_learner_s_connection_with_one_word(garbage: bytes) -> None:
    learner = Learner()
    learner.cnxn.dataReceived(garbage)
    learner.cnxn.dataReceived(STREAM)
    learner.cnxn.connectionLost()
    errors = [told for told in learner.told if isinstance(told, str)]
    assert len(errors) == 1
    assert learner.told[-1] == errors[0]
    assert learner.transport.aborted


def test_after_abort_nothing_is_told() -> None:
    learner = Learner()
    learner.cnxn.abort()
    learner.cnxn.dataReceived(STREAM)
    learner.cnxn.connectionLost()
    assert learner.told == []
    assert learner.batches == []


def test_a_role_that_ends_at_a_packet_is_not_told_of_those_behind_it() -> None:
    learner = Learner()
    learner.end_at = PacketType.NEWLEADER
    learner.cnxn.dataReceived(STREAM)
    assert learner.told[-1] == PACKETS[2]
    assert learner.batches == []


def test_early_learners_are_held_unread_and_then_led() -> None:
    port, leader = quorum_port(), Leader()
    early, transport = connect(port)
    assert transport.producerState == "paused"
    port.lead(leader)
    assert transport.producerState == "producing"
    late, _ = connect(port)
    early.dataReceived(encode_packet(PACKETS[-1]))
    late.connectionLost()
    assert leader.told == [
        ("learner", early.number, None),
        ("learner", late.number, None),
        ("packet", early.number, PacketType.PING),
        ("lost", late.number, None),
    ]


def test_early_learners_go_when_another_leads() -> None:
    port = quorum_port()
    _, transport = connect(port)
    port.drop()
    assert transport.aborted


def test_one_that_left_while_it_was_held_is_not_led() -> None:
    port, leader = quorum_port(), Leader()
    held, _ = connect(port)
    held.connectionLost()
    port.lead(leader)
    assert leader.told == []


def test_held_learners_are_bounded() -> None:
    port = quorum_port()
    transports: list[Any] = [connect(port)[1] for _ in range(EARLY_LEARNERS_MAX + 2)]
    assert [transport.aborted for transport in transports].count(True) == 2


def test_garbage_ends_one_learner_and_no_other() -> None:
    port, leader = quorum_port(), Leader()
    port.lead(leader)
    (bad, transport), (good, other) = connect(port), connect(port)
    bad.dataReceived(b"\xde\xad\xbe\xef" * 8)
    good.dataReceived(encode_packet(PACKETS[-1]))
    assert transport.aborted
    assert not other.aborted
    assert leader.told[2:] == [("lost", bad.number, None), ("packet", good.number, PacketType.PING)]


def test_a_port_that_stays_open_while_another_leads_keeps_nobody() -> None:
    """A port below 1024 can't be closed and bound again without privileges."""
    port, leader = quorum_port(), Leader()
    port.drop()
    assert connect(port)[1].aborted
    port.hold()
    held, transport = connect(port)
    assert not transport.aborted
    port.lead(leader)
    assert leader.told == [("learner", held.number, None)]


def test_a_leader_is_told_once_when_all_that_came_together_has_been_told() -> None:
    port, leader = quorum_port(), Leader()
    port.lead(leader)
    cnxn, _ = connect(port)
    acks = b"".join(encode_packet(QuorumPacket(PacketType.ACK, zxid)) for zxid in range(4))
    cnxn.dataReceived(acks[:50])
    cnxn.dataReceived(acks[50:])
    # The learner itself was told first.
    assert leader.batches == [3, 5]


def test_what_was_told_before_the_end_of_a_connection_is_a_batch_too() -> None:
    """It may have moved other learners: by garbage that follows, or where the leader wants no more of this one."""
    ack = encode_packet(QuorumPacket(PacketType.ACK, 1))
    port, leader = quorum_port(), Leader()
    port.lead(leader)
    bad, _ = connect(port)
    bad.dataReceived(ack + b"\xde\xad\xbe\xef")
    assert [what for what, _, _ in leader.told] == ["learner", "packet", "lost"]
    assert leader.batches == [3]
    closed, transport = connect(port)
    leader.close_at = PacketType.ACK
    closed.dataReceived(ack * 2)
    assert [what for what, _, _ in leader.told[3:]] == ["learner", "packet"]
    assert leader.batches == [3, 5]
    assert transport.aborted


def test_a_role_that_is_over_is_told_of_no_batch() -> None:
    port = quorum_port()

    class Ending(Leader):
        def on_learner_packet(self, cnxn: LearnerHandlerCnxn, packet: QuorumPacket) -> None:
            port.hold()
            cnxn.abort()

    leader = Ending()
    port.lead(leader)
    cnxn, _ = connect(port)
    cnxn.dataReceived(encode_packet(PACKETS[-1]))
    assert leader.batches == []


def test_a_tree_is_streamed_with_its_signature_and_what_is_said_later_comes_behind() -> None:
    turns: list[Callable[[], None]] = []
    port, leader = quorum_port(turns.append), Leader()
    port.lead(leader)
    cnxn, transport = connect(port)
    cnxn.send(PACKETS[0])
    cnxn.send(PACKETS[1])
    cnxn.stream(SENT.image().pieces(2))
    for packet in PACKETS[2:]:
        cnxn.send(packet)
    cnxn.write(b"encoded")
    assert transport.written == BEFORE_TREE
    assert cnxn.backlog == len(STREAM) - len(BEFORE_TREE + TREE + TREE_SIGNATURE) + len(b"encoded")
    while turns:
        turns.pop()()
    assert transport.written == STREAM + b"encoded"
    assert cnxn.backlog == 0


@pytest.mark.parametrize("way", ["abort", "connectionLost"])
def test_behind_the_end_of_a_learner_nothing_is_kept(way: str) -> None:
    port, leader = quorum_port(lambda _: None), Leader()
    port.lead(leader)
    cnxn, transport = connect(port)
    cnxn.stream(SENT.image().pieces())
    cnxn.send(PACKETS[0])
    assert cnxn.backlog > 0
    getattr(cnxn, way)()
    cnxn.send(PACKETS[0])
    assert cnxn.backlog == 0
    assert transport.written == b""
