"""Learner: a follower's or observer's way from FOLLOWERINFO to UPTODATE and on (wire document, e.2, e.3).

This release carries no data: a transaction, or a tree that is not fresh, ends the role and is never acknowledged.
"""

from enum import Enum

from zktw.terms.codes import PacketType
from zktw.terms.errors import ProtocolError, WireError
from zktw.terms.zxid import counter_of, epoch_of, format_zxid, make_zxid
from zktw.wire.effects import (
    EpochAgreed,
    EpochName,
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
    decode_i32,
    encode_current_epoch,
    encode_learner_info,
)
from zktw.zab.office import History, Timing

NO_DATA_YET = "which this release cannot keep"


class LearnerStage(Enum):
    """What this learner waits for."""

    LEADERINFO = "waiting for LEADERINFO"
    ACCEPTING = "writing acceptedEpoch"
    SYNC = "waiting for DIFF, TRUNC or SNAP"
    TREE = "reading the tree"
    NEWLEADER = "waiting for NEWLEADER"
    WRITING = "writing what NEWLEADER promises"
    UPTODATE = "waiting for UPTODATE"
    SERVING = "serving"
    ENDED = "ended"


class Learner:
    """One term of office of a follower or observer, on one connection. Times are monotonic milliseconds."""

    def __init__(
        self, my_sid: int, observer: bool, history: History, timing: Timing, *, config_version: int = 0
    ) -> None:
        self.stage = LearnerStage.LEADERINFO
        self.history = history
        self.epoch = -1
        self.deadline_ms: float | None = None
        self._my_sid = my_sid
        self._observer = observer
        self._timing = timing
        self._config_version = config_version
        self._mode = ""
        self._sync_zxid = 0

    def start(self, now_ms: float) -> list[ZabEffect]:
        """Introduce ourselves to the leader."""
        self._heard(now_ms)
        info = encode_learner_info(LearnerInfo(self._my_sid, PROTOCOL_VERSION, self._config_version))
        kind = PacketType.OBSERVERINFO if self._observer else PacketType.FOLLOWERINFO
        return [Send(0, QuorumPacket(kind, make_zxid(self.history.accepted_epoch, 0), info))]

    def on_packet(self, packet: QuorumPacket, now_ms: float) -> list[ZabEffect]:
        """One packet of the leader. What does not belong ends the role."""
        if self.stage == LearnerStage.ENDED:
            return []
        try:
            effects = self._step(packet)
        except (ProtocolError, WireError) as error:
            return self._end(str(error))
        self._heard(now_ms)
        return effects

    def on_tree(self, now_ms: float) -> list[ZabEffect]:
        """The tree behind SNAP was read to its end."""
        if self.stage == LearnerStage.TREE:
            self._heard(now_ms)
            self.stage = LearnerStage.NEWLEADER
        return []

    def on_stream_error(self, reason: str) -> list[ZabEffect]:
        """The stream makes no sense any more, or the connection ended."""
        return [] if self.stage == LearnerStage.ENDED else self._end(reason)

    def on_tree_persisted(self, zxid: int) -> list[ZabEffect]:
        """The tree is on disk; the epoch comes last, or a crash between would claim history we don't hold (4643)."""
        self.history.last_zxid = zxid
        if self.stage == LearnerStage.ENDED:
            return []
        assert self.stage == LearnerStage.WRITING
        return [PersistEpoch("currentEpoch", self.epoch)]

    def on_epoch_persisted(self, name: EpochName, epoch: int, now_ms: float) -> list[ZabEffect]:
        """The epoch is on disk: now its word may go out."""
        if name == "acceptedEpoch":
            self.history.accepted_epoch = epoch
        else:
            self.history.current_epoch = epoch
        if self.stage == LearnerStage.ENDED:
            return []
        self._heard(now_ms)
        if name == "acceptedEpoch":
            assert self.stage == LearnerStage.ACCEPTING
            return self._ack_epoch(self.history.current_epoch)
        assert self.stage == LearnerStage.WRITING
        self.stage = LearnerStage.UPTODATE
        return [self._ack(), Synchronised(self._mode, self._sync_zxid)]

    def on_deadline(self, now_ms: float) -> list[ZabEffect]:
        """The leader was silent for too long."""
        if self.stage == LearnerStage.ENDED or self.deadline_ms is None or now_ms < self.deadline_ms:
            return []
        return self._end(f"the leader was silent for {self._patience_ms():.0f} ms while {self.stage.value}")

    def _step(self, packet: QuorumPacket) -> list[ZabEffect]:
        kind = packet.type
        match self.stage:
            case LearnerStage.LEADERINFO if kind == PacketType.LEADERINFO:
                return self._on_leaderinfo(packet)
            case LearnerStage.SYNC if kind == PacketType.DIFF:
                self._mode, self._sync_zxid, self.stage = "DIFF", packet.zxid, LearnerStage.NEWLEADER
                return []
            case LearnerStage.SYNC if kind == PacketType.SNAP and counter_of(packet.zxid):
                raise ProtocolError(f"SNAP of {format_zxid(packet.zxid)}: the ensemble holds data, {NO_DATA_YET}")
            case LearnerStage.SYNC if kind == PacketType.SNAP:
                self._mode, self._sync_zxid, self.stage = "SNAP", packet.zxid, LearnerStage.TREE
                return [ReadTree(packet.zxid)]
            case LearnerStage.NEWLEADER if kind == PacketType.NEWLEADER:
                return self._on_newleader(packet)
            case LearnerStage.UPTODATE if kind == PacketType.UPTODATE:
                self.stage = LearnerStage.SERVING
                return [self._ack(), Serving(self.epoch)]
            case LearnerStage.SERVING if kind == PacketType.PING:
                return [Send(0, QuorumPacket(PacketType.PING, packet.zxid, b"", packet.authinfo))]
            case LearnerStage.NEWLEADER | LearnerStage.WRITING | LearnerStage.UPTODATE if kind == PacketType.PING:
                return []  # an established leader pings early; an answer before our ACK would be taken for it
        if kind in (PacketType.PROPOSAL, PacketType.COMMIT, PacketType.INFORM):
            raise ProtocolError(
                f"{kind.name} 0x{packet.zxid:x}: the ensemble holds data, which this release cannot keep"
            )
        raise ProtocolError(f"{kind.name} {format_zxid(packet.zxid)} while {self.stage.value}")

    def _on_leaderinfo(self, packet: QuorumPacket) -> list[ZabEffect]:
        version = decode_i32(packet.data, "LEADERINFO")
        if version < PROTOCOL_VERSION:
            raise ProtocolError(f"the leader speaks protocol {version:#x}, older than ZAB 1.0")
        self.epoch = epoch_of(packet.zxid)
        if self.epoch < self.history.accepted_epoch:
            raise ProtocolError(f"the leader's epoch {self.epoch} is below our {self.history.accepted_epoch}")
        if self.epoch == self.history.accepted_epoch:
            # Accepted before, maybe from another leader: it must not count for the quorum a second time.
            return [EpochAgreed(self.epoch), *self._ack_epoch(-1)]
        self.stage = LearnerStage.ACCEPTING
        return [EpochAgreed(self.epoch), PersistEpoch("acceptedEpoch", self.epoch)]

    def _ack_epoch(self, current_epoch: int) -> list[ZabEffect]:
        self.stage = LearnerStage.SYNC
        ack = QuorumPacket(PacketType.ACKEPOCH, self.history.last_zxid, encode_current_epoch(current_epoch))
        return [Send(0, ack)]

    def _on_newleader(self, packet: QuorumPacket) -> list[ZabEffect]:
        if packet.zxid != make_zxid(self.epoch, 0):
            raise ProtocolError(f"NEWLEADER 0x{packet.zxid:x} in epoch {self.epoch}")
        self.stage = LearnerStage.WRITING
        if self._mode == "SNAP":
            return [PersistTree(self._sync_zxid)]
        return [PersistEpoch("currentEpoch", self.epoch)]

    def _ack(self) -> ZabEffect:
        return Send(0, QuorumPacket(PacketType.ACK, make_zxid(self.epoch, 0)))

    def _patience_ms(self) -> float:
        # A leader that still waits for its quorum sends nothing, not even pings.
        return self._timing.sync_ms if self.stage == LearnerStage.SERVING else self._timing.init_ms

    def _heard(self, now_ms: float) -> None:
        self.deadline_ms = now_ms + self._patience_ms()

    def _end(self, reason: str) -> list[ZabEffect]:
        self.stage = LearnerStage.ENDED
        self.deadline_ms = None
        return [LeaderLost(reason)]
