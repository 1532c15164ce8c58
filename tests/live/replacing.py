"""An ensemble of one kind replaced by another kind server by server, under load, and back again.

Each server in turn is told to stop (SIGTERM); the other kind starts on its data directory and its ports, and the next
follows when it is in the quorum with all that was committed. Clients write and read meanwhile, each with one session
from beginning to end; what they were told is held against what all servers show at the end. The ledger knows no
socket, so that tests can doctor it.

By hand: python tests/live/replacing.py --start apache39 --to zktw --servers 3 --order leader-last --seed 1
"""

import argparse
import logging
import random
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ensemble import Ensemble, Node, wait_until
from kazoo.client import KazooClient
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry
from kills import (
    CREATE2,
    EPHEMERAL,
    GETCHILDREN,
    GETDATA,
    NODEEXISTS,
    OK,
    OPEN_ACL,
    SETDATA,
    Link,
    Source,
    Violation,
    buf,
    i32,
    text,
)

SYNC, CLOSE = 9, -11
SESSION_EXPIRED, SESSION_MOVED = -112, -118
TICK_MS = 1000
SESSION_MS = 20_000
CONFIG = (f"maxSessionTimeout={SESSION_MS}", "snapCount=1000", "preAllocSize=1024")
ORDERS = ("leader-last", "leader-first")
# What a client waits for one answer before it turns to another server.
ANSWER_S = 4.0
# A busy host needs long to start a JVM.
STEP_S = 180.0
MOVES_EVERY_S = 1.5
THINK_S = 0.004
SETTLE_S = 1.0
# Which part of its requests are writes, which part of these create a node.
WRITES, CREATES = 0.6, 0.2
WALKED_AT_ONCE = 200
ROOTS = ("/made", "/alive")


# ---------------------------------------------------------------------------------------------------- the model


@dataclass
class Ledger:
    """What one session was told. Values of its node are counters, from 1 on; so are the names of its children."""

    own: str
    session: int = 0
    sent: int = 0
    told: int = 0
    # Counters that other sessions' nodes were seen with, and the session's own.
    seen: dict[str, int] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    acknowledged: int = 0
    # Instants of acknowledged writes, in order.
    at: list[float] = field(default_factory=list)

    def wrote(self, now: float) -> None:
        """The write of the counter `sent` is acknowledged."""
        self.told = self.sent
        self._acknowledged(now)

    def created(self, name: str, now: float) -> None:
        """The child of this name is acknowledged."""
        self.made.add(name)
        self._acknowledged(now)

    def read(self, path: str, value: int) -> None:
        """A read of this path found this counter. Raises Violation if this session was shown a later state before."""
        before = self.seen.get(path, 0)
        if path == self.own:
            before = max(before, self.told)
            if value > self.sent:
                raise Violation(f"{path} holds {value}, but only {self.sent} were ever written")
        if value < before:
            raise Violation(f"session 0x{self.session:x}: {path} went back from {before} to {value}")
        self.seen[path] = value

    def audit(self, value: int, children: set[str], owner: int) -> None:
        """What is there at the end: its node's counter, its node's children, who owns its ephemeral (0: nobody)."""
        self.read(self.own, value)
        if lost := self.made - children:
            raise Violation(f"{self.own}: {len(lost)} acknowledged creations lost, such as {min(lost)}")
        if strange := children - self.asked:
            raise Violation(f"{self.own}: {min(strange)} was never asked for")
        if owner != self.session:
            raise Violation(f"the ephemeral of 0x{self.session:x} belongs to 0x{owner:x}")

    def pause(self, began: float, ended: float) -> float:
        """The longest time between two acknowledged writes that overlaps this window, in seconds."""
        pairs = zip(self.at, self.at[1:], strict=False)
        return max(
            (after - before for before, after in pairs if after > began and before < ended), default=ended - began
        )

    def _acknowledged(self, now: float) -> None:
        self.acknowledged += 1
        self.at.append(now)


