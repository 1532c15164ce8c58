"""Summary and ServerStats: what mntr's figures are made of."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.admin.figures import ADVANCED, ADVANCED_SETS, BASIC, BASIC_SETS, COUNTERS
from zktw.admin.stats import ServerStats, Summary
from zktw.terms.limits import SUMMARY_RECENT_MAX


def summary_of(*values: int) -> Summary:
    summary = Summary()
    for value in values:
        summary.add(value)
    return summary


def test_nothing_is_0() -> None:
    summary = Summary()
    assert (summary.count, summary.total, summary.smallest, summary.largest) == (0, 0, 0, 0)
    assert summary.average == 0.0
    assert summary.percentile(0.5) == 0


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=200))
def test_it_is_what_it_says(values: list[int]) -> None:
    summary = summary_of(*values)
    assert (summary.count, summary.total) == (len(values), sum(values))
    assert (summary.smallest, summary.largest) == (min(values), max(values))
    assert summary.average == pytest.approx(statistics.fmean(values), abs=0.000051)


@pytest.mark.parametrize(
    ("values", "average"),
    [([1, 2], 1.5), ([1, 1, 2], 1.3333), ([1, 2, 2], 1.6667), ([0] * 31 + [1], 0.0313), ([7], 7.0)],
)
def test_a_mean_has_four_digits(values: list[int], average: float) -> None:
    assert summary_of(*values).average == average


@pytest.mark.parametrize(
    ("fraction", "value"), [(0.0, 1), (0.25, 25), (0.5, 51), (0.95, 96), (0.99, 100), (0.999, 100), (1.0, 100)]
)
def test_percentiles_of_a_hundred(fraction: float, value: int) -> None:
    assert summary_of(*reversed(range(1, 101))).percentile(fraction) == value


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50), st.floats(0, 1), st.floats(0, 1))
def test_percentiles_grow_and_stay_within(values: list[int], one: float, other: float) -> None:
    summary = summary_of(*values)
    low, high = (summary.percentile(fraction) for fraction in sorted((one, other)))
    assert min(values) <= low <= high <= max(values)


def test_percentiles_tell_of_the_newest_and_extremes_of_all() -> None:
    summary = summary_of(1_000_000, *range(SUMMARY_RECENT_MAX))
    assert summary.largest == 1_000_000
    assert summary.percentile(1.0) == SUMMARY_RECENT_MAX - 1
    for _ in range(10 * SUMMARY_RECENT_MAX):
        summary.add(5)
    assert summary.percentile(0.0) == summary.percentile(1.0) == 5
    assert summary.smallest == 0


def test_names_are_there_once() -> None:
    names = [*COUNTERS, *BASIC, *ADVANCED, *BASIC_SETS, *ADVANCED_SETS]
    assert len(names) == len(dict.fromkeys(names))


def test_what_is_counted_is_counted_from_0_after_srst() -> None:
    stats = ServerStats()
    stats.count("snap_count")
    stats.count("response_bytes", 10)
    stats.add("election_time", 12)
    stats.add_for("learner_handler_qp_size", "3", 4)
    stats.received, stats.sent = 7, 8
    stats.latency.add(9)
    assert (stats.counters["snap_count"], stats.counters["response_bytes"]) == (1, 10)
    assert stats.summaries["election_time"].total == 12
    assert stats.sets["learner_handler_qp_size"]["3"].largest == 4
    stats.reset()
    assert not any(stats.counters.values())
    assert not any(summary.count for summary in stats.summaries.values())
    assert not any(stats.sets.values())
    assert (stats.received, stats.sent, stats.latency.count) == (0, 0, 0)


def test_a_name_that_mntr_does_not_know_is_a_slip() -> None:
    stats = ServerStats()
    with pytest.raises(KeyError):
        stats.count("snap_cuont")
    with pytest.raises(KeyError):
        stats.add("election_tmie", 1)
    with pytest.raises(KeyError):
        stats.add_for("election_time", "3", 1)
