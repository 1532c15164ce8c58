"""A learner's way from FOLLOWERINFO to UPTODATE: what is due at each stage, what is durable before which word."""

import struct

import pytest

from zktw.terms.codes import PacketType
from zktw.terms.zxid import make_zxid
from zktw.wire.effects import (
    EpochAgreed,
    LeaderLost,
    PersistEpoch,
    PersistTree,
    PersistTxns,
    ReadTree,
    Send,
    Serving,
    Synchronised,
    Truncate,
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


def txn(counter: int, epoch: int = EPOCH) -> tuple[int, bytes]:
    """A transaction of which no more is read than its zxid."""
    zxid = make_zxid(epoch, counter)
    return zxid, struct.pack(">qiqqi", 1, 1, zxid, 0, -1)


def proposal(counter: int, epoch: int = EPOCH) -> QuorumPacket:
    """PROPOSAL of txn()."""
    return QuorumPacket(PacketType.PROPOSAL, *txn(counter, epoch))


def commit(counter: int, epoch: int = EPOCH) -> QuorumPacket:
    """COMMIT of txn()."""
    return packet(PacketType.COMMIT, make_zxid(epoch, counter))


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
    elif mode == "TRUNC" or stage == LearnerStage.TRUNCATING:
        learner.on_packet(packet(PacketType.TRUNC, make_zxid(2, 0)), 0)
        if stage == LearnerStage.TRUNCATING:
            return learner
        learner.on_truncated(0)
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
        PacketType.TRUNC: (
            packet(PacketType.TRUNC, make_zxid(2, 0)),
            [Truncate(make_zxid(2, 0))],
            LearnerStage.TRUNCATING,
        ),
    },
    LearnerStage.TREE: {},
    LearnerStage.TRUNCATING: {
        PacketType.NEWLEADER: (packet(PacketType.NEWLEADER, data=CONFIG), [], LearnerStage.TRUNCATING),
    },
    LearnerStage.NEWLEADER: {
        PacketType.NEWLEADER: (
            packet(PacketType.NEWLEADER, data=CONFIG),
            [PersistEpoch("currentEpoch", EPOCH)],
            LearnerStage.WRITING,
        ),
    },
    LearnerStage.WRITING: {},
    LearnerStage.UPTODATE: {
        PacketType.UPTODATE: (packet(PacketType.UPTODATE, -1), [acks(), Serving(EPOCH)], LearnerStage.SERVING),
    },
    # The role has a core of its own for what comes then.
    LearnerStage.SERVING: {},
}
SYNCHRONISING = (LearnerStage.TRUNCATING, LearnerStage.NEWLEADER, LearnerStage.WRITING, LearnerStage.UPTODATE)
for synchronising in SYNCHRONISING:
    DUE[synchronising][PacketType.PING] = (packet(PacketType.PING), [], synchronising)
    DUE[synchronising][PacketType.PROPOSAL] = (proposal(1), [], synchronising)


def reason_of(stage: LearnerStage, kind: PacketType, observer: bool) -> str:
    """Why the role ends when this comes with zxid 1 of the epoch, and zeroes."""
    if stage in SYNCHRONISING:
        if kind in (PacketType.INFORM, PacketType.INFORMANDACTIVATE):
            return f"{kind.name} 0x500000001 without that transaction" if observer else f"{kind.name} to a follower"
        if kind in (PacketType.COMMIT, PacketType.COMMITANDACTIVATE):
            return f"{kind.name} 0x500000001, which is not the oldest proposal"
        if kind == PacketType.NEWLEADER and stage in (LearnerStage.NEWLEADER, LearnerStage.TRUNCATING):
            return "NEWLEADER 0x500000001 in epoch 5"
    if stage == LearnerStage.SYNC and kind == PacketType.TRUNC:
        return "TRUNC to 0x500000001, and we hold 0x300000000"
    return f"{kind.name} 0x500000001 while {stage.value}"


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
    assert effects == [LeaderLost(reason_of(stage, kind, observer))]
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


