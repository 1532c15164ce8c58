"""Schedule: one queue of events for all simulated servers, ordered by time and then by the order of their making."""

import heapq
from collections.abc import Callable
from typing import Any


class Process:
    """One life of one simulated server process. What is scheduled for it dies with it, and waits while it is paused."""

    __slots__ = ("alive", "backlog", "name", "paused", "wall_ms")

    def __init__(self, name: str) -> None:
        self.name = name
        # How far the date on its host is ahead of the world's.
        self.wall_ms = 0.0
        self.alive = True
        self.paused = False
        self.backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []


class Event:
    """Something that will happen, unless it is cancelled."""

    __slots__ = ("args", "at", "cancelled", "function", "process")

    def __init__(
        self, at: float, process: Process | None, function: Callable[..., None], args: tuple[Any, ...]
    ) -> None:
        self.at = at
        self.process = process
        self.function = function
        self.args = args
        self.cancelled = False


class Schedule:
    """Simulated seconds, and what is to happen in them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        # Whose turn it is; None: the world's.
        self.running: Process | None = None
        self._heap: list[tuple[float, int, Event]] = []
        self._made = 0

    def at(self, when: float, process: Process | None, function: Callable[..., None], *args: Any) -> Event:
        """Call function(*args) at this time, as part of a process or of the world (None)."""
        event = Event(max(when, self.now), process, function, args)
        self._made += 1
        heapq.heappush(self._heap, (event.at, self._made, event))
        return event

    def after(self, delay: float, process: Process | None, function: Callable[..., None], *args: Any) -> Event:
        """The same, counted from now."""
        return self.at(self.now + delay, process, function, *args)

    def step(self, until: float) -> bool:
        """Let the next event happen if it comes by then; otherwise let the time pass and return False."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            at, _, event = heapq.heappop(heap)
            process = event.process
            if event.cancelled or (process is not None and not process.alive):
                continue
            self.now = at
            if process is not None and process.paused:
                process.backlog.append((self._run_late, (event,)))
                continue
            self.steps += 1
            event.cancelled = True
            self.running = process
            event.function(*event.args)
            return True
        self.now = max(self.now, until)
        return False

    def _run_late(self, event: Event) -> None:
        if not event.cancelled:
            event.cancelled = True
            event.function(*event.args)

    def resume(self, process: Process) -> None:
        """Let a paused process go on: all that waited for it happens now, in its order."""
        process.paused = False
        backlog, process.backlog = process.backlog, []
        for function, args in backlog:
            self.at(self.now, process, function, *args)
