"""The leader's way to a new epoch: who is let in, what is due in which phase, which quorums move it on."""

import pytest
from leading import (
    CONFIG_TEXT,
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
)

from zktw.terms.codes import PacketType
from zktw.terms.zxid import make_zxid
from zktw.wire.effects import (
    CloseLearner,
    EpochAcked,
    EpochAgreed,
    LearnerJoined,
    LearnerSynced,
    PersistEpoch,
    QuorumLost,
    ReadLog,
    Send,
    SendTree,
    Serving,
    ZabEffect,
)
from zktw.wire.peers import PROTOCOL_VERSION, QuorumPacket, encode_protocol_version
from zktw.zab.leader import Leader, LeaderPhase
from zktw.zab.learnerhandler import LearnerPhase
from zktw.zab.office import EPOCH_MAX, EPOCHS_AHEAD_MAX, History

# What a learner may say, by how far it has come, and what follows.
DUE: dict[LearnerPhase, dict[PacketType, tuple[QuorumPacket, list[ZabEffect]]]] = {
    LearnerPhase.REGISTERING: {
        PacketType.FOLLOWERINFO: (info(3), [LearnerJoined(7, 3, observer=False)]),
        PacketType.OBSERVERINFO: (info(3, observer=True), [LearnerJoined(7, 3, observer=True)]),
    },
    LearnerPhase.DISCOVERING: {},
    LearnerPhase.ACKING_EPOCH: {PacketType.ACKEPOCH: (ack_epoch(0, 0), [EpochAcked(3, 0, 0)])},
    LearnerPhase.WAITING_FOR_SYNC: {},
    LearnerPhase.READING_LOG: {},
    LearnerPhase.SYNCING: {PacketType.ACK: (ack(1), [LearnerSynced(3)])},
    LearnerPhase.SYNCED: {},
    LearnerPhase.SERVING: {
        PacketType.PING: (QuorumPacket(PacketType.PING, make_zxid(1, 0), b""), []),
        PacketType.ACK: (ack(1), []),
        PacketType.REQUEST: (QuorumPacket(PacketType.REQUEST, -1, bytes(20)), []),
        PacketType.REVALIDATE: (QuorumPacket(PacketType.REVALIDATE, -1, bytes(12)), []),
    },
}


@pytest.mark.parametrize("kind", PacketType, ids=lambda kind: kind.name)
@pytest.mark.parametrize("phase", LearnerPhase, ids=lambda phase: phase.name)
def test_each_packet_in_each_phase(phase: LearnerPhase, kind: PacketType) -> None:
    """What is not due ends that connection and nothing else."""
    leader = leader_with_learner(phase)
    assert leader.learners[7].phase == phase
    before = leader.phase
    others = [connection for connection in leader.learners if connection != 7]
    packet, expected = DUE[phase].get(kind, (QuorumPacket(kind, make_zxid(1, 0), bytes(20)), None))
    effects = leader.on_packet(7, packet, 5)
    assert leader.phase == before
    if expected is None:
        assert [type(effect) for effect in effects] == [CloseLearner]
        assert closed(effects) == [7]
        assert list(leader.learners) == others
    else:
        assert effects == expected
        assert leader.learners[7].heard_ms == 5


def test_what_comes_on_no_known_connection_is_void() -> None:
    leader = new_leader(3)
    leader.start(0)
    assert leader.on_packet(7, info(1), 0) == []
    assert leader.on_closed(7) == []


# -- introductions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (info(1, protocol=PROTOCOL_VERSION - 1), "speaks protocol 0xffff, older than ZAB 1.0"),
        (QuorumPacket(PacketType.FOLLOWERINFO, 0, None), "speaks protocol 0x0"),
        (QuorumPacket(PacketType.FOLLOWERINFO, 0, bytes(8)), "speaks protocol 0x0"),
        (info(1, config_version=6), "follower is ahead of the leader: configuration version 6 > 5"),
    ],
    ids=["old", "nameless", "very old", "newer configuration"],
)
def test_who_is_not_let_in(packet: QuorumPacket, reason: str) -> None:
    leader = new_leader(3, config_version=5)
    leader.start(0)
    effects = join(leader, 7, packet)
    assert closed(effects) == [7]
    assert isinstance(effects[0], CloseLearner)
    assert effects[0].reason.startswith(reason)
    assert leader.phase == LeaderPhase.DISCOVERY


