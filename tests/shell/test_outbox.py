"""Outbox: all in order, no more at a time than the transport takes, nothing behind the end."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.abstract import FileDescriptor

from zktw.net.outbox import TURN_BYTES, Outbox


class Descriptor(FileDescriptor):
    """Twisted's own buffer and its pauses; the socket below takes what the test lets it take."""

    def __init__(self) -> None:
        reactor: Any = object()
        FileDescriptor.__init__(self, reactor)
        self.connected = True
        self.taken = bytearray()
        # What single writes to the socket have taken.
        self.sizes: list[int] = []
        self.room = 0
        self.writing = False

    def startWriting(self) -> None:
        self.writing = True

    def stopWriting(self) -> None:
        self.writing = False

    def writeSomeData(self, data: bytes) -> int:
        count = min(self.room, len(data))
        self.room -= count
        self.taken += data[:count]
        if count:
            self.sizes.append(count)
        return count

    @property
    def buffered(self) -> int:
        """Bytes that wait in the transport."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    def take(self, count: int) -> None:
        """The peer reads so many bytes, if there are any."""
        self.room = count
        while self.writing and self.room:
            before = self.room
            self.doWrite()  # type: ignore[no-untyped-call]
            if self.room == before:
                break
        self.room = 0


class Stage:
    """An Outbox on a Descriptor, and a reactor's turns."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []
        self.transport = Descriptor()
        self.outbox = Outbox(self.transport, self.due.append)

    def turn(self) -> None:
        """What is due now; what becomes due by that is for the next turn."""
        calls, self.due[:] = [*self.due], []
        for call in calls:
            call()

    def drain(self) -> bytes:
        """The peer reads all there is and will be."""
        for _ in range(10_000):
            self.turn()
            self.transport.take(1 << 30)
            if not self.transport.writing and not self.due:
                return bytes(self.transport.taken)
        raise AssertionError("it never ends")


class Pieces:
    """A stream that counts what was asked of it."""

    def __init__(self, count: int, size: int) -> None:
        self.made = 0
        self.all = b"".join(bytes([number % 256]) * size for number in range(count))
        self._count = count
        self._size = size

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self._count):
            self.made += self._size
            yield bytes([number % 256]) * self._size


def test_a_write_with_nothing_before_it_goes_to_the_transport_at_once() -> None:
    stage = Stage()
    stage.outbox.write(b"one")
    stage.outbox.write(b"two")
    assert stage.transport.buffered == 6
    assert stage.outbox.backlog == 0
    assert not stage.due


def test_what_the_transport_does_not_take_is_kept_and_counted() -> None:
    stage = Stage()
    stage.outbox.write(bytes(70_000))
    assert stage.outbox.backlog == 0
    stage.outbox.write(b"x" * 1000)
    stage.outbox.write(b"y" * 500)
    assert stage.outbox.backlog == 1500
    assert stage.transport.buffered == 70_000
    stage.transport.take(69_999)
    assert stage.outbox.backlog == 1500
    stage.transport.take(1)
    assert stage.outbox.backlog == 0
    assert stage.transport.buffered == 1500
    assert stage.drain() == bytes(70_000) + b"x" * 1000 + b"y" * 500


def test_what_is_written_later_stands_behind_a_stream() -> None:
    stage = Stage()
    pieces = Pieces(100, 10_000)
    stage.outbox.write(b"before")
    stage.outbox.stream(iter(pieces))
    stage.outbox.write(b"behind")
    assert stage.outbox.backlog == 6
    assert stage.drain() == b"before" + pieces.all + b"behind"
    assert stage.outbox.backlog == 0
    stage.outbox.write(b"!")
    assert stage.transport.buffered == 1, "nothing keeps it from the transport any more"


def test_a_stream_is_made_as_the_peer_takes_it() -> None:
    stage = Stage()
    pieces = Pieces(1000, 10_000)
    stage.outbox.stream(iter(pieces))
    assert pieces.made == 0, "not in the middle of whatever the caller is doing"
    for taken in range(0, 5_000_000, 50_000):
        for _ in range(3):
            stage.turn()
        assert pieces.made <= taken + 65536 + 2 * 10_000
        stage.transport.take(50_000)


