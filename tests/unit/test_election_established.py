"""The election among servers that have a leader: joining it, what is answered in each state, newer configurations."""

import pytest
from electing import FOLLOWING, LEADING, LOOKING, OBSERVING, ensemble, looking, outcomes, sent, word

from zktw.quorum.election import NO_VOTE, Ballot, FastLeaderElection, same_vote
from zktw.terms.vote import PeerState, Vote
from zktw.wire.effects import ConfigSeen, Elected, RoundStarted, SendVote

THREE = ensemble(3)
FIVE = ensemble(5)
SETTLED = (FOLLOWING, LEADING, OBSERVING)


def settled(state: PeerState, *, round_: int = 3) -> FastLeaderElection:
    """Server 1, or the observer 4, in a state other than LOOKING, in this round."""
    members = ensemble(3, observers=[4, 5])
    leader = 1 if state == LEADING else 3
    core = FastLeaderElection(4 if state == OBSERVING else 1, members)
    for _ in range(round_):
        core.look(Vote(0, 0, 1), 0)
    core.on_notification(word(2, LOOKING, leader, epoch=1, round_=round_), 0)
    core.on_notification(word(3, LOOKING, leader, epoch=1, round_=round_), 0)
    core.on_deadline(200)
    assert core.state == state
    return core


# -- equality when counting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("other_state", PeerState)
@pytest.mark.parametrize("state", PeerState)
@pytest.mark.parametrize(
    ("vote", "round_", "old", "counts_looking", "counts_settled"),
    [
        (Vote(1, 2, 3), 4, False, True, True),
        (Vote(1, 2, 3), 9, False, False, True),
        (Vote(1, 9, 3), 4, False, False, True),
        (Vote(9, 2, 3), 4, False, False, False),
        (Vote(1, 2, 9), 4, False, False, False),
        (Vote(1, 2, 3), 4, True, True, True),
        (Vote(9, 9, 3), 9, True, False, True),
        (Vote(1, 2, 9), 4, True, False, False),
    ],
    ids=["same", "round", "zxid", "epoch", "leader", "old format", "old format, other epoch", "old format, leader"],
)
def test_votes_that_count_for_the_same(
    vote: Vote,
    round_: int,
    old: bool,
    counts_looking: bool,
    counts_settled: bool,
    state: PeerState,
    other_state: PeerState,
) -> None:
    """All must be equal where one looks, leader and epoch where none does, the leader across formats."""
    one = Ballot(Vote(1, 2, 3), 4, state, old_format=False)
    other = Ballot(vote, round_, other_state, old_format=old)
    expected = counts_looking if LOOKING in (state, other_state) else counts_settled
    assert same_vote(one, other) == expected
    assert same_vote(other, one) == expected


def test_two_votes_in_an_old_format_have_epochs_to_compare() -> None:
    one = Ballot(Vote(1, 2, 3), 4, FOLLOWING, old_format=True)
    assert same_vote(one, Ballot(Vote(1, 9, 3), 9, LEADING, old_format=True))
    assert not same_vote(one, Ballot(Vote(2, 2, 3), 4, LEADING, old_format=True))


# -- joining -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(2, 3), (3, 2)])
def test_an_ensemble_of_the_same_round_is_joined(order: tuple[int, int]) -> None:
    core = looking(1, FIVE)
    core.on_notification(word(4, FOLLOWING, 3), 1)
    first, second = (word(sid, LEADING if sid == 3 else FOLLOWING, 3) for sid in order)
    assert outcomes(core.on_notification(first, 2)) == []
    effects = core.on_notification(second, 3)
    assert effects == [Elected(FOLLOWING, Vote(0, 0, 3), 1, (2, 3, 4), joined=True)]
    assert core.deadline_ms is None


