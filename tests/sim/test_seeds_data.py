"""A server alone under faults: no invariant breaks, all kinds of faults come, and a seed is the same run each time."""

import pytest
from seeded import assert_whole, told_twice

from zktw.sim.data_faults import DataFaults
from zktw.sim.data_run import DataOutcome, DataShape, data_shape_of, run_data_seed

# In CI; more by `zktw sim --standalone --seeds A..B`.
SEEDS = range(1, 101)
BLOCK = 20


@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, BLOCK))
def test_invariants_hold(first: int) -> None:
    total = DataOutcome(0)
    for seed in range(first, first + BLOCK):
        outcome = run_data_seed(seed, data_shape_of(seed))
        assert_whole(outcome, f"--standalone --seed {seed}")
        assert outcome.restarts > 1
        total.add(outcome)
    kinds = {kind.removesuffix("_every_ms") for kind in DataFaults.__slots__} - {"loss"}
    assert kinds <= total.faults.keys()
    # A power cut in the middle of a write is what most of this is about.
    assert total.faults["died at pwrite"] > 0
    assert total.txns > 3000
    assert total.replies > 5000
    assert total.events > 200
    assert total.clean_stops > BLOCK


@pytest.mark.parametrize("seed", range(1, 7))
def test_a_calm_server_answers_all_and_starts_twice(seed: int) -> None:
    """The second start is that of the supervisor, after the stop that ends each run."""
    outcome = run_data_seed(seed, data_shape_of(seed, 5000, DataFaults.none()))
    assert not outcome.violation, outcome.violation
    assert (outcome.restarts, outcome.clean_stops) == (2, 1)
    assert outcome.txns > 100
    assert outcome.healed_ms < 1000


@pytest.mark.parametrize("lines", [("forceSync=yes", "digest.enabled=false"), ("closeSessionTxn.enabled=false",)])
def test_other_configurations_hold_too(lines: tuple[str, ...]) -> None:
    for seed in range(1, 6):
        outcome = run_data_seed(seed, DataShape(lines=("snapCount=40", *lines)))
        assert not outcome.violation, outcome.violation


def test_a_log_that_is_not_synced_is_found_out() -> None:
    """forceSync=no gives up what all this checks."""
    assert "durable" in run_data_seed(1, DataShape(lines=("forceSync=no",))).violation


def test_a_seed_is_the_same_run_under_any_hash_seed() -> None:
    told = told_twice("--standalone", "--seed", "8")
    assert told[0] == told[1]
    assert "trace " in told[0]
    assert run_data_seed(8, data_shape_of(8)).fingerprint != run_data_seed(9, data_shape_of(9)).fingerprint
