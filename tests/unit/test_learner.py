"""A learner's way from FOLLOWERINFO to UPTODATE: what is due at each stage, what is durable before which word."""

import pytest

from zktw.terms.codes import PacketType
from zktw.terms.zxid import make_zxid
from zktw.wire.effects import (
    EpochAgreed,
    LeaderLost,
    PersistEpoch,
    PersistTree,
    ReadTree,
    Send,
    Serving,
    Synchronised,
    ZabEffect,
)
from zktw.wire.peers import (
    PROTOCOL_VERSION,
    LearnerInfo,
    QuorumPacket,
    decode_learner_info,
    encode_current_epoch,
    encode_learner_info,
    encode_protocol_version,
)
from zktw.zab.learner import Learner, LearnerStage
from zktw.zab.office import History, Timing

# init_ms is 1000, sync_ms 500.
TIMING = Timing(tick_ms=100, init_limit=10, sync_limit=5)
EPOCH = 5
NEWLEADER_ZXID = make_zxid(EPOCH, 0)
CONFIG = b"server.1=a:1:2:participant\nversion=0"


def leaderinfo(epoch: int = EPOCH, version: int = PROTOCOL_VERSION) -> QuorumPacket:
    """LEADERINFO of this epoch."""
    return QuorumPacket(PacketType.LEADERINFO, make_zxid(epoch, 0), encode_protocol_version(version))


def packet(kind: PacketType, zxid: int = NEWLEADER_ZXID, data: bytes | None = None) -> QuorumPacket:
    """A packet of the leader."""
    return QuorumPacket(kind, zxid, data)


def acks() -> Send:
    """The ACK of NEWLEADER, and of UPTODATE."""
    return Send(0, QuorumPacket(PacketType.ACK, NEWLEADER_ZXID))


def stage_of(learner: Learner) -> LearnerStage:
    """The learner's stage, which any call may have changed."""
    return learner.stage


def started(*, observer: bool = False, history: History | None = None) -> Learner:
    """Server 2, which has introduced itself at time 0; by default it has accepted epoch 4 and holds epoch 3."""
    learner = Learner(2, observer, history or History(4, 3, make_zxid(3, 0)), TIMING)
    learner.start(0)
    return learner


def learner_at(stage: LearnerStage, *, observer: bool = False, mode: str = "DIFF") -> Learner:
    """A learner that has come to this stage, at time 0."""
    learner = started(observer=observer)
    if stage == LearnerStage.LEADERINFO:
        return learner
    learner.on_packet(leaderinfo(), 0)
    if stage == LearnerStage.ACCEPTING:
        return learner
    learner.on_epoch_persisted("acceptedEpoch", EPOCH, 0)
    if stage == LearnerStage.SYNC:
        return learner
    if mode == "SNAP" or stage == LearnerStage.TREE:
        learner.on_packet(packet(PacketType.SNAP, make_zxid(4, 0)), 0)
        if stage == LearnerStage.TREE:
            return learner
        learner.on_tree(0)
    else:
        learner.on_packet(packet(PacketType.DIFF, make_zxid(4, 0)), 0)
    if stage == LearnerStage.NEWLEADER:
        return learner
    learner.on_packet(packet(PacketType.NEWLEADER, data=CONFIG), 0)
    if stage == LearnerStage.WRITING:
        return learner
    if mode == "SNAP":
        learner.on_tree_persisted(make_zxid(4, 0))
    learner.on_epoch_persisted("currentEpoch", EPOCH, 0)
    if stage == LearnerStage.UPTODATE:
        return learner
    learner.on_packet(packet(PacketType.UPTODATE, -1), 0)
    if stage == LearnerStage.ENDED:
        learner.on_stream_error("the connection ended")
    return learner