@dataclass(frozen=True)
class Step:
    """One server replaced. All in seconds; pause: the longest of any writer; kazoo_pause: of the kazoo client."""

    sid: int
    old: str
    new: str
    role: str
    stopped: float
    synced: float
    pause: float
    kazoo_pause: float

    def __str__(self) -> str:
        return (
            f"server {self.sid} ({self.role}) {self.old} -> {self.new}: ended in {self.stopped:.2f} s, in the quorum "
            f"after {self.synced:.2f} s; longest pause of a writer {self.pause * 1000:.0f} ms, "
            f"of kazoo's {self.kazoo_pause * 1000:.0f} ms"
        )


@dataclass
class Outcome:
    """What a campaign saw."""

    steps: list[Step] = field(default_factory=list)
    writes: int = 0
    reads: int = 0
    moves: int = 0
    nodes: int = 0
    digests: int = 0


# ---------------------------------------------------------------------------------------------------- the clients


class Client(threading.Thread):
    """One session that writes to its own node and reads those of others. A mover changes its server time and again."""

    def __init__(self, number: int, ports: Sequence[int], count: int, seed: int, *, mover: bool) -> None:
        super().__init__(daemon=True)
        self._ports, self._mover = list(ports), mover
        self._rng = random.Random(seed)
        self._at = number % len(ports)
        self._paths = [f"/made/{other}" for other in range(count)]
        self.ledger = Ledger(self._paths[number])
        self.alive_path = f"/alive/{number}"
        self.link: Link | None = None
        self.password = bytes(16)
        self.zxid = 0
        self.ending = threading.Event()
        self.error: BaseException | None = None
        self.reads = self.moves = 0

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.error = error

    def prepare(self) -> None:
        """Begin the session; make its ephemeral and its node."""
        self._connected()
        for path, flags in ((self.alive_path, EPHEMERAL), (self.ledger.own, 0)):
            self.must(CREATE2, text(path) + buf(b"0") + OPEN_ACL + i32(flags))

    def must(self, op: int, body: bytes, *also: int) -> tuple[int, Source]:
        """One request, again until it is answered; a code other than 0 and those named is a violation."""
        while True:
            answer = self.once(op, body, *also)
            if answer is not None:
                return answer

    def once(self, op: int, body: bytes, *also: int) -> tuple[int, Source] | None:
        """One request. None: the connection went, and what became of it is unknown."""
        link = self._connected()
        try:
            code, source = link.call(op, body)
        except OSError:
            self._lost()
            return None
        self.zxid = max(self.zxid, link.zxid)
        if code == SESSION_MOVED:
            self._lost()
            return None
        if code not in (OK, *also):
            raise Violation(f"session 0x{self.ledger.session:x}: {code} for op {op}")
        return code, source

    def close(self) -> None:
        """End the session in order."""
        self.must(CLOSE, b"")
        assert self.link is not None
        self.link.close()

    def _work(self) -> None:
        moves_at = time.monotonic() + self._rng.random() * MOVES_EVERY_S
        while not self.ending.is_set():
            if self._rng.random() >= WRITES:
                self._read()
            elif self._rng.random() < CREATES:
                self._create()
            else:
                self._write()
            if self._mover and time.monotonic() > moves_at:
                moves_at = time.monotonic() + MOVES_EVERY_S
                self._lost()
            time.sleep(THINK_S)

    def _write(self) -> None:
        ledger = self.ledger
        ledger.sent += 1
        if self.once(SETDATA, text(ledger.own) + buf(str(ledger.sent).encode()) + i32(-1)) is not None:
            ledger.wrote(time.monotonic())

    def _create(self) -> None:
        name = f"{len(self.ledger.asked):06d}"
        self.ledger.asked.add(name)
        body = text(f"{self.ledger.own}/{name}") + buf(b"") + OPEN_ACL + i32(0)
        if self.once(CREATE2, body) is None:
            # It may have been made, and then it is there already.
            self.must(CREATE2, body, NODEEXISTS)
        self.ledger.created(name, time.monotonic())

    def _read(self) -> None:
        path = self._rng.choice(self._paths)
        answer = self.once(GETDATA, text(path) + b"\0")
        if answer is not None:
            self.reads += 1
            self.ledger.read(path, int(answer[1].buf()))

    def _lost(self) -> None:
        if self.link is not None:
            self.link.close()
            self.link = None
            self.moves += 1
        self._at += self._rng.randrange(1, len(self._ports))

    def _connected(self) -> Link:
        while self.link is None:
            link = None
            try:
                link = Link(self._ports[self._at % len(self._ports)], ANSWER_S)
                there = link.open(SESSION_MS, self.zxid, self.ledger.session, self.password)
            except OSError:
                if link is not None:
                    link.close()
                self._at += 1
                time.sleep(0.01)
                continue
            if not there:
                raise Violation(f"session 0x{self.ledger.session:x} is lost")
            if self.ledger.session not in (0, link.session):
                raise Violation(f"session 0x{self.ledger.session:x} became 0x{link.session:x}")
            self.ledger.session, self.password, self.link = link.session, link.password, link
            if self.ledger.sent:
                self._read_own(link)
        return self.link

    def _read_own(self, link: Link) -> None:
        """The first thing a session sees on its new server: no less than it was told by the last one."""
        try:
            code, source = link.call(GETDATA, text(self.ledger.own) + b"\0")
        except OSError:
            self._lost()
            return
        if code != OK:
            raise Violation(f"{self.ledger.own}, read on a new server: {code}")
        self.ledger.read(self.ledger.own, int(source.buf()))


