"""A snapshot file as bytes: header, tree, seals (wire document, c.4)."""

import struct
import zlib

from zktw.terms.errors import WireError
from zktw.wire.jute import ByteFeed, Parsing, T
from zktw.wire.snapstream import Visit, read_tree

MAGIC = 0x5A4B534E
VERSION = 2
DBID = -1
# Every plain file that was written to its end has these last bytes: the text of its last seal.
TAIL = b"\x00\x00\x00\x01/"
SIZE_MIN = 10
GZIP_MAGIC = b"\x1f\x8b"
SNAPPY_MAGIC = b"\x82SNAPPY\x00"

_HEADER = struct.Struct(">iiq")
_SEALED = struct.Struct(">q5s")
_ZXID_BYTES = 8
_DIGEST_VERSION_MIN = 2
_OLD_DIGEST_BYTES_MAX = 64


def encode_snapshot(body: bytes) -> bytes:
    """A whole file around the body of a tree. No digest: a reader takes its absence for "not known"."""
    content = _HEADER.pack(MAGIC, VERSION, DBID) + body
    return content + _SEALED.pack(zlib.adler32(content), TAIL)


def looks_whole(size: int, tail: bytes) -> bool:
    """The check before loading: a file cut off by a crash ends otherwise."""
    return size >= SIZE_MIN and tail == TAIL


def check_snapshot(content: bytes, length_max: int, visit: Visit) -> int:
    """Parse a whole file, visiting its nodes; returns the number of its sessions.

    Raises WireError with the offset of what is wrong. Digest and last zxid may be there or not (3.6+, 3.9+); bytes
    behind the last seal count for nothing.
    """
    feed = ByteFeed()
    feed.feed(content)

    def offset() -> int:
        return len(content) - feed.available

    try:
        sessions = _run(_read_file(feed, length_max, visit))
        _check_seal(feed, content, offset())
        # A server without digests writes the zxid right behind the tree: then what is left has just its size.
        if feed.available not in (0, _ZXID_BYTES + _SEALED.size):
            _run(_read_digest(feed))
            _check_seal(feed, content, offset())
        if feed.available:
            _run(feed.read(_ZXID_BYTES))
            _check_seal(feed, content, offset())
    except WireError as error:
        raise WireError(f"damaged at byte {offset()}: {error}") from None
    return sessions


def _read_file(feed: ByteFeed, length_max: int, visit: Visit) -> Parsing[int]:
    magic, version, _ = _HEADER.unpack((yield from feed.read(_HEADER.size)))
    if magic != MAGIC:
        raise WireError(f"its magic number is {magic & 0xFFFFFFFF:08x}, not {MAGIC:08x}")
    if version != VERSION:
        raise WireError(f"its version is {version}, not {VERSION}")
    return (yield from read_tree(feed, length_max, visit))


def _read_digest(feed: ByteFeed) -> Parsing[None]:
    yield from feed.i64()
    if (yield from feed.i32()) >= _DIGEST_VERSION_MIN:
        yield from feed.i64()
    else:
        yield from feed.string(_OLD_DIGEST_BYTES_MAX)


def _check_seal(feed: ByteFeed, content: bytes, sealed: int) -> None:
    checksum, _ = _SEALED.unpack(_run(feed.read(_SEALED.size)))
    expected = zlib.adler32(memoryview(content)[:sealed])
    if checksum != expected:
        raise WireError(f"its seal is {checksum:08x}, its bytes give {expected:08x}")


def _run(parsing: Parsing[T]) -> T:
    """Parse what must be whole."""
    try:
        next(parsing)
    except StopIteration as done:
        result: T = done.value
        return result
    raise WireError("it ends too early")
