"""A transaction log file as bytes: header, entries, padding; what is wrong with a damaged one (wire document, c.3)."""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from enum import Enum

from zktw.terms.errors import StorageError
from zktw.terms.limits import JUTE_MAXBUFFER
from zktw.terms.zxid import counter_of, epoch_of
from zktw.wire.txn import zxid_of_payload

MAGIC = 0x5A4B4C47
VERSION = 2
DBID = 0
HEADER = struct.pack(">iiq", MAGIC, VERSION, DBID)
HEADER_BYTES = len(HEADER)
# What a client sends is bounded by jute, but the end of a session names each of its ephemerals, however many they are.
# A reader takes no more memory than the file has bytes, so this bound is there for nonsense only.
ENTRY_SLACK_BYTES = 1 << 28
ENTRY_BYTES_MAX = JUTE_MAXBUFFER + ENTRY_SLACK_BYTES

_CHUNK_BYTES = 1 << 20
_MAGIC_BYTES = HEADER[:4]
_TRAILER = 0x42
# A write of the log is no longer than this, but for a single entry that is.
BATCH_BYTES_MAX = 256 * 1024
# What a disk writes as a whole or not at all, at least.
SECTOR_BYTES = 512
_ENTRY_HEAD = struct.Struct(">qi")
# Checksum, length and trailer.
ENTRY_AROUND_BYTES = _ENTRY_HEAD.size + 1
_TXN_HEADER_BYTES = 32
# How an entry begins: a checksum of 32 bits in 64, a length that is not 0. Looked ahead for, since matches overlap.
_BEGINNING = re.compile(rb"(?=\x00{4}.{4}(?!\x00{4})[\x00-\x7f]...)", re.DOTALL)
# So much may be summed up in the search for entries behind damage; bytes made to delay it are refused.
_SEARCH_BYTES_MAX = 1 << 30

# Bytes of a file: at most count from offset, fewer only at its end.
Source = Callable[[int, int], bytes]


def encode_entry(payload: bytes) -> bytes:
    """One entry: checksum, length, payload, trailer."""
    return b"%b%bB" % (_ENTRY_HEAD.pack(zlib.adler32(payload), len(payload)), payload)


def encode_entries(payloads: list[bytes]) -> bytes:
    """The same of many."""
    pack, adler32 = _ENTRY_HEAD.pack, zlib.adler32
    return b"".join([pack(adler32(payload), len(payload)) + payload + b"B" for payload in payloads])


def follows(last_zxid: int, zxid: int) -> bool:
    """Whether nothing is missing between the two, as far as numbers tell: the first of an epoch follows any earlier."""
    if epoch_of(zxid) == epoch_of(last_zxid):
        return counter_of(zxid) == counter_of(last_zxid) + 1
    return zxid > last_zxid and counter_of(zxid) == 1


class End(Enum):
    """How a log file ends."""

    CLEAN = "clean"  # its last entry is followed by nothing or by zeros
    CUT_OFF = "cut off"  # then comes a part of an entry, and nothing or zeros behind it
    GARBAGE = "garbage"  # then come bytes that are no entry and no beginning of one
    UNBORN = "unborn"  # it has no header: nothing, a part of one, or zeros from its start


