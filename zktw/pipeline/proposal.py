"""Proposal: a transaction in its place; and the refusals on the way to it."""

from dataclasses import dataclass

from zktw.terms.codes import ErrorCode, OpCode
from zktw.terms.errors import ZkError
from zktw.tree.node import wrap32
from zktw.tree.prepared import PreparedCreate
from zktw.wire.txn import ErrorTxn, Txn, TxnHeader

ANY_VERSION = -1


class NullFieldError(Exception):
    """A null path, or a null id in a list: it is found out after the checks that come before it."""


@dataclass(slots=True)
class Proposal:
    """A transaction in its place, and its bytes: those of the log, and of every follower."""

    header: TxnHeader
    txn: Txn
    payload: bytes
    prepared: PreparedCreate | None = None


def refuse(header: TxnHeader, code: ErrorCode) -> ErrorTxn:
    """An error in the place that the header has."""
    header.type = OpCode.ERROR
    return ErrorTxn(code)


def next_version(current: int, expected: int) -> int:
    """The version after this one, if it is the one that was expected."""
    if expected not in (ANY_VERSION, current):
        raise ZkError(ErrorCode.BAD_VERSION)
    return wrap32(current + 1)
