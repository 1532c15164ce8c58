"""The election of one server that is LOOKING, among others that look: who is proposed, told, counted, and when."""

import pytest
from electing import FOLLOWING, LEADING, LOOKING, OBSERVING, ensemble, looking, outcomes, sent, word

from zktw.quorum.election import FINALIZE_WAIT_MS, NO_VOTE, FastLeaderElection
from zktw.terms.vote import Notification, PeerState, Vote
from zktw.wire.effects import Elected, RoundStarted, SendVote, VoteChanged

THREE = ensemble(3)
FIVE = ensemble(5)

# -- the beginning -------------------------------------------------------------------------------------------------


def test_nothing_is_said_before_the_first_election() -> None:
    core = FastLeaderElection(1, THREE)
    assert core.on_connected(2) == []
    assert core.on_notification(word(2, LOOKING, 2), 0) == []
    assert core.on_notification(word(9, LOOKING, 9), 0) == []
    assert core.deadline_ms is None
    assert core.vote == NO_VOTE


def test_a_voter_says_its_vote_to_every_other_voter() -> None:
    core = FastLeaderElection(2, ensemble(3, observers=[4]))
    vote = Vote(5, 7, 2)
    told = Notification(2, LOOKING, vote, 1, core.ensemble.text())
    assert core.look(vote, 0) == [RoundStarted(1, vote), SendVote(1, told), SendVote(3, told)]
    assert core.state == LOOKING
    assert core.deadline_ms == 200


def test_an_observer_proposes_nobody() -> None:
    core = FastLeaderElection(4, ensemble(3, observers=[4]))
    assert not core.is_voter
    effects = core.look(Vote(5, 7, 4), 0)
    assert core.vote == NO_VOTE
    assert sent(effects) == [(sid, LOOKING, NO_VOTE.leader, 1) for sid in (1, 2, 3)]


def test_each_election_is_a_new_round() -> None:
    core = looking(1, THREE, round_=4)
    assert core.round == 4
    assert sent(core.look(Vote(0, 0, 1), 0)) == [(2, LOOKING, 1, 5), (3, LOOKING, 1, 5)]


def test_an_ensemble_of_one_elects_itself_at_once() -> None:
    core = FastLeaderElection(1, ensemble(1))
    vote = Vote(3, 9, 1)
    assert core.look(vote, 0) == [RoundStarted(1, vote), Elected(LEADING, vote, 1, (1,))]
    assert core.state == LEADING
    assert core.deadline_ms is None


# -- votes of others that look -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "other", "better"),
    [
        (Vote(1, 0, 1), Vote(2, 0, 2), True),
        (Vote(1, 5, 1), Vote(1, 6, 2), True),
        (Vote(1, 5, 1), Vote(1, 5, 2), True),
        (Vote(1, 9, 1), Vote(2, 0, 2), True),
        (Vote(1, 5, 3), Vote(1, 6, 2), True),
        (Vote(2, 0, 1), Vote(1, 9, 2), False),
        (Vote(1, 6, 1), Vote(1, 5, 2), False),
        (Vote(1, 5, 2), Vote(1, 5, 1), False),
    ],
)
def test_the_order_of_votes(mine: Vote, other: Vote, better: bool) -> None:
    """Epoch, then zxid, then sid."""
    core = FastLeaderElection(mine.leader, FIVE)
    core.look(mine, 0)
    effects = core.on_notification(Notification(5, LOOKING, other, 1, ""), 1)
    assert core.vote == (other if better else mine)
    assert (VoteChanged(1, other, 5) in effects) == better
    told = [sid for sid in (1, 2, 3, 4, 5) if sid != mine.leader] if better else [5]
    assert [sid for sid, *_ in sent(effects)] == told


def test_a_later_round_is_joined() -> None:
    core = looking(1, FIVE)
    effects = core.on_notification(word(2, LOOKING, 2, round_=8), 1)
    assert effects[0] == RoundStarted(8, Vote(0, 0, 2))
    assert sent(effects) == [(sid, LOOKING, 2, 8) for sid in (2, 3, 4, 5)]
    assert core.round == 8


def test_a_later_round_is_joined_with_our_own_first_vote_where_that_is_better() -> None:
    """Not with what others have talked us into in the round before."""
    core = looking(3, FIVE)
    core.on_notification(word(5, LOOKING, 5), 1)
    assert core.vote.leader == 5
    effects = core.on_notification(word(2, LOOKING, 2, round_=2), 2)
    assert effects[0] == RoundStarted(2, Vote(0, 0, 3))
    assert sent(effects) == [(sid, LOOKING, 3, 2) for sid in (1, 2, 4, 5)]