class KazooWriter(threading.Thread):
    """A client as applications have it: kazoo, its own retries, one session that must never be lost."""

    def __init__(self, hosts: str) -> None:
        super().__init__(daemon=True)
        logging.getLogger("kazoo").setLevel(logging.CRITICAL)
        self.client = KazooClient(
            hosts, timeout=SESSION_MS / 1000, connection_retry=KazooRetry(max_tries=-1, delay=0.02, max_delay=0.2)
        )
        self.retry = KazooRetry(max_tries=-1, delay=0.02, max_delay=0.2)
        self.ledger = Ledger("/kazoo")
        self.ending = threading.Event()
        self.error: BaseException | None = None
        self.client.add_listener(self._state)

    def _state(self, state: str) -> None:
        if state == KazooState.LOST and not self.ending.is_set():
            self.error = Violation("kazoo lost its session")

    def prepare(self) -> None:
        """Begin the session."""
        self.client.start(30)
        self.client.create("/kazoo", b"0")
        self.ledger.session = self.client.client_id[0]

    def run(self) -> None:
        try:
            while not self.ending.is_set() and self.error is None:
                self.ledger.sent += 1
                self.retry(self.client.set, "/kazoo", str(self.ledger.sent).encode())
                self.ledger.wrote(time.monotonic())
                self.ledger.read("/kazoo", int(self.retry(self.client.get, "/kazoo")[0]))
                time.sleep(0.02)
        except BaseException as error:
            self.error = error

    def close(self) -> None:
        """End the session in order."""
        self.client.stop()
        self.client.close()


# ---------------------------------------------------------------------------------------------------- the campaign


def last_zxid(node: Node) -> int:
    """What it has processed last; -1 while it does not serve."""
    found = re.search(r"^Zxid: 0x([0-9a-f]+)", node.ask("srvr"), re.M)
    return int(found.group(1), 16) if found else -1


def monitored(node: Node, name: str) -> float | None:
    """A figure of mntr, if there is one of that name."""
    found = re.search(rf"^{name}\s+(\S+)", node.ask("mntr"), re.M)
    return float(found.group(1)) if found else None


