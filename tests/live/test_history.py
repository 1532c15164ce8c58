"""The checkers of the durability campaign find what hand-made histories hide, and nothing in good ones."""

import math

import pytest
from history import (
    CREATE,
    DELETE,
    FAIL,
    OK,
    READ,
    SYNC_READ,
    UNKNOWN,
    WRITE,
    Op,
    Register,
    Trouble,
    check_all,
    check_nodes,
    check_order,
    linearizable,
)

KEY = "/r/1"


def write(value: int, began: float, ended: float, version: int, *, expected: int = -1, old: int = 0) -> Op:
    """Acknowledged; its zxid is ten times its version."""
    return Op(WRITE, KEY, began, ended, OK, value, expected, old, version * 10, 0, version, version * 10)


def lost(value: int, began: float, *, expected: int = -1, old: int = 0) -> Op:
    """Never answered."""
    return Op(WRITE, KEY, began, math.inf, UNKNOWN, value, expected, old)


def refused(value: int, began: float, ended: float, expected: int, old: int) -> Op:
    """Its condition was said to be false."""
    return Op(WRITE, KEY, began, ended, FAIL, value, expected, old)


def read(value: int, began: float, ended: float, version: int, kind: str = SYNC_READ, **more: int) -> Op:
    """What was read was made by the write with ten times the version as zxid."""
    made = Op(kind, KEY, began, ended, OK, value, zxid=version * 10, version=version, mzxid=version * 10)
    for name, figure in more.items():
        setattr(made, name, figure)
    return made


GOOD = {
    "one after the other": [write(1, 0, 1, 1), read(1, 2, 3, 1), write(2, 4, 5, 2), read(2, 6, 7, 2)],
    "a read beside a write sees either": [write(1, 0, 9, 1), read(0, 1, 2, 0), read(1, 3, 4, 1)],
    "two writes beside one another": [write(1, 0, 9, 2), write(2, 0, 9, 1), read(1, 10, 11, 2)],
    "an unknown write comes late": [lost(1, 0), read(0, 5, 6, 0), read(1, 7, 8, 1)],
    "an unknown write never comes": [lost(1, 0), write(2, 1, 2, 1), read(2, 3, 4, 1)],
    "an unknown write came unread": [lost(7, 0), refused(9, 1, 2, 0, 0), write(2, 3, 4, 2), read(2, 5, 6, 2)],
    "an unknown write shows in a plain read": [
        lost(1, 0),
        read(1, 2, 3, 1, READ),
        write(2, 4, 5, 2, expected=1, old=1),
    ],
    "an unknown write shows in a condition": [lost(1, 0), write(2, 4, 5, 2, expected=1, old=1), read(2, 6, 7, 2)],
    "conditions": [
        write(1, 0, 1, 1, expected=0, old=0),
        refused(2, 2, 3, 0, 0),
        write(3, 4, 5, 2, expected=1, old=1),
    ],
    "refused beside the write that made it so": [write(1, 0, 5, 1), refused(2, 1, 2, 0, 0)],
}
NO_ORDER = {
    "a stale read": [write(1, 0, 1, 1), read(0, 2, 3, 0)],
    "back in time": [write(1, 0, 9, 1), read(1, 1, 2, 1), read(0, 3, 4, 0)],
    "a write lost": [write(1, 0, 1, 1), write(2, 2, 3, 2), read(1, 4, 5, 1)],
    "read before it was written": [read(1, 0, 1, 1), write(1, 2, 3, 1)],
    "an unknown write goes away again": [lost(1, 0), read(1, 1, 2, 1), read(0, 3, 4, 0)],
    "a condition that held was refused": [write(1, 0, 1, 1), refused(2, 2, 3, 1, 1), read(1, 4, 5, 1)],
    "two took the same turn": [write(1, 0, 9, 1, expected=0, old=0), write(2, 0, 9, 1, expected=0, old=0)],
    "three readers, no order": [
        write(1, 0, 20, 1),
        write(2, 0, 20, 2),
        read(1, 1, 2, 1),
        read(2, 3, 4, 2),
        read(1, 5, 6, 1),
    ],
}


def versions_fit(ops: list[Op]) -> list[str]:
    """What the checker of versions finds, without an end."""
    return Register(KEY, ops).check()[0]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_passes(name: str) -> None:
    assert linearizable(GOOD[name]) is None
    assert not versions_fit(GOOD[name])


@pytest.mark.parametrize("name", NO_ORDER)
def test_a_history_without_an_order_is_found(name: str) -> None:
    assert linearizable(NO_ORDER[name]) is not None


@pytest.mark.parametrize("name", [name for name in NO_ORDER if name not in ("a condition that held was refused",)])
def test_versions_and_times_find_the_same(name: str) -> None:
    history = NO_ORDER[name]
    if name in ("back in time", "an unknown write goes away again", "three readers, no order"):
        # These are seen as reads after a sync that miss a version.
        assert any("misses version" in finding for finding in versions_fit(history))
    else:
        assert versions_fit(history)


def test_a_refused_condition_needs_a_reason() -> None:
    history = [write(1, 0, 1, 1), refused(2, 2, 3, 1, 1)]
    assert "refused" in Register(KEY, history, (1, 10, 1)).check()[0][0]
    assert not Register(KEY, [*history, lost(3, 0)], (2, 20, 3)).check()[0]


