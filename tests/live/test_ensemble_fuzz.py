"""Members of ensembles, ours and mixed, are sent what nobody ought to send; peers speak out of turn. Nobody minds.

ZKTW_FUZZ_REQUESTS sets how many requests each ensemble gets (CI: some hundreds; by hand ensemble_fuzzing.py and
false_peers.py run for minutes), ZKTW_SEED which.
"""

import os

import ensemble_fuzzing
import false_peers
import pytest
from ensemble import Ensemble, missing
from ensemble_fuzzing import (
    OPTIONS,
    TICK_MS,
    Members,
    campaign,
    catalogue,
    run_catalogue,
    send_alone,
    start_led_by,
)
from fuzzing import GRAMMAR, MULTI, MULTIREAD, SYNC
from kills import CREATE2, OK, OPEN_ACL, SETDATA, Link, buf, i32, text

pytestmark = pytest.mark.live

REQUESTS = int(os.environ.get("ZKTW_FUZZ_REQUESTS", 300))
SEED = int(os.environ.get("ZKTW_SEED", 1))
RECONFIG = 16


@pytest.mark.parametrize("kind", ["apache38", "apache39"])
def test_an_ensemble_that_stops_is_noticed(kind: str) -> None:
    """A reconfig that ends too early, sent to a follower, stops an ensemble of Apache's."""
    if why := missing(kind):
        pytest.skip(why)
    with Ensemble([kind] * 3, extra=OPTIONS, tick_ms=TICK_MS) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        members = Members(ensemble, answer_s=3.0)
        node = members.role("follower", kind)
        assert node is not None
        harmless = [entry for entry in catalogue() if entry[1] == 1 and "sound" in entry[0]]
        assert run_catalogue(members, node, ensemble_fuzzing.Report(), harmless)
        assert send_alone(node.client_port, RECONFIG, b"", 1.0) == "nothing"
        assert members.check() != ""
        members.close()


def test_the_catalogue_has_every_operation() -> None:
    entries = catalogue()
    assert {op for _, op, _ in entries} >= {*GRAMMAR, MULTI, MULTIREAD}
    assert entries == catalogue()
    assert len({(op, body) for _, op, body in entries}) > 2000


@pytest.mark.parametrize(
    ("kinds", "observers", "leader", "only"),
    [
        (["zktw"] * 3, ["zktw"], "zktw", []),
        (["zktw", "zktw", "apache38"], [], "zktw", []),
        (["zktw", "apache38", "zktw"], ["zktw"], "apache38", ["zktw follower", "zktw observer"]),
    ],
    ids=["ours alone", "a follower of Apache's", "under a leader of Apache's"],
)
def test_no_request_does_harm(kinds: list[str], observers: list[str], leader: str, only: list[str]) -> None:
    if why := missing(*kinds):
        pytest.skip(why)
    # A quota's text that is none ends every Apache server that applies a write below it.
    quotas = "apache38" not in kinds
    report = campaign(kinds, observers, leader, requests=REQUESTS, seed=SEED, quotas=quotas, only=only)
    print(report)
    assert not report.found
    assert report.tried.total() >= REQUESTS
    # Most requests are sound enough to be looked at: many kinds of answers, not one alone.
    assert len(report.outcomes) > 5


def test_syncs_keep_their_places_among_writes() -> None:
    """What a client sends through a follower in one go is answered in its order, whatever is committed at one time."""
    with Ensemble(["zktw"] * 3, tick_ms=TICK_MS) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        for node in ensemble.nodes:
            link = Link(node.client_port, 5.0)
            assert link.open(4000)
            assert link.call(CREATE2, text(f"/{node.sid}") + buf(b"") + OPEN_ACL + i32(0))[0] == OK
            for _ in range(10):
                write = i32(SETDATA) + text(f"/{node.sid}") + buf(b"x") + i32(-1)
                sync = i32(SYNC) + text("/")
                link.send(*(part for n in range(20) for part in (i32(2 * n) + write, i32(2 * n + 1) + sync)))
                for n in range(40):
                    assert link.reply(n)[0] == OK
            link.close()


def test_no_learner_does_harm() -> None:
    report = false_peers.Report()
    with Ensemble(["zktw"] * 3, tick_ms=TICK_MS, extra=("maxSessionTimeout=40000",)) as ensemble:
        start_led_by(ensemble, "zktw")
        members = Members(ensemble)
        false_peers.attack_leader(members, report, SEED, REQUESTS, sids=false_peers.STRANGERS)
        false_peers.random_learners(members, report, SEED, REQUESTS, sids=false_peers.STRANGERS)
        members.close()
    assert not report.found
    assert report.tried.total() == 2 * REQUESTS


def test_no_leader_does_harm() -> None:
    report = false_peers.Report()
    false_peers.attack_learner(report, SEED, REQUESTS // 2)
    false_peers.random_leaders(report, SEED, REQUESTS // 2)
    false_peers.absurd_leader(report, SEED, REQUESTS)
    assert not report.found
    assert report.tried.total() >= REQUESTS
