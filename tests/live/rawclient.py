"""A client of the bare wire for the comparison run: its own codec, so that a slip in the product's own shows.

Requests are built field by field and may be wrong on purpose; replies are read into plain Python values. Nothing here
imports the product. Strings are given as str, as bytes (sent as they are) or as None (length -1).
"""

import base64
import hashlib
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

HOST = "127.0.0.1"
OPS = {
    1: "create",
    2: "delete",
    3: "exists",
    4: "getData",
    5: "setData",
    6: "getACL",
    7: "setACL",
    8: "getChildren",
    9: "sync",
    11: "ping",
    12: "getChildren2",
    13: "check",
    14: "multi",
    15: "create2",
    16: "reconfig",
    17: "checkWatches",
    18: "removeWatches",
    19: "createContainer",
    20: "deleteContainer",
    21: "createTTL",
    22: "multiRead",
    100: "auth",
    101: "setWatches",
    102: "sasl",
    103: "getEphemerals",
    104: "getAllChildrenNumber",
    105: "setWatches2",
    106: "addWatch",
    107: "whoAmI",
    -10: "createSession",
    -11: "closeSession",
}
CREATES = (1, 15, 19, 21)
STAT = struct.Struct(">qqqqiiiqiiq")
STAT_FIELDS = (
    "czxid",
    "mzxid",
    "ctime",
    "mtime",
    "version",
    "cversion",
    "aversion",
    "ephemeralOwner",
    "dataLength",
    "numChildren",
    "pzxid",
)
END_OF_MULTI = struct.pack(">ibi", -1, 1, -1)
NO_PASSWORD = bytes(16)

T = TypeVar("T")
Text = str | bytes | None
Acl = tuple[int, Text, Text]
Stat = tuple[int, ...]


def i32(value: int) -> bytes:
    """An int, wrapped to 32 bits."""
    return struct.pack(">I", value & 0xFFFFFFFF)


def i64(value: int) -> bytes:
    """A long, wrapped to 64 bits."""
    return struct.pack(">Q", value & 0xFFFFFFFFFFFFFFFF)


def boolean(value: bool) -> bytes:
    """One byte."""
    return b"\1" if value else b"\0"


def buffer(value: Text) -> bytes:
    """Length and bytes; None is length -1."""
    if value is None:
        return i32(-1)
    content = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return i32(len(content)) + content


def vector(items: Sequence[bytes] | None) -> bytes:
    """Count and items, each already encoded; None is count -1."""
    return i32(-1) if items is None else i32(len(items)) + b"".join(items)


def acl_list(acl: Sequence[Acl] | None) -> bytes:
    """A vector of ACL records."""
    return vector(None if acl is None else [i32(p) + buffer(scheme) + buffer(name) for p, scheme, name in acl])


def digest_id(user: str, password: str) -> str:
    """The id of a digest ACL."""
    secret = hashlib.sha1(f"{user}:{password}".encode()).digest()
    return f"{user}:{base64.b64encode(secret).decode()}"


def create_body(path: Text, data: Text, acl: Sequence[Acl] | None, flags: int, ttl: int | None = None) -> bytes:
    """The body of all four creates; ttl only for createTTL."""
    return buffer(path) + buffer(data) + acl_list(acl) + i32(flags) + (b"" if ttl is None else i64(ttl))


def multi_body(ops: Sequence[tuple[int, bytes]]) -> bytes:
    """The body of multi and multiRead."""
    return b"".join(i32(op) + b"\0" + i32(-1) + body for op, body in ops) + END_OF_MULTI


def connect_body(
    session: int, password: bytes | None, timeout_ms: int, last_zxid: int = 0, read_only: bool | None = False
) -> bytes:
    """A ConnectRequest; read_only None leaves the byte out, as clients before 3.4 do."""
    flag = b"" if read_only is None else boolean(read_only)
    return i32(0) + i64(last_zxid) + i32(timeout_ms) + i64(session) + buffer(password) + flag


