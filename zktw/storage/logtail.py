"""LogTail: what a log holds behind a transaction, read from its files while it grows (wire document, e.5). Blocks."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from zktw.storage.datadir import DataDir, zxid_of_name
from zktw.storage.logformat import ENTRY_BYTES_MAX, HEADER_BYTES, End, LogReader, follows
from zktw.terms.errors import StorageError

Entry = tuple[int, bytes]

_BLOCK_BYTES = 1 << 20
_EMPTY_BLOCK = bytes(_BLOCK_BYTES)


@dataclass(slots=True)
class Tail:
    """Some of what follows a zxid.

    held: that zxid is in our history itself. previous: the last that is, at or before it; -1: none is known.
    entries: (zxid, payload) in order, each zxid once. gap: numbers are left out somewhere from previous on.
    """

    held: bool
    previous: int
    entries: list[Entry] = field(default_factory=list)
    gap: bool = False


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where an entry begins."""

    zxid: int
    name: str
    offset: int


class LogTail:
    """Reads on where it ended before, so a log that is read in parts is read once.

    Another thread may write to the newest file meanwhile, or begin another. StorageError: damage, a file is gone.
    """

    def __init__(self, datadir: DataDir, entry_bytes_max: int = ENTRY_BYTES_MAX) -> None:
        self._datadir = datadir
        self._entry_bytes_max = entry_bytes_max
        # The last entry that was handed out.
        self._mark: _Mark | None = None

    def reach(self, zxid: int) -> int:
        """Bytes to be read of the files that hold what follows zxid; -1: the log does not reach back so far."""
        if zxid < self._datadir.read_log_base():
            return -1
        names = self._datadir.log_names()
        holder = self._find_holder(names, zxid)
        if not holder and not self._has_base(zxid):
            return -1
        return sum(map(self._used_bytes, _from_name(names, holder)))

    def newest_snapshot_bytes(self) -> int:
        """The size of the newest whole snapshot; 0 if there is none."""
        for name in reversed(self._datadir.snapshot_names()):
            if self._datadir.is_whole(name):
                return self._size(f"{self._datadir.snapshots}/{name}")
        return 0

    def read(self, zxid: int, count_max: int = 2000, bytes_max: int = 1 << 20) -> Tail:
        """What follows zxid, at most so much of it, but one entry at least; nothing where the log ends."""
        tail = Tail(False, -1)
        base = self._datadir.read_log_base()
        if self._has_base(zxid):
            # The tree stands for the transaction that the log does not hold.
            tail.held, tail.previous = zxid == base, base
        last, size = tail.previous, 0
        for name, offset, found, payload in self._from(zxid):
            # Apache's servers leave an entry at the end of one file and at the start of the next.
            if found < base or found <= last:
                continue
            if found <= zxid:
                tail.held, tail.previous = found == zxid, found
            else:
                tail.gap = tail.gap or (last >= 0 and not follows(last, found))
                tail.entries.append((found, payload))
                size += len(payload)
                self._mark = _Mark(found, name, offset)
            last = found
            if tail.entries and (len(tail.entries) >= count_max or size >= bytes_max):
                break
        return tail

    def _has_base(self, zxid: int) -> bool:
        """Whether a tree was taken over at or before this zxid, and is there."""
        base = self._datadir.read_log_base()
        return 0 < base <= zxid and any(zxid_of_name(name) == base for name in self._datadir.snapshot_names())

    def _from(self, zxid: int) -> Iterator[tuple[str, int, int, bytes]]:
        """File, offset, zxid and payload of entries, from this zxid on or from before it."""
        names = self._datadir.log_names()
        mark = self._mark
        if mark is not None and mark.zxid == zxid and self._is_right(mark, names):
            first, start = mark.name, mark.offset
        else:
            first, start = self._find_holder(names, zxid), HEADER_BYTES
        for name in _from_name(names, first):
            reader = self._reader(name)
            newest = name == names[-1]
            for offset, found, payload in reader.entries(start, growing=newest):
                yield name, offset, found, payload
            if not newest and reader.end not in (End.CLEAN, End.CUT_OFF):
                raise StorageError(
                    f"{self._datadir.logs}/{name}: damaged at byte {reader.end_offset}: {reader.defect}, and it is not"
                    " the newest log"
                )
            start = HEADER_BYTES

    def _is_right(self, mark: _Mark, names: list[str]) -> bool:
        """Files may have been cut, or have gone and come again, since it was made."""
        if mark.name not in names:
            return False
        try:
            first = next(self._reader(mark.name).entries(mark.offset, growing=True), None)
        except StorageError:
            return False
        return first is not None and first[1] == mark.zxid

    def _find_holder(self, names: list[str], zxid: int) -> str:
        """The last file whose first entry is not behind this zxid; "" if there is none."""
        for name in reversed(names):
            if zxid_of_name(name) <= zxid:
                first = next(self._reader(name).entries(growing=True), None)
                if first is not None and first[1] <= zxid:
                    return name
        return ""

    def _used_bytes(self, name: str) -> int:
        """Of a file, without the room that is reserved in it: a block of zeros is taken for its end."""
        path = f"{self._datadir.logs}/{name}"
        low, high = 0, -(-self._size(path) // _BLOCK_BYTES)
        while low < high:
            middle = (low + high) // 2
            block = self._read_block(path, middle)
            if block == _EMPTY_BLOCK[: len(block)]:
                high = middle
            else:
                low = middle + 1
        return (low - 1) * _BLOCK_BYTES + len(self._read_block(path, low - 1).rstrip(b"\0")) if low else 0

    def _size(self, path: str) -> int:
        return self._datadir.guard(path, lambda: self._datadir.files.size(path))

    def _read_block(self, path: str, number: int) -> bytes:
        return self._datadir.guard(path, lambda: self._datadir.files.read(path, _BLOCK_BYTES, number * _BLOCK_BYTES))

    def _reader(self, name: str) -> LogReader:
        return self._datadir.log_reader(name, self._entry_bytes_max)


def _from_name(names: list[str], name: str) -> list[str]:
    """These from that name on; all of them where there is none."""
    return names[names.index(name) :] if name else names
