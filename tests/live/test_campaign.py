"""Short durability campaigns: all ours, and mixed with Apache's either way. ZKTW_CAMPAIGN_S and ZKTW_SEED for longer.

The long ones run by hand, see campaign.py.
"""

import os
from collections.abc import Sequence

import pytest
from campaign import Campaign, campaign, proportions
from ensemble import missing

SECONDS = float(os.environ.get("ZKTW_CAMPAIGN_S", "25"))
SEED = int(os.environ.get("ZKTW_SEED", "1"))
ATTEMPTS = 4
MIXED = pytest.mark.skipif(missing("apache38") is not None, reason=str(missing("apache38")))


@pytest.mark.live
@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(("zktw", "zktw", "zktw"), id="ours"),
        pytest.param(("zktw", "apache38", "zktw"), id="two-of-ours", marks=MIXED),
        pytest.param(("apache38", "zktw", "apache38"), id="one-of-ours", marks=MIXED),
    ],
)
def test_nothing_is_lost_under_fault(kinds: Sequence[str]) -> None:
    run = sound_campaign(kinds)
    figures = run.figures()
    assert not run.story.findings
    assert sum(run.story.faults.values()) >= SECONDS / 20
    assert figures["writes"] > SECONDS
    assert figures["reads"] > SECONDS


def sound_campaign(kinds: Sequence[str]) -> Campaign:
    """One that tells something of ours: where 3.8.0 went on without its log (ZOOKEEPER-4409), it may lose writes."""
    for attempt in range(ATTEMPTS):
        run = campaign(kinds, SECONDS, SEED + attempt)
        print(run.summary())
        if not (run.story.findings and run.lost_threads):
            return run
    pytest.fail(f"a server of Apache's went on without its log in each of {ATTEMPTS} campaigns: {run.lost_threads}")


def test_every_proportion_is_tried() -> None:
    kinds = {tuple(sorted(mixture)) for mixture in proportions()}
    assert len(kinds) == len(proportions()) == 5 + 14
    assert all("zktw" in mixture and len(set(mixture)) > 1 for mixture in kinds)
