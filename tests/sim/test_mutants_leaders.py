"""More broken servers, for the checkers that test_mutants.py leaves in peace: E2's second half, L2 and V4."""

import pytest
from seeded import first_finding

from zktw.quorum.election import FastLeaderElection
from zktw.sim.run import run_seed, shape_of
from zktw.terms.codes import PacketType
from zktw.wire.effects import Send, ZabEffect
from zktw.wire.peers import QuorumPacket
from zktw.zab.leader import Leader
from zktw.zab.learner import Learner

SEEDS = range(1, 101)
# Few seeds let an epoch be used twice: these are blocks with one that does.
USED_TWICE, LED_TWICE = range(201, 301), range(351, 451)


def found(seeds: range = SEEDS) -> str:
    """The first violation in the seeds."""
    return first_finding(lambda seed: run_seed(seed, shape_of(seed)), seeds).violation


def test_joining_without_the_leaders_own_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastLeaderElection, "_leads", lambda self, leader, ballot, ballots: True)
    assert found().startswith("E2: ")


def test_an_epoch_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that looks at nobody's epoch but its own, and learners that take what they are told."""
    agree, on_leaderinfo = Leader._maybe_agree, Learner._on_leaderinfo

    def agree_alone(self: Leader, now_ms: float) -> list[ZabEffect]:
        self._epoch_max = self.history.accepted_epoch
        return agree(self, now_ms)

    def credulous(self: Learner, packet: QuorumPacket) -> list[ZabEffect]:
        self.history.accepted_epoch = -1
        return on_leaderinfo(self, packet)

    monkeypatch.setattr(Leader, "_maybe_agree", agree_alone)
    monkeypatch.setattr(Learner, "_on_leaderinfo", credulous)
    # Whichever comes first: the epoch's second leader, or an epoch file that goes backwards.
    assert found(USED_TWICE).startswith(("L2: ", "D2: ", "D1: "))
    # With nobody looking at the disks, it is the second leader.
    monkeypatch.setattr("zktw.sim.checkers.Checkers.check_d1", lambda self, server: None)
    assert found(LED_TWICE).startswith("L2: ")


def test_newleader_acknowledged_by_another_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learner, "_ack", lambda self: Send(0, QuorumPacket(PacketType.ACK, self.history.last_zxid)))
    assert found().startswith("V4: ")
