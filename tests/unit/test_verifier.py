"""Quorums against a slow twin that counts as the definition reads."""

from collections.abc import Collection, Mapping
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zktw.quorum.ensemble import Ensemble
from zktw.quorum.verifier import QuorumHierarchical, QuorumMaj

SIDS = st.integers(0, 12)


def slow_majority(voters: Collection[int], acks: Collection[int]) -> bool:
    """More than half of the voters are among acks."""
    return Fraction(len(set(voters) & set(acks)), len(voters)) > Fraction(1, 2)


def slow_hierarchical(groups: Mapping[int, Collection[int]], weights: Mapping[int, int], acks: Collection[int]) -> bool:
    """More than half of the groups that weigh anything give more than half of their weight."""
    heavy = [group for group in groups.values() if any(weights[sid] for sid in group)]
    won = [
        group
        for group in heavy
        if Fraction(sum(weights[sid] for sid in group if sid in acks), sum(weights[sid] for sid in group))
        > Fraction(1, 2)
    ]
    return bool(heavy) and Fraction(len(won), len(heavy)) > Fraction(1, 2)


@st.composite
def hierarchies(draw: st.DrawFn) -> tuple[dict[int, tuple[int, ...]], dict[int, int]]:
    """Groups that share no server, and a weight for each server, 0 included."""
    sids = draw(st.lists(SIDS, min_size=1, max_size=9, unique=True))
    home = {sid: draw(st.integers(1, 4)) for sid in sids}
    groups = {group: tuple(sid for sid in sids if home[sid] == group) for group in sorted(set(home.values()))}
    return groups, {sid: draw(st.integers(0, 4)) for sid in sids}


@given(st.lists(SIDS, min_size=1, max_size=9, unique=True), st.lists(SIDS, unique=True))
def test_majority_is_that_of_the_twin(voters: list[int], acks: list[int]) -> None:
    verifier = QuorumMaj(tuple(sorted(voters)))
    assert verifier.contains_quorum(acks) == slow_majority(voters, acks)


@given(hierarchies(), st.lists(SIDS, unique=True))
def test_hierarchical_is_that_of_the_twin(
    hierarchy: tuple[dict[int, tuple[int, ...]], dict[int, int]], acks: list[int]
) -> None:
    groups, weights = hierarchy
    verifier = QuorumHierarchical(tuple(sorted(weights)), groups, weights)
    assert verifier.contains_quorum(acks) == slow_hierarchical(groups, weights, acks)


@given(hierarchies())
def test_any_two_quorums_share_a_server_with_weight(
    hierarchy: tuple[dict[int, tuple[int, ...]], dict[int, int]],
) -> None:
    groups, weights = hierarchy
    voters = tuple(sorted(weights))
    verifier = QuorumHierarchical(voters, groups, weights)
    for size in range(len(voters) + 1):
        for acks in combinations(voters, size):
            rest = [sid for sid in voters if sid not in acks or verifier.weight(sid) == 0]
            assert not (verifier.contains_quorum(acks) and verifier.contains_quorum(rest))


@given(hierarchies(), st.lists(SIDS, unique=True), SIDS)
def test_one_more_ack_never_loses_a_quorum(
    hierarchy: tuple[dict[int, tuple[int, ...]], dict[int, int]], acks: list[int], more: int
) -> None:
    groups, weights = hierarchy
    verifier = QuorumHierarchical(tuple(sorted(weights)), groups, weights)
    assert verifier.contains_quorum([*acks, more]) or not verifier.contains_quorum(acks)


@pytest.mark.parametrize(
    ("voters", "least"), [((1,), 1), ((1, 2), 2), ((1, 2, 3), 2), ((1, 2, 3, 4), 3), ((1, 2, 3, 4, 5), 3)]
)
def test_the_least_majority(voters: tuple[int, ...], least: int) -> None:
    verifier = QuorumMaj(voters)
    assert verifier.contains_quorum(voters[:least])
    assert not verifier.contains_quorum(voters[: least - 1])


def test_observers_and_strangers_never_count() -> None:
    ensemble = Ensemble.from_text(
        "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:observer\nversion=0"
    )
    verifier = ensemble.verifier()
    assert verifier.voters == (1, 2)
    assert not verifier.contains_quorum([1, 3, 99])
    assert verifier.contains_quorum([1, 2])


def test_an_observer_in_a_group_has_no_weight_in_it() -> None:
    ensemble = Ensemble.from_text(
        "server.1=a:1:2:participant\nserver.2=b:1:2:observer\nserver.3=c:1:2:observer\ngroup.1=1:2:3\nversion=0"
    )
    verifier = ensemble.verifier()
    assert verifier.contains_quorum([1])
    assert not verifier.contains_quorum([2, 3])
    assert verifier.weight(2) == 0


def test_nothing_is_a_quorum_where_nobody_weighs() -> None:
    verifier = QuorumHierarchical((1, 2), {1: (1, 2)}, {1: 0, 2: 0})
    assert not verifier.contains_quorum([1, 2])


def test_a_weight_is_one_where_none_is_given() -> None:
    verifier = QuorumHierarchical((1, 2, 3), {1: (1, 2, 3)}, {1: 0})
    assert [verifier.weight(sid) for sid in (1, 2, 3, 4)] == [0, 1, 1, 0]
