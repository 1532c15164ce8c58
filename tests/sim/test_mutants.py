"""The checkers can fail: deliberately broken servers are caught, each within a few seeds."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
from seeded import caught_as
from twisted.internet.defer import Deferred, succeed

from zktw.node.reconfigleading import ReconfigLeading
from zktw.quorum.election import FastLeaderElection
from zktw.quorum.verifier import QuorumVerifier
from zktw.sim.run import Outcome, run_seed, shape_of
from zktw.storage.datadir import DataDir
from zktw.storage.journal import Journal
from zktw.terms.codes import PacketType
from zktw.terms.vote import Vote
from zktw.terms.zxid import make_zxid
from zktw.wire.effects import PersistEpoch, Send, ZabEffect
from zktw.wire.peers import QuorumPacket
from zktw.zab.leader import Leader
from zktw.zab.learner import Learner
from zktw.zab.learnerhandler import LearnerHandler
from zktw.zab.membership import Membership

SEEDS = range(1, 61)


def caught(*words: str) -> Outcome:
    """The first finding in the seeds; it must be of the expected kind."""
    return caught_as(words, lambda seed: run_seed(seed, shape_of(seed)), SEEDS)


def test_epoch_promised_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Journal.write_epoch

    def write_epoch(self: Journal, name: Any, epoch: int) -> Deferred[None]:
        write(self, name, epoch)
        return succeed(None)

    monkeypatch.setattr(Journal, "write_epoch", write_epoch)
    caught("D2")


def test_epoch_written_without_a_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_epoch(self: Any, name: str, epoch: int) -> None:
        self.files.write(self._epoch_path(name), str(epoch).encode())

    monkeypatch.setattr(DataDir, "write_epoch", write_epoch)
    caught("D1", "D2", "ends itself", "damaged")


class _HalfIsEnough:
    """A quorum miscounted: half of the voters would do."""

    def __init__(self, inner: QuorumVerifier) -> None:
        self.voters = inner.voters
        self.weight = inner.weight

    def contains_quorum(self, sids: Collection[int]) -> bool:
        return sum(voter in sids for voter in self.voters) >= len(self.voters) // 2


def test_quorum_counted_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    membership = ReconfigLeading._membership

    def miscounted(self: ReconfigLeading) -> Membership:
        found = membership(self)
        return replace(found, verifier=_HalfIsEnough(found.verifier))

    monkeypatch.setattr(ReconfigLeading, "_membership", miscounted)
    caught("V1", "L2")


def _by_sid_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """An election that guesses badly: the greatest sid wins, whatever it holds."""

    def is_newer(self: FastLeaderElection, one: Vote, other: Vote) -> bool:
        return one.leader > other.leader

    monkeypatch.setattr(FastLeaderElection, "_is_newer", is_newer)


def test_a_bad_election_breaks_nothing_but_its_own_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Election is a guess: with the check on followers ahead in place, no leader is established that lacks history."""
    _by_sid_only(monkeypatch)
    for seed in SEEDS:
        outcome = run_seed(seed, shape_of(seed))
        assert not outcome.violation or outcome.violation.startswith(("E2", "no progress")), outcome.violation


def test_follower_ahead_check_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bad election without that check, and with E2 not looked at, establishes a leader that lacks history."""
    _by_sid_only(monkeypatch)
    monkeypatch.setattr("zktw.sim.checkers.Checkers.check_e2", lambda self, sid, elected: None)
    monkeypatch.setattr(LearnerHandler, "is_ahead_of", lambda self, current_epoch, last_zxid: False)
    caught("ahead of it")


def test_newleader_acknowledged_before_the_epoch_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Learner._on_newleader

    def on_newleader(self: Learner, packet: QuorumPacket) -> list[ZabEffect]:
        effects = step(self, packet)
        assert isinstance(effects[0], PersistEpoch)
        return [Send(0, QuorumPacket(PacketType.ACK, make_zxid(self.epoch, 0))), *effects]

    monkeypatch.setattr(Learner, "_on_newleader", on_newleader)
    caught("D2", "AssertionError", "a bug")


def test_serving_before_a_quorum_is_in_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    synchronise = Leader._synchronise

    def hasty(self: Leader, handler: LearnerHandler) -> list[ZabEffect]:
        return [*synchronise(self, handler), Send(handler.connection, QuorumPacket(PacketType.UPTODATE, -1))]

    monkeypatch.setattr(Leader, "_synchronise", hasty)
    caught("V1")
