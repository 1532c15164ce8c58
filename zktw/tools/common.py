"""What the side tools share: errors of a call, arguments, files that are only read, progress, and how things are shown.

Tools print facts on standard output and what is wrong on standard error.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from zope.interface import implementer

from zktw.node.clock import wall_ms
from zktw.storage.datadir import VERSION_DIRECTORY, DataDir
from zktw.storage.files import IFiles, RealFiles
from zktw.storage.logformat import LogReader
from zktw.terms.codes import Perm
from zktw.terms.errors import ZktwError
from zktw.terms.limits import JUTE_MAXBUFFER
from zktw.wire.records import OPEN_ACL, Acls

LOG_MAGIC = b"ZKLG"
SNAPSHOT_MAGIC = b"ZKSN"
_CHUNK_BYTES = 1 << 20
_ZXID_MAX = 2**63 - 1
_PROGRESS_MS = 500
_LENGTH_MAX = 2**31 - 1
_PERMS = ((Perm.CREATE, "c"), (Perm.DELETE, "d"), (Perm.READ, "r"), (Perm.WRITE, "w"), (Perm.ADMIN, "a"))


class ToolError(ZktwError):
    """A call that can't be carried out: a file is missing, or of another kind. Exit status 2."""


def warn(text: str) -> None:
    """Tell what is wrong."""
    sys.stdout.flush()
    print(f"zktw: {text}", file=sys.stderr)


# -- arguments -------------------------------------------------------------------------------------------------------


def zxid_argument(text: str) -> int:
    """A zxid: decimal, or hexadecimal behind 0x."""
    try:
        zxid = int(text, 0)
    except ValueError:
        zxid = -1
    if not 0 <= zxid <= _ZXID_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no zxid: 0x1f, or 31")
    return zxid


def _length_argument(text: str) -> int:
    try:
        length = int(text, 0)
    except ValueError:
        length = 0
    if not 0 < length <= _LENGTH_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes from 1 to {_LENGTH_MAX}")
    return length


def add_progress(parser: argparse.ArgumentParser) -> None:
    """The option of all tools that read long files."""
    parser.add_argument("--progress", action="store_true", help="tell how far reading is, even if not to a terminal")


def add_maxbuffer(parser: argparse.ArgumentParser) -> None:
    """The option of all tools that read snapshots."""
    parser.add_argument(
        "--maxbuffer",
        type=_length_argument,
        default=JUTE_MAXBUFFER,
        metavar="BYTES",
        help=f"the server's jute.maxbuffer (default {JUTE_MAXBUFFER}): a longer field counts as damage",
    )


def add_directories(parser: argparse.ArgumentParser) -> None:
    """The two directories of a server."""
    parser.add_argument("data_dir", metavar="DATADIR", help="dataDir as in zoo.cfg")
    parser.add_argument("log_dir", metavar="DATALOGDIR", nargs="?", help="dataLogDir, where it is another")


def directories(options: argparse.Namespace, files: IFiles) -> DataDir:
    """The directories that were named, which exist; their version-2 may be named as well."""
    paths = []
    for path in (options.data_dir, options.log_dir or options.data_dir):
        path = path.rstrip("/") or "/"
        if os.path.basename(path) == VERSION_DIRECTORY:
            path = os.path.dirname(path) or "."
        inner = f"{path}/{VERSION_DIRECTORY}"
        try:
            os.listdir(inner)
        except OSError as error:
            raise ToolError(f"{inner}: {error.strerror}; a data directory has its files there") from None
        paths.append(path)
    return DataDir(files, *paths)


# -- files -----------------------------------------------------------------------------------------------------------


class Progress:
    """How far the reading of a file is, on standard error."""

    def __init__(self, asked: bool) -> None:
        self._terminal = sys.stderr.isatty()
        self._enabled = asked or self._terminal
        self._next_ms = wall_ms() + _PROGRESS_MS
        self._dirty = False

    def at(self, path: str, offset: int, size: int) -> None:
        """So many bytes of so many are read."""
        if not self._enabled or wall_ms() < self._next_ms:
            return
        self._next_ms = wall_ms() + _PROGRESS_MS
        text = f"{os.path.basename(path)}: {100 * offset // max(size, 1)} % of {size} bytes"
        # What follows on a terminal overwrites it.
        print(f"\r{text}\x1b[K" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr)
        sys.stderr.flush()
        self._dirty = self._terminal

    def clear(self) -> None:
        """Leave nothing of it on a terminal."""
        if self._dirty:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._dirty = False


