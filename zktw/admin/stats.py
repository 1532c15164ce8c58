"""ServerStats: plain counters and summaries of one server. Knows no clock: durations are given."""


class Summary:
    """Count, sum, smallest and largest of a series; percentiles are those of the newest values."""

    __slots__ = ("count", "largest", "recent", "smallest", "total")

    RECENT_MAX = 1024

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.smallest = 0
        self.largest = 0
        self.recent: list[int] = []

    def add(self, value: int) -> None:
        """One more value."""
        self.smallest = value if not self.count else min(self.smallest, value)
        self.largest = value if not self.count else max(self.largest, value)
        self.count += 1
        self.total += value
        if len(self.recent) == self.RECENT_MAX:
            del self.recent[: self.RECENT_MAX // 2]
        self.recent.append(value)

    @property
    def average(self) -> float:
        """The mean, 0 of nothing."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, fraction: float) -> int:
        """The value below which this fraction of the newest values lies."""
        if not self.recent:
            return 0
        ordered = sorted(self.recent)
        return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


class ServerStats:
    """What the server counts. counters and summaries go by the names of mntr (admin/monitor.py)."""

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        self.counters: dict[str, int] = {}
        self.summaries: dict[str, Summary] = {}

    def count(self, name: str, by: int = 1) -> None:
        """Something happened."""
        self.counters[name] = self.counters.get(name, 0) + by

    def add(self, name: str, value: int) -> None:
        """Something took this long, or was this large."""
        self.summaries.setdefault(name, Summary()).add(value)

    def reset(self) -> None:
        """srst: forget what clients have done; the counters of mntr go on, as Apache's do."""
        self.received = 0
        self.sent = 0