@pytest.mark.parametrize("theirs", [1, 2, 9])
def test_an_ensemble_of_another_round_is_joined_in_its_round(theirs: int) -> None:
    core = looking(1, THREE, round_=5)
    assert outcomes(core.on_notification(word(2, FOLLOWING, 3, round_=theirs), 1)) == []
    effects = core.on_notification(word(3, LEADING, 3, round_=theirs), 2)
    assert outcomes(effects) == [Elected(FOLLOWING, Vote(0, 0, 3), theirs, (2, 3), joined=True)]
    assert (core.round, core.vote_round) == (theirs, theirs)
    assert sent(core.look(Vote(0, 0, 1), 3)) == [(2, LOOKING, 1, theirs + 1), (3, LOOKING, 1, theirs + 1)]


def test_an_ensemble_is_joined_whose_members_tell_of_different_rounds_and_zxids() -> None:
    core = looking(1, THREE, zxid=99, epoch=7)
    core.on_notification(word(2, FOLLOWING, 3, zxid=5, epoch=2, round_=4), 1)
    effects = core.on_notification(word(3, LEADING, 3, zxid=8, epoch=2, round_=6), 2)
    assert outcomes(effects) == [Elected(FOLLOWING, Vote(2, 8, 3), 6, (2, 3), joined=True)]


def test_an_ensemble_is_joined_across_formats() -> None:
    core = looking(1, THREE)
    core.on_notification(word(2, FOLLOWING, 3, epoch=2, round_=4, text=None), 1)
    effects = core.on_notification(word(3, LEADING, 3, epoch=5, round_=4), 2)
    assert outcomes(effects)[0].electors == (2, 3)


@pytest.mark.parametrize(
    ("leaders_epoch", "leader"), [(6, 3), (5, 2)], ids=["another epoch", "who names somebody else"]
)
def test_an_ensemble_is_not_joined_that_is_at_odds(leaders_epoch: int, leader: int) -> None:
    core = looking(1, THREE)
    core.on_notification(word(2, FOLLOWING, 3, epoch=5, round_=4), 1)
    assert outcomes(core.on_notification(word(3, LEADING, leader, epoch=leaders_epoch, round_=4), 2)) == []
    assert core.state == LOOKING


@pytest.mark.parametrize("round_", [1, 7], ids=["same round", "other round"])
@pytest.mark.parametrize("said", [None, LOOKING, FOLLOWING, OBSERVING])
def test_a_quorum_of_followers_is_not_joined_without_the_leaders_own_word(said: PeerState | None, round_: int) -> None:
    core = looking(1, FIVE)
    if said is not None:
        core.on_notification(word(5, said, 5, round_=1 if said == LOOKING else round_), 0)
    for sid in (2, 3, 4):
        assert outcomes(core.on_notification(word(sid, FOLLOWING, 5, epoch=1, round_=round_), 1)) == []
    assert core.state == LOOKING
    # With it they are.
    decided = outcomes(core.on_notification(word(5, LEADING, 5, epoch=1, round_=round_), 2))
    assert [(decision.round, decision.joined) for decision in decided] == [(round_, True)]


def test_a_leader_without_a_quorum_is_not_joined() -> None:
    core = looking(1, FIVE)
    core.on_notification(word(5, LEADING, 5, round_=4), 1)
    assert outcomes(core.on_notification(word(4, FOLLOWING, 5, round_=4), 1)) == []
    # The same one twice is still one.
    assert outcomes(core.on_notification(word(4, FOLLOWING, 5, round_=4), 1)) == []
    assert outcomes(core.on_notification(word(3, FOLLOWING, 5, round_=4), 1))


def test_who_is_followed_in_its_own_round_leads() -> None:
    core = looking(1, THREE, round_=4)
    assert outcomes(core.on_notification(word(2, FOLLOWING, 1, epoch=1, round_=4), 1)) == []
    effects = core.on_notification(word(3, FOLLOWING, 1, epoch=1, round_=4), 2)
    assert outcomes(effects) == [Elected(LEADING, Vote(1, 0, 1), 4, (2, 3), joined=True)]


