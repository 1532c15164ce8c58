"""Quiet: a line of the log that anybody may cause as often as they like is written now and then, with a count."""


class Quiet:
    """At most one line in pause_ms; it stands for all since the one before."""

    __slots__ = ("_count", "_pause_ms", "_silent_until_ms")

    def __init__(self, pause_ms: float) -> None:
        self._pause_ms = pause_ms
        self._silent_until_ms = float("-inf")
        self._count = 0

    def due(self, now_ms: float) -> int:
        """It happened again: how often since the last line, if one is due now; else 0."""
        self._count += 1
        if now_ms < self._silent_until_ms:
            return 0
        count, self._count = self._count, 0
        self._silent_until_ms = now_ms + self._pause_ms
        return count
