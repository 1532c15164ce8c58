"""ClientCnxn: one connection on a client port: four-letter words, and the frames of clients with a session."""

import struct
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zktw.net.clientservice import Pipeline
from zktw.net.hosts import java_host, plain_host
from zktw.pipeline.request import Client
from zktw.terms.errors import WireError
from zktw.terms.limits import (
    CLIENT_BACKLOG_BYTES_MAX,
    CLIENT_HELD_BYTES_MAX,
    CLIENT_OUT_BYTES_MAX,
    CLIENT_REPLIES_BYTES_MAX,
    CLIENT_WAITING_MAX,
    CONNECT_REQUEST_BYTES_MAX,
    CONNECT_REQUEST_BYTES_MIN,
)
from zktw.wire.client import ConnectRequest

if TYPE_CHECKING:
    from zktw.net.clientfactory import ClientCnxnFactory

log = Logger()

WORD_BYTES = 4
# What is read at once. Twisted's own 64 KiB are allocated anew each time, for requests of a hundred bytes.
READ_BYTES = 8192
MASK_BYTES = 8
_HTTP = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI ")
# A TLS record of the handshake kind, version 3.x.
_TLS = b"\x16\x03"
_unpack_int = struct.Struct(">i").unpack_from


@implementer(IPushProducer)
class ClientCnxn(Protocol):
    """Its first four bytes say what it is: a word, or the length of a client's first frame."""

    # Declared wider than Twisted's: a TCP transport, real or simulated.
    transport: Any

    def __init__(self, factory: "ClientCnxnFactory") -> None:
        self.received = 0
        self.sent = 0
        self.host = ""
        self.peer = ""
        # Once its first frame has come.
        self.client: Client | None = None
        self._factory = factory
        self._pipeline: Pipeline | None = None
        self._start = bytearray()
        # Of a client with a session: what has come and was not taken yet.
        self._held = b""
        # Of a frame that is much longer than what comes at once: what there is of it, and how much is not there yet.
        self._pieces: list[bytes] = []
        self._missing = 0
        self._over = False
        # The client does not take what it is told: no request of it is taken either.
        self._choked = False
        self._backlog = 0
        self._paused = False
        self._is_eager = False
        self._is_deaf = False

    @property
    def is_reading(self) -> bool:
        """Whether anything that comes is still looked at."""
        return not self._over and not self._paused

    def reset_stats(self) -> None:
        """crst: count from 0 again."""
        self.received = 0
        self.sent = 0
        if self.client is not None:
            self.client.reset_stats()

    def connectionMade(self) -> None:
        address = self.transport.getPeer()
        self.host = plain_host(str(getattr(address, "host", "?")))
        self.peer = f"/{java_host(self.host)}:{getattr(address, 'port', '?')}"
        self.transport.bufferSize = READ_BYTES
        # A plain socket's transport; others buffer in ways of their own.
        self._is_eager = all(hasattr(self.transport, name) for name in ("writeSomeData", "dataBuffer", "_tempDataLen"))
        self._factory.opened(self)

    def dataReceived(self, data: bytes) -> None:
        if self._over or self._is_deaf:
            return  # the CR LF of a telnet, or a second word; or the server stops
        self._factory.bytes_received(len(data))
        if self.client is not None:
            self._hold(data)
            return
        self._start += data
        if len(self._start) >= WORD_BYTES:
            self._on_start(bytes(self._start[:WORD_BYTES]))

    def _hold(self, data: bytes) -> None:
        """Join what belongs together, but a long frame only once it is whole: not at each of its pieces."""
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        self._held = self._held + data if self._held else data
        if self._choked and self._pipeline is not None and self.client is not None:
            self._pipeline.heard(self.client)
        self.take()

    # -- the first frame, or a word ----------------------------------------------------------------------------------

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
            self._on_first_frame(int.from_bytes(first, "big", signed=True))

    def _on_word(self, word: str) -> None:
        service = self._factory.service
        if word != "stmk":
            self._count_packets(1)
            # Seen by the answer itself: cons and stat show this connection as one that is not read any more.
            self._over = True
            self._finish(service.answer(word))
        elif refusal := service.answer(word):
            self._count_packets(1)
            self._finish(refusal)
        elif len(self._start) >= WORD_BYTES + MASK_BYTES:
            self._count_packets(1)
            mask = int.from_bytes(self._start[WORD_BYTES : WORD_BYTES + MASK_BYTES], "big", signed=True)
            self._finish(service.answer_mask(mask))

    def _count_packets(self, count: int) -> None:
        self.received += count
        self._factory.service.packets_received(count)

    def _finish(self, text: bytes) -> None:
        self._factory.answering(self)
        if text:
            self.transport.write(text)
            self._factory.service.packets_sent(1)
        self._close()

    def _on_first_frame(self, length: int) -> None:
        longest = min(self._factory.frame_bytes_max, CONNECT_REQUEST_BYTES_MAX)
        if not CONNECT_REQUEST_BYTES_MIN <= length <= longest:
            bounds = f"{CONNECT_REQUEST_BYTES_MIN} to {longest}"
            self._refuse(f"a first frame of {length} bytes ({bounds}) is no client's")
            return
        if len(self._start) < WORD_BYTES + length:
            return
        try:
            request = ConnectRequest.decode(bytes(self._start[WORD_BYTES : WORD_BYTES + length]))
        except WireError as error:
            self._refuse(str(error))
            return
        pipeline = self._factory.service.pipeline
        if pipeline is not None:
            pipeline.enter()
        if pipeline is None or self._factory.service.pipeline is not pipeline:
            if self._factory.holds(self):
                return
            self._count_packets(1)
            self._factory.turned_away(self, request)
            self._close()
            return
        self._count_packets(1)
        self._held = bytes(self._start[WORD_BYTES + length :])
        self._start.clear()
        self._open(pipeline, request)

    def admit(self) -> None:
        """It waited for a service that was soon to come."""
        if not self._over and not self._is_deaf:
            self._on_start(bytes(self._start[:WORD_BYTES]))

    def _open(self, pipeline: Pipeline, request: ConnectRequest) -> None:
        client = self.client = Client(self._factory.next_number(), self.host, self)
        self._pipeline = pipeline
        self._factory.has_session(self)
        self.transport.registerProducer(self, True)
        try:
            pipeline.opened(client)
            refusal = pipeline.connect(client, request)
        except Exception:
            pipeline.broken(Failure())
            return
        if refusal:
            log.info("closing client connection of {peer}: {reason}", peer=self.peer, reason=refusal)
        if client.connect:
            self._pause()
            pipeline.throttled(client)
        pipeline.leave(client)
        if self._held and not client.connect and not self._over:
            self.take()

    # -- a client's frames -------------------------------------------------------------------------------------------

    def take(self) -> None:
        """Take what has come, as far as there is room for it."""
        if self._choked:
            self._leave_unread()
            return
        pipeline, client = self._pipeline, self.client
        assert pipeline is not None
        assert client is not None
        pipeline.enter()
        try:
            while not (self._choked or self._over or self._is_deaf) and self._take(pipeline):
                pipeline.flush()
        except WireError as error:
            self._refuse(str(error))
        except Exception:
            pipeline.broken(Failure())
            return
        pipeline.leave(client)

    def _leave_unread(self) -> None:
        """Read on without taking anything, within bounds: whoever reads slowly, but pings, is not to expire."""
        if len(self._held) > CLIENT_HELD_BYTES_MAX:
            self._pause()
        elif self._paused and not self._over:
            self._resume()

    def _take(self, pipeline: Pipeline) -> bool:
        """Whether there may be more to take as soon as what was answered is written."""
        client, data, longest = self.client, self._held, self._factory.frame_bytes_max
        assert client is not None
        on_frame, large_from, waiting = pipeline.on_frame, pipeline.large_from, client.waiting
        offset, end, count = 0, 0 if client.connect else len(data), 0
        # With more of its requests waiting than this, the next one is left.
        most = max(0, min(len(waiting) + pipeline.room, CLIENT_WAITING_MAX - 1))
        while end - offset >= 4 and not client.closing and client.out_bytes <= CLIENT_OUT_BYTES_MAX:
            if len(waiting) > most or client.waiting_bytes > CLIENT_REPLIES_BYTES_MAX:
                break
            length = _unpack_int(data, offset)[0]
            if not 0 <= length <= longest or (length > large_from and not pipeline.has_room_for(length)):
                self._held = data[offset:]
                self._refuse_length(length)
                return False
            behind = offset + 4 + length
            if behind > end:
                if behind - end > READ_BYTES:
                    self._missing = behind - end
                    self._pieces.append(data[offset:])
                    offset = end
                break
            on_frame(client, data[offset + 4 : behind])
            offset = behind
            count += 1
        self._held = b"" if client.closing else data[offset:]
        if count:
            self._count_packets(count)
        if client.connect or len(waiting) > most or client.waiting_bytes > CLIENT_REPLIES_BYTES_MAX:
            self._pause()
            pipeline.throttled(client)
            return False
        if self._paused:
            self._resume()
        return client.out_bytes > CLIENT_OUT_BYTES_MAX

    def _refuse_length(self, length: int) -> None:
        word = self._factory.service.word_for(self._held[:4])
        what = f"the word {word!r}" if word is not None else f"a frame of {length} bytes"
        self._refuse(f"{what} from a client with a session (0 to {self._factory.frame_bytes_max})")

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def _resume(self) -> None:
        self._paused = False
        self.transport.resumeProducing()

    def flush(self) -> None:
        """Write what the client is to be told; end the connection if that is all there will be."""
        client = self.client
        assert client is not None
        out = client.out
        if out and not self._over:
            count = len(out)
            data = out[0] if count == 1 else b"".join(out)
            if self._choked:
                self._backlog += len(data)
            self.sent += count
            self._factory.service.packets_sent(count)
            self._write(data)
        out.clear()
        client.out_bytes = 0
        if self._over:
            return
        if client.closing:
            self._factory.answering(self)
            self._close()
        elif self._backlog > CLIENT_BACKLOG_BYTES_MAX:
            log.warn("closing client connection of {peer}: it does not take what it is told", peer=self.peer)
            self._over = True
            self.transport.abortConnection()

    def _write(self, data: bytes) -> None:
        """Hand it to the socket at once where nothing waits before it.

        A transport only notes what it is given, and writes when it is asked next: that costs two system calls and a
        turn of the reactor more, a third of all that a read of one client alone costs.
        """
        transport = self.transport
        if self._is_eager and not transport.dataBuffer and not transport._tempDataLen:
            sent = transport.writeSomeData(data)
            if sent == len(data):
                return
            if isinstance(sent, int):
                data = data[sent:]
        transport.write(data)

    def pauseProducing(self) -> None:
        """The client reads more slowly than it is told: take no more of its requests."""
        self._choked = True
        if len(self._held) > CLIENT_HELD_BYTES_MAX:
            self._pause()

    def resumeProducing(self) -> None:
        """It has caught up."""
        self._choked = False
        self._backlog = 0
        if not self._over:
            self.take()

    def stopProducing(self) -> None:
        """The connection is gone: connectionLost tells the rest."""

    # -- the end -----------------------------------------------------------------------------------------------------

    def _refuse(self, reason: str) -> None:
        log.warn("closing client connection of {peer}: {reason}", peer=self.peer, reason=reason)
        if self.client is not None and self._pipeline is not None:
            # What came before it and was answered is still written.
            self._pipeline.end(self.client)
        else:
            self._close()

    def _close(self) -> None:
        self._over = True
        self._start.clear()
        self._held = b""
        self._pieces.clear()
        if self.client is not None:
            # A transport with a producer would wait for it.
            self.transport.unregisterProducer()
        self.transport.loseConnection()

    def deafen(self) -> None:
        """Take nothing more, but tell what is to be told."""
        self._is_deaf = True

    def close(self) -> None:
        """Take nothing more; what was written still leaves."""
        if not self._over:
            self._close()

    def expire(self) -> None:
        """It has said nothing in time, or it does not take what it was answered."""
        if self._over:
            self.transport.abortConnection()
        else:
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._start and not self._over and not self._factory.is_held(self):
            log.warn(
                "client connection of {peer} ended in the middle of a frame, after {held} bytes",
                peer=self.peer,
                held=len(self._start),
            )
        self._over = True
        if self.client is not None and self._pipeline is not None:
            self._pipeline.closed(self.client)
        self._factory.closed(self)
