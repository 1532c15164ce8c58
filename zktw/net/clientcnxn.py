"""ClientCnxn: one connection on a client port. Words are answered; clients are turned away, as none is served yet."""

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address
from typing import Any
from typing import Protocol as Interface

from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from zktw.net.quiet import Quiet
from zktw.terms.errors import WireError
from zktw.terms.limits import CONNECT_REQUEST_BYTES_MAX, CONNECT_REQUEST_BYTES_MIN
from zktw.wire.client import ConnectRequest

log = Logger()

WORD_BYTES = 4
MASK_BYTES = 8
# Clients that are refused come again at once, and all of them do: one line of the log stands for many.
QUIET_MS = 10_000
_HTTP = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI ")
# A TLS record of the handshake kind, version 3.x.
_TLS = b"\x16\x03"


class Service(Interface):
    """What the client port needs of its server."""

    def word_for(self, first: bytes) -> str | None:
        """The four-letter word that these four bytes are, or None."""

    def answer(self, word: str) -> bytes:
        """What the word is answered; nothing to stmk if it is allowed, since its mask is still to come."""

    def answer_mask(self, mask: int) -> bytes:
        """What stmk with this mask is answered."""

    def count(self, name: str, by: int = 1) -> None:
        """Something happened that mntr counts."""

    def packet_received(self) -> None:
        """A packet or word has come."""

    def packet_sent(self) -> None:
        """An answer has left."""


class ClientCnxn(Protocol):
    """Its first four bytes say what it is: a word, or the length of a client's first frame. One of either is taken."""

    # Declared wider than Twisted's: a TCP transport, real or simulated.
    transport: Any

    def __init__(self, factory: "ClientCnxnFactory") -> None:
        self.received = 0
        self.sent = 0
        self.host = ""
        self.peer = ""
        self._factory = factory
        self._start = bytearray()
        self._over = False

    @property
    def is_reading(self) -> bool:
        """Whether anything that comes is still looked at."""
        return not self._over

    def reset_stats(self) -> None:
        """crst: count from 0 again."""
        self.received = 0
        self.sent = 0

    def connectionMade(self) -> None:
        address = self.transport.getPeer()
        self.host = str(getattr(address, "host", "?"))
        self.peer = f"/{java_host(self.host)}:{getattr(address, 'port', '?')}"
        self._factory.opened(self)

    def dataReceived(self, data: bytes) -> None:
        self._factory.service.count("bytes_received_count", len(data))
        if self._over:
            return  # the CR LF of a telnet, or a second word
        self._start += data
        if len(self._start) >= WORD_BYTES:
            self._on_start(bytes(self._start[:WORD_BYTES]))

    def _on_start(self, first: bytes) -> None:
        word = self._factory.service.word_for(first)
        if word is not None:
            self._on_word(word)
        elif first in _HTTP:
            method = first.decode().strip()
            self._refuse(f"it sends an HTTP request ({method}...), but this port speaks ZooKeeper's protocol")
        elif first.startswith(_TLS):
            self._refuse("it begins a TLS handshake, but this port is not a secure one")
        else:
            self._on_frame(int.from_bytes(first, "big", signed=True))

    def _on_word(self, word: str) -> None:
        service = self._factory.service
        if word != "stmk":
            self._count_packet()
            # Seen by the answer itself: cons and stat show this connection as one that is not read any more.
            self._over = True
            self._finish(service.answer(word))
        elif refusal := service.answer(word):
            self._count_packet()
            self._finish(refusal)
        elif len(self._start) >= WORD_BYTES + MASK_BYTES:
            self._count_packet()
            mask = int.from_bytes(self._start[WORD_BYTES : WORD_BYTES + MASK_BYTES], "big", signed=True)
            self._finish(service.answer_mask(mask))

    def _count_packet(self) -> None:
        self.received += 1
        self._factory.service.packet_received()

    def _finish(self, text: bytes) -> None:
        self._factory.answering(self)
        if text:
            self.transport.write(text)
            self._factory.service.packet_sent()
        self._close()

    def _on_frame(self, length: int) -> None:
        if not CONNECT_REQUEST_BYTES_MIN <= length <= self._factory.frame_bytes_max:
            bounds = f"{CONNECT_REQUEST_BYTES_MIN} to {self._factory.frame_bytes_max}"
            self._refuse(f"a first frame of {length} bytes ({bounds}) is no client's")
            return
        if len(self._start) < WORD_BYTES + length:
            return
        try:
            # What a client sends behind it, before it is answered, is of no interest any more.
            request = ConnectRequest.decode(bytes(self._start[WORD_BYTES : WORD_BYTES + length]))
        except WireError as error:
            self._refuse(str(error))
            return
        self._count_packet()
        self._factory.turned_away(self, request)
        self._close()

    def _refuse(self, reason: str) -> None:
        log.warn("closing client connection of {peer}: {reason}", peer=self.peer, reason=reason)
        self._close()

    def _close(self) -> None:
        self._over = True
        self._start.clear()
        self.transport.loseConnection()

    def expire(self) -> None:
        """It has said nothing in time, or it does not take what it was answered."""
        if self._over:
            self.transport.abortConnection()
        else:
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._start and not self._over:
            log.warn(
                "client connection of {peer} ended in the middle of a frame, after {held} bytes",
                peer=self.peer,
                held=len(self._start),
            )
        self._over = True
        self._factory.closed(self)


