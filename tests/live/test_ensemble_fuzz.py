"""Members of ensembles, ours and mixed, are sent what nobody ought to send; peers speak out of turn. Nobody minds.

ZKTW_FUZZ_REQUESTS sets how many requests each ensemble gets (CI: some hundreds; by hand ensemble_fuzzing.py and
false_peers.py run for minutes), ZKTW_SEED which.
"""

import os

import ensemble_fuzzing
import pytest
from ensemble import Ensemble, missing
from ensemble_fuzzing import OPTIONS, TICK_MS, Members, catalogue, run_catalogue, send_alone
from fuzzing import GRAMMAR, MULTI, MULTIREAD

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
