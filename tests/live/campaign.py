"""Durability under fault: an ensemble behind proxies, clients on every server, faults at random, a checked history.

By hand: python tests/live/campaign.py --kinds zktw,zktw,apache38 --minutes 30 --seed 1
         python tests/live/campaign.py --matrix --seconds 45

Everything runs on one asyncio loop: clients, proxies and the fault that is going on. What is drawn (kinds of faults,
their victims and lengths, what clients do) comes from the seed; when things happen is up to the servers. No fault
breaks more than ZAB promises to bear: only one server at a time forgets what it had acknowledged, while all others run
and are in step, and nothing else happens until it has caught up.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ensemble import HOST, Ensemble, Node, missing
from history import (
    CREATE,
    DELETE,
    FAIL,
    OK,
    OTHER,
    READ,
    SYNC_READ,
    UNKNOWN,
    WRITE,
    Op,
    Trouble,
    check_all,
)
from proxies import Links
from rawclient import Reader, Reply, buffer, connect_body, create_body, i32, multi_body, reply, welcome

TICK_MS = 500
SYNC_LIMIT = 5
CREATE2, SYNC, DELETE_OP, GETDATA, SETDATA, CHILDREN, MULTI, CLOSE, PING, EXISTS = 15, 9, 2, 4, 5, 8, 14, -11, 11, 3
EPHEMERAL, SEQUENTIAL = 1, 2
PING_XID, EVENT_XID = -2, -1
NONODE, BADVERSION, NODEEXISTS = -101, -103, -110
# Errors that end a connection or say nothing of whether the write took place.
DOUBTFUL = (-4, -112, -118, -7, -3, -127)
OPEN_ACL = [(31, "world", "anyone")]
REGISTERS = [f"/r/{n}" for n in range(24)]
PARENTS = [f"/s/{n}" for n in range(3)]
OWN_NODES_MAX = 25
SESSION_MS = (2000, 4000, 8000)
THINK_S = 0.03
# After all is healed: how long the ensemble may take to serve again before that is a finding. On a host with thirty
# processes to a core a server was seen to take 40 s from its start to its first line.
RECOVERY_S = 150.0
# So long after a fault its server may still not know that the others went on.
UNAWARE_S = TICK_MS * (SYNC_LIMIT + 2) / 1000
FINDINGS_SHOWN = 40


class Gone(Exception):
    """The connection is no more."""


@dataclass
class Session:
    """What a client knows of its session."""

    sid: int = 0
    password: bytes = bytes(16)
    timeout_ms: int = 0
    zxid: int = 0
    # Per register: version, mzxid and value last seen.
    seen: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    ephemerals: list[str] = field(default_factory=list)
    # Per register: the highest version and mzxid it has ever seen.
    tops: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass
class Story:
    """What all clients and faults of one campaign write down."""

    ops: list[Op] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    led: Counter[str] = field(default_factory=Counter)
    unserved: list[tuple[float, float, str]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    last_write: float = 0.0
    doing: str = "start"
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def value(self) -> int:
        """A value nobody has written yet."""
        return next(self._numbers)

    def group(self) -> int:
        """A number for a multi."""
        return next(self._numbers)

    def find(self, text: str) -> None:
        """Note a finding."""
        line = f"{time.monotonic() - self.began:.3f} ({self.doing}) {text}"
        self.findings.append(line)
        self.say("FINDING " + line)

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        print(f"{time.monotonic() - self.began:8.2f} {text}", file=sys.stderr, flush=True)

    def wrote(self) -> None:
        """A write was acknowledged: service goes on."""
        now = time.monotonic()
        if self.last_write and now - self.last_write > 1:
            self.unserved.append((now - self.last_write, self.last_write - self.began, self.doing))
        self.last_write = now


# Opcode, body, what to note.
Request = tuple[int, bytes, Op | None]


class Client:
    """One client: a session at a time, on any server, one burst of requests after the other."""

    def __init__(self, number: int, nodes: Sequence[Node], story: Story, seed: str) -> None:
        self.number = number
        self.nodes = nodes
        self.story = story
        self.random = random.Random(seed)
        self.session = Session()
        self.calm = False
        self.connected = False
        self.server = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._xid = 0
        # Sequential nodes of ours: value and the session that made them.
        self._own: dict[str, tuple[int, int]] = {}
        self._ended_ephemerals: list[str] = []

    # ------------------------------------------------------------------------------------------- connection

    async def run(self) -> None:
        """Until cancelled. While calm it only pings."""
        while True:
            try:
                if self._writer is None:
                    await self.connect()
                if self.calm:
                    await self._ping()
                    await asyncio.sleep(self.session.timeout_ms / 4000)
                else:
                    await self._burst()
                    await asyncio.sleep(self.random.expovariate(1 / THINK_S))
            except (Gone, OSError, asyncio.IncompleteReadError, TimeoutError):
                self.drop()
                self.story.counts["disconnects"] += 1
                await asyncio.sleep(self.random.uniform(0.01, 0.1))

    def drop(self) -> None:
        """Cut the connection."""
        self.connected = False
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def connect(self) -> None:
        """To any of the nodes, with the session if there is one. Raises Gone and what asyncio raises."""
        self.server = self.random.randrange(len(self.nodes)) + 1
        session = self.session
        wanted = session.timeout_ms or self.random.choice(SESSION_MS)
        patience = max(1.0, wanted / 3000)
        async with asyncio.timeout(patience):
            self._reader, self._writer = await asyncio.open_connection(HOST, self.nodes[self.server - 1].client_port)
            body = connect_body(session.sid, session.password, wanted, session.zxid)
            self._writer.write(i32(len(body)) + body)
            answer = welcome(await self._frame())
        if not answer.session or not answer.timeout_ms:
            self.story.counts["sessions expired"] += 1
            self.session = Session()
            raise Gone
        if session.sid:
            self.story.counts["reconnects"] += 1
            if answer.session != session.sid:
                self.story.find(f"asked for session {session.sid:#x} and got {answer.session:#x} at {self.server}")
        else:
            self.story.counts["sessions"] += 1
        session.sid, session.password, session.timeout_ms = answer.session, answer.password, answer.timeout_ms
        self.connected = True
        for path in self._ended_ephemerals:
            # This session was made after the end of the one before was acknowledged.
            await self._gone(path)
        self._ended_ephemerals = []

    async def _frame(self) -> bytes:
        assert self._reader is not None
        length = struct.unpack(">i", await self._reader.readexactly(4))[0]
        if not 0 <= length < 1 << 24:
            raise Gone
        return await self._reader.readexactly(length)

    async def call(self, ops: Sequence[Request]) -> list[tuple[int, int, bytes]]:
        """Send a burst; (error, zxid, body) of each. Ops are noted as sent, and those answered as ended."""
        assert self._writer is not None
        now = time.monotonic()
        piece = bytearray()
        first = self._xid + 1
        for number, body, op in ops:
            self._xid += 1
            content = i32(self._xid) + i32(number) + body
            piece += i32(len(content)) + content
            if op is not None:
                self._sent(op, now)
        self._writer.write(bytes(piece))
        answers: list[tuple[int, int, bytes]] = []
        patience = self.session.timeout_ms * 2 / 3000
        for xid, (_, _, op) in enumerate(ops, first):
            async with asyncio.timeout(patience):
                answer = await self._answer()
            if answer.xid != xid:
                self.story.find(f"reply {answer.xid} instead of {xid}, session {self.session.sid:#x} at {self.server}")
                raise Gone
            self._saw_zxid(answer.zxid)
            if answer.err in DOUBTFUL:
                self.story.counts[f"error {answer.err}"] += 1
                raise Gone
            if op is not None:
                op.ended, op.zxid = time.monotonic(), answer.zxid
                op.outcome = FAIL if answer.err else OK
                if op.kind not in (READ, SYNC_READ) and not answer.err:
                    self.story.wrote()
                # At once: the rest of the burst may never be answered.
                self._learn(op, answer.err, answer.body)
            answers.append((answer.err, answer.zxid, answer.body))
        return answers

    def _sent(self, op: Op, now: float) -> None:
        op.began, op.server, op.session, op.before = now, self.server, self.session.sid, self.session.zxid
        self.story.ops.append(op)

    async def _answer(self) -> Reply:
        while True:
            answer = reply(await self._frame())
            if answer.xid == PING_XID:
                self._saw_zxid(answer.zxid)
            elif answer.xid != EVENT_XID:
                return answer

    def _saw_zxid(self, zxid: int) -> None:
        if zxid <= 0:
            return
        if zxid < self.session.zxid:
            self.story.find(
                f"back in time: session {self.session.sid:#x} saw {self.session.zxid:#x}, "
                f"then {zxid:#x} at {self.server}"
            )
        self.session.zxid = max(zxid, self.session.zxid)

    async def _ping(self) -> None:
        assert self._writer is not None
        self._writer.write(i32(8) + i32(PING_XID) + i32(PING))
        async with asyncio.timeout(self.session.timeout_ms * 2 / 3000):
            answer = reply(await self._frame())
        self._saw_zxid(answer.zxid)

    # ------------------------------------------------------------------------------------------- what it does

    async def _burst(self) -> None:
        draw = self.random.random()
        if draw < 0.45:
            await self._registers(self.random.randint(1, 6))
        elif draw < 0.55:
            await self._multi()
        elif draw < 0.65:
            await self._sync_read()
        elif draw < 0.75:
            await self._create(self.random.randint(1, 4))
        elif draw < 0.85:
            await self._own_nodes()
        elif draw < 0.93:
            await self._ping()
        elif draw < 0.96:
            # With its session to another server, which may be behind.
            self.story.counts["moves"] += 1
            self.drop()
        elif draw < 0.985:
            await self._ephemeral()
        else:
            await self._leave()

    def _set(self, key: str) -> tuple[bytes, Op]:
        value = self.story.value()
        seen = self.session.seen.get(key)
        conditional = seen is not None and self.random.random() < 0.5
        op = Op(WRITE, key, 0, value=value)
        if conditional and seen is not None:
            op.expected, op.old = seen[0], seen[2]
        return buffer(key) + buffer(b"%d" % value) + i32(op.expected), op

    async def _registers(self, count: int) -> None:
        """Writes and reads of registers, sent in one go."""
        requests: list[Request] = []
        for _ in range(count):
            key = self.random.choice(REGISTERS)
            if self.random.random() < 0.5:
                requests.append((SETDATA, *self._set(key)))
            else:
                requests.append((GETDATA, buffer(key) + b"\0", Op(READ, key, 0)))
        await self.call(requests)

    def _learn(self, op: Op, err: int, body: bytes) -> None:
        """What an answer says."""
        if op.key in REGISTERS:
            self._register_answer(op, err, body)
        elif err:
            self.story.find(f"error {err}: {op}")
        elif op.kind == CREATE and op.key.startswith("/s"):
            op.key = Reader(body).text() or ""
            self._own[op.key] = (op.value, op.session)

    def _register_answer(self, op: Op, err: int, body: bytes) -> None:
        if err == BADVERSION and op.expected >= 0:
            self.session.seen.pop(op.key, None)
            return
        if err:
            self.story.find(f"error {err}: {op}")
            return
        reader = Reader(body)
        if op.kind != WRITE:
            op.value = int(reader.buffer() or b"-9")
        stat = reader.stat()
        op.mzxid, op.version = stat[1], stat[4]
        if op.kind == WRITE and op.mzxid != op.zxid:
            self.story.find(f"mzxid and zxid of the reply differ: {op}")
        self._saw_register(op)

    def _saw_register(self, op: Op) -> None:
        self.session.seen[op.key] = (op.version, op.mzxid, op.value)
        high = self.session.tops.get(op.key, (-1, 0))
        if (op.version, op.mzxid) < high:
            self.story.find(f"a read went back from version {high[0]}, mzxid {high[1]:#x}: {op}")
        self.session.tops[op.key] = max(high, (op.version, op.mzxid))

    async def _sync_read(self) -> None:
        op = Op(SYNC_READ, self.random.choice(REGISTERS), 0)
        answers = await self.call([(SYNC, buffer("/"), None), (GETDATA, buffer(op.key) + b"\0", op)])
        if answers[0][0]:
            op.kind = READ

    async def _multi(self) -> None:
        """Two registers, both or neither."""
        parts = [self._set(key) for key in self.random.sample(REGISTERS, 2)]
        group, now = self.story.group(), time.monotonic()
        for _, op in parts:
            op.group = group
            self._sent(op, now)
        [(err, zxid, body)] = await self.call([(MULTI, multi_body([(SETDATA, part) for part, _ in parts]), None)])
        ended = time.monotonic()
        stats: list[tuple[int, ...]] = []
        reader = Reader(body)
        while not err:
            kind, done, _ = reader.i32(), reader.boolean(), reader.i32()
            if done:
                break
            if kind == SETDATA:
                stats.append(reader.stat())
            else:
                reader.i32()
        for at, (_, op) in enumerate(parts):
            op.ended, op.zxid = ended, zxid
            if len(stats) < len(parts):
                # Which of the conditions did not hold is not looked at.
                op.outcome, op.expected = FAIL, -1
                self.session.seen.pop(op.key, None)
                continue
            op.outcome, op.mzxid, op.version = OK, stats[at][1], stats[at][4]
            if op.mzxid != zxid:
                self.story.find(f"mzxid and zxid of the reply to a multi differ: {op}")
            self._saw_register(op)
            self.story.wrote()

    async def _create(self, count: int) -> None:
        """Sequential nodes."""
        requests: list[Request] = []
        for _ in range(count):
            value, key = self.story.value(), self.random.choice(PARENTS) + "/n-"
            body = create_body(key, b"%d" % value, OPEN_ACL, SEQUENTIAL)
            requests.append((CREATE2, body, Op(CREATE, key, 0, value=value)))
        await self.call(requests)

    async def _own_nodes(self) -> None:
        """Look at what this session made; delete the oldest when there are many."""
        if not self._own:
            return
        path, (value, session) = self.random.choice(list(self._own.items()))
        if session == self.session.sid:
            [(err, _, body)] = await self.call([(GETDATA, buffer(path) + b"\0", None)])
            if err or int(Reader(body).buffer() or b"-9") != value:
                self.story.find(f"own node {path} of value {value}: error {err} at {self.server}, session {session:#x}")
        while len(self._own) > OWN_NODES_MAX:
            path = next(iter(self._own))
            del self._own[path]
            await self.call([(DELETE_OP, buffer(path) + i32(-1), Op(DELETE, path, 0))])

    async def _ephemeral(self) -> None:
        if len(self.session.ephemerals) >= 3:
            return
        value = self.story.value()
        path = f"/e/{self.number}-{value}"
        op = Op(CREATE, path, 0, value=value)
        self.session.ephemerals.append(path)
        await self.call([(CREATE2, create_body(path, b"%d" % value, OPEN_ACL, EPHEMERAL), op)])

    async def leave(self) -> None:
        """End the session."""
        await self.call([(CLOSE, b"", None)])
        self.drop()

    async def _leave(self) -> None:
        """End the session, or walk away from it."""
        if self.random.random() < 0.6:
            ephemerals = self.session.ephemerals
            await self.call([(CLOSE, b"", Op(OTHER, "close", 0))])
            self._ended_ephemerals = ephemerals
            self.story.counts["sessions closed"] += 1
        else:
            self.story.counts["sessions abandoned"] += 1
        self.session = Session()
        self.drop()

    async def _gone(self, path: str) -> None:
        [(err, _, _)] = await self.call([(EXISTS, buffer(path) + b"\0", None)])
        if err != NONODE:
            self.story.find(f"{path} outlived its session, seen by {self.session.sid:#x} at {self.server}: error {err}")


async def ask(node: Node, word: str, timeout_s: float = 1.0) -> str:
    """A server's answer to a four-letter word; "" if none came."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(HOST, node.client_port)
            try:
                writer.write(word.encode())
                return (await reader.read(-1)).decode("utf-8", "replace")
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return ""


