"""Snappy as snapshots have it: a stream of blocks, each packed by itself (as Java's SnappyOutputStream frames them).

The encoder only wraps: what it writes any reader reads, and it is no smaller than what it was given. A search for
repetitions in Python would take longer than the disk does.
"""

import struct
from collections.abc import Iterator

from zktw.terms.errors import WireError

MAGIC = b"\x82SNAPPY\x00"
STREAM_HEADER = MAGIC + struct.pack(">ii", 1, 1)
BLOCK_BYTES = 32 * 1024
# Java's writer goes up to half a gigabyte, its default is 32 KiB; a block above this is nonsense or an attack.
BLOCK_BYTES_MAX = 64 << 20

_INT = struct.Struct(">i")
_LITERAL, _COPY_1, _COPY_2 = 0, 1, 2
_SHORT_LITERAL_MAX = 60


def encode_blocks(data: bytes) -> Iterator[bytes]:
    """The blocks of these bytes, framed."""
    for start in range(0, len(data), BLOCK_BYTES):
        block = data[start : start + BLOCK_BYTES]
        # One literal with its length in two bytes.
        packed = b"%b%b%b%b" % (_varint(len(block)), b"\xf4", struct.pack("<H", len(block) - 1), block)
        yield _INT.pack(len(packed))
        yield packed


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class StreamDecoder:
    """Unpacks a stream as it is read. WireError: it is none."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._begun = False

    @property
    def is_between_blocks(self) -> bool:
        """Whether the stream may end here."""
        return self._begun and not self._data

    def feed(self, data: bytes) -> bytes:
        """What the blocks that are complete by now hold."""
        self._data += data
        out = []
        at = 0
        if not self._begun and len(self._data) >= len(STREAM_HEADER):
            if not self._data.startswith(MAGIC):
                raise WireError("it does not begin as a stream of snappy does")
            self._begun, at = True, len(STREAM_HEADER)
        while self._begun and len(self._data) - at >= _INT.size:
            size = _INT.unpack_from(self._data, at)[0]
            if not 0 <= size <= BLOCK_BYTES_MAX:
                raise WireError(f"a block of {size} bytes")
            begin = at + _INT.size
            if len(self._data) - begin < size:
                break
            out.append(decode_block(bytes(self._data[begin : begin + size])))
            at = begin + size
        del self._data[:at]
        return b"".join(out)


def decode_block(data: bytes) -> bytes:
    """One compressed block. WireError: it is none."""
    try:
        return _decode_block(data)
    except IndexError:
        raise WireError("a block that ends too early") from None


def _decode_block(data: bytes) -> bytes:
    size, at = _read_varint(data)
    if size > BLOCK_BYTES_MAX:
        raise WireError(f"a block of {size} bytes")
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        kind = tag & 3
        if kind == _LITERAL:
            length = (tag >> 2) + 1
            if length > _SHORT_LITERAL_MAX:
                extra = length - _SHORT_LITERAL_MAX
                length = int.from_bytes(data[at : at + extra], "little") + 1
                at += extra
            if length > len(data) - at:
                raise WireError("a literal beyond the end of its block")
            out += data[at : at + length]
            at += length
        else:
            if kind == _COPY_1:
                length, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[at]
                at += 1
            else:
                width = 2 if kind == _COPY_2 else 4
                length, offset = (tag >> 2) + 1, int.from_bytes(data[at : at + width], "little")
                at += width
            _copy(out, offset, length)
        if len(out) > size:
            break
    if len(out) != size:
        raise WireError(f"a block of {size} bytes gave {len(out)}")
    return bytes(out)


def _copy(out: bytearray, offset: int, length: int) -> None:
    """Repeat what stands offset bytes before the end; the copy may run into what it makes."""
    start = len(out) - offset
    if offset <= 0 or start < 0:
        raise WireError(f"a copy from {offset} bytes back, {len(out)} bytes in")
    if offset >= length:
        out += out[start : start + length]
    else:
        out += (out[start:] * (length // offset + 1))[:length]


def _read_varint(data: bytes) -> tuple[int, int]:
    value = 0
    for at in range(5):
        byte = data[at]
        value |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return value, at + 1
    raise WireError("a block whose size has no end")
