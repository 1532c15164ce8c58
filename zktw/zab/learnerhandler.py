"""LearnerHandler: the leader's view of one learner, phase by phase (wire document, e.2)."""

from enum import Enum

from zktw.terms.codes import PacketType
from zktw.terms.errors import ProtocolError
from zktw.terms.zxid import format_zxid
from zktw.wire.peers import PROTOCOL_VERSION, LearnerInfo, QuorumPacket, decode_i32, decode_learner_info


class LearnerPhase(Enum):
    """How far a learner has come."""

    REGISTERING = "registering"  # has said nothing yet
    DISCOVERING = "discovering"  # has said its epoch; the new one is not agreed or not durable
    ACKING_EPOCH = "acking epoch"  # was told the new epoch
    WAITING_FOR_SYNC = "waiting for sync"  # has acknowledged the epoch; a quorum has not
    READING_LOG = "reading log"  # what it lacks is read from disk
    SYNCING = "syncing"  # was sent history and NEWLEADER
    SYNCED = "synced"  # has acknowledged NEWLEADER
    SERVING = "serving"  # was sent UPTODATE


class LearnerHandler:
    """One learner's connection: who it is, what may come next, when it was last heard."""

    def __init__(self, connection: int, now_ms: float) -> None:
        self.connection = connection
        self.phase = LearnerPhase.REGISTERING
        self.sid = 0
        self.observer = False
        # What it holds, as it said in ACKEPOCH.
        self.current_epoch = -1
        self.last_zxid = -1
        self.heard_ms = now_ms
        # The kind of synchronisation it got; up to where its history was sent while it is read from our log.
        self.sync_op: PacketType | None = None
        self.sent_zxid = -1
        # What it has logged before it said that it holds our history: servers before 3.8.1 may (wire document, e.3).
        self.early_ack = 0
        # A proposal that it is to have logged by when; see Leader.on_deadline.
        self.mark_zxid = 0
        self.mark_ms = now_ms

    def on_info(self, packet: QuorumPacket, nameless_sid: int, config_version: int) -> None:
        """FOLLOWERINFO or OBSERVERINFO: who is there. nameless_sid is for one that does not say."""
        if packet.type not in (PacketType.FOLLOWERINFO, PacketType.OBSERVERINFO):
            raise ProtocolError(f"the first packet is {packet.type.name}, not FOLLOWERINFO or OBSERVERINFO")
        info: LearnerInfo = decode_learner_info(packet.data)
        self.sid = nameless_sid if info.sid is None else info.sid
        self.observer = packet.type == PacketType.OBSERVERINFO
        if info.protocol_version < PROTOCOL_VERSION:
            raise ProtocolError(
                f"speaks protocol {info.protocol_version:#x}, older than ZAB 1.0 ({PROTOCOL_VERSION:#x})"
            )
        if info.config_version > config_version:
            raise ProtocolError(
                f"follower is ahead of the leader: configuration version {info.config_version:x} > {config_version:x}"
            )
        self.phase = LearnerPhase.DISCOVERING

    def on_epoch_ack(self, packet: QuorumPacket) -> None:
        """ACKEPOCH: what the learner holds."""
        self._expect(packet, PacketType.ACKEPOCH)
        self.current_epoch = decode_i32(packet.data, "ACKEPOCH")
        self.last_zxid = packet.zxid
        self.phase = LearnerPhase.WAITING_FOR_SYNC

    def on_sync_ack(self, packet: QuorumPacket, newleader_zxid: int, last_proposed: int) -> bool:
        """An ACK while it is brought up to date; whether it is that of NEWLEADER: it holds our history, durably."""
        self._expect(packet, PacketType.ACK)
        if packet.zxid > max(newleader_zxid, last_proposed):
            raise ProtocolError(
                f"acknowledges {format_zxid(packet.zxid)} where NEWLEADER {format_zxid(newleader_zxid)} is due"
            )
        if packet.zxid != newleader_zxid:
            # Such servers acknowledge what they were sent to be brought up to date as well.
            self.early_ack = max(self.early_ack, packet.zxid)
            return False
        self.phase = LearnerPhase.SYNCED
        return True

    def _expect(self, packet: QuorumPacket, kind: PacketType) -> None:
        if packet.type != kind:
            raise ProtocolError(f"{packet.type.name} while {self.phase.value}, where {kind.name} is due")

    def is_ahead_of(self, current_epoch: int, last_zxid: int) -> bool:
        """Whether the learner holds more than one with this epoch and zxid; -1 is "acknowledged before"."""
        return self.current_epoch != -1 and (self.current_epoch, self.last_zxid) > (current_epoch, last_zxid)
