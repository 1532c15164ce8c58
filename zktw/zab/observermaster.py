"""ObserverMaster: a follower brings observers up to date and tells them what is committed (wire document, e.7).

It waits for nobody: its epoch is agreed, and observers count for no quorum.
"""

from collections.abc import Callable

from zktw.terms.codes import PacketType
from zktw.terms.errors import ProtocolError, WireError
from zktw.terms.zxid import make_zxid
from zktw.wire.effects import CloseLearner, Send, ZabEffect
from zktw.wire.peers import PROTOCOL_VERSION, QuorumPacket, encode_designated, encode_proposal, encode_protocol_version
from zktw.zab.committedlog import CommittedLog, Entry
from zktw.zab.learnerhandler import LearnerHandler, LearnerPhase
from zktw.zab.office import SyncRules, Timing
from zktw.zab.requests import Requests
from zktw.zab.synchroniser import Synchroniser
from zktw.zab.syncing import Tail


class Informs:
    """What is committed, for observers that have joined; write(connection, data) tells one of them."""

    def __init__(self, write: Callable[[int, bytes], None]) -> None:
        # The zxid of a reconfiguration that is about to happen, and the leader that it names.
        self.activation: tuple[int, int] | None = None
        self._observers: dict[int, int] = {}
        self._write = write

    def join(self, connection: int, sid: int, *, observer: bool) -> list[Entry]:
        """See synchroniser.Joining: what is not committed is no observer's business."""
        self._observers[connection] = sid
        return []

    def leave(self, connection: int) -> None:
        """It is gone."""
        self._observers.pop(connection, None)

    def tell(self, entries: list[Entry]) -> None:
        """These have happened here."""
        if not self._observers:
            return
        data = b"".join([self._inform(zxid, payload) for zxid, payload in entries])
        for connection in self._observers:
            self._write(connection, data)

    def _inform(self, zxid: int, payload: bytes) -> bytes:
        if self.activation is None or self.activation[0] != zxid:
            return encode_proposal(PacketType.INFORM, zxid, payload)
        data = encode_designated(self.activation[1]) + payload
        return encode_proposal(PacketType.INFORMANDACTIVATE, zxid, data)


