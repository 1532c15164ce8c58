"""What a learner forwards is whole: a leader of Apache's stops serving for ever at the first write it cannot read.

Its record is read there before the request has a place in the order, so nobody is told that it failed, and all that is
behind it waits. What our own leader would answer to such requests is answered here, in their turn.
"""

import struct

from zktw.pipeline.request import Request
from zktw.terms.codes import CreateMode, ErrorCode, OpCode
from zktw.terms.errors import WireError
from zktw.tree.quota import may_stand
from zktw.wire.client import (
    BODY,
    CreateRequest,
    NullListError,
    PathVersion,
    SetDataRequest,
    read_create,
    read_multi,
    read_path_version,
    read_set_acl,
    read_set_data,
)
from zktw.wire.jute import Reader

_TTL_MODES = (CreateMode.PERSISTENT_WITH_TTL, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL)


def refusal_of(request: Request, length_max: int) -> ErrorCode:
    """OK for what may be forwarded."""
    reader = Reader(request.frame, length_max)
    reader.offset = BODY
    try:
        return _read(request.op, reader)
    except (WireError, NullListError, struct.error, IndexError):
        return ErrorCode.MARSHALLING_ERROR


def _read(op: int, reader: Reader) -> ErrorCode:
    match op:
        case OpCode.SET_DATA:
            return _judge(read_set_data(reader))
        case OpCode.CREATE | OpCode.CREATE2 | OpCode.CREATE_CONTAINER:
            return _judge(read_create(reader, op))
        case OpCode.CREATE_TTL:
            asked = read_create(reader, op)
            # Without a time to live it ends every Apache server that applies it.
            return _judge(asked) if asked.flags in _TTL_MODES else ErrorCode.BAD_ARGUMENTS
        case OpCode.DELETE:
            read_path_version(reader)
        case OpCode.SET_ACL:
            read_set_acl(reader)
        case OpCode.MULTI:
            parts = [part for _, part in read_multi(reader, strict=True) if not isinstance(part, PathVersion)]
            if any(_judge(part) for part in parts):
                return ErrorCode.MARSHALLING_ERROR
        case OpCode.RECONFIG:
            for _ in range(3):
                reader.string()
            reader.i64()
    return ErrorCode.OK


def _judge(asked: CreateRequest | SetDataRequest) -> ErrorCode:
    path = asked.path
    return ErrorCode.OK if path is None or may_stand(path, asked.data) else ErrorCode.BAD_ARGUMENTS
