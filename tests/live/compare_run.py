"""The comparison run: one random workload sent to two servers in step, every answer compared.

By hand, from the checkout: PYTHONPATH=.:tests/live python tests/live/compare_run.py apache39 zktw --keep-going
with ZKTW_OPS and ZKTW_SEED. The first server is the oracle: the workload learns from it.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from compare_replies import (
    View,
    acl_of,
    event_item,
    legacy_excuses,
    reply_item,
    same_but_order,
    welcome_item,
)
from ensemble import Ensemble, Node, wait_until
from rawclient import (
    HOST,
    Link,
    Reader,
    Reply,
    Silent,
    Stat,
    boolean,
    buffer,
    connect_body,
    create_body,
    digest_id,
    i32,
    i64,
    reply,
    welcome,
)
from workload import OPEN, SUPER, Barrier, Call, Drop, Expire, Open, Profile, Raw, Request, Step, Workload

Item = tuple[object, ...]

PING = i32(-2) + i32(11)
TICK_MS = 500
# In the files, so that both kinds read the same.
LINES = (
    "extendedTypesEnabled=true",
    "enforceQuota=true",
    "maxSessionTimeout=600000",
    "snapCount=3000",
    "preAllocSize=1024",
    "reconfigEnabled=true",
    f"DigestAuthenticationProvider.superDigest={digest_id(*SUPER)}",
)
# Reapers that don't run while two servers are compared.
PROPERTIES = {"znode.container.checkIntervalMs": "900000000"}
GIVE_UP_S = 10.0
LOOK_AGAIN_S = 0.5
SHOWN_CHARS = 1500
# The fields of a stat as View.stat() gives them.
COMPARED = (
    *("", "czxid", "mzxid", "pzxid", "ctime", "mtime", "version", "cversion", "aversion"),
    *("owner", "dataLength", "numChildren"),
)


@dataclass
class Side:
    """One of the two servers: its connections, sessions and names."""

    name: str
    port: int
    view: View = field(default_factory=View)
    links: dict[str, Link] = field(default_factory=dict)
    sessions: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    old: list[Link] = field(default_factory=list)
    fresh: Link | None = None
    zxid: int = 0
    last: Reply | None = None

    def frame(self, link: Link, timeout_s: float = GIVE_UP_S) -> Reply | str:
        """The next frame, or what came instead."""
        try:
            body = link.read(timeout_s)
        except Silent:
            return "silent"
        return "closed" if body is None else reply(body)

    def until(self, link: Link, xid: int | None) -> tuple[list[Item], Reply | str]:
        """Events, and then the first frame that is none (of this xid, if one is given)."""
        events: list[Item] = []
        while True:
            answer = self.frame(link)
            if isinstance(answer, str):
                return events, answer
            if answer.xid == -1:
                events.append(event_item(answer, self.view))
            elif xid is None or answer.xid == xid:
                self.zxid = max(self.zxid, answer.zxid)
                return events, answer
            else:
                events.append(("stray", answer.xid, answer.zxid, answer.err))

    def begin(self, step: Step, xids: Sequence[int]) -> None:
        """Send what the step sends, so that both servers work at the same time."""
        if isinstance(step, Call):
            frames = [
                i32(xid) + i32(request.op) + self._own(request)
                for request, xid in zip(step.requests, xids, strict=True)
            ]
            self.links[step.label].send(*frames)
        elif isinstance(step, Barrier):
            for label in sorted(self.links):
                self.links[label].send(PING)
        elif isinstance(step, Open):
            self._begin_open(step)
        elif isinstance(step, Raw):
            link = self.links[step.label] if step.label else Link(self.port)
            self.fresh = link
            link.send_raw(step.content)
        elif isinstance(step, Drop):
            self.links.pop(step.label).close()

    def _own(self, request: Request) -> bytes:
        """The body, its relative zxid as this server counts."""
        if request.op not in (101, 105) or len(request.body) < 8:
            return request.body
        relative = int.from_bytes(request.body[:8], "big", signed=True)
        return i64(self.view.own(relative)) + request.body[8:]

    def _begin_open(self, step: Open) -> None:
        session, password = self.sessions.get(step.label, (0, step.password))
        last_zxid = 0
        if step.who == "new":
            session, password = 0, step.password
        elif step.who == "bad password":
            password = bytes(15) + b"\1"
        elif step.who == "unknown":
            session, password = 0x0123456789ABCDEF, bytes(16)
        elif step.who == "behind":
            session, password, last_zxid = 0, bytes(16), 1 << 50
        elif last_zxid == 0:
            last_zxid = self.zxid
        self.fresh = Link(self.port)
        self.fresh.send(connect_body(session, password, step.timeout_ms, last_zxid, step.read_only))

    def finish(self, step: Step, xids: Sequence[int]) -> list[Item]:
        """Read what the step brings."""
        if isinstance(step, Call):
            return self._finish_call(step, xids)
        if isinstance(step, Barrier):
            return [item for label in sorted(self.links) for item in [("session", label), *self._pinged(label)]]
        if isinstance(step, Open):
            return self._finish_open(step)
        if isinstance(step, Raw):
            assert self.fresh is not None
            events, answer = self.until(self.fresh, None)
            if step.label is None:
                self.fresh.close()
            elif answer == "closed":
                self.links.pop(step.label).close()
            return [*events, (str(answer),)]
        return []

    def _finish_call(self, step: Call, xids: Sequence[int]) -> list[Item]:
        link, items = self.links[step.label], list[Item]()
        for request, _xid in zip(step.requests, xids, strict=True):
            events, answer = self.until(link, None)
            items += events
            if isinstance(answer, str):
                items.append((answer,))
                self.links.pop(step.label).close()
                return items
            self.last = answer
            items.append(reply_item(request, answer, self.view))
        if step.requests[-1].ends:
            items += self.served(step.label)
        return items

    def served(self, label: str) -> list[Item]:
        """Whether the connection is still served."""
        self.links[label].send(PING)
        events, answer = self.until(self.links[label], -2)
        if isinstance(answer, str):
            self.links.pop(label).close()
        return [*events, ("pinged",) if isinstance(answer, Reply) else (answer,)]

    def settle(self, label: str) -> None:
        """Read to a ping's reply."""
        if self.until(self.links[label], -2)[1] in ("closed", "silent"):
            self.links.pop(label).close()

    def _pinged(self, label: str) -> list[Item]:
        link = self.links[label]
        events, answer = self.until(link, -2)
        if isinstance(answer, str):
            self.links.pop(label).close()
            return [*events, (answer,)]
        return [*events, ("pinged", self.view.zxid(answer.zxid))]

    def _finish_open(self, step: Open) -> list[Item]:
        link = self.fresh
        assert link is not None
        try:
            body = link.read(GIVE_UP_S)
        except Silent:
            return [("silent",)]
        if body is None:
            return [("closed",)]
        came = welcome(body)
        items: list[Item] = []
        if step.who == "new" and came.session:
            self.view.labels[came.session] = step.label
            self.sessions[step.label] = (came.session, came.password)
            items.append(welcome_item(came, self.view, None))
        else:
            items.append(welcome_item(came, self.view, self.sessions.get(step.label, (0, None))[1]))
        older = self.links.pop(step.label, None)
        if older is not None:
            kept = step.who == "bad password" and self.name == "zktw"
            items += [("before", *item) for item in (self._kept(older) if kept else self._rest(older))]
        if came.session:
            self.links[step.label] = link
        else:
            items += self._rest(link)
        return items

    def _kept(self, link: Link) -> list[Item]:
        """As _rest(), of a connection that must still serve: the difference "wrong password"."""
        link.send(PING)
        events, answer = self.until(link, -2)
        link.close()
        return [*events, ("closed" if isinstance(answer, Reply) else f"not kept: {answer}",)]

    def _rest(self, link: Link) -> list[Item]:
        """All that comes before the server closes it; it is asked to show whether it does."""
        events, answer = self.until(link, None)
        link.close()
        return [*events, (answer if isinstance(answer, str) else "answered",)]


