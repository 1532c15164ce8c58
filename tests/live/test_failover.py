"""Ensembles of real processes lose their leader, again and again, alone and mixed with Apache's servers.

ZKTW_ROUNDS sets how often (CI: a few; by hand 100 for ensembles of ours, 20 for the larger ones, 10 mixed).
"""

import os
import signal
import time
from collections.abc import Sequence

import pytest
from ensemble import Ensemble, Node, missing, wait_until

pytestmark = pytest.mark.live

needs_apache38 = pytest.mark.skipif(missing("apache38") is not None, reason=str(missing("apache38")))
# 3.9 comes by hand, where ZK39_LIB names its jars.
RELEASES = ["apache38", *(["apache39"] if missing("apache39") is None else [])]
# twistd ends in order and then dies of the signal it was sent, as a shell expects.
ENDED_BY_TERM = (0, -signal.SIGTERM)
HIERARCHY = ("group.1=1:2", "group.2=3:4", "group.3=5:6")


def rounds(default: int) -> int:
    return int(os.environ.get("ZKTW_ROUNDS", default))


def whole(ensemble: Ensemble) -> bool:
    """Everybody who lives serves, exactly one of them as leader."""
    modes = [node.mode() for node in ensemble.nodes if node.alive()]
    return all(modes) and modes.count("leader") == 1


def wait_whole(ensemble: Ensemble) -> float:
    return wait_until("a whole ensemble", lambda: whole(ensemble), 40)


def replace_leader(ensemble: Ensemble, *, graceful: bool = False) -> tuple[Node, Node, float]:
    """End the leader; the old one, the new one, and the seconds until that said so."""
    old = ensemble.wait_leader()
    began = time.monotonic()
    if graceful:
        assert old.term(2.0) in ENDED_BY_TERM
    else:
        old.kill()
    new = ensemble.wait_leader(40, other_than=old)
    return old, new, time.monotonic() - began


def lose_leaders(ensemble: Ensemble, count: int) -> None:
    took = []
    for _ in range(count):
        old, _, seconds = replace_leader(ensemble)
        took.append(seconds)
        wait_whole(ensemble)
        ensemble.start(old)
        wait_whole(ensemble)
        assert old.mode() in ("follower", "leader")
    took.sort()
    median_ms, longest_ms = took[len(took) // 2] * 1000, took[-1] * 1000
    print(f"\n{count} leaders lost: new one after {median_ms:.0f} ms (median), {longest_ms:.0f} ms (longest)")


@pytest.mark.parametrize(
    ("voters", "observers", "extra", "count"),
    [(3, 0, (), 10), (5, 2, (), 4), (6, 0, HIERARCHY, 4)],
    ids=["three", "five-and-two-observers", "hierarchical"],
)
def test_leaders_killed_again_and_again(voters: int, observers: int, extra: Sequence[str], count: int) -> None:
    with Ensemble(["zktw"] * voters, ["zktw"] * observers, extra=extra, tick_ms=1000) as ensemble:
        ensemble.start()
        wait_whole(ensemble)
        lose_leaders(ensemble, rounds(count))
        observing = [node.mode() for node in ensemble.nodes if node.observer]
        assert observing == ["observer"] * observers


def test_rolling_restart() -> None:
    """Each server is told to stop and started again; what is left always has a leader."""
    with Ensemble(["zktw"] * 3, tick_ms=1000) as ensemble:
        ensemble.start()
        wait_whole(ensemble)
        for _ in range(rounds(2)):
            for node in ensemble.nodes:
                began = time.monotonic()
                assert node.term(2.0) in ENDED_BY_TERM
                assert time.monotonic() - began < 1.0, "a stop takes more than a second"
                wait_whole(ensemble)
                ensemble.start(node)
                wait_whole(ensemble)


def test_a_graceful_stop_of_the_leader_is_noticed_at_once() -> None:
    with Ensemble(["zktw"] * 3, tick_ms=1000) as ensemble:
        ensemble.start()
        wait_whole(ensemble)
        for _ in range(rounds(3)):
            old, _, _ = replace_leader(ensemble, graceful=True)
            wait_whole(ensemble)
            ensemble.start(old)
            wait_whole(ensemble)


def test_without_a_quorum_nobody_serves() -> None:
    with Ensemble(["zktw"] * 3, tick_ms=500) as ensemble:
        ensemble.start()
        wait_whole(ensemble)
        leader = ensemble.wait_leader()
        for node in ensemble.nodes:
            if node is not leader:
                node.kill()
        wait_until("the leader gives up", lambda: leader.mode() is None, 20)
        assert "not currently serving" in leader.ask("srvr")
        ensemble.start()
        wait_whole(ensemble)


def test_a_stopped_leader_is_left_and_comes_back_as_follower() -> None:
    """SIGSTOP: its kernel still answers, so that only its silence tells."""
    with Ensemble(["zktw"] * 3, tick_ms=200) as ensemble:
        ensemble.start()
        wait_whole(ensemble)
        leader = ensemble.wait_leader()
        others = [node for node in ensemble.nodes if node is not leader]
        leader.stop()
        wait_until("another leader", lambda: "leader" in [node.mode() for node in others], 20)
        leader.cont()
        wait_whole(ensemble)
        assert leader.mode() == "follower"


MIXES = [
    # The last voter has the greatest sid and leads first.
    (("zktw", "zktw", "apache"), ("zktw",)),
    (("zktw", "apache", "apache"), ("zktw",)),
    (("apache", "zktw", "zktw"), ("apache",)),
    (("apache", "apache", "zktw"), ("apache",)),
    (("zktw", "zktw", "zktw", "zktw", "apache"), ()),
    (("apache", "zktw", "apache", "zktw", "zktw"), ()),
    (("zktw", "apache", "zktw", "apache", "apache"), ()),
    (("apache", "apache", "apache", "apache", "zktw"), ()),
]


@needs_apache38
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(("voters", "observers"), MIXES, ids=["+".join(v + o) for v, o in MIXES])
def test_mixed_with_apache(release: str, voters: Sequence[str], observers: Sequence[str]) -> None:
    """Ours leads Apache's followers and follows Apache's leaders, whoever is killed."""
    kinds, observing = ([release if kind == "apache" else kind for kind in some] for some in (voters, observers))
    with Ensemble(kinds, observing, tick_ms=1000) as ensemble:
        apaches = [node for node in ensemble.nodes if node.kind == release]
        if len([kind for kind in kinds if kind == release]) <= len(kinds) // 2:
            # Ours would have elected one of theirs long before a JVM is up.
            ensemble.start(*apaches)
            ensemble.wait_answering(*apaches)
            ensemble.start()
            wait_whole(ensemble)
            assert ensemble.wait_leader().kind == kinds[-1]
        else:
            ensemble.start()
            wait_whole(ensemble)
        lose_leaders(ensemble, rounds(1))
        assert [node.mode() for node in ensemble.nodes if node.observer] == ["observer"] * len(observing)
