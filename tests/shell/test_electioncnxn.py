"""ElectionCnxn on a transport without a socket: the queue of one, and how either end closes."""

from itertools import pairwise
from typing import Any

import pytest
from electionport import frame, vote, warnings
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address

from zktw.net.electioncnxn import ElectionCnxn
from zktw.terms.errors import WireError
from zktw.wire.votes import Opening, encode_opening

OPENING = encode_opening(2, ["192.0.2.2:3888"], False)


class Transport:
    """Counts what is written, and keeps how it ended."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.producer: object = None
        self.disconnecting = False
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.aborted = True

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.9", 40_000)


class Owner:
    """Keeps what it is told; the message b"bad" is none."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def on_opening(self, cnxn: ElectionCnxn, opening: Opening) -> None:
        self.told.append(opening)
        if opening.sid == 99:
            cnxn.close()

    def on_message(self, cnxn: ElectionCnxn, frame: bytes) -> None:
        if frame == b"bad":
            raise WireError("no message")
        self.told.append(frame)

    def on_lost(self, cnxn: ElectionCnxn, reason: str) -> None:
        self.told.append("lost")


def made(opening: bytes | None) -> tuple[ElectionCnxn, Owner, Any]:
    owner = Owner()
    transport: Any = Transport()
    cnxn: Any = ElectionCnxn(owner, opening, lambda _: None)
    cnxn.makeConnection(transport)
    return cnxn, owner, transport


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def test_the_opening_leaves_in_one_write() -> None:
    _, _, transport = made(OPENING)
    assert transport.writes == [OPENING]


def test_an_accepting_end_waits_for_the_other_to_speak() -> None:
    _, _, transport = made(None)
    assert transport.writes == []


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.lists(st.integers(0, 400), max_size=10))
def test_opening_and_messages_in_any_cutting(messages: list[bytes], cuts: list[int]) -> None:
    cnxn, owner, _ = made(None)
    messages = [message for message in messages if message != b"bad"]
    stream = OPENING + b"".join(framed(message) for message in messages)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in pairwise(edges):
        cnxn.dataReceived(stream[start:end])
    assert owner.told == [Opening(2, (("192.0.2.2", 3888),)), *messages]


def test_a_message_is_a_frame_in_one_write() -> None:
    cnxn, _, transport = made(OPENING)
    cnxn.send(frame(vote(3))[4:])
    assert transport.writes[1:] == [frame(vote(3))]


def test_while_the_peer_takes_nothing_only_the_newest_message_waits() -> None:
    cnxn, _, transport = made(OPENING)
    cnxn.pauseProducing()
    for leader in (1, 2, 3):
        cnxn.send(frame(vote(leader))[4:])
    assert transport.writes[1:] == []
    cnxn.resumeProducing()
    assert transport.writes[1:] == [frame(vote(3))]
    cnxn.pauseProducing()
    cnxn.resumeProducing()
    cnxn.send(frame(vote(4))[4:])
    assert transport.writes[1:] == [frame(vote(3)), frame(vote(4))]


def test_nothing_is_sent_after_the_end() -> None:
    cnxn, _, transport = made(OPENING)
    cnxn.pauseProducing()
    cnxn.send(b"waits")
    cnxn.close()
    cnxn.resumeProducing()
    cnxn.send(b"late")
    assert transport.writes == [OPENING]
    assert transport.disconnecting
    assert transport.producer is None


@pytest.mark.parametrize("data", [OPENING + framed(b"one") + framed(b"bad") + framed(b"two"), framed(b"bad")])
def test_nothing_is_taken_behind_a_bad_message(data: bytes) -> None:
    cnxn, owner, transport = made(None if data.startswith(OPENING) else OPENING)
    with warnings() as lines:
        cnxn.dataReceived(data)
        cnxn.dataReceived(framed(b"three"))
    assert transport.aborted
    assert [told for told in owner.told if isinstance(told, bytes)] == [b"one"][: data.count(b"one")]
    assert len(lines) == 1


def test_nothing_is_taken_once_the_owner_has_closed() -> None:
    cnxn, owner, transport = made(None)
    with warnings() as lines:
        cnxn.dataReceived((99).to_bytes(8, "big") + framed(b"one") + b"\xff" * 8)
        cnxn.dataReceived(b"\xff" * 8)
    assert transport.disconnecting
    assert owner.told == [Opening(99)]
    assert lines == []


def test_the_end_is_told_once_and_a_line_names_the_server_if_it_is_known() -> None:
    cnxn, owner, transport = made(OPENING)
    cnxn.sid = 7
    with warnings() as lines:
        cnxn.dataReceived(b"\xff\xff\xff\xff")
    cnxn.abort()
    cnxn.connectionLost()
    assert transport.aborted
    assert owner.told == ["lost"]
    assert "server 7 (192.0.2.9:40000)" in lines[0]