@dataclass
class Mismatch:
    """Where two servers differ."""

    step: int
    text: str
    first: list[Item]
    second: list[Item]
    kind: str


class Mismatched(AssertionError):
    """The first mismatch of a run that does not go on."""


class Comparison:
    """Two servers, a workload, and what differed. excused counts what was found and is allowed by name."""

    def __init__(
        self, first: Node, second: Node, seed: int, *, keep_going: bool = False, without: Sequence[str] = ()
    ) -> None:
        self.first, self.second = Side(first.kind, first.client_port), Side(second.kind, second.client_port)
        self.sides = (self.first, self.second)
        self.seed = seed
        self.keep_going = keep_going
        self.without = without
        self.legacy = "apache38" in (first.kind, second.kind)
        self.oldest = first.kind == second.kind == "apache38"
        for side in self.sides:
            side.view.event_zxids = not self.legacy
        self.work = Workload(seed, Profile(legacy=self.legacy))
        self.kinds: dict[str, tuple[int, Mismatch]] = {}
        self.excused: dict[str, int] = {}
        self.count = 0
        self.requests = 0
        self._xid = 0
        self._closing = False

    def run(self, steps: int) -> None:
        """All of it. Raises Mismatched at the first mismatch, unless it keeps going."""
        for step in self.work.steps(steps):
            self.count += 1
            if isinstance(step, Expire):
                self._expire(step)
            else:
                self._play(step)
        self._same_trees()
        for side in self.sides:
            for link in side.links.values():
                link.close()

    def _play(self, step: Step) -> None:
        label = getattr(step, "label", None)
        needs = isinstance(step, Call | Drop) or (isinstance(step, Raw) and label is not None)
        if needs and not all(label in side.links for side in self.sides):
            return
        if isinstance(step, Open) and step.keep_old and not all(label in side.links for side in self.sides):
            return
        if isinstance(step, Call) and any(text in request.text for request in step.requests for text in self.without):
            return
        xids = [self._next(request) for request in step.requests] if isinstance(step, Call) else []
        if isinstance(step, Call):
            self.requests += len(step.requests)
            self._closing |= any(request.op == -11 for request in step.requests)
        for side in self.sides:
            side.begin(step, xids)
        first, second = (side.finish(step, xids) for side in self.sides)
        if isinstance(step, Call) and ("pinged",) in (first[-1:] + second[-1:]) and first[-1] != second[-1]:
            # Apache closes on another thread than it answers from: a ping may come in between.
            time.sleep(LOOK_AGAIN_S)
            for side, items in zip(self.sides, (first, second), strict=True):
                if items[-1] == ("pinged",):
                    items[-1:] = side.served(step.label)
        self._compare(step, first, second)
        self._learn(step, first)
        self._closing &= not isinstance(step, Barrier)

    def _next(self, request: Request) -> int:
        self._xid = self._xid + 1 if self._xid < 2**31 - 1 else 1
        return self._xid if request.xid is None else request.xid

    def _learn(self, step: Step, first: list[Item]) -> None:
        self.work.zxid = self.first.zxid
        if isinstance(step, Call):
            replies = [item for item in first if item[0] == "reply"]
            for request, item in zip(step.requests, replies, strict=False):
                err, value = item[3], item[4]
                assert isinstance(err, int)
                self.work.learned(request, err, value)
            if step.label not in self.first.links:
                gone = any(r.op == -11 for r in step.requests)
                self.work.closed(step.label, gone)
        elif isinstance(step, Open) and step.label in self.first.links:
            self.work.opened(step.label)
        elif isinstance(step, Open) and step.label in self.first.sessions:
            # Not known any more, or its connection was closed for a wrong password.
            self.work.closed(step.label, step.who == "own")
        elif isinstance(step, Drop | Raw) and step.label and step.label not in self.first.links:
            self.work.closed(step.label, False)

    def _compare(self, step: Step, first: list[Item], second: list[Item]) -> None:
        text = self._text(step)
        if first == second:
            return
        if self._closing and same_but_order(first, second):
            self._excuse("order of a closed session's deletions")
            return
        if self.legacy and isinstance(step, Call) and self._legacy(step, first, second):
            self._excuse("legacy")
            return
        self._mismatch(step, text, first, second)
        self._mend(step)

    def _legacy(self, step: Call, first: list[Item], second: list[Item]) -> bool:
        if len(first) != len(second):
            return False
        requests = iter(step.requests)
        for one, other in zip(first, second, strict=True):
            request = next(requests) if one[0] == "reply" else None
            if one != other and (request is None or not legacy_excuses(request, one, other)):
                return False
        return True

    def _excuse(self, name: str) -> None:
        self.excused[name] = self.excused.get(name, 0) + 1

    def _text(self, step: Step) -> str:
        if isinstance(step, Call):
            return f"{step.label}: " + " | ".join(request.text for request in step.requests)
        return str(step)

    def _mismatch(self, step: Step, text: str, first: list[Item], second: list[Item]) -> None:
        mismatch = Mismatch(self.count, text, first, second, kind_of(step, first, second))
        before, example = self.kinds.get(mismatch.kind, (0, mismatch))
        self.kinds[mismatch.kind] = (before + 1, example)
        if not self.keep_going:
            raise Mismatched(self.told(mismatch))
        if before == 0:
            print(self.told(mismatch), flush=True)

    def _mend(self, step: Step) -> None:
        """Bring the two together again, as far as that goes, so that the next step tells something new."""
        one, other = self.sides
        for label in sorted(set(one.links) & set(other.links))[:1]:
            # Where each of them is now; what it brings besides is lost to the comparison.
            for side in self.sides:
                side.links[label].send(PING)
                side.settle(label)
        if one.zxid != other.view.zxid(other.zxid):
            other.view.drifted(other.zxid + 1, one.zxid + 1)
        for label in set(one.links) ^ set(other.links):
            for side in self.sides:
                if label in side.links:
                    side.links.pop(label).close()
            if label not in ("-",) and not isinstance(step, Open):
                self.work.closed(label, False)

    def told(self, mismatch: Mismatch) -> str:
        """A mismatch for a person."""
        pairs = [(a, b) for a, b in zip(mismatch.first, mismatch.second, strict=False) if a != b]
        rows = [f"  {self.first.name} said: {a}\n  {self.second.name} said: {b}"[:SHOWN_CHARS] for a, b in pairs[:3]]
        shorter = min(len(mismatch.first), len(mismatch.second))
        rows += [f"  only {self.first.name}: {a}"[:SHOWN_CHARS] for a in mismatch.first[shorter:][:4]]
        rows += [f"  only {self.second.name}: {b}"[:SHOWN_CHARS] for b in mismatch.second[shorter:][:4]]
        head = f"[{mismatch.kind}]\nseed {self.seed}, step {mismatch.step}: {mismatch.text[:SHOWN_CHARS]}"
        return "\n".join([head, *rows])

    def _expire(self, step: Expire) -> None:
        """A session with the shortest timeout makes an ephemeral and falls silent."""
        self._closing = True
        if step.watcher not in self.first.links or step.watcher not in self.second.links:
            return
        self._play(Open(step.label, "new", 1, False, None))
        body = create_body(step.path, b"", OPEN, 1)
        self._play(Call(step.label, (Request(1, body, f"create({step.path!r}, flags 1)", step.path),)))
        watch = buffer(step.path) + boolean(True)
        self._play(Call(step.watcher, (Request(3, watch, f"exists({step.path!r}, True)", step.path),)))
        rows: list[list[Item]] = []
        for side in self.sides:
            link = side.links.pop(step.label, None)
            if link is None or step.watcher not in side.links:
                return
            if step.cut:
                link.close()
            # Other events may come first: what counts is that this one comes.
            answer, items = side.frame(side.links[step.watcher], 15), list[Item]()
            while isinstance(answer, Reply):
                items.append(event_item(answer, side.view))
                if items[-1][1:4] == (2, 3, step.path):
                    break
                answer = side.frame(side.links[step.watcher], 15)
            if isinstance(answer, str):
                items.append((answer,))
            if not step.cut:
                items.append((str(side.frame(link)),))
            rows.append(items)
        self._compare(step, rows[0], rows[1])

    def _same_trees(self) -> None:
        trees = [tree_of(side.port) for side in self.sides]
        for path in sorted(trees[0].keys() | trees[1].keys()):
            ends = [compared(side.view, path, tree.get(path)) for side, tree in zip(self.sides, trees, strict=True)]
            if ends[0] != ends[1]:
                step = Barrier()
                self._mismatch(step, f"tree at the end, {path!r}", [("node", ends[0])], [("node", ends[1])])
        self.nodes = len(trees[0])

    def summary(self) -> str:
        """Distinct kinds of mismatch, most frequent first."""
        rows = sorted(self.kinds.items(), key=lambda item: -item[1][0])
        lines = [
            f"{self.first.name} and {self.second.name}, seed {self.seed}: {self.count} steps, "
            f"{self.requests} requests, {self.nodes} nodes at the end, zxid {self.first.zxid:#x}; "
            f"excused: {self.excused}; {len(rows)} kinds of mismatch"
        ]
        lines += [f"{count:6d} x first at step {example.step}: {kind}" for kind, (count, example) in rows]
        return "\n".join(lines)


