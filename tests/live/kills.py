"""A standalone server under load, killed at random instants: what clients were told must be there afterwards.

Each client has a part of the tree of its own and sends its writes without waiting for all answers, so that what a
restart may show is exact: all that was acknowledged (or read by anybody), and a first part of what was still under
way, in order, whole multis only. The model (State, History, Sequences) knows no socket, so that tests can doctor it.

By hand: python tests/live/kills.py --kind zktw --rounds 200 --seed 1
"""

import argparse
import random
import shutil
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ensemble import HOST, Ensemble, Node, wait_until

OK, NONODE, BADVERSION, NODEEXISTS, RUNTIMEINCONSISTENCY = 0, -101, -103, -110, -2
DELETE, GETDATA, SETDATA, GETCHILDREN, CHECK, MULTI, CREATE2, CLOSE = 2, 4, 5, 8, 13, 14, 15, -11
EPHEMERAL, SEQUENTIAL = 1, 2
TICK_MS = 200
# Outlives every restart; the short one is the least there is.
SESSION_MS, SHORT_SESSION_MS = 40_000, 2 * TICK_MS
EXPIRY_SLACK_S = 10.0
CONFIG = (
    f"maxSessionTimeout={SESSION_MS}",
    "snapCount=200",
    "preAllocSize=1024",
    "autopurge.purgeInterval=1",
    "autopurge.snapRetainCount=3",
)
SEQUENCE_PARENT = "/sequence"
BALLAST_PARENT, BALLAST_COUNT = "/ballast", 3000


class Violation(AssertionError):
    """The server broke a promise."""


# ---------------------------------------------------------------------------------------------------- the wire


def i32(value: int) -> bytes:
    return struct.pack(">i", value)


def i64(value: int) -> bytes:
    return struct.pack(">q", value)


def buf(data: bytes | None) -> bytes:
    return i32(-1) if data is None else i32(len(data)) + data


def text(value: str | None) -> bytes:
    return buf(None if value is None else value.encode())


OPEN_ACL = i32(1) + i32(31) + text("world") + text("anyone")
MULTI_END = i32(-1) + b"\x01" + i32(-1)


@dataclass(frozen=True)
class Stat:
    """What a reply says of a node, as far as it matters here."""

    czxid: int
    mzxid: int
    version: int
    owner: int

    @classmethod
    def read(cls, source: "Source") -> "Stat":
        fields = struct.unpack(">qqqqiiiqiiq", source.take(68))
        return cls(fields[0], fields[1], fields[4], fields[7])


class Source:
    """Reads fields of one frame."""

    def __init__(self, frame: bytes) -> None:
        self.frame, self.at = frame, 0

    def take(self, count: int) -> bytes:
        piece = self.frame[self.at : self.at + count]
        if count < 0 or len(piece) < count:
            raise Violation(f"a reply ends too early: {self.frame!r}")
        self.at += count
        return piece

    def i32(self) -> int:
        value: int = struct.unpack(">i", self.take(4))[0]
        return value

    def i64(self) -> int:
        value: int = struct.unpack(">q", self.take(8))[0]
        return value

    def buf(self) -> bytes:
        length = self.i32()
        return b"" if length == -1 else self.take(length)

    def text(self) -> str:
        return self.buf().decode()


