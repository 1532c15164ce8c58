"""Transactions: what logs and proposals carry (wire document, c.2)."""

import struct
from dataclasses import dataclass

from zktw.terms.codes import OpCode
from zktw.terms.errors import WireError
from zktw.wire.jute import Reader, put_bool, put_buffer, put_int, put_long, put_string
from zktw.wire.records import Acls, put_acls, read_acls

HEADER = struct.Struct(">qiqqi")
HEADER_BYTES = HEADER.size
_ZXID = struct.Struct(">q")
_ZXID_OFFSET = 12
_DIGEST = struct.Struct(">iq")
DIGEST_VERSION = 2
# parentCVersion of very old logs, whose creates have none: one more than the parent has.
NEXT_CVERSION = -1
_INT_SIZE = 4
# Nodes that every tree has: no server lets them go.
UNDELETABLE = frozenset({"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"})

_CREATE, _CREATE2, _CONTAINER, _TTL = OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL
CREATES = frozenset({_CREATE, _CREATE2, _CONTAINER, _TTL})
DELETES = frozenset({OpCode.DELETE, OpCode.DELETE_CONTAINER})


@dataclass(slots=True)
class TxnHeader:
    """Whose it is, its place in the order, its time (wall ms at the leader) and its kind, an OpCode."""

    client_id: int
    cxid: int
    zxid: int
    time: int
    type: int


@dataclass(slots=True)
class CreateTxn:
    """A node comes to be: create, create2, createContainer, createTTL. parent_cversion is the stored one afterwards."""

    path: str
    data: bytes | None
    acls: Acls
    ephemeral: bool
    parent_cversion: int
    ttl: int = 0


@dataclass(slots=True)
class DeleteTxn:
    """A node goes."""

    path: str


@dataclass(slots=True)
class SetDataTxn:
    """A node has other data; version is the new one. A reconfig is this of the configuration's node."""

    path: str
    data: bytes | None
    version: int


@dataclass(slots=True)
class SetAclTxn:
    """A node has another access control list; version is the new one."""

    path: str
    acls: Acls
    version: int


@dataclass(slots=True)
class CheckTxn:
    """A check that held, within a multi."""

    path: str
    version: int


@dataclass(slots=True)
class CreateSessionTxn:
    """A session begins."""

    timeout_ms: int


@dataclass(slots=True)
class CloseSessionTxn:
    """A session ends, and these ephemerals with it; None in logs from before 3.6."""

    paths: tuple[str, ...] | None


@dataclass(slots=True)
class ErrorTxn:
    """A request that was refused in its place of the order."""

    err: int


@dataclass(slots=True)
class MultiTxn:
    """Several as one: (OpCode, record). With an ErrorTxn among them none is applied."""

    txns: list[tuple[int, "Txn"]]


Txn = (
    CreateTxn | DeleteTxn | SetDataTxn | SetAclTxn | CheckTxn | CreateSessionTxn | CloseSessionTxn | ErrorTxn | MultiTxn
)


def zxid_of_payload(payload: bytes) -> int:
    """The zxid in the header of an encoded transaction."""
    zxid: int = _ZXID.unpack_from(payload, _ZXID_OFFSET)[0]
    return zxid


def encode_txn(header: TxnHeader, txn: Txn, digest: int | None) -> bytes:
    """Header, record and, where given, the tree's digest afterwards: what a log entry or a proposal holds."""
    out = bytearray(HEADER.pack(header.client_id, header.cxid, header.zxid, header.time, header.type))
    put_txn(out, header.type, txn)
    if digest is not None:
        out += _DIGEST.pack(DIGEST_VERSION, digest - (1 << 64) if digest >> 63 else digest)
    return bytes(out)


def put_txn(out: bytearray, type_: int, txn: Txn) -> None:
    """Append a record."""
    match txn:
        case SetDataTxn(path, data, version):
            put_string(out, path)
            put_buffer(out, data)
            put_int(out, version)
        case CreateTxn():
            _put_create(out, type_, txn)
        case DeleteTxn(path):
            put_string(out, path)
        case ErrorTxn(err):
            put_int(out, err)
        case MultiTxn(txns):
            put_int(out, len(txns))
            for sub_type, sub in txns:
                put_int(out, sub_type)
                body = bytearray()
                put_txn(body, sub_type, sub)
                put_buffer(out, bytes(body))
        case SetAclTxn(path, acls, version):
            put_string(out, path)
            put_acls(out, acls)
            put_int(out, version)
        case CheckTxn(path, version):
            put_string(out, path)
            put_int(out, version)
        case CreateSessionTxn(timeout_ms):
            put_int(out, timeout_ms)
        case CloseSessionTxn(paths) if paths is not None:
            put_int(out, len(paths))
            for path in paths:
                put_string(out, path)


