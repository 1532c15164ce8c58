"""A running server is sent what nobody ought to send, a little of everything: it must not mind.

ZKTW_FUZZ_SCRIPTS sets how many scripts (CI: some hundreds; by hand fuzzing.py runs for minutes), ZKTW_SEED which.
"""

import os
import random

import pytest
from ensemble import Ensemble, missing
from fuzzing import OTHERS, SENTINEL, Findings, Target, answered, campaign, play, script
from kills import Violation

pytestmark = pytest.mark.live

SCRIPTS = int(os.environ.get("ZKTW_FUZZ_SCRIPTS", 400))
SEED = int(os.environ.get("ZKTW_SEED", 1))


def test_no_request_does_harm() -> None:
    findings = campaign("zktw", SEED, scripts=SCRIPTS, others=False)
    print(findings)
    assert not findings.found
    # Most requests are sound enough to be looked at: many kinds of answers, not one alone.
    assert len(findings.errors) > 8


def test_no_client_does_harm() -> None:
    findings = Findings()
    rng = random.Random(SEED)
    with Ensemble(["zktw"], extra=["maxSessionTimeout=40000"]) as ensemble:
        target = Target(ensemble, ensemble[1])
        for other in OTHERS:
            other(target, rng, findings)
            assert target.check() == ""
        assert target.restart() == ""
    assert not findings.found


@pytest.mark.skipif(missing("apache38") is not None, reason=str(missing("apache38")))
def test_the_harness_gets_on_with_apache() -> None:
    with Ensemble(["apache38"]) as ensemble:
        target = Target(ensemble, ensemble[1])
        assert play(target.node.client_port, script(SEED, 3, gentle=True)).answers
        assert target.check() == ""


def test_a_script_comes_from_its_number() -> None:
    assert script(7, 1, gentle=False) == script(7, 1, gentle=False)
    assert script(7, 1, gentle=False) != script(7, 2, gentle=False)


def test_answers_out_of_turn_are_found_out() -> None:
    waiting = [(0, 1, 4), (1, 2, 5), (2, 3, 100)]
    answers: dict[int, int] = {}
    assert answered(1, waiting, answers, 0) == waiting[0]
    assert answered(3, waiting, answers, -115) == waiting[2]
    assert answers == {0: 0, 2: -115}
    for xid in (2, SENTINEL):
        with pytest.raises(Violation):
            answered(xid, waiting, answers, 0)