def test_with_trunc_what_the_leader_lacks_is_gone_before_the_epoch_is_written() -> None:
    learner = learner_at(LearnerStage.TRUNCATING)
    assert learner.on_packet(packet(PacketType.NEWLEADER, data=CONFIG), 1) == []
    assert learner.history.last_zxid == make_zxid(3, 0)
    assert learner.on_truncated(2) == [PersistEpoch("currentEpoch", EPOCH)]
    assert learner.history == History(EPOCH, 3, make_zxid(2, 0))
    effects = learner.on_epoch_persisted("currentEpoch", EPOCH, 3)
    assert effects == [acks(), Synchronised("TRUNC", make_zxid(2, 0))]


def test_with_trunc_newleader_may_come_later() -> None:
    learner = learner_at(LearnerStage.TRUNCATING)
    assert learner.on_truncated(1) == []
    assert learner.on_packet(packet(PacketType.NEWLEADER, data=CONFIG), 2) == [PersistEpoch("currentEpoch", EPOCH)]


@pytest.mark.parametrize("zxid", [-1, make_zxid(3, 1)])
def test_a_trunc_to_where_we_never_were_ends_the_role(zxid: int) -> None:
    learner = learner_at(LearnerStage.SYNC)
    assert [type(effect) for effect in learner.on_packet(packet(PacketType.TRUNC, zxid), 1)] == [LeaderLost]


def test_who_cannot_truncate_asks_for_a_tree_the_next_time() -> None:
    learner = learner_at(LearnerStage.TRUNCATING)
    assert learner.on_truncate_refused("no such place") == [LeaderLost("no such place")]
    again = Learner(2, False, learner.history, TIMING)
    again.start(0)
    ack_epoch = QuorumPacket(PacketType.ACKEPOCH, -1, encode_current_epoch(-1))
    assert again.on_packet(leaderinfo(), 1) == [EpochAgreed(EPOCH), Send(0, ack_epoch)]
    again.on_packet(packet(PacketType.SNAP, make_zxid(4, 0)), 2)
    again.on_tree(3)
    again.on_packet(packet(PacketType.NEWLEADER, data=CONFIG), 4)
    again.on_tree_persisted(make_zxid(4, 0))
    assert again.history == History(EPOCH, 3, make_zxid(4, 0))


# -- transactions --------------------------------------------------------------------------------------------------


def test_what_is_committed_before_newleader_is_durable_before_the_epoch() -> None:
    learner = learner_at(LearnerStage.NEWLEADER)
    for counter in (1, 2):
        assert learner.on_packet(proposal(counter, 4), 1) == []
        assert learner.on_packet(commit(counter, 4), 1) == []
    effects = learner.on_packet(packet(PacketType.NEWLEADER, data=CONFIG), 2)
    assert effects == [PersistTxns((txn(1, 4), txn(2, 4)))]
    assert learner.history.last_zxid == make_zxid(3, 0)
    assert learner.on_txns_persisted(make_zxid(4, 2)) == [PersistEpoch("currentEpoch", EPOCH)]
    assert learner.history == History(EPOCH, 3, make_zxid(4, 2))
    assert learner.on_epoch_persisted("currentEpoch", EPOCH, 3)[0] == acks()


def test_what_was_committed_behind_a_tree_is_written_behind_it() -> None:
    """What gathered while the tree was sent may be in it already."""
    learner = learner_at(LearnerStage.TREE)
    learner.on_tree(1)
    for said in (proposal(9, 3), commit(9, 3), proposal(1, 4), commit(1, 4)):
        assert learner.on_packet(said, 1) == []
    effects = learner.on_packet(packet(PacketType.NEWLEADER, data=CONFIG), 2)
    assert effects == [PersistTree(make_zxid(4, 0))]
    assert learner.on_tree_persisted(make_zxid(4, 0)) == [PersistTxns((txn(1, 4),))]
    assert learner.on_txns_persisted(make_zxid(4, 1)) == [PersistEpoch("currentEpoch", EPOCH)]


def test_what_is_proposed_only_waits_for_uptodate() -> None:
    learner = learner_at(LearnerStage.NEWLEADER)
    for said in (proposal(1), proposal(2), commit(1)):
        assert learner.on_packet(said, 1) == []
    assert learner.on_packet(packet(PacketType.NEWLEADER, data=CONFIG), 1) == [PersistTxns((txn(1),))]
    assert learner.on_packet(proposal(3), 2) == []
    learner.on_txns_persisted(make_zxid(EPOCH, 1))
    learner.on_epoch_persisted("currentEpoch", EPOCH, 3)
    assert learner.on_packet(commit(2), 4) == []
    assert learner.on_packet(packet(PacketType.UPTODATE, -1), 5) == [acks(), Serving(EPOCH)]
    assert (list(learner.proposals), learner.commits) == ([txn(2), txn(3)], [make_zxid(EPOCH, 2)])
    assert learner.last_zxid == make_zxid(EPOCH, 3)
    # None of it is in our history yet.
    assert learner.history == History(EPOCH, EPOCH, make_zxid(EPOCH, 1))


