"""ClientCnxn: one connection on the client port. Words are answered; clients are turned away, since none is served."""

from collections.abc import Iterator
from typing import Any
from typing import Protocol as Interface

from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()

WORD_BYTES = 4
MASK_BYTES = 8
# A word's answer that the other end does not take in this time is given up.
ANSWER_TIMEOUT_MS = 10_000
_HTTP_METHODS = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC")


class Service(Interface):
    """What the client port needs of its server."""

    def word_for(self, first: bytes) -> str | None:
        """The four-letter word that these four bytes are, or None."""

    def answer(self, word: str) -> bytes:
        """What the word is answered."""

    def answer_mask(self, mask: int) -> bytes:
        """What stmk with this mask is answered."""

    def count(self, name: str, by: int = 1) -> None:
        """Something happened that mntr counts."""

    def packet_received(self) -> None:
        """A packet or word has come."""

    def packet_sent(self) -> None:
        """An answer has left."""


class ClientCnxn(Protocol):
    """Reads the first four bytes and decides what the connection is."""

    # Declared wider than Twisted's: a TCP transport, real or simulated.
    transport: Any

    def __init__(self, factory: "ClientCnxnFactory") -> None:
        self.received = 0
        self.sent = 0
        self.is_reading = True
        self.opened_ms = 0.0
        self.host = ""
        self._factory = factory
        self._buffer = bytearray()
        self._answered = False

    @property
    def peer(self) -> str:
        """The client's address, as the words show it."""
        address = self.transport.getPeer()
        return f"/{getattr(address, 'host', '?')}:{getattr(address, 'port', '?')}"

    def reset_stats(self) -> None:
        """crst: count from 0 again."""
        self.received = 0
        self.sent = 0

    def connectionMade(self) -> None:
        self._factory.opened(self)

    def dataReceived(self, data: bytes) -> None:
        self._factory.service.count("bytes_received_count", len(data))
        if self._answered:
            return  # a telnet's CR LF, or more than one word: one word is answered
        self._buffer += data
        if len(self._buffer) < WORD_BYTES:
            return
        first = bytes(self._buffer[:WORD_BYTES])
        word = self._factory.service.word_for(first)
        if word == "stmk":
            self._on_mask()
        elif word is not None:
            self._answer(word)
        else:
            self._on_frame(first)

    def _on_mask(self) -> None:
        if len(self._buffer) >= WORD_BYTES + MASK_BYTES:
            mask = int.from_bytes(self._buffer[WORD_BYTES : WORD_BYTES + MASK_BYTES], "big", signed=True)
            self._count_packet()
            self._finish(self._factory.service.answer_mask(mask))

    def _answer(self, word: str) -> None:
        self._count_packet()
        self.is_reading = False
        self._finish(self._factory.service.answer(word))

    def _count_packet(self) -> None:
        self.received += 1
        self._factory.service.packet_received()

    def _finish(self, text: bytes) -> None:
        self._answered = True
        self._buffer.clear()
        self._factory.answering(self)
        self.transport.write(text)
        self._factory.service.packet_sent()
        self.transport.loseConnection()

    def _on_frame(self, first: bytes) -> None:
        """The length of a client's first frame. None of them is served yet, so all that is left is how to say no."""
        length = int.from_bytes(first, "big", signed=True)
        if first in _HTTP_METHODS:
            self._refuse("this looks like an HTTP request, which belongs to the admin port")
        elif not 0 <= length <= self._factory.frame_bytes_max:
            self._refuse(f"a frame of {length} bytes (0 to {self._factory.frame_bytes_max}) is malformed or too large")
        else:
            self._factory.service.count("cnxn_closed_without_zk_server_running")
            log.info("closing connection of {peer}: sessions are not served", peer=self.peer)
            self._close()

    def _refuse(self, reason: str) -> None:
        log.warn("closing connection of {peer}: {reason}", peer=self.peer, reason=reason)
        self._close()

    def _close(self) -> None:
        self._answered = True
        self._buffer.clear()
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._factory.closed(self)


