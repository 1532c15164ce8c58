"""The ring of committed transactions: whole, bounded in number and bytes, and where it begins and ends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zktw.terms.zxid import make_zxid
from zktw.zab.committedlog import CommittedLog


def ring(count: int, **bounds: int) -> CommittedLog:
    """Transactions 1 to count of epoch 1, ten bytes each."""
    committed = CommittedLog(**bounds)
    for counter in range(1, count + 1):
        committed.append(make_zxid(1, counter), bytes(10))
    return committed


def test_an_empty_ring_begins_and_ends_where_the_tree_is() -> None:
    committed = CommittedLog(make_zxid(1, 7))
    assert (committed.first, committed.last, committed.last_txn, len(committed)) == (*[make_zxid(1, 7)] * 3, 0)


@pytest.mark.parametrize("count", [1, 3, 4, 100])
def test_the_oldest_goes_when_there_are_too_many(count: int) -> None:
    committed = ring(count, count_max=3)
    left = min(3, count)
    assert [zxid for zxid, _ in committed] == [make_zxid(1, n) for n in range(count - left + 1, count + 1)]
    assert committed.first == make_zxid(1, count - left + 1)
    assert committed.last == committed.last_txn == make_zxid(1, count)


def test_bytes_are_bounded_too_but_the_last_stays() -> None:
    committed = ring(9, bytes_max=25)
    assert len(committed) == 2
    committed.append(make_zxid(1, 10), bytes(1000))
    assert [zxid for zxid, _ in committed] == [make_zxid(1, 10)]
    # What it took is free again.
    for counter in (11, 12, 13):
        committed.append(make_zxid(1, counter), bytes(10))
    assert [zxid for zxid, _ in committed] == [make_zxid(1, 12), make_zxid(1, 13)]


def test_the_start_of_an_epoch_is_no_transaction() -> None:
    committed = ring(2)
    committed.begin_epoch(make_zxid(2, 0))
    assert (committed.last, committed.last_txn, len(committed)) == (make_zxid(2, 0), make_zxid(1, 2), 2)
    committed.append(make_zxid(2, 1), b"")
    assert committed.last == committed.last_txn == make_zxid(2, 1)


def test_another_history_leaves_nothing() -> None:
    committed = ring(3, bytes_max=30)
    committed.reset(make_zxid(4, 4))
    assert (committed.first, committed.last, committed.last_txn, len(committed)) == (*[make_zxid(4, 4)] * 3, 0)
    # Nor does what was there before count any more.
    for counter in (5, 6, 7):
        committed.append(make_zxid(4, counter), bytes(10))
    assert len(committed) == 3


@pytest.mark.parametrize(("last", "left"), [(make_zxid(1, 3), 3), (make_zxid(1, 9), 0)])
def test_a_snapshot_behind_the_log_leaves_nothing_of_it(last: int, left: int) -> None:
    committed = ring(3)
    committed.finish(last)
    assert (len(committed), committed.last) == (left, last)


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 50), max_size=60), count_max=st.integers(1, 9), bytes_max=st.integers(1, 200))
def test_it_is_always_the_end_of_what_was_committed(sizes: list[int], count_max: int, bytes_max: int) -> None:
    committed = CommittedLog(count_max=count_max, bytes_max=bytes_max)
    whole = [(make_zxid(1, at + 1), bytes(size)) for at, size in enumerate(sizes)]
    for entry in whole:
        committed.append(*entry)
    kept = list(committed)
    assert kept == whole[len(whole) - len(kept) :]
    assert len(kept) <= count_max
    assert sum(len(payload) for _, payload in kept) <= bytes_max or len(kept) == 1
    # And as much of it as there is room for.
    if len(kept) < min(count_max, len(whole)):
        assert sum(len(payload) for _, payload in whole[len(whole) - len(kept) - 1 :]) > bytes_max