class ClientCnxnFactory(ServerFactory):
    """The connections of a client port, or of several: how many there may be, and how long each may say nothing.

    Every connection has one deadline: by then its first word or frame has come whole, and the answer is taken. Bytes
    that drip in do not move it. Limits of 0 are none.
    """

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
        # What comes before a session needs no more, however much a client with one may send.
        self.frame_bytes_max = min(frame_bytes_max, CONNECT_REQUEST_BYTES_MAX)
        self._reactor = reactor
        self._max_client_cnxns = max_client_cnxns
        self._max_cnxns = max_cnxns
        self._timeout_ms = max(1.0, sessionless_timeout_ms)
        self._keepalive = keepalive
        # Deadlines. Patience is the same for all, so the first in the dict is the first to be too late.
        self._cnxns: dict[ClientCnxn, float] = {}
        self._by_host: dict[str, int] = {}
        self._alarm: Any = None
        self._rejections = Quiet(QUIET_MS)
        self._departures = Quiet(QUIET_MS)
        self._silences = Quiet(QUIET_MS)

    def buildProtocol(self, addr: Any) -> ClientCnxn | None:
        host = str(getattr(addr, "host", "?"))
        if 0 < self._max_client_cnxns <= self._by_host.get(host, 0):
            self._reject(host, f"its address has {self._max_client_cnxns} connections (maxClientCnxns)")
        elif 0 < self._max_cnxns <= len(self._cnxns):
            self._reject(host, f"there are {self._max_cnxns} connections (maxCnxns)")
        else:
            return ClientCnxn(self)
        return None

    def _reject(self, host: str, reason: str) -> None:
        self.service.count("connection_rejected")
        if count := self._rejections.due(self._now_ms()):
            log.warn(
                "rejecting client connection of {host}: {reason}{more}", host=host, reason=reason, more=_others(count)
            )

    def opened(self, cnxn: ClientCnxn) -> None:
        """A connection is there."""
        cnxn.transport.setTcpNoDelay(True)
        cnxn.transport.setTcpKeepAlive(self._keepalive)
        self._by_host[cnxn.host] = self._by_host.get(cnxn.host, 0) + 1
        self._cnxns[cnxn] = self._now_ms() + self._timeout_ms
        self._set_alarm()

    def answering(self, cnxn: ClientCnxn) -> None:
        """A word is being answered: from now on its time runs anew."""
        if self._cnxns.pop(cnxn, None) is not None:
            self._cnxns[cnxn] = self._now_ms() + self._timeout_ms

    def turned_away(self, cnxn: ClientCnxn, request: ConnectRequest) -> None:
        """A client came while none is served. It learns of that as from an Apache server: the connection ends."""
        self.service.count("cnxn_closed_without_zk_server_running")
        if count := self._departures.due(self._now_ms()):
            log.info(
                "closing client connection of {peer}: sessions are not served here yet ({wish}){more}",
                peer=cnxn.peer,
                wish=f"it has session 0x{request.session_id & (2**64 - 1):x}" if request.session_id else "a new one",
                more=_others(count),
            )

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
        return [(deadline_ms, cnxn) for cnxn, deadline_ms in self._cnxns.items()]

    def __len__(self) -> int:
        return len(self._cnxns)

    def close_all(self) -> None:
        """The server stops: what was written still leaves."""
        for cnxn in list(self._cnxns):
            cnxn.transport.loseConnection()

    def _set_alarm(self) -> None:
        """One for all: at the first deadline, or before it, where the connection that it was set for is gone."""
        if self._cnxns and self._alarm is None:
            delay_ms = max(0.0, next(iter(self._cnxns.values())) - self._now_ms())
            self._alarm = self._reactor.callLater(delay_ms / 1000, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now_ms = self._now_ms()
        late = [cnxn for cnxn, deadline_ms in self._cnxns.items() if deadline_ms <= now_ms]
        for cnxn in late:
            self.service.count("sessionless_connections_expired")
            if count := self._silences.due(now_ms):
                log.info(
                    "closing client connection of {peer}: nothing whole came from it in {timeout:.0f} ms{more}",
                    peer=cnxn.peer,
                    timeout=self._timeout_ms,
                    more=_others(count),
                )
            # Should the transport not end by being asked to, it is asked less kindly then.
            self.answering(cnxn)
            cnxn.expire()
        self._set_alarm()

    def _now_ms(self) -> float:
        now: float = self._reactor.seconds() * 1000
        return now


def _others(count: int) -> str:
    return f" (and {count - 1} more since the last such line)" if count > 1 else ""


def java_host(host: str) -> str:
    """An address as the words show it: IPv6 in brackets and without abbreviation."""
    if ":" not in host:
        return host
    try:
        groups = IPv6Address(host.partition("%")[0]).exploded.split(":")
    except AddressValueError:
        return f"[{host}]"
    return f"[{':'.join(f'{int(group, 16):x}' for group in groups)}]"
