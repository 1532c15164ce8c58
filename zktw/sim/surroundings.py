"""Surroundings: what servers get by no argument. The date is the world's, and a failure that is logged is a finding."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from zope.interface import provider

from zktw.node import clock
from zktw.sim.stage import Stage

# The date of the simulation, in ms since 1970, when it begins.
WALL_MS = 1_700_000_000_000


@contextmanager
def surroundings(world: Stage) -> Iterator[None]:
    """As long as this lasts, servers of this world may run; each host has its own idea of the date."""

    @provider(ILogObserver)
    def observe(event: dict[str, Any]) -> None:
        if "log_failure" in event and event.get("log_level") in (LogLevel.critical, LogLevel.error):
            world.broken = world.broken or f"logged: {event['log_failure'].value!r}"

    def date() -> int:
        running = world.schedule.running
        return WALL_MS + int(world.now_ms + (0.0 if running is None else running.wall_ms))

    real = clock.wall_ms
    _let_doors_be(real, date)
    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
        _let_doors_be(date, real)


def _let_doors_be(old: Callable[[], int], new: Callable[[], int]) -> None:
    """Every file of a node that has asked for the date by its name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("zktw.node."):
            names = vars(module)
            if names.get("wall_ms") is old:
                names["wall_ms"] = new
