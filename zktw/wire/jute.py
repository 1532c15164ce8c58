"""Jute, the big-endian record format of every ZooKeeper port and file (wire document, section a).

Two readers: Reader for a record that is whole in memory, ByteFeed for streams without a length, where a record may
arrive in any number of pieces and is never parsed twice.
"""

import codecs
import struct
from collections.abc import Generator
from typing import TypeVar

from zktw.terms.errors import WireError

T = TypeVar("T")
# A parser in small steps: yields whenever it needs more bytes than have arrived, returns what it parsed.
Parsing = Generator[None, None, T]

_INT = struct.Struct(">i")
_LONG = struct.Struct(">q")
_int_at = _INT.unpack_from
_long_at = _LONG.unpack_from


def put_int(out: bytearray, value: int) -> None:
    """Append a signed 32-bit integer."""
    out += _INT.pack(value)


def put_long(out: bytearray, value: int) -> None:
    """Append a signed 64-bit integer."""
    out += _LONG.pack(value)


def put_bool(out: bytearray, value: bool) -> None:
    """Append one byte, 1 or 0."""
    out.append(1 if value else 0)


def put_buffer(out: bytearray, value: bytes | None) -> None:
    """Append length and bytes; None and b"" differ on the wire."""
    if value is None:
        out += _INT.pack(-1)
    else:
        out += _INT.pack(len(value))
        out += value


def put_string(out: bytearray, value: str | None) -> None:
    """Append length in bytes and text."""
    put_buffer(out, None if value is None else encode_text(value))


def encode_text(text: str) -> bytes:
    """UTF-8 as Java's servers write it: what lies beyond the basic plane as two surrogates of three bytes each."""
    if text.isascii() or max(text) <= "\uffff":
        return text.encode("utf-8", "surrogatepass")
    units = text.encode("utf-16-be", "surrogatepass")
    return b"".join(
        chr(high << 8 | low).encode("utf-8", "surrogatepass") for high, low in zip(units[::2], units[1::2], strict=True)
    )


def decode_text(data: bytes) -> str:
    """UTF-8 as Java reads it: what is none is replaced, a surrogate of three bytes by one character."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("utf-8", _REPLACE)


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    start, data = error.start, error.object
    surrogate = data[start] == 0xED and all(0x80 <= byte < 0xC0 for byte in data[start + 1 : start + 3])
    return "\ufffd", start + 3 if surrogate and start + 3 <= len(data) else error.end


_REPLACE = "zktw-replace"
codecs.register_error(_REPLACE, _replace)


def check_length(length: int, length_max: int) -> None:
    """Refuse a length before memory is taken for it; -1 (null) is the caller's to allow."""
    if not 0 <= length <= length_max:
        raise WireError(f"unreasonable length {length} (at most {length_max})")


class Reader:
    """Reads fields of a record in memory, front to back. A field beyond the end raises WireError."""

    __slots__ = ("_data", "length_max", "offset")

    def __init__(self, data: bytes, length_max: int) -> None:
        self._data = data
        self.length_max = length_max
        self.offset = 0

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self.offset

    def _ends(self, count: int) -> WireError:
        return WireError(f"record ends at byte {len(self._data)}, {count} more wanted at {self.offset}")

    def i32(self) -> int:
        """A signed 32-bit integer."""
        try:
            value: int = _int_at(self._data, self.offset)[0]
        except struct.error:
            raise self._ends(4) from None
        self.offset += 4
        return value

    def i64(self) -> int:
        """A signed 64-bit integer."""
        try:
            value: int = _long_at(self._data, self.offset)[0]
        except struct.error:
            raise self._ends(8) from None
        self.offset += 8
        return value

    def flag(self) -> bool:
        """One byte; any non-zero is true."""
        try:
            value = self._data[self.offset] != 0
        except IndexError:
            raise self._ends(1) from None
        self.offset += 1
        return value

    def buffer(self) -> bytes | None:
        """Length and bytes; None for length -1."""
        length = self.i32()
        if length == -1:
            return None
        if not 0 <= length <= self.length_max:
            check_length(length, self.length_max)
        start = self.offset
        end = start + length
        if end > len(self._data):
            raise self._ends(length)
        self.offset = end
        return self._data[start:end]

    def string(self) -> str | None:
        """Length and UTF-8 text, read with replacement as Java does."""
        data = self.buffer()
        return None if data is None else decode_text(data)

    def skip(self, expected: bytes) -> bool:
        """Pass over these bytes if they are what comes; whether they were."""
        if not self._data.startswith(expected, self.offset):
            return False
        self.offset += len(expected)
        return True


class ByteFeed:
    """Bytes as they arrive, taken by parsers that are generators.

    feed() appends; each `yield from feed.read(n)` gives exactly n bytes, waiting (yielding) while there are fewer.
    Nothing is read twice: a parser that waits keeps its place. What was taken is dropped at the next feed.
    """

    __slots__ = ("_data", "_offset")

    def __init__(self) -> None:
        self._data = bytearray()
        self._offset = 0

    def feed(self, data: bytes) -> None:
        """Add what arrived."""
        if self._offset:
            del self._data[: self._offset]
            self._offset = 0
        self._data += data

    @property
    def available(self) -> int:
        """Bytes that have arrived and were not taken yet."""
        return len(self._data) - self._offset

    def rest(self) -> bytes:
        """Take all that has arrived, for a consumer of another kind."""
        taken = bytes(self._data[self._offset :])
        self._offset = len(self._data)
        return taken

    def read(self, count: int) -> Parsing[bytes]:
        """Exactly count bytes. The caller has bounded count."""
        while len(self._data) - self._offset < count:
            yield
        start = self._offset
        self._offset = start + count
        taken = bytes(self._data[start : self._offset])
        return taken

    def i32(self) -> Parsing[int]:
        """A signed 32-bit integer."""
        value: int = _INT.unpack((yield from self.read(4)))[0]
        return value

    def i64(self) -> Parsing[int]:
        """A signed 64-bit integer."""
        value: int = _LONG.unpack((yield from self.read(8)))[0]
        return value

    def buffer(self, length_max: int) -> Parsing[bytes | None]:
        """Length and bytes; None for length -1. A length over the bound raises WireError before memory is taken."""
        length = yield from self.i32()
        if length == -1:
            return None
        check_length(length, length_max)
        return (yield from self.read(length))

    def string(self, length_max: int) -> Parsing[str | None]:
        """Length and UTF-8 text, read with replacement as Java does."""
        data = yield from self.buffer(length_max)
        return None if data is None else decode_text(data)
