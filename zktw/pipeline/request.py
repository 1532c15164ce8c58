"""Request and Client: what is asked, and who asks."""

from collections import deque
from typing import Any, Protocol

from zktw.pipeline.sessions import Session
from zktw.terms.codes import ErrorCode, OpCode
from zktw.wire.records import Identity

# Writes that a client may ask for.
WRITES = frozenset(
    {
        OpCode.CREATE,
        OpCode.CREATE2,
        OpCode.CREATE_CONTAINER,
        OpCode.CREATE_TTL,
        OpCode.DELETE,
        OpCode.SET_DATA,
        OpCode.SET_ACL,
        OpCode.MULTI,
        OpCode.RECONFIG,
        OpCode.CLOSE_SESSION,
    }
)
# The last operation of a client that was not answered any yet.
UNANSWERED = 0


class Request:
    """One request whose answer is still to come. frame is the whole of it, header included."""

    __slots__ = (
        "client",
        "cxid",
        "frame",
        "identities",
        "is_pending",
        "op",
        "refusal",
        "reply_bytes",
        "session_id",
        "since_ms",
    )

    def __init__(
        self,
        client: "Client | None",
        session_id: int,
        cxid: int,
        op: int,
        frame: bytes,
        identities: tuple[Identity, ...],
        since_ms: float,
    ) -> None:
        self.client = client
        self.session_id = session_id
        self.cxid = cxid
        self.op = op
        self.frame = frame
        self.identities = identities
        self.since_ms = since_ms
        # Whether the order has still to reach it: what is behind it waits.
        self.is_pending = False
        # Where its body makes no sense: what it is answered in its turn. It changes nothing.
        self.refusal = ErrorCode.OK
        self.reply_bytes = 0


class Waiting(Protocol):
    """What is to be answered in its turn."""

    session_id: int
    cxid: int
    op: int
    frame: bytes
    since_ms: float
    refusal: ErrorCode
    is_pending: bool
    # What the reply to a read will have, about: no more are taken while these are many.
    reply_bytes: int

    @property
    def client(self) -> "Client | None":
        """Who is to be answered, if anybody."""


class Client:
    """A connection as the pipeline knows it: its session, who it is, and what it is to be told.

    Replies gather in out; whoever lets the pipeline work writes them. waiting holds, in order, requests whose turn has
    not come: writes under way, and all that came behind them.
    """

    __slots__ = (
        "closing",
        "connect",
        "dirty",
        "established_ms",
        "identities",
        "last_cxid",
        "last_op",
        "last_zxid",
        "latency_count",
        "latency_last",
        "latency_max",
        "latency_min",
        "latency_total",
        "number",
        "out",
        "out_bytes",
        "read_only",
        "responded_ms",
        "session",
        "shell",
        "waiting",
        "waiting_bytes",
        "waiting_largest",
    )

    def __init__(self, number: int, address: str, shell: Any) -> None:
        self.number = number
        # What carries it; the pipeline only hands it back.
        self.shell = shell
        self.identities: tuple[Identity, ...] = (Identity("ip", address),)
        self.session: Session | None = None
        self.out: list[bytes] = []
        self.out_bytes = 0
        self.waiting: deque[Waiting] = deque()
        # What the replies to waiting reads will have, about; and the longest request since something waits.
        self.waiting_bytes = 0
        self.waiting_largest = 0
        self.dirty = False
        # Nothing more is taken from it; the connection ends when what it was told is written.
        self.closing = False
        # Whether its handshake asked for read-only service; None where it did not speak of it.
        self.read_only: bool | None = None
        self.connect = False
        # Wall-clock time of its first frame.
        self.established_ms = 0
        self.reset_stats()
        # Before its first answer, Apache shows it so; after crst, otherwise.
        self.last_op: int | None = UNANSWERED
        self.last_cxid = self.last_zxid = 0

    def reset_stats(self) -> None:
        """What cons shows of it begins anew."""
        self.last_op = None
        self.last_cxid = -1
        self.last_zxid = -1
        self.responded_ms = 0.0
        self.latency_last = 0
        self.latency_count = 0
        self.latency_total = 0
        self.latency_min = -1
        self.latency_max = 0

    def note_answer(self, op: int | None, cxid: int, zxid: int, now_ms: float, latency_ms: int, count: int = 1) -> None:
        """A request, or so many, has been answered after so long; op is None where a write was refused."""
        self.last_op = op
        if cxid >= 0:
            self.last_cxid = cxid
        self.last_zxid = zxid
        self.responded_ms = now_ms
        self.latency_last = latency_ms
        self.latency_count += count
        if latency_ms:
            self.latency_total += latency_ms * count
            if latency_ms > self.latency_max:
                self.latency_max = latency_ms
            if self.latency_min < 0 or latency_ms < self.latency_min:
                self.latency_min = latency_ms
        else:
            self.latency_min = 0
