"""CnxnCheckers: what may pass over one client's connection, held against the model, as the server writes it."""

from collections import deque
from typing import NamedTuple, Protocol

from zktw.sim.history import Entry
from zktw.sim.model import Model
from zktw.terms.codes import ErrorCode, EventType, OpCode
from zktw.wire.client import (
    BODY,
    NOTIFICATION_XID,
    ConnectRequest,
    read_create,
    read_multi,
    read_path_version,
    read_set_acl,
    read_set_data,
    read_set_watches,
)
from zktw.wire.framing import FrameSplitter
from zktw.wire.jute import Reader
from zktw.wire.records import STAT, Stat
from zktw.wire.txn import CreateTxn, ErrorTxn, MultiTxn, Txn

LENGTH_MAX = 1 << 24
WRITES = frozenset(
    {
        OpCode.CREATE,
        OpCode.CREATE2,
        OpCode.CREATE_CONTAINER,
        OpCode.DELETE,
        OpCode.SET_DATA,
        OpCode.SET_ACL,
        OpCode.MULTI,
        OpCode.CLOSE_SESSION,
    }
)
NO_ZXID = -1


class Asked(NamedTuple):
    """A request as it was sent."""

    xid: int
    op: int
    what: object

    @classmethod
    def decode(cls, frame: bytes) -> "Asked":
        """Read one."""
        reader = Reader(frame, LENGTH_MAX)
        xid, op = reader.i32(), reader.i32()
        match op:
            case OpCode.CREATE | OpCode.CREATE2 | OpCode.CREATE_CONTAINER:
                return cls(xid, op, read_create(reader, op))
            case OpCode.DELETE:
                return cls(xid, op, read_path_version(reader))
            case OpCode.SET_DATA:
                return cls(xid, op, read_set_data(reader))
            case OpCode.SET_ACL:
                return cls(xid, op, read_set_acl(reader))
            case OpCode.MULTI:
                return cls(xid, op, read_multi(reader))
            case OpCode.SET_WATCHES:
                return cls(xid, op, read_set_watches(reader, op))
            case OpCode.GET_DATA | OpCode.EXISTS | OpCode.GET_CHILDREN2:
                return cls(xid, op, (reader.string() or "", reader.flag()))
        return cls(xid, op, frame[BODY:])


class Whole(Protocol):
    """What is checked across connections."""

    model: Model

    @property
    def last_zxid(self) -> int:
        """The last that is certain: no crash can undo it."""

    def entry(self, zxid: int) -> Entry | None:
        """The transaction of a zxid, as long as it is certain."""

    def fail(self, reason: str) -> None:
        """An invariant does not hold."""

    def on_asked(self, session_id: int, asked: Asked) -> None:
        """A session asks for something."""

    def on_welcome(self, cnxn: "CnxnCheckers", session_id: int, timeout_ms: int) -> None:
        """A connection was given this session; a timeout of 0: it was told that it has none."""

    def count(self, event: bool) -> None:
        """Something was told: an event, or a reply."""

    def on_write_acknowledged(self, cnxn: "CnxnCheckers", asked: Asked, zxid: int) -> None:
        """A write is answered with its zxid."""

    def on_read_answered(self, cnxn: "CnxnCheckers", asked: Asked, zxid: int) -> None:
        """Anything else is, with the zxid that the server is at."""

    def check_sequence(self, path: str, zxid: int) -> None:
        """A sequential node was acknowledged."""


