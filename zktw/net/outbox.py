"""Outbox: what is to be written on one connection, in order, and no more of it in the transport than that takes."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from zktw.net.eager import eager_write

# What is written in one turn of the reactor, and joined into one write. A transport asks for a pause at half of it.
TURN_BYTES = 128 * 1024


class Outbox:
    """Writes at once while there is room; else keeps what is written, and counts it, until the transport asks for more.

    A push producer (IPushProducer) of a transport that it registers itself with. soon calls something in the next turn
    of the reactor. A long stream is written a turn's worth at a time, and what is written later stands behind it.
    """

    def __init__(self, transport: Any, soon: Callable[[Callable[[], None]], None]) -> None:
        # Bytes of write() that the transport has not taken yet; those of streams are not made yet, and not counted.
        self.backlog = 0
        self._write = eager_write(transport)
        self._soon = soon
        self._queue: deque[bytes | Iterator[bytes]] = deque()
        self._paused = False
        self._closed = False
        self._is_due = False
        # Whether nothing keeps a write from the transport.
        self._is_open = True
        transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Write this behind all that was given before."""
        if self._is_open:
            self._write(data)
        elif not self._closed:
            self._queue.append(data)
            self.backlog += len(data)

    def stream(self, pieces: Iterator[bytes]) -> None:
        """Write what this yields, a piece at a time, each made when there is room for it; from the next turn on."""
        if self._closed:
            return
        self._queue.append(pieces)
        self._is_open = False
        self._go_on_soon()

    def close(self) -> None:
        """Drop all that is kept, and whatever is written from now on. The connection itself is the owner's to end."""
        self._closed = True
        self._is_open = False
        self._queue.clear()
        self.backlog = 0

    # -- what the transport asks for ---------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The peer does not take what we send as fast as we write."""
        self._paused = True
        self._is_open = False

    def resumeProducing(self) -> None:
        """It has taken all."""
        self._paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """The connection has ended."""
        self.close()

    # -- writing on --------------------------------------------------------------------------------------------------

    def _go_on_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._soon(self._turn)

    def _turn(self) -> None:
        self._is_due = False
        if not self._paused:
            self._go_on()

    def _go_on(self) -> None:
        """Write a turn's worth of what is kept, or as much as there is room for."""
        left = TURN_BYTES
        while self._queue and not self._paused:
            if left <= 0:
                self._go_on_soon()
                return
            data = self._next(left)
            left -= len(data)
            self._write(data)
        self._is_open = not (self._queue or self._paused or self._closed)

    def _next(self, enough: int) -> bytes:
        """A stream's next piece, or writes joined until they are enough."""
        queue = self._queue
        joined: list[bytes] = []
        while queue and enough > 0:
            first = queue[0]
            if not isinstance(first, bytes):
                if joined:
                    break
                piece = next(first, None)
                if piece is not None:
                    return piece
                queue.popleft()
                continue
            joined.append(first)
            enough -= len(first)
            self.backlog -= len(first)
            queue.popleft()
        return b"".join(joined)
