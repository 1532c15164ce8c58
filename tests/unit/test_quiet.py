"""Quiet: one line for many."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from zktw.net.quiet import Quiet


def test_the_first_is_said_at_once_and_the_next_after_the_pause() -> None:
    quiet = Quiet(100)
    assert [quiet.due(now) for now in (0, 1, 50, 99.9, 100, 150, 199, 500)] == [1, 0, 0, 0, 4, 0, 0, 3]


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_none_is_forgotten_and_lines_keep_their_distance(times: list[float]) -> None:
    quiet = Quiet(100)
    times.sort()
    said = [(now, count) for now in times if (count := quiet.due(now))]
    assert all(later >= earlier + 100 for (earlier, _), (later, _) in pairwise(said))
    assert sum(count for _, count in said) + quiet.due(5000) == len(times) + 1
