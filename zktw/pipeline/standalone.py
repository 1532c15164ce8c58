"""Standalone: the way of a write on a server without an ensemble: prepared, made durable, applied, answered."""

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
    encode,
    locate,
    pack_reply,
    work_out,
)
from zktw.terms.zxid import COUNTER_MAX
from zktw.tree.database import DIGEST_EVERY
from zktw.tree.node import STAT_BYTES
from zktw.wire.txn import decode_txn

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_LENGTH_MAX = 2**31 - 1


class Standalone:
    """Gives zxids. persist(zxid, payload) is told what must be on disk; on_persisted says how far it is."""

    def __init__(
        self,
        service: DataService,
        prep: PrepRequestProcessor,
        persist: Callable[[int, bytes], None],
        *,
        digest_enabled: bool = True,
    ) -> None:
        self._service = service
        self._prep = prep
        self._persist = persist
        self._digest_enabled = digest_enabled
        self._last_zxid = service.database.last_zxid
        self._in_flight: deque[SetData | tuple[Request, Proposal]] = deque()
        service.submit = self.submit
        if digest_enabled:
            service.submit_set_data = self.submit_set_data

    @property
    def in_flight(self) -> int:
        """Transactions that are not applied yet."""
        return len(self._in_flight)

    def submit(self, request: Request) -> None:
        """A write takes its place."""
        proposal = self._prep.prepare(request, self._next_zxid(), self._service.wall_ms)
        if proposal is None:
            self._service.not_readable(request)
            return
        self._last_zxid = proposal.header.zxid
        self._in_flight.append((request, proposal))
        self._persist(self._last_zxid, proposal.payload)

    def _next_zxid(self) -> int:
        """A counter of 0 is no transaction's: it begins an epoch."""
        zxid = self._last_zxid + 1
        return zxid if zxid & COUNTER_MAX else zxid + 1

    def submit_set_data(self, client: Client, session: Session, xid: int, frame: bytes) -> bool:
        """A setData takes its place, if nothing speaks against it; False: it is to go the long way."""
        located = locate(frame)
        outlook, service = self._prep.outlook, self._service
        tree = service.database.tree
        if located is None or tree.quotas.paths:
            return False
        path = located[3]
        records = outlook.records
        old = records[path] if path in records else tree.nodes.get(path)
        if old is None:
            return False
        asked = SetData()
        asked.session_id, asked.cxid, asked.frame = session.id, xid, frame
        zxid = asked.zxid = self._next_zxid()
        time = service.wall_ms
        if not work_out(asked, old, located, time):
            return False
        self._last_zxid = zxid
        outlook.hold_data(path, asked.new, asked.change)
        asked.client, asked.op, asked.unreadable, asked.since_ms = client, SET_DATA, False, service.now_ms
        payload = asked.payload = encode(asked, located[1], time, outlook.digest)
        service.wait(client, asked)
        self._in_flight.append(asked)
        self._persist(zxid, payload)
        return True

    def on_persisted(self, zxid: int) -> None:
        """All up to zxid is on disk: it happens."""
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
            commit(proposal.header, proposal.txn, request)
        self._prep.outlook.on_applied(zxid)

    def _apply_run(self, zxid: int) -> None:
        """One setData after the other, until something else comes. What belongs to a client is done once for a row."""
        in_flight, service = self._in_flight, self._service
        database, records = service.database, self._prep.outlook.records
        tree = database.tree
        nodes = tree.nodes
        # The row under way: requests of one client that came together.
        row: list[SetData] = []
        client: Client | None = None
        while in_flight:
            asked = in_flight[0]
            if not isinstance(asked, SetData) or asked.zxid > zxid:
                break
            path, old, new = asked.path, asked.old, asked.new
            if nodes.get(path) is not old or not service.watches.is_empty or tree.quotas.paths:
                if row:
                    break
                in_flight.popleft()
                if records.get(path) is new:
                    del records[path]
                self._apply_long(asked)
                return
            if row and not self._goes_on(row, asked):
                break
            in_flight.popleft()
            if records.get(path) is new:
                del records[path]
            nodes[path] = new
            tree.digest = tree.digest + asked.change & _MASK
            tree.data_bytes += len(new) - len(old)
            client = asked.client
            row.append(asked)
            if not asked.zxid % DIGEST_EVERY:
                database.digests.append((asked.zxid, tree.digest))
        if client is not None:
            database.last_zxid = row[-1].zxid
            self._answer_row(client, row)

    def _goes_on(self, row: list[SetData], asked: SetData) -> bool:
        """Whether this belongs to the row: the same client's, of the same moment, with no read between them."""
        last, waiting = row[-1], asked.client.waiting
        if asked.client is not last.client or asked.since_ms != last.since_ms:
            return False
        return not waiting or waiting[len(row)] is asked

    def _answer_row(self, client: Client, row: list[SetData]) -> None:
        service, waiting = self._service, client.waiting
        if not waiting:
            return  # its connection has ended or is about to, or another has taken its session
        out, now_ms = client.out, service.now_ms
        for asked in row:
            service.forget(waiting.popleft())
            new = asked.new
            out.append(pack_reply(REPLY_BYTES, asked.cxid, asked.zxid, 0, new[-STAT_BYTES:]))
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
        header, txn, _ = decode_txn(asked.payload, _LENGTH_MAX)
        self._service.commit(header, txn, asked)
