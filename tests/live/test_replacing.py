"""Apache's servers replaced by ours one by one under load, and back; and that the ledger would notice what must not be.

ZKTW_SEED sets the seed. All mixes, orders and sizes by hand: replacing.py.
"""

import os

import pytest
from ensemble import missing
from kills import Violation
from replacing import Ledger, campaign

SESSION = 0x100000000000007
SEED = int(os.environ.get("ZKTW_SEED", "1"))
LIVE = (pytest.mark.live, pytest.mark.skipif(missing("apache38") is not None, reason=str(missing("apache38"))))


def ledger() -> Ledger:
    """Three writes of which two are acknowledged, three creations asked for of which two are."""
    made = Ledger("/made/1", SESSION)
    for now in (1.0, 1.5):
        made.sent += 1
        made.wrote(now)
    made.sent += 1
    made.asked |= {"000000", "000001", "000002"}
    made.created("000000", 4.0)
    made.created("000001", 4.1)
    return made


@pytest.mark.parametrize("value", [2, 3])
@pytest.mark.parametrize("children", [{"000000", "000001"}, {"000000", "000001", "000002"}])
def test_what_is_under_way_may_have_taken_place_or_not(value: int, children: set[str]) -> None:
    ledger().audit(value, children, SESSION)


@pytest.mark.parametrize(
    ("value", "children", "owner", "named"),
    [
        (1, {"000000", "000001"}, SESSION, "went back from 2 to 1"),
        (4, {"000000", "000001"}, SESSION, "only 3 were ever written"),
        (2, {"000000"}, SESSION, "1 acknowledged creations lost, such as 000001"),
        (2, {"000000", "000001", "000003"}, SESSION, "000003 was never asked for"),
        (2, {"000000", "000001"}, 0, "belongs to 0x0"),
        (2, {"000000", "000001"}, SESSION + 1, "belongs to 0x100000000000008"),
    ],
)
def test_a_broken_promise_is_named(value: int, children: set[str], owner: int, named: str) -> None:
    with pytest.raises(Violation, match=named):
        ledger().audit(value, children, owner)


def test_reads_of_another_session_never_go_back() -> None:
    made = ledger()
    for value in (5, 5, 9):
        made.read("/made/2", value)
    with pytest.raises(Violation, match="went back from 9 to 8"):
        made.read("/made/2", 8)


@pytest.mark.parametrize(
    ("began", "ended", "pause"),
    [(0.5, 1.2, 0.5), (1.6, 2.0, 2.5), (1.2, 3.0, 2.5), (4.05, 5.0, 0.1), (5.0, 9.0, 4.0)],
)
def test_the_longest_pause_of_a_window(began: float, ended: float, pause: float) -> None:
    assert ledger().pause(began, ended) == pytest.approx(pause)


@pytest.mark.parametrize("order", ["leader-last", "leader-first"])
@pytest.mark.parametrize("kind", [pytest.param("apache38", marks=LIVE)])
def test_replaced_one_by_one_and_back(kind: str, order: str) -> None:
    outcome = campaign(kind, "zktw", order=order, seed=SEED, clients=4)
    assert len(outcome.steps) == 6
    assert outcome.writes > 200
    assert outcome.reads > 100
