"""Follower: proposals and commits of an established leader, in their order (wire document, e.6). Observers too."""

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from zktw.terms.errors import ProtocolError
from zktw.terms.zxid import counter_of, epoch_of, format_zxid
from zktw.wire.txn import HEADER_BYTES, zxid_of_payload
from zktw.zab.committedlog import CommittedLog, Entry


class Outlet(Protocol):
    """What a learner works with: its own log, and its own tree."""

    def persist(self, zxid: int, payload: bytes) -> None:
        """Let our own log hold this; a follower acknowledges it once it does. WireError: it is no transaction."""

    def commit(self, entries: list[Entry]) -> None:
        """These are committed: let them happen."""


class Follower:
    """From UPTODATE on. What doubt there is ends the role: a ProtocolError, and nothing of it is logged.

    Commits gather until flush(), and then happen as one run.
    """

    def __init__(self, epoch: int, committed: CommittedLog, last_zxid: int, outlet: Outlet) -> None:
        self._epoch = epoch
        self._committed = committed
        self._outlet = outlet
        # The last one that was proposed to us.
        self.last_zxid = last_zxid
        # Logged, or on its way to the log, and not committed.
        self.in_flight: deque[Entry] = deque()
        self._run: list[Entry] = []

    def begin(self, proposals: Iterable[Entry], commits: Iterable[int]) -> None:
        """What came while we were brought up to date."""
        for zxid, payload in proposals:
            self.on_proposal(zxid, payload)
        for zxid in commits:
            self.on_commit(zxid)

    def on_proposal(self, zxid: int, payload: bytes | None) -> None:
        """The leader proposes this."""
        entry = self._checked(zxid, payload, "PROPOSAL")
        self._outlet.persist(*entry)
        self.in_flight.append(entry)

    def on_commit(self, zxid: int) -> None:
        """It is committed: the oldest proposal that is not."""
        if not self.in_flight:
            if zxid <= self._committed.last:
                return  # Apache's leaders repeat what the synchronisation had
            raise ProtocolError(f"COMMIT {format_zxid(zxid)}, and nothing is proposed")
        entry = self.in_flight[0]
        if entry[0] != zxid:
            raise ProtocolError(f"COMMIT {format_zxid(zxid)} where {format_zxid(entry[0])} is the oldest proposal")
        self.in_flight.popleft()
        self._run.append(entry)

    def on_inform(self, zxid: int, payload: bytes | None) -> None:
        """Proposed and committed as one, as observers are told."""
        entry = self._checked(zxid, payload, "INFORM")
        self._outlet.persist(*entry)
        self._run.append(entry)

    def _checked(self, zxid: int, payload: bytes | None, what: str) -> Entry:
        if payload is None or len(payload) < HEADER_BYTES:
            raise ProtocolError(f"{what} {format_zxid(zxid)} without a transaction")
        if zxid_of_payload(payload) != zxid:
            raise ProtocolError(f"{what} {format_zxid(zxid)} of transaction {format_zxid(zxid_of_payload(payload))}")
        # An old leader of Apache's leaves numbers out.
        if zxid <= self.last_zxid or epoch_of(zxid) != self._epoch or not counter_of(zxid):
            raise ProtocolError(f"{what} {format_zxid(zxid)} after {format_zxid(self.last_zxid)}")
        self.last_zxid = zxid
        return zxid, payload

    def flush(self) -> None:
        """Let happen what is committed."""
        if self._run:
            run, self._run = self._run, []
            append = self._committed.append
            for zxid, payload in run:
                append(zxid, payload)
            self._outlet.commit(run)
