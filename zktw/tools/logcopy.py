"""zktw log chop and zktw log repair: copies of a log. The log itself is only read, and no copy overwrites a file."""

import argparse
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

from zktw.storage.files import IFiles
from zktw.storage.logformat import HEADER, HEADER_BYTES, LogReader, encode_entry
from zktw.terms.errors import StorageError, WireError
from zktw.tools.common import (
    SNAPSHOT_MAGIC,
    Progress,
    ReadOnlyFiles,
    ToolError,
    add_progress,
    beginning_of,
    hexed,
    log_reader,
    zxid_argument,
)
from zktw.tools.txnwords import txn_words
from zktw.wire.txn import HEADER as TXN_HEADER
from zktw.wire.txn import decode_txn, zxid_of_payload

_CHUNK_BYTES = 1 << 20
_ENTRY_HEAD = struct.Struct(">qi")
_TRAILER = b"B"


def add_verbs(verbs: Any) -> None:
    """Options of both."""
    chop = verbs.add_parser("chop", help="copy a log up to a transaction")
    chop.add_argument("path", metavar="FILE", help="a transaction log")
    chop.add_argument("zxid", type=zxid_argument, metavar="ZXID", help="the last transaction of the copy")
    chop.set_defaults(run=run_chop)
    repair = verbs.add_parser(
        "repair",
        help="copy a damaged log so that it can be read",
        description="Wrong checksums are computed anew where the transaction can be read; the copy ends before the"
        " first entry that cannot. Look at what is told of each: a wrong checksum means that bytes were changed.",
    )
    repair.add_argument("path", metavar="FILE", help="a transaction log")
    repair.set_defaults(run=run_repair)
    for verb in (chop, repair):
        verb.add_argument("-o", "--output", required=True, metavar="COPY", help="the copy, which must not be there yet")
        add_progress(verb)


def run_chop(options: argparse.Namespace) -> int:
    """Copy a log up to a transaction."""
    progress = Progress(options.progress)
    files = ReadOnlyFiles(progress)
    reader = log_reader(options.path, files)
    count, found = 0, False
    for _, zxid, _ in reader.entries():
        if zxid > options.zxid:
            break
        count += 1
        found = zxid == options.zxid
        if found:
            break
    progress.clear()
    if not found:
        raise StorageError(f"{options.path}: holds no transaction {hexed(options.zxid)}; nothing was written")
    size = reader.end_offset

    def pieces() -> Iterator[bytes]:
        for offset in range(0, size, _CHUNK_BYTES):
            yield files.read(options.path, min(_CHUNK_BYTES, size - offset), offset)

    _write_copy(options.output, pieces())
    print(f"{options.output}: {count} transactions, {size} bytes, up to {hexed(options.zxid)}")
    return 0


def run_repair(options: argparse.Namespace) -> int:
    """Copy a log so that it can be read."""
    if beginning_of(options.path) == SNAPSHOT_MAGIC:
        raise ToolError(f"{options.path}: is a snapshot, no transaction log, and cannot be repaired")
    progress = Progress(options.progress)
    repair = _Repair(options.path, ReadOnlyFiles(progress))
    # Before a file is begun that would hold nothing.
    if repair.look(HEADER_BYTES) is None:
        raise StorageError(
            f"{options.path}: its first transaction cannot be read ({repair.reason or 'there is none'}): nothing can be"
            " repaired, and nothing was written"
        )
    _write_copy(options.output, repair.pieces())
    progress.clear()
    for line in repair.told:
        print(line)
    print(
        f"{options.output}: {repair.count} transactions, up to {hexed(repair.last_zxid)};"
        f" {repair.mended} checksums computed anew"
    )
    return 0


