"""SimClient: one client on a host of its own: a session, requests in a pipeline, watches, pings, and coming back."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from zktw.node.clock import Alarm, Clock, Random
from zktw.sim.linear import Answer
from zktw.sim.network import Network
from zktw.sim.reactor import SimReactor
from zktw.sim.requests import CLOSE, PING, Ask, Choice, set_watches
from zktw.sim.schedule import Process, Schedule
from zktw.terms.codes import ErrorCode, EventType, OpCode
from zktw.wire.client import (
    NOTIFICATION_XID,
    PING_XID,
    REPLY_HEADER_BYTES,
    REQUEST_HEADER,
    SET_WATCHES_XID,
)
from zktw.wire.framing import FrameSplitter
from zktw.wire.jute import Reader, put_bool, put_buffer, put_int, put_long
from zktw.wire.records import STAT

_LENGTH_MAX = 1 << 24
CONNECT_TIMEOUT_S = 1.0


class Cnxn(Protocol):
    """A client's end of one connection."""

    # Declared wider than Twisted's: a simulated transport.
    transport: Any

    def __init__(self, client: "SimClient") -> None:
        self.ready = False
        self._client = client
        self._frames = FrameSplitter(0, _LENGTH_MAX)

    def connectionMade(self) -> None:
        self._client.on_made(self)

    def dataReceived(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            self._client.on_frame(self, frame)

    def connectionLost(self, reason: object = None) -> None:
        self._client.on_lost(self)


class Said:
    """A request to a register, and its answer: None as long as there is none."""

    __slots__ = ("answer", "answered", "ask", "asked")

    def __init__(self, ask: Ask, asked: float) -> None:
        self.ask = ask
        self.asked = asked
        self.answered = float("inf")
        self.answer: Answer | None = None


class _Dialling(ClientFactory):
    noisy = False

    def __init__(self, client: "SimClient") -> None:
        self._client = client

    def buildProtocol(self, addr: object) -> Cnxn:
        return Cnxn(self._client)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self._client.on_lost(None)


class SimClient:
    """It asks as long as it is busy, and keeps its session until told otherwise."""

    def __init__(
        self,
        schedule: Schedule,
        network: Network,
        host: str,
        servers: Sequence[tuple[str, int]],
        random: Random,
        timeout_ms: int,
        *,
        registers: Sequence[str] = (),
    ) -> None:
        self.host = host
        self.busy = True
        self.session_id = 0
        self.timeout_ms = timeout_ms
        self.last_zxid = 0
        self.replies = 0
        self.expired = 0
        self._schedule = schedule
        self._network = network
        self._servers = list(servers)
        if len(self._servers) > 1:
            random.shuffle(self._servers)
        self._dialled = 0
        self._registers = registers
        # What it has asked of its registers: request, when, when answered, with what error and version.
        self.asked: list[Said] = []
        self._open: deque[Said | None] = deque()
        self._random = random
        self._password = b"\0" * 16
        self._lives = 0
        self._xid = 0
        self._start()

    # -- lives -------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._lives += 1
        self.process = Process(f"{self.host}.{self._lives}")
        self._reactor = SimReactor(self._schedule, self._network, self.process, self.host, names={})
        clock = self._clock = Clock(self._reactor)
        self._ping_alarm: Alarm = clock.alarm(self._ping)
        self._act_alarm: Alarm = clock.alarm(self._act)
        self._dial_alarm: Alarm = clock.alarm(self._dial)
        self._begin_session()
        self._dial_alarm.set(clock.now_ms() + self._random.random() * 300)
        self._act_alarm.set(clock.now_ms() + 300)

    def _begin_session(self) -> None:
        self.session_id, self._password = 0, b"\0" * 16
        self._cnxn: Cnxn | None = None
        self._pending: deque[tuple[int, Ask]] = deque()
        self._open.clear()
        self._again: list[Ask] = []
        self._heard_ms = 0.0
        self._closing = False
        self.choice = Choice(self._random, self._registers)
        self._data: dict[str, None] = {}
        self._exist: dict[str, None] = {}
        self._child: dict[str, None] = {}

    def die(self) -> None:
        """Be gone without a word of its own; another life may follow, with nothing of this one."""
        if self.process.alive:
            self.process.alive = False
            self._network.process_died(self.process)

    def start_again(self) -> None:
        """A new life: it knows no session, and has seen nothing."""
        if not self.process.alive:
            self.last_zxid = 0
            self._start()

    def close_session(self) -> None:
        """Say good-bye; a new session follows."""
        if self.connected and not self._closing:
            self._closing = True
            self._send(CLOSE)

    @property
    def connected(self) -> bool:
        """Whether it has a session on a connection that it takes for good."""
        return self.process.alive and self._cnxn is not None and self._cnxn.ready

    @property
    def idle(self) -> bool:
        """Whether it is connected, and has an answer to all it has asked."""
        return self.connected and not self._pending and not self._again

    @property
    def waiting(self) -> list[tuple[int, Ask]]:
        """What it has asked and was not answered yet."""
        return list(self._pending)

    # -- connections -------------------------------------------------------------------------------------------------

    def _dial(self) -> None:
        server = self._servers[self._dialled % len(self._servers)]
        self._dialled += 1
        self._reactor.connectTCP(*server, _Dialling(self), CONNECT_TIMEOUT_S)

    def move(self) -> None:
        """Leave the server for another, and take the session along."""
        if self.connected:
            self._abort()

    def on_made(self, cnxn: Cnxn) -> None:
        """The server is there: ask for the session."""
        self._cnxn = cnxn
        self._heard_ms = self._clock.now_ms()
        out = bytearray()
        put_int(out, 0)
        put_long(out, self.last_zxid)
        put_int(out, self.timeout_ms)
        put_long(out, self.session_id)
        put_buffer(out, self._password)
        put_bool(out, False)
        self._write(cnxn, bytes(out))
        self._ping_alarm.set(self._heard_ms + self.timeout_ms / 3)

    def on_lost(self, cnxn: Cnxn | None) -> None:
        """There is no connection, or none any more: dial again in a while."""
        if cnxn is not None and cnxn is not self._cnxn:
            return
        self._cnxn = None
        self._ping_alarm.set(None)
        if self._closing:
            self._begin_session()
        # Nobody knows whether these have happened; some are asked once more.
        lost = [ask for _, ask in self._pending if ask.op not in (OpCode.PING, OpCode.SET_WATCHES)]
        self._again += [ask for ask in lost if self._random.random() < 0.4]
        self._pending.clear()
        self._open.clear()
        self._dial_alarm.set(self._clock.now_ms() + 20 + self._random.random() * 400)

    def _abort(self) -> None:
        cnxn = self._cnxn
        assert cnxn is not None
        cnxn.transport.abortConnection()
        self.on_lost(cnxn)

    def _write(self, cnxn: Cnxn, body: bytes) -> None:
        cnxn.transport.write(len(body).to_bytes(4, "big") + body)

    def _send(self, ask: Ask) -> None:
        assert self._cnxn is not None
        if ask.op == OpCode.PING:
            xid = PING_XID
        elif ask.op == OpCode.SET_WATCHES:
            xid = SET_WATCHES_XID
        else:
            self._xid += 1
            xid = self._xid
        self._pending.append((xid, ask))
        said = Said(ask, self._schedule.now) if ask.path in self._registers and ask.op != OpCode.GET_DATA else None
        self._open.append(said)
        if said is not None:
            self.asked.append(said)
        self._write(self._cnxn, REQUEST_HEADER.pack(xid, ask.op) + ask.body)

    # -- what it does by itself --------------------------------------------------------------------------------------

    def _ping(self) -> None:
        now_ms = self._clock.now_ms()
        if now_ms - self._heard_ms > self.timeout_ms * 2 / 3:
            self._abort()
            return
        if self.connected and not self._closing:
            self._send(PING)
        self._ping_alarm.set(now_ms + self.timeout_ms / 3)

    def _act(self) -> None:
        random = self._random
        self._act_alarm.set(self._clock.now_ms() + random.expovariate(1 / 60))
        if not self.connected or self._closing:
            return
        again, self._again = self._again, []
        for ask in again:
            self._send(ask)
        if self.busy and len(self._pending) < 20:
            for _ in range(random.choice((1, 1, 2, 5))):
                self._send(self.choice.next())

    # -- what it hears -----------------------------------------------------------------------------------------------

    def on_frame(self, cnxn: Cnxn, frame: bytes) -> None:
        """The answer to the handshake, a reply, or an event."""
        if cnxn is not self._cnxn:
            return
        self._heard_ms = self._clock.now_ms()
        reader = Reader(frame, _LENGTH_MAX)
        if not cnxn.ready:
            self._on_connect_response(cnxn, reader)
            return
        xid, zxid, err = reader.i32(), reader.i64(), reader.i32()
        if xid == NOTIFICATION_XID:
            type_, _, path = reader.i32(), reader.i32(), reader.string() or ""
            self._on_event(EventType(type_), path)
            return
        if zxid > 0:
            self.last_zxid = zxid
        _, ask = self._pending.popleft()
        said = self._open.popleft()
        self.replies += 1
        if said is not None:
            self._note_answer(said, err, frame[REPLY_HEADER_BYTES:])
        self._on_reply(ask, err, frame[REPLY_HEADER_BYTES:])

    def _on_connect_response(self, cnxn: Cnxn, reader: Reader) -> None:
        reader.i32()
        timeout_ms, session_id, password = reader.i32(), reader.i64(), reader.buffer()
        if timeout_ms == 0:
            self.expired += 1
            self._abort()
            self._begin_session()
            return
        self.session_id, self._password = session_id, password or b""
        cnxn.ready = True
        if self._data or self._exist or self._child:
            self._send(set_watches(self.last_zxid, self._data, self._exist, self._child))
            # Each is either told of now or registered anew, and told of as an event later.

    def _on_event(self, type_: EventType, path: str) -> None:
        if type_ == EventType.NODE_CHILDREN_CHANGED:
            self._child.pop(path, None)
            return
        self._data.pop(path, None)
        self._exist.pop(path, None)
        if type_ == EventType.NODE_DELETED:
            self._child.pop(path, None)

    def _on_reply(self, ask: Ask, err: int, body: bytes) -> None:
        if ask.watch:
            self._note_watch(ask, err)
        if err:
            return
        if ask.op == OpCode.CREATE2 and ask.path.endswith("-"):
            path = Reader(body, _LENGTH_MAX).string()
            assert path is not None
            self.choice.made.append(path)
        elif ask.op in (OpCode.GET_DATA, OpCode.SET_DATA, OpCode.EXISTS):
            self.choice.versions[ask.path] = STAT.unpack(body[-STAT.size :])[4]

    def _note_answer(self, said: Said, err: int, body: bytes) -> None:
        """Whose session was moved or has ended does not know what has become of its request."""
        if err not in (ErrorCode.SESSION_MOVED, ErrorCode.SESSION_EXPIRED):
            version = STAT.unpack(body[-STAT.size :])[4] if said.ask.op == OpCode.SET_DATA and not err else 0
            said.answered, said.answer = self._schedule.now, Answer(err, version)

    def _note_watch(self, ask: Ask, err: int) -> None:
        if ask.op == OpCode.EXISTS and err == ErrorCode.NO_NODE:
            self._exist[ask.path] = None
        elif not err:
            (self._child if ask.op == OpCode.GET_CHILDREN2 else self._data)[ask.path] = None
