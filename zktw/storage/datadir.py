"""DataDir: the files of one server by name; epochs, snapshots, and what may be purged (wire document, c.1, c.5).

All of it blocks and runs in a worker's thread.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from zktw.storage.files import IFiles
from zktw.storage.logformat import ENTRY_BYTES_MAX, LogReader
from zktw.storage.snapformat import (
    GZIP_MAGIC,
    SNAPPY_MAGIC,
    TAIL,
    Compression,
    looks_whole,
)
from zktw.terms.errors import StorageError
from zktw.terms.zxid import epoch_of
from zktw.wire.effects import EpochName

T = TypeVar("T")

VERSION_DIRECTORY = "version-2"
# Not Apache's ".tmp": a file of that name tells that the directory was left by an Apache server. And in front, since
# every reader, Apache's too, takes "snapshot.5.anything" for a snapshot.
NEW_PREFIX = "zktw-new."
APACHE_SUFFIX = ".tmp"
LOG_BASE = "zktw-log-base"
_EPOCH_MAX = 2**63 - 1
_ZXID_MAX = 2**63 - 1
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
# An Apache server that waits for a snapshot on an empty directory writes the epoch of zxid -1.
_APACHE_NO_EPOCH = "-1"

JOIN_ANEW = "if a quorum is up, empty this server's data directory and let it join anew"
MOVE_AWAY = "if it holds nothing that you need, move it away"


@dataclass(frozen=True, slots=True)
class Epochs:
    """The two epochs of a member of an ensemble."""

    current: int
    accepted: int


class DataDir:
    """The two directories of a server, as configured; the files are in their version-2.

    snapshots and logs are the paths of those two.
    """

    def __init__(self, files: IFiles, data_dir: str, data_log_dir: str) -> None:
        self.files = files
        self.snapshots = f"{data_dir}/{VERSION_DIRECTORY}"
        self.logs = f"{data_log_dir}/{VERSION_DIRECTORY}"
        self._marker = f"{data_log_dir}/initialize"

    # -- start -------------------------------------------------------------------------------------------------------

    def prepare(self, autocreate: bool) -> None:
        """Create what is missing; refuse directories that were swapped (bug 2967)."""
        paths = list(dict.fromkeys((self.snapshots, self.logs)))
        for path in paths:
            if not autocreate and not self.files.exists(path):
                raise StorageError(f"{path}: is missing, and datadir.autocreate=false forbids to create it")
        for path in paths:
            self.guard(path, partial(self._create, path))
            self._list(path)
            # Found out now, and not at the first write of a client.
            if not self.files.is_writable(path):
                raise StorageError(f"{path}: no files can be made in it")
        if self.snapshots == self.logs:
            return
        for path, prefix, key in ((self.logs, "snapshot.", "dataLogDir"), (self.snapshots, "log.", "dataDir")):
            found = [name for name in self._list(path) if name.startswith(prefix)]
            if found:
                raise StorageError(
                    f"{path}/{found[0]}: does not belong into {key}; are dataDir and dataLogDir swapped?"
                )

    def _create(self, path: str) -> None:
        """Make what is missing of a path, one name after the other, each durable before the next.

        So only the last name that is there already may still be taken back by a power cut: it is made durable as well.
        """
        missing = []
        while path and not self.files.exists(path):
            missing.append(path)
            path = path.rpartition("/")[0]
        # A directory that we may not even look into is none that we have made names in.
        if path:
            with suppress(PermissionError):
                self.files.sync_directory(_parent(path))
        for name in reversed(missing):
            self.files.make_directory(name)
            self.files.sync_directory(_parent(name))

    def has_marker(self) -> bool:
        """Whether an operator allows to begin with an empty tree."""
        return self.files.exists(self._marker)

    def remove_marker(self) -> None:
        """It allows one empty start, this one; left behind, it would allow the next, after a loss."""
        if self.files.exists(self._marker):
            self.guard(self._marker, lambda: self.files.remove(self._marker))
            directory = self._marker.rpartition("/")[0]
            self.guard(directory, lambda: self.files.sync_directory(directory))

    # -- epochs ------------------------------------------------------------------------------------------------------

    def read_epochs(self, last_zxid: int) -> Epochs:
        """What the epochs are, with what a crash left half done completed. StorageError where no crash left it so."""
        of_history = max(0, epoch_of(last_zxid))
        current = self._read_epoch("currentEpoch")
        accepted = self._read_epoch("acceptedEpoch")
        if current is not None and accepted is not None and accepted < current:
            raise StorageError(
                f"{self._epoch_path('acceptedEpoch')}: {accepted} is below currentEpoch {current}, which no crash can"
                f" leave behind; {JOIN_ANEW}"
            )
        if accepted is None and current is not None and current > of_history:
            raise StorageError(
                f"{self._epoch_path('acceptedEpoch')}: is missing, though currentEpoch is {current}; {JOIN_ANEW}"
            )
        new_current = of_history if current is None else current
        if of_history > new_current:
            # A crash came between the synchronised history and the epoch that it belongs to (bug 1653).
            new_current = max(of_history, self._foreign_epoch())
        return Epochs(new_current, max(new_current, accepted or 0))

    def settle_epochs(self, epochs: Epochs) -> None:
        """Write what of these is not so on disk. In this order: currentEpoch is at no moment above acceptedEpoch."""
        if epochs.accepted != self._read_epoch("acceptedEpoch"):
            self.write_epoch("acceptedEpoch", epochs.accepted)
        if epochs.current != self._read_epoch("currentEpoch"):
            self.write_epoch("currentEpoch", epochs.current)

    def write_epoch(self, name: EpochName, epoch: int) -> None:
        """Replace an epoch file; durable on return."""
        self._replace(self._epoch_path(name), str(epoch).encode("ascii"))

    def put_snapshot(self, zxid: int, content: bytes, compression: Compression = "") -> None:
        """Write a whole snapshot file; durable on return."""
        self._replace(self.snapshot_path(zxid, compression), content)

    def snapshot_path(self, zxid: int, compression: Compression = "") -> str:
        """The name of a snapshot."""
        return f"{self.snapshots}/snapshot.{zxid:x}" + (f".{compression}" if compression else "")

    def _replace(self, path: str, content: bytes) -> None:
        directory, _, name = path.rpartition("/")
        new = f"{directory}/{NEW_PREFIX}{name}"
        try:
            self.files.write(new, content)
            self.files.sync(new)
            self.files.rename(new, path)
            self.files.sync_directory(directory)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error

    def _epoch_path(self, name: str) -> str:
        return f"{self.snapshots}/{name}"

    def _read_epoch(self, name: EpochName) -> int | None:
        path = self._epoch_path(name)
        text = self._read_text(path)
        if text is None or text == _APACHE_NO_EPOCH:
            return None
        epoch = _parse_epoch(text)
        if epoch is None:
            raise StorageError(f"{path}: damaged at byte 0: {text[:40]!r} is no epoch; {JOIN_ANEW}")
        return epoch

    def _foreign_epoch(self) -> int:
        """The epoch that an Apache server was about to make current; 0 if there is none, or not all of it."""
        text = self._read_text(self._epoch_path("currentEpoch") + APACHE_SUFFIX)
        return _parse_epoch(text or "") or 0

    def _read_text(self, path: str) -> str | None:
        if not self.files.exists(path):
            return None
        return self.guard(path, lambda: self.files.read(path, 64)).decode("utf-8", "replace").strip()

    def clear_leftovers(self) -> None:
        """Remove what was being written when the last process died."""
        for directory in dict.fromkeys((self.snapshots, self.logs)):
            for name in self._list(directory):
                if name.startswith(NEW_PREFIX):
                    path = f"{directory}/{name}"
                    self.guard(path, partial(self.files.remove, path))

    # -- trees of others ---------------------------------------------------------------------------------------------

    def write_log_base(self, zxid: int) -> None:
        """A leader's tree of this zxid is about to take the place of our history: only from there on the log is whole.

        What is older may lack transactions of the history that the tree stands for, and hold others. Durable on return.
        """
        self._replace(f"{self.logs}/{LOG_BASE}", str(zxid).encode("ascii"))

    def read_log_base(self) -> int:
        """See write_log_base; 0 where no tree was ever taken over."""
        path = f"{self.logs}/{LOG_BASE}"
        text = self._read_text(path)
        if text is None:
            return 0
        if not text.isascii() or not text.isdigit() or int(text) > _ZXID_MAX:
            raise StorageError(f"{path}: damaged at byte 0: {text[:40]!r} is no zxid; {JOIN_ANEW}")
        return int(text)

    def floor(self) -> int:
        """The zxid below which no snapshot may be gone back to; 0 if there is none.

        Until the tree that was to be taken over is a snapshot our own history still counts: a crash came before.
        """
        base = self.read_log_base()
        return base if any(zxid_of_name(name) >= base for name in self.snapshot_names()) else 0

    def remove_later_snapshots(self, zxid: int) -> None:
        """Remove snapshots of later trees than this, the newest first; durable on return."""
        for name in reversed(self.snapshot_names()):
            if zxid_of_name(name) > zxid:
                self.remove(self.snapshots, name)

    # -- housekeeping ------------------------------------------------------------------------------------------------

    def purge(self, retain: int) -> list[str]:
        """Remove snapshots older than the `retain` newest whole ones, and the logs that none of these needs."""
        assert retain > 0
        kept = [name for name in self.snapshot_names() if self.is_whole(name)][-retain:]
        if not kept:
            return []
        oldest = zxid_of_name(kept[0])
        logs = [name for name in self.log_names() if zxid_of_name(name) <= oldest]
        removed = [(self.snapshots, name) for name in self.snapshot_names() if zxid_of_name(name) < oldest]
        # The last log at or below the oldest snapshot holds what follows it.
        removed += [(self.logs, name) for name in logs[:-1]]
        for directory, name in removed:
            path = f"{directory}/{name}"
            self.guard(path, partial(self.files.remove, path))
        return [name for _, name in removed]

    def is_whole(self, name: str) -> bool:
        """Whether a snapshot seems to have been written to its end; of a packed one only the first bytes tell."""
        path = f"{self.snapshots}/{name}"
        for suffix, magic in ((".gz", GZIP_MAGIC), (".snappy", SNAPPY_MAGIC)):
            if name.endswith(suffix):
                return self.guard(path, partial(self.files.read, path, len(magic))) == magic
        size = self.guard(path, partial(self.files.size, path))
        return looks_whole(size, self.guard(path, partial(self.files.read, path, -1, max(0, size - len(TAIL)))))

    def sizes(self) -> tuple[int, int]:
        """Bytes in the data directory and in the log directory."""
        return self._size_of(self.snapshots), self._size_of(self.logs)

    def _size_of(self, directory: str) -> int:
        total = 0
        for name in self._list(directory):
            # Another thread may have renamed it since.
            with suppress(FileNotFoundError):
                total += self.files.size(f"{directory}/{name}")
        return total

    def snapshot_names(self) -> list[str]:
        """The snapshots, oldest first by zxid; names whose number is none are not ours."""
        return self._names(self.snapshots, "snapshot.")

    def log_names(self) -> list[str]:
        """The transaction logs, oldest first by zxid."""
        return self._names(self.logs, "log.")

    def _names(self, path: str, prefix: str) -> list[str]:
        names = [name for name in self._list(path) if name.startswith(prefix) and zxid_of_name(name) >= 0]
        return sorted(names, key=zxid_of_name)

    def log_reader(self, name: str, entry_bytes_max: int = ENTRY_BYTES_MAX) -> LogReader:
        """Reads one of the logs."""
        path = f"{self.logs}/{name}"

        def source(offset: int, count: int) -> bytes:
            return self.guard(path, lambda: self.files.read(path, count, offset))

        return LogReader(path, source, entry_bytes_max)

    def remove(self, directory: str, name: str) -> None:
        """Remove a file; durable on return."""
        path = f"{directory}/{name}"
        self.guard(path, lambda: self.files.remove(path))
        self.guard(directory, lambda: self.files.sync_directory(directory))

    def cut(self, name: str, size: int) -> None:
        """Leave a log this many bytes; durable on return."""
        path = f"{self.logs}/{name}"
        self.guard(path, lambda: self.files.truncate(path, size))

    def _list(self, path: str) -> list[str]:
        return self.guard(path, lambda: self.files.list(path))

    def guard(self, path: str, operation: Callable[[], T]) -> T:
        """Let what the system refuses name the file."""
        try:
            return operation()
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror or error}") from error


def _parse_epoch(text: str) -> int | None:
    if not text.isascii() or not text.isdigit() or int(text) > _EPOCH_MAX:
        return None
    return int(text)


def _parent(path: str) -> str:
    parent, slash, _ = path.rpartition("/")
    return parent or slash or "."


def zxid_of_name(name: str) -> int:
    """The number in a file's name, -1 where there is none."""
    number = name.partition(".")[2].partition(".")[0]
    # Python takes "0x5", "1_0" and " 5" for numbers as well; Apache would pass such a file by.
    if not number or not _HEX_DIGITS.issuperset(number):
        return -1
    zxid = int(number, 16)
    return zxid if zxid <= _ZXID_MAX else -1
