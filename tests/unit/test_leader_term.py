"""How a leader's term goes on and ends: phases that last too long, pings, silence, lost quorums, deserters."""

import pytest
from electing import word
from leading import (
    TIMING,
    ack,
    ack_epoch,
    closed,
    info,
    join,
    leader_with_learner,
    lost,
    new_leader,
    packets,
    persist,
    phase_of,
    serving_leader,
)

from zktw.terms.codes import PacketType
from zktw.terms.vote import Notification, PeerState, Vote
from zktw.terms.zxid import COUNTER_MAX, make_zxid
from zktw.wire.effects import CloseLearner, EpochName, QuorumLost
from zktw.wire.peers import QuorumPacket
from zktw.zab.leader import Leader, LeaderPhase
from zktw.zab.learnerhandler import LearnerPhase
from zktw.zab.office import History

PING = QuorumPacket(PacketType.PING, make_zxid(1, 0), b"")


def leader_in(phase: LeaderPhase) -> Leader:
    """A leader of three that has entered this phase at 50 ms; server 1 is on connection 1."""
    leader = new_leader(3, electors=(1, 2, 3), round_=4)
    leader.start(50 if phase == LeaderPhase.DISCOVERY else 0)
    if phase == LeaderPhase.DISCOVERY:
        return leader
    join(leader, 1, info(1), 50 if phase == LeaderPhase.EPOCH else 0)
    if phase == LeaderPhase.EPOCH:
        return leader
    persist(leader)
    leader.on_packet(1, ack_epoch(0, 0), 50 if phase == LeaderPhase.ESTABLISHING else 0)
    if phase == LeaderPhase.ESTABLISHING:
        return leader
    persist(leader, 50 if phase == LeaderPhase.SYNCHRONISATION else 0)
    if phase == LeaderPhase.SYNCHRONISATION:
        return leader
    leader.on_packet(1, ack(1), 50)
    assert leader.phase == LeaderPhase.BROADCAST
    if phase == LeaderPhase.ENDED:
        leader.on_closed(1)
    return leader


UNSETTLED = [LeaderPhase.DISCOVERY, LeaderPhase.EPOCH, LeaderPhase.ESTABLISHING, LeaderPhase.SYNCHRONISATION]

# -- phases that last too long -------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", UNSETTLED, ids=lambda phase: phase.name)
def test_a_phase_without_a_quorum_ends_the_term(phase: LeaderPhase) -> None:
    leader = leader_in(phase)
    assert leader.deadline_ms == 50.0 + TIMING.init_ms
    assert leader.on_deadline(1049) == []
    assert leader.on_deadline(1050) == [QuorumLost(f"no quorum in {phase.value} after 1000 ms")]
    assert phase_of(leader) == LeaderPhase.ENDED
    assert not leader.deadline_ms


def test_after_its_end_a_term_answers_nothing() -> None:
    leader = leader_in(LeaderPhase.ENDED)
    leader.on_connected(8, 60)
    assert leader.on_packet(8, info(1), 60) == []
    assert leader.on_closed(8) == []
    assert leader.on_vote(word(2, PeerState.LOOKING, 2, round_=9), 60) == []
    assert leader.on_deadline(100_000) == []


@pytest.mark.parametrize(
    ("phase", "name"), [(LeaderPhase.EPOCH, "acceptedEpoch"), (LeaderPhase.ESTABLISHING, "currentEpoch")]
)
def test_an_epoch_that_is_durable_after_the_end_is_part_of_the_history(phase: LeaderPhase, name: EpochName) -> None:
    """The next term starts from what is on the disk."""
    leader = leader_in(phase)
    leader.on_deadline(5000)
    assert leader.phase == LeaderPhase.ENDED
    assert leader.on_epoch_persisted(name, 1, 5001) == []
    assert leader.history == History(1, int(name == "currentEpoch"), 0)


