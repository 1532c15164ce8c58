"""ServerStats: plain counters and summaries of one server. Knows no clock: durations are given."""

from decimal import ROUND_HALF_UP, Decimal

from zktw.admin.figures import ADVANCED, ADVANCED_SETS, BASIC, BASIC_SETS, COUNTERS
from zktw.terms.limits import SUMMARY_RECENT_MAX

_FOUR_DIGITS = Decimal("0.0001")
_LENGTH_BYTES = 4


class Summary:
    """Count, sum, smallest and largest of a series; percentiles are those of its newest values.

    Apache takes a random sample instead: the newest need no chance, and tell of now.
    """

    __slots__ = ("_next", "_recent", "count", "largest", "smallest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.smallest = 0
        self.largest = 0
        self._recent: list[int] = []
        self._next = 0

    def add(self, value: int) -> None:
        """One more value."""
        self.add_many(value, 1)

    def add_many(self, value: int, count: int) -> None:
        """The same value so many times. One of them stands for all in the percentiles: they come by the dozen."""
        # Comparisons, not min and max, and no call of another method: this is done for each turn with a read in it.
        if not self.count:
            self.smallest = self.largest = value
        elif value < self.smallest:
            self.smallest = value
        elif value > self.largest:
            self.largest = value
        self.count += count
        self.total += value * count
        recent = self._recent
        if len(recent) < SUMMARY_RECENT_MAX:
            recent.append(value)
        else:
            recent[self._next] = value
            self._next = (self._next + 1) % SUMMARY_RECENT_MAX

    @property
    def average(self) -> float:
        """The mean to four digits, halves upwards; 0 of nothing."""
        if not self.count:
            return 0.0
        return float(Decimal(self.total / self.count).quantize(_FOUR_DIGITS, ROUND_HALF_UP))

    def percentile(self, fraction: float) -> int:
        """The value below which this fraction of the newest values lies, between two of them the nearer."""
        ordered = sorted(self._recent)
        if not ordered:
            return 0
        place = fraction * (len(ordered) + 1)
        if place < 1:
            return ordered[0]
        if place >= len(ordered):
            return ordered[-1]
        below, above = ordered[int(place) - 1], ordered[int(place)]
        return int(below + (place - int(place)) * (above - below) + 0.5)


class ServerStats:
    """What the server counts. All but packets and latency go by the names of mntr (admin/figures.py).

    A name that mntr does not know is a slip of ours: KeyError.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """srst: everything counts from 0 again, as with Apache the figures of mntr too."""
        self.received = 0
        self.sent = 0
        self.latency = Summary()
        # Bytes of a reply without the length before it; -1 before the first.
        self.last_response_bytes = self.min_response_bytes = self.max_response_bytes = -1
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.summaries = {name: Summary() for name in (*BASIC, *ADVANCED)}
        self._reads, self._updates = self.summaries["readlatency"], self.summaries["updatelatency"]
        self.sets: dict[str, dict[str, Summary]] = {name: {} for name in (*BASIC_SETS, *ADVANCED_SETS)}

    def count(self, name: str, by: int = 1) -> None:
        """Something happened."""
        self.counters[name] += by

    def add(self, name: str, value: int) -> None:
        """Something took so long, or was so large."""
        self.summaries[name].add(value)

    def note_latency(self, latency_ms: int, count: int, *, write: bool) -> None:
        """So many requests were answered after so long."""
        self.latency.add_many(latency_ms, count)
        (self._updates if write else self._reads).add_many(latency_ms, count)

    def note_replies(self, frames: list[bytes], size: int) -> None:
        """These frames, of so many bytes together, are on their way to a client."""
        count = len(frames)
        self.counters["response_bytes"] += size - _LENGTH_BYTES * count
        if count == 1:
            last = smallest = largest = size - _LENGTH_BYTES
        else:
            # A set: most of them are equally long.
            sizes = set(map(len, frames))
            last = len(frames[-1]) - _LENGTH_BYTES
            smallest, largest = min(sizes) - _LENGTH_BYTES, max(sizes) - _LENGTH_BYTES
        self.last_response_bytes = last
        if largest > self.max_response_bytes:
            self.max_response_bytes = largest
        if smallest < self.min_response_bytes or self.min_response_bytes < 0:
            self.min_response_bytes = smallest

    def add_for(self, name: str, key: str, value: int) -> None:
        """The same of a figure that each server, or each part of the tree, has of its own."""
        self.sets[name].setdefault(key, Summary()).add(value)