class _Repair:
    """One log as it is copied; told says what was done, a line each."""

    def __init__(self, path: str, files: IFiles) -> None:
        self.told: list[str] = []
        self.count = 0
        self.mended = 0
        self.last_zxid = -1
        # Why the last look found nothing.
        self.reason = ""
        self._path = path
        self._files = files
        self._size = files.size(path)
        self._chunk = b""
        self._start = 0

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the copy."""
        header = self._files.read(self._path, HEADER_BYTES)
        if header != HEADER:
            self.told.append(f"byte 0: the header was {header.hex()}, and is written anew")
        yield HEADER
        offset = HEADER_BYTES
        while (found := self.look(offset)) is not None:
            checksum, payload = found
            self._note(offset, checksum, payload)
            yield encode_entry(payload)
            offset += _ENTRY_HEAD.size + len(payload) + len(_TRAILER)
        if self.reason:
            self.told.append(f"byte {offset}: the copy ends here: {self.reason}{self._loss(offset)}")

    def _note(self, offset: int, checksum: int, payload: bytes) -> None:
        self.count += 1
        self.last_zxid = zxid_of_payload(payload)
        right = zlib.adler32(payload)
        if checksum == right:
            return
        self.mended += 1
        header, txn, _ = decode_txn(payload, len(payload))
        self.told.append(
            f"byte {offset}: checksum {hexed(checksum)} became {hexed(right)}: transaction {hexed(header.zxid)}"
            f" {txn_words(header.type, txn, with_data=False)}"
        )

    def look(self, offset: int) -> tuple[int, bytes] | None:
        """Checksum and payload of the entry at an offset. None: there is none, for the reason, "" at a clean end."""
        head = self._bytes(offset, _ENTRY_HEAD.size)
        if not head.strip(b"\0"):
            self.reason = "" if self._only_zeros(offset) else "an entry has no length"
            return None
        if len(head) < _ENTRY_HEAD.size:
            self.reason = "an entry is cut off"
            return None
        checksum, length = _ENTRY_HEAD.unpack(head)
        if length <= 0:
            self.reason = f"the length of an entry is {length}"
            return None
        end = offset + _ENTRY_HEAD.size + length
        if end + len(_TRAILER) > self._size:
            self.reason = f"an entry of {length} bytes does not end within the file"
            return None
        payload = self._bytes(offset + _ENTRY_HEAD.size, length)
        trailer = self._bytes(end, len(_TRAILER))
        if trailer != _TRAILER:
            self.reason = f"an entry of {length} bytes ends with byte {trailer.hex()}, not {_TRAILER.hex()}"
            return None
        if zlib.adler32(payload) == checksum and length >= TXN_HEADER.size:
            return checksum, payload
        try:
            header, _, _ = decode_txn(payload, length)
        except WireError as error:
            self.reason = f"an entry cannot be read: {error}"
            return None
        # A zxid that goes back is no beginning of anything.
        if header.zxid <= self.last_zxid:
            self.reason = f"its checksum is wrong, and {hexed(header.zxid)} does not follow {hexed(self.last_zxid)}"
            return None
        return checksum, payload

    def _bytes(self, offset: int, count: int) -> bytes:
        if not self._start <= offset or offset + count > self._start + len(self._chunk):
            self._start = offset
            self._chunk = self._files.read(self._path, max(count, _CHUNK_BYTES), offset)
        return self._chunk[offset - self._start : offset - self._start + count]

    def _only_zeros(self, offset: int) -> bool:
        while chunk := self._files.read(self._path, _CHUNK_BYTES, offset):
            if chunk.count(0) < len(chunk):
                return False
            offset += len(chunk)
        return True

    def _loss(self, cut: int) -> str:
        """Whether more is lost than one entry, which a crash would have cut off too."""

        # The reader sees the file without what was copied: from the damage on, behind a header.
        def source(offset: int, count: int) -> bytes:
            if offset < HEADER_BYTES:
                return (HEADER + self._files.read(self._path, max(0, count), cut))[offset : offset + count]
            return self._files.read(self._path, count, offset - HEADER_BYTES + cut)

        try:
            for _ in LogReader(self._path, source).entries():
                pass
        except StorageError:
            return "; WHOLE TRANSACTIONS FOLLOW IT IN THE LOG AND ARE NOT IN THE COPY"
        return "; no transaction follows it"


def _write_copy(path: str, pieces: Iterator[bytes]) -> None:
    """Write a file that is not there yet, whole or not at all."""
    try:
        with open(path, "xb") as file:
            try:
                _write(file, pieces)
            except BaseException:
                with suppress(OSError):
                    os.remove(path)
                raise
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror or error}; nothing was written") from None


def _write(file: BinaryIO, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        file.write(piece)
    file.flush()
    os.fsync(file.fileno())
