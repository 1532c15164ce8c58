"""DataService: clients, their sessions and the database. Reads are answered here; writes are handed to submit.

Whoever lets it work (a shell) writes afterwards what the clients in `dirty` are to be told, and closes those that are
closing. Nothing is answered out of order: what comes behind a write of the same client waits for it.
"""

from collections.abc import Callable

from zktw.pipeline.auth import Authentication
from zktw.pipeline.figures import LENGTH_BYTES, WATCH_FIGURES, Figures
from zktw.pipeline.handshakes import Handshakes
from zktw.pipeline.localsessions import LocalSessions
from zktw.pipeline.reads import Reads
from zktw.pipeline.replies import reply_to
from zktw.pipeline.request import WRITES, Client, Request, Waiting
from zktw.pipeline.sessions import NOBODY, Session, SessionTracker
from zktw.pipeline.setdata import SET_DATA
from zktw.terms.codes import ErrorCode, OpCode, Perm
from zktw.terms.errors import WireError
from zktw.terms.limits import IDENTITIES_MAX
from zktw.tree.applied import Applied, Event
from zktw.tree.database import Database
from zktw.tree.prepared import PreparedCreate
from zktw.tree.watches import WatchManager
from zktw.wire.client import (
    BODY,
    REQUEST_HEADER,
    ConnectRequest,
    encode_event,
    encode_reply,
    read_auth,
)
from zktw.wire.jute import Reader
from zktw.wire.records import OPEN_ACL
from zktw.wire.txn import Txn, TxnHeader

_unpack_header = REQUEST_HEADER.unpack_from
_pack_header = REQUEST_HEADER.pack


