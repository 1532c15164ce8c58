"""What the tests of the leader share: packets of learners, and a term of office that has come to a given point."""

from collections.abc import Sequence

from electing import ensemble

from zktw.terms.codes import PacketType
from zktw.terms.zxid import make_zxid
from zktw.wire.effects import CloseLearner, QuorumLost, Send, ZabEffect
from zktw.wire.peers import PROTOCOL_VERSION, LearnerInfo, QuorumPacket, encode_current_epoch, encode_learner_info
from zktw.zab.committedlog import CommittedLog
from zktw.zab.leader import Leader, LeaderPhase
from zktw.zab.learnerhandler import LearnerPhase
from zktw.zab.office import History, Timing

# init_ms is 1000, sync_ms 500.
TIMING = Timing(tick_ms=100, init_limit=10, sync_limit=5)
CONFIG_TEXT = "server.1=a:1:2:participant\nversion=0"


def new_leader(
    voters: int,
    *,
    history: History | None = None,
    electors: tuple[int, ...] = (),
    round_: int = 1,
    epoch_wait_ms: float = -1,
    config_version: int = 0,
) -> Leader:
    """A leader with the greatest sid of so many voters, and the first observer above it as a member."""
    history = history or History()
    return Leader(
        voters,
        ensemble(voters).verifier(),
        history,
        TIMING,
        CommittedLog(history.last_zxid),
        Unheard(),
        config_text=CONFIG_TEXT,
        config_version=config_version,
        members=tuple(range(1, voters + 2)),
        electors=electors,
        round_=round_,
        epoch_wait_ms=epoch_wait_ms,
    )


class Unheard:
    """A leader's log, tree and connections, of which nobody takes notice."""

    def persist(self, zxid: int, payload: bytes) -> None:
        """See broadcast.Outlet."""

    def commit(self, zxid: int) -> None:
        """See broadcast.Outlet."""

    def write(self, connection: int, data: bytes) -> None:
        """See broadcast.Outlet."""


class Unasked:
    """A leader's data service, of which nobody takes notice."""

    def on_request(self, connection: int, packet: QuorumPacket) -> None:
        """See Requests."""

    def on_touched(self, connection: int, touched: bytes) -> None:
        """See Requests."""

    def on_revalidate(self, connection: int, data: bytes) -> None:
        """See Requests."""

    def left(self, connection: int) -> None:
        """See Requests."""


def info(
    sid: int, *, epoch: int = 0, observer: bool = False, protocol: int = PROTOCOL_VERSION, config_version: int = 0
) -> QuorumPacket:
    """FOLLOWERINFO or OBSERVERINFO of a learner that has accepted this epoch."""
    kind = PacketType.OBSERVERINFO if observer else PacketType.FOLLOWERINFO
    return QuorumPacket(kind, make_zxid(epoch, 0), encode_learner_info(LearnerInfo(sid, protocol, config_version)))


def ack_epoch(epoch: int, zxid: int) -> QuorumPacket:
    """ACKEPOCH of a learner that holds this."""
    return QuorumPacket(PacketType.ACKEPOCH, zxid, encode_current_epoch(epoch))


def ack(epoch: int, counter: int = 0) -> QuorumPacket:
    """ACK of this zxid."""
    return QuorumPacket(PacketType.ACK, make_zxid(epoch, counter))


def join(leader: Leader, connection: int, packet: QuorumPacket, now_ms: float = 0) -> list[ZabEffect]:
    """Connect a learner and let it introduce itself."""
    assert leader.on_connected(connection, now_ms) == []
    return leader.on_packet(connection, packet, now_ms)


def persist(leader: Leader, now_ms: float = 0) -> list[ZabEffect]:
    """Report the epoch that is due as durable."""
    name = {LeaderPhase.EPOCH: "acceptedEpoch", LeaderPhase.ESTABLISHING: "currentEpoch"}[leader.phase]
    return leader.on_epoch_persisted(
        "acceptedEpoch" if name == "acceptedEpoch" else "currentEpoch", leader.epoch, now_ms
    )


def packets(effects: Sequence[ZabEffect]) -> list[tuple[int, str, int]]:
    """The packets that are sent: connection, type, zxid."""
    return [
        (effect.connection, effect.packet.type.name, effect.packet.zxid)
        for effect in effects
        if isinstance(effect, Send)
    ]


def phase_of(leader: Leader) -> LeaderPhase:
    """The leader's phase, which any call may have changed."""
    return leader.phase


def closed(effects: Sequence[ZabEffect]) -> list[int]:
    """The connections that are ended."""
    return [effect.connection for effect in effects if isinstance(effect, CloseLearner)]


def lost(effects: Sequence[ZabEffect]) -> str:
    """Why the term ends; empty if it does not."""
    return "".join(effect.reason for effect in effects if isinstance(effect, QuorumLost))


def leader_with_learner(phase: LearnerPhase) -> Leader:
    """A leader of five, and on connection 7 server 3, which has come this far; 1 and 2 help on connections 1 and 2."""
    reads = phase == LearnerPhase.READING_LOG
    leader = new_leader(5, history=History(last_zxid=7) if reads else None)
    leader.start(0)
    leader.on_connected(7, 0)
    if phase == LearnerPhase.REGISTERING:
        return leader
    leader.on_packet(7, info(3), 0)
    if phase == LearnerPhase.DISCOVERING:
        return leader
    join(leader, 1, info(1))
    join(leader, 2, info(2))
    persist(leader)
    if phase == LearnerPhase.ACKING_EPOCH:
        return leader
    leader.on_packet(7, ack_epoch(0, 3 if reads else 0), 0)
    if phase == LearnerPhase.WAITING_FOR_SYNC:
        return leader
    for connection in (1, 2):
        leader.on_packet(connection, ack_epoch(0, 0), 0)
    persist(leader)
    if phase in (LearnerPhase.READING_LOG, LearnerPhase.SYNCING):
        return leader
    leader.on_packet(7, ack(1), 0)
    if phase == LearnerPhase.SYNCED:
        return leader
    for connection in (1, 2):
        leader.on_packet(connection, ack(1), 0)
    leader.requests = Unasked()
    return leader


def serving_leader(*, observer: bool = False) -> Leader:
    """A leader of three in epoch 1 that serves since time 0, with server 1 on connection 1, maybe an observer on 4."""
    leader = new_leader(3)
    leader.start(0)
    if observer:
        join(leader, 4, info(4, observer=True))
    join(leader, 1, info(1))
    persist(leader)
    learners = [4, 1] if observer else [1]
    for connection in learners:
        leader.on_packet(connection, ack_epoch(0, 0), 0)
    persist(leader)
    for connection in learners:
        leader.on_packet(connection, ack(1), 0)
    assert leader.phase == LeaderPhase.BROADCAST
    leader.requests = Unasked()
    return leader
