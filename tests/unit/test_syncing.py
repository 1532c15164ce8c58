"""How a learner is brought up to date, row by row of what there is (wire document, e.5)."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zktw.terms.codes import PacketType
from zktw.terms.zxid import counter_of, make_zxid
from zktw.zab.committedlog import CommittedLog, Entry
from zktw.zab.syncing import Plan, plan_along, plan_from_log, plan_from_memory


def z(text: str) -> int:
    """A zxid from epoch.counter."""
    epoch, _, counter = text.partition(".")
    return make_zxid(int(epoch), int(counter))


def entries(*zxids: str) -> list[Entry]:
    return [(z(text), text.encode()) for text in zxids]


def ring(*zxids: str, last: str = "") -> CommittedLog:
    """These, after an older one that is not in memory any more; the tree may be at the start of an epoch behind."""
    committed = CommittedLog(z("1.1"))
    for entry in entries(*zxids):
        committed.append(*entry)
    if last:
        committed.begin_epoch(z(last))
    return committed


def diff(last: str, *zxids: str) -> Plan:
    return Plan(PacketType.DIFF, z(last), entries(*zxids))


def trunc(last: str, *zxids: str) -> Plan:
    return Plan(PacketType.TRUNC, z(last), entries(*zxids))


def snap(last: str) -> Plan:
    return Plan(PacketType.SNAP, z(last), [])


RING = ("1.5", "1.6", "1.9", "3.1", "3.2")


@pytest.mark.parametrize(
    ("held", "last", "plan"),
    [
        ("3.2", "", diff("3.2")),
        ("4.0", "4.0", diff("4.0")),
        # Behind all that we have: cut off, unless it is the start of an epoch, which cannot be.
        ("3.3", "", trunc("3.2")),
        ("4.1", "4.0", trunc("3.2")),
        ("4.0", "", snap("3.2")),
        ("5.0", "4.0", snap("4.0")),
        # All transactions, but not the start of the epoch behind them.
        ("3.2", "4.0", diff("4.0")),
        ("4.0", "5.0", diff("5.0")),
        # Within memory.
        ("3.1", "", diff("3.2", "3.2")),
        ("1.5", "", diff("3.2", "1.6", "1.9", "3.1", "3.2")),
        ("1.5", "4.0", diff("4.0", "1.6", "1.9", "3.1", "3.2")),
        # A transaction that we never had, in an epoch that went on here: back to the one before.
        ("1.7", "", trunc("1.6", "1.9", "3.1", "3.2")),
        # One where that epoch did not go on: a cut would go back behind an epoch's start.
        ("1.10", "", snap("3.2")),
        ("2.1", "", snap("3.2")),
        ("3.3", "4.0", snap("4.0")),
        # The start of an epoch within memory: it held all before.
        ("2.0", "", diff("3.2", "3.1", "3.2")),
        ("3.0", "", diff("3.2", "3.1", "3.2")),
        # Before memory: the log is asked.
        ("1.4", "", None),
        ("1.0", "", None),
        ("0.0", "", None),
    ],
)
def test_from_memory(held: str, last: str, plan: Plan | None) -> None:
    assert plan_from_memory(ring(*RING, last=last), z(held)) == plan


@pytest.mark.parametrize(
    ("held", "plan"),
    [("1.1", diff("1.1")), ("1.2", trunc("1.1")), ("2.0", snap("1.1")), ("1.0", None), ("0.7", None)],
)
def test_from_a_memory_that_is_empty(held: str, plan: Plan | None) -> None:
    assert plan_from_memory(CommittedLog(z("1.1")), z(held)) == plan


def test_from_an_empty_memory_behind_the_start_of_an_epoch() -> None:
    committed = CommittedLog(z("1.1"))
    committed.begin_epoch(z("2.0"))
    assert plan_from_memory(committed, z("1.1")) == diff("2.0")
    assert plan_from_memory(committed, z("1.2")) is None


@dataclass
class Found:
    """What was read of a log."""

    held: bool
    previous: int
    entries: list[Entry] = field(default_factory=list)


@pytest.mark.parametrize(
    ("held", "previous", "behind", "plan"),
    [
        ("1.2", "1.2", ("1.3", "2.1"), diff("9.9", "1.3", "2.1")),
        ("1.2", "1.2", (), diff("9.9")),
        # Not in it: only a cut within one epoch, and to something that is there.
        ("1.4", "1.2", ("1.5", "2.1"), trunc("1.2", "1.5", "2.1")),
        ("1.4", "1.2", ("2.1",), None),
        ("1.4", "1.2", (), None),
        ("1.4", "", ("1.5",), None),
        ("2.0", "1.2", ("2.1", "2.2"), diff("9.9", "2.1", "2.2")),
        ("2.0", "1.2", ("3.1",), diff("9.9", "3.1")),
    ],
)
def test_from_the_log(held: str, previous: str, behind: tuple[str, ...], plan: Plan | None) -> None:
    tail = Found(held == previous, z(previous) if previous else -1, entries(*behind))
    assert plan_from_log(tail, z(held), z("9.9")) == plan


@st.composite
def histories(draw: st.DrawFn) -> list[int]:
    """Zxids of a leader's history: epochs in order, numbers maybe left out."""
    found = []
    for epoch in sorted(draw(st.sets(st.integers(1, 4), min_size=1))):
        found += [make_zxid(epoch, counter) for counter in sorted(draw(st.sets(st.integers(1, 6), max_size=4)))]
    return found


@settings(deadline=None)
@given(history=histories(), epoch=st.integers(1, 5), counter=st.integers(0, 7))
def test_a_learner_ends_with_the_leaders_history_and_no_other(history: list[int], epoch: int, counter: int) -> None:
    """Whatever it held that the leader has not is cut off; all that it lacks is sent, once."""
    held = make_zxid(epoch, counter)
    leaders = [(zxid, b"") for zxid in history]
    plan = plan_along(leaders, held, history[-1] if history else 0)
    if plan is None:
        assert held not in history
        return
    known = [zxid for zxid in history if zxid < held]
    if held in history:
        known.append(held)
    if plan.op == PacketType.TRUNC:
        assert plan.zxid == known[-1] < held
    else:
        assert held in history or not counter_of(held)
    assert known + [zxid for zxid, _ in plan.txns] == history
