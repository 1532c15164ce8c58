"""CommittedLog: the last committed transactions in memory, from which most learners are brought up to date."""

from collections import deque
from collections.abc import Iterator

# Apache's commitLogCount.
COUNT_MAX = 500
# Five hundred transactions may be five hundred megabytes; what is not here is on disk.
BYTES_MAX = 64 << 20

# zxid and payload of a transaction.
Entry = tuple[int, bytes]


class CommittedLog:
    """All committed transactions from first to last_txn, without a hole.

    last is the zxid that our tree is at: that of last_txn, or of the start of an epoch behind it. A server keeps this
    through all its roles, and puts there all that it applies, in synchronisation too (bug 4925).
    """

    def __init__(self, last: int = 0, count_max: int = COUNT_MAX, bytes_max: int = BYTES_MAX) -> None:
        self.last = self.last_txn = last
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: deque[Entry] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    @property
    def first(self) -> int:
        """The oldest that is here; last_txn where none is."""
        return self._entries[0][0] if self._entries else self.last_txn

    def append(self, zxid: int, payload: bytes) -> None:
        """The next one has been committed."""
        entries = self._entries
        entries.append((zxid, payload))
        self.last = self.last_txn = zxid
        self._bytes += len(payload)
        while len(entries) > self._count_max or (self._bytes > self._bytes_max and len(entries) > 1):
            self._bytes -= len(entries.popleft()[1])

    def finish(self, last: int) -> None:
        """All that was recovered is here; our tree is at this zxid, which may be that of a snapshot behind it all."""
        if last != self.last_txn:
            self.reset(last)

    def begin_epoch(self, zxid: int) -> None:
        """Our tree is at the start of an epoch: no transaction, but later than all before it."""
        self.last = zxid

    def reset(self, last: int) -> None:
        """Our history is another one now, and ends here."""
        self._entries.clear()
        self._bytes = 0
        self.last = self.last_txn = last