class LogReader:
    """Reads one log file from a source of its bytes. Damage with entries behind it raises StorageError.

    When entries() is exhausted, end tells how the file ends and end_offset where its last whole entry does.
    """

    def __init__(self, path: str, source: Source, length_max: int = ENTRY_BYTES_MAX) -> None:
        self.end = End.CLEAN
        self.end_offset = HEADER_BYTES
        # What is at end_offset where the file does not end clean.
        self.defect = ""
        self.last_zxid = -1
        self._path = path
        self._source = source
        self._length_max = length_max

    def entries(self, start: int = HEADER_BYTES, *, growing: bool = False) -> Iterator[tuple[int, int, bytes]]:
        """Offset, zxid and payload of each entry, in the order of the file, from the one that begins at start.

        growing: it is being written to, so its last entries may not be whole yet; what is no entry then ends it.
        """
        if not self._read_header():
            return
        self.end_offset = start
        chunk, at = b"", 0
        while True:
            # start is the offset in the file of chunk, at the place in it.
            if at + _ENTRY_HEAD.size > len(chunk):
                chunk, start, at = self._source(start + at, _CHUNK_BYTES), start + at, 0
                if len(chunk) < _ENTRY_HEAD.size:
                    break
            checksum, length = _ENTRY_HEAD.unpack_from(chunk, at)
            if not 0 < length <= self._length_max:
                self.defect = f"the length of an entry is {length}" if length else "an entry has no length"
                break
            begin = at + _ENTRY_HEAD.size
            end = begin + length
            if end >= len(chunk):
                chunk, start = self._source(start + at, max(_CHUNK_BYTES, _ENTRY_HEAD.size + length + 1)), start + at
                at, begin, end = 0, _ENTRY_HEAD.size, _ENTRY_HEAD.size + length
                if end >= len(chunk):
                    break
            payload = chunk[begin:end]
            self.defect = self._defect_of(payload, checksum, chunk[end])
            if self.defect:
                break
            zxid = self.last_zxid = zxid_of_payload(payload)
            offset = start + at
            at = end + 1
            self.end_offset = start + at
            yield offset, zxid, payload
        if not growing:
            self._judge_end()

    def _defect_of(self, payload: bytes, checksum: int, trailer: int) -> str:
        if trailer != _TRAILER:
            return f"an entry ends with byte {trailer:02x}, not {_TRAILER:02x}"
        found = zlib.adler32(payload)
        if found != checksum:
            return f"the checksum of an entry is {checksum:08x}, its bytes give {found:08x}"
        if len(payload) < _TXN_HEADER_BYTES:
            return f"an entry of {len(payload)} bytes cannot hold a transaction"
        return ""

    def _read_header(self) -> bool:
        head = self._source(0, HEADER_BYTES)
        if len(head) == HEADER_BYTES and head[:4] == _MAGIC_BYTES:
            return True
        self.end_offset = 0
        used = self._last_used(0)
        if used < HEADER_BYTES and head[:used] == HEADER[:used]:
            self.end, self.defect = End.UNBORN, "it has no header"
            return False
        raise StorageError(
            f"{self._path}: damaged at byte 0: it begins with {head[:4].hex()}, a transaction log with"
            f" {_MAGIC_BYTES.hex()}"
        )

    def _judge_end(self) -> None:
        """What follows the last whole entry: nothing, a tail that a crash left, or damage.

        Each batch of entries is one write, and the next is not begun before it is durable. So what a crash leaves is
        inside the last batch, and damage before it is of another kind. A file does not tell where its batches begin.
        We take for a tail what no whole entry follows: an entry behind the damage was most likely written after it,
        then it follows something that was acknowledged. One exception: a disk may bring the sectors of one write to
        its platter in any order, so a hole of whole sectors that were never written is a tail, if all that follows
        may be of the same batch. A damaged last entry is taken for a tail as well, since nothing tells it from one.
        """
        at = self.end_offset
        used = self._last_used(at)
        if not used:
            self.end, self.defect = End.CLEAN, ""
            return
        found = self._find_entry(at + 1, used)
        if found and not (used - at <= BATCH_BYTES_MAX and self._has_hole(at, found)):
            raise StorageError(
                f"{self._path}: damaged at byte {at}: {self.defect or 'an entry is cut off'}, and another follows at"
                f" byte {found}"
            )
        self.end = End.CUT_OFF if self._is_cut_off(at, used) else End.GARBAGE
        self.defect = self.defect or "an entry is cut off"

    def _has_hole(self, start: int, stop: int) -> bool:
        """Whether a whole sector in this range was never written."""
        first = -(-start // SECTOR_BYTES) * SECTOR_BYTES
        # The first sector of a write was begun by the one before. Zeros that end elsewhere are of another kind; but
        # what follows may begin with some of its own.
        content = self._source(start, stop + ENTRY_AROUND_BYTES - start)
        ends = start + len(content) - len(content.lstrip(b"\0"))
        if start < first <= ends and ends % SECTOR_BYTES < ENTRY_AROUND_BYTES:
            return True
        empty = bytes(SECTOR_BYTES)
        return any(
            self._source(sector, SECTOR_BYTES) == empty
            for sector in range(first, stop - SECTOR_BYTES + 1, SECTOR_BYTES)
        )

    def _is_cut_off(self, at: int, used: int) -> bool:
        """Whether what is left may be the first part of one entry, with nothing or zeros where the other was to be."""
        head = self._source(at, _ENTRY_HEAD.size).ljust(_ENTRY_HEAD.size, b"\0")
        checksum, length = _ENTRY_HEAD.unpack(head)
        if not 0 <= checksum <= 0xFFFFFFFF or not 0 <= length <= self._length_max:
            return False
        return used < at + _ENTRY_HEAD.size + length + 1 if length else used <= at + _ENTRY_HEAD.size

    def _last_used(self, start: int) -> int:
        """The offset behind the last byte from start on that is not zero; 0 if there is none."""
        used, at = 0, start
        while chunk := self._source(at, _CHUNK_BYTES):
            if chunk.count(0) < len(chunk):
                used = at + len(chunk.rstrip(b"\0"))
            at += len(chunk)
        return used

    def _find_entry(self, start: int, stop: int) -> int:
        """The offset of the first whole entry that begins in this range; 0 if there is none."""
        summed = 0
        for window in range(start, stop, _CHUNK_BYTES):
            chunk = self._source(window, min(_CHUNK_BYTES, stop - window) + _ENTRY_HEAD.size - 1)
            for match in _BEGINNING.finditer(chunk):
                checksum, length = _ENTRY_HEAD.unpack_from(chunk, match.start())
                at = window + match.start()
                end = at + _ENTRY_HEAD.size + length
                if not _TXN_HEADER_BYTES <= length <= self._length_max or not checksum or end >= stop:
                    continue
                inside = end - window
                if (chunk[inside] if inside < len(chunk) else self._source(end, 1)[0]) != _TRAILER:
                    continue
                summed += length
                if summed > _SEARCH_BYTES_MAX:
                    return at
                if zlib.adler32(self._source(at + _ENTRY_HEAD.size, length)) == checksum:
                    return at
        return 0