def test_an_epoch_is_durable_that_was_asked_for() -> None:
    leader = leader_in(LeaderPhase.EPOCH)
    with pytest.raises(AssertionError):
        leader.on_epoch_persisted("acceptedEpoch", 2, 60)
    with pytest.raises(AssertionError):
        leader.on_epoch_persisted("currentEpoch", 1, 60)


# -- voters that want another leader ------------------------------------------------------------------------------


@pytest.mark.parametrize("state", PeerState, ids=lambda state: state.name)
@pytest.mark.parametrize("phase", LeaderPhase, ids=lambda phase: phase.name)
def test_without_loyal_voters_there_is_no_epoch(phase: LeaderPhase, state: PeerState) -> None:
    leader = leader_in(phase)
    assert leader.on_vote(word(1, state, 1, round_=5), 60) == []
    effects = leader.on_vote(word(2, state, 2, round_=5), 60)
    if phase in (LeaderPhase.DISCOVERY, LeaderPhase.EPOCH):
        assert effects == [QuorumLost("voters 1, 2 want another leader")]
    else:
        # The epoch is agreed: whoever looks will find it.
        assert effects == []


@pytest.mark.parametrize(
    ("round_", "vote", "deserts"),
    [
        (5, Vote(0, 0, 1), True),
        (5, Vote(2, 4, 3), True),
        (4, Vote(2, 4, 3), False),
        (4, Vote(2, 4, 2), False),
        (4, Vote(2, 3, 5), False),
        (4, Vote(1, 9, 5), False),
        (4, Vote(2, 4, 4), True),
        (4, Vote(2, 5, 1), True),
        (4, Vote(3, 0, 1), True),
        (4, Vote(9, 9, 3), False),
        (3, Vote(9, 9, 5), False),
    ],
)
def test_a_deserter_is_in_a_later_round_or_for_a_better_candidate(round_: int, vote: Vote, deserts: bool) -> None:
    """Server 3 of three leads with epoch 2 and zxid 4, since round 4."""
    leader = new_leader(3, history=History(2, 2, 4), round_=4)
    leader.start(0)
    effects = []
    for sid in (1, 2):
        effects += leader.on_vote(Notification(sid, PeerState.LOOKING, vote, round_), 10)
    assert lost(effects) == ("voters 1, 2 want another leader" if deserts else "")


@pytest.mark.parametrize("how", ["connects", "votes for us"])
def test_a_deserter_that_comes_back_is_loyal(how: str) -> None:
    leader = new_leader(5, round_=4)
    leader.start(0)
    for sid in (1, 2):
        assert leader.on_vote(word(sid, PeerState.LOOKING, sid, round_=5), 10) == []
    if how == "connects":
        join(leader, 1, info(1))
    else:
        leader.on_vote(word(1, PeerState.FOLLOWING, 5, round_=4), 11)
    assert leader.on_vote(word(3, PeerState.LOOKING, 3, round_=5), 12) == []
    assert lost(leader.on_vote(word(4, PeerState.LOOKING, 4, round_=5), 13)) == "voters 2, 3, 4 want another leader"


def test_strangers_that_want_another_leader_are_no_deserters() -> None:
    leader = new_leader(3, round_=4, electors=(1, 3, 4), epoch_wait_ms=0)
    leader.start(0)
    for sid in (4, 5, 6, 7):
        assert leader.on_vote(word(sid, PeerState.LOOKING, 3, round_=5), 10) == []


def waiting_leader(epoch_wait_ms: float) -> Leader:
    """A leader of five since 100 ms that 3, 4 and itself have elected."""
    leader = new_leader(5, electors=(3, 4, 5), round_=4, epoch_wait_ms=epoch_wait_ms)
    leader.start(100)
    return leader


def test_an_elector_that_looks_again_after_the_greatest_wait_ends_the_term() -> None:
    leader = waiting_leader(300)
    vote = word(3, PeerState.LOOKING, 3, round_=4)
    assert leader.on_vote(vote, 399) == []
    assert leader.on_vote(word(2, PeerState.LOOKING, 2, round_=4), 400) == []
    assert leader.on_vote(word(3, PeerState.FOLLOWING, 5, round_=4), 400) == []
    assert lost(leader.on_vote(vote, 400)) == "voter 3 looks for a leader again after 300 ms without an epoch"


