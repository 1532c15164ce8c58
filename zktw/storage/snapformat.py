"""A snapshot file as bytes: header, tree, seals, packing (wire document, c.4)."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from zktw.storage import snappy
from zktw.terms.errors import WireError

MAGIC = 0x5A4B534E
VERSION = 2
DBID = -1
# Every plain file that was written to its end has these last bytes: the text of its last seal.
TAIL = b"\x00\x00\x00\x01/"
SIZE_MIN = 10
GZIP_MAGIC = b"\x1f\x8b"
SNAPPY_MAGIC = snappy.MAGIC

Compression = Literal["", "gz", "snappy"]

_HEADER = struct.Struct(">iiq")
_SEALED = struct.Struct(">q5s")
_DIGEST = struct.Struct(">qiq")
_ZXID = struct.Struct(">q")
_ZXID_BYTES = 8
_DIGEST_VERSION = 2
_DIGEST_VERSION_MIN = 2
_OLD_DIGEST_BYTES_MAX = 64
# All that can stand behind a tree takes less; what a file has beyond that counts for nothing.
_BEHIND_BYTES_MAX = 256
_GZIP = 31
_UNPACKED_BYTES = 1 << 20


class BodyParser(Protocol):
    """Takes a tree as it comes; feed() is true at its end, and rest is then what came behind it."""

    rest: bytes

    def feed(self, data: bytes) -> bool:
        """Take the next bytes. WireError: they are no tree."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What a file says behind its tree, None where it does not: a digest, the zxid that it is of, the last zxid."""

    digest: int | None = None
    digest_zxid: int | None = None
    last_zxid: int | None = None


class SnapshotEncoder:
    """A file as it is written: begin(), add() for each piece of the tree, end(); each returns bytes to write."""

    def __init__(self, compression: Compression = "") -> None:
        self._checksum = 1
        self._compression = compression
        self._gzip = zlib.compressobj(wbits=_GZIP) if compression == "gz" else None

    def begin(self) -> bytes:
        """The header."""
        opening = snappy.STREAM_HEADER if self._compression == "snappy" else b""
        return opening + self.add(_HEADER.pack(MAGIC, VERSION, DBID))

    def add(self, piece: bytes) -> bytes:
        """The next bytes of the tree, packed; maybe only some of them."""
        self._checksum = zlib.adler32(piece, self._checksum)
        if self._gzip is not None:
            return self._gzip.compress(piece)
        if self._compression == "snappy":
            return b"".join(snappy.encode_blocks(piece))
        return piece

    def end(self, zxid: int, *, digest: int | None, last_zxid: int | None) -> bytes:
        """Seals, and between them the digest of the tree at zxid and the last zxid, each where it is given."""
        out = self._seal()
        if digest is not None:
            signed = digest - (1 << 64) if digest >> 63 == 1 else digest
            out += self.add(_DIGEST.pack(zxid, _DIGEST_VERSION, signed)) + self._seal()
        if last_zxid is not None:
            out += self.add(_ZXID.pack(last_zxid)) + self._seal()
        return out if self._gzip is None else out + self._gzip.flush()

    def _seal(self) -> bytes:
        return self.add(_SEALED.pack(self._checksum, TAIL))


class _Plain:
    """A file that is not packed."""

    is_whole = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data


