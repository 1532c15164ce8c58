"""What servers say to one another: QuorumPackets (wire document, e.1) and their payloads."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from zktw.terms.codes import PacketType
from zktw.terms.errors import WireError
from zktw.terms.limits import AUTHINFO_ITEMS_MAX
from zktw.wire.jute import check_length, decode_text, put_string

# The protocol version of ZAB 1.0; a learner that says less than this gets no LEADERINFO.
PROTOCOL_VERSION = 0x10000
# What stands behind the tree that follows a SNAP packet (wire document, e.4): a string with its length.
TREE_SIGNATURE = b"\x00\x00\x00\x0aBenWasHere"

_LEARNER_INFO = struct.Struct(">qiq")
_LEARNER_INFO_34 = struct.Struct(">qi")
_EPOCH = struct.Struct(">i")

_INT = struct.Struct(">i")
_SID = struct.Struct(">q")
_int_at = _INT.unpack_from
# Type, zxid, length of the data.
_HEAD = struct.Struct(">iqi")
_HEAD_BYTES = _HEAD.size
_head = _HEAD.pack
# A packet without data, and the least that any packet has: what is last is the number of identities.
_BARE = struct.Struct(">iqii")
_BARE_BYTES = _BARE.size
_bare = _BARE.pack
_NULL = _INT.pack(-1)
_kind_of = {kind.value: kind for kind in PacketType}.get
# A NamedTuple's own constructor is a Python function: this is half of it.
_new = tuple.__new__

# Pairs of scheme and identity.
Authinfo = tuple[tuple[str, str], ...]


class QuorumPacket(NamedTuple):
    """One packet of the quorum port. authinfo is (scheme, id) pairs, or None where the wire has null.

    A tuple, unlike other messages: tens of thousands of these are made in a second.
    """

    type: PacketType
    zxid: int
    data: bytes | None = None
    authinfo: Authinfo | None = None


def encode_packet(packet: QuorumPacket) -> bytes:
    """The packet's bytes; packets follow one another without a length."""
    kind, zxid, data, authinfo = packet
    if authinfo is None:
        return _bare(kind, zxid, -1, -1) if data is None else _head(kind, zxid, len(data)) + data + _NULL
    out = bytearray(_head(kind, zxid, -1) if data is None else _head(kind, zxid, len(data)) + data)
    out += _INT.pack(len(authinfo))
    for scheme, identity in authinfo:
        put_string(out, scheme)
        put_string(out, identity)
    return bytes(out)


def encode_bare(kind: PacketType, zxid: int) -> bytes:
    """A packet that says its type and zxid and no more."""
    return _bare(kind, zxid, -1, -1)


def encode_bare_run(kind: PacketType, zxids: Iterable[int]) -> bytes:
    """One bare packet for each zxid, in their order."""
    return b"".join([_bare(kind, zxid, -1, -1) for zxid in zxids])


def encode_proposal(kind: PacketType, zxid: int, payload: bytes) -> bytes:
    """A packet with data and no identities."""
    return _head(kind, zxid, len(payload)) + payload + _NULL