class Faults:
    """What is done to an ensemble; each fault is a coroutine that leaves healing to recover()."""

    def __init__(self, ensemble: Ensemble, links: Links, story: Story, seed: str) -> None:
        self.ensemble = ensemble
        self.nodes = ensemble.nodes
        self.links = links
        self.story = story
        self.random = random.Random(seed)
        self._copies: dict[int, Path] = {}
        self._down: set[int] = set()
        self._stopped: set[int] = set()
        # Faults that make a server forget need all others whole before and after.
        self.kinds: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {
            "kill": (5, self.kill),
            "kill all": (1, self.kill_all),
            "kill several": (1, self.kill_several),
            "stop": (4, self.stop),
            "isolate": (4, self.isolate),
            "split": (2, self.split),
            "one-way": (2, self.one_way),
            "slow": (2, self.slow),
            "reset": (1, self.reset),
            "terminate": (3, self.terminate),
            "rolling restart": (0.5, self.rolling),
            "empty directory": (1.5, self.empty),
            "stale directory": (1.5, self.stale),
            "diverged": (2, self.diverged),
            "storm": (2, self.storm),
        }

    # ------------------------------------------------------------------------------------------- servers

    def down(self, node: Node) -> None:
        """SIGKILL."""
        self._down.add(node.sid)
        self._stopped.discard(node.sid)
        node.kill()

    def up(self, node: Node) -> None:
        """Start it, if it is not running."""
        self._down.discard(node.sid)
        self.ensemble.start(node)

    def look_for_the_dead(self) -> None:
        """A server that ended by itself is a finding; it is started again."""
        for node in self.nodes:
            if node.sid not in self._down and not node.alive():
                status = node.process.returncode if node.process else None
                self.story.find(f"server {node.sid} ({node.kind}) ended by itself, status {status}")
                self.ensemble.start(node)

    async def modes(self) -> dict[int, str]:
        """Of those that serve."""
        asked = [node for node in self.nodes if node.alive() and node.sid not in self._stopped]
        answers = await asyncio.gather(*(ask(node, "srvr") for node in asked))
        return {
            node.sid: mode.group(1)
            for node, answer in zip(asked, answers, strict=True)
            if (mode := re.search(r"^Mode: (\S+)", answer, re.M))
        }

    async def leader(self) -> Node | None:
        """Who says that it leads; of two the later in the list."""
        found = [self.nodes[sid - 1] for sid, mode in (await self.modes()).items() if mode == "leader"]
        return found[-1] if found else None

    async def serving(self, wanted: Iterable[Node], timeout_s: float = RECOVERY_S) -> bool:
        """Wait until these serve, one leading; else a finding."""
        sids = {node.sid for node in wanted}
        began = time.monotonic()
        modes: dict[int, str] = {}
        while time.monotonic() - began < timeout_s:
            modes = await self.modes()
            leaders = [sid for sid, mode in modes.items() if mode == "leader"]
            if sids <= set(modes) and len(leaders) == 1:
                self.story.led[self.nodes[leaders[0] - 1].kind] += 1
                return True
            self.look_for_the_dead()
            await asyncio.sleep(0.1)
        self.story.find(f"not serving within {timeout_s:g} s: wanted {sorted(sids)}, there is {modes}")
        return False

    async def recover(self, *, whole: bool = False, timeout_s: float = RECOVERY_S) -> None:
        """Heal all; wait for a leader and a quorum, if whole for everybody."""
        self.links.heal(reset=self.random.random() < 0.5)
        for node in self.nodes:
            node.cont()
        self._stopped.clear()
        self.look_for_the_dead()
        for node in self.nodes:
            self.up(node)
        began = time.monotonic()
        while not whole and time.monotonic() - began < timeout_s:
            modes = await self.modes()
            if len(modes) * 2 > len(self.nodes) and "leader" in modes.values():
                sid = next(sid for sid, mode in modes.items() if mode == "leader")
                self.story.led[self.nodes[sid - 1].kind] += 1
                return
            await asyncio.sleep(0.05)
        await self.serving(self.nodes, timeout_s)

    async def victim(self) -> Node:
        """The leader half the time."""
        by_chance = self.random.choice(self.nodes)
        if self.random.random() < 0.5:
            return await self.leader() or by_chance
        return by_chance

    def others(self, node: Node) -> list[Node]:
        """All but this."""
        return [other for other in self.nodes if other is not node]

    def excuse(self, servers: Iterable[int], began: float) -> None:
        """These may not have known what went on since then."""
        self.story.troubles.append(Trouble(frozenset(servers), began, time.monotonic() + UNAWARE_S))

    async def hold(self, shortest_s: float, longest_s: float) -> None:
        """Let time pass, short times more often than long ones."""
        await asyncio.sleep(self.random.triangular(shortest_s, longest_s, shortest_s))

    # ------------------------------------------------------------------------------------------- faults

    async def kill(self) -> None:
        """SIGKILL of one; now and then its directory is copied."""
        node = await self.victim()
        self.down(node)
        if self.random.random() < 0.4:
            await self._copy(node)
        await self.hold(0, 3)
        self.up(node)

    async def _copy(self, node: Node) -> None:
        copy = node.directory / "copy"
        await asyncio.to_thread(shutil.rmtree, copy, True)
        await asyncio.to_thread(shutil.copytree, node.data_dir / "version-2", copy)
        self._copies[node.sid] = copy

    async def kill_all(self) -> None:
        """SIGKILL of all at once."""
        for node in self.nodes:
            node.signal(signal.SIGKILL)
        for node in self.nodes:
            self.down(node)
        await self.hold(0, 1)
        for node in self.random.sample(self.nodes, len(self.nodes)):
            self.up(node)
            await self.hold(0, 0.5)

    async def kill_several(self) -> None:
        """SIGKILL of so many that no quorum is left."""
        for node in self.random.sample(self.nodes, len(self.nodes) // 2 + 1):
            self.down(node)
            await self.hold(0, 0.3)
        await self.hold(0, 2)

    async def stop(self) -> None:
        """SIGSTOP."""
        node, began = await self.victim(), time.monotonic()
        node.stop()
        self._stopped.add(node.sid)
        await self.hold(1, 8)
        node.cont()
        self._stopped.discard(node.sid)
        self.excuse([node.sid], began)

    async def isolate(self) -> None:
        """One can talk to nobody."""
        node, began = await self.victim(), time.monotonic()
        self.links.cut([node.sid], [o.sid for o in self.others(node)], reset=self.random.random() < 0.3)
        await self.hold(0.5, 6)
        self.excuse([node.sid], began)

    async def split(self) -> None:
        """Two sides."""
        began = time.monotonic()
        mixed = [node.sid for node in self.random.sample(self.nodes, len(self.nodes))]
        few = mixed[: self.random.randint(1, len(mixed) // 2)]
        self.links.cut(few, [sid for sid in mixed if sid not in few], reset=self.random.random() < 0.3)
        await self.hold(0.5, 6)
        self.excuse(few, began)

    async def one_way(self) -> None:
        """One hears but is not heard, or the other way round; from everybody or from one."""
        node, began = await self.victim(), time.monotonic()
        others = [other.sid for other in self.others(node)]
        if self.random.random() < 0.4:
            others = [self.random.choice(others)]
        ends = [[node.sid], others]
        self.random.shuffle(ends)
        self.links.silence(*ends)
        await self.hold(0.5, 6)
        self.excuse([node.sid, *others], began)

    async def slow(self) -> None:
        """All its links are slow."""
        self.links.slow((await self.victim()).sid, self.random.uniform(0.02, 0.3))
        await self.hold(1, 4)

    async def reset(self) -> None:
        """All its connections are reset, and may be made again."""
        node = await self.victim()
        self.links.reset([node.sid], [other.sid for other in self.others(node)])

    async def terminate(self) -> None:
        """SIGTERM."""
        node = await self.victim()
        self._down.add(node.sid)
        try:
            await asyncio.to_thread(node.term, 15)
        except Exception as error:
            self.story.find(f"server {node.sid} ({node.kind}) did not end after SIGTERM: {error!r}")
            node.kill()
        await self.hold(0, 1)
        self.up(node)

    async def rolling(self) -> None:
        """Each in turn ends and starts again, the next when it serves."""
        for node in self.random.sample(self.nodes, len(self.nodes)):
            self._down.add(node.sid)
            with contextlib.suppress(Exception):
                await asyncio.to_thread(node.term, 15)
            node.kill()
            self.up(node)
            if not await self.serving(self.nodes):
                return

    async def _forget(self, change: Callable[[Node], Awaitable[None]]) -> None:
        await self.recover(whole=True)
        node = await self.victim()
        self.down(node)
        # Before it comes back without what it had acknowledged, the others must hold that without it.
        if not await self.serving(self.others(node)):
            self.up(node)
            return
        await change(node)
        self.up(node)
        await self.serving(self.nodes)

    async def empty(self) -> None:
        """One starts with nothing."""

        async def wipe(node: Node) -> None:
            await asyncio.to_thread(node.wipe)

        await self._forget(wipe)

    async def stale(self) -> None:
        """One starts with a directory of some time ago."""

        async def replace(node: Node) -> None:
            copy = self._copies.get(node.sid)
            if copy is None:
                await self._copy(node)
                self.story.counts["stale directories that were fresh"] += 1
                await self.hold(1, 2)
                return
            await asyncio.to_thread(node.wipe)
            await asyncio.to_thread(shutil.copytree, copy, node.data_dir / "version-2")

        await self._forget(replace)

    async def diverged(self) -> None:
        """A leader logs what nobody else has, dies, and comes back when others have gone on."""
        await self.recover(whole=True)
        node = await self.leader()
        if node is None:
            return
        began = time.monotonic()
        others = self.others(node)
        # The followers' words still arrive: it does not miss them, nor they its proposals.
        self.links.silence([node.sid], [other.sid for other in others])
        await self.hold(0.2, 1.5)
        self.down(node)
        self.links.reset([node.sid], [other.sid for other in others])
        self.links.heal()
        if await self.serving(others):
            await self.hold(0.2, 2)
        self.excuse([node.sid], began)
        self.up(node)
        await self.serving(self.nodes)

    async def storm(self) -> None:
        """Several faults at once."""
        began = time.monotonic()
        until = began + self.random.uniform(4, 8)
        while time.monotonic() < until:
            node = self.random.choice(self.nodes)
            other = self.random.choice(self.others(node))
            draw = self.random.random()
            if draw < 0.3:
                self.down(node)
            elif draw < 0.55:
                self.up(node)
            elif draw < 0.7:
                node.stop()
                self._stopped.add(node.sid)
            elif draw < 0.8:
                node.cont()
                self._stopped.discard(node.sid)
            elif draw < 0.95:
                self.links.silence([node.sid], [other.sid])
            else:
                self.links.heal(reset=self.random.random() < 0.5)
            await self.hold(0.1, 1)
        for node in self.nodes:
            node.cont()
        self.excuse([node.sid for node in self.nodes], began)

    async def promote(self, kind: str) -> bool:
        """Make a server of this kind lead: the others miss what it has when the vote comes."""
        await self.recover(whole=True)
        node = self.random.choice([node for node in self.nodes if node.kind == kind])
        others = self.random.sample(self.others(node), len(self.nodes) - 1)
        behind, beside = others[: (len(self.nodes) - 1) // 2], others[(len(self.nodes) - 1) // 2 :]
        for other in behind:
            self.down(other)
        if not await self.serving([node, *beside]):
            return False
        await asyncio.sleep(0.7)
        for other in beside:
            self.down(other)
        for other in behind:
            self.up(other)
        await self.serving([node, *behind])
        leader = await self.leader()
        await self.recover(whole=True)
        return leader is node


class Campaign:
    """One run over one ensemble."""

    def __init__(self, kinds: Sequence[str], seed: int, *, clients: int = 0, only: str = "") -> None:
        self.kinds = list(kinds)
        self.seed = seed
        self.story = Story()
        self.ensemble = Ensemble(
            kinds, tick_ms=TICK_MS, extra=["snapCount=1500", "preAllocSize=1024", "commitLogCount=200"]
        )
        self.links = Links(self.ensemble)
        self.faults = Faults(self.ensemble, self.links, self.story, f"{seed}.faults")
        self.clients = [
            Client(number, self.ensemble.nodes, self.story, f"{seed}.{number}")
            for number in range(clients or 3 * len(kinds))
        ]
        self.only = [word for word in only.split(",") if word]
        self.excused = 0
        self.lost_threads = ""

    async def run(self, seconds: float, promote: Iterable[str] = (), at_least: int = 0) -> None:
        """All of it, at_least so many faults; findings are in the story afterwards."""
        await self.links.start()
        tasks: list[asyncio.Task[None]] = []
        try:
            self.ensemble.start()
            await self.faults.serving(self.ensemble.nodes)
            await self._furnish()
            tasks = [asyncio.create_task(client.run()) for client in self.clients]
            tasks.append(asyncio.create_task(self._tell()))
            for kind in promote:
                self.story.doing = f"promote {kind}"
                self.story.faults["promote"] += 1
                if not await self.faults.promote(kind) and not self.story.led[kind]:
                    self.story.find(f"no {kind} has led")
            await self._faults(time.monotonic() + seconds, at_least)
            await self._end(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.links.stop()
            for node in self.ensemble.nodes:
                node.kill()
            self.lost_threads = self.lost_log_threads()

    async def _furnish(self) -> None:
        """The nodes that all use."""
        paths = ["/r", "/s", "/e", *PARENTS, *REGISTERS]
        requests: list[Request] = [(CREATE2, create_body(path, b"0", OPEN_ACL, 0), None) for path in paths]
        one = await self._visit(self.ensemble.nodes)
        while True:
            try:
                answers = await one.call(requests)
                break
            except (OSError, TimeoutError, Gone, asyncio.IncompleteReadError):
                one = await self._visit(self.ensemble.nodes)
        assert not any(err and err != NODEEXISTS for err, _, _ in answers), answers
        await one.leave()

    async def _visit(self, nodes: Sequence[Node]) -> Client:
        """A session of our own at one of these; the client is not connected if none could be had."""
        one = Client(-1, nodes, self.story, "visit")
        one.session.timeout_ms = max(SESSION_MS)
        for _ in range(40):
            try:
                await one.connect()
                break
            except (OSError, TimeoutError, Gone, asyncio.IncompleteReadError):
                one.drop()
                await asyncio.sleep(0.5)
        return one

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(30)
            self.story.say(self.summary(short=True))

    async def _faults(self, until: float, at_least: int) -> None:
        faults = self.faults
        names = self.only or list(faults.kinds)
        weights = [faults.kinds[name][0] for name in names]
        while time.monotonic() < until or sum(self.story.faults.values()) < at_least:
            name = faults.random.choices(names, weights)[0]
            self.story.doing = name
            self.story.faults[name] += 1
            self.story.say(name)
            await faults.kinds[name][1]()
            await faults.recover(whole=faults.random.random() < 0.3)
            await faults.hold(0, 1.5)

    async def _end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Quiet, then everything is compared and checked."""
        story = self.story
        story.doing = "the end"
        await self.faults.recover(whole=True)
        for client in self.clients:
            client.calm = True
        # All in flight is answered, and all sessions that were left expire.
        began = time.monotonic()
        while time.monotonic() - began < max(SESSION_MS) / 1000 + 6 * TICK_MS / 1000:
            await asyncio.sleep(0.2)
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise RuntimeError("a client of the campaign broke") from task.exception()
        silent = [client.number for client in self.clients if not client.connected]
        if silent:
            story.find(f"clients without a connection at the end: {silent}")
        trees = {node.sid: await self._tree(node) for node in self.ensemble.nodes}
        self._compare(trees)
        await self._digests()
        tree = trees[self.ensemble.nodes[0].sid]
        finals = {key: (tree[key][1][4], tree[key][1][1], int(tree[key][0])) for key in REGISTERS if key in tree}
        if len(finals) < len(REGISTERS):
            story.find(f"registers are gone: {sorted(set(REGISTERS) - set(finals))}")
        there = {path: (int(data), stat[7]) for path, (data, stat) in tree.items() if re.match(r"/(s/\d+|e)/", path)}
        alive = [client.session.sid for client in self.clients if client.connected]
        found, self.excused = await asyncio.to_thread(check_all, story.ops, finals, there, alive, story.troubles)
        for text in found:
            story.find(text)
        for node in self.ensemble.nodes:
            if node.kind == "zktw":
                broken = re.findall(r"^.*(?:Traceback|AssertionError|Unhandled).*$", node.log_text(), re.M)
                if broken:
                    story.find(f"server {node.sid} has {len(broken)} broken moments in its log: {broken[0]}")

    async def _tree(self, node: Node) -> dict[str, tuple[bytes, tuple[int, ...]]]:
        """Data and Stat of all below /, as one session sees them after a sync, but for the configuration."""
        one = await self._visit([node])
        tree: dict[str, tuple[bytes, tuple[int, ...]]] = {}
        if not one.connected:
            self.story.find(f"no session at server {node.sid} at the end")
            return tree
        await one.call([(SYNC, buffer("/"), None)])
        todo = ["/"]
        while todo:
            batch, todo = todo[:50], todo[50:]
            answers = await one.call([(op, buffer(path) + b"\0", None) for path in batch for op in (GETDATA, CHILDREN)])
            for path, data, children in zip(batch, answers[::2], answers[1::2], strict=True):
                if data[0] or children[0]:
                    self.story.find(f"{path} went away while nobody wrote, at server {node.sid}")
                    continue
                reader = Reader(data[2])
                if path != "/zookeeper/config":
                    tree[path] = (reader.buffer() or b"", reader.stat())
                names = Reader(children[2])
                todo += [f"{path.rstrip('/')}/{name}" for name in names.many(names.text) or []]
        await one.leave()
        return tree

    def _compare(self, trees: dict[int, dict[str, tuple[bytes, tuple[int, ...]]]]) -> None:
        (first, tree), *rest = trees.items()
        for sid, other in rest:
            differing = [path for path in sorted({*tree, *other}) if tree.get(path) != other.get(path)]
            for path in differing[:5]:
                self.story.find(
                    f"trees differ in {len(differing)} nodes: {path}: {tree.get(path)} at {first}, "
                    f"{other.get(path)} at {sid}"
                )
        self.story.counts["nodes at the end"] = len(tree)

    async def _digests(self) -> None:
        """Where several servers know the digest at one zxid it is the same, and nobody counted a mismatch."""
        known: dict[str, tuple[str, int]] = {}
        for node in self.ensemble.nodes:
            for line in (await ask(node, "hash", 5)).splitlines():
                zxid, _, digest = line.partition(": ")
                first = known.setdefault(zxid, (digest, node.sid))
                self.story.counts["digests compared"] += first[1] != node.sid
                if first[0] != digest:
                    self.story.find(f"digest at {zxid}: {first[0]} at {first[1]}, {digest} at {node.sid}")
            mismatches = re.search(r"^zk_digest_mismatches_count\s+(\d+)", await ask(node, "mntr", 5), re.M)
            if not mismatches or not int(mismatches.group(1)):
                continue
            text = f"server {node.sid} ({node.kind}) counted {mismatches.group(1)} digests that differ"
            # 3.8.0 was seen to write transactions to its log twice when it changes leaders under load, under one of
            # Apache's too, and to apply what a role that has ended left behind; each counts as a mismatch.
            if node.kind == "apache38" and re.search(r"\(highestZxid\) > |Exception when following", node.log_text()):
                self.story.counts["digest mismatches 3.8 made by itself"] += 1
                self.story.say(f"not counted: {text}")
            else:
                self.story.find(text)

    # ------------------------------------------------------------------------------------------- what is told

    def lost_log_threads(self) -> str:
        """Apache's servers that went on without their log, as releases before 3.9.3 and 3.8.5 may (ZOOKEEPER-4409).

        When such a follower's role ends while it acknowledges, its log thread dies of a NullPointerException. It keeps
        its tree and claims all of that to the next leader, but its log has a gap; after the next start it serves and
        leads with a tree that misses committed writes. Findings of such a run say nothing of ours. "" if there is none.
        """
        counts = {
            f"{node.sid} ({node.kind})": node.log_text().count("Severe unrecoverable error, from thread : SyncThread")
            for node in self.ensemble.nodes
            if node.kind.startswith("apache")
        }
        return ", ".join(f"server {name} {count} times" for name, count in counts.items() if count)

    def figures(self) -> dict[str, int]:
        """Counts of the history."""
        outcomes = Counter((op.kind in (READ, SYNC_READ), op.outcome) for op in self.story.ops)
        return {
            "writes": outcomes[False, OK],
            "refused": outcomes[False, FAIL],
            "unknown": outcomes[False, UNKNOWN],
            "reads": outcomes[True, OK],
            "excused": self.excused,
        }

    def summary(self, *, short: bool = False) -> str:
        """A few lines; short: one."""
        story, figures = self.story, self.figures()
        longest = max(story.unserved, default=(0.0, 0.0, "nothing"))
        line = (
            f"{sum(story.faults.values())} faults, {figures['writes']} writes acknowledged "
            f"({figures['refused']} refused, {figures['unknown']} unknown), {figures['reads']} reads, "
            f"longest without a write {longest[0]:.1f} s "
            f"({longest[2]} at {longest[1]:.0f} s), {len(story.findings)} findings"
        )
        if short:
            return line
        lines = [
            f"{' '.join(self.kinds)}, seed {self.seed}: {line}",
            f"{time.monotonic() - story.began:.0f} s, load of the host at the end {os.getloadavg()[1]:.1f}",
            "faults: " + ", ".join(f"{name} {count}" for name, count in story.faults.most_common()),
            "leaders seen: " + ", ".join(f"{name} {count}" for name, count in story.led.most_common()),
            ", ".join(f"{name} {count}" for name, count in sorted(story.counts.items()))
            + f", stale reads after a sync at a server cut off or stopped: {figures['excused']}",
            "pauses over 1 s: "
            + ", ".join(
                f"{name} {len(of)} (mean {sum(of) / len(of):.1f} s, longest {max(of):.1f} s)"
                for name in story.faults
                if (of := [pause for pause, _, doing in story.unserved if doing == name])
            ),
            *story.findings[:FINDINGS_SHOWN],
        ]
        if self.lost_threads:
            lines.append(f"log threads that died (ZOOKEEPER-4409; findings may come of it): {self.lost_threads}")
        if story.findings:
            lines.append(f"kept: {self.ensemble.directory}")
        return "\n".join(lines)

    def keep_or_remove(self) -> None:
        """The directory stays if there is a finding, with the history in it."""
        if not self.story.findings:
            shutil.rmtree(self.ensemble.directory, ignore_errors=True)
            return
        with open(self.ensemble.directory / "history.jsonl", "w", encoding="utf-8") as file:
            for op in self.story.ops:
                file.write(json.dumps({name: getattr(op, name) for name in Op.__slots__}) + "\n")
        (self.ensemble.directory / "findings.txt").write_text("\n".join(self.story.findings) + "\n")


def campaign(
    kinds: Sequence[str], seconds: float, seed: int, *, promote: Iterable[str] = (), only: str = "", at_least: int = 0
) -> Campaign:
    """Run one and tell how it went."""

    async def main() -> Campaign:
        run = Campaign(kinds, seed, only=only)
        task = asyncio.current_task()
        assert task is not None
        # An end from outside must not leave servers behind.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            await run.run(seconds, promote, at_least)
        finally:
            run.keep_or_remove()
        return run

    return asyncio.run(main())


def proportions() -> list[list[str]]:
    """All mixtures of 3 and 5 with at least one of ours and one of Apache's."""
    return [
        ["zktw"] * ours + ["apache38"] * old + ["apache39"] * (size - ours - old)
        for size in (3, 5)
        for ours in range(size - 1, 0, -1)
        for old in range(size - ours, -1, -1)
    ]


def matrix(seconds: float, seed: int, size: int = 0) -> int:
    """A short campaign over each proportion (of size servers, if given), each kind leading; a line of a table each.

    The number of findings.
    """
    print("| servers 1.. | times seen leading | faults | writes | reads | longest pause, s | findings |")
    print("|---|---|---|---|---|---|---|", flush=True)
    findings = 0
    for number, kinds in enumerate(proportions()):
        if size and len(kinds) != size:
            continue
        mixed = random.Random(f"{seed}.{number}").sample(kinds, len(kinds))
        run = campaign(mixed, seconds, seed + number, promote=sorted(set(kinds)))
        findings += len(run.story.findings)
        figures = run.figures()
        longest = max(run.story.unserved, default=(0.0, 0.0, ""))[0]
        led = " ".join(f"{kind}:{run.story.led[kind]}" for kind in sorted(set(kinds)))
        print(run.summary(), file=sys.stderr, flush=True)
        print(
            f"| {' '.join(mixed)} | {led} | {sum(run.story.faults.values())} | {figures['writes']} "
            f"| {figures['reads']} | {longest:.1f} | {len(run.story.findings)} |",
            flush=True,
        )
    return findings


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kinds", default="zktw,zktw,zktw")
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-least", type=int, default=0, help="go on until there were so many faults")
    parser.add_argument("--only", default="", help="only these faults, comma-separated")
    parser.add_argument("--matrix", action="store_true", help="every mixture, --seconds each")
    parser.add_argument("--size", type=int, default=0, choices=(0, 3, 5), help="of --matrix: only mixtures of so many")
    chosen = parser.parse_args()
    seconds = chosen.minutes * 60 or chosen.seconds
    kinds = chosen.kinds.split(",")
    lacking = missing(*(["apache38", "apache39"] if chosen.matrix else kinds))
    if lacking:
        parser.error(lacking)
    if chosen.matrix:
        return 1 if matrix(seconds, chosen.seed, chosen.size) else 0
    run = campaign(kinds, seconds, chosen.seed, only=chosen.only, at_least=chosen.at_least)
    print(run.summary())
    return 1 if run.story.findings else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
