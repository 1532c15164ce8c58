"""Both ends of the quorum port: packets and trees in any cutting of the bytes, early learners, garbage."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport

from zktw.net.quorumcnxn import LearnerCnxn, LearnerHandlerCnxn, QuorumPort
from zktw.terms.codes import PacketType
from zktw.terms.limits import EARLY_LEARNERS_MAX, JUTE_MAXBUFFER
from zktw.wire.peers import QuorumPacket, encode_packet
from zktw.wire.snapstream import SnapStreamParser, fresh_snapshot_body, fresh_snapshot_stream

PACKETS = [
    QuorumPacket(PacketType.LEADERINFO, 1 << 32, b"\x00\x01\x00\x00"),
    QuorumPacket(PacketType.SNAP, 5 << 32),
    QuorumPacket(PacketType.NEWLEADER, 1 << 32, b"version=0"),
    QuorumPacket(PacketType.UPTODATE, -1),
    QuorumPacket(PacketType.PING, 1 << 32, b"", (("ip", "127.0.0.1"),)),
]
STREAM = b"".join(
    encode_packet(packet) + (fresh_snapshot_stream() if packet.type == PacketType.SNAP else b"") for packet in PACKETS
)


class Transport(StringTransport):
    """A StringTransport with what TCP has."""

    aborted = False

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
    """Keeps what a learner's end is told; asks for the tree where the core would."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.end_at: PacketType | None = None
        self.cnxn = LearnerCnxn(JUTE_MAXBUFFER, lambda: SnapStreamParser(JUTE_MAXBUFFER), lambda _: None)
        self.cnxn.events = self
        self.transport = transport_of(self.cnxn)

    def on_packet(self, packet: QuorumPacket) -> None:
        self.told.append(packet)
        if packet.type == PacketType.SNAP:
            self.cnxn.read_tree()
        if packet.type == self.end_at:
            self.cnxn.abort()

    def on_tree(self, body: bytes) -> None:
        self.told.append(body)

    def on_stream_error(self, reason: str) -> None:
        self.told.append(f"error: {reason}")


class Leader:
    """Keeps what a leading role is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, object]] = []

    def on_learner(self, cnxn: LearnerHandlerCnxn) -> None:
        self.told.append(("learner", cnxn.number, None))

    def on_learner_packet(self, cnxn: LearnerHandlerCnxn, packet: QuorumPacket) -> None:
        self.told.append(("packet", cnxn.number, packet.type))

    def on_learner_lost(self, cnxn: LearnerHandlerCnxn, reason: str) -> None:
        self.told.append(("lost", cnxn.number, None))


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
    expected.insert(2, fresh_snapshot_body())
    assert learner.told == expected


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


def test_a_role_that_ends_at_a_packet_is_not_told_of_those_behind_it() -> None:
    learner = Learner()
    learner.end_at = PacketType.NEWLEADER
    learner.cnxn.dataReceived(STREAM)
    assert learner.told[-1] == PACKETS[2]


def test_early_learners_are_held_unread_and_then_led() -> None:
    port, leader = QuorumPort(JUTE_MAXBUFFER), Leader()
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
    port = QuorumPort(JUTE_MAXBUFFER)
    _, transport = connect(port)
    port.drop()
    assert transport.aborted


def test_one_that_left_while_it_was_held_is_not_led() -> None:
    port, leader = QuorumPort(JUTE_MAXBUFFER), Leader()
    held, _ = connect(port)
    held.connectionLost()
    port.lead(leader)
    assert leader.told == []


def test_held_learners_are_bounded() -> None:
    port = QuorumPort(JUTE_MAXBUFFER)
    transports: list[Any] = [connect(port)[1] for _ in range(EARLY_LEARNERS_MAX + 2)]
    assert [transport.aborted for transport in transports].count(True) == 2


def test_garbage_ends_one_learner_and_no_other() -> None:
    port, leader = QuorumPort(JUTE_MAXBUFFER), Leader()
    port.lead(leader)
    (bad, transport), (good, other) = connect(port), connect(port)
    bad.dataReceived(b"\xde\xad\xbe\xef" * 8)
    good.dataReceived(encode_packet(PACKETS[-1]))
    assert transport.aborted
    assert not other.aborted
    assert leader.told[2:] == [("lost", bad.number, None), ("packet", good.number, PacketType.PING)]


def test_a_port_that_stays_open_while_another_leads_keeps_nobody() -> None:
    """A port below 1024 can't be closed and bound again without privileges."""
    port, leader = QuorumPort(JUTE_MAXBUFFER), Leader()
    port.drop()
    assert connect(port)[1].aborted
    port.hold()
    held, transport = connect(port)
    assert not transport.aborted
    port.lead(leader)
    assert leader.told == [("learner", held.number, None)]
