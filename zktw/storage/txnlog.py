"""TxnLog: the transaction log of one server: append, roll, truncate (wire document, c.3). Of the journal thread."""

import errno
from collections.abc import Iterable
from dataclasses import dataclass

from zktw.storage.datadir import DataDir, zxid_of_name
from zktw.storage.files import IFile
from zktw.storage.logformat import ENTRY_BYTES_MAX, HEADER, HEADER_BYTES, LogReader, encode_entries
from zktw.terms.errors import NotHeldError, StorageError
from zktw.terms.zxid import counter_of, epoch_of, format_zxid

PREALLOCATE_BYTES = 64 << 20
# Room is made for more as soon as less than this is left, so that no batch waits for it in the middle.
_ROOM_BYTES_MIN = 4096
_NO_LIMIT = -1


class TxnLog:
    """Writes to one file at a time, named by its first zxid; never to one that an earlier life has written.

    size_limit_bytes: a file that has grown beyond it is followed by another; -1: no limit. With sync, what append()
    was given is durable when it returns. After a write that failed nothing can be appended any more.
    """

    def __init__(
        self,
        datadir: DataDir,
        *,
        preallocate_bytes: int = PREALLOCATE_BYTES,
        size_limit_bytes: int = _NO_LIMIT,
        sync: bool = True,
        entry_bytes_max: int = ENTRY_BYTES_MAX,
    ) -> None:
        self._datadir = datadir
        self._files = datadir.files
        self._preallocate_bytes = preallocate_bytes
        self._size_limit_bytes = size_limit_bytes
        self._sync = sync
        self._entry_bytes_max = entry_bytes_max
        self._file: IFile | None = None
        self._path = ""
        # Where the next entry goes, and how far the file reaches.
        self._end = 0
        self._allocated = 0
        self._failed = ""

    def append(self, entries: Iterable[tuple[int, bytes]]) -> int:
        """Write (zxid, payload) entries, in this order and as one write; returns the bytes written."""
        entries = list(entries)
        if self._failed:
            raise StorageError(self._failed)
        try:
            data = self.encode(entries)
        except StorageError as error:
            self._failed = str(error)
            raise
        return self.write(entries[0][0] if entries else 0, data)

    def encode(self, entries: list[tuple[int, bytes]]) -> bytes:
        """The bytes of these entries. May be called by another thread: it touches nothing that changes."""
        if entries and max([len(payload) for _, payload in entries]) > self._entry_bytes_max:
            # Never write what the next start would take for damage.
            zxid, payload = max(entries, key=lambda entry: len(entry[1]))
            raise StorageError(f"{self._datadir.logs}: transaction {format_zxid(zxid)} has {len(payload)} bytes")
        return encode_entries([payload for _, payload in entries])

    def write(self, zxid: int, data: bytes) -> int:
        """Write what encode() gave, as one write; zxid is that of its first entry. Returns the bytes written."""
        if self._failed:
            raise StorageError(self._failed)
        if not data:
            return 0
        try:
            file = self._file or self._begin(zxid)
            self._make_room(file, self._end + len(data))
            file.write(self._end, data)
        except OSError as error:
            self._failed = f"{self._path}: cannot be written: {error.strerror or error}"
            raise StorageError(self._failed) from error
        self._end += len(data)
        if 0 <= self._size_limit_bytes < self._end:
            self.roll()
        return len(data)

    def _begin(self, zxid: int) -> IFile:
        """A new file, its header and its name durable before any entry."""
        self._path = f"{self._datadir.logs}/log.{zxid:x}"
        # The same name is free where a crash came before the first entry.
        if self._files.exists(self._path) and next(self._read(f"log.{zxid:x}").entries(), None) is not None:
            self._failed = f"{self._path}: holds transactions already, and another {format_zxid(zxid)} was to follow"
            raise StorageError(self._failed)
        file = self._file = self._files.open(self._path, sync=self._sync)
        file.write(0, HEADER)
        self._end = self._allocated = HEADER_BYTES
        self._make_room(file, HEADER_BYTES)
        if self._sync:
            self._files.sync_directory(self._datadir.logs)
        return file

    def _make_room(self, file: IFile, end: int) -> None:
        """Reserve whole blocks, so that a write does not have to wait for the file system to find room for it."""
        block = self._preallocate_bytes
        if block <= 0 or end + _ROOM_BYTES_MIN <= self._allocated:
            return
        wanted = -(-(end + _ROOM_BYTES_MIN) // block) * block
        try:
            file.allocate(wanted)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            # What is left may do for the entries themselves; if not, their write fails.
            return
        self._allocated = wanted

    def roll(self) -> None:
        """Let the next entry begin a new file."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            # Reserved room is of no use any more. A reader does not miss it, and needn't find the cut durable.
            file.truncate(self._end)
        except OSError as error:
            self._failed = f"{self._path}: cannot be cut: {error.strerror or error}"
            raise StorageError(self._failed) from error
        finally:
            file.close()

    def close(self) -> None:
        """End, after a failure as well."""
        if not self._failed:
            self.roll()
        elif self._file is not None:
            file, self._file = self._file, None
            file.close()

    def truncate(self, zxid: int) -> None:
        """Forget what follows this transaction, durably. Refused, with nothing changed, where it isn't held.

        Snapshots of later trees go first: one left behind would bring back what was cut. Of the log the newest files
        go first, so that at each moment it holds a beginning of what it held.
        """
        self.roll()
        place = self._find_place(zxid)
        self._check_held(zxid, place)
        datadir = self._datadir
        floor = datadir.floor()
        names = [name for name in datadir.snapshot_names() if floor <= zxid_of_name(name) <= zxid]
        if not any(map(datadir.is_whole, names)):
            above = f", and above {format_zxid(floor)}, where a tree was taken over" if floor else ""
            raise NotHeldError(f"{datadir.snapshots}: no snapshot at or below {format_zxid(zxid)} to go back to{above}")
        datadir.remove_later_snapshots(zxid)
        self._cut(zxid, place)

    def forget_after(self, zxid: int) -> None:
        """Make room for a leader's tree of this zxid, durably: forget all entries of later ones.

        At each moment, until the tree is a snapshot, there is a beginning of our former history, which lacks nothing
        that its leader has. So later snapshots stay: they may be all that holds it. Who writes the tree removes them.
        """
        self.roll()
        place = self._find_place(zxid)
        # First: what is in the log next to the tree must at no time be taken for what came before it.
        self._datadir.write_log_base(zxid)
        self._cut(zxid, place)

    def _cut(self, zxid: int, place: "_Place") -> None:
        for name in reversed(self._datadir.log_names()):
            if zxid_of_name(name) > zxid:
                self._datadir.remove(self._datadir.logs, name)
        if place.name:
            self._datadir.cut(place.name, place.size)

    def _find_place(self, zxid: int) -> "_Place":
        """Where the log is to be cut so that no entry of a later zxid is left."""
        names = self._datadir.log_names()
        holders = [name for name in names if zxid_of_name(name) <= zxid]
        size, last_zxid = HEADER_BYTES, -1
        if holders:
            reader = self._read(holders[-1])
            for _, found, _ in reader.entries():
                if found > zxid:
                    return _Place(holders[-1], size, last_zxid, found)
                size, last_zxid = reader.end_offset, found
        for name in names[len(holders) :]:
            for _, found, _ in self._read(name).entries():
                return _Place(holders[-1] if holders else "", size, last_zxid, found)
        return _Place(holders[-1] if holders else "", size, last_zxid, -1)

    def _check_held(self, zxid: int, place: "_Place") -> None:
        if place.last_zxid == zxid or any(zxid_of_name(name) == zxid for name in self._datadir.snapshot_names()):
            return
        # The start of an epoch is no transaction; who has one of that epoch has lived through it.
        if not counter_of(zxid) and epoch_of(place.next_zxid) == epoch_of(zxid) and place.next_zxid > zxid:
            return
        raise NotHeldError(f"{self._datadir.logs}: no transaction {format_zxid(zxid)} to cut behind")

    def _read(self, name: str) -> LogReader:
        return self._datadir.log_reader(name, self._entry_bytes_max)


@dataclass(frozen=True, slots=True)
class _Place:
    """The last file that keeps anything ("": none does) and the bytes to leave of it.

    last_zxid is that of the last entry before the cut in that file, next_zxid that of the first behind it; -1: none.
    """

    name: str
    size: int
    last_zxid: int
    next_zxid: int