def test_many_unknown_writes_do_not_explode() -> None:
    history = [lost(100 + n, n) for n in range(300)]
    history += [write(n + 1, 300 + n, 300.5 + n, n + 1) for n in range(300)]
    assert linearizable(history) is None
    assert linearizable([*history, read(0, 700, 701, 0)]) is not None


def test_zxids_respect_real_time_over_all_keys() -> None:
    early, late = write(1, 0, 1, 2), write(2, 2, 3, 1)
    late.key = "/r/2"
    assert "against real time" in check_order([early, late])[0]
    late.began = 0.5
    assert not check_order([early, late])


def test_one_zxid_is_one_multi() -> None:
    one, other = write(1, 0, 1, 1), write(2, 0, 1, 1)
    other.key = "/r/2"
    assert "one zxid" in check_order([one, other])[0]
    one.group = other.group = 5
    assert not check_order([one, other])


@pytest.mark.parametrize(
    ("ops", "final", "word"),
    [
        ([write(1, 0, 1, 1), write(2, 2, 3, 2)], (1, 10, 1), "lost"),
        ([write(1, 0, 1, 1), write(2, 2, 3, 1)], (1, 10, 1), "was both"),
        ([write(1, 0, 1, 1)], (2, 20, 1), "made versions"),
        ([write(1, 0, 1, 1), write(2, 4, 5, 3)], (3, 30, 2), "unknown origin"),
        ([write(1, 0, 1, 1)], (2, 20, 9), "nobody wrote"),
        ([refused(1, 0, 1, 5, 5)], (1, 10, 1), "failed"),
    ],
)
def test_the_end_is_held_against_the_history(ops: list[Op], final: tuple[int, int, int], word: str) -> None:
    assert any(word in finding for finding in Register(KEY, ops, final).check()[0])


def test_an_unknown_write_explains_a_version() -> None:
    ops = [write(1, 0, 1, 1), lost(9, 2), write(2, 4, 5, 3)]
    assert not Register(KEY, ops, (3, 30, 2)).check()[0]


def test_a_zxid_that_was_seen_brings_its_past() -> None:
    ops = [write(1, 0, 9, 1), read(0, 0, 8, 0, READ, before=15, zxid=15)]
    assert "missing from the past" in versions_fit(ops)[0]
    ops[1].before = 5
    assert not versions_fit(ops)


def test_a_cut_off_server_may_answer_a_sync_late_but_is_counted() -> None:
    ops = [write(1, 0, 1, 1), read(0, 2, 3, 0, server=2)]
    assert Register(KEY, ops).check([Trouble(frozenset({1}), 0, 9)])[0]
    findings, stale = Register(KEY, ops).check([Trouble(frozenset({2}), 0, 9)])
    assert not findings
    assert stale == [ops[1]]


def node(key: str, value: int, zxid: int, outcome: str = OK, session: int = 1) -> Op:
    return Op(CREATE, key, 0, 1, outcome, value, zxid=zxid, session=session)


def test_nodes_at_the_end() -> None:
    ops = [
        node("/s/n-0000000001", 1, 10),
        node("/s/n-0000000002", 2, 20),
        Op(DELETE, "/s/n-0000000002", 2, 3, OK),
        node("/e/1", 3, 30, session=7),
        node("/s/n-", 4, 0, UNKNOWN),
    ]
    there = {"/s/n-0000000001": (1, 0), "/s/n-0000000003": (4, 0), "/e/1": (3, 7)}
    assert not check_nodes(ops, there, [7])
    assert "ended" in check_nodes(ops, there, [])[0]
    assert "deleted" in check_nodes(ops, {**there, "/s/n-0000000002": (2, 0)}, [7])[0]
    assert "one create made" in check_nodes(ops, {**there, "/s/n-0000000005": (4, 0)}, [7])[0]
    assert "nobody created" in check_nodes(ops, {**there, "/s/n-0000000005": (5, 0)}, [7])[0]
    del there["/e/1"]
    assert "lost" in check_nodes(ops, there, [7])[0]
    assert not check_nodes(ops, there, [])
    del there["/s/n-0000000001"]
    assert "lost" in check_nodes(ops, there, [])[0]


def test_sequence_numbers_grow_with_zxids() -> None:
    ops = [node("/s/n-0000000001", 1, 20), node("/s/n-0000000002", 2, 10)]
    there = {op.key: (op.value, 0) for op in ops}
    assert "numbers against zxids" in check_nodes(ops, there)[0]


def test_a_whole_history() -> None:
    ops = [write(1, 0, 1, 1), read(1, 2, 3, 1), node("/s/n-0000000001", 5, 20)]
    there = {"/s/n-0000000001": (5, 0)}
    assert check_all(ops, {KEY: (1, 10, 1)}, there, []) == ([], 0)
    ops.insert(2, read(0, 4, 5, 0, server=3))
    assert check_all(ops, {KEY: (1, 10, 1)}, there, [], [Trouble(frozenset({3}), 0, 9)]) == ([], 1)
    assert check_all(ops, {KEY: (1, 10, 1)}, there, [])[0]
