"""What brings a learner to the leader's history: DIFF, TRUNC, TRUNC and DIFF, or SNAP (wire document, e.5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from zktw.terms.codes import PacketType
from zktw.terms.zxid import counter_of, epoch_of
from zktw.zab.committedlog import CommittedLog, Entry


@dataclass(frozen=True, slots=True)
class Plan:
    """The first packet, and its zxid; the transactions that follow it. Of SNAP the tree takes their place."""

    op: PacketType
    zxid: int
    txns: list[Entry]


class Tail(Protocol):
    """What was read from our log behind a zxid."""

    # Whether that zxid is in it itself; the last one that is, at or before it.
    held: bool
    previous: int
    entries: list[Entry]


def plan_from_memory(committed: CommittedLog, held: int) -> Plan | None:
    """How a learner whose history ends at `held` is brought up to date from memory; None: the log must be asked."""
    last = committed.last
    if held == last:
        return Plan(PacketType.DIFF, held, [])
    if held > last:
        # The start of an epoch is no transaction: it can neither be cut off nor be what is cut behind. Apache's
        # learners keep the first transaction that is not before the zxid they are told.
        return Plan(PacketType.TRUNC, committed.last_txn, []) if counter_of(held) else Plan(PacketType.SNAP, last, [])
    if held == committed.last_txn or (held > committed.last_txn and not counter_of(held)):
        return Plan(PacketType.DIFF, last, [])
    if held < committed.first or not len(committed):
        return None
    return plan_along(committed, held, last) or Plan(PacketType.SNAP, last, [])


def plan_from_log(tail: Tail, held: int, last: int) -> Plan | None:
    """The same with a part of the log that begins before `held`, which is older than all in memory."""
    if tail.held:
        return Plan(PacketType.DIFF, last, tail.entries)
    return _begin_between(tail.previous, tail.entries, held, last)


def plan_along(entries: Iterable[Entry], held: int, last: int) -> Plan | None:
    """Along transactions of which the first is not behind `held`; None where only the whole tree will do."""
    previous = -1
    txns: list[Entry] = []
    found = False
    for entry in entries:
        zxid = entry[0]
        if zxid > held:
            txns.append(entry)
        elif zxid == held:
            found = True
        else:
            previous = zxid
    return Plan(PacketType.DIFF, last, txns) if found else _begin_between(previous, txns, held, last)


def _begin_between(previous: int, txns: list[Entry], held: int, last: int) -> Plan | None:
    if not counter_of(held):
        # It held all before that epoch when the epoch began.
        return Plan(PacketType.DIFF, last, txns)
    if not txns or previous < 0 or epoch_of(txns[0][0]) != epoch_of(held):
        # A cut across the start of an epoch may go back behind what was committed there.
        return None
    return Plan(PacketType.TRUNC, previous, txns)