def test_a_stream_gives_the_turn_back_where_the_transport_takes_all() -> None:
    stage = Stage()
    # A buffer without an end: it is never full.
    stage.transport.bufferSize = 1 << 40
    pieces = Pieces(1000, 10_000)
    stage.outbox.stream(iter(pieces))
    for turn in range(1, 20):
        stage.turn()
        assert turn * TURN_BYTES <= pieces.made < turn * (TURN_BYTES + 10_000)
        assert len(stage.due) == 1


def test_many_kept_writes_are_a_few_when_there_is_room_again() -> None:
    stage = Stage()
    stage.outbox.write(bytes(70_000))
    for _ in range(10_000):
        stage.outbox.write(bytes(20))
    assert len(stage.drain()) == 270_000
    assert len(stage.transport.sizes) <= 4
    assert max(stage.transport.sizes) < TURN_BYTES + 20


def test_streams_one_after_another_and_empty_ones() -> None:
    stage = Stage()
    stage.outbox.stream(iter([b"a", b"b"]))
    stage.outbox.stream(iter([]))
    stage.outbox.write(b"c")
    stage.outbox.stream(iter([b"d"]))
    assert stage.drain() == b"abcd"


@pytest.mark.parametrize("way", ["close", "stopProducing"])
def test_behind_the_end_nothing_is_kept_or_written_or_made(way: str) -> None:
    stage = Stage()
    pieces = Pieces(100, 40_000)
    stage.outbox.stream(iter(pieces))
    stage.turn()
    stage.outbox.write(bytes(100))
    made, buffered = pieces.made, stage.transport.buffered
    getattr(stage.outbox, way)()
    assert stage.outbox.backlog == 0
    stage.outbox.write(b"late")
    stage.outbox.stream(iter(pieces))
    assert stage.outbox.backlog == 0
    assert len(stage.drain()) == buffered
    assert pieces.made == made


def test_a_connection_that_has_ended_takes_nothing() -> None:
    """Twisted tells a producer of it as it registers."""
    transport = Descriptor()
    transport.connected = False
    transport.disconnected = True
    outbox = Outbox(transport, lambda call: call())
    outbox.write(b"x")
    outbox.stream(iter([b"y"]))
    assert outbox.backlog == 0
    assert transport.buffered == 0


WRITES = st.integers(1, 40_000)
STREAMS = st.lists(st.integers(0, 40_000), max_size=6)
STEPS = st.one_of(
    st.tuples(st.just("write"), WRITES),
    st.tuples(st.just("stream"), STREAMS),
    st.tuples(st.just("take"), st.integers(1, 200_000)),
    st.tuples(st.just("turn"), st.none()),
)


@given(st.lists(STEPS, max_size=30))
def test_all_comes_once_and_in_order_and_the_count_is_true(steps: list[tuple[str, Any]]) -> None:
    stage = Stage()
    expected = bytearray()
    streams: list[int] = []
    number = 0
    for step, value in steps:
        if step == "write":
            number += 1
            data = bytes([number % 256]) * value
            expected += data
            stage.outbox.write(data)
        elif step == "stream":
            number += 1
            pieces = [bytes([number % 256]) * size for size in value]
            expected += b"".join(pieces)
            streams.append(sum(value))
            stage.outbox.stream(iter(pieces))
        elif step == "take":
            stage.transport.take(value)
        else:
            stage.turn()
        passed = len(stage.transport.taken) + stage.transport.buffered
        kept = len(expected) - passed
        # What is kept are writes, and streams that are not through.
        assert kept - sum(streams) <= stage.outbox.backlog <= kept
        # The buffer's own bound, and what one write may take beyond it.
        assert stage.transport.buffered <= 65536 + TURN_BYTES + 40_000
    assert stage.drain() == expected
    assert stage.outbox.backlog == 0
