"""A session that writes and moves when it must, over blocking sockets: what the gaps of a service are measured with.

It holds the addresses of all servers. Once its connection is gone it tries one server after the other without a pause,
and rests ROUND_PAUSE_S after a round in vain; Java's client would wait up to a second. All kinds are met alike. Being
refused costs nothing, and an attempt that is not answered ends after ATTACH_S. What it writes are growing numbers, so
that a reader can tell whether a write that was acknowledged is still there.
"""

import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from ensemble import HOST
from service_tools import SESSION_TIMEOUT_MS, read_exactly

ROUND_PAUSE_S = 0.005
ATTACH_S = 1.0
REPLY_S = 5.0
OPEN_ACL = struct.pack(">iii5si6s", 1, 31, 5, b"world", 6, b"anyone")
CREATE, GET, SET, SYNC, CLOSE = 1, 4, 5, 9, -11
NODE_EXISTS = -110


class Lost(OSError):
    """The connection is gone, or no answer came in time; whether a request was carried out is unknown."""


class Expired(RuntimeError):
    """The servers no longer know the session."""


class Refused(RuntimeError):
    """A request was answered with an error."""

    def __init__(self, code: int) -> None:
        super().__init__(f"error {code}")
        self.code = code


class Session:
    """One session. ports: client ports of all servers, tried in this order, from the first on."""

    def __init__(self, ports: Sequence[int], first: int = 0) -> None:
        self._ports = ports
        self._at = first
        self._session, self._password = 0, bytes(16)
        self._seen_zxid = 0
        self._xid = 0
        self._link: socket.socket | None = None

    @property
    def port(self) -> int:
        """Of the server it is connected to, or tries next."""
        return self._ports[self._at % len(self._ports)]

    def attach(self) -> None:
        """Connect to the server whose turn it is, as a new session or moving. Raises Lost, Expired."""
        self.drop()
        try:
            self._link = socket.create_connection((HOST, self.port), ATTACH_S)
            self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request = struct.pack(
                ">iqiqi16s?", 0, self._seen_zxid, SESSION_TIMEOUT_MS, self._session, 16, self._password, False
            )
            self._link.sendall(struct.pack(">i", len(request)) + request)
            answer = self._frame(self._link)
            self._link.settimeout(REPLY_S)
        except OSError as error:
            raise self._lost(error) from None
        _, timeout_ms, session, _ = struct.unpack_from(">iiqi", answer)
        if timeout_ms <= 0:
            self.drop()
            self._session, self._password = 0, bytes(16)
            raise Expired("the session is not known any more")
        self._session, self._password = session, answer[20:36]

    def attach_somewhere(self, until: float) -> None:
        """Try the servers in turn until one takes the session. Raises Lost at the given time of the monotonic clock."""
        while True:
            for _ in self._ports:
                try:
                    return self.attach()
                except Lost:
                    self._at += 1
            if time.monotonic() > until:
                raise Lost("no server took the session")
            time.sleep(ROUND_PAUSE_S)

    @property
    def attached(self) -> bool:
        """Whether it has a connection."""
        return self._link is not None

    def _frame(self, link: socket.socket) -> bytes:
        (length,) = struct.unpack(">i", read_exactly(link, 4))
        return read_exactly(link, length)

    def _lost(self, error: OSError) -> Lost:
        self.drop()
        return Lost(f"{type(error).__name__}: {error}")

    def request(self, operation: int, body: bytes) -> bytes:
        """One request and its reply's body. Raises Lost, Refused."""
        if self._link is None:
            raise Lost("not connected")
        self._xid += 1
        try:
            self._link.sendall(struct.pack(">iii", 8 + len(body), self._xid, operation) + body)
            reply = self._frame(self._link)
        except OSError as error:
            # The next in line: who lost us is not who takes us back soonest.
            self._at += 1
            raise self._lost(error) from None
        xid, zxid, code = struct.unpack_from(">iqi", reply)
        assert xid == self._xid, f"reply {xid} where {self._xid} was due"
        self._seen_zxid = max(self._seen_zxid, zxid)
        if code:
            raise Refused(code)
        return reply[16:]

    def create(self, path: str, data: bytes) -> None:
        """Create a node, unless it is there."""
        try:
            self.request(CREATE, buffer(path.encode()) + buffer(data) + OPEN_ACL + struct.pack(">i", 0))
        except Refused as refused:
            if refused.code != NODE_EXISTS:
                raise

    def set(self, path: str, data: bytes) -> None:
        """Write, whatever the version."""
        self.request(SET, buffer(path.encode()) + buffer(data) + struct.pack(">i", -1))

    def get(self, path: str) -> bytes:
        """What the newest is, by a sync before the read."""
        self.request(SYNC, buffer(path.encode()))
        answer = self.request(GET, buffer(path.encode()) + b"\0")
        (length,) = struct.unpack_from(">i", answer)
        return answer[4 : 4 + length]

    def drop(self) -> None:
        """Leave the connection; the session lives on."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def close(self) -> None:
        """End the session, if it is connected."""
        with suppress(OSError, RuntimeError):
            if self._link is not None:
                self.request(CLOSE, b"")
        self.drop()


def buffer(content: bytes) -> bytes:
    """Length and bytes."""
    return struct.pack(">i", len(content)) + content


class Writer(threading.Thread):
    """Writes growing numbers to a node of its own until it is halted, one at a time, PAUSE_S between them.

    acked: when each write was acknowledged, by the monotonic clock; sent: when these were sent. failed: writes under
    way when a connection was lost. trouble: why it ended early, None if it did not.
    """

    PAUSE_S = 0.002
    LIMIT_S = 60.0

    def __init__(self, path: str, ports: Sequence[int], first: int, size: int) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.acked: list[float] = []
        self.sent: list[float] = []
        self.failed = 0
        self.trouble: str | None = None
        self._size = size
        self._number = 0
        self._halting = threading.Event()
        self.session = Session(ports, first)
        self.session.attach()
        self.session.create(path, b"0")

    def run(self) -> None:
        try:
            while not self._halting.is_set():
                if not self.session.attached:
                    self.session.attach_somewhere(time.monotonic() + self.LIMIT_S)
                sent = time.monotonic()
                try:
                    self.session.set(self.path, b"%0*d" % (self._size, self._number + 1))
                except Lost:
                    self.failed += 1
                    continue
                self._number += 1
                self.sent.append(sent)
                self.acked.append(time.monotonic())
                time.sleep(self.PAUSE_S)
        except (OSError, RuntimeError, AssertionError) as error:
            self.trouble = f"{type(error).__name__}: {error}"

    def gaps(self, since: float, over_s: float = 0.0) -> list[float]:
        """Seconds between acknowledgements that end after a time of the monotonic clock, those longer than over_s."""
        return [
            after - before
            for before, after in zip(self.acked, self.acked[1:], strict=False)
            if after > since and after - before > over_s
        ]

    def first_sent_after(self, moment: float) -> float | None:
        """When the first write was acknowledged that was sent after this moment and went through."""
        return next((acked for sent, acked in zip(self.sent, self.acked, strict=False) if sent > moment), None)

    def finish(self) -> str | None:
        """Halt it, and look whether what was acknowledged last is there; what is wrong, None if all is well."""
        self._halting.set()
        self.join(self.LIMIT_S + 30)
        try:
            if self.is_alive():
                return "the writer hangs"
            if self.trouble is not None:
                return self.trouble
            if not self.session.attached:
                self.session.attach_somewhere(time.monotonic() + 30)
            found = int(self.session.get(self.path))
            return None if found >= self._number else f"{self._number} was acknowledged, {found} was found"
        except (OSError, RuntimeError, AssertionError) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            self.session.close()