# What the leader may say at each stage, and what follows; everything else ends the role.
DUE: dict[LearnerStage, dict[PacketType, tuple[QuorumPacket, list[ZabEffect], LearnerStage]]] = {
    LearnerStage.LEADERINFO: {
        PacketType.LEADERINFO: (
            leaderinfo(),
            [EpochAgreed(EPOCH), PersistEpoch("acceptedEpoch", EPOCH)],
            LearnerStage.ACCEPTING,
        ),
    },
    LearnerStage.ACCEPTING: {},
    LearnerStage.SYNC: {
        PacketType.DIFF: (packet(PacketType.DIFF, make_zxid(4, 0)), [], LearnerStage.NEWLEADER),
        PacketType.SNAP: (
            packet(PacketType.SNAP, make_zxid(4, 0)),
            [ReadTree(make_zxid(4, 0))],
            LearnerStage.TREE,
        ),
    },
    LearnerStage.TREE: {},
    LearnerStage.NEWLEADER: {
        PacketType.NEWLEADER: (
            packet(PacketType.NEWLEADER, data=CONFIG),
            [PersistEpoch("currentEpoch", EPOCH)],
            LearnerStage.WRITING,
        ),
        PacketType.PING: (packet(PacketType.PING), [], LearnerStage.NEWLEADER),
    },
    LearnerStage.WRITING: {PacketType.PING: (packet(PacketType.PING), [], LearnerStage.WRITING)},
    LearnerStage.UPTODATE: {
        PacketType.UPTODATE: (packet(PacketType.UPTODATE, -1), [acks(), Serving(EPOCH)], LearnerStage.SERVING),
        PacketType.PING: (packet(PacketType.PING), [], LearnerStage.UPTODATE),
    },
    LearnerStage.SERVING: {
        PacketType.PING: (
            packet(PacketType.PING),
            [Send(0, QuorumPacket(PacketType.PING, NEWLEADER_ZXID, b""))],
            LearnerStage.SERVING,
        ),
    },
}


@pytest.mark.parametrize("observer", [False, True], ids=["follower", "observer"])
@pytest.mark.parametrize("kind", PacketType, ids=lambda kind: kind.name)
@pytest.mark.parametrize("stage", DUE, ids=lambda stage: stage.name)
def test_each_packet_at_each_stage(stage: LearnerStage, kind: PacketType, observer: bool) -> None:
    learner = learner_at(stage, observer=observer)
    assert stage_of(learner) == stage
    due = DUE[stage].get(kind)
    if due is not None:
        said, effects, following = due
        assert learner.on_packet(said, 10) == effects
        assert stage_of(learner) == following
        return
    effects = learner.on_packet(packet(kind, make_zxid(EPOCH, 1), bytes(20)), 10)
    reason = (
        f"{kind.name} 0x500000001: the ensemble holds data, which this release cannot keep"
        if kind in (PacketType.PROPOSAL, PacketType.COMMIT, PacketType.INFORM)
        else f"{kind.name} 0x500000001 while {stage.value}"
    )
    assert effects == [LeaderLost(reason)]
    assert stage_of(learner) == LearnerStage.ENDED
    assert learner.deadline_ms is None


@pytest.mark.parametrize("kind", PacketType, ids=lambda kind: kind.name)
def test_after_its_end_a_role_answers_nothing(kind: PacketType) -> None:
    learner = learner_at(LearnerStage.ENDED)
    assert learner.on_packet(packet(kind), 10) == []
    assert learner.on_tree(10) == []
    assert learner.on_stream_error("again") == []
    assert learner.on_deadline(100_000) == []


# -- the introduction ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("observer", "kind"), [(False, PacketType.FOLLOWERINFO), (True, PacketType.OBSERVERINFO)])
def test_a_learner_introduces_itself(observer: bool, kind: PacketType) -> None:
    learner = Learner(2, observer, History(4, 3, 0), TIMING, config_version=6)
    (effect,) = learner.start(0)
    data = encode_learner_info(LearnerInfo(2, PROTOCOL_VERSION, 6))
    assert effect == Send(0, QuorumPacket(kind, make_zxid(4, 0), data))
    assert decode_learner_info(data).config_version == 6


# -- the epoch -----------------------------------------------------------------------------------------------------


def test_a_higher_epoch_is_acknowledged_once_it_is_durable() -> None:
    learner = started()
    assert learner.on_packet(leaderinfo(5), 1) == [EpochAgreed(5), PersistEpoch("acceptedEpoch", 5)]
    assert learner.history.accepted_epoch == 4
    effects = learner.on_epoch_persisted("acceptedEpoch", 5, 2)
    assert effects == [Send(0, QuorumPacket(PacketType.ACKEPOCH, make_zxid(3, 0), encode_current_epoch(3)))]
    assert learner.history == History(5, 3, make_zxid(3, 0))


