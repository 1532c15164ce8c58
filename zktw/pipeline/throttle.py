"""ConnectionThrottle: how many handshakes are taken in a time (connection_throttle_*, wire document, g.5).

A bucket of tokens, one a handshake. On top of it, if there is a freeze time, a share of handshakes is refused by
chance: the share rises each time the bucket is found empty and falls each time it is found full enough, at most once in
a freeze time. So a crowd that comes back after an outage is let in as fast as it can be served.
"""

from collections.abc import Callable

NEVER = -1


class ConnectionThrottle:
    """tokens 0: no limit. Times in ms, shares from 0 to 1."""

    def __init__(
        self,
        chance: Callable[[], float],
        now_ms: float,
        *,
        tokens: int,
        fill_time_ms: int,
        fill_count: int,
        freeze_time_ms: int,
        drop_increase: float,
        drop_decrease: float,
        decrease_ratio: float,
    ) -> None:
        self._chance = chance
        self._size = tokens
        self._tokens = float(tokens)
        self._fill_time_ms = max(1, fill_time_ms)
        self._fill_count = fill_count
        self._freeze_time_ms = freeze_time_ms
        self._drop_increase = drop_increase
        self._drop_decrease = drop_decrease
        self._enough = tokens * (1 - decrease_ratio)
        self._filled_ms = self._frozen_ms = now_ms
        # The share that is refused by chance now.
        self.drop = 0.0

    @property
    def deficit(self) -> int:
        """Tokens that are out."""
        return int(self._size - self._tokens)

    def admits(self, now_ms: float) -> bool:
        """Whether one more handshake is taken."""
        if not self._size:
            return True
        since_ms = now_ms - self._filled_ms
        if since_ms >= self._fill_time_ms:
            self._tokens = min(self._size, self._tokens + since_ms * self._fill_count / self._fill_time_ms)
            self._filled_ms = now_ms
        if self._freeze_time_ms != NEVER:
            self._adapt(now_ms)
            if self._chance() < self.drop:
                return False
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _adapt(self, now_ms: float) -> None:
        if now_ms - self._frozen_ms <= self._freeze_time_ms:
            return
        if self._tokens < 1:
            self.drop = min(1.0, self.drop + self._drop_increase)
            self._frozen_ms = now_ms
        elif self._tokens >= self._enough:
            self.drop = max(0.0, self.drop - self._drop_decrease)
            self._frozen_ms = now_ms
