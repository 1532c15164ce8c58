"""A seeded workload of everything a client may send, right and wrong, for the comparison run.

It yields steps and learns from the replies of the first server (which paths exist, their versions, the zxid), so that
many requests meet something; the same seed against the same first server gives the same steps. What would harm an
Apache server is never among them: a createTTL with a flag of another kind and a negative ttl, deleteContainer and
createSession sent by a client, quota limits that are no numbers.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from rawclient import (
    CREATES,
    OPS,
    Acl,
    Text,
    acl_list,
    boolean,
    buffer,
    create_body,
    digest_id,
    i32,
    i64,
    multi_body,
    vector,
)

SUPER = ("super", "secret")
USERS = (("u1", "p1"), ("u2", "p2"))
OPEN: list[Acl] = [(31, "world", "anyone")]
TTL_MAX = (1 << 40) - 1
TTL_FLAGS = (5, 6)
WRITES = (*CREATES, 2, 5, 7, 14)
SEQUENTIAL_FLAGS = (2, 3, 6)
SESSIONS = 5
NODES_MAX = 350
TOPS = ("a", "b", "c", "d")
NAMES = ("x", "y", "z", "w-", "é", "ab")
QUOTA_ROOTS = ("/q1", "/q2", "/q1/x")
QUOTA = "/zookeeper/quota"
LIMITS = (
    "count=3,bytes=100",
    "count=-1,bytes=50",
    "count=4,bytes=-1",
    "count=-1,bytes=-1=;byteHardLimit=60;countHardLimit=-1",
    "count=2,bytes=10=;byteHardLimit=-1;countHardLimit=4",
    "count=-1,bytes=-1=;byteHardLimit=300;countHardLimit=6",
    "count=100000,bytes=1000000",
)
SPECIAL = ("/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/zookeeper/none", "/zookeeper/quota/q1", "/")
BAD_PATHS: tuple[Text, ...] = (
    "",
    "a",
    "//",
    "/a//b",
    "/a/",
    "/./x",
    "/a/.",
    "/a/../b",
    "/..",
    "/a\x00b",
    "/a\x01",
    "/a\x1f",
    "/a\x7f",
    "/a\x9f",
    "/a\ufff0",
    "/a\ue000",
    "/a\uf8ff",
    b"/a\xff\xfe",
    b"/a\xed\xa0\x80",
    b"/a\xf0\x9f\x98\x80",
    "/a\xa0",
    "/a b",
    "/a\u2028",
    "/a/b/",
    "/zookeeper/",
    "/...",
    None,
)
# Digest identities in lists, others, and lists that must be refused.
ACLS: tuple[list[Acl] | None, ...] = (
    [(1, "world", "anyone")],
    [(3, "world", "anyone"), (31, "digest", digest_id("u1", "p1"))],
    [(31, "digest", digest_id("u1", "p1"))],
    [(31, "digest", digest_id("u2", "p2")), (1, "world", "anyone")],
    [(31, "auth", "")],
    [(31, "auth", "ignored"), (1, "world", "anyone")],
    [(31, "ip", "127.0.0.1")],
    [(31, "ip", "127.0.0.0/8")],
    [(31, "ip", "10.0.0.0/8"), (1, "world", "anyone")],
    [(30, "world", "anyone")],
    [(29, "world", "anyone")],
    [(27, "world", "anyone")],
    [(23, "world", "anyone")],
    [(15, "world", "anyone")],
    [(31, "world", "anyone"), (31, "world", "anyone")],
    [(0, "world", "anyone")],
    [(64, "world", "anyone")],
    [(-1, "world", "anyone")],
    [],
    None,
    [(31, "world", "other")],
    [(31, "digest", "nocolon")],
    [(31, "digest", "a:b:c")],
    [(31, "digest", "user:x")],
    [(31, "digest", ":")],
    [(31, "ip", "127.0.0.1/33")],
    [(31, "ip", "127.0.0.1/0")],
    [(31, "ip", "not an address")],
    [(31, "ip", "1.2.3")],
    [(31, "ip", "256.1.1.1")],
    [(31, "ip", "127.0.0.1/x")],
    [(31, "ip", "127.0.0.1/8/8")],
    [(31, "nosuch", "x")],
    [(31, "super", "x")],
    [(31, "", "")],
    [(31, "world", "anyone"), (31, "nosuch", "x")],
    [(31, "world", None)],
    [(31, None, "anyone")],
)


@dataclass(frozen=True)
class Request:
    """One request of a session. ends: the server may close the connection after it, so look.

    parts: the ops of a multi or multiRead, as (op, path). path: what it is about, if there is one.
    """

    op: int
    body: bytes
    text: str
    path: str | None = None
    parts: tuple[tuple[int, str | None], ...] = ()
    ends: bool = False
    xid: int | None = None
    pipelined: bool = True


@dataclass(frozen=True)
class Call:
    """Requests of one session, sent in one write."""

    label: str
    requests: tuple[Request, ...]


@dataclass(frozen=True)
class Open:
    """A handshake. who: "new", "own" (the label's session again), "bad password", "unknown", "behind" (zxid ahead)."""

    label: str
    who: str = "new"
    timeout_ms: int = 600_000
    read_only: bool | None = False
    password: bytes | None = bytes(16)
    keep_old: bool = False


@dataclass(frozen=True)
class Raw:
    """Bytes on a connection of their own, or on the label's; the server is expected to close it."""

    label: str | None
    content: bytes
    text: str


@dataclass(frozen=True)
class Drop:
    """Cut the label's connection without a word."""

    label: str


@dataclass(frozen=True)
class Expire:
    """A session that falls silent: watcher sees its ephemeral go. cut: its connection is cut too."""

    label: str
    watcher: str
    path: str
    cut: bool


@dataclass(frozen=True)
class Barrier:
    """Ping every session, so that all events due are read."""


Step = Call | Open | Raw | Drop | Expire | Barrier


@dataclass(frozen=True)
class Profile:
    """What may be sent. legacy: one side is a 3.8.0, whose known differences are left out; pipelining: bursts."""

    legacy: bool = False
    expiries: bool = True


class Pool:
    """Paths that exist, with a random choice in constant time."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._paths: list[str] = []
        self.versions: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, path: str) -> None:
        """It exists."""
        self.versions[path] = 0
        if path not in self._at:
            self._at[path] = len(self._paths)
            self._paths.append(path)

    def drop(self, path: str) -> None:
        """It exists no more."""
        at = self._at.pop(path, None)
        self.versions.pop(path, None)
        if at is not None:
            last = self._paths.pop()
            if last != path:
                self._paths[at] = last
                self._at[last] = at

    def all(self) -> list[str]:
        """All of them."""
        return list(self._paths)

    def pick(self, rng: random.Random) -> str:
        """One of them, or / while there is none."""
        return rng.choice(self._paths) if self._paths else "/"


def show(value: Text) -> str:
    """A path or data as a person may read it, cut short."""
    return repr(value) if value is None or len(value) < 60 else f"<{len(value)} long>"


def guards_quota(path: Text) -> bool:
    """Whether what is written there must be a proper limit."""
    return isinstance(path, str) and path.endswith(("zookeeper_limits", "zookeeper_stats"))


class Workload:
    """Steps from a seed. The harness calls closed(), opened() and learned() between them."""

    def __init__(self, seed: int, profile: Profile) -> None:
        self.rng = random.Random(seed)
        self.profile = profile
        self.pool = Pool()
        self.zxid = 0
        self._labels = 0
        self._sessions: dict[str, str] = {}
        self._gone: list[str] = []
        self._queue: list[Step] = []
        self._expiries = 0
        self._table: list[tuple[int, Callable[[str], Request]]] = [
            (130, self._create),
            (70, self._delete),
            (60, self._exists),
            (80, self._get_data),
            (80, self._set_data),
            (30, self._get_acl),
            (35, self._set_acl),
            (40, self._get_children),
            (40, self._get_children2),
            (10, self._sync),
            (90, self._multi),
            (40, self._multi_read),
            (25, self._auth),
            (25, self._set_watches),
            (40, self._add_watch),
            (35, self._remove_watches),
            (10, self._get_ephemerals),
            (10, self._children_number),
            (8, self._who_am_i),
            (3, self._reconfig),
            (4, self._ping),
            (2, self._sasl),
            (4, self._bad_op),
        ]
        self._weights = [weight for weight, _ in self._table]
        self._makers = [maker for _, maker in self._table]

    def steps(self, count: int) -> Iterator[Step]:
        """About so many steps, and at the end every session connected."""
        self._new_session("adm")
        for _ in range(SESSIONS - 1):
            self._new_session(None)
        for number in range(count):
            while self._queue:
                yield self._queue.pop(0)
            if number % 25 == 24:
                yield Barrier()
            self._plan()
        yield from self._queue
        self._queue = []
        for label in sorted(self._sessions):
            if self._sessions[label] == "lost":
                yield Open(label, "own")
        yield Barrier()

    # What the harness tells.

    def closed(self, label: str, gone: bool) -> None:
        """The label's connection is closed; its session too, if gone."""
        if label not in self._sessions:
            return
        if gone:
            del self._sessions[label]
            self._gone = [*self._gone[-3:], label]
            self._new_session("adm" if label == "adm" else None)
        elif self._sessions[label] == "open":
            self._sessions[label] = "lost"
            if not any(isinstance(step, Open) and step.label == label for step in self._queue):
                self._queue.append(Open(label, "own"))
                self._greet(label)

    def opened(self, label: str) -> None:
        """The label's session is connected."""
        self._sessions[label] = "open"

    def learned(self, request: Request, err: int, value: object) -> None:
        """What the first server answered; value is the reply's body as normalised."""
        if request.op in CREATES and err == 0 and isinstance(value, tuple) and isinstance(value[0], str):
            self.pool.add(value[0])
        elif request.op == 2 and err == 0 and request.path is not None:
            self.pool.drop(request.path)
        elif request.op == 5 and err == 0 and request.path in self.pool.versions:
            self.pool.versions[request.path] += 1
        elif request.op in (3, 4, 8, 12) and err == -101 and request.path is not None:
            self.pool.drop(request.path)
        elif request.op == 14 and err == 0 and isinstance(value, tuple):
            for (op, path), result in zip(request.parts, value, strict=False):
                if not isinstance(result, tuple) or result[0] == -1:
                    continue
                if op in CREATES and isinstance(result[2], str):
                    self.pool.add(result[2])
                elif op == 2 and path is not None:
                    self.pool.drop(path)
                elif op == 5 and path in self.pool.versions:
                    self.pool.versions[path] += 1

    # Plans.

    def _new_session(self, label: str | None) -> None:
        if label is None:
            self._labels += 1
            label = f"s{self._labels}"
        self._sessions[label] = "opening"
        flags = (False, True, None, False)
        timeout = self.rng.choice((600_000, 600_000, 2**31 - 1, 450_000))
        password = self.rng.choice((bytes(16), bytes(16), b"short", None))
        self._queue.append(Open(label, "new", timeout, self.rng.choice(flags), password))
        self._greet(label)

    def _greet(self, label: str) -> None:
        if label == "adm":
            self._queue.append(Call(label, (self._auth_of("digest", ":".join(SUPER).encode()),)))

    def _plan(self) -> None:
        rng = self.rng
        open_labels = [label for label, state in self._sessions.items() if state == "open"]
        if not open_labels:
            return
        label = rng.choice(open_labels)
        chance = rng.random()
        if len(self.pool) > NODES_MAX and "adm" in open_labels:
            self._sweep()
        elif chance < 0.012:
            self._queue.extend(self._session_steps(label, open_labels))
        elif chance < 0.02:
            self._queue.extend(self._quota_steps(label))
        elif chance < 0.2:
            calls = [self._request(label) for _ in range(rng.randint(2, 12))]
            calls = [c for c in calls if c.pipelined and not c.ends and not (c.path or "").startswith(("/q", QUOTA))]
            if calls:
                self._queue.append(Call(label, tuple(calls)))
        else:
            self._queue.append(Call(label, (self._request(label),)))

    def _sweep(self) -> None:
        paths = sorted(self.pool.all(), key=lambda path: -path.count("/"))
        for start in range(0, len(paths), 50):
            batch = tuple(
                Request(2, buffer(path) + i32(-1), f"delete({path!r}, -1)", path) for path in paths[start : start + 50]
            )
            self._queue.append(Call("adm", batch))
        for path in paths:
            self.pool.drop(path)
        self._queue.append(Barrier())

    def _request(self, label: str) -> Request:
        rng = self.rng
        request = rng.choices(self._makers, self._weights)[0](label)
        cuttable = request.op not in (WRITES if self.profile.legacy else ()) and request.op not in (102, 11)
        if rng.random() < 0.02 and request.body and cuttable:
            cut = rng.randrange(len(request.body))
            text = f"{request.text} cut to {cut} of {len(request.body)} bytes"
            request = Request(request.op, request.body[:cut], text, ends=True, pipelined=False)
        elif rng.random() < 0.01 and request.op != 107:
            junk = rng.randbytes(rng.randint(1, 9))
            request = replace(request, body=request.body + junk, text=f"{request.text} + {len(junk)} bytes")
        if rng.random() < 0.01 and request.op not in (11, 100):
            xid = rng.choice((0, -2, -4, -8, -77, 2**31 - 1, 5))
            request = replace(request, xid=xid, text=f"{request.text} with xid {xid}", pipelined=False)
        return request

    def _session_steps(self, label: str, open_labels: Sequence[str]) -> Iterator[Step]:
        rng = self.rng
        kind = rng.randrange(12 if self.profile.expiries else 11)
        if kind <= 1:
            yield Call(label, (Request(-11, b"", "closeSession", ends=True),))
            yield Barrier()
        elif kind <= 3:
            yield Drop(label)
            for _ in range(rng.randrange(4)):
                others = [other for other in open_labels if other != label]
                if others:
                    other = rng.choice(others)
                    yield Call(other, (self._request(other),))
            yield Open(label, "own", rng.choice((600_000, 500_000)), rng.choice((False, True, None)))
            yield from self._greeting(label)
        elif kind == 4:
            yield Open(label, "own", keep_old=True)
            yield from self._greeting(label)
        elif kind == 5:
            # The old connection is closed though the password is wrong.
            yield Open(label, "bad password", read_only=rng.choice((False, None)), keep_old=True)
            yield Open(label, "own")
            yield from self._greeting(label)
        elif kind == 6:
            yield Open("-", "unknown", rng.choice((600_000, 0)), rng.choice((False, None)))
        elif kind == 7:
            yield Open("-", "behind")
        elif kind == 8 and self._gone:
            yield Open(self._gone[-1], "own", read_only=rng.choice((False, None)))
        elif kind == 9:
            # What it is given is compared, then it is closed at once: it might expire.
            self._labels += 1
            short = f"t{self._labels}"
            yield Open(short, "new", rng.choice((0, -1, 1, 700_000, 30_000)), None, None)
            yield Call(short, (Request(-11, b"", "closeSession", ends=True),))
        elif kind == 10:
            yield self._raw(label if rng.random() < 0.5 else None)
        elif kind == 11 and self._expiries < 12:
            self._expiries += 1
            self._labels += 1
            yield Expire(f"e{self._labels}", label, f"/gone{self._labels}", rng.random() < 0.5)
            yield Barrier()

    def _greeting(self, label: str) -> Iterator[Step]:
        if label == "adm":
            yield Call(label, (self._auth_of("digest", ":".join(SUPER).encode()),))

    def _raw(self, label: str | None) -> Raw:
        frames: tuple[tuple[bytes, str], ...] = (
            (i32(-5), "a negative length"),
            (i32(1_048_576) + bytes(100), "a length beyond the bound"),
            (i32(2**31 - 1), "the greatest length"),
            (i32(3) + b"abc", "a frame of three bytes"),
            (i32(0), "an empty frame"),
            (i32(7) + bytes(7), "a header cut short"),
        )
        content, text = self.rng.choice(frames)
        return Raw(label, content, text)

    def _quota_steps(self, label: str) -> Iterator[Step]:
        rng = self.rng
        root = rng.choice(QUOTA_ROOTS)
        limits, stats = f"{QUOTA}{root}/zookeeper_limits", f"{QUOTA}{root}/zookeeper_stats"
        choice = rng.randrange(6)
        if choice <= 2:
            above = ["/q1", "/q2", "/q1/x"] if root == "/q1/x" else [root]
            for path in [*above, *(QUOTA + path for path in above)]:
                yield Call(label, (self._create_of(1, path, b"", OPEN, 0),))
            yield Call(label, (self._create_of(1, limits, rng.choice(LIMITS), OPEN, 0),))
            yield Call(label, (self._create_of(1, stats, "count=0,bytes=0", OPEN, 0),))
        elif choice == 3:
            text = rng.choice(LIMITS)
            body = buffer(limits) + buffer(text) + i32(-1)
            yield Call(label, (Request(5, body, f"setData({limits!r}, {text!r}, -1)", limits),))
        elif choice == 4:
            gone = rng.choice((limits, stats))
            yield Call(label, (Request(2, buffer(gone) + i32(-1), f"delete({gone!r}, -1)", gone),))
        for path in (stats, limits):
            body = buffer(path) + boolean(False)
            yield Call(label, (Request(4, body, f"getData({path!r}, False)", path),))

    # Choices.

    def _path(self) -> Text:
        chance = self.rng.random()
        if chance < 0.68:
            return self.pool.pick(self.rng)
        if chance < 0.87:
            return self._name()
        if chance < 0.93:
            return self.rng.choice(SPECIAL)
        if chance < 0.95:
            return QUOTA + self.rng.choice(QUOTA_ROOTS) + self.rng.choice(("/zookeeper_stats", "/zookeeper_limits", ""))
        if chance < 0.96:
            return "/"
        bad = self.rng.choice(BAD_PATHS)
        return "/none" if bad is None and self.profile.legacy else bad

    def _name(self) -> str:
        rng = self.rng
        top = rng.choice(QUOTA_ROOTS) if rng.random() < 0.2 else "/" + rng.choice(TOPS)
        return top + "".join("/" + rng.choice(NAMES) for _ in range(rng.choice((0, 0, 1, 1, 2))))

    def _new_path(self, sequential: bool) -> Text:
        rng = self.rng
        chance = rng.random()
        if chance < 0.06:
            return self._path()
        if chance < 0.4:
            return self._name()
        if chance < 0.55:
            return "/" + rng.choice(TOPS)
        parent = self.pool.pick(rng)
        if parent.count("/") > 4:
            parent = "/" + rng.choice(TOPS)
        name = rng.choice(("s-", "", "n-") if sequential else NAMES)
        return f"{'' if parent == '/' else parent}/{name}"

    def _data(self) -> Text:
        rng = self.rng
        chance = rng.random()
        if chance < 0.04:
            return None
        if chance < 0.12:
            return b""
        if chance < 0.125:
            return rng.randbytes(rng.choice((4000, 70_000, 200_000)))
        return rng.randbytes(rng.randint(1, 60))

    def _acl(self) -> list[Acl] | None:
        rng = self.rng
        return OPEN if rng.random() < 0.72 else rng.choice(ACLS)

    def _version(self, path: Text) -> int:
        rng = self.rng
        chance = rng.random()
        if chance < 0.55:
            return -1
        if chance < 0.9 and isinstance(path, str):
            return self.pool.versions.get(path, 0)
        return rng.choice((0, 1, 7, -2, 2**31 - 1, -(2**31)))

    # Requests.

    def _create_of(self, op: int, path: Text, data: Text, acl: list[Acl] | None, flags: int, ttl: int = -1) -> Request:
        body = create_body(path, data, acl, flags, ttl if op == 21 else None)
        shown = f"{show(path)}, {show(data)}, {acl if acl != OPEN else 'OPEN'}, flags {flags}"
        text = f"{OPS[op]}({shown}{f', ttl {ttl}' if op == 21 else ''})"
        return Request(op, body, text, path if isinstance(path, str) else None)

    def _create(self, _label: str) -> Request:
        rng = self.rng
        op = rng.choices(CREATES, (40, 35, 12, 13))[0]
        flags = {1: (0, 0, 1, 2, 3), 15: (0, 0, 1, 2, 3), 19: (4, 4, 0, 2), 21: (5, 5, 6)}[op]
        flag = rng.choice(flags)
        if rng.random() < 0.06:
            flag = rng.choice((-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 127, 2**31 - 1))
        ttl = rng.choice((1, 1000, 10**9, 10**9, TTL_MAX, TTL_MAX + 1, 0, -1, -5, 2**63 - 1))
        if op == 21 and flag not in TTL_FLAGS and ttl < 0:
            ttl = 1
        path = self._new_path(flag in SEQUENTIAL_FLAGS)
        # A parent's last byte may be the suffix of the limit's name too: what lies there must be a number.
        if guards_quota(path):
            path = "/a"
        return self._create_of(op, path, self._data(), self._acl(), flag, ttl)

    def _delete(self, _label: str) -> Request:
        path: Text = self._path()
        if self.rng.random() < 0.7:
            path = max((self.pool.pick(self.rng) for _ in range(3)), key=lambda each: each.count("/"))
        version = self._version(path)
        body = buffer(path) + i32(version)
        return Request(2, body, f"delete({show(path)}, {version})", path if isinstance(path, str) else None)

    def _read_of(self, op: int, path: Text, watch: bool) -> Request:
        body = buffer(path) + boolean(watch)
        return Request(op, body, f"{OPS[op]}({show(path)}, {watch})", path if isinstance(path, str) else None)

    def _exists(self, _label: str) -> Request:
        # A 3.8.0 takes a watch where READ is lacking, and tells later.
        return self._read_of(3, self._path(), self.rng.random() < 0.35 and not self.profile.legacy)

    def _get_data(self, _label: str) -> Request:
        return self._read_of(4, self._path(), self.rng.random() < 0.3)

    def _get_children(self, _label: str) -> Request:
        return self._read_of(8, self._path(), self.rng.random() < 0.3)

    def _get_children2(self, _label: str) -> Request:
        return self._read_of(12, self._path(), self.rng.random() < 0.3)

    def _set_data(self, _label: str) -> Request:
        path = self._path()
        if guards_quota(path):
            path = "/a"
        data, version = self._data(), self._version(path)
        body = buffer(path) + buffer(data) + i32(version)
        text = f"setData({show(path)}, {show(data)}, {version})"
        return Request(5, body, text, path if isinstance(path, str) else None)

    def _get_acl(self, _label: str) -> Request:
        path = self._path()
        return Request(6, buffer(path), f"getACL({show(path)})", path if isinstance(path, str) else None)

    def _set_acl(self, _label: str) -> Request:
        path, acl = self._path(), self._acl()
        if path in ("/", "") or (isinstance(path, str) and path.startswith("/zookeeper")):
            # Who shuts these shuts out every later step.
            acl = OPEN
        version = self.rng.choice((-1, -1, -1, 0, 1, 2))
        body = buffer(path) + acl_list(acl) + i32(version)
        text = f"setACL({show(path)}, {acl}, {version})"
        # Apache judges what follows by the old list until the new one is applied: not in one write with others.
        return Request(7, body, text, path if isinstance(path, str) else None, pipelined=False)

    def _sync(self, _label: str) -> Request:
        path = self._path()
        return Request(9, buffer(path), f"sync({show(path)})")

    def _multi(self, label: str) -> Request:
        rng = self.rng
        if rng.random() < 0.03:
            return self._multi_of(14, [])
        makers = (self._create, self._create, self._delete, self._set_data, self._set_data, self._check)
        requests = [rng.choice(makers)(label) for _ in range(rng.randint(1, 5))]
        if rng.random() < 0.5:
            # These go together, so that many succeed.
            path = f"/{rng.choice(TOPS)}{rng.randrange(10)}"
            version = buffer(path) + i32(0)
            requests = [
                self._create_of(rng.choice(CREATES[:1] if self.profile.legacy else (1, 15)), path, b"m", OPEN, 0),
                Request(13, version, f"check({path!r}, 0)", path),
                Request(5, buffer(path) + buffer(b"mm") + i32(0), f"setData({path!r}, b'mm', 0)", path),
                self._create_of(1, f"{path}/s-", b"", OPEN, rng.choice((0, 2))),
                *requests[: rng.choice((0, 0, 1))],
            ][: rng.randint(1, 5)]
            if rng.random() < 0.5:
                requests.append(Request(2, buffer(path) + i32(-1), f"delete({path!r}, -1)", path))
        if rng.random() < 0.03:
            wrong = (self._get_data, self._get_children, self._exists, self._sync, self._set_acl)
            requests.insert(rng.randrange(len(requests) + 1), rng.choice(wrong)(label))
        if self.profile.legacy:
            requests = [r for r in requests if r.op not in CREATES or (r.op == 1 and 0 <= r.body[-1] <= 3 > r.body[-2])]
            requests = [r for r in requests if ", None, flags" not in r.text]
        return self._multi_of(14, requests)

    def _multi_of(self, op: int, requests: Sequence[Request]) -> Request:
        body = multi_body([(request.op, request.body) for request in requests])
        parts = tuple((request.op, request.path) for request in requests)
        quota = any((path or "").startswith(("/q", QUOTA)) for _, path in parts)
        text = f"{OPS[op]}[{'; '.join(request.text for request in requests)}]"
        return Request(op, body, text, parts=parts, pipelined=not quota)

    def _check(self, _label: str) -> Request:
        path = self._path()
        version = self._version(path)
        body = buffer(path) + i32(version)
        return Request(13, body, f"check({show(path)}, {version})", path if isinstance(path, str) else None)

    def _multi_read(self, label: str) -> Request:
        rng = self.rng
        requests = [rng.choice((self._get_data, self._get_children))(label) for _ in range(rng.randint(0, 5))]
        if rng.random() < 0.03:
            wrong = (self._delete, self._set_data, self._exists, self._get_children2)
            requests.append(rng.choice(wrong)(label))
        return self._multi_of(22, requests)

    def _auth_of(self, scheme: Text, token: bytes | None, ends: bool = False, kind: int = 0) -> Request:
        body = i32(kind) + buffer(scheme) + buffer(token)
        text = f"auth({show(scheme)}, {show(token)})"
        return Request(100, body, text, ends=ends, xid=-4, pipelined=False)

    def _auth(self, _label: str) -> Request:
        rng = self.rng
        chance = rng.random()
        if chance < 0.75:
            return self._auth_of("digest", ":".join(rng.choice(USERS)).encode())
        if chance < 0.8:
            return self._auth_of("digest", ":".join(SUPER).encode())
        if chance < 0.88:
            return self._auth_of("ip", rng.choice((b"", b"10.1.1.1")), kind=rng.choice((0, 1)))
        if chance < 0.93:
            return self._auth_of("digest", rng.choice((b"u1", b"", b":", b"a:b:c", b"\xff\xfe:x")), ends=True)
        return self._auth_of(rng.choice(("world", "auth", "nosuch", "super", "sasl", "")), b"x", ends=True)

    def _paths(self, most: int) -> list[bytes]:
        paths = [self._path() for _ in range(self.rng.randint(0, most))]
        return [buffer(path) for path in paths if path is not None or self.rng.random() < 0.1]

    def _set_watches(self, _label: str) -> Request:
        rng = self.rng
        op = rng.choice((101, 105)) if not self.profile.legacy else 101
        zxid = max(0, self.zxid - rng.choice((0, 0, 1, 5, 100, 10**6)))
        lists = [self._paths(3) for _ in range(3 if op == 101 else 5)]
        vectors = [vector(None if rng.random() < 0.01 else each) for each in lists]
        shown = ", ".join(str([each[4:].decode("utf-8", "replace") for each in one]) for one in lists)
        body = i64(zxid) + b"".join(vectors)
        return Request(op, body, f"{OPS[op]}({zxid:#x}, {shown})", xid=rng.choice((-8, None)))

    def _add_watch(self, _label: str) -> Request:
        rng = self.rng
        mode = rng.choice((0, 1)) if rng.random() < 0.93 else rng.choice((-1, 2, 3))
        path = self._path()
        if self.profile.legacy:
            # Up to 3.8 one path holds one mode: here only these paths are watched so.
            path, mode = rng.choice((("/lone0", 0), ("/lone1", 1)))
        body = buffer(path) + i32(mode)
        return Request(106, body, f"addWatch({show(path)}, {mode})")

    def _remove_watches(self, _label: str) -> Request:
        rng = self.rng
        op, path = rng.choice((17, 18)), self._path()
        kinds = (1, 2, 3) if self.profile.legacy else (1, 2, 3, 4, 5)
        kind = rng.choice(kinds) if rng.random() < 0.95 else rng.choice((0, 6, -1, 99))
        return Request(op, buffer(path) + i32(kind), f"{OPS[op]}({show(path)}, {kind})")

    def _get_ephemerals(self, _label: str) -> Request:
        prefix: Text = self.rng.choice(("/", "", " ", None, "/a", "/b/x", "/zz", "a"))
        return Request(103, buffer(prefix), f"getEphemerals({prefix!r})")

    def _children_number(self, _label: str) -> Request:
        path = self._path()
        return Request(
            104, buffer(path), f"getAllChildrenNumber({show(path)})", path if isinstance(path, str) else None
        )

    def _who_am_i(self, _label: str) -> Request:
        return Request(107, b"", "whoAmI()")

    def _reconfig(self, _label: str) -> Request:
        texts: tuple[Text, ...] = ("server.2=127.0.0.1:1:2:participant;3", "", None, "nonsense", "3")
        fields = [self.rng.choice(texts) for _ in range(3)]
        config = self.rng.choice((-1, 0, 5))
        body = b"".join(buffer(field) for field in fields) + i64(config)
        return Request(16, body, f"reconfig({fields}, {config})")

    def _ping(self, _label: str) -> Request:
        return Request(11, b"", "ping()", xid=self.rng.choice((-2, -2, 9)), pipelined=False)

    def _sasl(self, _label: str) -> Request:
        token = self.rng.choice((b"", b"token", None))
        return Request(102, buffer(token), f"sasl({token!r})", ends=True, pipelined=False)

    def _bad_op(self, _label: str) -> Request:
        ops = (-2, -1, 0, 10, 23, 99, 108, 1000, 2**31 - 1, -(2**31))
        op = self.rng.choice(ops if self.profile.legacy else (*ops, 13))
        return Request(op, buffer("/a") + i32(-1), f"op {op}", ends=True, pipelined=False)
