"""Faults: the schedule of what goes wrong in a run, drawn from the world's seed."""

from dataclasses import dataclass

from zktw.sim.plan import Plan
from zktw.sim.world import Moment, World
from zktw.wire.effects import Elected, EpochAcked, EpochAgreed, LearnerSynced, PersistEpoch, Serving


@dataclass(frozen=True, slots=True)
class Faults:
    """How often, on average, each kind comes (milliseconds; 0: never), and how lossy the links are."""

    crash_every_ms: float = 6000
    crash_point_every_ms: float = 5000
    stop_every_ms: float = 15_000
    pause_every_ms: float = 12_000
    partition_every_ms: float = 8000
    one_way_every_ms: float = 8000
    reset_every_ms: float = 4000
    slow_link_every_ms: float = 10_000
    slow_disk_every_ms: float = 12_000
    full_disk_every_ms: float = 40_000
    ambush_every_ms: float = 1200
    loss: float = 0.01

    @classmethod
    def none(cls) -> "Faults":
        """All is well, all the time."""
        return cls(**dict.fromkeys(cls.__slots__, 0.0))


# What an ambush waits for: the moments between which an epoch is promised, acknowledged and established.
TURNING_POINTS = (Elected, EpochAgreed, PersistEpoch, EpochAcked, LearnerSynced, Serving)


class FaultPlan(Plan):
    """Brings faults over a world until it is told to stop."""

    _world: World

    def __init__(self, world: World, faults: Faults) -> None:
        super().__init__(world, faults.loss)
        # What the next ambush waits for.
        self._awaited: type | None = None
        world.watchers.append(self._watch)
        self._plan_all(faults, Faults.__slots__)

    def _some_sid(self) -> int:
        return self._random.choice(list(self._world.servers))

    def _ambush(self) -> bool:
        self._awaited = self._random.choice(TURNING_POINTS)
        return False

    def _watch(self, moment: Moment) -> None:
        """Strike where it hurts: at once after what was waited for, or in the next few milliseconds."""
        if self._awaited is None or not self._on or type(moment.what) is not self._awaited:
            return
        self._awaited = None
        self._world.count_fault("ambush")
        strike = self._random.choice((self._crash_one, self._isolate, self._pause_one))
        self._later(0.0, 0.006, strike, moment.sid)

    def _isolate(self, sid: int) -> None:
        world = self._world
        host = world.servers[sid].host
        for other in world.servers.values():
            if other.sid != sid:
                world.network.cut(host, other.host)
                world.network.cut(other.host, host)
        world.tell(0, f"partition: {host} apart from the others")
        self._later(0.2, 6.0, self._mend)

    def _crash(self) -> None:
        self._crash_one(self._some_sid())

    def _crash_one(self, sid: int) -> None:
        self._world.crash(sid, power=self._random.random() < 0.5)
        self._later(0.05, 3.0, self._world.start, sid)

    def _crash_point(self) -> None:
        sid = self._some_sid()
        self._world.crash_at(sid, self._random.randint(1, 6), power=self._random.random() < 0.7)
        self._later(1.0, 4.0, self._world.start, sid)

    def _stop(self) -> None:
        sid = self._some_sid()
        self._world.stop(sid)
        self._later(0.3, 2.0, self._world.start, sid)

    def _pause(self) -> None:
        self._pause_one(self._some_sid())

    def _pause_one(self, sid: int) -> None:
        self._world.pause(sid)
        self._later(0.1, 5.0, self._world.resume, sid)

    def _partition(self) -> None:
        world = self._world
        hosts = [server.host for server in world.servers.values()]
        side = [host for host in hosts if self._random.random() < 0.5]
        for host in hosts:
            for other in hosts:
                if (host in side) != (other in side):
                    world.network.cut(host, other)
        world.tell(0, f"partition: {', '.join(side) or 'nobody'} apart from the others")
        self._later(0.2, 6.0, self._mend)

    def _one_way(self) -> None:
        world = self._world
        source, target = (world.servers[self._some_sid()].host for _ in range(2))
        if source != target:
            world.network.cut(source, target)
            world.tell(0, f"nothing gets from {source} to {target}")
            self._later(0.2, 6.0, self._mend)

    def _reset(self) -> None:
        pipes = self._world.network.pipes()
        if pipes:
            pipe = self._random.choice(pipes)
            self._world.tell(0, f"connection {pipe.dialler} -> {pipe.listener}:{pipe.port} is reset")
            pipe.sever()

    def _slow_link(self) -> None:
        source, target = (self._world.servers[self._some_sid()].host for _ in range(2))
        self._world.network.slow(source, target, self._random.random() * 0.8)

    def _slow_disk(self) -> None:
        self._world.slow_disk_s = self._random.random() * 0.5
        self._later(0.5, 3.0, self._fast_disk)

    def _full_disk(self) -> None:
        sid = self._some_sid()
        self._world.servers[sid].disk.full = True
        self._later(0.5, 3.0, self._room, sid)

    def _room(self, sid: int) -> None:
        self._world.servers[sid].disk.full = False
        self._world.start(sid)
