"""Ensembles with clients under faults: no invariant breaks, all kinds come, and a seed is the same run each time."""

import pytest
from seeded import assert_whole, told_twice

from zktw.sim.ensemble_faults import EnsembleFaults
from zktw.sim.ensemble_run import EnsembleOutcome, ensemble_shape_of, run_ensemble_seed

# In CI; more by `zktw sim --replicated --seeds A..B`.
SEEDS = range(1, 61)
BLOCK = 20


@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, BLOCK))
def test_invariants_hold(first: int) -> None:
    total = EnsembleOutcome(0)
    for seed in range(first, first + BLOCK):
        outcome = run_ensemble_seed(seed, ensemble_shape_of(seed))
        assert_whole(outcome, f"--replicated --seed {seed}")
        total.add(outcome)
    # A cut (TRUNC) never goes back behind the start of an epoch, so few seeds have one.
    assert {"DIFF", "SNAP"} <= total.syncs.keys()
    assert {"crash", "stop", "pause", "partition", "diverge", "all_at_once", "client_moves"} <= total.faults.keys()
    assert total.epochs > 2 * BLOCK
    assert total.txns > 50 * BLOCK
    assert total.replies > total.txns
    assert total.databases > 5 * BLOCK


@pytest.mark.parametrize("seed", range(1, 5))
def test_where_nothing_fails_no_session_ends_and_nobody_is_elected_anew(seed: int) -> None:
    outcome = run_ensemble_seed(seed, ensemble_shape_of(seed, 5000, EnsembleFaults.none()))
    assert not outcome.violation, outcome.violation
    assert (outcome.expired, outcome.epochs) == (0, 1)
    assert outcome.txns > 150
    assert outcome.healed_ms < 1000


def test_a_seed_is_the_same_run_under_any_hash_seed() -> None:
    told = told_twice("--replicated", "--seed", "3", "--seconds", "4")
    assert told[0] == told[1]
    assert "trace " in told[0]
