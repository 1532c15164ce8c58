"""LocalSessions: sessions that live on one server only, neither agreed on nor logged (wire document, e.9)."""

import struct
from typing import TYPE_CHECKING

from zktw.pipeline.request import Client, Request
from zktw.pipeline.sessions import Session, SessionTracker
from zktw.terms.codes import CreateMode, ErrorCode, OpCode
from zktw.terms.errors import WireError
from zktw.wire.client import BODY, REQUEST_HEADER, CreateRequest, NullListError, read_create, read_multi
from zktw.wire.jute import Reader

if TYPE_CHECKING:
    from zktw.pipeline.service import DataService

_CREATES = (OpCode.CREATE, OpCode.CREATE2)
_EPHEMERAL_MODES = (CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL)


class LocalSessions:
    """Of one data service, with a clock of its own, which learners keep as well.

    upgrades: a session that wants an ephemeral becomes one of the whole ensemble first; else it is refused that.
    length_max bounds a field of a request, in bytes.
    """

    def __init__(
        self, service: "DataService", tracker: SessionTracker, my_sid: int, length_max: int, *, upgrades: bool
    ) -> None:
        self.tracker = tracker
        self._service = service
        self._my_sid = my_sid
        self._length_max = length_max
        self._upgrades = upgrades

    def begin(self, client: Client, timeout_ms: int) -> Session:
        """A new session of this client."""
        service = self._service
        session = self.tracker.add(service.tracker.new_id(), timeout_ms, service.now_ms)
        session.owner = client
        return session

    def find(self, session_id: int) -> Session | None:
        """The session of this number, if it lives here."""
        session = self.tracker.sessions.get(session_id)
        return None if session is None or session.closing else session

    def accepts(self, session_id: int) -> bool:
        """Whether a session that the ensemble does not know may write: one of ours, or another server's own.

        Whether that one lives is for that server to know; of our own we would know ourselves.
        """
        return self.find(session_id) is not None or (session_id >> 56) & 0xFF != self._my_sid & 0xFF

    def takes(self, request: Request) -> bool:
        """A write of a client, before it goes its way. True: it goes none, and is answered in its turn."""
        session, client = self.find(request.session_id), request.client
        if session is None or client is None:
            return False
        if request.op == OpCode.CLOSE_SESSION:
            session.closing = True
            self._service.wait(client, request)
            self._service.released(request)
            return True
        if self._service.read_only or not self._makes_ephemeral(request):
            return False
        if self._upgrades:
            self._upgrade(session)
        elif request.op != OpCode.MULTI:
            # Of a multi the answer says more: whoever gives zxids makes it.
            self._service.wait(client, request)
            self._service.not_readable(request, ErrorCode.EPHEMERAL_ON_LOCAL_SESSION)
            return True
        return False

    def _makes_ephemeral(self, request: Request) -> bool:
        reader = Reader(request.frame, self._length_max)
        reader.offset = BODY
        try:
            if request.op in _CREATES:
                return read_create(reader, request.op).flags in _EPHEMERAL_MODES
            parts = read_multi(reader) if request.op == OpCode.MULTI else []
        except (WireError, NullListError, struct.error, IndexError):
            return False  # it is refused where such requests are
        return any(
            isinstance(asked, CreateRequest) and op in _CREATES and asked.flags in _EPHEMERAL_MODES
            for op, asked in parts
        )

    def _upgrade(self, session: Session) -> None:
        """It is one of the ensemble's from now on; that the ensemble hears of it goes before what it asks."""
        service = self._service
        self.tracker.remove(session.id)
        service.tracker.adopt(session)
        frame = REQUEST_HEADER.pack(0, OpCode.CREATE_SESSION) + session.timeout_ms.to_bytes(4, "big")
        service.queue(Request(None, session.id, 0, OpCode.CREATE_SESSION, frame, (), service.now_ms))

    def close(self, session_id: int) -> None:
        """Its client has said good-bye, and is answered."""
        self.tracker.remove(session_id)

    @property
    def deadline_ms(self) -> float:
        """When on_clock is to be called."""
        return self.tracker.deadline_ms

    def on_clock(self) -> list[Session]:
        """Sessions that have expired, and are gone."""
        expired = self.tracker.on_clock(self._service.now_ms)
        for session in expired:
            self.tracker.remove(session.id)
            self._service.let_go(session.owner)
        return expired