def test_votes_of_the_round_before_do_not_count() -> None:
    core = looking(5, FIVE)
    core.on_notification(word(4, LOOKING, 5), 1)
    core.on_notification(word(3, LOOKING, 4, round_=2), 1)
    assert core.on_deadline(150) == []
    core.on_notification(word(2, LOOKING, 5, round_=2), 2)
    # Two of five by now, and not four.
    assert outcomes(core.on_deadline(10_000)) == []
    core.on_notification(word(3, LOOKING, 5, round_=2), 10_001)
    assert outcomes(core.on_deadline(10_001 + FINALIZE_WAIT_MS))


def test_an_older_round_is_answered_and_does_not_count() -> None:
    core = looking(3, THREE, round_=2)
    assert sent(core.on_notification(word(1, LOOKING, 3, round_=1), 1)) == [(1, LOOKING, 3, 2)]
    assert sent(core.on_notification(word(2, LOOKING, 3, round_=1), 1)) == [(2, LOOKING, 3, 2)]
    assert core.on_deadline(199) == []
    assert core.state == LOOKING
    # Each time again: whoever is behind does not hold our vote.
    assert sent(core.on_notification(word(2, LOOKING, 3, round_=1), 2)) == [(2, LOOKING, 3, 2)]


def test_a_vote_for_no_voter_is_ignored() -> None:
    core = looking(1, ensemble(3, observers=[4]))
    for leader in (4, 9, NO_VOTE.leader):
        for state in PeerState:
            assert core.on_notification(word(2, state, leader, epoch=9, round_=5), 1) == []
    assert core.vote == Vote(0, 0, 1)
    assert core.round == 1


def test_an_observers_word_is_ignored_where_it_is_configured_as_a_voter() -> None:
    core = looking(1, THREE)
    for sid in (2, 3):
        assert core.on_notification(word(sid, OBSERVING, 3), 1) == []
    assert core.on_deadline(199) == []
    assert core.state == LOOKING


def test_an_empty_member_takes_no_part() -> None:
    """One that waits for a snapshot is neither elected nor counted, whatever its round."""
    core = looking(1, THREE)
    assert core.on_notification(word(3, LOOKING, 3, zxid=-1, epoch=9), 1) == []
    assert core.on_notification(word(3, LOOKING, 3, zxid=-1, round_=7), 1) == []
    assert core.vote == Vote(0, 0, 1)
    assert core.round == 1
    empty = looking(1, THREE, zxid=-1)
    assert empty.on_notification(word(3, LOOKING, 3), 1) == []
    assert empty.on_notification(word(2, LOOKING, 3, round_=7), 1) == []
    assert empty.vote == Vote(0, -1, 1)
    assert empty.round == 1
    assert outcomes(empty.on_deadline(10_000)) == []


def test_an_empty_member_joins_a_leader_that_the_others_have() -> None:
    core = looking(1, THREE, zxid=-1)
    core.on_notification(word(2, FOLLOWING, 3), 1)
    assert outcomes(core.on_notification(word(3, LEADING, 3), 1))[0].state == FOLLOWING


def test_who_has_no_weight_is_not_elected() -> None:
    members = ensemble(3, weights=[(1, 1), (2, 1), (3, 0)])
    core = looking(1, members)
    effects = core.on_notification(word(3, LOOKING, 3, epoch=9), 1)
    assert core.vote.leader == 1
    assert sent(effects) == [(3, LOOKING, 1, 1)]
    core.on_notification(word(3, LOOKING, 3, round_=2), 2)
    assert core.vote.leader == 1
    assert core.round == 2
    # Its own word has no weight either.
    core.on_notification(word(3, LOOKING, 1, round_=2), 3)
    assert outcomes(core.on_deadline(203)) == []
    core.on_notification(word(2, LOOKING, 1, round_=2), 204)
    assert core.state == LEADING


# -- answers -------------------------------------------------------------------------------------------------------


def test_a_lesser_vote_is_answered_until_its_sender_holds_ours() -> None:
    core = looking(3, THREE)
    # What was said before it was heard may have come before it looked, and be lost.
    assert sent(core.on_notification(word(2, LOOKING, 2), 1)) == [(2, LOOKING, 3, 1)]
    assert core.on_notification(word(2, LOOKING, 2), 2) == []
    assert core.on_notification(word(2, LOOKING, 3), 3) == []