def test_an_equal_epoch_is_acknowledged_as_one_that_does_not_count() -> None:
    learner = started()
    effects = learner.on_packet(leaderinfo(4), 1)
    ack = QuorumPacket(PacketType.ACKEPOCH, make_zxid(3, 0), encode_current_epoch(-1))
    assert effects == [EpochAgreed(4), Send(0, ack)]
    assert learner.stage == LearnerStage.SYNC


def test_a_lower_epoch_ends_the_role() -> None:
    learner = started()
    assert learner.on_packet(leaderinfo(3), 1) == [LeaderLost("the leader's epoch 3 is below our 4")]
    assert learner.history == History(4, 3, make_zxid(3, 0))


def test_an_empty_member_says_so() -> None:
    learner = started(history=History(0, 0, -1))
    learner.on_packet(leaderinfo(5), 1)
    effects = learner.on_epoch_persisted("acceptedEpoch", 5, 2)
    assert effects == [Send(0, QuorumPacket(PacketType.ACKEPOCH, -1, encode_current_epoch(0)))]


def test_a_leader_of_an_older_protocol_is_not_followed() -> None:
    effects = started().on_packet(leaderinfo(5, PROTOCOL_VERSION - 1), 1)
    assert effects == [LeaderLost("the leader speaks protocol 0xffff, older than ZAB 1.0")]


@pytest.mark.parametrize("data", [None, b"", bytes(3), bytes(5)])
def test_a_malformed_leaderinfo_ends_the_role(data: bytes | None) -> None:
    effects = started().on_packet(packet(PacketType.LEADERINFO, data=data), 1)
    assert [type(effect) for effect in effects] == [LeaderLost]


# -- synchronisation -----------------------------------------------------------------------------------------------


def test_with_diff_the_epoch_is_durable_before_the_ack() -> None:
    learner = learner_at(LearnerStage.NEWLEADER)
    effects = learner.on_packet(packet(PacketType.NEWLEADER, data=CONFIG), 1)
    assert effects == [PersistEpoch("currentEpoch", EPOCH)]
    assert learner.history.current_epoch == 3
    effects = learner.on_epoch_persisted("currentEpoch", EPOCH, 2)
    assert effects == [acks(), Synchronised("DIFF", make_zxid(4, 0))]
    # Our own history is what it was.
    assert learner.history == History(EPOCH, EPOCH, make_zxid(3, 0))


def test_with_snap_the_tree_is_durable_before_the_epoch_and_that_before_the_ack() -> None:
    learner = learner_at(LearnerStage.SYNC)
    assert learner.on_packet(packet(PacketType.SNAP, make_zxid(4, 0)), 1) == [ReadTree(make_zxid(4, 0))]
    assert learner.on_tree(2) == []
    assert learner.on_packet(packet(PacketType.NEWLEADER, data=CONFIG), 3) == [PersistTree(make_zxid(4, 0))]
    assert learner.history.last_zxid == make_zxid(3, 0)
    assert learner.on_tree_persisted(make_zxid(4, 0)) == [PersistEpoch("currentEpoch", EPOCH)]
    assert learner.history == History(EPOCH, 3, make_zxid(4, 0))
    effects = learner.on_epoch_persisted("currentEpoch", EPOCH, 4)
    assert effects == [acks(), Synchronised("SNAP", make_zxid(4, 0))]
    assert learner.history == History(EPOCH, EPOCH, make_zxid(4, 0))


def test_a_snap_of_data_is_refused_before_it_is_read() -> None:
    effects = learner_at(LearnerStage.SYNC).on_packet(packet(PacketType.SNAP, make_zxid(4, 7)), 1)
    assert effects == [LeaderLost("SNAP of 0x400000007: the ensemble holds data, which this release cannot keep")]