def _put_create(out: bytearray, type_: int, txn: CreateTxn) -> None:
    put_string(out, txn.path)
    put_buffer(out, txn.data)
    put_acls(out, txn.acls)
    if type_ in (_CREATE, _CREATE2):
        put_bool(out, txn.ephemeral)
    put_int(out, txn.parent_cversion)
    if type_ == _TTL:
        put_long(out, txn.ttl)


def decode_txn(payload: bytes, length_max: int) -> tuple[TxnHeader, Txn, int | None]:
    """Header, record and digest (of version 2; else None) of a log entry or proposal. WireError: it is none."""
    reader = Reader(payload, length_max)
    if len(payload) < HEADER.size:
        raise WireError(f"a transaction of {len(payload)} bytes")
    header = TxnHeader(*HEADER.unpack_from(payload))
    reader.offset = HEADER.size
    txn = _read_txn(reader, header.type)
    digest = None
    if reader.remaining >= _DIGEST.size:
        version, value = _DIGEST.unpack_from(payload, reader.offset)
        if version == DIGEST_VERSION:
            digest = value & 0xFFFF_FFFF_FFFF_FFFF
    return header, txn, digest


def decode_sub_txn(type_: int, body: bytes, length_max: int) -> Txn:
    """A record without a header, as a multi carries it."""
    return _read_txn(Reader(body, length_max), type_)


def _read_txn(reader: Reader, type_: int) -> Txn:
    if type_ in CREATES:
        return _read_create(reader, type_)
    if type_ in DELETES:
        return DeleteTxn(_deletable(_path(reader)))
    match type_:
        case OpCode.SET_DATA | OpCode.RECONFIG:
            return SetDataTxn(_path(reader), reader.buffer(), reader.i32())
        case OpCode.MULTI:
            return _read_multi(reader)
        case OpCode.SET_ACL:
            return SetAclTxn(_path(reader), read_acls(reader) or (), reader.i32())
        case OpCode.CHECK:
            return CheckTxn(_path(reader), reader.i32())
        case OpCode.ERROR:
            return ErrorTxn(reader.i32())
        case OpCode.CREATE_SESSION:
            return CreateSessionTxn(reader.i32())
        case OpCode.CLOSE_SESSION:
            return CloseSessionTxn(tuple(map(_deletable, read_paths(reader))) if _names_nodes(reader) else None)
    raise WireError(f"a transaction of the unknown type {type_}")


def _names_nodes(reader: Reader) -> bool:
    """Whether the end of a session has a record: without one, a digest at most follows, which two paths are not.

    Apache's servers with closeSessionTxn.enabled=false write such.
    """
    if reader.remaining != _DIGEST.size:
        return reader.remaining > 0
    version = reader.i32()
    reader.offset -= _INT_SIZE
    return version != DIGEST_VERSION


def _read_create(reader: Reader, type_: int) -> CreateTxn:
    path, data, acls = _path(reader), reader.buffer(), read_acls(reader) or ()
    if type_ in (_CREATE, _CREATE2):
        ephemeral = reader.flag()
        # Logs of before 3.4 end here; a digest is longer than what would be missing.
        return CreateTxn(path, data, acls, ephemeral, reader.i32() if reader.remaining else NEXT_CVERSION)
    return CreateTxn(path, data, acls, False, reader.i32(), reader.i64() if type_ == _TTL else 0)


def _read_multi(reader: Reader) -> MultiTxn:
    txns = []
    for _ in range(_count(reader, 2 * _INT_SIZE)):
        type_, body = reader.i32(), reader.buffer()
        # Nesting has no meaning, and would let a few bytes ask for endless work.
        if body is None or type_ == OpCode.MULTI:
            raise WireError(f"a multi with a part of type {type_} {'without a body' if body is None else ''}")
        txns.append((type_, decode_sub_txn(type_, body, reader.length_max)))
    return MultiTxn(txns)


def read_paths(reader: Reader) -> tuple[str, ...]:
    """A vector of paths."""
    return tuple([_path(reader) for _ in range(_count(reader, _INT_SIZE))])


def _deletable(path: str) -> str:
    if path in UNDELETABLE:
        raise WireError(f"a transaction that deletes {path}")
    return path


def _count(reader: Reader, item_bytes_min: int) -> int:
    count = reader.i32()
    if count * item_bytes_min > reader.remaining:
        raise WireError(f"{count} items, {reader.remaining} bytes left")
    return count


def _path(reader: Reader) -> str:
    path = reader.string()
    if path is None or not path.startswith("/"):
        raise WireError(f"a transaction with the path {path!r}")
    return path