def test_who_is_followed_in_another_round_does_not_lead() -> None:
    """They follow one that was, and will find out."""
    core = looking(1, THREE, round_=5)
    for sid in (2, 3):
        assert outcomes(core.on_notification(word(sid, FOLLOWING, 1, epoch=1, round_=4), 1)) == []
    assert core.state == LOOKING


def test_an_observer_joins_as_an_observer() -> None:
    core = FastLeaderElection(4, ensemble(3, observers=[4]))
    core.look(NO_VOTE, 0)
    core.on_notification(word(2, FOLLOWING, 3, round_=6), 1)
    assert outcomes(core.on_notification(word(3, LEADING, 3, round_=6), 1))[0].state == OBSERVING


@pytest.mark.parametrize(("before", "after"), [(7, 7), (1, 2)], ids=["of another round", "of its round"])
def test_what_was_said_to_an_earlier_election_is_forgotten(before: int, after: int) -> None:
    core = looking(1, FIVE)
    for sid, state in ((3, FOLLOWING), (5, LEADING)):
        core.on_notification(word(sid, state, 5, round_=before), 1)
    core.look(Vote(0, 0, 1), 2)
    assert core.round == 2
    assert outcomes(core.on_notification(word(4, FOLLOWING, 5, round_=after), 3)) == []
    assert outcomes(core.on_notification(word(5, LEADING, 5, round_=after), 3)) == []


def test_a_follower_of_the_same_round_counts_for_an_equal_vote_of_ours() -> None:
    """A server that has decided already still voted."""
    core = looking(1, THREE)
    core.on_notification(word(3, LOOKING, 3), 1)
    effects = core.on_notification(word(2, FOLLOWING, 3), 2)
    assert outcomes(effects) == [Elected(FOLLOWING, Vote(0, 0, 3), 1, (1, 2, 3))]


# -- answers in each state -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("theirs", [1, 3, 9])
@pytest.mark.parametrize("state", SETTLED)
def test_who_looks_is_told_of_the_leader(state: PeerState, theirs: int) -> None:
    core = settled(state)
    leader = 1 if state == LEADING else 3
    # Each time: nobody who looks holds the vote of one who does not.
    for _ in range(2):
        assert sent(core.on_notification(word(2, LOOKING, 2, round_=theirs, epoch=9), 300)) == [(2, state, leader, 3)]
    assert sent(core.on_connected(2)) == [(2, state, leader, 3)]
    assert core.round == 3
    assert core.state == state


@pytest.mark.parametrize("said", SETTLED)
@pytest.mark.parametrize("state", SETTLED)
def test_who_has_a_leader_itself_is_not_answered(state: PeerState, said: PeerState) -> None:
    core = settled(state)
    assert core.on_notification(word(2, said, 2, round_=9, epoch=9), 300) == []
    assert core.state == state


@pytest.mark.parametrize("said", PeerState)
@pytest.mark.parametrize("stranger", [5, 9], ids=["observer", "stranger"])
@pytest.mark.parametrize("state", PeerState)
def test_who_has_no_vote_is_told_where_we_stand_and_nothing_else(
    state: PeerState, stranger: int, said: PeerState
) -> None:
    core = looking(1, ensemble(3, observers=[4, 5]), round_=3) if state == LOOKING else settled(state)
    before = core.vote, core.round, core.deadline_ms
    effects = core.on_notification(word(stranger, said, 3, round_=9, epoch=9), 300)
    assert sent(effects) == [(stranger, state, core.vote.leader, 3)]
    assert len(effects) == 1
    assert (core.vote, core.round, core.deadline_ms) == before


@pytest.mark.parametrize("state", SETTLED)
def test_nobody_settled_is_moved_by_time_or_by_who_is_gone(state: PeerState) -> None:
    core = settled(state)
    assert core.on_refused(2, 300) == []
    assert core.on_disconnected(3) == []
    assert core.on_deadline(100_000) == []
    assert core.state == state