class ClientCnxnFactory(ServerFactory):
    """All connections of the client ports: how many there may be, and how long each may say nothing."""

    noisy = False

    def __init__(
        self,
        service: Service,
        reactor: Any,
        *,
        max_client_cnxns: int,
        max_cnxns: int,
        sessionless_timeout_ms: float,
        frame_bytes_max: int,
        keepalive: bool,
    ) -> None:
        self.service = service
        self.frame_bytes_max = frame_bytes_max
        self._reactor = reactor
        self._max_client_cnxns = max_client_cnxns
        self._max_cnxns = max_cnxns
        self._timeout_ms = sessionless_timeout_ms
        self._keepalive = keepalive
        # In the order of their coming: the first is the first to be too late.
        self._cnxns: dict[ClientCnxn, float] = {}
        self._by_host: dict[str, int] = {}
        self._alarm: Any = None

    def buildProtocol(self, addr: Any) -> ClientCnxn | None:
        host = getattr(addr, "host", "?")
        reason = ""
        if self._max_client_cnxns and self._by_host.get(host, 0) >= self._max_client_cnxns:
            reason = f"too many connections from {host} (maxClientCnxns={self._max_client_cnxns})"
        elif self._max_cnxns and len(self._cnxns) >= self._max_cnxns:
            reason = f"too many connections (maxCnxns={self._max_cnxns})"
        if reason:
            self.service.count("connection_rejected")
            log.warn("closing connection of {host}: {reason}", host=host, reason=reason)
            return None
        return ClientCnxn(self)

    def opened(self, cnxn: ClientCnxn) -> None:
        """A connection is there."""
        cnxn.host = getattr(cnxn.transport.getPeer(), "host", "?")
        cnxn.transport.setTcpNoDelay(True)
        cnxn.transport.setTcpKeepAlive(self._keepalive)
        self._by_host[cnxn.host] = self._by_host.get(cnxn.host, 0) + 1
        self._cnxns[cnxn] = self._now_ms() + self._timeout_ms
        if self._alarm is None:
            self._set_alarm()

    def answering(self, cnxn: ClientCnxn) -> None:
        """A word is being answered; who does not take the answer is not waited for."""
        self._cnxns.pop(cnxn, None)
        self._cnxns[cnxn] = self._now_ms() + max(self._timeout_ms, ANSWER_TIMEOUT_MS)

    def closed(self, cnxn: ClientCnxn) -> None:
        """A connection ended."""
        if self._cnxns.pop(cnxn, None) is None:
            return
        left = self._by_host[cnxn.host] - 1
        if left:
            self._by_host[cnxn.host] = left
        else:
            del self._by_host[cnxn.host]
        if not self._cnxns and self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def connections(self) -> Iterator[ClientCnxn]:
        """The connections that are open."""
        return iter(list(self._cnxns))

    def deadlines(self) -> list[tuple[float, ClientCnxn]]:
        """When each connection ends if it stays silent, in the reactor's milliseconds."""
        return [(deadline, cnxn) for cnxn, deadline in self._cnxns.items()]

    def __len__(self) -> int:
        return len(self._cnxns)

    def close_all(self) -> None:
        """The server stops."""
        for cnxn in list(self._cnxns):
            cnxn.transport.abortConnection()

    def _set_alarm(self) -> None:
        self._alarm = None
        if self._cnxns:
            delay_ms = max(0.0, min(self._cnxns.values()) - self._now_ms())
            self._alarm = self._reactor.callLater(delay_ms / 1000, self._close_silent)

    def _close_silent(self) -> None:
        self._alarm = None
        now_ms = self._now_ms()
        for cnxn, deadline_ms in list(self._cnxns.items()):
            if deadline_ms <= now_ms:
                self.service.count("sessionless_connections_expired")
                log.info("closing connection of {peer}: it says nothing", peer=cnxn.peer)
                cnxn.transport.abortConnection()
                # Not looked at again while the transport is on its way out.
                self._cnxns[cnxn] = now_ms + self._timeout_ms
        self._set_alarm()

    def _now_ms(self) -> float:
        now: float = self._reactor.seconds() * 1000
        return now
