"""DataFaults: what goes wrong around a server alone and its clients, drawn from the world's seed."""

from dataclasses import dataclass

from zktw.sim.disk import SimCrash
from zktw.sim.plan import Plan
from zktw.sim.standalone import SID, StandaloneWorld


@dataclass(frozen=True, slots=True)
class DataFaults:
    """How often, on average, each kind comes (milliseconds; 0: never), and how lossy the links are."""

    crash_every_ms: float = 8000
    power_cut_every_ms: float = 8000
    crash_point_every_ms: float = 3000
    stop_every_ms: float = 8000
    pause_every_ms: float = 8000
    purge_every_ms: float = 1500
    reset_every_ms: float = 2500
    cut_every_ms: float = 8000
    slow_link_every_ms: float = 8000
    slow_disk_every_ms: float = 8000
    full_disk_every_ms: float = 15_000
    failing_sync_every_ms: float = 10_000
    client_dies_every_ms: float = 6000
    client_sleeps_every_ms: float = 6000
    client_leaves_every_ms: float = 6000
    loss: float = 0.005

    @classmethod
    def none(cls) -> "DataFaults":
        """All is well, all the time."""
        return cls(**dict.fromkeys(cls.__slots__, 0.0))


# Where a process dies: at any of the next operations, or at the next one of these, on files of this kind.
OPERATIONS = ("open", "pwrite", "sync", "rename", "sync_directory", "remove", "truncate", "allocate", "write")
FILES = ("log.", "snapshot.", "")


class DataFaultPlan(Plan):
    """Brings faults over a world until it is told to stop."""

    _world: StandaloneWorld

    def __init__(self, world: StandaloneWorld, faults: DataFaults) -> None:
        super().__init__(world, faults.loss)
        self._plan_all(faults, DataFaults.__slots__)

    # -- the server --------------------------------------------------------------------------------------------------

    def _crash(self) -> None:
        self._world.crash(SID)

    def _power_cut(self) -> None:
        self._world.crash(SID, power=True)
        self._later(0.05, 3.0, self._world.start, SID)

    def _crash_point(self) -> bool:
        """Die at a disk operation to come; which it is counts, not when."""
        random, world = self._random, self._world
        if world.node is None:
            return False
        power = random.random() < 0.7
        if random.random() < 0.4:
            self._crash_at_kind("", "", random.randint(0, 30), power)
        else:
            self._crash_at_kind(random.choice(OPERATIONS), random.choice(FILES), random.randint(0, 3), power)
        self._later(1.0, 4.0, world.start, SID)
        return True

    def _crash_at_kind(self, operation: str, file: str, skipped: int, power: bool) -> None:
        world = self._world

        def die(name: str, path: str) -> None:
            world.tell(SID, f"dies at {name} of {path}")
            world.count_fault(f"died at {name}")
            world.crash(SID, power=power)
            raise SimCrash

        disk = world.servers[SID].disk
        disk.strike_later(skipped, lambda name, path: operation in (name, "") and file in path, die)

    def _stop(self) -> None:
        self._world.stop(SID)

    def _pause(self) -> None:
        self._world.pause(SID)
        # Now and then for longer than any session lasts, while clients knock and knock.
        self._later(0.05, self._random.choice((0.3, 3.0, 9.0)), self._world.resume, SID)

    def _purge(self) -> None:
        node = self._world.node
        if node is not None and not self._world.servers[SID].disk.full:
            self._world.schedule.after(0.0, self._world.servers[SID].process, node.purge)

    # -- links -------------------------------------------------------------------------------------------------------

    def _some_host(self) -> str:
        return self._random.choice(self._world.clients).host

    def _reset(self) -> None:
        pipes = self._world.network.pipes()
        if pipes:
            pipe = self._random.choice(pipes)
            self._world.tell(0, f"connection of {pipe.dialler} is reset")
            pipe.sever()

    def _cut(self) -> None:
        pair = [self._some_host(), self._world.servers[SID].host]
        self._random.shuffle(pair)
        network = self._world.network
        network.cut(*pair)
        if self._random.random() < 0.5:
            network.cut(*reversed(pair))
        self._world.tell(0, f"nothing gets from {pair[0]} to {pair[1]}")
        self._later(0.2, 5.0, self._mend)

    def _slow_link(self) -> None:
        pair = [self._some_host(), self._world.servers[SID].host]
        self._random.shuffle(pair)
        self._world.network.slow(pair[0], pair[1], self._random.random() * 0.5)
        self._later(0.5, 3.0, self._mend)

    # -- the disk ----------------------------------------------------------------------------------------------------

    def _slow_disk(self) -> None:
        self._world.slow_disk_s = self._random.random() * 0.3
        self._later(0.3, 2.0, self._fast_disk)

    def _full_disk(self) -> None:
        self._world.disk_failed = True
        self._world.servers[SID].disk.full = True
        self._world.tell(SID, "has a full disk")
        self._later(0.3, 2.0, self._room)

    def _room(self) -> None:
        self._world.servers[SID].disk.full = False

    def _failing_sync(self) -> bool:
        """One write or sync to come fails; what it was to write may be on the platter later, or never."""
        world = self._world
        if world.node is None:
            return False

        def tell(name: str, path: str) -> None:
            world.disk_failed = True
            world.count_fault("sync failed")
            world.tell(SID, f"{name} of {path} fails")

        world.servers[SID].disk.fail_later(self._random.randint(0, 10), tell)
        return True

    # -- clients -----------------------------------------------------------------------------------------------------

    def _client_dies(self) -> None:
        client = self._random.choice(self._world.clients)
        client.die()
        self._later(0.1, 5.0, client.start_again)

    def _client_sleeps(self) -> None:
        client = self._random.choice(self._world.clients)
        client.process.paused = True
        self._later(0.1, 2.2 * client.timeout_ms / 1000, self._world.schedule.resume, client.process)

    def _client_leaves(self) -> None:
        self._random.choice(self._world.clients).close_session()
