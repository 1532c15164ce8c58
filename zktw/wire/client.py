"""The client's wire: handshake, headers, requests and replies (wire document, section b).

Requests are read from whole frames, header included; a WireError is answered by MARSHALLING_ERROR.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

from zktw.terms.codes import CreateMode, OpCode
from zktw.terms.errors import WireError
from zktw.terms.limits import CONNECT_REQUEST_BYTES_MAX
from zktw.wire.jute import Reader, encode_text
from zktw.wire.records import Acls, read_acls

# xid and type of a request.
REQUEST_HEADER = struct.Struct(">ii")
# length, xid, zxid and err of a reply.
REPLY_HEADER = struct.Struct(">iiqi")
REPLY_HEADER_BYTES = 16
NOTIFICATION_XID, PING_XID, AUTH_XID, SET_WATCHES_XID = -1, -2, -4, -8
PASSWORD_BYTES = 16
SYNC_CONNECTED = 3
BODY = REQUEST_HEADER.size
MULTI_END = b"\xff\xff\xff\xff\x01\xff\xff\xff\xff"
# type, done, err in front of each part of a multi.
MULTI_HEADER = struct.Struct(">i?i")
_CONNECTED = struct.Struct(">iiqi")
# xid, zxid, err, then type, state and the length of the path.
_EVENT = struct.Struct(">iqiiii")
_INT = struct.Struct(">i")


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A client asks for a session (session_id 0) or comes back to one.

    read_only is None where the request has no such field: clients before 3.4, whose answer must lack it too.
    """

    protocol_version: int
    last_zxid_seen: int
    timeout_ms: int
    session_id: int
    password: bytes | None
    read_only: bool | None

    @classmethod
    def decode(cls, frame: bytes) -> "ConnectRequest":
        """Read one. What follows the last field is passed over, as Apache does. Raises WireError if one is missing."""
        reader = Reader(frame, CONNECT_REQUEST_BYTES_MAX)
        return cls(
            reader.i32(),
            reader.i64(),
            reader.i32(),
            reader.i64(),
            reader.buffer(),
            reader.flag() if reader.remaining else None,
        )


def encode_connect_response(timeout_ms: int, session_id: int, password: bytes, read_only: bool | None) -> bytes:
    """The answer with its length; read_only None leaves the field out."""
    body = _CONNECTED.pack(0, timeout_ms, session_id, len(password)) + password
    if read_only is not None:
        body += b"\x01" if read_only else b"\x00"
    return _INT.pack(len(body)) + body


def encode_reply(xid: int, zxid: int, err: int, body: bytes = b"") -> bytes:
    """A reply with its length; one with an error has no body."""
    return REPLY_HEADER.pack(REPLY_HEADER_BYTES + len(body), xid, zxid, err) + body


def encode_event(type_: int, path: str, zxid: int) -> bytes:
    """A watch event with its length."""
    raw = encode_text(path)
    body = _EVENT.pack(NOTIFICATION_XID, zxid, 0, type_, SYNC_CONNECTED, len(raw))
    return _INT.pack(len(body) + len(raw)) + body + raw


class NullListError(WireError):
    """A null list in a create within a multi."""


class WrongKindError(WireError):
    """A multiRead of what are no reads."""


class PathVersion(NamedTuple):
    """Body of delete and check; a null path is unreadable, but found out late."""

    path: str | None
    version: int


class CreateRequest(NamedTuple):
    """Body of all creates; ttl is -1 for those without. A null path is unreadable, but found out late."""

    path: str | None
    data: bytes | None
    acls: Acls | None
    flags: int
    ttl: int


class SetDataRequest(NamedTuple):
    """Body of setData; a null path is answered, not unreadable."""

    path: str | None
    data: bytes | None
    version: int


class SetAclRequest(NamedTuple):
    """Body of setACL."""

    path: str | None
    acls: Acls | None
    version: int


Paths = tuple[str | None, ...] | None


class SetWatches(NamedTuple):
    """Body of setWatches and setWatches2. Null lists and null paths are found out when their turn comes."""

    relative_zxid: int
    data: "Paths"
    exist: "Paths"
    child: "Paths"
    persistent: "Paths"
    recursive: "Paths"


class AuthPacket(NamedTuple):
    """Body of auth."""

    scheme: str
    auth: bytes


def read_path(reader: Reader) -> str:
    """A path that must not be null."""
    path = reader.string()
    if path is None:
        raise WireError("a null path")
    return path


def read_create(reader: Reader, op: int) -> CreateRequest:
    """Body of a create."""
    path, data, acls, flags = reader.string(), reader.buffer(), read_acls(reader), reader.i32()
    return CreateRequest(path, data, acls, flags, reader.i64() if op == OpCode.CREATE_TTL else -1)


def read_path_version(reader: Reader) -> PathVersion:
    """Body of delete or check."""
    return PathVersion(reader.string(), reader.i32())