def test_a_newleader_of_another_epoch_ends_the_role() -> None:
    for zxid in (make_zxid(6, 0), make_zxid(EPOCH, 1)):
        effects = learner_at(LearnerStage.NEWLEADER).on_packet(packet(PacketType.NEWLEADER, zxid), 1)
        assert effects == [LeaderLost(f"NEWLEADER 0x{zxid:x} in epoch {EPOCH}")]


@pytest.mark.parametrize("mode", ["DIFF", "SNAP"])
@pytest.mark.parametrize("stage", [LearnerStage.NEWLEADER, LearnerStage.WRITING, LearnerStage.UPTODATE])
def test_early_pings_are_never_answered(stage: LearnerStage, mode: str) -> None:
    """The leader would take the answer for the ACK that it waits for."""
    learner = learner_at(stage, mode=mode)
    for now in range(3):
        assert learner.on_packet(packet(PacketType.PING), now) == []
    assert learner.stage == stage


@pytest.mark.parametrize("authinfo", [None, (("ip", "127.0.0.1"),)])
def test_a_ping_is_answered_with_its_zxid_and_an_empty_list(authinfo: tuple[tuple[str, str], ...] | None) -> None:
    ping = QuorumPacket(PacketType.PING, make_zxid(EPOCH, 9), None, authinfo)
    answer = QuorumPacket(PacketType.PING, make_zxid(EPOCH, 9), b"", authinfo)
    assert learner_at(LearnerStage.SERVING).on_packet(ping, 1) == [Send(0, answer)]


def test_a_tree_that_ends_where_none_is_read_is_nothing() -> None:
    for stage in (LearnerStage.SYNC, LearnerStage.NEWLEADER, LearnerStage.SERVING):
        learner = learner_at(stage)
        assert learner.on_tree(1) == []
        assert learner.stage == stage


# -- ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", DUE, ids=lambda stage: stage.name)
def test_a_connection_that_ends_is_the_end_of_the_role(stage: LearnerStage) -> None:
    learner = learner_at(stage)
    assert learner.on_stream_error("connection lost") == [LeaderLost("connection lost")]
    assert stage_of(learner) == LearnerStage.ENDED


def test_what_is_durable_after_the_end_is_part_of_the_history() -> None:
    """The next term starts from what is on the disk."""
    learner = learner_at(LearnerStage.ACCEPTING)
    learner.on_stream_error("connection lost")
    assert learner.on_epoch_persisted("acceptedEpoch", EPOCH, 1) == []
    assert learner.history == History(EPOCH, 3, make_zxid(3, 0))
    learner = learner_at(LearnerStage.WRITING)
    learner.on_stream_error("connection lost")
    assert learner.on_epoch_persisted("currentEpoch", EPOCH, 1) == []
    assert learner.history == History(EPOCH, EPOCH, make_zxid(3, 0))
    learner = learner_at(LearnerStage.WRITING, mode="SNAP")
    learner.on_stream_error("connection lost")
    # The epoch is not asked for any more.
    assert learner.on_tree_persisted(make_zxid(4, 0)) == []
    assert learner.history == History(EPOCH, 3, make_zxid(4, 0))


@pytest.mark.parametrize("stage", DUE, ids=lambda stage: stage.name)
def test_a_leader_that_is_silent_is_left(stage: LearnerStage) -> None:
    learner = learner_at(stage)
    settled = stage == LearnerStage.SERVING
    patience = TIMING.sync_ms if settled else TIMING.init_ms
    if stage == LearnerStage.UPTODATE:
        learner.on_packet(packet(PacketType.PING), 0)
    assert learner.deadline_ms == patience
    assert learner.on_deadline(patience - 1) == []
    reason = f"the leader was silent for {patience:.0f} ms while {stage.value}"
    assert learner.on_deadline(patience) == [LeaderLost(reason)]


@pytest.mark.parametrize("stage", [LearnerStage.NEWLEADER, LearnerStage.UPTODATE, LearnerStage.SERVING])
def test_a_leader_that_pings_is_not_silent(stage: LearnerStage) -> None:
    learner = learner_at(stage)
    for now in range(0, 5000, 400):
        assert learner.on_deadline(now) == []
        learner.on_packet(packet(PacketType.PING), now)
    assert learner.stage == stage
