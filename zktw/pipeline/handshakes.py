"""Handshakes: how clients come to a session: a new one, or one that they had before (wire document, b.2)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from zktw.pipeline.figures import LENGTH_BYTES
from zktw.pipeline.request import Client, Request
from zktw.pipeline.sessions import NO_PASSWORD, NOBODY, Session, SessionTracker, password_of
from zktw.terms.codes import OpCode
from zktw.wire.client import REQUEST_HEADER, ConnectRequest, encode_connect_response

if TYPE_CHECKING:
    from zktw.pipeline.service import DataService

_pack_header = REQUEST_HEADER.pack


class Handshakes:
    """Of one data service. Timeouts are milliseconds, and clients get what they ask for within these bounds."""

    def __init__(self, service: "DataService", timeout_min_ms: int, timeout_max_ms: int) -> None:
        self._service = service
        self._timeout_min_ms = timeout_min_ms
        self._timeout_max_ms = timeout_max_ms
        # Whether a client may go on with a session is for somebody else to say; he says it by on_revalidated.
        self.revalidate: Callable[[Client, int, int], None] | None = None

    def connect(self, client: Client, asked: ConnectRequest) -> str:
        """A client's first frame. Returns why it is turned away without an answer, or ""."""
        service = self._service
        if service.read_only and not asked.read_only:
            service.end(client)
            return "nobody leads, and it has not asked for read-only service"
        if asked.last_zxid_seen > service.database.last_zxid:
            service.end(client)
            return (
                f"it has seen zxid 0x{asked.last_zxid_seen:x}, this server only 0x{service.database.last_zxid:x};"
                " it must try another server"
            )
        client.read_only = asked.read_only
        timeout_ms = min(max(asked.timeout_ms, self._timeout_min_ms), self._timeout_max_ms)
        if service.read_only and asked.session_id in service.database.sessions:
            service.end(client)
            return f"nobody leads, and session 0x{asked.session_id & (1 << 64) - 1:x} is the ensemble's"
        if asked.session_id == 0:
            self._begin_session(client, timeout_ms)
        elif asked.password != password_of(asked.session_id):
            self._refuse(client)
        elif service.local is not None and (mine := service.local.find(asked.session_id)) is not None:
            self._resume(client, mine, timeout_ms, service.local.tracker)
        elif service.read_only:
            self._refuse(client)
        elif self.revalidate is not None:
            self._revalidate(client, asked.session_id, timeout_ms)
        else:
            # One whose beginning is not durable yet may still be lost by a crash.
            session = service.tracker.sessions.get(asked.session_id)
            known = session is not None and not session.closing and asked.session_id in service.database.sessions
            self._resume(client, session if known else None, timeout_ms, service.tracker)
        return ""

    def _begin_session(self, client: Client, timeout_ms: int) -> None:
        service = self._service
        if service.local is not None:
            self.welcome(client, service.local.begin(client, timeout_ms))
            return
        session = service.tracker.add(service.tracker.new_id(), timeout_ms, service.now_ms)
        session.owner = client
        client.session = session
        client.connect = True
        frame = _pack_header(0, OpCode.CREATE_SESSION) + timeout_ms.to_bytes(4, "big", signed=True)
        service.queue(Request(client, session.id, 0, OpCode.CREATE_SESSION, frame, client.identities, service.now_ms))

    def _revalidate(self, client: Client, session_id: int, timeout_ms: int) -> None:
        service = self._service
        known = service.tracker.sessions.get(session_id)
        if known is not None:
            # The leader is about to take us for who speaks for it: what its former connection still brings comes late.
            self._part(known)
        session = Session(session_id, timeout_ms, service.now_ms)
        client.session = session
        # What comes behind waits for the answer.
        asked = Request(client, session_id, 0, OpCode.CREATE_SESSION, b"", client.identities, service.now_ms)
        asked.is_pending = True
        service.wait(client, asked)
        assert self.revalidate is not None
        self.revalidate(client, session_id, timeout_ms)

    def on_revalidated(self, client: Client, valid: bool) -> None:
        """Whether the session with which a client has come may go on."""
        service = self._service
        provisional = client.session
        if provisional is None or client.closing:
            return  # it is gone
        client.session = None
        service.forget(client.waiting.popleft())
        session = None
        if valid:
            session = service.tracker.sessions.get(provisional.id) or service.tracker.add(
                provisional.id, provisional.timeout_ms, service.now_ms
            )
        self._resume(client, session, provisional.timeout_ms, service.tracker)
        if client.session is not None and client.waiting:
            service.answer_reads(client)

    def _resume(self, client: Client, session: Session | None, timeout_ms: int, tracker: SessionTracker) -> None:
        if session is None:
            self._refuse(client)
            return
        self._part(session)
        session.owner = client
        tracker.add(session.id, timeout_ms, self._service.now_ms)
        self.welcome(client, session)

    def _part(self, session: Session) -> None:
        """The connection that a session has here, if any, loses it and ends."""
        former, session.owner = session.owner, NOBODY
        if isinstance(former, Client):
            former.session = None
            self._service.end(former)

    def _refuse(self, client: Client) -> None:
        self._tell_connected(client, 0, 0, NO_PASSWORD)
        self._service.end(client)

    def welcome(self, client: Client, session: Session) -> None:
        """The client's session is ready."""
        client.session = session
        client.connect = False
        self._tell_connected(client, session.timeout_ms, session.id, password_of(session.id))

    def _tell_connected(self, client: Client, timeout_ms: int, session_id: int, password: bytes) -> None:
        field = None if client.read_only is None else self._service.read_only
        frame = encode_connect_response(timeout_ms, session_id, password, field)
        self._service.apart_bytes += len(frame) - LENGTH_BYTES
        self._service.tell(client, frame)