def test_a_new_vote_is_held_by_those_who_were_heard() -> None:
    core = looking(3, FIVE)
    core.on_notification(word(1, LOOKING, 1), 1)
    assert [sid for sid, *_ in sent(core.on_notification(word(5, LOOKING, 5), 2))] == [1, 2, 4, 5]
    assert core.on_notification(word(1, LOOKING, 3), 3) == []
    assert core.on_notification(word(5, LOOKING, 5), 3) == []
    # Of these nothing was heard when the vote went out.
    assert sent(core.on_notification(word(2, LOOKING, 2), 3)) == [(2, LOOKING, 5, 1)]


def test_what_was_held_in_another_round_is_said_again() -> None:
    core = looking(3, FIVE)
    core.on_notification(word(1, LOOKING, 1), 1)
    core.on_notification(word(2, LOOKING, 2, round_=2), 2)
    assert sent(core.on_notification(word(1, LOOKING, 1, round_=2), 3)) == [(1, LOOKING, 3, 2)]
    assert core.on_notification(word(2, LOOKING, 2, round_=2), 3) == []


@pytest.mark.parametrize("again", [True, False], ids=["connected anew", "not yet"])
def test_what_was_held_on_an_older_connection_is_said_again(again: bool) -> None:
    core = looking(3, FIVE)
    core.on_notification(word(1, LOOKING, 1), 1)
    assert core.on_disconnected(1) == []
    if again:
        assert sent(core.on_connected(1)) == [(1, LOOKING, 3, 1)]
    assert sent(core.on_notification(word(1, LOOKING, 1), 2)) == [(1, LOOKING, 3, 1)]
    assert core.on_notification(word(1, LOOKING, 1), 3) == []


def test_a_connection_that_took_anothers_place_starts_anew() -> None:
    core = looking(3, FIVE)
    core.on_notification(word(1, LOOKING, 1), 1)
    assert sent(core.on_connected(1)) == [(1, LOOKING, 3, 1)]
    assert sent(core.on_notification(word(1, LOOKING, 1), 2)) == [(1, LOOKING, 3, 1)]


@pytest.mark.parametrize("state", [FOLLOWING, LEADING, OBSERVING])
def test_what_was_held_by_one_who_has_decided_is_said_again_when_it_looks(state: PeerState) -> None:
    core = looking(3, FIVE)
    core.on_notification(word(1, LOOKING, 1), 1)
    core.on_notification(word(1, state, 1), 2)
    assert sent(core.on_notification(word(1, LOOKING, 1), 3)) == [(1, LOOKING, 3, 1)]


def test_a_connection_with_no_voter_is_not_greeted() -> None:
    core = looking(3, ensemble(3, observers=[4]))
    assert core.on_connected(4) == []
    assert core.on_connected(9) == []


# -- the decision --------------------------------------------------------------------------------------------------


def test_all_votes_alike_decide_at_once() -> None:
    core = looking(3, THREE)
    core.on_notification(word(1, LOOKING, 3), 10)
    effects = core.on_notification(word(2, LOOKING, 3), 20)
    assert outcomes(effects) == [Elected(LEADING, Vote(0, 0, 3), 1, (1, 2, 3))]
    assert (core.state, core.deadline_ms, core.vote_round) == (LEADING, None, 1)


def test_a_quorum_waits_for_a_better_vote_from_one_who_is_silent() -> None:
    core = looking(1, THREE)
    core.on_notification(word(2, LOOKING, 2), 10)
    assert core.deadline_ms == 10 + 200
    assert core.on_deadline(209) == []
    assert outcomes(core.on_deadline(210)) == [Elected(FOLLOWING, Vote(0, 0, 2), 1, (1, 2))]


def test_a_disconnected_voter_is_waited_for() -> None:
    core = looking(1, THREE)
    core.on_disconnected(3)
    assert outcomes(core.on_notification(word(2, LOOKING, 2), 10)) == []
    assert not core.is_gone(3)
    assert core.on_disconnected(3) == []


def test_a_better_vote_in_time_begins_the_wait_anew() -> None:
    core = looking(1, FIVE)
    core.on_notification(word(2, LOOKING, 3), 10)
    core.on_notification(word(3, LOOKING, 3), 10)
    core.on_notification(word(4, LOOKING, 4), 209)
    assert outcomes(core.on_deadline(210)) == []
    core.on_notification(word(2, LOOKING, 4), 220)
    assert outcomes(core.on_deadline(419)) == []
    assert outcomes(core.on_deadline(420)) == [Elected(FOLLOWING, Vote(0, 0, 4), 1, (1, 2, 4))]