def kind_of(step: Step, first: list[Item], second: list[Item]) -> str:
    """What sort of mismatch this is, in words that do not name paths."""
    name = type(step).__name__
    one = two = None
    replies = -1
    for one, two in zip([*first, ("nothing",)], [*second, ("nothing",)], strict=False):
        replies += one[0] == "reply"
        if one != two:
            break
    assert one is not None
    assert two is not None
    if isinstance(step, Call):
        at = min(max(replies, 0), len(step.requests) - 1)
        name = step.requests[at].text.split("(")[0].split("[")[0]
        name += " cut" if " cut to " in step.requests[at].text else ""
    if one[0] == two[0] == "reply":
        if one[3] != two[3]:
            return f"{name}: err {one[3]} and {two[3]}"
        if one[1] != two[1]:
            return f"{name}: xid"
        if one[4] != two[4]:
            return f"{name}: body {differing(one[4], two[4])}"
        return f"{name}: zxid"
    if one[0] == two[0]:
        places = [str(at) for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b]
        return f"{name}: {one[0]} differs in {', '.join(places)}"
    return f"{name}: {one[0]} and {two[0]}"


def differing(one: object, two: object) -> str:
    """Where two bodies differ, by field."""
    if isinstance(one, tuple) and isinstance(two, tuple):
        if one[:1] == two[:1] == ("stat",):
            return "stat " + "+".join(n for n, a, b in zip(COMPARED, one, two, strict=True) if a != b)
        if len(one) != len(two):
            return f"{len(one)} and {len(two)} parts"
        return "; ".join(differing(a, b) for a, b in zip(one, two, strict=True) if a != b)
    if isinstance(one, int) and isinstance(two, int):
        return f"{one} and {two}"
    return f"{type(one).__name__} and {type(two).__name__}"


