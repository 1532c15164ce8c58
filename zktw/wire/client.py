"""The client's wire: so far the ConnectRequest that opens it (wire document, b.2)."""

from dataclasses import dataclass

from zktw.terms.limits import CONNECT_REQUEST_BYTES_MAX
from zktw.wire.jute import Reader


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A client asks for a session (session_id 0) or comes back to one.

    read_only is None where the request has no such field: clients before 3.4, whose answer must lack it too.
    """

    protocol_version: int
    last_zxid_seen: int
    timeout_ms: int
    session_id: int
    password: bytes | None
    read_only: bool | None

    @classmethod
    def decode(cls, frame: bytes) -> "ConnectRequest":
        """Read one. What follows the last field is passed over, as Apache does. Raises WireError if one is missing."""
        reader = Reader(frame, CONNECT_REQUEST_BYTES_MAX)
        return cls(
            reader.i32(),
            reader.i64(),
            reader.i32(),
            reader.i64(),
            reader.buffer(),
            reader.flag() if reader.remaining else None,
        )
