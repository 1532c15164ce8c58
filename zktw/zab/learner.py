"""Learner: a follower's or observer's way from FOLLOWERINFO to UPTODATE (wire document, e.2, e.3).

What NEWLEADER's acknowledgement promises is written first, in this order: the tree, the committed transactions, the
epoch. What is proposed and not committed is kept until UPTODATE, and only then logged and acknowledged.
"""

import struct
from collections import deque
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
    decode_i32,
    encode_current_epoch,
    encode_learner_info,
)
from zktw.wire.txn import HEADER_BYTES, zxid_of_payload
from zktw.zab.committedlog import Entry
from zktw.zab.office import History, Timing

# REVALIDATE and SYNC answer requests, of which there are none before UPTODATE.
_TXN_PACKETS = frozenset(
    {
        PacketType.PROPOSAL,
        PacketType.COMMIT,
        PacketType.INFORM,
        PacketType.COMMITANDACTIVATE,
        PacketType.INFORMANDACTIVATE,
    }
)


class LearnerStage(Enum):
    """What this learner waits for."""

    LEADERINFO = "waiting for LEADERINFO"
    ACCEPTING = "writing acceptedEpoch"
    SYNC = "waiting for DIFF, TRUNC or SNAP"
    TREE = "reading the tree"
    TRUNCATING = "cutting off what the leader does not have"
    NEWLEADER = "waiting for NEWLEADER"
    WRITING = "writing what NEWLEADER promises"
    UPTODATE = "waiting for UPTODATE"
    SERVING = "serving"
    ENDED = "ended"


_LONG = struct.Struct(">q")


