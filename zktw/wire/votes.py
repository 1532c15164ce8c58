"""What is said on the election port: the opening of a connection and notifications (wire document, d.1 and d.3)."""

import struct
from dataclasses import dataclass

from zktw.terms.errors import WireError
from zktw.terms.limits import ELECTION_OPENING_BYTES_MAX
from zktw.terms.vote import Notification, PeerState, Vote
from zktw.terms.zxid import epoch_of
from zktw.wire.jute import ByteFeed, Parsing

# First word of an opening since 3.5: a negative number, where 3.4 sends its sid.
OPENING_ONE_ADDRESS = -65536
OPENING_ADDRESSES = -65535
# The sid that observers without an id of their own open with.
OBSERVER_SID = 2**63 - 1

_OPENING = struct.Struct(">qqi")
_VOTE_28 = struct.Struct(">iqqq")
_VOTE_40 = struct.Struct(">iqqqqi")
_VOTE_V2 = struct.Struct(">iqqqqii")
_VERSION_2 = 2


@dataclass(frozen=True, slots=True)
class Opening:
    """How a connection's initiator introduces itself; addresses are (host, port), empty from a 3.4 peer."""

    sid: int
    addresses: tuple[tuple[str, int], ...] = ()


def encode_opening(sid: int, addresses: list[str], multi_address: bool) -> bytes:
    """The initial message, to be sent in one write: Java peers read the address text with a single read.

    addresses are texts "host:port"; peers older than 3.6 know only the form with one address.
    """
    text = "|".join(addresses if multi_address else addresses[:1]).encode("utf-8")
    assert 0 < len(text) <= ELECTION_OPENING_BYTES_MAX
    version = OPENING_ADDRESSES if multi_address else OPENING_ONE_ADDRESS
    return _OPENING.pack(version, sid, len(text)) + text


def read_opening(feed: ByteFeed) -> Parsing[Opening]:
    """Parse an opening of any age as its bytes arrive."""
    first = yield from feed.i64()
    if first >= 0:
        return Opening(first)
    if first not in (OPENING_ONE_ADDRESS, OPENING_ADDRESSES):
        raise WireError(f"unknown version {first} of the opening")
    sid = yield from feed.i64()
    length = yield from feed.i32()
    if not 0 < length <= ELECTION_OPENING_BYTES_MAX:
        raise WireError(f"opening with {length} bytes of address (1 to {ELECTION_OPENING_BYTES_MAX})")
    text = yield from feed.read(length)
    try:
        addresses = tuple(_parse_address(part) for part in text.decode("utf-8").split("|"))
    except ValueError:
        raise WireError(f"opening with an address that is none: {text[:80]!r}") from None
    return Opening(sid, addresses)


def _parse_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(text)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host, int(port)


def encode_notification(notification: Notification) -> bytes:
    """Version 2 of the message, without the frame's length; config_text None is sent as an empty text."""
    config = (notification.config_text or "").encode("utf-8")
    vote = notification.vote
    return (
        _VOTE_V2.pack(
            notification.state,
            vote.leader,
            vote.zxid,
            notification.round,
            vote.peer_epoch,
            _VERSION_2,
            len(config),
        )
        + config
    )


def decode_notification(sid: int, frame: bytes) -> Notification:
    """A message in any of the three formats; raises WireError for what Apache drops."""
    if len(frame) < _VOTE_28.size:
        raise WireError(f"notification of {len(frame)} bytes (at least {_VOTE_28.size})")
    number, leader, zxid, round_ = _VOTE_28.unpack_from(frame)
    try:
        state = PeerState(number)
    except ValueError:
        raise WireError(f"notification with unknown state {number}") from None
    if len(frame) == _VOTE_28.size:
        return Notification(sid, state, Vote(epoch_of(zxid), zxid, leader), round_)
    if len(frame) < _VOTE_40.size:
        raise WireError(f"notification cut off at {len(frame)} bytes")
    _, _, _, _, peer_epoch, version = _VOTE_40.unpack_from(frame)
    vote = Vote(peer_epoch, zxid, leader)
    # Of exactly 40 bytes it is a 3.4 peer's: its version word counts for nothing.
    if len(frame) == _VOTE_40.size or version < _VERSION_2:
        return Notification(sid, state, vote, round_)
    return Notification(sid, state, vote, round_, _config_text(frame))


def _config_text(frame: bytes) -> str:
    if len(frame) < _VOTE_V2.size:
        raise WireError(f"notification cut off at {len(frame)} bytes")
    length = _VOTE_V2.unpack_from(frame)[6]
    if not 0 <= length <= len(frame) - _VOTE_V2.size:
        raise WireError(f"notification of {len(frame)} bytes says its configuration has {length}")
    return frame[_VOTE_V2.size : _VOTE_V2.size + length].decode("utf-8", "replace")