def test_a_wait_of_zero_is_none() -> None:
    assert lost(waiting_leader(0).on_vote(word(3, PeerState.LOOKING, 3, round_=4), 100))


def test_without_a_greatest_wait_an_elector_may_look() -> None:
    leader = waiting_leader(-1)
    assert leader.on_vote(word(3, PeerState.LOOKING, 3, round_=4), 1000) == []
    assert leader.phase == LeaderPhase.DISCOVERY


@pytest.mark.parametrize("phase", UNSETTLED, ids=lambda phase: phase.name)
def test_voters_that_are_gone_are_not_waited_for(phase: LeaderPhase) -> None:
    """Started anew, they would find a leader that has no quorum, and be no quorum without it."""
    leader = leader_in(phase)
    assert leader.on_gone([2]) == []
    assert leader.on_gone([1, 2]) == [QuorumLost("voters 2, 1 will not come")]
    assert leader.phase == LeaderPhase.ENDED


def test_a_leader_that_serves_goes_by_its_connections() -> None:
    assert serving_leader().on_gone([1, 2]) == []


# -- pings and silence ---------------------------------------------------------------------------------------------


def test_pings_go_out_every_half_tick() -> None:
    leader = serving_leader()
    assert leader.deadline_ms == 50
    assert leader.on_deadline(49) == []
    assert packets(leader.on_deadline(50)) == [(1, "PING", make_zxid(1, 0))]
    assert leader.deadline_ms == 100
    assert packets(leader.on_deadline(107)) == [(1, "PING", make_zxid(1, 0))]
    assert leader.deadline_ms == 157


def test_pings_carry_the_last_zxid() -> None:
    leader = serving_leader()
    leader.broadcast.propose(make_zxid(1, 1), b"")
    assert packets(leader.on_deadline(50)) == [(1, "PING", make_zxid(1, 1))]


@pytest.mark.parametrize("phase", UNSETTLED, ids=lambda phase: phase.name)
def test_nobody_is_pinged_before_a_quorum_is_synchronised(phase: LeaderPhase) -> None:
    leader = leader_in(phase)
    for now in range(50, 1050, 50):
        assert leader.on_deadline(now) == []


def test_who_is_being_synchronised_is_pinged_and_who_has_just_come_is_not() -> None:
    leader = serving_leader()
    leader.on_connected(6, 0)
    join(leader, 2, info(2))
    assert packets(leader.on_deadline(50)) == [(1, "PING", make_zxid(1, 0))]
    leader.on_packet(2, ack_epoch(0, 0), 60)
    assert leader.learners[2].phase == LearnerPhase.SYNCING
    assert {connection for connection, *_ in packets(leader.on_deadline(100))} == {1, 2}


def test_a_silent_learner_is_left_after_the_sync_limit() -> None:
    leader = leader_with_learner(LearnerPhase.SERVING)
    for connection in (1, 2):
        leader.on_packet(connection, PING, 501)
    assert closed(leader.on_deadline(500)) == []
    assert leader.on_deadline(501 + 49)[0] == CloseLearner(7, "silent for 550 ms")
    assert list(leader.learners) == [1, 2]
    assert leader.phase == LeaderPhase.BROADCAST


def test_a_learner_that_answers_is_not_silent() -> None:
    leader = serving_leader()
    for now in range(50, 5000, 50):
        assert packets(leader.on_deadline(now)) == [(1, "PING", make_zxid(1, 0))]
        assert leader.on_packet(1, PING, now + 10) == []


def test_one_who_has_just_come_has_more_time() -> None:
    """Both limits: it may have a tree to write."""
    leader = serving_leader()
    leader.on_connected(6, 0)
    now = 0
    gone_at = None
    while gone_at is None:
        now += 50
        leader.on_packet(1, PING, now)
        if 6 in closed(leader.on_deadline(now)):
            gone_at = now
    assert gone_at == TIMING.init_ms + TIMING.sync_ms + 50
    assert leader.phase == LeaderPhase.BROADCAST