class CnxnCheckers:
    """One connection: its requests, and what is answered."""

    def __init__(self, whole: Whole, number: int, host: str) -> None:
        self.number = number
        self.host = host
        self.asked: ConnectRequest | None = None
        self.session_id = 0
        # When something last came to the server on it, in the world's seconds.
        self.arrived_s = 0.0
        self._whole = whole
        self._in = FrameSplitter(0, LENGTH_MAX)
        self._out = FrameSplitter(0, LENGTH_MAX)
        self._welcomed = False
        self._waiting: deque[Asked] = deque()
        # The greatest zxid that the client has been told, on this connection or before.
        self._seen = 0
        self._replied = 0
        # Standard watches: since which zxid.
        self._data: dict[str, int] = {}
        self._child: dict[str, int] = {}
        self._caught_up: list[tuple[int, str]] = []

    def _fail(self, reason: str) -> None:
        self._whole.fail(f"{reason} (client {self.host}, session 0x{self.session_id:x})")

    def on_request_bytes(self, data: bytes) -> None:
        """The client sends."""
        for frame in self._in.feed(data):
            if self.asked is None:
                self.asked = ConnectRequest.decode(frame)
                self._seen = self.asked.last_zxid_seen
                continue
            asked = Asked.decode(frame)
            self._waiting.append(asked)
            self._whole.on_asked(self.session_id, asked)

    def on_reply_bytes(self, data: bytes) -> None:
        """The server writes; all that is durable by now is known to the model."""
        for frame in self._out.feed(data):
            if not self._welcomed:
                self._on_welcome(Reader(frame, LENGTH_MAX))
                continue
            reader = Reader(frame, LENGTH_MAX)
            xid, zxid, err = reader.i32(), reader.i64(), reader.i32()
            self._whole.count(xid == NOTIFICATION_XID)
            if xid == NOTIFICATION_XID:
                type_, _, path = reader.i32(), reader.i32(), reader.string() or ""
                self.check_event(type_, path, zxid)
            else:
                self._on_reply(xid, zxid, err, reader)

    def _on_welcome(self, reader: Reader) -> None:
        self._welcomed = True
        reader.i32()
        timeout_ms, session_id = reader.i32(), reader.i64()
        self.session_id = session_id
        self.check_not_behind()
        self._whole.on_welcome(self, session_id, timeout_ms)

    def check_not_behind(self) -> None:
        """C1: nobody is served by a server that has less than he has seen."""
        if self._seen > self._whole.last_zxid:
            self._fail(
                f"C1: served though it has seen 0x{self._seen:x}, and 0x{self._whole.last_zxid:x} is all there is"
            )

    # -- replies -----------------------------------------------------------------------------------------------------

    def _on_reply(self, xid: int, zxid: int, err: int, reader: Reader) -> None:
        asked = self.check_order(xid)
        if asked is None:
            return
        self.check_durable(zxid)
        self.check_zxid(zxid)
        if self._whole.last_zxid < zxid:
            return
        if asked.op == OpCode.SET_WATCHES:
            self.check_set_watches(asked, zxid)
            return
        self.check_watches(zxid)
        if asked.op in WRITES:
            self.check_write(asked, zxid, err, reader)
            return
        self._whole.on_read_answered(self, asked, zxid)
        if isinstance(asked.what, tuple):
            path, watch = asked.what
            self.check_read(asked.op, path, zxid, err, reader)
            if watch:
                self._note_watch(asked.op, path, zxid, err)

    def check_order(self, xid: int) -> Asked | None:
        """C1: replies come in the order of requests."""
        asked = self._waiting.popleft() if self._waiting else None
        if asked is None or asked.xid != xid:
            self._fail(f"C1: xid {xid} is answered where it was {asked}'s turn")
            return None
        return asked

    def check_durable(self, zxid: int) -> None:
        """Nothing is told that a power cut at this moment would undo."""
        if zxid > self._whole.last_zxid:
            self._fail(f"durable: 0x{zxid:x} is told, and the disk holds 0x{self._whole.last_zxid:x} for certain")

    def check_zxid(self, zxid: int) -> None:
        """C1: the zxid that a client sees never goes back."""
        if zxid < self._seen:
            self._fail(f"C1: zxid 0x{zxid:x} is told after 0x{self._seen:x}")
        self._seen = max(self._seen, zxid)
        self._replied = zxid

    def check_write(self, asked: Asked, zxid: int, err: int, reader: Reader) -> None:
        """An acknowledged write is the transaction of its zxid, and the reply says what that has done."""
        entry = self._whole.entry(zxid)
        if entry is None:
            self._fail(f"write: xid {asked.xid} is acknowledged as 0x{zxid:x}, which is no transaction")
            return
        header, txn = entry
        self._whole.on_write_acknowledged(self, asked, zxid)
        if (header.client_id, header.cxid) != (self.session_id, asked.xid):
            self._fail(
                f"write: xid {asked.xid} is acknowledged as 0x{zxid:x}, which is xid {header.cxid} of"
                f" 0x{header.client_id:x}"
            )
            return
        wanted = txn.err if isinstance(txn, ErrorTxn) else 0
        if err != wanted:
            self._fail(f"write: error {err} is told of {asked}, which became {txn}")
        elif isinstance(txn, MultiTxn):
            self._check_parts(txn, reader)
        elif not err:
            self._check_result(asked, txn, zxid, reader)

    def _check_result(self, asked: Asked, txn: Txn, zxid: int, reader: Reader) -> None:
        path = str(getattr(txn, "path", ""))
        if isinstance(txn, CreateTxn):
            told = reader.string()
            if told != path:
                self._fail(f"write: {told} is told, and {path} was made")
            if path != getattr(asked.what, "path", path):
                self._whole.check_sequence(path, zxid)
        if asked.op in (OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.SET_DATA, OpCode.SET_ACL):
            self._check_stat(path, zxid, reader)

    def _check_parts(self, txn: MultiTxn, reader: Reader) -> None:
        """All or none: of a failed multi each part has an error, of another none has."""
        failed = any(isinstance(part, ErrorTxn) for _, part in txn.txns)
        for _, part in txn.txns:
            type_, _, err = reader.i32(), reader.flag(), reader.i32()
            wanted = part.err if isinstance(part, ErrorTxn) else 0
            if err != wanted or (type_ == OpCode.ERROR) != failed:
                self._fail(f"multi: type {type_} and error {err} are told of {part} in {txn}")
                return
            self._skip_part(type_, reader)
        if reader.i32() != OpCode.ERROR or not reader.flag():
            self._fail(f"multi: the results of {txn} do not end with its last part")

    def _skip_part(self, type_: int, reader: Reader) -> None:
        if type_ == OpCode.ERROR:
            reader.i32()
        elif type_ in (OpCode.CREATE, OpCode.CREATE2):
            reader.string()
        if type_ in (OpCode.CREATE2, OpCode.SET_DATA):
            self._stat(reader)

    def _stat(self, reader: Reader) -> Stat:
        return Stat._make([reader.i64() if kind == "q" else reader.i32() for kind in STAT.format.lstrip(">")])

    def check_read(self, op: int, path: str, zxid: int, err: int, reader: Reader) -> None:
        """A read shows the tree of the zxid that it tells: all that was acknowledged, and nothing else."""
        node = self._whole.model.at(path, zxid)
        if node is None or err:
            if node is not None or err != ErrorCode.NO_NODE:
                self._fail(f"read: error {err} is told of {path} at 0x{zxid:x}, which is {node}")
            return
        if op == OpCode.GET_DATA:
            data = reader.buffer()
            if data != node.data:
                self._fail(f"read: {path} has {data!r} at 0x{zxid:x}, not {node.data!r}")
        elif op == OpCode.GET_CHILDREN2:
            names = [reader.string() for _ in range(reader.i32())]
            if set(names) != node.children or len(names) != len(node.children):
                self._fail(
                    f"read: {path} has children {sorted(map(str, names))} at 0x{zxid:x}, not {sorted(node.children)}"
                )
        self._check_stat(path, zxid, reader)

    def _check_stat(self, path: str, zxid: int, reader: Reader) -> None:
        node = self._whole.model.at(path, zxid)
        stat = self._stat(reader)
        if node is None:
            self._fail(f"read: {path} has a Stat at 0x{zxid:x}, and is not there")
        elif wrong := node.differs(stat):
            self._fail(f"read: the Stat of {path} at 0x{zxid:x}: {wrong}")

    # -- watches -----------------------------------------------------------------------------------------------------

    def _note_watch(self, op: int, path: str, zxid: int, err: int) -> None:
        if op == OpCode.GET_CHILDREN2:
            if not err:
                self._child[path] = zxid
        elif not err or op == OpCode.EXISTS:
            self._data[path] = zxid

    def check_watches(self, zxid: int) -> None:
        """C1: an event comes before any reply that could show its effect; and it comes."""
        for children, watches in ((False, self._data), (True, self._child)):
            for path, since in watches.items():
                fired = self._whole.model.fired_between(path, children, since, zxid)
                if fired:
                    kind = "children" if children else "data"
                    self._fail(
                        f"watch: 0x{zxid:x} is told before the event of 0x{fired:x} for the {kind} watch of {path},"
                        f" set at 0x{since:x}"
                    )
                    return

    def check_event(self, type_: int, path: str, zxid: int) -> None:
        """An event is due: there is a watch that has not fired, and a transaction that fires it."""
        if zxid == NO_ZXID:
            self._caught_up.append((type_, path))
            return
        self.check_durable(zxid)
        if zxid <= self._replied:
            self._fail(f"watch: the event of 0x{zxid:x} for {path} comes after a reply of 0x{self._replied:x}")
        if (type_, path) not in self._whole.model.events.get(zxid, ()):
            self._fail(f"watch: event {type_} of {path} at 0x{zxid:x}, whose events are others")
        found = type_ != EventType.NODE_CHILDREN_CHANGED and self._data.pop(path, None) is not None
        if type_ in (EventType.NODE_CHILDREN_CHANGED, EventType.NODE_DELETED):
            found = self._child.pop(path, None) is not None or found
        if not found:
            self._fail(f"watch: event {type_} of {path} at 0x{zxid:x} without a watch: a standard watch fires once")

    def check_set_watches(self, asked: Asked, zxid: int) -> None:
        """Whoever comes back is told at once of what has happened meanwhile, and of the rest when it happens."""
        told, self._caught_up = self._caught_up, []
        wanted: list[tuple[int, str]] = []
        at = self._whole.model.at
        relative, data, exist, child, *_ = asked.what if isinstance(asked.what, tuple) else ()
        self.check_watches(zxid)
        for path in data:
            node = at(path, zxid)
            if node is None:
                wanted.append((EventType.NODE_DELETED, path))
            elif node.mzxid > relative:
                wanted.append((EventType.NODE_DATA_CHANGED, path))
            else:
                self._data[path] = zxid
        for path in exist:
            if at(path, zxid) is None:
                self._data[path] = zxid
            else:
                wanted.append((EventType.NODE_CREATED, path))
        for path in child:
            node = at(path, zxid)
            if node is None:
                wanted.append((EventType.NODE_DELETED, path))
            elif node.pzxid > relative:
                wanted.append((EventType.NODE_CHILDREN_CHANGED, path))
            else:
                self._child[path] = zxid
        if told != wanted:
            self._fail(f"watch: who comes back from 0x{relative:x} at 0x{zxid:x} is told {told}, not {wanted}")