def test_an_observer_is_told_at_once_what_is_committed() -> None:
    learner = learner_at(LearnerStage.NEWLEADER, observer=True)
    assert learner.on_packet(QuorumPacket(PacketType.INFORM, *txn(1)), 1) == []
    assert learner.on_packet(packet(PacketType.NEWLEADER, data=CONFIG), 1) == [PersistTxns((txn(1),))]
    assert learner.on_packet(QuorumPacket(PacketType.INFORM, *txn(2)), 2) == []
    assert (list(learner.proposals), learner.commits) == ([txn(2)], [make_zxid(EPOCH, 2)])


def test_a_reconfiguration_among_them_designates_a_leader() -> None:
    designated = struct.pack(">q", 3)
    follower = learner_at(LearnerStage.WRITING)
    zxid, payload = txn(1)
    follower.on_packet(proposal(1), 1)
    assert follower.on_packet(packet(PacketType.COMMITANDACTIVATE, zxid, designated), 1) == []
    observer = learner_at(LearnerStage.WRITING, observer=True)
    assert observer.on_packet(packet(PacketType.INFORMANDACTIVATE, zxid, designated + payload), 1) == []
    for learner in (follower, observer):
        assert learner.activations == [(zxid, 3)]
        assert (list(learner.proposals), learner.commits) == ([(zxid, payload)], [zxid])


@pytest.mark.parametrize("data", [None, b"", bytes(7)])
def test_a_reconfiguration_that_designates_nobody_ends_the_role(data: bytes | None) -> None:
    learner = learner_at(LearnerStage.WRITING)
    learner.on_packet(proposal(1), 1)
    effects = learner.on_packet(packet(PacketType.COMMITANDACTIVATE, make_zxid(EPOCH, 1), data), 1)
    assert effects == [LeaderLost("a reconfiguration that designates no leader")]


@pytest.mark.parametrize(
    "said",
    [proposal(2), proposal(0, 6), proposal(1, 6), QuorumPacket(PacketType.PROPOSAL, make_zxid(EPOCH, 3), txn(4)[1])],
    ids=["once more", "the start of an epoch", "a later epoch", "another one's payload"],
)
def test_a_proposal_that_cannot_be_the_next_ends_the_role(said: QuorumPacket) -> None:
    learner = learner_at(LearnerStage.NEWLEADER)
    assert learner.on_packet(proposal(2), 1) == []
    assert [type(effect) for effect in learner.on_packet(said, 1)] == [LeaderLost]


def test_numbers_may_be_left_out() -> None:
    """Old leaders of Apache's do so."""
    learner = learner_at(LearnerStage.NEWLEADER)
    for counter in (1, 5, 700):
        assert learner.on_packet(proposal(counter), 1) == []


def test_a_commit_out_of_its_turn_ends_the_role() -> None:
    learner = learner_at(LearnerStage.NEWLEADER)
    for counter in (1, 2):
        learner.on_packet(proposal(counter), 1)
    effects = learner.on_packet(commit(2), 1)
    assert effects == [LeaderLost("COMMIT 0x500000002, which is not the oldest proposal")]


def test_what_we_hold_already_is_passed_over() -> None:
    learner = learner_at(LearnerStage.NEWLEADER)
    for said in (proposal(0, 3), commit(0, 3), proposal(7, 2)):
        assert learner.on_packet(said, 1) == []
    assert not learner.proposals
    assert learner.on_packet(packet(PacketType.NEWLEADER, data=CONFIG), 1) == [PersistEpoch("currentEpoch", EPOCH)]


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
    patience = TIMING.silence_ms if settled else TIMING.init_ms
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
        if stage == LearnerStage.SERVING:
            learner.heard(now)
        else:
            learner.on_packet(packet(PacketType.PING), now)
    assert learner.stage == stage
