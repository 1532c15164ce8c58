"""LogTail: what a log holds behind a transaction, read from its files while it grows (wire document, e.5). Blocks."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from zktw.storage.datadir import DataDir, zxid_of_name
from zktw.storage.logformat import ENTRY_BYTES_MAX
from zktw.terms.errors import StorageError

Entry = tuple[int, bytes]


@dataclass(slots=True)
class Tail:
    """Some of what follows a zxid; held: whether that is in the log itself; previous: the last at or before it."""

    held: bool
    previous: int
    entries: list[Entry] = field(default_factory=list)


class LogTail:
    """Reads on where it ended before, so a log that is read in parts is read once."""

    def __init__(self, datadir: DataDir, entry_bytes_max: int = ENTRY_BYTES_MAX) -> None:
        self._datadir = datadir
        self._entry_bytes_max = entry_bytes_max
        self._iterator: Iterator[Entry] | None = None
        self._at = -1

    def reach(self, zxid: int) -> int:
        """Bytes of the files that hold what follows zxid; -1: the log does not reach back so far."""
        names = self._datadir.log_names()
        if zxid < self._datadir.read_log_base():
            return -1
        holders = [name for name in names if zxid_of_name(name) <= zxid]
        if not holders:
            return -1
        needed = holders[-1:] + [name for name in names if zxid_of_name(name) > zxid]
        return sum(self._datadir.files.size(f"{self._datadir.logs}/{name}") for name in needed)

    def newest_snapshot_bytes(self) -> int:
        """The size of the newest snapshot; 0 if there is none."""
        names = self._datadir.snapshot_names()
        return self._datadir.files.size(f"{self._datadir.snapshots}/{names[-1]}") if names else 0

    def read(self, zxid: int, count_max: int = 2000, bytes_max: int = 1 << 20) -> Tail:
        """What follows zxid, at most so much of it; nothing where the log ends."""
        tail = Tail(False, -1)
        size = 0
        for found, payload in self._from(zxid):
            if found <= zxid:
                tail.held, tail.previous = found == zxid, found
                continue
            tail.entries.append((found, payload))
            size += len(payload)
            if len(tail.entries) >= count_max or size >= bytes_max:
                break
        return tail

    def _from(self, zxid: int) -> Iterator[Entry]:
        names = self._datadir.log_names()
        holders = [name for name in names if zxid_of_name(name) <= zxid]
        last = -1
        for name in holders[-1:] + [name for name in names if zxid_of_name(name) > zxid]:
            try:
                for _, found, payload in self._datadir.log_reader(name, self._entry_bytes_max).entries():
                    if found > last:
                        last = found
                        yield found, payload
            except StorageError:
                if name != names[-1]:
                    raise
