"""Primary: the way of a write where zxids are given, alone or as a leader: prepared, proposed, applied, answered."""

from collections import deque
from collections.abc import Callable

from zktw.pipeline.prep import PrepRequestProcessor
from zktw.pipeline.proposal import Proposal
from zktw.pipeline.request import Client, Request
from zktw.pipeline.service import DataService
from zktw.pipeline.sessions import Session
from zktw.pipeline.setdata import (
    REPLY_BYTES,
    REPLY_FRAME_BYTES,
    SET_DATA,
    SetData,
    pack_reply,
    work_out,
)
from zktw.terms.codes import ErrorCode, OpCode
from zktw.terms.zxid import COUNTER_MAX
from zktw.tree.database import DIGEST_EVERY
from zktw.tree.node import (
    DIGEST_MASK,
    STAT_BYTES,
)
from zktw.wire.txn import decode_txn

_LENGTH_MAX = 2**31 - 1
_OF_SESSIONS = (OpCode.CREATE_SESSION, OpCode.CLOSE_SESSION)


class Primary:
    """Gives zxids. propose(zxid, payload) is told what is to be agreed on; on_committed says how far it is.

    On a server alone that is agreed which is on disk. exhausted() is called when there is no next zxid: the request is
    dropped then, and so is all that follows. answers_all: what cannot be read takes a place in the order too, since a
    server that has forwarded it waits for one.
    """

    def __init__(
        self,
        service: DataService,
        prep: PrepRequestProcessor,
        propose: Callable[[int, bytes], None],
        *,
        digest_enabled: bool = True,
        exhausted: Callable[[], None] | None = None,
        answers_all: bool = False,
    ) -> None:
        self._service = service
        self._prep = prep
        self._propose = propose
        self._exhausted = exhausted
        self._answers_all = answers_all
        self._sessions = service.tracker.sessions
        self._last_zxid = service.database.last_zxid
        self._in_flight: deque[SetData | tuple[Request, Proposal]] = deque()
        service.submit = self.submit
        if digest_enabled:
            service.submit_set_data = self.submit_set_data

    @property
    def in_flight(self) -> int:
        """Transactions that are not applied yet."""
        return len(self._in_flight)

    @property
    def last_proposed(self) -> int:
        """The last zxid that was given."""
        return self._last_zxid

    def refuse_unknown(self, request: Request) -> None:
        """An operation that does not exist, from a server that waits for a transaction of it."""
        zxid = self._next_zxid()
        if zxid > 0:
            proposal = self._prep.refused(request, zxid, self._service.wall_ms, ErrorCode.UNIMPLEMENTED)
            self._last_zxid = zxid
            self._in_flight.append((request, proposal))
            self._propose(zxid, proposal.payload)

    def submit(self, request: Request) -> None:
        """A write takes its place."""
        self.submit_as(request, request.client)

    def submit_as(self, request: Request, owner: object | None) -> None:
        """The same by whoever speaks for its session; None: a server for itself."""
        zxid = self._next_zxid()
        if zxid < 0:
            return
        time = self._service.wall_ms
        refusal = self._refusal(request, owner)
        proposal = (
            self._prep.prepare(request, zxid, time)
            if refusal == ErrorCode.OK
            else self._prep.refused(request, zxid, time, refusal)
        )
        if proposal is None and self._answers_all:
            proposal = self._prep.refused(request, zxid, time, ErrorCode.MARSHALLING_ERROR)
        if proposal is None:
            self._service.not_readable(request)
            return
        self._last_zxid = zxid
        self._in_flight.append((request, proposal))
        self._propose(zxid, proposal.payload)

    def _refusal(self, request: Request, owner: object | None) -> ErrorCode:
        """Whether its session lives, and is still that of the server, or of the connection, which it has come by."""
        if owner is None or request.op in _OF_SESSIONS:
            return ErrorCode.OK
        session = self._sessions.get(request.session_id)
        local = self._service.local
        if session is None and local is not None and local.accepts(request.session_id):
            return ErrorCode.OK
        if session is None or session.closing:
            return ErrorCode.SESSION_EXPIRED
        if session.owner is None:
            session.owner = owner
        return ErrorCode.OK if session.owner == owner else ErrorCode.SESSION_MOVED

    def _next_zxid(self) -> int:
        """A counter of 0 is no transaction's: it begins an epoch. -1: in this epoch there is no other."""
        zxid = self._last_zxid + 1
        if zxid & COUNTER_MAX:
            return zxid
        if self._exhausted is None:
            return zxid + 1
        self._exhausted()
        return -1

    def submit_set_data(self, client: Client | None, session: Session, xid: int, frame: bytes) -> bool:
        """A setData takes its place, if nothing speaks against it; False: it is to go the long way."""
        service = self._service
        zxid = self._last_zxid + 1
        if service.database.tree.quotas.paths or not zxid & COUNTER_MAX:
            return False
        if client is not None and session.owner is not client:
            return False
        asked = work_out(self._prep.outlook, session.id, xid, frame, zxid, service.wall_ms)
        if asked is None:
            return False
        self._last_zxid = zxid
        asked.client, asked.since_ms = client, service.now_ms
        if client is not None:
            service.wait(client, asked)
        self._in_flight.append(asked)
        self._propose(zxid, asked.payload)
        return True

    def on_committed(self, zxid: int) -> None:
        """All up to zxid is agreed on: it happens."""
        in_flight, commit = self._in_flight, self._service.commit
        while in_flight:
            first = in_flight[0]
            if isinstance(first, SetData):
                if first.zxid > zxid:
                    break
                self._apply_run(zxid)
                continue
            request, proposal = first
            if proposal.header.zxid > zxid:
                break
            in_flight.popleft()
            commit(proposal.header, proposal.txn, request, proposal.prepared)
        self._prep.outlook.on_applied(zxid)

    def _apply_run(self, zxid: int) -> None:
        """A row of setData: requests of one client that came together, with no read between them, up to zxid."""
        in_flight, service = self._in_flight, self._service
        database, records = service.database, self._prep.outlook.records
        tree = database.tree
        nodes = tree.nodes
        is_plain = service.watches.is_empty and not tree.quotas.paths
        first = in_flight[0]
        assert isinstance(first, SetData)
        client, since_ms = first.client, first.since_ms
        waiting = client.waiting if client is not None else None
        row: list[SetData] = []
        digest, grown = tree.digest, 0
        while in_flight:
            asked = in_flight[0]
            if not isinstance(asked, SetData) or asked.zxid > zxid:
                break
            path, new = asked.path, asked.new
            if not is_plain or nodes.get(path) is not asked.old:
                if not row:
                    in_flight.popleft()
                    self._apply_long(asked)
                    return
                break
            if row and (
                asked.client is not client or asked.since_ms != since_ms or (waiting and waiting[len(row)] is not asked)
            ):
                break
            in_flight.popleft()
            if records.get(path) is new:
                del records[path]
            nodes[path] = new
            digest += asked.change
            grown += len(new) - len(asked.old)
            row.append(asked)
            if not asked.zxid % DIGEST_EVERY:
                database.digests.append((asked.zxid, digest & DIGEST_MASK))
        tree.digest = digest & DIGEST_MASK
        tree.data_bytes += grown
        database.last_zxid = row[-1].zxid
        if client is not None and waiting:
            self._answer_row(client, row)

    def _answer_row(self, client: Client, row: list[SetData]) -> None:
        service, waiting = self._service, client.waiting
        out, now_ms, forget = client.out, service.now_ms, service.forget
        for asked in row:
            forget(waiting.popleft())
            out.append(pack_reply(REPLY_BYTES, asked.cxid, asked.zxid, 0, asked.new[-STAT_BYTES:]))
        count, last = len(row), row[-1]
        client.out_bytes += REPLY_FRAME_BYTES * count
        latency_ms = int(now_ms - last.since_ms)
        service.write_latencies[latency_ms] = service.write_latencies.get(latency_ms, 0) + count
        client.note_answer(SET_DATA, last.cxid, last.zxid, now_ms, latency_ms, count)
        if not client.dirty:
            client.dirty = True
            service.dirty.append(client)
        if waiting and not isinstance(waiting[0], SetData):
            service.answer_reads(client)

    def _apply_long(self, asked: SetData) -> None:
        """As any other transaction: something has come between, or somebody wants to hear of it."""
        records = self._prep.outlook.records
        if records.get(asked.path) is asked.new:
            del records[asked.path]
        header, txn, _ = decode_txn(asked.payload, _LENGTH_MAX)
        self._service.commit(header, txn, asked)