def test_the_silence_of_too_many_ends_the_term() -> None:
    leader = serving_leader()
    assert leader.on_deadline(500) != []
    assert leader.deadline_ms == 501
    assert lost(leader.on_deadline(501)) == "no quorum was heard for 500 ms"


def test_a_leader_that_was_stopped_may_serve_no_longer() -> None:
    """Its lease tells so before any alarm does."""
    leader = serving_leader()
    assert leader.lease_ms == 500
    leader.on_packet(1, ack(1), 120)
    assert leader.lease_ms == 620


# -- the quorum while serving --------------------------------------------------------------------------------------


def test_a_connection_that_ends_may_end_the_term_at_once() -> None:
    leader = serving_leader()
    assert leader.on_closed(1) == [QuorumLost("only [3] are left, which is no quorum")]
    assert (leader.phase, leader.deadline_ms) == (LeaderPhase.ENDED, None)


def test_a_learner_that_breaks_the_rules_may_end_the_term() -> None:
    leader = serving_leader()
    effects = leader.on_packet(1, ack(2), 10)
    assert closed(effects) == [1]
    assert lost(effects) == "only [3] are left, which is no quorum"


def test_the_term_goes_on_with_a_quorum() -> None:
    leader = leader_with_learner(LearnerPhase.SERVING)
    assert leader.on_closed(7) == []
    assert lost(leader.on_closed(2)) == "only [5, 1] are left, which is no quorum"


def test_who_is_not_served_yet_does_not_keep_the_quorum() -> None:
    leader = serving_leader()
    join(leader, 2, info(2))
    leader.on_packet(2, ack_epoch(0, 0), 0)
    assert lost(leader.on_closed(1))


def test_observers_neither_keep_the_quorum_nor_break_it() -> None:
    leader = serving_leader(observer=True)
    assert leader.on_closed(4) == []
    leader = serving_leader(observer=True)
    assert lost(leader.on_closed(1)) == "only [3] are left, which is no quorum"


@pytest.mark.parametrize("phase", UNSETTLED[1:], ids=lambda phase: phase.name)
def test_before_it_serves_a_leader_waits_for_who_has_left(phase: LeaderPhase) -> None:
    leader = leader_in(phase)
    assert leader.on_closed(1) == []
    assert leader.phase == phase
    # A second server takes the first one's place.
    join(leader, 2, info(2))
    if phase == LeaderPhase.EPOCH:
        persist(leader)
    leader.on_packet(2, ack_epoch(0, 0), 0)
    if leader.phase == LeaderPhase.ESTABLISHING:
        persist(leader)
    leader.on_packet(2, ack(1), 0)
    assert leader.phase == LeaderPhase.BROADCAST


def test_acks_of_what_was_proposed_are_allowed_while_serving() -> None:
    leader = serving_leader()
    assert leader.on_packet(1, ack(1), 10) == []
    leader.broadcast.propose(make_zxid(1, 1), b"")
    assert leader.on_packet(1, ack(1, 1), 10) == []
    assert leader.broadcast.acked_by(1) == make_zxid(1, 1)


@pytest.mark.parametrize("counter", [1, COUNTER_MAX])
def test_an_ack_of_what_was_not_proposed_ends_its_connection(counter: int) -> None:
    leader = serving_leader(observer=True)
    assert closed(leader.on_packet(1, ack(1, counter), 10)) == [1]


# -- zxids ---------------------------------------------------------------------------------------------------------


def test_a_counter_that_is_used_up_ends_the_term() -> None:
    leader = serving_leader()
    assert lost(leader.on_counter_used_up()) == "the zxid counter is used up: a new epoch is due"
    assert leader.phase == LeaderPhase.ENDED
    assert leader.on_counter_used_up() == []