class DataService:
    """What a server does for its clients, whatever its role; submit(request) says where writes go."""

    def __init__(
        self,
        database: Database,
        tracker: SessionTracker,
        auth: Authentication,
        figures: Figures,
        *,
        length_max: int,
        timeout_min_ms: int,
        timeout_max_ms: int,
        enforced_schemes: tuple[str, ...] | None = None,
        large_bytes: int = -1,
    ) -> None:
        self.database = database
        self.tracker = tracker
        self.watches = WatchManager()
        self.auth = auth
        self.submit: Callable[[Request], None]
        # Takes a setData that nothing speaks against; whether it did.
        self.submit_set_data: Callable[[Client | None, Session, int, bytes], bool] | None = None
        self.clients: dict[int, Client] = {}
        self.dirty: list[Client] = []
        # Requests that wait for their turn, of all clients.
        self.outstanding = 0
        # How many had their turn so far.
        self.settled = 0
        # Bytes of those that count as large (-1: none do).
        self.large_bytes = 0
        self.auth_failures = 0
        # How many requests took so many ms, since whoever looks cleared it; reads answered at once apart.
        self.reads = 0
        self.read_latencies: dict[int, int] = {}
        self.write_latencies: dict[int, int] = {}
        # Bytes of events, and of answers about sessions and identities, lengths excluded; whoever looks set it to 0.
        self.apart_bytes = 0
        self.now_ms = 0.0
        self.wall_ms = 0
        self._figures = figures
        self._length_max = length_max
        self.handshakes = Handshakes(self, timeout_min_ms, timeout_max_ms)
        # Sessions of this server alone, where there are such; only these where nobody leads.
        self.local: LocalSessions | None = None
        self.read_only = False
        self._enforced_schemes = enforced_schemes
        self._large_from = large_bytes if large_bytes >= 0 else 2**31
        self._reads = Reads(database, self.watches, auth, length_max)
        self._read_ops = frozenset(self._reads.handlers)
        # What submit() takes.
        self._writes = WRITES
        for session_id, timeout_ms in database.sessions.items():
            tracker.add(session_id, timeout_ms, tracker.deadline_ms)

    # -- connections -------------------------------------------------------------------------------------------------

    def opened(self, client: Client) -> None:
        """A connection is there."""
        client.established_ms = self.wall_ms
        self.clients[client.number] = client

    def closed(self, client: Client) -> None:
        """A connection has ended; its session waits for another, or for its end."""
        self.clients.pop(client.number, None)
        self.watches.forget(client.number)
        self._leave(client)

    def _leave(self, client: Client) -> None:
        session, client.session = client.session, None
        if session is not None and session.owner is client:
            # Not anybody who asks: what it had sent to another server before may still be under way.
            session.owner = NOBODY
        # What it still waits for happens, but nobody is told.
        while client.waiting:
            self.forget(client.waiting.popleft())

    def wait(self, client: Client, request: Waiting) -> None:
        """It is to be answered in its turn."""
        client.waiting.append(request)
        self.outstanding += 1
        client.waiting_bytes += request.reply_bytes
        if len(request.frame) > client.waiting_largest:
            client.waiting_largest = len(request.frame)
        if len(request.frame) > self._large_from:
            self.large_bytes += len(request.frame)

    def forget(self, request: Waiting) -> None:
        """It has had its turn, or will have none."""
        self.outstanding -= 1
        self.settled += 1
        client = request.client
        if client is not None:
            client.waiting_bytes -= request.reply_bytes
            if not client.waiting:
                client.waiting_largest = 0
        if len(request.frame) > self._large_from:
            self.large_bytes -= len(request.frame)

    def end(self, client: Client) -> None:
        """Take nothing more from a client; its connection ends when it has been told what it is to be told."""
        client.closing = True
        while client.waiting:
            self.forget(client.waiting.popleft())
        if not client.dirty:
            client.dirty = True
            self.dirty.append(client)

    def tell(self, client: Client, data: bytes) -> None:
        """Let a client be told this."""
        client.out.append(data)
        client.out_bytes += len(data)
        if not client.dirty:
            client.dirty = True
            self.dirty.append(client)

    def connect(self, client: Client, asked: ConnectRequest) -> str:
        """A client's first frame. Returns why it is turned away without an answer, or ""."""
        return self.handshakes.connect(client, asked)

    def learn(self, revalidate: Callable[[Client, int, int], None]) -> None:
        """Sessions are another server's to judge, and a sync is to reach it and come back."""
        self.handshakes.revalidate = revalidate
        self.forward_sync()

    def forward_sync(self) -> None:
        """A sync is not answered here: it goes where writes go."""
        self._read_ops -= {OpCode.SYNC}
        self._writes |= {OpCode.SYNC}

    def _tell_apart(self, client: Client, frame: bytes) -> None:
        self.apart_bytes += len(frame) - LENGTH_BYTES
        self.tell(client, frame)

    # -- requests ----------------------------------------------------------------------------------------------------

    def on_frame(self, client: Client, frame: bytes) -> None:
        """A request of a client that has a session. Whoever calls has checked that it is not closing.

        WireError: its connection is to be closed.
        """
        session = client.session
        if session is None or session.closing:
            return
        session.heard_ms = self.now_ms
        if len(frame) < BODY:
            raise WireError(f"a request of {len(frame)} bytes")
        xid, op = _unpack_header(frame)
        if self._enforced_schemes is not None and op not in (OpCode.AUTH, OpCode.SASL) and self._is_stranger(client):
            self.tell(client, encode_reply(xid, 0, ErrorCode.SASL_AUTH_REQUIRED))
            self.end(client)
        elif op in self._read_ops:
            if client.waiting:
                request = Request(client, session.id, xid, op, frame, client.identities, self.now_ms)
                # The write that it waits for may be one of the node that it reads.
                request.reply_bytes = self._reads.size_of(op, frame) + client.waiting_largest
                self.wait(client, request)
            else:
                self.tell(client, self._reads.answer(client, op, xid, frame))
                client.note_answer(op, xid, self.database.last_zxid, self.now_ms, 0)
                self.reads += 1
        elif op == SET_DATA and self.submit_set_data is not None and self.submit_set_data(client, session, xid, frame):
            return
        elif op in self._writes:
            self.queue(Request(client, session.id, xid, op, frame, client.identities, self.now_ms))
        elif op == OpCode.AUTH:
            self._authenticate(client, xid, frame)
        elif op == OpCode.SASL:
            # Without a configuration for it: a token that is null, as Apache answers.
            if Reader(frame[BODY:], self._length_max).buffer() is None:
                raise WireError("a null token")
            self.tell(client, encode_reply(xid, 0, 0, b"\xff\xff\xff\xff"))
        else:
            self._queue_unknown(client, session, xid, op, frame)

    def queue(self, request: Request) -> None:
        """A write is on its way; what comes behind it from the same client waits for it."""
        if self.local is not None and self.local.takes(request):
            return
        if request.op == OpCode.CLOSE_SESSION:
            session = self.tracker.sessions.get(request.session_id)
            if session is not None:
                session.closing = True
        request.is_pending = True
        if request.client is not None:
            self.wait(request.client, request)
        self.submit(request)

    def _queue_unknown(self, client: Client, session: Session, xid: int, op: int, frame: bytes) -> None:
        """An operation that does not exist is answered in its turn, and ends the connection."""
        if client.waiting:
            self.wait(client, Request(client, session.id, xid, op, frame, client.identities, self.now_ms))
            return
        self.tell(client, encode_reply(xid, -1, ErrorCode.UNIMPLEMENTED))
        self.end(client)

    def _is_stranger(self, client: Client) -> bool:
        schemes = self._enforced_schemes or ()
        return not any(identity.scheme in schemes for identity in client.identities)

    def _authenticate(self, client: Client, xid: int, frame: bytes) -> None:
        """Never queued: what comes behind it is judged by what it brought."""
        reader = Reader(frame, self._length_max)
        reader.offset = BODY
        packet = read_auth(reader)
        identities = self.auth.authenticate(packet.scheme, packet.auth, client.identities)
        if identities is None or len(identities) > IDENTITIES_MAX:
            self.auth_failures += 1
            self._tell_apart(client, encode_reply(xid, 0, ErrorCode.AUTH_FAILED))
            self.end(client)
            return
        client.identities = identities
        self._tell_apart(client, encode_reply(xid, 0, 0))

    def not_readable(self, request: Request, code: ErrorCode = ErrorCode.MARSHALLING_ERROR) -> None:
        """A write that takes no place in the order, since nobody can read it: it is answered in its turn."""
        request.refusal = code
        self.released(request)

    def released(self, request: Request) -> None:
        """The order has reached what takes no place in it: it is answered in its turn."""
        request.is_pending = False
        if request.client is not None and request.client.waiting and request.client.waiting[0] is request:
            self.answer_reads(request.client)

    # -- transactions ------------------------------------------------------------------------------------------------

    def commit(
        self, header: TxnHeader, txn: Txn, request: Waiting | None, prepared: PreparedCreate | None = None
    ) -> Applied:
        """Apply the next transaction; watchers hear of it before anybody is answered."""
        applied = self.database.apply(header, txn, prepared)
        events = self.database.tree.take_events()
        if events and not self.watches.is_empty:
            self._deliver(events, header.zxid)
        if header.type == OpCode.CREATE_SESSION and request is None:
            self.tracker.add(header.client_id, self.database.sessions[header.client_id], self.now_ms)
        elif header.type == OpCode.CLOSE_SESSION:
            self._end_session(header.client_id, request)
        if request is not None and request.client is not None:
            self._answer(request.client, request, applied)
        return applied

    def _deliver(self, events: list[Event], zxid: int) -> None:
        trigger, clients = self.watches.trigger, self.clients
        for type_, path, acls in events:
            watchers = trigger(type_, path)
            if not watchers:
                continue
            self._figures.add(WATCH_FIGURES[type_], len(watchers))
            frame = encode_event(type_, path, zxid)
            is_open = acls == OPEN_ACL
            told = 0
            for number in watchers:
                client = clients[number]
                if is_open or self.auth.allows(acls, Perm.READ, client.identities):
                    self.tell(client, frame)
                    told += 1
            size = told * (len(frame) - LENGTH_BYTES)
            self.apart_bytes += size
            self._figures.count("watch_bytes", size)

    def _end_session(self, session_id: int, request: Waiting | None) -> None:
        session = self.tracker.remove(session_id)
        owner = session.owner if session is not None else None
        if request is None or request.client is not owner:
            self.let_go(owner)

    def let_go(self, owner: object | None) -> None:
        """The session of this client has expired: its connection ends without a word."""
        if isinstance(owner, Client):
            owner.out.clear()
            owner.out_bytes = 0
            owner.session = None
            self.end(owner)

    def _answer(self, client: Client, request: Waiting, applied: Applied) -> None:
        waiting = client.waiting
        if not waiting:
            return  # its connection has ended or is about to, or another has taken its session
        assert waiting[0] is request
        self.forget(waiting.popleft())
        if client.session is None:
            return
        latency_ms = int(self.now_ms - request.since_ms)
        # As Apache has it: of a write that was refused the operation is not kept.
        op = None if applied.err else request.op
        client.note_answer(op, request.cxid, self.database.last_zxid, self.now_ms, latency_ms)
        self.write_latencies[latency_ms] = self.write_latencies.get(latency_ms, 0) + 1
        if request.op == OpCode.CREATE_SESSION:
            self.handshakes.welcome(client, client.session)
        elif applied.err == ErrorCode.SESSION_MOVED:
            # Another server speaks for its session: it is not told, it would try again here.
            self.end(client)
        else:
            self.tell(client, reply_to(request, applied, self.database.last_zxid))
            if request.op == OpCode.CLOSE_SESSION:
                self.end(client)
        if waiting:
            self.answer_reads(client)

    def answer_reads(self, client: Client) -> None:
        """Reads that waited for a write, up to the next write."""
        waiting = client.waiting
        while waiting and not client.closing:
            request = waiting[0]
            if request.is_pending:
                return
            self.forget(waiting.popleft())
            if request.refusal:
                self.tell(client, encode_reply(request.cxid, self.database.last_zxid, request.refusal))
            elif request.op == OpCode.CLOSE_SESSION and self.local is not None:
                self.local.close(request.session_id)
                self.tell(client, encode_reply(request.cxid, self.database.last_zxid, 0))
                self.end(client)
            elif request.op in self._reads.handlers:
                self.tell(client, self._reads.answer(client, request.op, request.cxid, request.frame))
                latency_ms = int(self.now_ms - request.since_ms)
                client.note_answer(request.op, request.cxid, self.database.last_zxid, self.now_ms, latency_ms)
                self.read_latencies[latency_ms] = self.read_latencies.get(latency_ms, 0) + 1
            else:
                self.tell(client, encode_reply(request.cxid, -1, ErrorCode.UNIMPLEMENTED))
                self.end(client)

    # -- time --------------------------------------------------------------------------------------------------------

    @property
    def deadline_ms(self) -> float:
        """When on_clock is to be called."""
        return self.tracker.deadline_ms

    def on_clock(self) -> list[Session]:
        """Sessions that have expired are on their way to their end."""
        expired = self.tracker.on_clock(self.now_ms)
        for session in expired:
            self.close_session(session.id)
        return expired

    def close_session(self, session_id: int) -> None:
        """Let a session end, as its expiry would."""
        frame = _pack_header(0, OpCode.CLOSE_SESSION)
        self.queue(Request(None, session_id, 0, OpCode.CLOSE_SESSION, frame, (), self.now_ms))

    def reap(self, never_used_ms: int, count_max: int) -> list[str]:
        """Containers that have lost their last child, and nodes whose time to live is over, are on their way out."""
        paths = list(self.database.tree.due(self.wall_ms, never_used_ms, count_max))
        for path in paths:
            frame = _pack_header(0, OpCode.DELETE_CONTAINER) + path.encode("utf-8")
            self.queue(Request(None, 0, 0, OpCode.DELETE_CONTAINER, frame, (), self.now_ms))
        return paths
