"""RemoteRequests: what a leader does for the clients of its learners (wire document, e.1, e.6)."""

import struct
from collections.abc import Callable

from zktw.pipeline.primary import Primary
from zktw.pipeline.request import WRITES, Request
from zktw.pipeline.service import DataService
from zktw.pipeline.setdata import SET_DATA
from zktw.terms.codes import OpCode, PacketType
from zktw.terms.errors import WireError
from zktw.wire.client import BODY, REQUEST_HEADER
from zktw.wire.peers import QuorumPacket, encode_bare, encode_packet
from zktw.wire.records import Identity

_SESSION = struct.Struct(">qi")
_VALIDITY = struct.Struct(">q?")
_ID_BYTES = 8
_SYNC = encode_bare(PacketType.SYNC, 0)
_unpack_id = struct.Struct(">q").unpack_from
_unpack_header = REQUEST_HEADER.unpack_from
_unpack_int = struct.Struct(">i").unpack_from


class RemoteRequests:
    """Learners by the number of their connection, which owns the sessions of its clients.

    answer(connection, packet) tells it in its place of the order: when all that was proposed before is committed.
    """

    def __init__(self, service: DataService, primary: Primary, answer: Callable[[int, bytes], None]) -> None:
        self._service = service
        self._primary = primary
        self._sessions = service.tracker.sessions
        self._answer = answer
        # We are about to stop: the next leader is asked by whoever still wants something.
        self.is_deaf = False

    def on_request(self, connection: int, packet: QuorumPacket) -> None:
        """See zab.requests."""
        if self.is_deaf:
            return
        data = packet.data
        if data is None or len(data) < _ID_BYTES + BODY:
            raise WireError(f"a REQUEST of {0 if data is None else len(data)} bytes")
        session_id: int = _unpack_id(data)[0]
        frame = data[_ID_BYTES:]
        cxid, op = _unpack_header(frame)
        session = self._sessions.get(session_id)
        if session is not None and not session.closing:
            session.heard_ms = self._service.now_ms
            if op == SET_DATA and session.owner == connection:
                submit = self._service.submit_set_data
                if submit is not None and submit(None, session, cxid, frame):
                    return
        if op == OpCode.SYNC:
            self._answer(connection, _SYNC)
            return
        if op == OpCode.CREATE_SESSION:
            timeout_ms = _unpack_int(frame, BODY)[0] if len(frame) >= BODY + 4 else 0
            # An Apache server forwards what a client of it has made up.
            if timeout_ms > 0:
                self._service.tracker.add(session_id, timeout_ms, self._service.now_ms).owner = connection
        elif op == OpCode.CLOSE_SESSION and session is not None:
            session.closing = True
        identities = tuple([Identity(scheme, name) for scheme, name in packet.authinfo or ()])
        request = Request(None, session_id, cxid, op, frame, identities, self._service.now_ms)
        if op in WRITES or op == OpCode.CREATE_SESSION:
            self._primary.submit_as(request, connection)
        else:
            self._primary.refuse_unknown(request)

    def on_touched(self, connection: int, touched: bytes) -> None:
        """See zab.requests."""
        if len(touched) % _SESSION.size:
            raise WireError(f"a PING with {len(touched)} bytes of sessions")
        now_ms, sessions = self._service.now_ms, self._sessions
        for session_id, _ in _SESSION.iter_unpack(touched):
            session = sessions.get(session_id)
            if session is not None:
                session.heard_ms = now_ms

    def on_revalidate(self, connection: int, data: bytes) -> None:
        """See zab.requests."""
        if len(data) != _SESSION.size:
            raise WireError(f"a REVALIDATE of {len(data)} bytes")
        session_id, timeout_ms = _SESSION.unpack(data)
        session = self._sessions.get(session_id)
        valid = session is not None and not session.closing
        if session is not None and valid:
            if timeout_ms > 0:
                self._service.tracker.add(session_id, timeout_ms, self._service.now_ms)
            session.owner = connection
        # Behind what the session has under way: its client may count its requests from 1 again, and what becomes of an
        # old one would be taken for the answer to a new one.
        answer = QuorumPacket(PacketType.REVALIDATE, -1, _VALIDITY.pack(session_id, valid))
        self._answer(connection, encode_packet(answer))

    def left(self, connection: int) -> None:
        """See zab.requests. Its clients' sessions are theirs until another server, or the clock, says otherwise."""