class Replacing:
    """The clients and the steps. clients: how many raw ones, beside one of kazoo; say: where each step is told."""

    def __init__(self, ensemble: Ensemble, seed: int, clients: int, say: Callable[[str], None]) -> None:
        self.ensemble, self._say = ensemble, say
        self._rng = random.Random(seed)
        ports = [node.client_port for node in ensemble.nodes]
        self.clients = [
            Client(number, ports, clients, self._rng.getrandbits(32), mover=number % 2 == 1)
            for number in range(clients)
        ]
        self.kazoo = KazooWriter(",".join(node.address for node in ensemble.nodes))
        self.everybody: list[Client | KazooWriter] = [*self.clients, self.kazoo]
        self.outcome = Outcome()

    @contextmanager
    def load(self) -> Iterator[None]:
        """Clients at work within the block; after it they have ended, their sessions not."""
        first = Link(self.ensemble[1].client_port)
        first.open(SESSION_MS)
        for root in ROOTS:
            first.call(CREATE2, text(root) + buf(b"") + OPEN_ACL + i32(0))
        first.call(CLOSE, b"")
        first.close()
        for client in self.everybody:
            client.prepare()
        for client in self.everybody:
            client.start()
        try:
            yield
        finally:
            for client in self.everybody:
                client.ending.set()
            for client in self.everybody:
                client.join(3 * ANSWER_S)

    def check(self) -> None:
        """Raises what a client has met."""
        for client in self.everybody:
            if client.error is not None:
                raise client.error

    def replace_all(self, kind: str, order: str) -> None:
        """One server after the other becomes of this kind."""
        while waiting := [node for node in self.ensemble.nodes if node.kind != kind]:
            leader = self.ensemble.wait_leader(STEP_S)
            followers = [node for node in waiting if node is not leader]
            leader_next = leader in waiting and (order == "leader-first" or not followers)
            self.replace(leader if leader_next else self._rng.choice(followers), kind)

    def replace(self, node: Node, kind: str) -> None:
        """One step."""
        old, role = node.kind, node.mode() or "not serving"
        self.mismatches(node)
        began = time.monotonic()
        try:
            node.term()
        except subprocess.TimeoutExpired:
            raise Violation(f"server {node.sid} ({old}) does not end within 10 s of SIGTERM") from None
        stopped = time.monotonic() - began
        node.kind = kind
        self.ensemble.write_files(node)
        self.ensemble.start(node)
        self.wait_in_quorum(node)
        ended = time.monotonic()
        time.sleep(SETTLE_S)
        self.check()
        pause = max(client.ledger.pause(began, ended) for client in self.clients)
        step = Step(node.sid, old, kind, role, stopped, ended - began, pause, self.kazoo.ledger.pause(began, ended))
        self.outcome.steps.append(step)
        self._say(str(step))

    def wait_in_quorum(self, node: Node) -> None:
        """Until it holds all that the leader had processed, and the leader counts everybody."""

        def in_quorum() -> bool:
            self.check()
            if not node.alive():
                raise Violation(f"server {node.sid} ({node.kind}) ended:\n{node.log_text()[-4000:]}")
            leader = self.ensemble.leader()
            if leader is None or node.mode() not in ("follower", "leader"):
                return False
            synced = monitored(leader, "zk_synced_followers")
            if synced is not None and synced < len(self.ensemble.nodes) - 1:
                return False
            return last_zxid(node) >= last_zxid(leader) - 50

        wait_until(f"server {node.sid} ({node.kind}) in the quorum", in_quorum, STEP_S)

    def mismatches(self, node: Node) -> None:
        """Its tree must have had the digest of every transaction."""
        if count := monitored(node, "zk_digest_mismatches_count"):
            raise Violation(f"server {node.sid} ({node.kind}): {count:.0f} digests did not match")

    def audit(self) -> None:
        """With nobody writing: every server shows the same, and what was told is there."""
        trees = {}
        for node in self.ensemble.nodes:
            self.touch()
            trees[node.sid] = self.walk(node)
        first = trees[1]
        for sid, tree in trees.items():
            if differing := [path for path in {*tree, *first} if tree.get(path) != first.get(path)]:
                path = min(differing)
                raise Violation(f"{path} on servers 1 and {sid}: {first.get(path)}, {tree.get(path)}")
        for client in self.clients:
            own = client.ledger.own
            children = {path.rpartition("/")[2] for path in first if path.startswith(own + "/")}
            stat = first.get(client.alive_path, (b"", bytes(68)))[1]
            owner = int.from_bytes(stat[44:52], "big", signed=True)
            client.ledger.audit(int(first[own][0]), children, owner)
        self.kazoo.ledger.read("/kazoo", int(first["/kazoo"][0]))
        if self.kazoo.client.client_id[0] != self.kazoo.ledger.session:
            raise Violation("kazoo has another session than at the beginning")
        for node in self.ensemble.nodes:
            self.mismatches(node)
        self.outcome.nodes = len(first)
        self.outcome.digests = self.compare_digests()

    def touch(self) -> None:
        """Nobody's session may end of having nothing to say."""
        for client in self.clients:
            client.must(SYNC, text("/"))

    def compare_digests(self) -> int:
        """How many digests that all servers remember were the same."""
        lists = [dict(re.findall(r"^([0-9a-fx]+): (-?\d+)", node.ask("hash"), re.M)) for node in self.ensemble.nodes]
        common = set.intersection(*(set(each) for each in lists))
        for zxid in common:
            if len({each[zxid] for each in lists}) > 1:
                raise Violation(f"digests after {zxid}: {[each[zxid] for each in lists]}")
        return len(common)

    def walk(self, node: Node) -> dict[str, tuple[bytes, bytes]]:
        """Data and Stat of every node, by path, as this server shows them to a session of its own."""
        link = Link(node.client_port)
        link.open(SESSION_MS)
        link.call(SYNC, text("/"))
        found: dict[str, tuple[bytes, bytes]] = {}
        waiting = ["/"]
        while waiting:
            paths, waiting = waiting[:WALKED_AT_ONCE], waiting[WALKED_AT_ONCE:]
            asked = [i32(1) + i32(op) + text(path) + b"\0" for path in paths for op in (GETDATA, GETCHILDREN)]
            link.send(*asked)
            for path in paths:
                (code, source), (_, children) = link.reply(1), link.reply(1)
                if code != OK:
                    raise Violation(f"server {node.sid}: {path}, listed by its parent: {code}")
                data, stat = source.buf(), source.take(68)
                # Each server makes this node for itself, at its own start.
                found[path] = (data, bytes(68) if path == "/zookeeper/config" else stat)
                waiting += [f"{path.rstrip('/')}/{children.text()}" for _ in range(children.i32())]
        link.call(CLOSE, b"")
        link.close()
        return found

    def leave(self) -> None:
        """End all sessions in order: their ephemerals go, on every server."""
        for client in self.clients:
            client.close()
        self.kazoo.close()
        for node in self.ensemble.nodes:
            if left := [path for path in self.walk(node) if path.startswith("/alive/")]:
                raise Violation(f"server {node.sid}: {left} outlived their sessions")


