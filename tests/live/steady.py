"""A session that writes all the time and moves when it must: what its longest pause is when servers go.

One write at a time. Once its connection is gone it tries the servers in turn, without a rest but for a millisecond
after each round in vain.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Sequence

from ensemble import HOST

TIMEOUT_MS = 20_000
ANSWER_S = 20.0
ATTACH_S = 1.0
PAUSE_S = 0.001
CREATE, GET, SET = 1, 4, 5
OPEN_ACL = struct.pack(">iii5si6s", 1, 31, 5, b"world", 6, b"anyone")


def _text(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


class Steady(threading.Thread):
    """Writes until halt(). ports: client ports, the first of which it begins with.

    acked: monotonic seconds of each acknowledgement; attaches: how often it connected with success, and knocks: how
    often it tried; lost: writes of which it never heard; trouble: why it ended early.
    """

    def __init__(self, ports: Sequence[int], path: str = "/steady") -> None:
        super().__init__(daemon=True)
        self.acked: list[float] = []
        self.attaches = self.knocks = self.lost = 0
        self.trouble: str | None = None
        self._ports, self._at = list(ports), 0
        self._path = path.encode()
        self._session, self._password, self._zxid, self._xid = 0, bytes(16), 0, 0
        self._link: socket.socket | None = None
        self._halting = threading.Event()
        self._attach()
        self._ask(CREATE, _text(self._path) + _text(b"0") + OPEN_ACL + struct.pack(">i", 0))

    def _read(self) -> bytes:
        assert self._link is not None
        data = b""
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            piece = self._link.recv(65536)
            if not piece:
                raise ConnectionError("the server has closed it")
            data += piece
        return data[4:]

    def _attach(self) -> None:
        self.knocks += 1
        self._drop()
        self._link = socket.create_connection((HOST, self._ports[self._at]), ATTACH_S)
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = struct.pack(">iqiqi16s?", 0, self._zxid, TIMEOUT_MS, self._session, 16, self._password, False)
        self._link.sendall(_text(body))
        self._link.settimeout(ATTACH_S)
        answer = self._read()
        self._link.settimeout(ANSWER_S)
        _, timeout_ms, session, _ = struct.unpack_from(">iiqi", answer)
        if timeout_ms <= 0:
            raise RuntimeError("the session has expired")
        self._session, self._password = session, answer[20:36]
        self.attaches += 1

    def _ask(self, operation: int, body: bytes) -> bytes:
        assert self._link is not None
        self._xid += 1
        self._link.sendall(_text(struct.pack(">ii", self._xid, operation) + body))
        answer = self._read()
        xid, zxid, code = struct.unpack_from(">iqi", answer)
        if xid != self._xid or code:
            raise RuntimeError(f"reply {xid} with error {code} to request {self._xid}")
        self._zxid = max(zxid, self._zxid)
        return answer[16:]

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None

    def run(self) -> None:
        number = 0
        try:
            while not self._halting.is_set():
                try:
                    if self._link is None:
                        self._attach()
                    self._ask(SET, _text(self._path) + _text(b"%0100d" % (number + 1)) + struct.pack(">i", -1))
                except OSError:
                    self.lost += self._link is not None and self.attaches == self.knocks
                    self._drop()
                    self._at = (self._at + 1) % len(self._ports)
                    if not self._at:
                        time.sleep(PAUSE_S)
                    continue
                number += 1
                self.acked.append(time.monotonic())
                time.sleep(PAUSE_S)
        except (RuntimeError, AssertionError) as error:
            self.trouble = f"{type(error).__name__}: {error}"

    def read(self) -> None:
        """Read the node once, where this writer is not started. Raises OSError once the server ends the connection."""
        self._ask(GET, _text(self._path) + b"\0")

    def halt(self) -> None:
        """Stop, and leave the session to its timeout. Raises AssertionError where it had trouble."""
        self._halting.set()
        self.join(ANSWER_S + ATTACH_S)
        with contextlib.suppress(OSError):
            self._drop()
        assert self.trouble is None, self.trouble

    def gap_ms(self, since: float) -> float:
        """The longest pause between two acknowledgements that ends after this moment of the monotonic clock."""
        pairs = zip(self.acked, self.acked[1:], strict=False)
        return max((1000 * (after - before) for before, after in pairs if after > since), default=float("inf"))

    def next_after(self, moment: float) -> float | None:
        """Milliseconds from this moment to the first acknowledgement of a write that began well after it."""
        later = [acked for acked in self.acked if acked > moment]
        return 1000 * (later[1] - moment) if len(later) > 1 else None