NodeFacts = tuple[bytes | None, Stat, object, tuple[str, ...]]


def tree_of(port: int) -> dict[str, NodeFacts]:
    """All nodes of a server: data, Stat, ACL, children, as a super user sees them."""
    link = Link(port)
    link.send(connect_body(0, None, 60_000))
    link.read()
    link.send(i32(-4) + i32(100) + i32(0) + buffer("digest") + buffer(":".join(SUPER)))
    link.read()
    tree: dict[str, NodeFacts] = {}
    level = ["/"]
    while level:
        below: list[str] = []
        for start in range(0, len(level), 100):
            paths = level[start : start + 100]
            for path in paths:
                link.send(
                    i32(1) + i32(4) + buffer(path) + boolean(False),
                    i32(2) + i32(6) + buffer(path),
                    i32(3) + i32(12) + buffer(path) + boolean(False),
                )
            for path in paths:
                data, acl, children = (reply(link.read() or b"") for _ in range(3))
                if data.err or acl.err or children.err:
                    raise AssertionError(f"{path!r}: {data.err}, {acl.err}, {children.err}")
                reader = Reader(data.body)
                content, stat = reader.buffer(), reader.stat()
                reader = Reader(children.body)
                names = tuple(sorted(map(str, reader.many(reader.text) or [])))
                acls = Reader(acl.body)
                tree[path] = (content, stat, acl_of(acls), names)
                below += [f"{'' if path == '/' else path}/{name}" for name in names]
        level = below
    link.send(i32(4) + i32(-11))
    with contextlib.suppress(Silent):
        link.read()
    link.close()
    return tree