def campaign(
    start: str,
    to: str,
    *,
    servers: int = 3,
    order: str = "leader-last",
    seed: int = 1,
    clients: int = 6,
    back: bool = True,
    keep: Path | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Replace all by the other kind, and back. keep: where the files are copied to in the end."""
    with Ensemble([start] * servers, extra=CONFIG, tick_ms=TICK_MS) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        replacing = Replacing(ensemble, seed, clients, say)
        try:
            with replacing.load():
                time.sleep(SETTLE_S)
                replacing.replace_all(to, order)
                if back:
                    replacing.replace_all(start, order)
            replacing.check()
            replacing.audit()
            replacing.leave()
        finally:
            if keep is not None:
                shutil.copytree(ensemble.directory, keep, dirs_exist_ok=True)
        outcome = replacing.outcome
        outcome.writes = sum(client.ledger.acknowledged for client in replacing.everybody)
        outcome.reads = sum(client.reads for client in replacing.clients)
        outcome.moves = sum(client.moves for client in replacing.clients)
        return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description="Replace an ensemble server by server under load, and back.")
    parser.add_argument("--start", "--from", default="apache38", help="the kind to start with")
    parser.add_argument("--to", default="zktw", help="the kind to replace it by")
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--order", choices=ORDERS, default=ORDERS[0])
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=random.getrandbits(32))
    parser.add_argument("--one-way", action="store_true", help="do not replace back")
    parser.add_argument("--keep", type=Path, help="where the files are copied to in the end")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    outcome = campaign(
        given.start,
        given.to,
        servers=given.servers,
        order=given.order,
        seed=given.seed,
        clients=given.clients,
        back=not given.one_way,
        keep=given.keep,
    )
    longest = max(step.pause for step in outcome.steps)
    print(
        f"{given.start} -> {given.to}{'' if given.one_way else ' and back'}, {given.servers} servers, {given.order}: "
        f"{outcome.writes} writes, {outcome.reads} reads, {outcome.moves} moves of sessions, {outcome.nodes} nodes, "
        f"{outcome.digests} digests compared; longest pause {longest * 1000:.0f} ms; no promise broken"
    )


if __name__ == "__main__":
    main()
