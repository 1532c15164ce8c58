"""Driver: runs one core. It carries out the effects in their order, never nested, and keeps the core's one alarm."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from zktw.node.clock import Clock
from zktw.wire.effects import Effect


class Core(Protocol):
    """What a driver needs of a core."""

    deadline_ms: float | None

    def on_deadline(self, now_ms: float) -> Sequence[Effect]:
        """The deadline has come."""


class Driver:
    """A core, its effects and its alarm. After stop() nothing is carried out any more."""

    def __init__(self, clock: Clock, core: Core, carry_out: Callable[[Effect], None]) -> None:
        self._clock = clock
        self._core = core
        self._carry_out = carry_out
        self._effects: deque[Effect] = deque()
        self._busy = False
        self._stopped = False
        self._alarm = clock.alarm(self._ring)

    def do(self, effects: Sequence[Effect]) -> None:
        """Carry out what a call of the core has answered, after all that it answered before."""
        if self._stopped:
            return
        self._effects.extend(effects)
        if self._busy:
            return
        self._busy = True
        try:
            while self._effects and not self._stopped:
                self._carry_out(self._effects.popleft())
        finally:
            self._busy = False
        if not self._stopped:
            self._alarm.set(self._core.deadline_ms)

    def stop(self) -> None:
        """The core has had its say."""
        self._stopped = True
        self._effects.clear()
        self._alarm.set(None)

    def _ring(self) -> None:
        # The clock may read a rounding error less than the time that the alarm was set to.
        self.do(self._core.on_deadline(max(self._clock.now_ms(), self._core.deadline_ms or 0.0)))
