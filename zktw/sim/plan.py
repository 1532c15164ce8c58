"""Plan: how faults come over a world, one after the other by chance, until they are told to stop."""

from collections.abc import Callable

from zktw.sim.stage import Stage


class Plan:
    """Draws when each kind of fault comes; a method of its name, with an underscore before it, brings it."""

    _world: Stage

    def __init__(self, world: Stage, loss: float) -> None:
        self._world = world
        self._random = world.random
        self._on = True
        world.network.loss = loss

    def stop(self) -> None:
        """No more faults, and those that last come to their end by heal()."""
        self._on = False

    def _plan_all(self, faults: object, names: tuple[str, ...]) -> None:
        """Of these fields of `faults` all that are no `..._every_ms` are passed over."""
        for name in names:
            every_ms = getattr(faults, name)
            if name.endswith("_every_ms") and every_ms:
                self._plan(name.removesuffix("_every_ms"), every_ms)

    def _plan(self, kind: str, every_ms: float) -> None:
        self._world.schedule.after(self._random.expovariate(1000 / every_ms), None, self._strike, kind, every_ms)

    def _strike(self, kind: str, every_ms: float) -> None:
        """A fault that says False has not come, or comes later, if at all."""
        if not self._on:
            return
        if getattr(self, f"_{kind}")() is not False:
            self._world.count_fault(kind)
        self._plan(kind, every_ms)

    def _later(self, low_s: float, high_s: float, function: Callable[..., object], *args: object) -> None:
        delay_s = low_s + self._random.random() * (high_s - low_s)
        self._world.schedule.after(delay_s, None, self._if_on, function, args)

    def _if_on(self, function: Callable[..., object], args: tuple[object, ...]) -> None:
        if self._on:
            function(*args)

    # -- what any world has ------------------------------------------------------------------------------------------

    def _mend(self) -> None:
        loss = self._world.network.loss
        self._world.network.heal()
        self._world.network.loss = loss
        self._world.tell(0, "links are whole")

    def _fast_disk(self) -> None:
        self._world.slow_disk_s = 0.0