def test_who_knows_an_older_configuration_is_let_in() -> None:
    leader = new_leader(3, config_version=5)
    leader.start(0)
    assert LearnerJoined(7, 1, observer=False) in join(leader, 7, info(1, config_version=5))
    assert LearnerJoined(8, 2, observer=False) in join(leader, 8, info(2, config_version=0))


def test_a_server_that_connects_anew_counts_once() -> None:
    leader = new_leader(5)
    leader.start(0)
    join(leader, 1, info(1))
    # Its name alone ends no connection: it may be another's lie.
    assert join(leader, 2, info(1)) == [LearnerJoined(2, 1, observer=False)]
    # Twice the same server is one: with the leader two of five.
    assert leader.phase == LeaderPhase.DISCOVERY


def test_a_server_that_connects_anew_takes_its_own_place_once_it_acknowledges_the_epoch() -> None:
    leader = told(5)
    join(leader, 6, info(1))
    assert sorted(leader.learners) == [1, 2, 3, 4, 6]
    effects = leader.on_packet(6, ack_epoch(0, 0), 0)
    assert effects == [CloseLearner(1, "server 1 has connected anew"), EpochAcked(1, 0, 0)]
    assert sorted(leader.learners) == [2, 3, 4, 6]


# -- the new epoch -------------------------------------------------------------------------------------------------


def test_an_ensemble_of_one_needs_nobody() -> None:
    leader = new_leader(1, history=History(4, 4, make_zxid(4, 0)))
    assert leader.start(0) == [EpochAgreed(5), PersistEpoch("acceptedEpoch", 5)]
    assert persist(leader) == [PersistEpoch("currentEpoch", 5)]
    assert persist(leader) == [Serving(5)]
    assert leader.history == History(5, 5, make_zxid(5, 0))


def test_the_epoch_is_above_all_that_were_accepted() -> None:
    leader = new_leader(3, history=History(4, 2, 0))
    assert leader.start(0) == []
    effects = join(leader, 1, info(1, epoch=7))
    assert effects == [LearnerJoined(1, 1, observer=False), EpochAgreed(8), PersistEpoch("acceptedEpoch", 8)]
    assert leader.phase == LeaderPhase.EPOCH
    # It goes out when it is durable.
    assert leader.history.accepted_epoch == 4
    leaderinfo = QuorumPacket(PacketType.LEADERINFO, make_zxid(8, 0), encode_protocol_version(PROTOCOL_VERSION))
    assert persist(leader) == [Send(1, leaderinfo)]
    assert leader.history.accepted_epoch == 8


@pytest.mark.parametrize(
    "packet", [info(4, epoch=9, observer=True), info(1, epoch=9, observer=True), info(99, epoch=9)]
)
def test_who_has_no_vote_raises_the_epoch_and_does_not_count(packet: QuorumPacket) -> None:
    """Observers, a voter that comes as one, and servers that nobody has configured."""
    leader = new_leader(3)
    leader.start(0)
    assert [type(effect) for effect in join(leader, 7, packet)] == [LearnerJoined]
    assert leader.phase == LeaderPhase.DISCOVERY
    assert EpochAgreed(10) in join(leader, 2, info(2))
    assert packets(persist(leader)) == [(connection, "LEADERINFO", make_zxid(10, 0)) for connection in (7, 2)]


def test_who_has_left_does_not_count_for_the_epoch() -> None:
    leader = new_leader(5)
    leader.start(0)
    join(leader, 1, info(1, epoch=6))
    assert leader.on_closed(1) == []
    assert leader.phase == LeaderPhase.DISCOVERY
    join(leader, 2, info(2))
    assert leader.phase == LeaderPhase.DISCOVERY
    # What it has accepted counts all the same.
    assert EpochAgreed(7) in join(leader, 3, info(3))


