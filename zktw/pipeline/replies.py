"""Replies to writes: what a request is told once its transaction has been applied (wire document, b.4 and b.6)."""

import struct

from zktw.pipeline.request import Waiting
from zktw.terms.codes import OpCode
from zktw.tree.applied import Applied
from zktw.tree.node import STAT_BYTES, data_of
from zktw.wire.client import BODY, MULTI_END, MULTI_HEADER, encode_reply, read_multi
from zktw.wire.jute import Reader

_INT = struct.Struct(">i")
_MULTI_LENGTH_MAX = 2**31 - 1
_WITH_STAT = frozenset({OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL})
_STAT_ONLY = frozenset({OpCode.SET_DATA, OpCode.SET_ACL})


def reply_to(request: Waiting, applied: Applied, zxid: int) -> bytes:
    """The reply to a write; zxid is the last one that was applied."""
    op = request.op
    if applied.err:
        return encode_reply(request.cxid, zxid, applied.err)
    if op in _STAT_ONLY:
        assert applied.record is not None
        return encode_reply(request.cxid, zxid, 0, applied.record[-STAT_BYTES:])
    if op == OpCode.RECONFIG:
        assert applied.record is not None
        data, stat = data_of(applied.record) or b"", applied.record[-STAT_BYTES:]
        return encode_reply(request.cxid, zxid, 0, _INT.pack(len(data)) + data + stat)
    if op == OpCode.MULTI:
        return encode_reply(request.cxid, zxid, 0, _multi_body(request, applied))
    return encode_reply(request.cxid, zxid, 0, _created(op, applied))


def _created(op: int, applied: Applied) -> bytes:
    """The path of a new node, with its Stat where the request is of a kind that wants it; else nothing."""
    if op != OpCode.CREATE and op not in _WITH_STAT:
        return b""
    raw = applied.path.encode("utf-8")
    body = _INT.pack(len(raw)) + raw
    if op in _WITH_STAT:
        assert applied.record is not None
        body += applied.record[-STAT_BYTES:]
    return body


def _multi_body(request: Waiting, applied: Applied) -> bytes:
    if any(part.type == OpCode.ERROR for part in applied.parts):
        pieces = [MULTI_HEADER.pack(OpCode.ERROR, False, part.err) + _INT.pack(part.err) for part in applied.parts]
        return b"".join(pieces) + MULTI_END
    reader = Reader(request.frame, _MULTI_LENGTH_MAX)
    reader.offset = BODY
    pieces = []
    # The request knows what the log does not: whether a create wants its Stat.
    for (op, _), part in zip(read_multi(reader), applied.parts, strict=True):
        if op == OpCode.SET_DATA:
            assert part.record is not None
            body = part.record[-STAT_BYTES:]
        else:
            body = _created(op, part)
        pieces.append(MULTI_HEADER.pack(OpCode.CREATE2 if op in _WITH_STAT else op, False, 0) + body)
    return b"".join(pieces) + MULTI_END
