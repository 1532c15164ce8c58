"""The history of a campaign and what it must obey; knows no socket, so that tests can doctor it.

Registers are nodes that always exist and whose values are unique, so that a value names the write that made it. Two
checkers look at them. One uses what servers say of each write (version, zxid) and sees divergence, loss and doubling
exactly. The other (linearizable) knows nothing of ZooKeeper: it searches for an order of writes and reads that explains
the replies. Times are seconds of one monotonic clock; all checkers return findings as text, none if all is well.
"""

import bisect
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

OK, FAIL, UNKNOWN = "ok", "fail", "unknown"
READ, SYNC_READ, WRITE, CREATE, DELETE, OTHER = "read", "sync-read", "write", "create", "delete", "other"
FINDINGS_MAX = 20
INITIAL = 0
# The state of a register after a write that nobody ever read.
UNREAD = -1


@dataclass(slots=True)
class Op:
    """One operation. value: what is written, or was read. expected: version demanded, -1 for none (then old is void).

    zxid is that of the reply's header, before the last one the session had seen when it sent the operation. An
    operation of unknown outcome may take place at any time after began; its ended is infinite.
    """

    kind: str
    key: str
    began: float
    ended: float = math.inf
    outcome: str = UNKNOWN
    value: int = INITIAL
    expected: int = -1
    old: int = INITIAL
    zxid: int = 0
    before: int = 0
    version: int = -1
    mzxid: int = 0
    session: int = 0
    server: int = 0
    group: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.key} value {self.value} expected {self.expected} {self.outcome} version {self.version} "
            f"mzxid {self.mzxid:#x} header {self.zxid:#x} session {self.session:#x} (seen {self.before:#x}) "
            f"server {self.server} [{self.began:.3f}, {self.ended:.3f}]"
        )


@dataclass(frozen=True)
class Trouble:
    """A fault that may leave these servers behind the quorum without their knowing it yet."""

    servers: frozenset[int]
    began: float
    ended: float


def check_order(ops: Iterable[Op]) -> list[str]:
    """Zxids of acknowledged writes, of all keys, respect real time; two writes share one only within a multi."""
    found: list[str] = []
    writes = sorted(
        (op for op in ops if op.kind in (WRITE, CREATE, DELETE, OTHER) and op.outcome == OK), key=lambda op: op.zxid
    )
    latest: Op | None = None
    for last, op in zip([None, *writes], writes, strict=False):
        if last is not None and last.zxid == op.zxid and not (op.group and op.group == last.group):
            found.append(f"one zxid for two writes: {last} | {op}")
        if latest is not None and op.ended < latest.began and latest.zxid < op.zxid:
            found.append(f"zxids against real time: {op} ended before {latest} began")
        if latest is None or op.began > latest.began:
            latest = op
    return found