def test_a_member_at_the_last_epoch_is_turned_away_and_the_others_are_led() -> None:
    leader = new_leader(3)
    leader.start(0)
    effects = join(leader, 1, info(1, epoch=EPOCH_MAX))
    assert [type(effect) for effect in effects] == [CloseLearner]
    assert EpochAgreed(1) in join(leader, 2, info(2, epoch=0))


def test_the_last_epoch_has_no_successor() -> None:
    leader = new_leader(3, history=History(accepted_epoch=EPOCH_MAX - 1))
    leader.start(0)
    assert EpochAgreed(EPOCH_MAX) in join(leader, 1, info(1))
    leader = new_leader(3, history=History(accepted_epoch=EPOCH_MAX))
    leader.start(0)
    assert lost(join(leader, 1, info(1))) == f"epoch {EPOCH_MAX} is the last one there is"


def test_who_claims_an_epoch_that_nobody_can_have_reached_is_turned_away() -> None:
    leader = new_leader(3, history=History(accepted_epoch=7))
    leader.start(0)
    assert closed(join(leader, 1, info(1, epoch=7 + EPOCHS_AHEAD_MAX))) == [1]
    assert EpochAgreed(7 + EPOCHS_AHEAD_MAX) in join(leader, 2, info(2, epoch=6 + EPOCHS_AHEAD_MAX))


def test_an_epoch_that_has_outrun_a_term_is_passed_by_the_next() -> None:
    leader = new_leader(3)
    leader.start(0)
    join(leader, 1, info(1, epoch=4))
    assert "later than ours" in lost(join(leader, 2, info(2, epoch=9)))
    assert leader.history.epoch_heard == 9


def agreed() -> Leader:
    """A leader of three in epoch 1, not durable yet, with server 1 on connection 1."""
    leader = new_leader(3)
    leader.start(0)
    join(leader, 1, info(1))
    assert leader.phase == LeaderPhase.EPOCH
    return leader


def test_a_late_one_is_told_the_epoch_that_was_agreed() -> None:
    leader = agreed()
    assert join(leader, 2, info(2)) == [LearnerJoined(2, 2, observer=False)]
    assert packets(persist(leader)) == [(1, "LEADERINFO", make_zxid(1, 0)), (2, "LEADERINFO", make_zxid(1, 0))]
    # Having accepted this very epoch is no reason to stay away.
    effects = join(leader, 4, info(4, epoch=1, observer=True))
    assert packets(effects) == [(4, "LEADERINFO", make_zxid(1, 0))]


@pytest.mark.parametrize("observer", [False, True])
@pytest.mark.parametrize("durable", [False, True])
def test_a_late_member_with_a_later_epoch_ends_the_term(durable: bool, observer: bool) -> None:
    leader = agreed()
    if durable:
        persist(leader)
    sid = 4 if observer else 2
    effects = join(leader, 2, info(sid, epoch=2, observer=observer))
    assert effects == [
        LearnerJoined(2, sid, observer=observer),
        QuorumLost(f"server {sid} has accepted epoch 2, later than ours (1)"),
    ]
    assert leader.phase == LeaderPhase.ENDED


def test_a_stranger_with_a_later_epoch_does_not_end_the_term() -> None:
    leader = agreed()
    persist(leader)
    assert packets(join(leader, 9, info(99, epoch=2))) == [(9, "LEADERINFO", make_zxid(1, 0))]


# -- who has acknowledged it ---------------------------------------------------------------------------------------


def told(voters: int = 5, history: History | None = None) -> Leader:
    """A leader whose voters below it are all on connections of their numbers, and were told the new epoch."""
    leader = new_leader(voters, history=history)
    leader.start(0)
    for sid in range(1, voters):
        join(leader, sid, info(sid))
    persist(leader)
    assert [handler.phase for handler in leader.learners.values()] == [LearnerPhase.ACKING_EPOCH] * (voters - 1)
    return leader


