"""Whole ensembles under faults: no invariant breaks, and after healing there is progress in bounded time."""

import pytest
from seeded import assert_whole, python, told_twice

from zktw.sim.faults import Faults
from zktw.sim.run import Shape, run_seed, shape_of

# In CI; more by `zktw sim --seeds A..B`.
SEEDS = range(1, 301)
BLOCK = 20


@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, BLOCK))
def test_invariants_hold(first: int) -> None:
    for seed in range(first, first + BLOCK):
        shape = shape_of(seed)
        outcome = run_seed(seed, shape)
        assert_whole(outcome, f"--seed {seed} {shape.options}")
        assert outcome.elections > 0, f"seed {seed} did no work worth checking"


def test_runs_see_every_kind_of_fault_and_many_elections() -> None:
    outcomes = [run_seed(seed, shape_of(seed)) for seed in range(1000, 1030)]
    kinds = sorted({kind for outcome in outcomes for kind in outcome.faults})
    expected = "ambush crash crash_point full_disk one_way partition pause reset slow_disk slow_link stop"
    assert kinds == expected.split()
    assert sum(outcome.elections for outcome in outcomes) > 300
    assert sum(outcome.epochs for outcome in outcomes) > 50
    assert sum(outcome.packets for outcome in outcomes) > 3000


def test_calm_ensembles_elect_once() -> None:
    """Without faults and with everybody there, one round of one election is enough."""
    for seed in range(1, 20):
        outcome = run_seed(seed, Shape(5, 1, chaos_ms=5000, faults=Faults.none()), with_story=True)
        assert not outcome.violation
        assert outcome.epochs == 1, "\n".join(outcome.story)


def test_hierarchical_quorums() -> None:
    for seed in range(1, 15):
        outcome = run_seed(seed, Shape(6, 1, hierarchical=True))
        assert not outcome.violation, outcome.violation


def test_a_seed_tells_the_same_story_under_any_hash_seed() -> None:
    stories = told_twice("--seed", "8")
    assert stories[0] == stories[1]
    assert stories[0].count("\n") > 100


def test_a_simulation_loads_no_reactor() -> None:
    program = (
        "import sys\nfrom zktw.sim.run import run_seed, shape_of\n"
        "assert not run_seed(3, shape_of(3)).violation\n"
        "sys.exit('twisted.internet.reactor' in sys.modules)"
    )
    run = python("-c", program)
    assert run.returncode == 0, run.stderr
