"""Leader: discovery, synchronisation, and the watch over the quorum (wire document, e.2, e.6, e.10).

Learners are known by the number of their connection.
"""

from enum import Enum
from math import inf

from zktw.quorum.verifier import QuorumVerifier
from zktw.terms.codes import PacketType
from zktw.terms.errors import ProtocolError, WireError
from zktw.terms.vote import Notification
from zktw.terms.zxid import epoch_of, format_zxid, make_zxid
from zktw.wire.effects import (
    CloseLearner,
    EpochAcked,
    EpochAgreed,
    EpochName,
    LearnerJoined,
    LearnerSynced,
    PersistEpoch,
    QuorumLost,
    Send,
    Serving,
    ZabEffect,
)
from zktw.wire.peers import PROTOCOL_VERSION, QuorumPacket, encode_protocol_version
from zktw.zab.broadcast import Broadcast, Outlet
from zktw.zab.committedlog import CommittedLog
from zktw.zab.desertion import Desertion
from zktw.zab.learnerhandler import LearnerHandler, LearnerPhase
from zktw.zab.membership import Membership
from zktw.zab.office import EPOCH_MAX, EPOCHS_AHEAD_MAX, History, SyncRules, Timing
from zktw.zab.patience import heard_until_ms, lags, patience_ms
from zktw.zab.requests import Requests
from zktw.zab.synchroniser import Synchroniser
from zktw.zab.syncing import Tail


class LeaderPhase(Enum):
    """How far the leader has come."""

    DISCOVERY = "discovery"  # collects accepted epochs until a quorum has said its own
    EPOCH = "epoch"  # the new epoch is agreed; its acknowledgements come in
    ESTABLISHING = "establishing"  # a quorum has acknowledged it; it goes to our disk
    SYNCHRONISATION = "synchronisation"  # brings learners to our history until a quorum holds it
    BROADCAST = "broadcast"
    ENDED = "ended"