def test_a_quorum_that_acknowledges_establishes_the_epoch() -> None:
    leader = told()
    assert leader.on_packet(1, ack_epoch(0, 0), 0) == [EpochAcked(1, 0, 0)]
    assert leader.on_packet(2, ack_epoch(0, 0), 0) == [EpochAcked(2, 0, 0), PersistEpoch("currentEpoch", 1)]
    assert leader.phase == LeaderPhase.ESTABLISHING
    # Who comes meanwhile waits for the disk like the others.
    assert leader.on_packet(3, ack_epoch(0, 0), 0) == []
    assert leader.history.current_epoch == 0
    effects = persist(leader)
    assert leader.history.current_epoch == 1
    assert packets(effects) == [
        (connection, kind, zxid) for connection in (1, 2, 3) for kind, zxid in (("DIFF", 0), ("NEWLEADER", 1 << 32))
    ]
    assert packets(leader.on_packet(4, ack_epoch(0, 0), 0)) == [(4, "DIFF", 0), (4, "NEWLEADER", 1 << 32)]


@pytest.mark.parametrize(
    ("epoch", "zxid", "ahead"),
    [
        (3, make_zxid(2, 0), False),
        (2, make_zxid(3, 0), False),
        (3, make_zxid(3, 0), False),
        (3, make_zxid(3, 1), True),
        (4, make_zxid(1, 0), True),
        (-1, make_zxid(9, 9), False),
    ],
)
def test_a_follower_that_is_ahead_is_turned_away(epoch: int, zxid: int, ahead: bool) -> None:
    leader = told(history=History(3, 3, make_zxid(3, 0)))
    effects = leader.on_packet(1, ack_epoch(epoch, zxid), 0)
    assert closed(effects) == ([1] if ahead else [])
    if ahead:
        assert isinstance(effects[0], CloseLearner)
        assert effects[0].reason == (
            f"follower is ahead of the leader: epoch {epoch} zxid 0x{zxid:x}, ours 3 0x300000000"
        )
    # The term goes on with the others; they are quorum enough.
    assert phase_of(leader) == LeaderPhase.EPOCH
    leader.on_packet(2, ack_epoch(3, 0), 0)
    assert phase_of(leader) == (LeaderPhase.EPOCH if ahead or epoch == -1 else LeaderPhase.ESTABLISHING)
    leader.on_packet(3, ack_epoch(3, 0), 0)
    assert phase_of(leader) == LeaderPhase.ESTABLISHING


@pytest.mark.parametrize("packet", [ack_epoch(-1, 0), ack_epoch(0, -1)], ids=["acknowledged before", "empty"])
def test_an_acknowledgement_that_does_not_count(packet: QuorumPacket) -> None:
    leader = told(3)
    assert leader.on_packet(1, packet, 0) == []
    assert leader.phase == LeaderPhase.EPOCH
    # It is synchronised with the others.
    assert PersistEpoch("currentEpoch", 1) in leader.on_packet(2, ack_epoch(0, 0), 0)
    assert {connection for connection, *_ in packets(persist(leader))} == {1, 2}


def test_an_observers_acknowledgement_does_not_count() -> None:
    leader = agreed()
    join(leader, 4, info(4, observer=True))
    persist(leader)
    assert leader.on_packet(4, ack_epoch(0, 0), 0) == []
    assert leader.phase == LeaderPhase.EPOCH


@pytest.mark.parametrize("data", [None, b"", bytes(3), bytes(5)])
def test_a_malformed_acknowledgement_ends_its_connection(data: bytes | None) -> None:
    leader = told()
    assert closed(leader.on_packet(1, QuorumPacket(PacketType.ACKEPOCH, 0, data), 0)) == [1]
    assert leader.phase == LeaderPhase.EPOCH


def test_after_the_quorum_a_late_one_may_be_ahead() -> None:
    """It holds what no quorum has: our tree takes the place of that."""
    leader = told(3)
    leader.on_packet(1, ack_epoch(0, 0), 0)
    persist(leader)
    effects = leader.on_packet(2, ack_epoch(0, make_zxid(5, 0)), 0)
    assert effects[:2] == [Send(2, QuorumPacket(PacketType.SNAP, 0)), SendTree(2)]
    assert packets(effects)[1:] == [(2, "NEWLEADER", make_zxid(1, 0))]


