"""Standalone: the way of a write on a server without an ensemble: prepared, made durable, applied, answered."""

from collections import deque
from collections.abc import Callable

from zktw.pipeline.prep import PrepRequestProcessor
from zktw.pipeline.proposal import Proposal
from zktw.pipeline.request import Request
from zktw.pipeline.service import DataService


class Standalone:
    """Gives zxids. persist(zxid, payload) is told what must be on disk; on_persisted says how far it is."""

    def __init__(self, service: DataService, prep: PrepRequestProcessor, persist: Callable[[int, bytes], None]) -> None:
        self._service = service
        self._prep = prep
        self._persist = persist
        self._last_zxid = service.database.last_zxid
        self._in_flight: deque[tuple[Request, Proposal]] = deque()
        service.submit = self.submit

    @property
    def in_flight(self) -> int:
        """Transactions that are not applied yet."""
        return len(self._in_flight)

    def submit(self, request: Request) -> None:
        """A write takes its place."""
        proposal = self._prep.prepare(request, self._last_zxid + 1, self._service.wall_ms)
        if proposal is None:
            self._service.not_readable(request)
            return
        self._last_zxid += 1
        self._in_flight.append((request, proposal))
        self._persist(self._last_zxid, proposal.payload)

    def on_persisted(self, zxid: int) -> None:
        """All up to zxid is on disk: it happens."""
        in_flight, commit = self._in_flight, self._service.commit
        while in_flight and in_flight[0][1].header.zxid <= zxid:
            request, proposal = in_flight.popleft()
            commit(proposal.header, proposal.txn, request, proposal.changes)
        self._prep.outlook.on_applied(zxid)