def compared(view: View, path: str, facts: NodeFacts | None) -> object:
    """A node for comparison."""
    return None if facts is None else (facts[0], view.stat(facts[1], path), facts[2], facts[3])


@contextlib.contextmanager
def servers(*kinds: str) -> Iterator[list[Node]]:
    """Fresh standalone servers, set up for a comparison."""
    with Ensemble(kinds, standalone=True, extra=LINES, properties=PROPERTIES, tick_ms=TICK_MS) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        for node in ensemble.nodes:
            wait_until("a session", lambda node=node: serves(node))  # type: ignore[misc]
        yield ensemble.nodes


def serves(node: Node) -> bool:
    """Whether it is standalone on its port."""
    return node.mode() == "standalone"


def main(arguments: Sequence[str]) -> int:
    """By hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--keep-going", action="store_true")
    parser.add_argument("--without", action="append", default=[], help="leave out requests whose text holds this")
    options = parser.parse_args(arguments)
    seed, steps = int(os.environ.get("ZKTW_SEED", "1")), int(os.environ.get("ZKTW_OPS", "100000"))
    began = time.monotonic()
    with servers(options.first, options.second) as (first, second):
        comparison = Comparison(first, second, seed, keep_going=options.keep_going, without=options.without)
        comparison.run(steps)
    print(comparison.summary())
    print(f"{time.monotonic() - began:.0f} s, {HOST}")
    return 1 if comparison.kinds else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
