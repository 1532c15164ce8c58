"""The election where a reconfiguration has named the leader, or has left this server out."""

import pytest
from electing import FOLLOWING, LEADING, LOOKING, OBSERVING, ensemble, looking, outcomes, sent, word

from zktw.quorum.election import FastLeaderElection
from zktw.terms.vote import PeerState, Vote

THREE = ensemble(3)


@pytest.mark.parametrize(("leader", "state"), [(1, LEADING), (2, FOLLOWING)])
def test_a_named_leader_needs_no_election(leader: int, state: PeerState) -> None:
    core = looking(1, THREE, round_=4)
    elected = core.appoint(leader, 7, 9)
    assert (elected.state, elected.vote, elected.round) == (state, Vote(7, 9, leader), 4)
    assert core.state == state
    assert core.deadline_ms is None
    # Who looks is told of it.
    assert sent(core.on_notification(word(3, LOOKING, 3, round_=4), 1)) == [(3, state, leader, 4)]


def test_an_observer_observes_it() -> None:
    members = ensemble(3, observers=[4])
    assert looking(4, members).appoint(2, 1, 1).state == OBSERVING


@pytest.mark.parametrize("round_", [-1, 0])
def test_apaches_rounds_begin_anew_after_a_reconfiguration(round_: int) -> None:
    """Observed: a server that followed in such a round, and lost its leader, would not hear anybody any more."""
    core = looking(3, THREE, round_=2)
    core.on_notification(word(1, LEADING, 1, epoch=2, round_=round_), 1)
    (elected,) = outcomes(core.on_notification(word(2, FOLLOWING, 1, epoch=2, round_=round_), 2))
    assert (elected.state, elected.round) == (FOLLOWING, round_)
    core.look(Vote(2, 5, 3), 10)
    assert core.round == round_ + 1
    core.on_notification(word(1, LOOKING, 3, zxid=5, epoch=2, round_=round_ + 1), 11)
    effects = core.on_notification(word(2, LOOKING, 3, zxid=5, epoch=2, round_=round_ + 1), 12)
    assert [elected.state for elected in outcomes(effects)] == [LEADING]


def test_before_the_first_election_nothing_is_said() -> None:
    core = FastLeaderElection(1, THREE)
    assert core.on_connected(2) == []
    assert core.on_notification(word(2, LOOKING, 2), 0) == []


def test_who_is_no_member_follows_and_is_never_elected() -> None:
    core = looking(3, THREE)
    core.use(ensemble(2), observes=False)
    core.look(Vote(9, 9, 3), 1)
    assert not core.is_voter
    assert core.vote.leader != 3
    core.on_notification(word(1, FOLLOWING, 2, epoch=1), 2)
    (elected,) = outcomes(core.on_notification(word(2, LEADING, 2, epoch=1), 3))
    assert (elected.state, elected.vote.leader) == (FOLLOWING, 2)
