"""What servers say to one another: QuorumPackets (wire document, e.1) and their payloads."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from zktw.terms.codes import PacketType
from zktw.terms.errors import WireError
from zktw.terms.limits import AUTHINFO_ITEMS_MAX
from zktw.wire.jute import ByteFeed, Parsing, put_buffer, put_int, put_long, put_string

# The protocol version of ZAB 1.0; a learner that says less than this gets no LEADERINFO.
PROTOCOL_VERSION = 0x10000

_LEARNER_INFO = struct.Struct(">qiq")
_LEARNER_INFO_34 = struct.Struct(">qi")
_EPOCH = struct.Struct(">i")


@dataclass(frozen=True, slots=True)
class QuorumPacket:
    """One packet of the quorum port. authinfo is (scheme, id) pairs, or None where the wire has null."""

    type: PacketType
    zxid: int
    data: bytes | None = None
    authinfo: tuple[tuple[str, str], ...] | None = None


def encode_packet(packet: QuorumPacket) -> bytes:
    """The packet's bytes; packets follow one another without a length."""
    out = bytearray()
    put_int(out, packet.type)
    put_long(out, packet.zxid)
    put_buffer(out, packet.data)
    if packet.authinfo is None:
        put_int(out, -1)
    else:
        put_int(out, len(packet.authinfo))
        for scheme, identity in packet.authinfo:
            put_string(out, scheme)
            put_string(out, identity)
    return bytes(out)


def read_packet(feed: ByteFeed, data_bytes_max: int) -> Parsing[QuorumPacket]:
    """Parse the next packet as its bytes arrive. Raises WireError on an unknown type or an impossible length."""
    number = yield from feed.i32()
    try:
        kind = PacketType(number)
    except ValueError:
        raise WireError(f"unknown packet type {number}") from None
    zxid = yield from feed.i64()
    data = yield from feed.buffer(data_bytes_max)
    count = yield from feed.i32()
    if count < -1 or count > AUTHINFO_ITEMS_MAX:
        raise WireError(f"{kind.name} with {count} identities (at most {AUTHINFO_ITEMS_MAX})")
    if count == -1:
        return QuorumPacket(kind, zxid, data, None)
    identities = []
    for _ in range(count):
        scheme = yield from feed.string(data_bytes_max)
        identity = yield from feed.string(data_bytes_max)
        identities.append((scheme or "", identity or ""))
    return QuorumPacket(kind, zxid, data, tuple(identities))


class PacketParser:
    """QuorumPackets out of a stream, each parsed once however it is cut.

    feed(data) yields packets as they become whole. After a SNAP packet the stream carries a tree, not packets: the
    consumer then iterates no further, takes over `self.stream` until the tree ends, and iterates `packets()` again.
    """

    def __init__(self, data_bytes_max: int) -> None:
        self.stream = ByteFeed()
        self._data_bytes_max = data_bytes_max
        self._parsing: Parsing[QuorumPacket] | None = None

    def feed(self, data: bytes) -> Iterator[QuorumPacket]:
        """Add what arrived and yield the packets now whole; raises WireError at a malformed one."""
        self.stream.feed(data)
        return self.packets()

    def packets(self) -> Iterator[QuorumPacket]:
        """The packets whose bytes have all arrived."""
        while True:
            if self._parsing is None:
                self._parsing = read_packet(self.stream, self._data_bytes_max)
            try:
                next(self._parsing)
            except StopIteration as done:
                self._parsing = None
                yield done.value
            else:
                return


@dataclass(frozen=True, slots=True)
class LearnerInfo:
    """Who a learner says it is, in FOLLOWERINFO and OBSERVERINFO. sid is None for nameless learners (before 3.3)."""

    sid: int | None
    protocol_version: int
    config_version: int


def encode_learner_info(info: LearnerInfo) -> bytes:
    """20 bytes: sid, protocol version, configuration version."""
    assert info.sid is not None
    return _LEARNER_INFO.pack(info.sid, info.protocol_version, info.config_version)


def decode_learner_info(data: bytes | None) -> LearnerInfo:
    """Any of the three ages of LearnerInfo; what an old one lacks reads as 0."""
    if data is None or len(data) < 8:
        return LearnerInfo(None, 0, 0)
    if len(data) >= _LEARNER_INFO.size:
        return LearnerInfo(*_LEARNER_INFO.unpack_from(data))
    if len(data) >= _LEARNER_INFO_34.size:
        sid, version = _LEARNER_INFO_34.unpack_from(data)
        return LearnerInfo(sid, version, 0)
    return LearnerInfo(struct.unpack_from(">q", data)[0], 0, 0)


def encode_protocol_version(version: int) -> bytes:
    """The data of LEADERINFO."""
    return _EPOCH.pack(version)


def encode_current_epoch(epoch: int) -> bytes:
    """The data of ACKEPOCH; -1 says that this epoch was acknowledged before and is not to be counted."""
    return _EPOCH.pack(epoch)


def decode_i32(data: bytes | None, what: str) -> int:
    """The 32-bit number that LEADERINFO and ACKEPOCH carry."""
    if data is None or len(data) != _EPOCH.size:
        raise WireError(f"{what} carries {'no' if data is None else len(data)} bytes instead of 4")
    value: int = _EPOCH.unpack(data)[0]
    return value