class Leader:
    """One term of office of one leader. Times are monotonic milliseconds; deadline_ms is when it wants on_deadline.

    members are all configured servers; electors are the voters whose votes elected it, in round `round`;
    epoch_wait_ms is leader.maxTimeToWaitForEpoch.
    """

    def __init__(
        self,
        my_sid: int,
        verifier: QuorumVerifier,
        history: History,
        timing: Timing,
        committed: CommittedLog,
        outlet: Outlet,
        *,
        rules: SyncRules | None = None,
        config_text: str,
        config_version: int = 0,
        members: tuple[int, ...] = (),
        electors: tuple[int, ...] = (),
        round_: int = 0,
        epoch_wait_ms: float = -1,
    ) -> None:
        self.my_sid = my_sid
        self.phase = LeaderPhase.DISCOVERY
        self.history = history
        self.epoch = -1
        self.deadline_ms: float | None = None
        self.learners: dict[int, LearnerHandler] = {}
        self.broadcast = Broadcast(my_sid, verifier, committed, outlet)
        # What serves the learners' clients, while this leader serves.
        self.requests: Requests | None = None
        self._synchroniser = Synchroniser(committed, self.broadcast, rules or SyncRules())
        self.membership = Membership(verifier, members, config_version, config_text.encode("utf-8"))
        self._timing = timing
        self._desertion = Desertion(my_sid, history, electors, round_, epoch_wait_ms)
        self._epoch_max = max(history.accepted_epoch, history.epoch_heard)
        self._epoch_durable = False
        self._epoch_acks: dict[int, None] = {}
        self._nameless = 0
        self._began_ms = 0.0
        self._phase_ends_ms = 0.0
        self._ping_ms = 0.0

    # -- what happens ------------------------------------------------------------------------------------------------

    def start(self, now_ms: float) -> list[ZabEffect]:
        """Begin discovery. An ensemble of one is its own quorum."""
        self._began_ms = now_ms
        self._enter(LeaderPhase.DISCOVERY, now_ms)
        return self._maybe_agree(now_ms)

    def on_connected(self, connection: int, now_ms: float) -> list[ZabEffect]:
        """A learner's connection is there; it speaks first."""
        self.learners[connection] = LearnerHandler(connection, now_ms)
        return []

    def on_closed(self, connection: int) -> list[ZabEffect]:
        """A learner's connection ended."""
        return [] if self._forget(connection) is None else self._check_quorum()

    def _forget(self, connection: int) -> LearnerHandler | None:
        self.broadcast.leave(connection)
        if self.requests is not None:
            self.requests.left(connection)
        return self.learners.pop(connection, None)

    def on_packet(self, connection: int, packet: QuorumPacket, now_ms: float) -> list[ZabEffect]:
        """One packet of a learner. What does not belong ends that connection and nothing else."""
        handler = self.learners.get(connection)
        if handler is None or self.phase == LeaderPhase.ENDED:
            return []
        handler.heard_ms = now_ms
        try:
            return self._step(handler, packet, now_ms)
        except (ProtocolError, WireError) as error:
            return self._close(handler, str(error))

    def on_epoch_persisted(self, name: EpochName, epoch: int, now_ms: float) -> list[ZabEffect]:
        """The epoch is on disk: now its word may go out."""
        assert epoch == self.epoch
        if name == "acceptedEpoch":
            self.history.accepted_epoch = epoch
        else:
            self.history.current_epoch = epoch
        if self.phase == LeaderPhase.ENDED:
            return []  # the disk has it all the same, and the next term of office starts from that
        if name == "acceptedEpoch":
            assert self.phase == LeaderPhase.EPOCH
            self._epoch_durable = True
            if self.history.last_zxid != -1:
                self._epoch_acks[self.my_sid] = None
            told = [self._tell_epoch(handler) for handler in self._in_phase(LearnerPhase.DISCOVERING)]
            return [*told, *self._maybe_establish(now_ms)]
        assert self.phase == LeaderPhase.ESTABLISHING
        self._enter(LeaderPhase.SYNCHRONISATION, now_ms)
        effects: list[ZabEffect] = []
        for handler in self._in_phase(LearnerPhase.WAITING_FOR_SYNC):
            effects += self._synchronise(handler)
        return effects + self._maybe_serve(now_ms)

    def on_log_read(self, connection: int, tail: Tail | None) -> list[ZabEffect]:
        """What ReadLog has found; None: our log does not reach back so far, or reading it costs more than the tree."""
        handler = self.learners.get(connection)
        if handler is None or handler.phase != LearnerPhase.READING_LOG or self.phase == LeaderPhase.ENDED:
            return []
        try:
            return self._newleader(handler, self._synchroniser.on_log_read(handler, tail))
        except ProtocolError as error:
            return self._close(handler, str(error))

    def on_vote(self, notification: Notification, now_ms: float) -> list[ZabEffect]:
        """A voter's word on the election port. Before we serve, it may tell that it will not come."""
        sid, early = notification.sid, self.phase in (LeaderPhase.DISCOVERY, LeaderPhase.EPOCH)
        # Who has come goes by its connection, once the epoch is acknowledged.
        there = () if early else [handler.sid for handler in self.learners.values()]
        if not self._waits or sid not in self.membership.verifier.voters or sid in there:
            return []
        waited_ms = now_ms - self._began_ms if early else -1
        reason = self._desertion.on_vote(notification, self.membership.verifier, waited_ms)
        return self._end(reason) if reason else []

    def on_gone(self, sids: list[int]) -> list[ZabEffect]:
        """No processes of these are there, as their hosts tell."""
        reason = self._desertion.on_gone(sids, self.membership.verifier) if self._waits else ""
        return self._end(reason) if reason else []

    def on_deadline(self, now_ms: float) -> list[ZabEffect]:
        """Time is up: a phase has lasted too long, or pings are due."""
        if self.phase == LeaderPhase.ENDED:
            return []
        if self.phase != LeaderPhase.BROADCAST:
            late = f"no quorum in {self.phase.value} after {self._timing.init_ms:.0f} ms"
            return self._end(late) if now_ms >= self._phase_ends_ms else []
        if now_ms > self.lease_ms:
            return self._end(f"no quorum was heard for {self._timing.silence_ms:.0f} ms")
        effects = self._ping(now_ms) if now_ms >= self._ping_ms else []
        if self.deadline_ms is not None:
            self.deadline_ms = min(self._ping_ms, self.lease_ms + 1)
        return effects

    @property
    def _waits(self) -> bool:
        return self.phase not in (LeaderPhase.BROADCAST, LeaderPhase.ENDED)

    @property
    def lease_ms(self) -> float:
        """Until when this leader may serve if it hears nothing more: others may lead after that."""
        if self.phase != LeaderPhase.BROADCAST:
            return inf
        return heard_until_ms(self.my_sid, self.learners.values(), self.membership.has_quorum, self._timing.silence_ms)

    def _ping(self, now_ms: float) -> list[ZabEffect]:
        self._ping_ms = now_ms + self._timing.tick_ms / 2
        effects: list[ZabEffect] = []
        for handler in list(self.learners.values()):
            silent_ms = now_ms - handler.heard_ms
            if silent_ms > patience_ms(handler, self._timing):
                effects += self._close(handler, f"silent for {silent_ms:.0f} ms")
            elif lags(handler, self.broadcast, now_ms, self._timing.sync_ms):
                effects += self._close(handler, f"has not logged a proposal within {self._timing.sync_ms:.0f} ms")
            elif handler.phase in (LearnerPhase.SYNCING, LearnerPhase.SERVING):
                effects.append(Send(handler.connection, QuorumPacket(PacketType.PING, self.broadcast.last_proposed)))
        return effects + self._check_quorum()

    def on_counter_used_up(self) -> list[ZabEffect]:
        """There is no next zxid in this epoch: another must begin (bug 1277)."""
        return [] if self.phase == LeaderPhase.ENDED else self._end("the zxid counter is used up: a new epoch is due")

    def on_overrun(self, connection: int, backlog: int) -> list[ZabEffect]:
        """A learner does not take what it is told: it is dropped, not waited for."""
        handler = self.learners.get(connection)
        return [] if handler is None else self._close(handler, f"{backlog} bytes wait for it")

    def resign(self, reason: str) -> list[ZabEffect]:
        """Lead no more, by our own wish."""
        return [] if self.phase == LeaderPhase.ENDED else self._end(reason)

    # -- what follows ------------------------------------------------------------------------------------------------

    def _step(self, handler: LearnerHandler, packet: QuorumPacket, now_ms: float) -> list[ZabEffect]:
        if handler.phase is LearnerPhase.SERVING:
            return self._on_serving(handler, packet)
        match handler.phase:
            case LearnerPhase.REGISTERING:
                return self._on_info(handler, packet, now_ms)
            case LearnerPhase.ACKING_EPOCH:
                handler.on_epoch_ack(packet)
                return self._on_epoch_ack(handler, now_ms)
            case LearnerPhase.SYNCING | LearnerPhase.SYNCED:
                synced_before = handler.phase == LearnerPhase.SYNCED
                if not handler.on_sync_ack(packet, make_zxid(self.epoch, 0), self.broadcast.last_proposed):
                    return []
                if synced_before:
                    raise ProtocolError("acknowledges NEWLEADER twice")
                synced: list[ZabEffect] = [LearnerSynced(handler.sid)]
                if self.phase == LeaderPhase.BROADCAST:
                    return [*synced, self._up_to_date(handler)]
                return synced + self._maybe_serve(now_ms)
        raise ProtocolError(f"{packet.type.name} while {handler.phase.value}, where nothing is due")

    def _on_serving(self, handler: LearnerHandler, packet: QuorumPacket) -> list[ZabEffect]:
        kind, requests = packet.type, self.requests
        if kind == PacketType.ACK:
            if epoch_of(packet.zxid) > self.epoch:
                raise ProtocolError(f"acknowledges {format_zxid(packet.zxid)} in epoch {self.epoch}")
            if not handler.observer:
                self.broadcast.on_ack(handler.sid, packet.zxid)
        elif requests is None:
            raise ProtocolError(f"{packet.type.name} to a leader that serves nobody")
        elif kind == PacketType.REQUEST:
            requests.on_request(handler.connection, packet)
        elif kind == PacketType.PING:
            requests.on_touched(handler.connection, packet.data or b"")
        elif kind == PacketType.REVALIDATE:
            requests.on_revalidate(handler.connection, packet.data or b"")
        else:
            raise ProtocolError(f"{kind.name} while {handler.phase.value}, where nothing is due")
        return []

    def _on_info(self, handler: LearnerHandler, packet: QuorumPacket, now_ms: float) -> list[ZabEffect]:
        handler.on_info(packet, -1 - self._nameless, self.membership.version)
        if epoch_of(packet.zxid) >= min(EPOCH_MAX, max(self._epoch_max, self.epoch) + EPOCHS_AHEAD_MAX):
            # Its disk is damaged or its word a lie: it must not keep us from leading, nor use up all epochs.
            raise ProtocolError(f"says that it has accepted epoch {epoch_of(packet.zxid)}")
        if handler.sid == self.my_sid:
            raise ProtocolError(f"says that it is server {handler.sid}, which is this one")
        if handler.sid < 0:
            self._nameless += 1
        effects: list[ZabEffect] = [LearnerJoined(handler.connection, handler.sid, handler.observer)]
        self._desertion.came(handler.sid)
        if self.phase == LeaderPhase.DISCOVERY:
            # Observers raise the epoch too, though they do not count for the quorum.
            self._epoch_max = max(self._epoch_max, epoch_of(packet.zxid))
            return effects + self._maybe_agree(now_ms)
        if epoch_of(packet.zxid) > self.epoch and handler.sid in self.membership.members:
            self.history.epoch_heard = max(self.history.epoch_heard, epoch_of(packet.zxid))
            # It has promised not to follow us, and could not join before the next election, whenever that comes.
            return effects + self._end(
                f"server {handler.sid} has accepted epoch {epoch_of(packet.zxid)}, later than ours ({self.epoch})"
            )
        if self._epoch_durable:
            effects.append(self._tell_epoch(handler))
        return effects

    def _maybe_agree(self, now_ms: float) -> list[ZabEffect]:
        """Fix the new epoch once a quorum has said which ones it has accepted."""
        said = [h.sid for h in self._in_phase(LearnerPhase.DISCOVERING) if not h.observer]
        if not self.membership.verifier.contains_quorum([self.my_sid, *said]):
            return []
        if self._epoch_max >= EPOCH_MAX:
            return self._end(f"epoch {self._epoch_max} is the last one there is")
        self.epoch = self._epoch_max + 1
        self._enter(LeaderPhase.EPOCH, now_ms)
        return [EpochAgreed(self.epoch), PersistEpoch("acceptedEpoch", self.epoch)]

    def _tell_epoch(self, handler: LearnerHandler) -> ZabEffect:
        handler.phase = LearnerPhase.ACKING_EPOCH
        version = encode_protocol_version(PROTOCOL_VERSION)
        return Send(handler.connection, QuorumPacket(PacketType.LEADERINFO, make_zxid(self.epoch, 0), version))

    def _on_epoch_ack(self, handler: LearnerHandler, now_ms: float) -> list[ZabEffect]:
        held = (self.history.current_epoch, self.history.last_zxid)
        if self.phase == LeaderPhase.EPOCH and handler.is_ahead_of(*held):
            # While the quorum is open nobody in it may hold more than we do: this makes an early election safe.
            raise ProtocolError(
                f"follower is ahead of the leader: epoch {handler.current_epoch} zxid "
                f"{format_zxid(handler.last_zxid)}, ours {held[0]} {format_zxid(held[1])}"
            )
        effects = self._replace(handler)
        if self.phase == LeaderPhase.EPOCH:
            if handler.current_epoch != -1 and handler.last_zxid != -1 and not handler.observer:
                self._epoch_acks[handler.sid] = None
                effects.append(EpochAcked(handler.sid, handler.current_epoch, handler.last_zxid))
            return effects + self._maybe_establish(now_ms)
        if self.phase == LeaderPhase.ESTABLISHING:
            return effects  # is synchronised with the others, once the epoch is on our disk
        return effects + self._synchronise(handler)

    def _replace(self, handler: LearnerHandler) -> list[ZabEffect]:
        """A server that has connected anew has no use for its former connection; now it has said more than its name."""
        effects: list[ZabEffect] = []
        for other in list(self.learners.values()):
            if other.sid == handler.sid and other is not handler and other.phase != LearnerPhase.REGISTERING:
                # Whether the quorum is still there is looked at with the next pings, when it may be in sync again.
                self._forget(other.connection)
                effects.append(CloseLearner(other.connection, f"server {handler.sid} has connected anew"))
        return effects

    def _maybe_establish(self, now_ms: float) -> list[ZabEffect]:
        """Write the epoch as our current one, once a quorum has acknowledged it."""
        if not self.membership.verifier.contains_quorum(list(self._epoch_acks)):
            return []
        self._enter(LeaderPhase.ESTABLISHING, now_ms)
        return [PersistEpoch("currentEpoch", self.epoch)]

    def _synchronise(self, handler: LearnerHandler) -> list[ZabEffect]:
        """Bring a learner to our history, then NEWLEADER."""
        try:
            effects = self._synchroniser.begin(handler, list(self.learners.values()))
        except ProtocolError as error:
            return self._close(handler, str(error))
        return self._newleader(handler, effects)

    def _newleader(self, handler: LearnerHandler, effects: list[ZabEffect]) -> list[ZabEffect]:
        if handler.phase != LearnerPhase.SYNCING:
            return effects  # more is to be read
        newleader = QuorumPacket(PacketType.NEWLEADER, make_zxid(self.epoch, 0), self.membership.text)
        return [*effects, Send(handler.connection, newleader)]

    def _maybe_serve(self, now_ms: float) -> list[ZabEffect]:
        """Serve once a quorum holds our history under the new epoch."""
        synced = self._in_phase(LearnerPhase.SYNCED)
        if not self.membership.has_quorum([self.my_sid, *(h.sid for h in synced if not h.observer)]):
            return []
        self._enter(LeaderPhase.BROADCAST, now_ms)
        self._ping_ms = self.deadline_ms = now_ms + self._timing.tick_ms / 2
        self.history.last_zxid = make_zxid(self.epoch, 0)
        self.broadcast.begin_epoch(self.history.last_zxid)
        return [Serving(self.epoch), *(self._up_to_date(handler) for handler in synced)]

    def _up_to_date(self, handler: LearnerHandler) -> ZabEffect:
        handler.phase = LearnerPhase.SERVING
        if handler.early_ack:
            self.broadcast.on_ack(handler.sid, handler.early_ack)
        return Send(handler.connection, QuorumPacket(PacketType.UPTODATE, -1))

    def _check_quorum(self) -> list[ZabEffect]:
        """End the term as soon as the learners that are left are no quorum."""
        left = [h.sid for h in self._in_phase(LearnerPhase.SERVING) if not h.observer]
        if self.phase != LeaderPhase.BROADCAST or self.membership.has_quorum([self.my_sid, *left]):
            return []
        return self._end(f"only {[self.my_sid, *left]} are left, which is no quorum")

    def _close(self, handler: LearnerHandler, reason: str) -> list[ZabEffect]:
        self._forget(handler.connection)
        return [CloseLearner(handler.connection, reason), *self._check_quorum()]

    def _end(self, reason: str) -> list[ZabEffect]:
        self.phase = LeaderPhase.ENDED
        self.deadline_ms = None
        return [QuorumLost(reason)]

    def _enter(self, phase: LeaderPhase, now_ms: float) -> None:
        self.phase = phase
        self._phase_ends_ms = self.deadline_ms = now_ms + self._timing.init_ms

    def _in_phase(self, phase: LearnerPhase) -> list[LearnerHandler]:
        return [handler for handler in self.learners.values() if handler.phase == phase]
