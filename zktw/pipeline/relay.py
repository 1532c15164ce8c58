"""Relay: what a follower passes between its observers and the leader (wire document, e.7)."""

import struct
from collections.abc import Callable
from functools import partial

from zktw.pipeline.following import Following
from zktw.terms.codes import OpCode, PacketType
from zktw.terms.errors import WireError
from zktw.wire.client import BODY
from zktw.wire.peers import QuorumPacket, encode_bare, encode_packet

_SESSION = struct.Struct(">qi")
_ID_BYTES = 8
_OP_AT = _ID_BYTES + 4
# A delete of no path.
_REFUSED = struct.pack(">iii", OpCode.DELETE, 0, -1)
_unpack_int = struct.Struct(">i").unpack_from


class Relay:
    """See zab.requests. write(connection, data) tells an observer.

    The leader answers syncs and questions about sessions in the order in which they reach it, ours among them.
    """

    def __init__(self, following: Following, write: Callable[[int, bytes], None]) -> None:
        self._following = following
        self._write = write

    def on_request(self, connection: int, packet: QuorumPacket) -> None:
        """A request goes to the leader as it is."""
        data = packet.data
        if data is None or len(data) < _ID_BYTES + BODY:
            raise WireError(f"a REQUEST of {0 if data is None else len(data)} bytes")
        op = _unpack_int(data, _OP_AT)[0]
        if op == OpCode.SYNC:
            answer = partial(self._write, connection, encode_bare(PacketType.SYNC, 0))
            self._following.pass_on(encode_packet(packet), answer)
        elif self._following.can_forward(op, data[_ID_BYTES:]):
            self._following.pass_on(encode_packet(packet), None)
        else:
            # It would stop an Apache leader for ever, and the observer waits for what becomes of it: an error.
            refused = data[:_OP_AT] + _REFUSED
            self._following.pass_on(
                encode_packet(QuorumPacket(packet.type, packet.zxid, refused, packet.authinfo)), None
            )

    def on_touched(self, connection: int, touched: bytes) -> None:
        """The leader hears of them with our next answer to its ping."""
        if len(touched) % _SESSION.size:
            raise WireError(f"a PING with {len(touched)} bytes of sessions")
        self._following.passed_touches.update(_SESSION.iter_unpack(touched))

    def on_revalidate(self, connection: int, data: bytes) -> None:
        """The leader's answer is passed back as it is."""
        if len(data) != _SESSION.size:
            raise WireError(f"a REVALIDATE of {len(data)} bytes")
        session_id, timeout_ms = _SESSION.unpack(data)
        self._following.revalidate(session_id, timeout_ms, partial(self._tell_validity, connection))

    def _tell_validity(self, connection: int, data: bytes) -> None:
        self._write(connection, encode_packet(QuorumPacket(PacketType.REVALIDATE, -1, data)))

    def left(self, connection: int) -> None:
        """What it has asked is asked; the answers find nobody."""
