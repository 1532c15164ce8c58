"""Following: the way of a write on a learner: forwarded, logged, applied when it is committed, answered.

Answers are paired with what the leader commits by session and number, in the order of each client's requests.
"""

import itertools
import struct
from collections import deque
from collections.abc import Callable
from functools import partial

from zktw.pipeline.copied import CopiedSetData, read_copied
from zktw.pipeline.readable import refusal_of
from zktw.pipeline.request import Client, Request
from zktw.pipeline.service import DataService
from zktw.pipeline.setdata import REPLY_BYTES, REPLY_FRAME_BYTES, SET_DATA, pack_reply
from zktw.terms.codes import ErrorCode, OpCode, PacketType
from zktw.terms.errors import ProtocolError, WireError
from zktw.tree.node import STAT_BYTES
from zktw.wire.jute import put_int, put_string
from zktw.wire.peers import QuorumPacket, encode_packet
from zktw.wire.records import Identity
from zktw.wire.txn import Txn, TxnHeader, decode_txn

_SESSION = struct.Struct(">qi")
_VALIDITY = struct.Struct(">q?")
_ID = struct.Struct(">q")
_LENGTH_MAX = 2**31 - 1
_ENCODED_MAX = 1000
_pack_head = struct.Struct(">iqi").pack
_NULL = b"\xff\xff\xff\xff"