@implementer(IFiles)
class ReadOnlyFiles(RealFiles):
    """The file system, of which nothing is changed: what would be is noted as (operation, path)."""

    def __init__(self, progress: Progress) -> None:
        self.changes: list[tuple[str, str]] = []
        self._progress = progress
        self._sizes: dict[str, int] = {}

    def open(self, path: str, *, sync: bool) -> Any:
        """See IFiles. No tool lets it come so far."""
        raise PermissionError(f"{path} is only read")

    def read(self, path: str, count: int = -1, offset: int = 0) -> bytes:
        """See IFiles."""
        if offset:
            if path not in self._sizes:
                self._sizes[path] = self.size(path)
            self._progress.at(path, offset, self._sizes[path])
        return super().read(path, count, offset)

    def write(self, path: str, data: bytes) -> None:
        """See IFiles."""
        self.changes.append(("write", path))

    def truncate(self, path: str, size: int) -> None:
        """See IFiles."""
        self.changes.append(("truncate", path))

    def sync(self, path: str) -> None:
        """See IFiles. Nothing was written."""

    def sync_directory(self, path: str) -> None:
        """See IFiles. Nothing was written."""

    def rename(self, source: str, target: str) -> None:
        """See IFiles."""
        self.changes.append(("rename", target))

    def remove(self, path: str) -> None:
        """See IFiles."""
        self.changes.append(("remove", path))

    def is_writable(self, path: str) -> bool:
        """See IFiles. What is only looked at need not be."""
        return True

    def make_directory(self, path: str) -> None:
        """See IFiles."""
        self.changes.append(("make directory", path))


def beginning_of(path: str) -> bytes:
    """The first bytes of a file that is to be read. ToolError: it can't be."""
    try:
        with open(path, "rb") as file:
            return file.read(len(LOG_MAGIC))
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror or error}") from None


def log_reader(path: str, files: IFiles) -> LogReader:
    """Reads a log. ToolError: the file is missing or of another kind."""
    if beginning_of(path) == SNAPSHOT_MAGIC:
        raise ToolError(f"{path}: is a snapshot, no transaction log; zktw snapshot reads it")

    def source(offset: int, count: int) -> bytes:
        return files.read(path, count, offset)

    return LogReader(path, source)


def chunks_of(path: str, files: IFiles) -> Iterator[bytes]:
    """A whole file, piece by piece."""
    offset = 0
    while chunk := files.read(path, _CHUNK_BYTES, offset):
        yield chunk
        offset += len(chunk)


# -- showing ---------------------------------------------------------------------------------------------------------


def shown(text: str) -> str:
    """A path or name within a line: quoted where it would not stay one word, and without control characters."""
    if text and text.isprintable() and '"' not in text and " " not in text:
        return text
    return json.dumps(text)


def shown_data(data: bytes) -> str:
    """Data within a line: as text where it is some, in hexadecimal behind hex: otherwise."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return f"hex:{data.hex()}"
    return json.dumps(text, ensure_ascii=not text.isprintable())


def shown_acls(acls: Acls) -> list[str]:
    """A list, each entry as zkCli takes it: scheme:id:permissions."""
    return [f"{acl.scheme}:{acl.id}:{''.join(letter for perm, letter in _PERMS if acl.perms & perm)}" for acl in acls]


def acl_word(acls: Acls) -> str:
    """A list as one word; the open one is "open"."""
    return "open" if acls == OPEN_ACL else shown(",".join(shown_acls(acls)))


def hexed(number: int) -> str:
    """The 64 bits of a number, as Apache's tools print them: zxids, sessions, digests."""
    return f"0x{number & 0xFFFF_FFFF_FFFF_FFFF:x}"


def moment(at_ms: int) -> str:
    """Milliseconds since 1970 as a date in UTC; the number itself where no calendar has it."""
    try:
        date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    except OverflowError:
        return f"{at_ms}ms"
    return date.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def print_json(fields: dict[str, Any]) -> None:
    """One object on one line, in ASCII."""
    print(json.dumps(fields, separators=(",", ":")))
