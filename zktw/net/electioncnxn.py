"""ElectionCnxn: one connection on the election port. Frames in, frames out; counts no votes."""

from collections.abc import Callable
from typing import Any
from typing import Protocol as Interface

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zktw.terms.errors import WireError
from zktw.terms.limits import NOTIFICATION_BYTES_MAX
from zktw.wire.framing import FrameSplitter
from zktw.wire.jute import ByteFeed, Parsing
from zktw.wire.votes import Opening, read_opening

log = Logger()


class CnxnOwner(Interface):
    """What a connection tells its manager."""

    def on_opening(self, cnxn: "ElectionCnxn", opening: Opening) -> None:
        """An accepted connection says who dialled."""

    def on_message(self, cnxn: "ElectionCnxn", frame: bytes) -> None:
        """A whole message; raises WireError if it is none."""

    def on_lost(self, cnxn: "ElectionCnxn", reason: str) -> None:
        """The connection ended."""


@implementer(IPushProducer)
class ElectionCnxn(Protocol):
    """Either end of an election connection. opening is what a dialling end sends; None at the accepting end.

    A message that can't be sent at once waits in a queue of one: a newer one takes its place.
    """

    # Declared wider than Twisted's: a TCP transport, real or simulated.
    transport: Any

    def __init__(self, owner: CnxnOwner, opening: bytes | None, made: Callable[["ElectionCnxn"], None]) -> None:
        self.sid: int | None = None
        self.connected_ms = 0.0
        self._owner = owner
        self._opening = opening
        self._made = made
        self._frames = FrameSplitter(1, NOTIFICATION_BYTES_MAX)
        self._feed = ByteFeed()
        self._reading: Parsing[Opening] | None = None if opening is not None else read_opening(self._feed)
        self._paused = False
        self._waiting: bytes | None = None
        self._closed = False

    @property
    def peer(self) -> str:
        """The other end, for the log."""
        address = self.transport.getPeer()
        return f"{getattr(address, 'host', '?')}:{getattr(address, 'port', '?')}"

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        if self._opening is not None:
            # In one write: a Java peer takes the address text with a single read.
            self.transport.write(self._opening)
        self._made(self)

    def dataReceived(self, data: bytes) -> None:
        if self._closed:
            return
        try:
            if self._reading is not None:
                self._feed.feed(data)
                data = self._read_opening(self._reading)
            if self._closed:
                return  # what follows is of no interest, and no reason for a second line
            for frame in self._frames.feed(data) if data else ():
                if self._closed:
                    return
                self._owner.on_message(self, frame)
        except WireError as error:
            # Past a bad frame the stream has no meaning; the peer dials again.
            log.warn(
                "closing election connection of {who}: {error}",
                who=self.peer if self.sid is None else f"server {self.sid} ({self.peer})",
                error=error,
            )
            self.abort()

    def _read_opening(self, reading: Parsing[Opening]) -> bytes:
        try:
            next(reading)
        except StopIteration as done:
            self._reading = None
            self._owner.on_opening(self, done.value)
            return self._feed.rest()
        return b""

    def send(self, message: bytes) -> None:
        """Send a message, or let it wait in place of one that waits already."""
        if self._paused:
            self._waiting = message
        elif not self._closed:
            self.transport.write(len(message).to_bytes(4, "big") + message)

    def close(self) -> None:
        """End the connection once what was written has left."""
        if not self._closed:
            self._closed = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def abort(self) -> None:
        """End the connection at once."""
        if not self._closed:
            self._closed = True
            self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """The peer does not take what we send: from here on only the newest message waits."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The peer has caught up."""
        self._paused = False
        if self._waiting is not None:
            message, self._waiting = self._waiting, None
            self.send(message)

    def stopProducing(self) -> None:
        """The connection is on its way out."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self._owner.on_lost(self, reason.getErrorMessage())