class Register:
    """What is known of one register: who made each version."""

    def __init__(self, key: str, ops: Sequence[Op], final: tuple[int, int, int] | None = None) -> None:
        """final: version, mzxid and value at the end, if the end was seen."""
        self.key = key
        self.ops = ops
        self.final = final
        self.findings: list[str] = []
        self.made: dict[int, tuple[int, int]] = {0: (0, INITIAL)}
        self.writes = {op.value: op for op in ops if op.kind == WRITE}
        for op in ops:
            if op.outcome == OK and op.version >= 0:
                self._saw(op.version, op.mzxid, op.value, op.ended, str(op))
        if final is not None:
            self._saw(*final, math.inf, "the end")

    def _saw(self, version: int, mzxid: int, value: int, when: float, who: str) -> None:
        if version == 0:
            if value != INITIAL:
                self.findings.append(f"{self.key}: version 0 has the value {value}: {who}")
            return
        known = self.made.setdefault(version, (mzxid, value))
        if known != (mzxid, value):
            self.findings.append(f"{self.key}: version {version} was both {known} and {(mzxid, value)}: {who}")
        write = self.writes.get(value)
        if write is None:
            self.findings.append(f"{self.key}: a value that nobody wrote: {who}")
        elif write.outcome == FAIL:
            self.findings.append(f"{self.key}: the value of a write that failed ({write}): {who}")
        elif write.began > when:
            self.findings.append(f"{self.key}: a value from the future ({write}): {who}")

    def check(self, troubles: Sequence[Trouble] = ()) -> tuple[list[str], list[Op]]:
        """Findings, and those reads after a sync that came too early, excused by a trouble of their server."""
        self._versions()
        self._failures()
        self._as_of_zxid()
        stale = self._stale(troubles)
        return self.findings, stale

    def _versions(self) -> None:
        """Versions and zxids grow together, no value has two, and each was made by somebody."""
        values: dict[int, int] = {}
        last = (0, 0)
        for version, (mzxid, value) in sorted(self.made.items()):
            if version and mzxid <= last[1]:
                self.findings.append(
                    f"{self.key}: version {version} has mzxid {mzxid:#x}, version {last[0]} {last[1]:#x}"
                )
            if value in values:
                self.findings.append(f"{self.key}: the value {value} made versions {values[value]} and {version}")
            values[value] = version
            last = (version, mzxid)
        for op in self.writes.values():
            if op.outcome == OK and op.expected >= 0 and op.version != op.expected + 1:
                self.findings.append(f"{self.key}: condition not kept: {op}")
        if self.final is None:
            return
        highest = self.final[0]
        if max(self.made) > highest:
            self.findings.append(f"{self.key}: lost: version {max(self.made)} was seen, at the end it is {highest}")
        unread = sum(1 for op in self.writes.values() if op.outcome == UNKNOWN and op.value not in values)
        nameless = highest + 1 - len([version for version in self.made if version <= highest])
        if nameless > unread:
            self.findings.append(f"{self.key}: {nameless} versions of unknown origin, {unread} writes to explain them")

    def _failures(self) -> None:
        """A condition refused must have been false at some time between call and answer."""
        began = {version: self._times(version)[0] for version in self.made}
        ended = {version: self._times(version)[1] for version in self.made}
        for op in self.ops:
            if op.kind != WRITE or op.outcome != FAIL or op.expected not in self.made:
                continue
            reached = op.expected == 0 or ended[op.expected] < op.began
            following = op.expected + 1
            if following in self.made:
                left = began[following] < op.ended
            else:
                left = self.final is None or self.final[0] > op.expected
            if reached and not left:
                self.findings.append(f"{self.key}: a condition that held was refused: {op}")

    def _times(self, version: int) -> tuple[float, float]:
        write = self.writes.get(self.made[version][1])
        return (-math.inf, -math.inf) if write is None else (write.began, write.ended)

    def _as_of_zxid(self) -> None:
        """Who has seen a zxid reads what was acknowledged up to it."""
        by_zxid = sorted((op.mzxid, op.version) for op in self.writes.values() if op.outcome == OK)
        zxids = [zxid for zxid, _ in by_zxid]
        for op in self.ops:
            if op.kind not in (READ, SYNC_READ) or op.outcome != OK:
                continue
            if op.mzxid > op.zxid:
                self.findings.append(f"{self.key}: read ahead of its reply's zxid: {op}")
            at = bisect.bisect_right(zxids, op.before)
            if at and op.version < by_zxid[at - 1][1]:
                self.findings.append(f"{self.key}: version {by_zxid[at - 1][1]} is missing from the past: {op}")

    def _stale(self, troubles: Sequence[Trouble]) -> list[Op]:
        """Reads after a sync that miss what was acknowledged, or read after a sync, before they began."""
        stale: list[Op] = []
        done = sorted((op.ended, op.version) for op in self.ops if op.kind in (WRITE, SYNC_READ) and op.outcome == OK)
        times = [ended for ended, _ in done]
        highest: list[int] = []
        for _, version in done:
            highest.append(max(version, highest[-1] if highest else -1))
        for op in self.ops:
            if op.kind != SYNC_READ or op.outcome != OK:
                continue
            at = bisect.bisect_left(times, op.began)
            if not at or op.version >= highest[at - 1]:
                continue
            if any(op.server in t.servers and op.began <= t.ended and op.ended >= t.began for t in troubles):
                stale.append(op)
            else:
                self.findings.append(f"{self.key}: a read after a sync misses version {highest[at - 1]}: {op}")
        return stale


def linearizable(ops: Sequence[Op]) -> str | None:
    """Whether some order explains a register's writes and reads after a sync; if not, where the search got stuck.

    Conditional writes are taken as compare-and-set of values. Just-in-time search: when an operation ends, every state
    that is possible then must have it done. A write of unknown outcome that was read must have happened before its
    first read ended; of those never read only the number counts, since all lead to the same state (their conditions
    are taken as true, which may excuse a little too much, never too little).
    """
    wanted = [op for op in ops if op.kind == SYNC_READ and op.outcome == OK]
    first_read: dict[int, float] = {}
    for op in ops:
        # Any read will do, and so will a condition that held.
        seen = op.value if op.kind in (READ, SYNC_READ) else op.old if op.expected >= 0 else None
        if seen is not None and op.outcome == OK:
            first_read[seen] = min(op.ended, first_read.get(seen, math.inf))
    events: list[tuple[float, int, Op]] = []
    for op in [*(op for op in ops if op.kind == WRITE), *wanted]:
        if op.outcome == FAIL and op.expected < 0:
            continue
        ended = op.ended
        if op.outcome == UNKNOWN:
            ended = first_read.get(op.value, math.inf)
        # Of two at one instant the beginning counts first: they overlap.
        events.append((op.began, 0, op))
        if ended < math.inf:
            events.append((ended, 1, op))
    events.sort(key=lambda event: event[:2])
    return _search(events)


# A state of the search: the register's value, which operations under way are done, how many unread writes were used.
State = tuple[int, frozenset[int], int]


