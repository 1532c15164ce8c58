"""A running server is sent what nobody ought to send, a little of everything: it must not mind.

ZKTW_FUZZ_SCRIPTS sets how many scripts (CI: some hundreds; by hand fuzzing.py runs for minutes), ZKTW_SEED which.
"""

import os
import random

import pytest
from ensemble import Ensemble, missing
from fuzzing import OTHERS, SENTINEL, Findings, Target, answered, campaign, codes, play, script
from kills import MULTI_END, Source, Violation, i32

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
    assert answered(1, waiting) == waiting[0]
    # Apache answers auth at once.
    assert answered(3, waiting) == waiting[2]
    for xid in (2, SENTINEL):
        with pytest.raises(Violation):
            answered(xid, waiting)


def test_results_of_a_multi_are_read_to_their_end() -> None:
    failed = b"".join(i32(-1) + b"\0" + i32(code) + i32(code) for code in (0, -110, -2))
    assert codes(Source(failed + MULTI_END)) == [0, -110, -2]
    for wrong in (failed, failed + MULTI_END + b"\0", failed[:-1] + MULTI_END):
        with pytest.raises(Violation):
            codes(Source(wrong))