class Link:
    """One connection with a session. Everything that ends it comes as OSError."""

    def __init__(self, port: int, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection((HOST, port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb", 1 << 16)
        self.session, self.password, self.timeout_ms, self.zxid = 0, b"", 0, 0

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def send(self, *bodies: bytes) -> None:
        self.socket.sendall(b"".join(i32(len(body)) + body for body in bodies))

    def frame(self) -> bytes:
        head = self._file.read(4)
        if len(head) < 4:
            raise ConnectionError("closed")
        length = struct.unpack(">i", head)[0]
        if not 0 <= length < 1 << 24:
            raise Violation(f"a reply of {length} bytes")
        body: bytes = self._file.read(length)
        if len(body) < length:
            raise ConnectionError("closed inside of a reply")
        return body

    def open(self, timeout_ms: int, last_zxid: int = 0, session: int = 0, password: bytes = bytes(16)) -> bool:
        """The handshake; whether there is a session now (a server may also close: ConnectionError)."""
        self.send(i32(0) + i64(last_zxid) + i32(timeout_ms) + i64(session) + buf(password) + b"\x00")
        answer = Source(self.frame())
        answer.i32()
        self.timeout_ms, self.session, self.password = answer.i32(), answer.i64(), answer.buf()
        return self.timeout_ms > 0

    def reply(self, xid: int) -> tuple[int, Source]:
        """The error code and the body of the next reply, which must be this one."""
        source = Source(self.frame())
        got, zxid, error = source.i32(), source.i64(), source.i32()
        if got != xid:
            raise Violation(f"reply to {got}, waiting for that to {xid}")
        if zxid < self.zxid:
            raise Violation(f"zxid went back from 0x{self.zxid:x} to 0x{zxid:x} on one connection")
        self.zxid = zxid
        return error, source

    def call(self, op: int, body: bytes) -> tuple[int, Source]:
        """One request alone on this connection, and its reply."""
        self.send(i32(1) + i32(op) + body)
        return self.reply(1)


# ---------------------------------------------------------------------------------------------------- the model


@dataclass(frozen=True)
class Held:
    """A node as the model knows it; name and zxids are None as long as nobody was told them."""

    data: bytes
    version: int
    owner: int
    mzxid: int | None = None
    name: str | None = None

    def agrees(self, seen: "Held") -> bool:
        """Whether the node that was seen may be this one."""
        return (
            (self.data, self.version, self.owner) == (seen.data, seen.version, seen.owner)
            and self.mzxid in (None, seen.mzxid)
            and self.name in (None, seen.name)
        )


@dataclass
class State:
    """What one client's writes have made: its nodes by key, and its session (0: closed).

    The key of a sequential node is "seq:" and its data, since its name is the server's to choose.
    """

    nodes: dict[str, Held] = field(default_factory=dict)
    session: int = 0

    def copy(self) -> "State":
        return State(dict(self.nodes), self.session)

    def difference(self, seen: "State") -> str:
        """In words, what was seen that cannot be this state; "" if it can."""
        if self.session != seen.session:
            return f"session 0x{seen.session:x}, expected 0x{self.session:x}"
        for key in sorted(self.nodes.keys() | seen.nodes.keys()):
            mine, its = self.nodes.get(key), seen.nodes.get(key)
            if mine is None or its is None or not mine.agrees(its):
                return f"{key}: {its}, expected {mine}"
        return ""


@dataclass(frozen=True)
class Create:
    """Plain, or with ephemeral=True of the client's session; sequential ones have the key "seq:<data>"."""

    key: str
    data: bytes
    ephemeral: bool = False

    def apply(self, state: State) -> int:
        if self.key in state.nodes:
            return NODEEXISTS
        state.nodes[self.key] = Held(self.data, 0, state.session if self.ephemeral else 0)
        return OK

    @property
    def op(self) -> int:
        return CREATE2

    def body(self) -> bytes:
        sequential = self.key.startswith("seq:")
        path = f"{SEQUENCE_PARENT}/n-" if sequential else self.key
        flags = (SEQUENTIAL if sequential else 0) | (EPHEMERAL if self.ephemeral else 0)
        return text(path) + buf(self.data) + OPEN_ACL + i32(flags)


@dataclass(frozen=True)
class Set:
    """setData; version -1 fits any."""

    key: str
    data: bytes
    version: int

    def apply(self, state: State) -> int:
        old = state.nodes.get(self.key)
        if old is None:
            return NONODE
        if self.version not in (-1, old.version):
            return BADVERSION
        state.nodes[self.key] = Held(self.data, old.version + 1, old.owner)
        return OK

    @property
    def op(self) -> int:
        return SETDATA

    def body(self) -> bytes:
        return text(self.key) + buf(self.data) + i32(self.version)


@dataclass(frozen=True)
class Delete:
    """Of any version; a sequential node by the name that was acknowledged."""

    key: str
    name: str | None = None

    def apply(self, state: State) -> int:
        return OK if state.nodes.pop(self.key, None) else NONODE

    @property
    def op(self) -> int:
        return DELETE

    def body(self) -> bytes:
        return text(self.name or self.key) + i32(-1)


@dataclass(frozen=True)
class Check:
    """Part of a multi only."""

    key: str
    version: int

    def apply(self, state: State) -> int:
        held = state.nodes.get(self.key)
        if held is None:
            return NONODE
        return OK if self.version in (-1, held.version) else BADVERSION

    @property
    def op(self) -> int:
        return CHECK

    def body(self) -> bytes:
        return text(self.key) + i32(self.version)


Single = Create | Set | Delete | Check


@dataclass(frozen=True)
class Multi:
    """All or nothing."""

    parts: tuple[Single, ...]

    def results(self, state: State) -> list[int]:
        """The error code of each part, as the reply has them; the state changes if all are 0."""
        after = state.copy()
        codes: list[int] = []
        for part in self.parts:
            code = part.apply(after)
            codes.append(code)
            if code:
                wait = len(self.parts) - len(codes)
                return [OK] * (len(codes) - 1) + [code] + [RUNTIMEINCONSISTENCY] * wait
        state.nodes = after.nodes
        return codes

    def apply(self, state: State) -> int:
        self.results(state)
        return OK

    @property
    def op(self) -> int:
        return MULTI

    def body(self) -> bytes:
        return b"".join(i32(part.op) + b"\x00" + i32(-1) + part.body() for part in self.parts) + MULTI_END


@dataclass(frozen=True)
class Close:
    """closeSession: takes the session's ephemerals along."""

    def apply(self, state: State) -> int:
        state.nodes = {key: held for key, held in state.nodes.items() if held.owner != state.session}
        state.session = 0
        return OK

    @property
    def op(self) -> int:
        return CLOSE

    def body(self) -> bytes:
        return b""


Op = Create | Set | Delete | Multi | Close


def tags(op: Op) -> Iterable[bytes]:
    """The data that this write puts anywhere."""
    for part in op.parts if isinstance(op, Multi) else (op,):
        if isinstance(part, Create | Set):
            yield part.data


class History:
    """One client's writes: the state after all that were acknowledged, and those still under way, in order."""

    def __init__(self, session: int = 0) -> None:
        self.base = State(session=session)
        self.pending: deque[Op] = deque()

    def sent(self, op: Op) -> None:
        """A write is about to leave."""
        self.pending.append(op)

    def acknowledged(self) -> tuple[Op, int, list[int]]:
        """The oldest write under way was answered: the write, the error and (multi) the codes it must have."""
        op = self.pending.popleft()
        if isinstance(op, Multi):
            return op, OK, op.results(self.base)
        return op, op.apply(self.base), []

    def told(self, key: str, mzxid: int, name: str | None = None) -> None:
        """What the acknowledgement said of a node."""
        self.base.nodes[key] = replace(self.base.nodes[key], mzxid=mzxid, name=name)

    def settle(self, seen: State, read: frozenset[bytes] | set[bytes] = frozenset()) -> int:
        """After a restart: how many of the writes under way took place. read: data that a reader got before it.

        What was seen is the base from now on. Raises Violation if nothing explains it.
        """
        least = max((n for n, op in enumerate(self.pending, 1) if not read.isdisjoint(tags(op))), default=0)
        state = self.base.copy()
        found = None
        reasons = []
        for count in range(len(self.pending) + 1):
            if count:
                self.pending[count - 1].apply(state)
            if count >= least:
                reasons.append(state.difference(seen))
                if not reasons[-1]:
                    found = count
                    break
        if found is None:
            raise Violation(
                f"no state between the last acknowledged write (or read one, {least}) and the last sent "
                f"({len(self.pending)}) is what is there: {reasons}"
            )
        self.pending.clear()
        self.base = seen
        return found


class Sequences:
    """Numbers of sequential nodes under one parent: given once, and never a lower one later."""

    def __init__(self) -> None:
        self.highest = -1
        self._given: dict[int, bytes] = {}
        self._lock = threading.Lock()

    def given(self, number: int, tag: bytes, floor: int) -> None:
        """A node has this number; floor is the highest number known when its request left."""
        with self._lock:
            if self._given.setdefault(number, tag) != tag:
                raise Violation(f"number {number} for {self._given[number]!r} and for {tag!r}")
            if number <= floor:
                raise Violation(f"number {number} for {tag!r} after {floor} had been given")
            self.highest = max(self.highest, number)

    def there(self, number: int, tag: bytes) -> None:
        """A node with this number is in the tree, acknowledged or not."""
        self.given(number, tag, -1)


# ---------------------------------------------------------------------------------------------------- the load


@dataclass
class Counts:
    """What a campaign did, for its report."""

    rounds: int = 0
    kills: int = 0
    acknowledged: int = 0
    survived: int = 0
    lost: int = 0
    sequences: int = 0
    sessions: int = 0
    expired: int = 0
    reads: int = 0


class Load(threading.Thread):
    """Uses one connection until that ends, which is no failure; anything else is."""

    def __init__(self, link: Link, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.link, self.rng = link, rng
        self.violation: Exception | None = None

    def run(self) -> None:
        try:
            self.work()
        except OSError:
            pass
        except Exception as error:
            self.violation = error

    def work(self) -> None:
        raise NotImplementedError


class Client(Load):
    """One round of one client: keeps `window` writes under way until the server is gone or it closed its session."""

    def __init__(self, number: int, link: Link, history: History, sequences: Sequences, rng: random.Random) -> None:
        super().__init__(link, rng)
        self.number, self.history, self.sequences = number, history, sequences
        self.window = rng.choice((1, 4, 16, 40))
        self.ahead = history.base.copy()
        self.acknowledged = 0
        self._xids: deque[tuple[int, int]] = deque()
        self._xid = 0
        self._last_number = -1

    def work(self) -> None:
        while self.ahead.session or self.history.pending:
            bodies = []
            while self.ahead.session and len(self.history.pending) < self.window:
                bodies.append(self._invent())
            if bodies:
                self.link.send(*bodies)
            self._answer()

    def _invent(self) -> bytes:
        op = self._choose()
        self._xid += 1
        self._xids.append((self._xid, self.sequences.highest))
        self.history.sent(op)
        op.apply(self.ahead)
        return i32(self._xid) + i32(op.op) + op.body()

    def _data(self) -> bytes:
        size = self.rng.choice((0, 0, 50, 100, 100, 300, 3000))
        return f"{self.number}.{self.rng.getrandbits(48):012x}.".encode() + self.rng.randbytes(size)

    def _choose(self) -> Op:
        chance = self.rng.random()
        if chance < 0.0015:
            return Close()
        if chance < 0.15:
            return Multi(tuple(self._single(checks=True) for _ in range(self.rng.randint(0, 6))))
        if chance < 0.30:
            data = self._data()
            return Create(f"seq:{data.hex()}", data, self.rng.random() < 0.3)
        named = [(key, held.name) for key, held in self.history.base.nodes.items() if held.name]
        if chance < 0.45 and named:
            return Delete(*self.rng.choice(named))
        single = self._single()
        assert not isinstance(single, Check)
        return single

    def _single(self, *, checks: bool = False) -> Single:
        key = f"/client{self.number}/{self.rng.choice('pppe')}{self.rng.randrange(6)}"
        held = self.ahead.nodes.get(key)
        fitting = self.rng.choice((-1, held.version if held else 0))
        if checks and self.rng.random() < 0.2:
            return Check(key, fitting)
        if held is None and self.rng.random() < 0.9:
            return Create(key, self._data(), "/e" in key)
        if self.rng.random() < 0.15:
            return Delete(key)
        return Set(key, self._data(), fitting if self.rng.random() < 0.95 else fitting + 7)

    def _answer(self) -> None:
        xid, floor = self._xids.popleft()
        error, source = self.link.reply(xid)
        op, expected, codes = self.history.acknowledged()
        self.acknowledged += 1
        if error != expected:
            raise Violation(f"{op}: answered {error}, expected {expected}")
        if isinstance(op, Multi):
            self._answer_multi(op, codes, source)
        elif isinstance(op, Create | Set) and not error:
            self._answer_node(op, source, floor)

    def _answer_node(self, op: Create | Set, source: Source, floor: int) -> None:
        name = source.text() if isinstance(op, Create) else None
        stat = Stat.read(source)
        held = self.history.base.nodes[op.key]
        if (stat.version, stat.owner) != (held.version, held.owner):
            raise Violation(f"{op}: {stat}, expected {held}")
        if op.key.startswith("seq:"):
            assert name is not None
            number = int(name[-10:])
            self.sequences.given(number, op.data, max(floor, self._last_number))
            self._last_number = number
            self.history.told(op.key, stat.mzxid, name)
        else:
            self.history.told(op.key, stat.mzxid)

    def _answer_multi(self, op: Multi, codes: Sequence[int], source: Source) -> None:
        told: dict[str, int] = {}
        failed = any(codes)
        for part, code in zip(op.parts, codes, strict=True):
            kind, _, error = source.i32(), source.take(1), source.i32()
            if (kind == -1) != failed or error != code or (failed and source.i32() != code):
                raise Violation(f"{op}: result {kind} {error} of {part}, expected {code}")
            if kind in (1, CREATE2):
                source.text()
            if kind in (CREATE2, SETDATA):
                told[part.key] = Stat.read(source).mzxid
        if source.take(9) != MULTI_END:
            raise Violation(f"{op}: no end of its results")
        for key, mzxid in told.items():
            if key in self.history.base.nodes:
                self.history.told(key, mzxid)


class Reader(Load):
    """Reads what the clients write: what anybody has seen must stay."""

    def __init__(self, link: Link, clients: int, rng: random.Random) -> None:
        super().__init__(link, rng)
        self.paths = [f"/client{c}/{kind}{n}" for c in range(clients) for kind in "pe" for n in range(6)]
        self.seen: set[bytes] = set()
        self.reads = 0

    def work(self) -> None:
        while True:
            batch = self.rng.sample(self.paths, 8)
            self.link.send(*(i32(7) + i32(GETDATA) + text(path) + b"\x00" for path in batch))
            for _ in batch:
                error, source = self.link.reply(7)
                self.reads += 1
                if not error:
                    self.seen.add(source.buf())


# ---------------------------------------------------------------------------------------------------- the rounds


@dataclass
class Mayfly:
    """A short session whose client went away without a word."""

    session: int
    password: bytes
    paths: tuple[str, ...]


class Campaign:
    """Rounds of load, kill, restart and audit against one node."""

    def __init__(self, ensemble: Ensemble, seed: int, clients: int = 6) -> None:
        self.ensemble, self.node = ensemble, ensemble[1]
        self.rng = random.Random(seed)
        self.histories = [History() for _ in range(clients)]
        self.passwords: dict[int, bytes] = {}
        self.links: dict[int, Link] = {}
        self.sequences = Sequences()
        self.counts = Counts()
        self.zxid = 0
        self.dead: dict[int, bytes] = {}
        self.mayflies: list[Mayfly] = []
        self.start_s = 1.0
        self.seen: set[bytes] = set()
        self.ballast = [self.rng.randbytes(500) for _ in range(BALLAST_COUNT)]

    @property
    def port(self) -> int:
        return self.node.client_port

    def run(self, rounds: int, say: Callable[[str], None] = print) -> Counts:
        """All rounds. Raises Violation at the first broken promise."""
        self.start()
        self.prepare()
        for number in range(rounds):
            self.load(self.rng.uniform(0.05, 1.2))
            if self.rng.random() < 0.25:
                self.node.start(self.ensemble.properties, self.ensemble._jvm_flags)
                time.sleep(self.rng.uniform(0, self.start_s))
                self.kill()
            self.start()
            self.audit(expire=number % 5 == 4 or number == rounds - 1)
            self.counts.rounds += 1
            if number % 10 == 9:
                say(f"{self.counts}")
        return self.counts

    def start(self) -> None:
        self.ensemble.start(self.node)
        self.start_s = self.ensemble.wait_serving(self.node)

    def kill(self) -> None:
        self.node.kill()
        self.counts.kills += 1

    def prepare(self) -> None:
        """The parents, and nodes enough that a snapshot takes a while."""
        link = self.connect()
        for path in (SEQUENCE_PARENT, BALLAST_PARENT, "/mayflies", *self.parents()):
            assert link.call(CREATE2, text(path) + buf(b"") + OPEN_ACL + i32(0))[0] == OK
        for first in range(0, BALLAST_COUNT, 100):
            link.send(
                *(
                    i32(n) + i32(CREATE2) + text(f"{BALLAST_PARENT}/{n}") + buf(self.ballast[n]) + OPEN_ACL + i32(0)
                    for n in range(first, first + 100)
                )
            )
            for n in range(first, first + 100):
                assert link.reply(n)[0] == OK
        self.leave(link)

    def parents(self) -> list[str]:
        return [f"/client{number}" for number in range(len(self.histories))]

    def connect(self, timeout_ms: int = SESSION_MS) -> Link:
        """A new session of one who has seen all that anybody has."""
        link = Link(self.port)
        if not link.open(timeout_ms, self.zxid):
            raise Violation("no new session")
        link.zxid = self.zxid
        return link

    def leave(self, link: Link) -> None:
        assert link.call(CLOSE, b"")[0] == OK
        self.zxid = max(self.zxid, link.zxid)
        self.dead[link.session] = link.password
        link.close()

    # -- load

    def load(self, seconds: float) -> None:
        """Everybody writes; then the server is killed and the answers still under way are read."""
        clients = []
        for number, history in enumerate(self.histories):
            link = self.links.pop(number, None)
            if link is None:
                link = self.connect()
                self.counts.sessions += 1
                history.base.session = link.session
            self.passwords[number] = link.password
            rng = random.Random(self.rng.getrandbits(64))
            clients.append(Client(number, link, history, self.sequences, rng))
        reader = Reader(self.connect(), len(clients), random.Random(self.rng.getrandbits(64)))
        threads: list[Load] = [*clients, reader]
        # Before there is load: its session must not expire while it waits for its turn.
        self.hatch()
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self.kill()
        for thread in threads:
            thread.join(30)
            if thread.is_alive():
                raise Violation("a client still waits for a killed server")
            if thread.violation is not None:
                raise thread.violation
            thread.link.close()
            self.zxid = max(self.zxid, thread.link.zxid)
        self.seen = reader.seen
        self.counts.reads += reader.reads
        self.counts.acknowledged += sum(client.acknowledged for client in clients)

    def hatch(self) -> None:
        """A session that will expire."""
        link = self.connect(SHORT_SESSION_MS)
        paths = tuple(f"/mayflies/{link.session:x}-{n}" for n in range(3))
        error, _ = link.call(MULTI, Multi(tuple(Create(path, b"", True) for path in paths)).body())
        assert error == OK
        self.zxid = max(self.zxid, link.zxid)
        self.mayflies.append(Mayfly(link.session, link.password, paths))
        link.close()

    # -- audit

    def audit(self, *, expire: bool) -> None:
        """Hold what is there now against what everybody was told."""
        self.refuse_the_ahead()
        link = self.connect()
        nodes = self.walk(link)
        owners = {held.owner for held in nodes.values() if held.owner}
        for number, history in enumerate(self.histories):
            seen = State(self.of_client(number, nodes), self.resume(number, history))
            under_way = len(history.pending)
            try:
                survived = history.settle(seen, self.seen)
            except Violation as violation:
                raise Violation(f"client {number}: {violation}") from None
            self.counts.survived += survived
            self.counts.lost += under_way - survived
            owners.discard(seen.session)
        for key, held in nodes.items():
            if key.startswith("seq:"):
                assert held.name is not None
                self.sequences.there(int(held.name[-10:]), held.data)
                self.counts.sequences += 1
        self.audit_mayflies(link, nodes, owners, expire=expire)
        if owners:
            raise Violation(f"ephemerals of sessions that are not there: {[f'0x{owner:x}' for owner in owners]}")
        self.audit_ballast(link)
        for session, password in self.rng.sample(sorted(self.dead.items()), min(3, len(self.dead))):
            self.refuse_the_dead(session, password)
        self.leave(link)

    def resume(self, number: int, history: History) -> int:
        """Take the client's session up again; its id, or 0 if the server does not know it any more."""
        session = history.base.session
        if not session:
            return 0
        link = Link(self.port)
        if not link.open(SESSION_MS, self.zxid, session, self.passwords[number]):
            self.dead[session] = self.passwords[number]
            link.close()
            return 0
        if link.session != session:
            raise Violation(f"session 0x{session:x} came back as 0x{link.session:x}")
        link.zxid = self.zxid
        self.links[number] = link
        return session

    def refuse_the_ahead(self) -> None:
        """Nobody who has seen more than the server is served, not even by an answer."""
        link = Link(self.port)
        ahead = self.zxid + self.rng.choice((1000, 1 << 32, 1 << 60)) + 100_000
        try:
            link.open(SESSION_MS, ahead)
        except ConnectionError:
            return
        finally:
            link.close()
        raise Violation(f"a client that has seen 0x{ahead:x} was answered")

    def refuse_the_dead(self, session: int, password: bytes) -> None:
        link = Link(self.port)
        if link.open(SESSION_MS, self.zxid, session, password):
            raise Violation(f"session 0x{session:x} is alive again")
        link.close()

    def walk(self, link: Link) -> dict[str, Held]:
        """All nodes but the ballast, by key."""
        paths = []
        for parent in (*self.parents(), SEQUENCE_PARENT, "/mayflies"):
            error, source = link.call(GETCHILDREN, text(parent) + b"\x00")
            if error:
                raise Violation(f"{parent}: {error}")
            paths += [f"{parent}/{source.text()}" for _ in range(source.i32())]
        nodes: dict[str, Held] = {}
        for path in paths:
            error, source = link.call(GETDATA, text(path) + b"\x00")
            if error == NONODE and path.startswith("/mayflies"):
                continue
            if error:
                raise Violation(f"{path}, listed by its parent: {error}")
            data, stat = source.buf(), Stat.read(source)
            sequential = path.startswith(SEQUENCE_PARENT)
            key = f"seq:{data.hex()}" if sequential else path
            if key in nodes:
                raise Violation(f"one request made {nodes[key].name} and {path}")
            nodes[key] = Held(data, stat.version, stat.owner, stat.mzxid, path if sequential else None)
        return nodes

    def of_client(self, number: int, nodes: dict[str, Held]) -> dict[str, Held]:
        mine, tag = f"/client{number}/", f"{number}.".encode()
        return {
            key: held
            for key, held in nodes.items()
            if key.startswith(mine) or (key.startswith("seq:") and held.data.startswith(tag))
        }

    def audit_mayflies(self, link: Link, nodes: dict[str, Held], owners: set[int], *, expire: bool) -> None:
        """All ephemerals of an expiring session are there, or none; and in the end none."""
        for fly in self.mayflies:
            there = [path for path in fly.paths if path in nodes]
            # The walk itself takes a while, and the session may end in the middle of it.
            if len(there) not in (0, len(fly.paths)) and self.paths_of(link, fly) not in (0, len(fly.paths)):
                raise Violation(f"of session 0x{fly.session:x} only {there} are left")
            owners.discard(fly.session)
        if not expire:
            return
        for fly in self.mayflies:
            wait_until(f"session 0x{fly.session:x} expired", partial(self.is_gone, link, fly), EXPIRY_SLACK_S)
            self.dead[fly.session] = fly.password
            self.counts.expired += 1
        self.mayflies.clear()

    def is_gone(self, link: Link, fly: Mayfly) -> bool:
        return not self.paths_of(link, fly)

    def paths_of(self, link: Link, fly: Mayfly) -> int:
        return sum(link.call(GETDATA, text(path) + b"\x00")[0] == OK for path in fly.paths)

    def audit_ballast(self, link: Link) -> None:
        _, source = link.call(GETCHILDREN, text(BALLAST_PARENT) + b"\x00")
        if (count := source.i32()) != BALLAST_COUNT:
            raise Violation(f"{count} of {BALLAST_COUNT} old nodes are there")
        for n in self.rng.sample(range(BALLAST_COUNT), 20):
            error, source = link.call(GETDATA, text(f"{BALLAST_PARENT}/{n}") + b"\x00")
            if error or source.buf() != self.ballast[n]:
                raise Violation(f"{BALLAST_PARENT}/{n}: {error}, or other data")


def campaign(
    kind: str, rounds: int, seed: int, keep: Path | None = None, extra: Sequence[str] = ()
) -> tuple[Counts, Node]:
    """Kill a server of this kind again and again.

    keep: where its files are copied to if a promise is broken. extra: more lines of its zoo.cfg.
    """
    with Ensemble([kind], extra=[*CONFIG, *extra], tick_ms=TICK_MS) as ensemble:
        try:
            counts = Campaign(ensemble, seed).run(rounds)
        except BaseException:
            if keep is not None:
                shutil.copytree(ensemble.directory, keep, dirs_exist_ok=True)
            raise
        return counts, ensemble[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill a server under load and hold it to its word.")
    parser.add_argument("--kind", default="zktw")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.getrandbits(32))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--extra", action="append", default=[], help="a line of zoo.cfg, such as digest.enabled=false")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    began = time.monotonic()
    counts, _ = campaign(options.kind, options.rounds, options.seed, options.keep, options.extra)
    print(f"{options.kind}: {counts} in {time.monotonic() - began:.0f} s, no promise broken")


if __name__ == "__main__":
    main()