def read_set_data(reader: Reader) -> SetDataRequest:
    """Body of setData."""
    return SetDataRequest(reader.string(), reader.buffer(), reader.i32())


def read_set_acl(reader: Reader) -> SetAclRequest:
    """Body of setACL."""
    return SetAclRequest(reader.string(), read_acls(reader), reader.i32())


MultiOp = tuple[int, "CreateRequest | PathVersion | SetDataRequest"]
_CREATES = frozenset({OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL})
_ALL_FLAGS = frozenset(map(int, CreateMode))
_MULTI_WRITES = _CREATES | {OpCode.DELETE, OpCode.SET_DATA, OpCode.CHECK}


def read_multi(reader: Reader, *, strict: bool = False) -> list[MultiOp]:
    """Body of multi: (OpCode, request) up to its end. A null path anywhere makes it unreadable.

    strict: so does a createTTL without a time to live, which Apache's servers take and do not survive.
    """
    ops: list[MultiOp] = []
    # A null list further on counts for more.
    null_path = False
    while True:
        type_, done, _ = reader.i32(), reader.flag(), reader.i32()
        if done:
            break
        request: CreateRequest | PathVersion | SetDataRequest
        if type_ in _CREATES:
            type_, request = _read_part_create(reader, type_, strict)
        elif type_ in (OpCode.DELETE, OpCode.CHECK):
            request = read_path_version(reader)
        elif type_ == OpCode.SET_DATA:
            request = read_set_data(reader)
        else:
            raise WireError(f"an operation of type {type_} in a multi")
        null_path = null_path or request.path is None
        ops.append((type_, request))
    if null_path:
        raise WireError("a null path")
    return ops


def _read_part_create(reader: Reader, type_: int, strict: bool) -> tuple[int, CreateRequest]:
    """A create within a multi, where the flags say what it is, and not the operation alone (Apache 3.9)."""
    request = read_create(reader, type_)
    ttl = type_ == OpCode.CREATE_TTL
    if strict and ttl and request.flags <= CreateMode.CONTAINER and request.ttl < 0:
        raise WireError("a createTTL without a time to live")
    if not ttl:
        # In this order: flags that do not exist, then a null list, then flags of another operation.
        if request.flags not in _ALL_FLAGS:
            raise WireError(f"a create with flags {request.flags} in a multi")
        if request.acls is None:
            raise NullListError("a null list")
        if request.flags > CreateMode.CONTAINER:
            raise WireError(f"a create with flags {request.flags} in a multi")
    if request.flags == CreateMode.CONTAINER:
        return OpCode.CREATE_CONTAINER, request._replace(ttl=-1)
    if ttl and 0 <= request.flags < CreateMode.CONTAINER:
        return OpCode.CREATE, request._replace(ttl=-1)
    return type_, request


def read_multi_read(reader: Reader) -> list[tuple[int, str | None]]:
    """Body of multiRead: (OpCode, path) up to its end; watch flags count for nothing. Null paths are found out late.

    Reads and writes together are unreadable; writes alone are readable, and of the wrong kind.
    """
    ops: list[tuple[int, str | None]] = []
    while True:
        type_, done, _ = reader.i32(), reader.flag(), reader.i32()
        if done:
            break
        if type_ in _CREATES:
            ops.append((type_, read_create(reader, type_).path))
        elif type_ == OpCode.SET_DATA:
            ops.append((type_, read_set_data(reader).path))
        elif type_ in _MULTI_WRITES:
            ops.append((type_, read_path_version(reader).path))
        elif type_ in (OpCode.GET_DATA, OpCode.GET_CHILDREN):
            ops.append((type_, reader.string()))
            reader.flag()
        else:
            raise WireError(f"an operation of type {type_} in a multiRead")
    writes = sum(type_ in _MULTI_WRITES for type_, _ in ops)
    if 0 < writes < len(ops):
        raise WireError("reads and writes in one multiRead")
    if writes:
        raise WrongKindError("a multiRead of what are no reads")
    return ops


def _read_paths(reader: Reader) -> Paths:
    count = reader.i32()
    if count == -1:
        return None
    if count * 4 > reader.remaining:
        raise WireError(f"{count} paths, {reader.remaining} bytes left")
    return tuple([reader.string() for _ in range(count)])


def read_set_watches(reader: Reader, op: int) -> SetWatches:
    """Body of setWatches or setWatches2."""
    relative_zxid = reader.i64()
    data, exist, child = _read_paths(reader), _read_paths(reader), _read_paths(reader)
    if op == OpCode.SET_WATCHES:
        return SetWatches(relative_zxid, data, exist, child, (), ())
    return SetWatches(relative_zxid, data, exist, child, _read_paths(reader), _read_paths(reader))


def read_auth(reader: Reader) -> AuthPacket:
    """Body of auth; its type counts for nothing."""
    reader.i32()
    return AuthPacket(reader.string() or "", reader.buffer() or b"")
