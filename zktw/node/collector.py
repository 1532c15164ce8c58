"""Collector: Python's garbage collector, kept from stopping the service.

A full collection walks every container there is: 250 ms over a million nodes if these were objects (they are bytes, so
it is the sessions and connections that count). The oldest generation therefore does not run by itself, but in a quiet
moment, and only after there has been growth.
"""

import gc
from collections.abc import Callable

from twisted.logger import Logger

from zktw.node.clock import Clock

log = Logger()

# The young generations run seldom: what a request makes is freed without them.
YOUNG, MIDDLE = 20_000, 20
NEVER = 1 << 30
LOOK_MS = 10_000
# Collections of the middle generation since the last full one, after which there is something to be found.
GROWTH = 5
# However busy the server is, so much later it is done nevertheless.
PATIENCE_MS = 300_000


class Collector:
    """Runs the full collection itself; is_quiet tells whether nobody waits for anything."""

    def __init__(self, clock: Clock, is_quiet: Callable[[], bool]) -> None:
        self._clock = clock
        self._is_quiet = is_quiet
        self._alarm = clock.alarm(self._look)
        self._last_ms = clock.now_ms()

    def start(self) -> None:
        """What is there now stays: it is never looked at again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, MIDDLE, NEVER)
        self._alarm.set(self._clock.now_ms() + LOOK_MS)

    def stop(self) -> None:
        """Leave it to itself again."""
        self._alarm.set(None)

    def _look(self) -> None:
        now_ms = self._clock.now_ms()
        self._alarm.set(now_ms + LOOK_MS)
        if gc.get_count()[2] < GROWTH or not (self._is_quiet() or now_ms - self._last_ms > PATIENCE_MS):
            return
        gc.collect()
        self._last_ms = self._clock.now_ms()
        log.debug("collected garbage in {took:.1f} ms", took=self._last_ms - now_ms)