class Following:
    """send(data) writes packets to the leader; length_max bounds a field of a request, in bytes."""

    def __init__(self, service: DataService, send: Callable[[bytes], None], length_max: int) -> None:
        self._service = service
        self._send = send
        self._length_max = length_max
        self._decoded: deque[CopiedSetData | tuple[TxnHeader, Txn, int | None]] = deque()
        # How identities stand in a packet: a client's are the same each time.
        self._encoded: dict[tuple[Identity, ...], bytes] = {}
        # What is to be done when the leader has answered, in the order of asking; of sessions with their ids.
        self._syncs: deque[Callable[[], None]] = deque()
        self._revalidating: deque[tuple[int, Callable[[bytes], None]]] = deque()
        # Sessions of clients of observers, and their timeouts, that were heard of.
        self.passed_touches: dict[int, int] = {}
        # The last time that the leader was told which clients live.
        self._touched_ms = service.now_ms
        service.submit = self.submit
        service.learn(self._revalidate)

    # -- to the leader -----------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """A write, or a sync, goes to the leader."""
        if request.op == OpCode.SYNC:
            self._syncs.append(partial(self._service.released, request))
        elif refusal := refusal_of(request, self._length_max):
            self._service.not_readable(request, refusal)
            return
        data = _ID.pack(request.session_id) + request.frame
        authinfo = _NULL if request.op == OpCode.CREATE_SESSION else self._authinfo(request.identities)
        self._send(_pack_head(PacketType.REQUEST, -1, len(data)) + data + authinfo)

    def _authinfo(self, identities: tuple[Identity, ...]) -> bytes:
        encoded = self._encoded.get(identities)
        if encoded is None:
            if len(self._encoded) >= _ENCODED_MAX:
                self._encoded.clear()
            out = bytearray()
            put_int(out, len(identities))
            for identity in identities:
                put_string(out, identity.scheme)
                put_string(out, identity.id)
            encoded = self._encoded[identities] = bytes(out)
        return encoded

    def _revalidate(self, client: Client, session_id: int, timeout_ms: int) -> None:
        self.revalidate(session_id, timeout_ms, partial(self._tell_validity, client))

    def _tell_validity(self, client: Client, data: bytes) -> None:
        self._service.handshakes.on_revalidated(client, _VALIDITY.unpack(data)[1])

    def can_forward(self, op: int, frame: bytes) -> bool:
        """Whether a write of an observer's client can be read; see pipeline/readable."""
        return refusal_of(Request(None, 0, 0, op, frame, (), 0.0), self._length_max) == ErrorCode.OK

    def pass_on(self, packet: bytes, synced: Callable[[], None] | None) -> None:
        """A request of an observer's client; synced() where it is a sync that has come back."""
        if synced is not None:
            self._syncs.append(synced)
        self._send(packet)

    def revalidate(self, session_id: int, timeout_ms: int, told: Callable[[bytes], None]) -> None:
        """Ask the leader whether a session may go on; told(data) hears what it says."""
        self._revalidating.append((session_id, told))
        packet = QuorumPacket(PacketType.REVALIDATE, -1, _SESSION.pack(session_id, timeout_ms))
        self._send(encode_packet(packet))

    def touched(self) -> bytes:
        """The sessions that were heard of since this was asked last, as PING carries them."""
        since_ms, self._touched_ms = self._touched_ms, self._service.now_ms
        local = self._service.local
        apart = {} if local is None else local.tracker.sessions
        passed, self.passed_touches = self.passed_touches, {}
        return b"".join(itertools.starmap(_SESSION.pack, passed.items())) + b"".join(
            [
                _SESSION.pack(client.session.id, client.session.timeout_ms)
                for client in self._service.clients.values()
                if client.session is not None and client.session.heard_ms >= since_ms and client.session.id not in apart
            ]
        )

    # -- from the leader ---------------------------------------------------------------------------------------------

    def on_proposed(self, payload: bytes) -> None:
        """It is proposed. WireError: it cannot be read, and must not be logged."""
        self._decoded.append(read_copied(payload) or decode_txn(payload, _LENGTH_MAX))

    def on_committed(self, count: int) -> None:
        """So many of what was proposed happen, in their order."""
        service = self._service
        for _ in range(count):
            decoded = self._decoded.popleft()
            if isinstance(decoded, CopiedSetData):
                if self._apply_copied(decoded):
                    continue
                decoded = decode_txn(decoded.payload, _LENGTH_MAX)
            header, txn, digest = decoded
            client = self._client_of(header.client_id)
            request = client.waiting[0] if client is not None and client.waiting else None
            if request is not None and not self._is_of(request, header):
                request = None
            service.commit(header, txn, request)
            service.database.compare_digest(header.zxid, digest)

    def _client_of(self, session_id: int) -> Client | None:
        """Who of ours speaks for a session, also for one whose good-bye waits behind this."""
        session = self._service.tracker.sessions.get(session_id)
        if session is None and self._service.local is not None:
            session = self._service.local.tracker.sessions.get(session_id)
        owner = session.owner if session is not None else None
        return owner if isinstance(owner, Client) else None

    def _apply_copied(self, copied: CopiedSetData) -> bool:
        """A plain setData, where nobody wants to hear of it; False: it is to go the long way."""
        service = self._service
        database = service.database
        new = copied.apply(database) if service.watches.is_empty else None
        if new is None:
            return False
        client = self._client_of(copied.session_id)
        if client is None or not client.waiting:
            return True
        request = client.waiting[0]
        if request.op != SET_DATA or request.cxid != copied.cxid or not request.is_pending:
            return True
        service.forget(client.waiting.popleft())
        client.out.append(pack_reply(REPLY_BYTES, copied.cxid, copied.zxid, 0, new[-STAT_BYTES:]))
        client.out_bytes += REPLY_FRAME_BYTES
        latency_ms = int(service.now_ms - request.since_ms)
        service.write_latencies[latency_ms] = service.write_latencies.get(latency_ms, 0) + 1
        client.note_answer(SET_DATA, copied.cxid, copied.zxid, service.now_ms, latency_ms)
        if not client.dirty:
            client.dirty = True
            service.dirty.append(client)
        if client.waiting:
            service.answer_reads(client)
        return True

    @staticmethod
    def _is_of(request: object, header: TxnHeader) -> bool:
        """Whether this transaction is what became of that request."""
        assert isinstance(request, Request)
        return (
            request.is_pending
            and request.cxid == header.cxid
            and (request.op == header.type or header.type == OpCode.ERROR)
        )

    def on_sync(self) -> None:
        """All that the leader had committed before our oldest sync has happened here."""
        if not self._syncs:
            raise ProtocolError("SYNC, and none was asked for")
        self._syncs.popleft()()

    def on_revalidated(self, data: bytes | None) -> None:
        """The leader's word on a session."""
        if data is None or len(data) != _VALIDITY.size:
            raise WireError(f"a REVALIDATE of {0 if data is None else len(data)} bytes")
        session_id: int = _VALIDITY.unpack(data)[0]
        if not self._revalidating or self._revalidating[0][0] != session_id:
            raise ProtocolError(f"REVALIDATE of session 0x{session_id & (1 << 64) - 1:x}, which was not asked for")
        self._revalidating.popleft()[1](data)