def test_a_lesser_vote_does_not_lengthen_the_wait() -> None:
    core = looking(3, FIVE)
    core.on_notification(word(1, LOOKING, 3), 10)
    core.on_notification(word(2, LOOKING, 3), 10)
    core.on_notification(word(4, LOOKING, 2), 200)
    assert outcomes(core.on_deadline(210)) == [Elected(LEADING, Vote(0, 0, 3), 1, (1, 2, 3))]


def test_a_voter_that_changes_its_mind_may_undo_the_quorum() -> None:
    core = looking(3, FIVE)
    core.on_notification(word(1, LOOKING, 3), 10)
    core.on_notification(word(2, LOOKING, 3), 10)
    core.on_notification(word(2, LOOKING, 2), 11)
    assert outcomes(core.on_deadline(10_000)) == []


def test_those_who_are_gone_are_not_waited_for() -> None:
    core = looking(2, FIVE)
    for sid in (4, 5):
        assert core.on_refused(sid, 5) == []
    core.on_notification(word(1, LOOKING, 3), 10)
    effects = core.on_notification(word(3, LOOKING, 3), 20)
    assert outcomes(effects) == [Elected(FOLLOWING, Vote(0, 0, 3), 1, (1, 2, 3))]


def test_the_last_one_found_gone_decides() -> None:
    core = looking(1, THREE)
    core.on_notification(word(2, LOOKING, 2), 10)
    assert outcomes(core.on_refused(3, 11)) == [Elected(FOLLOWING, Vote(0, 0, 2), 1, (1, 2))]
    assert core.on_refused(3, 12) == []


def test_one_silent_voter_is_enough_to_wait() -> None:
    core = looking(2, FIVE)
    core.on_refused(5, 5)
    core.on_notification(word(1, LOOKING, 3), 10)
    assert outcomes(core.on_notification(word(3, LOOKING, 3), 20)) == []
    assert outcomes(core.on_deadline(219)) == []
    assert outcomes(core.on_deadline(220))


def test_without_a_quorum_nothing_is_decided_whoever_is_gone() -> None:
    core = looking(1, THREE)
    assert core.on_refused(2, 1) == core.on_refused(3, 1) == []
    assert outcomes(core.on_deadline(10_000)) == []
    assert core.state == LOOKING


def test_who_connects_or_speaks_is_not_gone() -> None:
    for come_back in ("connects", "looks", "sends what is ignored"):
        core = looking(1, THREE)
        core.on_refused(3, 1)
        assert core.is_gone(3)
        if come_back == "connects":
            core.on_connected(3)
        else:
            core.on_notification(word(3, LOOKING if come_back == "looks" else OBSERVING, 1), 2)
        assert not core.is_gone(3)
        core.on_notification(word(2, LOOKING, 2), 10)
        assert core.state == LOOKING, come_back


def test_an_observer_decides_by_the_votes_of_others() -> None:
    core = FastLeaderElection(4, ensemble(3, observers=[4]))
    core.look(NO_VOTE, 0)
    core.on_notification(word(1, LOOKING, 3), 1)
    core.on_notification(word(2, LOOKING, 3), 2)
    assert outcomes(core.on_deadline(202)) == [Elected(OBSERVING, Vote(0, 0, 3), 1, (1, 2))]


# -- saying it again -----------------------------------------------------------------------------------------------


def test_a_vote_is_said_again_at_growing_intervals() -> None:
    core = FastLeaderElection(1, THREE, interval_min_ms=200, interval_max_ms=1000)
    core.look(Vote(0, 0, 1), 0)
    spoken = []
    for now in range(1, 5000):
        assert core.deadline_ms is not None
        if now >= core.deadline_ms:
            assert sent(core.on_deadline(now)) == [(2, LOOKING, 1, 1), (3, LOOKING, 1, 1)]
            spoken.append(now)
    assert spoken == [200, 600, 1400, 2400, 3400, 4400]
    # A new election is in a hurry again.
    core.look(Vote(0, 0, 1), 5000)
    assert core.deadline_ms == 5200


def test_a_deadline_that_comes_early_is_none() -> None:
    core = looking(1, THREE)
    assert core.on_deadline(199) == []
    assert core.deadline_ms == 200


def test_there_is_no_deadline_outside_an_election() -> None:
    core = looking(1, ensemble(1))
    assert core.on_deadline(10_000) == []
