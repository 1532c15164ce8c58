"""The one door to time and chance."""

import time
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.python.failure import Failure

__all__ = ["Alarm", "Clock", "Random", "format_date", "new_random", "use_monotonic_time", "wall_ms"]


def new_random() -> Random:
    """Chance from the system, for a server that runs; a simulation brings its own, seeded."""
    return Random()


def wall_ms() -> int:
    """Milliseconds since 1970 by this host's clock; only for records that need a date."""
    return time.time_ns() // 1_000_000


def use_monotonic_time(reactor: Any) -> None:
    """Let the reactor schedule by the monotonic clock: by wall time, a stepped clock would move every timer.

    To be called before anything is scheduled.
    """
    reactor.seconds = time.monotonic


class Clock:
    """Monotonic milliseconds and alarms of one reactor (IReactorTime).

    on_failure is told what a call raises, which a reactor would only log, to go on with half of what was to happen.
    """

    def __init__(self, reactor: Any) -> None:
        self.on_failure: Callable[[Failure], None] | None = None
        self._reactor = reactor

    def now_ms(self) -> float:
        """Milliseconds that only ever grow."""
        now: float = self._reactor.seconds() * 1000
        return now

    def soon(self, call: Callable[[], None]) -> None:
        """Call when this turn of the reactor is over: all that is ready now has been read by then."""
        self._reactor.callLater(0, self.guard, call)

    def guard(self, call: Callable[[], None]) -> None:
        """Call it, and let what it raises be told."""
        try:
            call()
        except Exception:
            if self.on_failure is None:
                raise
            self.on_failure(Failure())

    def alarm(self, ring: Callable[[], None]) -> "Alarm":
        """An alarm that is not set."""
        return Alarm(self._reactor, lambda: self.guard(ring))


class Alarm:
    """One call at one time, which may be moved or given up."""

    def __init__(self, reactor: Any, ring: Callable[[], None]) -> None:
        self._reactor = reactor
        self._ring = ring
        self._call: Any = None
        self._at_ms: float | None = None

    def set(self, at_ms: float | None) -> None:
        """Ring at this time instead of any other; None: not at all."""
        if at_ms == self._at_ms:
            return
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._at_ms = at_ms
        if at_ms is not None:
            delay_s = max(0.0, at_ms / 1000 - self._reactor.seconds())
            self._call = self._reactor.callLater(delay_s, self._rings)

    def _rings(self) -> None:
        self._call = None
        self._at_ms = None
        self._ring()


def format_date(at_ms: int) -> str:
    """A wall-clock moment as the four-letter words write it."""
    return time.strftime("%a %b %d %H:%M:%S %Z %Y", time.localtime(at_ms / 1000))