def _search(events: Sequence[tuple[float, int, Op]]) -> str | None:
    bounded = {id(op) for _, is_end, op in events if is_end}
    pending: dict[int, Op] = {}
    unread = 0
    states: set[State] = {(INITIAL, frozenset(), 0)}
    for _, is_end, op in events:
        name = id(op)
        if not is_end:
            if name in bounded:
                pending[name] = op
            else:
                unread += 1
            continue
        states = {(value, done - {name}, used) for value, done, used in _reach(states, pending, unread) if name in done}
        del pending[name]
        if not states:
            return f"no order explains this answer: {op}"
        fewest: dict[tuple[int, frozenset[int]], int] = {}
        for value, done, used in states:
            fewest[value, done] = min(used, fewest.get((value, done), used))
        states = {(value, done, used) for (value, done), used in fewest.items()}
    return None


def _reach(states: Iterable[State], pending: Mapping[int, Op], unread: int) -> set[State]:
    """All states that operations under way can lead to."""
    reached = set(states)
    todo = list(reached)
    while todo:
        value, done, used = todo.pop()
        following = [
            (after, done | {name}, used)
            for name, op in pending.items()
            if name not in done and (after := _apply(op, value)) is not None
        ]
        if used < unread and value != UNREAD:
            following.append((UNREAD, done, used + 1))
        for state in following:
            if state not in reached:
                reached.add(state)
                todo.append(state)
    return reached


def _apply(op: Op, value: int) -> int | None:
    """The register's value after an operation; None if it cannot take place with this outcome."""
    if op.kind == SYNC_READ:
        return value if op.value == value else None
    if op.outcome == FAIL:
        return value if op.old != value else None
    if op.expected >= 0 and op.old != value:
        return None
    return op.value


def check_nodes(
    ops: Iterable[Op], there: Mapping[str, tuple[int, int]], alive: Iterable[int] | None = None
) -> list[str]:
    """Nodes that are created once and perhaps deleted. there: path -> value, owner (0: none), as seen at the end.

    alive: sessions that still live, for ephemeral nodes: Op.session owns those whose key begins with /e.
    """
    found: list[str] = []
    living = set(alive or ())
    values: dict[int, Op] = {}
    doomed: dict[str, set[str]] = defaultdict(set)
    created: list[Op] = []
    for op in ops:
        if op.kind == CREATE:
            values[op.value] = op
            created.append(op)
        elif op.kind == DELETE:
            doomed[op.key].add(op.outcome)
    for op in created:
        if op.outcome != OK:
            continue
        fate = doomed[op.key]
        ended = op.key.startswith("/e") and op.session not in living
        if op.key not in there and not ended and not fate & {OK, UNKNOWN}:
            found.append(f"lost: {op}")
        elif op.key in there and OK in fate:
            found.append(f"deleted, yet there: {op}")
        elif op.key in there and there[op.key][0] != op.value:
            found.append(f"{op.key} holds {there[op.key][0]}: {op}")
    seen: dict[int, str] = {}
    for path, (value, owner) in there.items():
        maker = values.get(value)
        if maker is None or maker.outcome == FAIL:
            found.append(f"{path} holds {value}, which nobody created")
        if value in seen:
            found.append(f"one create made {seen[value]} and {path}")
        seen[value] = path
        if owner and owner not in living:
            found.append(f"{path} belongs to {owner:#x}, a session that has ended")
        if maker is not None and path.startswith("/e") and owner != maker.session:
            found.append(f"{path} belongs to {owner:#x}: {maker}")
    return found + check_sequence(created)


def check_sequence(created: Iterable[Op]) -> list[str]:
    """Numbers of sequential nodes of one parent grow with zxids."""
    found: list[str] = []
    parents: dict[str, list[Op]] = defaultdict(list)
    for op in created:
        if op.outcome == OK and op.key.rsplit("/", 1)[1].startswith("n-"):
            parents[op.key.rsplit("/", 1)[0]].append(op)
    for nodes in parents.values():
        nodes.sort(key=lambda op: op.zxid)
        found += [f"numbers against zxids: {a} | {b}" for a, b in pairwise(nodes) if a.key[-10:] >= b.key[-10:]]
    return found


def check_all(
    ops: Sequence[Op],
    finals: Mapping[str, tuple[int, int, int]],
    there: Mapping[str, tuple[int, int]],
    alive: Iterable[int],
    troubles: Sequence[Trouble] = (),
) -> tuple[list[str], int]:
    """Everything over a whole history; findings (some of each kind) and the number of excused stale reads.

    finals: of each register version, mzxid and value at the end.
    """
    found = check_order(ops)[:FINDINGS_MAX]
    registers: dict[str, list[Op]] = defaultdict(list)
    for op in ops:
        if op.key in finals:
            registers[op.key].append(op)
    excused = 0
    for key, of_key in sorted(registers.items()):
        findings, stale = Register(key, of_key, finals[key]).check(troubles)
        excused += len(stale)
        found += findings[:FINDINGS_MAX]
        left_out = {id(op) for op in stale}
        reason = linearizable([op for op in of_key if id(op) not in left_out])
        if reason is not None:
            found.append(f"{key}: {reason}")
    return found + check_nodes((op for op in ops if op.kind in (CREATE, DELETE)), there, alive)[:FINDINGS_MAX], excused