class PacketParser:
    """QuorumPackets out of a stream, each parsed once however it is cut.

    feed(data) yields packets as they become whole. After a SNAP packet the stream carries a tree, not packets: the
    consumer then iterates no further, takes rest() to where it belongs, gives back what comes behind the tree, and
    iterates `packets()`.
    """

    __slots__ = ("_authinfo", "_authinfo_raw", "_data", "_data_bytes_max", "_measure", "_offset")

    def __init__(self, data_bytes_max: int) -> None:
        self._data_bytes_max = data_bytes_max
        self._data = b""
        self._offset = 0
        # Where a packet has begun that is not whole.
        self._measure: _Measure | None = None
        # The last identities, and their bytes: the next request often has the same.
        self._authinfo: Authinfo = ()
        self._authinfo_raw = bytes(4)

    @property
    def available(self) -> int:
        """Bytes that have arrived and belong to no packet that was handed out."""
        return len(self._data) - self._offset + (0 if self._measure is None else len(self._measure.held))

    def feed(self, data: bytes) -> Iterator[QuorumPacket]:
        """Add what arrived and yield the packets now whole; raises WireError at a malformed one."""
        measure = self._measure
        if measure is not None:
            measure.held += data
            if len(measure.held) < measure.wanted or not measure.is_whole():
                return iter(())
            self._data, self._offset, self._measure = bytes(measure.held), 0, None
        elif self._offset < len(self._data):
            self._data, self._offset = self._data[self._offset :] + data, 0
        else:
            self._data, self._offset = data, 0
        return self.packets()

    def rest(self) -> bytes:
        """Take all that has arrived and belongs to no packet yet, for a consumer of another kind."""
        taken = self._data[self._offset :] if self._measure is None else bytes(self._measure.held)
        self._data, self._offset, self._measure = b"", 0, None
        return taken

    def put_back(self, data: bytes) -> None:
        """Let this stand before all that was not parsed yet; `packets()` goes on with it."""
        self._data, self._offset = data + self.rest(), 0

    def packets(self) -> Iterator[QuorumPacket]:
        """The packets whose bytes have all arrived."""
        data_bytes_max = self._data_bytes_max
        unpack, kind_of = _BARE.unpack_from, _kind_of
        # The state is read anew for each packet: between two of them the consumer may take or put back.
        while self._measure is None:
            data, offset = self._data, self._offset
            if len(data) - offset < _BARE_BYTES:
                break
            number, zxid, length, count = unpack(data, offset)
            kind = kind_of(number)
            if kind is None:
                raise WireError(f"unknown packet type {number}")
            after = offset + _BARE_BYTES
            payload = None
            if length != -1:
                if not 0 <= length <= data_bytes_max:
                    check_length(length, data_bytes_max)
                after += length
                if after > len(data):
                    break
                payload = data[offset + _HEAD_BYTES : after - 4]
                count = _int_at(data, after - 4)[0]
            if count == -1:
                self._offset = after
                yield _new(QuorumPacket, (kind, zxid, payload, None))
                continue
            authinfo = self._authinfo
            if data.startswith(self._authinfo_raw, after - 4):
                self._offset = after - 4 + len(self._authinfo_raw)
            else:
                _check_count(kind, count)
                found = _identities(data, after, count, data_bytes_max)
                if found is None:
                    break
                authinfo, self._offset = found
                self._authinfo, self._authinfo_raw = authinfo, data[after - 4 : self._offset]
            yield _new(QuorumPacket, (kind, zxid, payload, authinfo))
        if self._measure is None and self._offset < len(self._data):
            measure = _Measure(self._data[self._offset :], data_bytes_max)
            self._data, self._offset, self._measure = b"", 0, measure
            measure.is_whole()


class _Measure:
    """How much of a packet that is not whole has still to come; what it has been looked at is not looked at again."""

    __slots__ = ("_at", "_data_bytes_max", "_kind", "_strings", "held", "wanted")

    def __init__(self, held: bytes, data_bytes_max: int) -> None:
        self.held = bytearray(held)
        # Before so many bytes are there it is not worth looking.
        self.wanted = 4
        self._data_bytes_max = data_bytes_max
        self._kind: PacketType | None = None
        # Where the next length stands, and how many of them are known to come; -1 before the identities.
        self._at = _HEAD_BYTES - 4
        self._strings = -1

    def is_whole(self) -> bool:
        """Whether all of it is there. Raises WireError as soon as it can be none."""
        held = self.held
        if self._kind is None:
            if len(held) < 4:
                return False
            number = _int_at(held)[0]
            self._kind = _kind_of(number)
            if self._kind is None:
                raise WireError(f"unknown packet type {number}")
            self.wanted = _HEAD_BYTES
        while len(held) >= self.wanted:
            if not self._strings:
                return True
            self._step(self._kind)
        return False

    def _step(self, kind: PacketType) -> None:
        """Look at the length that is next."""
        number: int = _int_at(self.held, self._at)[0]
        if self._strings < 0 and self._at >= _HEAD_BYTES:
            if number != -1:
                _check_count(kind, number)
            self._strings = 2 * max(number, 0)
            self._at += 4
        else:
            if number != -1:
                check_length(number, self._data_bytes_max)
            self._at += 4 + max(number, 0)
            if self._strings > 0:
                self._strings -= 1
        self.wanted = self._at + (4 if self._strings else 0)


def _check_count(kind: PacketType, count: int) -> None:
    if not 0 <= count <= AUTHINFO_ITEMS_MAX:
        raise WireError(f"{kind.name} with {count} identities (at most {AUTHINFO_ITEMS_MAX})")


def _identities(data: bytes, at: int, count: int, length_max: int) -> tuple[Authinfo, int] | None:
    """So many pairs and where they end; None where they are not all there. Null reads as empty."""
    texts = []
    for _ in range(2 * count):
        if len(data) - at < 4:
            return None
        length = _int_at(data, at)[0]
        at += 4
        if length == -1:
            texts.append("")
            continue
        check_length(length, length_max)
        if len(data) - at < length:
            return None
        texts.append(decode_text(data[at : at + length]))
        at += length
    return tuple(zip(texts[::2], texts[1::2], strict=True)), at


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


def encode_designated(sid: int) -> bytes:
    """The leader that a reconfiguration names: data of COMMITANDACTIVATE, and the beginning of INFORMANDACTIVATE's."""
    return _SID.pack(sid)


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
