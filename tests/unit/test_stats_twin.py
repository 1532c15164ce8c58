"""Summary beside a twin that keeps everything and reckons with fractions."""

from collections import deque
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zktw.admin.stats
from zktw.admin.stats import Summary

WINDOW = 8
FRACTIONS = (0.0, 0.125, 0.25, 0.5, 0.75, 0.9375, 1.0)


class Twin:
    """All values, and the newest of them apart."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self.newest: deque[int] = deque(maxlen=WINDOW)

    def add(self, value: int) -> None:
        self.values.append(value)
        self.newest.append(value)

    def average(self) -> Fraction:
        """To four digits, halves upwards."""
        mean = Fraction(sum(self.values), len(self.values))
        return Fraction(floor(mean * 10_000 + Fraction(1, 2)), 10_000)

    def percentile(self, fraction: float) -> int:
        """Between the two neighbours of place p * (n + 1), counted from 1, in proportion; halves upwards."""
        ordered = sorted(self.newest)
        place = Fraction(fraction) * (len(ordered) + 1)
        # A twin of each end stands beyond it, so that no place lies outside.
        padded = [ordered[0], *ordered, ordered[-1]]
        below = min(floor(place), len(ordered))
        return floor(padded[below] + (place - below) * (padded[below + 1] - padded[below]) + Fraction(1, 2))


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=4 * WINDOW))
def test_it_says_what_its_twin_says(values: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zktw.admin.stats, "SUMMARY_RECENT_MAX", WINDOW)
        summary, twin = Summary(), Twin()
        # Whatever was asked in between does not show in what is said later.
        for value in values:
            summary.add(value)
            twin.add(value)
            assert [summary.percentile(fraction) for fraction in FRACTIONS] == [
                twin.percentile(fraction) for fraction in FRACTIONS
            ]
            assert (summary.count, summary.total) == (len(twin.values), sum(twin.values))
            assert (summary.smallest, summary.largest) == (min(twin.values), max(twin.values))
            assert abs(summary.average - float(twin.average())) < 1e-9
