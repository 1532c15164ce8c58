"""Requests: bodies of what simulated clients ask, and a seeded choice among them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from zktw.node.clock import Random
from zktw.terms.codes import CreateMode, OpCode, Perm
from zktw.wire.client import MULTI_END, MULTI_HEADER
from zktw.wire.jute import put_bool, put_buffer, put_int, put_long, put_string
from zktw.wire.records import OPEN_ACL, Acl, Acls, put_acls

# Everybody on this network passes it, and it is stored under a number of its own.
NET_ACL: Acls = (Acl(Perm.ALL, "ip", "10.0.0.0/8"),)
PARENTS = ("/p0", "/p1", "/p2")
NAMES = tuple(f"n{number}" for number in range(6))
CONTAINER = "/box"


class Ask(NamedTuple):
    """A request: operation, body, the path it is about, whether it leaves a watch, and the version it expects."""

    op: int
    body: bytes
    path: str = ""
    watch: bool = False
    version: int = -1


def _path_watch(op: int, path: str, watch: bool) -> Ask:
    out = bytearray()
    put_string(out, path)
    put_bool(out, watch)
    return Ask(op, bytes(out), path, watch)


def get_data(path: str, watch: bool = False) -> Ask:
    """Data and Stat."""
    return _path_watch(OpCode.GET_DATA, path, watch)


def exists(path: str, watch: bool = False) -> Ask:
    """Stat, or that there is none."""
    return _path_watch(OpCode.EXISTS, path, watch)


def get_children(path: str, watch: bool = False) -> Ask:
    """Names and Stat."""
    return _path_watch(OpCode.GET_CHILDREN2, path, watch)


def sync(path: str) -> Ask:
    """An echo."""
    out = bytearray()
    put_string(out, path)
    return Ask(OpCode.SYNC, bytes(out), path)


def create(path: str, data: bytes, mode: int = 0, *, op: int = OpCode.CREATE2, acls: Acls = OPEN_ACL) -> Ask:
    """A node."""
    out = bytearray()
    put_string(out, path)
    put_buffer(out, data)
    put_acls(out, acls)
    put_int(out, mode)
    return Ask(op, bytes(out), path)


def delete(path: str, version: int = -1) -> Ask:
    """A node less."""
    out = bytearray()
    put_string(out, path)
    put_int(out, version)
    return Ask(OpCode.DELETE, bytes(out), path, version=version)


def check(path: str, version: int = -1) -> Ask:
    """A condition of a multi."""
    return delete(path, version)._replace(op=OpCode.CHECK)


def set_data(path: str, data: bytes, version: int = -1) -> Ask:
    """Other data."""
    out = bytearray()
    put_string(out, path)
    put_buffer(out, data)
    put_int(out, version)
    return Ask(OpCode.SET_DATA, bytes(out), path, version=version)


def set_acl(path: str, acls: Acls, version: int = -1) -> Ask:
    """Another list."""
    out = bytearray()
    put_string(out, path)
    put_acls(out, acls)
    put_int(out, version)
    return Ask(OpCode.SET_ACL, bytes(out), path)


def multi(parts: Iterable[Ask]) -> Ask:
    """All or none."""
    pieces = [MULTI_HEADER.pack(part.op, False, -1) + part.body for part in parts]
    return Ask(OpCode.MULTI, b"".join(pieces) + MULTI_END)


def set_watches(zxid: int, data: Iterable[str], exist: Iterable[str], child: Iterable[str]) -> Ask:
    """What a client that comes back wants to hear of."""
    out = bytearray()
    put_long(out, zxid)
    for paths in (list(data), list(exist), list(child)):
        put_int(out, len(paths))
        for path in paths:
            put_string(out, path)
    return Ask(OpCode.SET_WATCHES, bytes(out))


PING = Ask(OpCode.PING, b"")
CLOSE = Ask(OpCode.CLOSE_SESSION, b"")


class Choice:
    """Draws requests. versions: what the client last saw of the nodes; made: sequential nodes that it has made.

    registers are nodes that are written to one request at a time.
    """

    def __init__(self, random: Random, registers: Sequence[str] = ()) -> None:
        self.versions: dict[str, int] = {}
        self.made: list[str] = []
        self._random = random
        self._registers = registers
        self._writes = 0

    def next(self) -> Ask:
        """One request."""
        random = self._random
        draw = random.random()
        if self._registers and random.random() < 0.25:
            return self._of_register(random.choice(self._registers))
        if draw < 0.4:
            return self._read()
        if draw < 0.5:
            return multi([self._part() for _ in range(random.randint(0, 4))])
        return self._write()

    def _of_register(self, path: str) -> Ask:
        draw = self._random.random()
        if draw < 0.15:
            return get_data(path)
        if draw < 0.35:
            return create(path, self._data())
        if draw < 0.45:
            return delete(path, self._version(path))
        return set_data(path, self._data(), self._version(path))

    def _part(self) -> Ask:
        if self._random.random() < 0.2:
            path = self._path()
            return check(path, self._version(path))
        while (part := self._write()).op == OpCode.SET_ACL:
            pass
        return part

    def _path(self) -> str:
        random = self._random
        draw = random.random()
        if draw < 0.1:
            return random.choice(PARENTS)
        if draw < 0.17:
            return f"{CONTAINER}/{random.choice(NAMES[:2])}"
        if draw < 0.25 and self.made:
            return random.choice(self.made)
        return f"{random.choice(PARENTS)}/{random.choice(NAMES)}"

    def _read(self) -> Ask:
        random = self._random
        watch = random.random() < 0.4
        draw = random.random()
        if draw < 0.4:
            return get_data(self._path(), watch)
        if draw < 0.7:
            return exists(self._path(), watch)
        if draw < 0.95:
            return get_children(random.choice((*PARENTS, CONTAINER, "/")), watch)
        return sync("/")

    def _data(self) -> bytes:
        """Never the same twice."""
        self._writes += 1
        padding = self._random.choice((0, 0, 10, 100, 1000))
        return b"%d.%d" % (self._random.getrandbits(32), self._writes) + bytes(padding)

    def _version(self, path: str) -> int:
        return self.versions.get(path, 0) if self._random.random() < 0.4 else -1

    def _write(self) -> Ask:
        random = self._random
        draw = random.random()
        if draw < 0.3:
            path = self._path()
            return set_data(path, self._data(), self._version(path))
        if draw < 0.45:
            return self._delete()
        if draw < 0.6:
            mode = random.choice((CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL_SEQUENTIAL))
            return create(f"{random.choice(PARENTS)}/s-", self._data(), mode)
        if draw < 0.63:
            return set_acl(self._path(), random.choice((OPEN_ACL, NET_ACL)))
        if draw < 0.7:
            return create(CONTAINER, b"", CreateMode.CONTAINER, op=OpCode.CREATE_CONTAINER)
        mode = random.choice((CreateMode.PERSISTENT, CreateMode.EPHEMERAL))
        path = self._path()
        if path in PARENTS:
            mode = CreateMode.PERSISTENT
        return create(
            path,
            self._data(),
            mode,
            op=random.choice((OpCode.CREATE, OpCode.CREATE2)),
            acls=random.choice((OPEN_ACL, OPEN_ACL, NET_ACL)),
        )

    def _delete(self) -> Ask:
        if self.made and self._random.random() < 0.6:
            # Sequential nodes do not pile up.
            return delete(self.made.pop(self._random.randrange(len(self.made))))
        path = self._path()
        return delete(path, self._version(path))
