"""Ledger: all that an ensemble has committed, in its one order, and what the tree must be after each transaction.

Fed by what passes over the quorum port and by what stands on the disks; a transaction is known by its zxid and bytes.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator

from zktw.sim.history import Entry
from zktw.sim.model import Model
from zktw.terms.zxid import counter_of, epoch_of, format_zxid, make_zxid
from zktw.wire.txn import decode_txn

_LENGTH_MAX = 1 << 24


class Ledger:
    """fail(reason) is told of what cannot be; judge(entry) looks at each transaction before the model makes it happen.

    on_committed(zxid) is told of each that is new.
    """

    def __init__(
        self,
        fail: Callable[[str], None],
        judge: Callable[[Entry], None] = lambda entry: None,
        on_committed: Callable[[int], None] = lambda zxid: None,
    ) -> None:
        self.model = Model()
        # All that was ever proposed, committed or not.
        self.proposed: dict[int, bytes] = {}
        # What is committed, in its order.
        self.zxids: list[int] = []
        self._entries: dict[int, Entry] = {}
        self._fail = fail
        self._judge = judge
        self._on_committed = on_committed

    @property
    def last(self) -> int:
        """The last transaction that is committed; 0 before the first."""
        return self.zxids[-1] if self.zxids else 0

    def holds(self, zxid: int) -> bool:
        """Whether this transaction is committed."""
        return zxid in self._entries

    def entry(self, zxid: int) -> Entry | None:
        """The transaction of a zxid, if it is committed."""
        return self._entries.get(zxid)

    def last_before(self, zxid: int) -> int:
        """The last transaction that is committed and not behind this one; 0 if there is none."""
        number = bisect_right(self.zxids, zxid)
        return self.zxids[number - 1] if number else 0

    def between(self, after: int, upto: int) -> list[int]:
        """The committed ones behind `after`, up to `upto`."""
        return self.zxids[bisect_right(self.zxids, after) : bisect_right(self.zxids, upto)]

    # -- what is learnt ----------------------------------------------------------------------------------------------

    def note(self, zxid: int, payload: bytes, where: str) -> None:
        """A transaction was seen. Of one zxid there is only one: an epoch has one leader, which counts on."""
        known = self.proposed.get(zxid)
        if known is None:
            if not counter_of(zxid) or int.from_bytes(payload[12:20], "big") != zxid:
                self._fail(f"E1: {where} has {format_zxid(zxid)} of transaction {payload[12:20].hex()}")
                return
            self.proposed[zxid] = payload
        elif known != payload:
            self._fail(f"AG: {where} has another transaction of zxid {format_zxid(zxid)} than there was before")

    def learn(self, zxid: int, who: str) -> None:
        """All of this epoch up to zxid is committed; what was before the epoch is known since its leader serves."""
        last = self.last
        if zxid <= last:
            if counter_of(zxid) and zxid not in self._entries:
                self._fail(f"PC: {who} has {format_zxid(zxid)}, which the order {self._around(zxid)} leaves out")
            return
        first = last + 1 if epoch_of(last) == epoch_of(zxid) else make_zxid(epoch_of(zxid), 1)
        self.extend(range(first, zxid + 1), who)

    def extend(self, zxids: Iterable[int], who: str) -> None:
        """These are committed next."""
        for zxid in zxids:
            payload = self.proposed.get(zxid)
            if payload is None:
                self._fail(f"IN: {who} has {format_zxid(zxid)}, which nobody has proposed")
                return
            if not self.follows(self.last, zxid):
                self._fail(f"LPO: {who} has {format_zxid(zxid)} next to {format_zxid(self.last)}")
                return
            header, txn, _ = decode_txn(payload, _LENGTH_MAX)
            entry = self._entries[zxid] = (header, txn)
            self._judge(entry)
            wrong = self.model.apply(header, txn)
            if wrong:
                self._fail(f"log: {wrong}")
            self.zxids.append(zxid)
            self._on_committed(zxid)

    def follows(self, last: int, zxid: int) -> bool:
        """Whether one zxid may be the successor of the other: the next, or the first of a later epoch."""
        return zxid == last + 1 or (counter_of(zxid) == 1 and epoch_of(zxid) > epoch_of(last))

    def _around(self, zxid: int) -> Iterator[str] | str:
        number = bisect_right(self.zxids, zxid)
        return ", ".join(format_zxid(other) for other in self.zxids[max(0, number - 2) : number + 2])