class _Gzip:
    """A file packed with gzip, unpacked in pieces: a small file may hold a tree that does not fit into memory twice."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(wbits=_GZIP)

    @property
    def is_whole(self) -> bool:
        return self._unpacker.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while data and not self._unpacker.eof:
                yield self._unpacker.decompress(data, _UNPACKED_BYTES)
                data = self._unpacker.unconsumed_tail
        except zlib.error as error:
            raise WireError(f"damaged: {error}") from None


class _Snappy:
    """A file packed with snappy."""

    def __init__(self) -> None:
        self._unpacker = snappy.StreamDecoder()

    @property
    def is_whole(self) -> bool:
        return self._unpacker.is_between_blocks

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield self._unpacker.feed(data)


def _unpacker_of(name: str) -> _Plain | _Gzip | _Snappy:
    if name.endswith(".gz"):
        return _Gzip()
    return _Snappy() if name.endswith(".snappy") else _Plain()


def read_snapshot(name: str, chunks: Iterable[bytes], body: BodyParser) -> Ending:
    """Read a whole file, which is packed as its name says; body takes its tree. WireError: it is damaged."""
    unpacker = _unpacker_of(name)
    reader = _Reader(body)
    for chunk in chunks:
        for piece in unpacker.feed(chunk):
            reader.feed(piece)
    if not unpacker.is_whole:
        raise WireError(f"damaged: it ends too early, {reader.offset} bytes unpacked")
    return reader.finish()


class _Reader:
    """Header, tree and seals of a file as it comes."""

    def __init__(self, body: BodyParser) -> None:
        self.offset = 0
        self._body = body
        self._begun = False
        self._ended = False
        self._checksum = 1
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        if self._ended:
            if len(self._buffer) < _BEHIND_BYTES_MAX:
                self._buffer += data[: _BEHIND_BYTES_MAX - len(self._buffer)]
            return
        if not self._begun:
            data = self._buffer + data
            self._buffer = b""
            if len(data) < _HEADER.size:
                self._buffer = data
                return
            self._read_header(data[: _HEADER.size])
            data = data[_HEADER.size :]
        try:
            self._ended = self._body.feed(data)
        except WireError as error:
            raise WireError(f"damaged behind byte {self.offset}: {error}") from None
        if self._ended:
            rest = self._body.rest
            data = data[: len(data) - len(rest)]
            self._buffer = rest[:_BEHIND_BYTES_MAX]
        self._add(data)

    def _add(self, data: bytes) -> None:
        self._checksum = zlib.adler32(data, self._checksum)
        self.offset += len(data)

    def _read_header(self, data: bytes) -> None:
        magic, version, _ = _HEADER.unpack(data)
        if magic != MAGIC:
            raise WireError(f"damaged at byte 0: its magic number is {magic & 0xFFFFFFFF:08x}, not {MAGIC:08x}")
        if version != VERSION:
            raise WireError(f"damaged at byte 4: its version is {version}, not {VERSION}")
        self._begun = True
        self._add(data)

    def finish(self) -> Ending:
        """Check the seals, and read what stands between them."""
        if not self._ended:
            raise WireError(f"damaged at byte {self.offset + len(self._buffer)}: it ends too early")
        try:
            return self._read_behind()
        except (WireError, struct.error) as error:
            reason = error if isinstance(error, WireError) else "it ends too early"
            raise WireError(f"damaged at byte {self.offset}: {reason}") from None

    def _read_behind(self) -> Ending:
        self._check_seal()
        digest_zxid = digest = last_zxid = None
        # A server without digests writes the zxid right behind the tree: then what is left has just its size.
        if len(self._buffer) not in (0, _ZXID_BYTES + _SEALED.size):
            digest_zxid, version, value = _DIGEST.unpack_from(self._buffer)
            size = _DIGEST.size
            if version >= _DIGEST_VERSION_MIN:
                digest = value & (1 << 64) - 1
            else:
                # Of another kind, and a text: its length is the upper half of what was taken for the digest.
                length = max(0, value >> 32)
                if length > _OLD_DIGEST_BYTES_MAX:
                    raise WireError(f"a digest of {length} bytes")
                size = _ZXID_BYTES + 4 + 4 + length
                digest_zxid = None
            self._take(size)
            self._check_seal()
        if self._buffer:
            last_zxid = _ZXID.unpack_from(self._buffer)[0]
            self._take(_ZXID_BYTES)
            self._check_seal()
        return Ending(digest, digest_zxid, last_zxid)

    def _take(self, size: int) -> None:
        self._add(self._buffer[:size])
        self._buffer = self._buffer[size:]

    def _check_seal(self) -> None:
        found, _ = _SEALED.unpack_from(self._buffer)
        if found != self._checksum:
            raise WireError(f"its seal is {found:08x}, its bytes give {self._checksum:08x}")
        self._take(_SEALED.size)


def looks_whole(size: int, tail: bytes) -> bool:
    """The check before loading: a file cut off by a crash ends otherwise."""
    return size >= SIZE_MIN and tail == TAIL