# -- synchronisation -----------------------------------------------------------------------------------------------


def test_an_empty_member_is_sent_the_tree() -> None:
    leader = told(3, History(3, 3, make_zxid(3, 0)))
    leader.on_packet(1, ack_epoch(0, -1), 0)
    leader.on_packet(2, ack_epoch(3, make_zxid(3, 0)), 0)
    assert persist(leader)[:3] == [
        Send(1, QuorumPacket(PacketType.SNAP, make_zxid(3, 0))),
        SendTree(1),
        Send(1, QuorumPacket(PacketType.NEWLEADER, make_zxid(4, 0), CONFIG_TEXT.encode())),
    ]


def test_what_memory_does_not_reach_is_read_from_the_log() -> None:
    leader = told(3, History(3, 3, make_zxid(3, 0)))
    leader.on_packet(1, ack_epoch(2, make_zxid(2, 17)), 0)
    assert persist(leader) == [ReadLog(1, make_zxid(2, 17), first=True)]
    assert leader.phase == LeaderPhase.SYNCHRONISATION
    assert leader.on_log_read(9, None) == []
    effects = leader.on_log_read(1, None)
    assert packets(effects) == [(1, "SNAP", make_zxid(3, 0)), (1, "NEWLEADER", make_zxid(4, 0))]
    # Nothing is read any more.
    assert leader.on_log_read(1, None) == []


def test_a_quorum_that_holds_the_history_is_served() -> None:
    leader = told(5)
    for connection in (1, 2, 3):
        leader.on_packet(connection, ack_epoch(0, 0), 0)
    persist(leader)
    assert leader.on_packet(1, ack(1), 0) == [LearnerSynced(1)]
    assert leader.history.last_zxid == 0
    effects = leader.on_packet(3, ack(1), 0)
    uptodate = QuorumPacket(PacketType.UPTODATE, -1)
    assert effects == [LearnerSynced(3), Serving(1), Send(1, uptodate), Send(3, uptodate)]
    assert leader.history.last_zxid == leader.broadcast.last_proposed == make_zxid(1, 0)
    # Whoever comes later is told at once, and synchronised to the new epoch's beginning.
    assert leader.on_packet(2, ack(1), 0) == [LearnerSynced(2), Send(2, uptodate)]
    assert packets(leader.on_packet(4, ack_epoch(0, 0), 0))[0] == (4, "DIFF", make_zxid(1, 0))


@pytest.mark.parametrize("zxid", [make_zxid(1, 1), make_zxid(2, 0)])
def test_an_ack_of_something_else_than_newleader_ends_its_connection(zxid: int) -> None:
    leader = leader_with_learner(LearnerPhase.SYNCING)
    assert closed(leader.on_packet(7, QuorumPacket(PacketType.ACK, zxid), 0)) == [7]


@pytest.mark.parametrize("zxid", [0, make_zxid(0, 5), -1])
def test_an_ack_of_what_it_was_brought_up_to_date_with_is_not_that_of_newleader(zxid: int) -> None:
    leader = leader_with_learner(LearnerPhase.SYNCING)
    assert leader.on_packet(7, QuorumPacket(PacketType.ACK, zxid), 0) == []
    assert leader.learners[7].phase == LearnerPhase.SYNCING
    assert leader.on_packet(7, ack(1), 0) == [LearnerSynced(3)]


def test_those_who_do_not_vote_do_not_make_a_quorum_of_the_synchronised() -> None:
    leader = agreed()
    join(leader, 4, info(4, observer=True))
    persist(leader)
    for connection in (4, 1):
        leader.on_packet(connection, ack_epoch(0, 0), 0)
    persist(leader)
    assert leader.on_packet(4, ack(1), 0) == [LearnerSynced(4)]
    assert leader.phase == LeaderPhase.SYNCHRONISATION
    # But are served with the others.
    assert packets(leader.on_packet(1, ack(1), 0)) == [(1, "UPTODATE", -1), (4, "UPTODATE", -1)]