class ObserverMaster:
    """As long as one leader is followed. Observers are known by the number of their connection.

    Times are monotonic milliseconds; deadline_ms is when it wants on_deadline.
    """

    def __init__(
        self,
        epoch: int,
        timing: Timing,
        committed: CommittedLog,
        requests: Requests,
        write: Callable[[int, bytes], None],
        *,
        rules: SyncRules,
        config_text: str,
        config_version: int = 0,
    ) -> None:
        self.deadline_ms: float | None = None
        self.learners: dict[int, LearnerHandler] = {}
        self.informs = Informs(write)
        self._epoch_zxid = make_zxid(epoch, 0)
        self._timing = timing
        self._committed = committed
        self._requests = requests
        self._synchroniser = Synchroniser(committed, self.informs, rules)
        self.use(config_text, config_version)
        self._nameless = 0

    def use(self, config_text: str, config_version: int) -> None:
        """Another configuration is in force."""
        self._config_text = config_text.encode("utf-8")
        self._config_version = config_version

    @property
    def synced(self) -> int:
        """How many observers hold our history."""
        return sum(handler.phase == LearnerPhase.SERVING for handler in self.learners.values())

    def start(self, now_ms: float) -> list[ZabEffect]:
        """Observers may come."""
        self.deadline_ms = now_ms + self._timing.tick_ms / 2
        return []

    def on_connected(self, connection: int, now_ms: float) -> list[ZabEffect]:
        """A connection is there; the observer speaks first."""
        self.learners[connection] = LearnerHandler(connection, now_ms)
        return []

    def on_closed(self, connection: int) -> list[ZabEffect]:
        """It ended."""
        self._forget(connection)
        return []

    def _forget(self, connection: int) -> None:
        self.informs.leave(connection)
        self._requests.left(connection)
        self.learners.pop(connection, None)

    def on_packet(self, connection: int, packet: QuorumPacket, now_ms: float) -> list[ZabEffect]:
        """One packet of an observer. What does not belong ends that connection and nothing else."""
        handler = self.learners.get(connection)
        if handler is None:
            return []
        handler.heard_ms = now_ms
        try:
            return self._step(handler, packet)
        except (ProtocolError, WireError) as error:
            return self._close(handler, str(error))

    def on_log_read(self, connection: int, tail: Tail | None) -> list[ZabEffect]:
        """What ReadLog has found; see Leader.on_log_read."""
        handler = self.learners.get(connection)
        if handler is None:
            return []
        try:
            return self._newleader(handler, self._synchroniser.on_log_read(handler, tail))
        except ProtocolError as error:
            return self._close(handler, str(error))

    def on_overrun(self, connection: int, backlog: int) -> list[ZabEffect]:
        """An observer does not take what it is told: it is dropped, not waited for."""
        handler = self.learners.get(connection)
        return [] if handler is None else self._close(handler, f"{backlog} bytes wait for it")

    def on_deadline(self, now_ms: float) -> list[ZabEffect]:
        """Pings are due."""
        if self.deadline_ms is None or now_ms < self.deadline_ms:
            return []
        self.deadline_ms = now_ms + self._timing.tick_ms / 2
        effects: list[ZabEffect] = []
        for handler in list(self.learners.values()):
            serving = handler.phase == LearnerPhase.SERVING
            patience_ms = self._timing.sync_ms + (0 if serving else self._timing.init_ms)
            if now_ms - handler.heard_ms > patience_ms:
                effects += self._close(handler, f"silent for {now_ms - handler.heard_ms:.0f} ms")
            elif serving or handler.phase == LearnerPhase.SYNCING:
                effects.append(Send(handler.connection, QuorumPacket(PacketType.PING, self._committed.last)))
        return effects

    # -- what follows ------------------------------------------------------------------------------------------------

    def _step(self, handler: LearnerHandler, packet: QuorumPacket) -> list[ZabEffect]:
        match handler.phase:
            case LearnerPhase.REGISTERING:
                return self._on_info(handler, packet)
            case LearnerPhase.ACKING_EPOCH:
                handler.on_epoch_ack(packet)
                effects = self._replace(handler)
                return effects + self._newleader(
                    handler, self._synchroniser.begin(handler, list(self.learners.values()))
                )
            case LearnerPhase.SYNCING:
                if not handler.on_sync_ack(packet, self._epoch_zxid, self._committed.last):
                    return []
                handler.phase = LearnerPhase.SERVING
                return [Send(handler.connection, QuorumPacket(PacketType.UPTODATE, -1))]
            case LearnerPhase.SERVING:
                self._on_serving(handler, packet)
                return []
        raise ProtocolError(f"{packet.type.name} while {handler.phase.value}, where nothing is due")

    def _on_info(self, handler: LearnerHandler, packet: QuorumPacket) -> list[ZabEffect]:
        handler.on_info(packet, -1 - self._nameless, self._config_version)
        if not handler.observer:
            raise ProtocolError("it is no observer, and only these are served by a follower")
        self._nameless += handler.sid < 0
        handler.phase = LearnerPhase.ACKING_EPOCH
        version = encode_protocol_version(PROTOCOL_VERSION)
        return [Send(handler.connection, QuorumPacket(PacketType.LEADERINFO, self._epoch_zxid, version))]

    def _replace(self, handler: LearnerHandler) -> list[ZabEffect]:
        """A server that has connected anew has no use for its former connection."""
        effects: list[ZabEffect] = []
        for other in list(self.learners.values()):
            if other.sid == handler.sid and other is not handler and other.phase != LearnerPhase.REGISTERING:
                effects += self._close(other, f"server {handler.sid} has connected anew")
        return effects

    def _newleader(self, handler: LearnerHandler, effects: list[ZabEffect]) -> list[ZabEffect]:
        if handler.phase != LearnerPhase.SYNCING:
            return effects  # more is to be read
        newleader = QuorumPacket(PacketType.NEWLEADER, self._epoch_zxid, self._config_text)
        return [*effects, Send(handler.connection, newleader)]

    def _on_serving(self, handler: LearnerHandler, packet: QuorumPacket) -> None:
        kind, requests = packet.type, self._requests
        if kind == PacketType.REQUEST:
            requests.on_request(handler.connection, packet)
        elif kind == PacketType.PING:
            requests.on_touched(handler.connection, packet.data or b"")
        elif kind == PacketType.REVALIDATE:
            requests.on_revalidate(handler.connection, packet.data or b"")
        elif kind != PacketType.ACK:
            raise ProtocolError(f"{kind.name} while {handler.phase.value}, where nothing is due")

    def _close(self, handler: LearnerHandler, reason: str) -> list[ZabEffect]:
        self._forget(handler.connection)
        return [CloseLearner(handler.connection, reason)]
