"""What the tests of the client port share: a port without sockets, a service that says what it was asked, and links."""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from zktw.net.clientcnxn import ClientCnxn
from zktw.net.clientfactory import ClientCnxnFactory

TIMEOUT_MS = 10_000
FRAME_BYTES_MAX = 0xFFFFF


class Service:
    """Knows the words ruok and stmk, the latter if it is allowed."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.masks: list[int] = []
        self.counts: dict[str, int] = {}
        self.received = 0
        self.sent = 0
        self.stmk_refusal = b""
        # What serves sessions: nothing does.
        self.pipeline: Any = None
        self.hold_ms = 0.0

    def word_for(self, first: bytes) -> str | None:
        return {b"ruok": "ruok", b"stmk": "stmk", b"\xff\xf4\xff\xfd": "telnet close"}.get(first)

    def answer(self, word: str) -> bytes:
        self.asked.append(word)
        return {"ruok": b"imok", "stmk": self.stmk_refusal}.get(word, b"")

    def answer_mask(self, mask: int) -> bytes:
        self.masks.append(mask)
        return str(mask).encode()

    def count(self, name: str, by: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + by

    def packets_received(self, count: int) -> None:
        self.received += count

    def packets_sent(self, count: int) -> None:
        self.sent += count


class Link:
    """One connection as the server sees it: what it wrote, and whether and how it ended it."""

    def __init__(self, host: str, port: int) -> None:
        self.peer = IPv4Address("TCP", host, port)
        self.written = b""
        self.closed = False
        self.aborted = False
        self.keepalive: bool | None = None
        self.cnxn: ClientCnxn | None = None

    def getPeer(self) -> IPv4Address:
        return self.peer

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.keepalive = enabled

    def loseConnection(self) -> None:
        self.closed = True

    def abortConnection(self) -> None:
        self.closed = self.aborted = True

    def send(self, *pieces: bytes) -> None:
        """The client says this."""
        assert self.cnxn is not None
        for piece in pieces:
            self.cnxn.dataReceived(piece)

    def end(self) -> None:
        """The connection is over, by whoever ended it."""
        assert self.cnxn is not None
        self.cnxn.connectionLost(Failure(ConnectionAborted() if self.aborted else ConnectionDone()))


class ClientPort:
    """A client port and its time."""

    def __init__(self, **limits: Any) -> None:
        self.reactor = MemoryReactorClock()
        self.service = Service()
        values = {
            "max_client_cnxns": 0,
            "max_cnxns": 0,
            "sessionless_timeout_ms": TIMEOUT_MS,
            "frame_bytes_max": FRAME_BYTES_MAX,
            "keepalive": False,
        }
        self.factory = ClientCnxnFactory(self.service, self.reactor, **{**values, **limits})
        self._ports = 0

    def connect(self, host: str = "192.0.2.1") -> Link | None:
        """A client comes; None if it is turned away at once."""
        self._ports += 1
        link = Link(host, 40_000 + self._ports)
        cnxn: Any = self.factory.buildProtocol(link.peer)
        if cnxn is None:
            return None
        link.cnxn = cnxn
        cnxn.makeConnection(link)
        return link

    def connected(self, host: str = "192.0.2.1") -> Link:
        """A client comes and is let in."""
        link = self.connect(host)
        assert link is not None
        return link