@pytest.mark.parametrize("state", SETTLED)
def test_the_epoch_of_the_term_goes_into_the_answers(state: PeerState) -> None:
    core = settled(state)
    core.adopt_epoch(7)
    effects = core.on_notification(word(2, LOOKING, 2), 300)
    assert isinstance(effects[0], SendVote)
    assert effects[0].notification.vote == core.vote == Vote(7, 0, 1 if state == LEADING else 3)


def test_there_is_no_epoch_to_adopt_while_looking() -> None:
    with pytest.raises(AssertionError):
        looking(1, THREE).adopt_epoch(7)


# -- configurations ------------------------------------------------------------------------------------------------


def adopting(*, adopts: bool = True, version: int = 3) -> FastLeaderElection:
    """Server 1 of three, looking, that takes in newer configurations."""
    core = FastLeaderElection(1, ensemble(3, version=version), adopts_config=adopts)
    core.look(Vote(0, 0, 1), 0)
    return core


def test_a_newer_configuration_with_other_members_begins_the_election_anew() -> None:
    core = adopting()
    text = ensemble(5, version=4).text()
    effects = core.on_notification(word(2, LOOKING, 2, text=text), 1)
    assert effects[:2] == [ConfigSeen(text), RoundStarted(2, Vote(0, 0, 1))]
    # The vote that brought it is one of a round that is over.
    assert [(sid, round_) for sid, _, _, round_ in sent(effects)] == [(2, 2), (3, 2), (4, 2), (5, 2), (2, 2)]
    assert core.ensemble.version == 4
    assert [effect.notification.config_text for effect in effects if isinstance(effect, SendVote)] == [text] * 5


def test_a_newer_configuration_without_us_takes_our_vote() -> None:
    core = FastLeaderElection(3, ensemble(3, version=3), adopts_config=True)
    core.look(Vote(0, 0, 3), 0)
    core.on_notification(word(2, LOOKING, 2, text=ensemble(2, version=4).text()), 1)
    assert not core.is_voter
    assert core.vote == NO_VOTE


def test_a_newer_configuration_with_the_same_members_is_noted_only() -> None:
    core = adopting()
    text = ensemble(3, version=4).text()
    effects = core.on_notification(word(2, LOOKING, 2, text=text), 1)
    # Who then leads without it would turn away whoever has it.
    assert [effect for effect in effects if isinstance(effect, ConfigSeen)] == [ConfigSeen(text, anew=False)]
    assert core.round == 1
    assert core.vote.leader == 2
    assert [effect.notification.config_text for effect in effects if isinstance(effect, SendVote)] == [text] * 2


@pytest.mark.parametrize(
    "text",
    [None, "", "nonsense", "version=zz", "server.1=a", ensemble(5, version=3).text(), ensemble(5, version=2).text()],
    ids=["none", "empty", "nonsense", "no version", "no server", "same version", "older"],
)
def test_other_configurations_are_let_be_and_the_vote_counts(text: str | None) -> None:
    core = adopting()
    core.on_notification(word(2, LOOKING, 2, text=text), 1)
    assert core.ensemble == ensemble(3, version=3)
    assert (core.round, core.vote.leader) == (1, 2)


def test_a_newer_configuration_is_let_be_where_members_may_not_change() -> None:
    core = adopting(adopts=False)
    core.on_notification(word(2, LOOKING, 2, text=ensemble(5, version=4).text()), 1)
    assert core.ensemble.version == 3
    assert (core.round, core.vote.leader) == (1, 2)


def test_a_newer_configuration_is_let_be_outside_an_election() -> None:
    core = adopting()
    core.on_notification(word(2, FOLLOWING, 3), 1)
    core.on_notification(word(3, LEADING, 3), 1)
    assert len(core.on_notification(word(2, LOOKING, 2, text=ensemble(5, version=4).text()), 2)) == 1
    assert core.ensemble.version == 3