class Reader:
    """Reads fields off a body. Raises ValueError where it ends too early or a length is absurd."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def take(self, count: int) -> bytes:
        """So many bytes."""
        if count < 0 or self.at + count > len(self.body):
            raise ValueError(f"{count} bytes wanted at {self.at} of {len(self.body)}")
        self.at += count
        return self.body[self.at - count : self.at]

    def i32(self) -> int:
        """An int."""
        return int.from_bytes(self.take(4), "big", signed=True)

    def i64(self) -> int:
        """A long."""
        return int.from_bytes(self.take(8), "big", signed=True)

    def boolean(self) -> bool:
        """A byte that is 0 or 1."""
        return {0: False, 1: True}[self.take(1)[0]]

    def buffer(self) -> bytes | None:
        """Bytes, or None for length -1."""
        length = self.i32()
        return None if length == -1 else self.take(length)

    def text(self) -> str | None:
        """A string, or None for length -1."""
        content = self.buffer()
        return None if content is None else content.decode("utf-8", "backslashreplace")

    def many(self, item: Callable[[], T]) -> list[T] | None:
        """A vector, or None for count -1."""
        count = self.i32()
        if count < -1:
            raise ValueError(f"count {count}")
        return None if count == -1 else [item() for _ in range(count)]

    def stat(self) -> Stat:
        """The eleven figures of a Stat."""
        return STAT.unpack(self.take(STAT.size))

    def acl(self) -> Acl:
        """One ACL record."""
        return self.i32(), self.text(), self.text()

    def end(self) -> None:
        """Nothing may be left."""
        if self.at != len(self.body):
            raise ValueError(f"{len(self.body) - self.at} bytes left over")


@dataclass(frozen=True)
class Welcome:
    """A ConnectResponse. read_only is None where the byte was left out."""

    protocol: int
    timeout_ms: int
    session: int
    password: bytes
    read_only: bool | None


@dataclass(frozen=True)
class Reply:
    """A reply, body undecoded."""

    xid: int
    zxid: int
    err: int
    body: bytes


def welcome(body: bytes) -> Welcome:
    """Read a ConnectResponse."""
    reader = Reader(body)
    protocol, timeout_ms, session, password = reader.i32(), reader.i32(), reader.i64(), reader.buffer()
    flag = reader.boolean() if reader.at < len(body) else None
    reader.end()
    return Welcome(protocol, timeout_ms, session, password or b"", flag)


def reply(body: bytes) -> Reply:
    """Part a reply's header from its body."""
    reader = Reader(body)
    return Reply(reader.i32(), reader.i64(), reader.i32(), body[16:])


class Silent(Exception):
    """Nothing came within the time."""


class Link:
    """One connection, blocking. read() gives frames; None once the server has closed it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = bytearray()
        self.closed = False

    def send(self, *bodies: bytes) -> None:
        """Send frames in one write. A connection that is closed takes them silently: read() tells."""
        self.send_raw(b"".join(i32(len(body)) + body for body in bodies))

    def send_raw(self, content: bytes) -> None:
        """Send bytes as they are."""
        try:
            self._socket.settimeout(20)
            self._socket.sendall(content)
        except OSError:
            # What the server wrote before it closed may still be read.
            pass

    def read(self, timeout_s: float = 20.0) -> bytes | None:
        """The next frame's body; None at the end of the stream. Raises Silent."""
        ends = time.monotonic() + timeout_s
        while True:
            if len(self._held) >= 4:
                size = 4 + int.from_bytes(self._held[:4], "big")
                if len(self._held) >= size:
                    body = bytes(self._held[4:size])
                    del self._held[:size]
                    return body
            if self.closed:
                return None
            self._socket.settimeout(max(0.001, ends - time.monotonic()))
            try:
                piece = self._socket.recv(1 << 20)
            except TimeoutError:
                raise Silent(f"nothing within {timeout_s:g} s") from None
            except OSError:
                piece = b""
            if piece:
                self._held += piece
            else:
                self.closed = True

    def close(self) -> None:
        """Cut it."""
        self.closed = True
        self._socket.close()