def _designated(data: bytes | None) -> int:
    """The leader that a reconfiguration designates."""
    if data is None or len(data) < _LONG.size:
        raise ProtocolError("a reconfiguration that designates no leader")
    sid: int = _LONG.unpack_from(data)[0]
    return sid


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
        # The last one that was proposed or told of in this synchronisation; all up to it is known.
        self._last_zxid = 0
        # What we held before it, or are given as a whole.
        self._base_zxid = 0
        # Whether NEWLEADER came while what was before it was not done yet.
        self._newleader = False
        self._committed: list[Entry] = []
        # What follows UPTODATE: proposals, and the commits among them that have come already.
        self.proposals: deque[Entry] = deque()
        self.commits: list[int] = []
        # Packets of a reconfiguration among them: zxid and designated leader.
        self.activations: list[tuple[int, int]] = []
        self.config_text: bytes | None = None

    def start(self, now_ms: float) -> list[ZabEffect]:
        """Introduce ourselves to the leader."""
        self.heard(now_ms)
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
        self.heard(now_ms)
        return effects

    def on_tree(self, now_ms: float) -> list[ZabEffect]:
        """The tree behind SNAP was read to its end."""
        if self.stage == LearnerStage.TREE:
            self.heard(now_ms)
            self.stage = LearnerStage.NEWLEADER
        return []

    def on_stream_error(self, reason: str) -> list[ZabEffect]:
        """The stream makes no sense any more, or the connection ended."""
        return [] if self.stage == LearnerStage.ENDED else self._end(reason)

    def on_tree_persisted(self, zxid: int) -> list[ZabEffect]:
        """The tree is on disk and in memory."""
        self.history.last_zxid = zxid
        self.history.needs_tree = False
        if self.stage == LearnerStage.ENDED:
            return []
        assert self.stage == LearnerStage.WRITING
        return self._persist_txns()

    def on_truncated(self, now_ms: float) -> list[ZabEffect]:
        """What the leader does not have is gone."""
        self.history.last_zxid = self._sync_zxid
        if self.stage == LearnerStage.ENDED:
            return []
        assert self.stage == LearnerStage.TRUNCATING
        self.heard(now_ms)
        self.stage = LearnerStage.NEWLEADER
        return self._write() if self._newleader else []

    def on_truncate_refused(self, reason: str) -> list[ZabEffect]:
        """Our history has no such place: what the leader has is not what we hold, and only its tree will do."""
        self.history.needs_tree = True
        return [] if self.stage == LearnerStage.ENDED else self._end(reason)

    def on_txns_persisted(self, zxid: int) -> list[ZabEffect]:
        """All up to zxid is on disk.

        The epoch comes last, or a crash between would claim history that we don't hold (bug 4643).
        """
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
        self.heard(now_ms)
        if name == "acceptedEpoch":
            assert self.stage == LearnerStage.ACCEPTING
            return self._ack_epoch(self.history.current_epoch)
        assert self.stage == LearnerStage.WRITING
        self.stage = LearnerStage.UPTODATE
        return [self._ack(), Synchronised(self._mode, self._sync_zxid)]

    @property
    def last_zxid(self) -> int:
        """The last one that was proposed, or told of, up to UPTODATE."""
        return self._last_zxid

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
            case LearnerStage.SYNC if kind in (PacketType.DIFF, PacketType.TRUNC, PacketType.SNAP):
                return self._on_sync(packet)
            case LearnerStage.NEWLEADER | LearnerStage.TRUNCATING if kind == PacketType.NEWLEADER:
                return self._on_newleader(packet)
            case LearnerStage.UPTODATE if kind == PacketType.UPTODATE:
                self.stage = LearnerStage.SERVING
                return [self._ack(), Serving(self.epoch)]
            case LearnerStage.NEWLEADER | LearnerStage.TRUNCATING | LearnerStage.WRITING | LearnerStage.UPTODATE if (
                kind in _TXN_PACKETS
            ):
                self._on_txn(packet)
                return []
            case LearnerStage.NEWLEADER | LearnerStage.TRUNCATING | LearnerStage.WRITING | LearnerStage.UPTODATE if (
                kind == PacketType.PING
            ):
                return []  # an established leader pings early; an answer before our ACK would be taken for it
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
        held = -1 if self.history.needs_tree else self.history.last_zxid
        ack = QuorumPacket(PacketType.ACKEPOCH, held, encode_current_epoch(current_epoch))
        return [Send(0, ack)]

    def _on_sync(self, packet: QuorumPacket) -> list[ZabEffect]:
        """How we are brought up to date."""
        self._mode, self._sync_zxid = packet.type.name, packet.zxid
        self._last_zxid = self._base_zxid = packet.zxid
        match packet.type:
            case PacketType.SNAP:
                self.stage = LearnerStage.TREE
                return [ReadTree(packet.zxid)]
            case PacketType.TRUNC:
                if not 0 <= packet.zxid <= self.history.last_zxid:
                    raise ProtocolError(
                        f"TRUNC to {format_zxid(packet.zxid)}, and we hold {format_zxid(self.history.last_zxid)}"
                    )
                self.stage = LearnerStage.TRUNCATING
                return [Truncate(packet.zxid)]
        self._last_zxid = self._base_zxid = self.history.last_zxid
        self.stage = LearnerStage.NEWLEADER
        return []

    def _on_txn(self, packet: QuorumPacket) -> None:
        """Proposals and commits before UPTODATE. What is committed before NEWLEADER is written with it."""
        kind, zxid = packet.type, packet.zxid
        if zxid <= self._base_zxid:
            return  # we have it already: what gathered while a tree was sent comes behind it
        if kind == PacketType.PROPOSAL:
            self.proposals.append(self._checked(packet, packet.data))
            return
        if not self._observer and kind in (PacketType.INFORM, PacketType.INFORMANDACTIVATE):
            raise ProtocolError(f"{kind.name} to a follower")
        if kind == PacketType.INFORM:
            entry = self._checked(packet, packet.data)
            self.proposals.append(entry)
        elif kind == PacketType.INFORMANDACTIVATE:
            data = packet.data or b""
            self.proposals.append(self._checked(packet, data[_LONG.size :]))
        if kind in (PacketType.COMMITANDACTIVATE, PacketType.INFORMANDACTIVATE):
            self.activations.append((zxid, _designated(packet.data)))
        position = len(self.commits)
        if position >= len(self.proposals) or self.proposals[position][0] != zxid:
            raise ProtocolError(f"{kind.name} {format_zxid(zxid)}, which is not the oldest proposal")
        if self.stage in (LearnerStage.NEWLEADER, LearnerStage.TRUNCATING) and not self._newleader:
            self._committed.append(self.proposals.popleft())
        else:
            self.commits.append(zxid)

    def _checked(self, packet: QuorumPacket, payload: bytes | None) -> Entry:
        zxid = packet.zxid
        if payload is None or len(payload) < HEADER_BYTES or zxid_of_payload(payload) != zxid:
            raise ProtocolError(f"{packet.type.name} {format_zxid(zxid)} without that transaction")
        # An old leader of Apache's leaves numbers out.
        if zxid <= self._last_zxid or epoch_of(zxid) > self.epoch or not counter_of(zxid):
            raise ProtocolError(f"{packet.type.name} {format_zxid(zxid)} after {format_zxid(self._last_zxid)}")
        self._last_zxid = zxid
        return zxid, payload

    def _on_newleader(self, packet: QuorumPacket) -> list[ZabEffect]:
        if packet.zxid != make_zxid(self.epoch, 0) or self._newleader:
            raise ProtocolError(f"NEWLEADER {format_zxid(packet.zxid)} in epoch {self.epoch}")
        self.config_text = packet.data
        self._newleader = True
        return [] if self.stage == LearnerStage.TRUNCATING else self._write()

    def _write(self) -> list[ZabEffect]:
        self.stage = LearnerStage.WRITING
        return [PersistTree(self._sync_zxid)] if self._mode == "SNAP" else self._persist_txns()

    def _persist_txns(self) -> list[ZabEffect]:
        committed, self._committed = tuple(self._committed), []
        if committed:
            return [PersistTxns(committed)]
        return [PersistEpoch("currentEpoch", self.epoch)]

    def _ack(self) -> ZabEffect:
        return Send(0, QuorumPacket(PacketType.ACK, make_zxid(self.epoch, 0)))

    def _patience_ms(self) -> float:
        # A leader that still waits for its quorum sends nothing, not even pings.
        return self._timing.silence_ms if self.stage == LearnerStage.SERVING else self._timing.init_ms

    def heard(self, now_ms: float) -> None:
        """The leader has said something."""
        self.deadline_ms = now_ms + self._patience_ms()

    def _end(self, reason: str) -> list[ZabEffect]:
        self.stage = LearnerStage.ENDED
        self.deadline_ms = None
        return [LeaderLost(reason)]
