"""Stage: simulated hosts with their files, the network between them, and all that can happen to their processes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from zktw.config import Config, load_config
from zktw.node.build import Node, build
from zktw.node.chronicle import Happening
from zktw.node.clock import Random
from zktw.node.keeper import EXIT_BROKEN
from zktw.sim.disk import SimCrash, SimDisk
from zktw.sim.network import Network
from zktw.sim.reactor import SimReactor, SimWorker
from zktw.sim.schedule import Process, Schedule
from zktw.terms.vote import PeerState

CLIENT_PORT = 2181
DATA = "/data"
TICK_MS = 500
SYNC_S = (0.0005, 0.004)
RESTART_S = 0.1
# Turns at one moment; more, and somebody waits for something without letting it come.
STEPS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a run's story. sid is 0 for what happens to the world as a whole."""

    at_ms: float
    sid: int
    what: Any


@dataclass
class Server:
    """One simulated host: its files outlive its process."""

    sid: int
    host: str
    observer: bool
    disk: SimDisk
    process: Process | None = None
    node: Node | None = None
    starts: int = 0
    # Its clock's seconds to the world's, and how far its date is ahead of the world's.
    rate: float = 1.0
    wall_ms: float = 0.0
    config_lines: list[str] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.alive

    @property
    def state(self) -> PeerState | None:
        """The role it plays; None while it plays none."""
        if not self.alive or self.node is None or self.node.peer is None:
            return None
        return self.node.peer.state if self.node.peer.term else None

    @property
    def is_leading(self) -> bool:
        """Whether it plays a leader."""
        return self.state == PeerState.LEADING

    @property
    def epoch(self) -> int:
        """The epoch that it has last joined, as its disk has it."""
        return 0 if self.node is None or self.node.peer is None else self.node.peer.history.current_epoch

    @property
    def serving(self) -> bool:
        """Whether it is established in its role."""
        return (
            self.alive and self.node is not None and self.node.server.is_serving and not self.node.server.is_read_only
        )


class Stage:
    """Servers, their network and disks, and all that happens to them. The same seed makes the same."""

    def __init__(self, seed: int, names: dict[str, str] | None = None) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.schedule = Schedule()
        self.network = Network(self.schedule, Random(self.random.random()))
        self.trace: list[Moment] = []
        self.watchers: list[Callable[[Moment], None]] = []
        # How long a thing that a storage thread does takes, at least and at most; and what a slow disk adds at most.
        self.disk_s = SYNC_S
        self.slow_disk_s = 0.0
        # The first invariant that did not hold; servers catch exceptions, so it cannot just be raised.
        self.broken = ""
        # From then on a process that ends (a stop may be under way) is started again.
        self._healed = False
        self._names = {} if names is None else names
        self._faults: dict[str, int] = {}
        self.servers: dict[int, Server] = {}

    def _add_server(self, sid: int, *, observer: bool = False) -> None:
        disk = SimDisk(Random(self.random.random()))
        self.servers[sid] = Server(sid, f"10.0.0.{sid}", observer, disk)

    def _load(self, server: Server) -> Config:
        texts = {"zoo.cfg": "\n".join(server.config_lines), f"{DATA}/myid": f"{server.sid}\n"}
        return load_config("zoo.cfg", texts.__getitem__, {})

    @property
    def now_ms(self) -> float:
        """The world's time."""
        return self.schedule.now * 1000

    # -- lives -------------------------------------------------------------------------------------------------------

    def start(self, sid: int) -> None:
        """Start a server on what its disk holds."""
        server = self.servers[sid]
        if server.alive:
            return
        server.starts += 1
        self.network.host_started(server.host)
        process = server.process = Process(f"{sid}.{server.starts}")
        process.wall_ms = server.wall_ms
        reactor = SimReactor(
            self.schedule,
            self.network,
            process,
            server.host,
            names=self._names,
            offset=self.random.random() * 100_000,
            rate=server.rate,
        )
        server.node = self._make_node(server, process, reactor)
        server.node.chronicle.listen(lambda _ms, happening: self._happened(server, process, happening))
        self.tell(sid, "starts")
        self._within(server, server.node.privilegedStartService)
        self._within(server, server.node.startService)

    def _make_node(self, server: Server, process: Process, reactor: SimReactor) -> Node:
        return build(
            self._load(server),
            reactor,
            server.disk,
            lambda _name: SimWorker(self.schedule, process, self._disk_latency),
            Random(self.random.random()),
            fail=lambda code, reason: self._failed(server, process, code, reason),
        )

    def _within(self, server: Server, function: Callable[[], Any]) -> None:
        try:
            function()
        except SimCrash:
            self.crash(server.sid)

    def _disk_latency(self) -> float:
        low, high = self.disk_s
        return low + self.random.random() * (high - low) + self.slow_disk_s * self.random.random()

    def _failed(self, server: Server, process: Process, code: int, reason: str) -> None:
        """The server has asked to end its process."""
        if code == EXIT_BROKEN:
            self.broken = self.broken or f"server {server.sid}: {reason}"
        if process.alive:
            self.tell(server.sid, f"ends itself with status {code}: {reason}")
            self.schedule.after(0.0, None, self._end, server, process)

    def _end(self, server: Server, process: Process) -> None:
        if process.alive:
            process.alive = False
            self.network.process_died(process)
            if self._healed:
                self.schedule.after(RESTART_S, None, self.start, server.sid)

    def crash(self, sid: int, *, power: bool = False) -> None:
        """The process dies. Without power, so does what it had not synced, and nobody is told."""
        server = self.servers[sid]
        if server.process is None or not server.process.alive:
            return
        self.tell(sid, "loses power" if power else "crashes")
        server.disk.before = lambda operation, path: None
        if power:
            server.process.alive = False
            self.network.host_died(server.process, server.host)
            server.disk.lose_power()
        else:
            self._end(server, server.process)

    def crash_at(self, sid: int, operation: int, *, power: bool) -> None:
        """Die just before the n-th file operation from now."""
        disk = self.servers[sid].disk
        due = disk.operations + operation

        def before(name: str, path: str) -> None:
            if disk.operations >= due:
                self.tell(sid, f"dies at {name} of {path}")
                self.crash(sid, power=power)
                raise SimCrash

        disk.before = before

    def stop(self, sid: int) -> None:
        """SIGTERM: resign, then exit."""
        server = self.servers[sid]
        if server.node is None or server.process is None or not server.process.alive or not server.node.running:
            return
        self.tell(sid, "is told to stop")
        if server.process.paused:
            # It takes the signal when it goes on.
            self.schedule.after(0.0, server.process, self._terminate, server, server.node, server.process)
        else:
            self._terminate(server, server.node, server.process)

    def _terminate(self, server: Server, node: Node, process: Process) -> None:
        if node.running:
            node.stopService().addBoth(lambda _: self._end(server, process))

    def pause(self, sid: int) -> None:
        """SIGSTOP."""
        server = self.servers[sid]
        if server.process is not None and server.process.alive and not server.process.paused:
            self.tell(sid, "is paused")
            server.process.paused = True

    def resume(self, sid: int) -> None:
        """SIGCONT."""
        server = self.servers[sid]
        if server.process is not None and server.process.paused:
            self.tell(sid, "goes on")
            self.schedule.resume(server.process)

    def heal(self) -> None:
        """All links good, all disks fast and with room, all servers running."""
        self.tell(0, "heals")
        self._healed = True
        self.network.heal()
        self.slow_disk_s = 0.0
        for server in self.servers.values():
            server.disk.full = False
            server.disk.before = lambda operation, path: None
            self.resume(server.sid)
            if not server.alive:
                self.start(server.sid)

    # -- time --------------------------------------------------------------------------------------------------------

    def run(self, duration_ms: float) -> None:
        """Let this time pass."""
        self.run_until(lambda: False, limit_ms=duration_ms)

    def run_until(self, condition: Callable[[], bool], *, limit_ms: float) -> bool:
        """Let time pass until the condition holds, looked at every 50 ms; False where it did not in the limit."""
        until = self.schedule.now + limit_ms / 1000
        while self.schedule.now < until and not self.broken:
            if condition():
                return True
            self._run_to(min(until, self.schedule.now + 0.05))
        return condition()

    def _run_to(self, until: float) -> None:
        schedule, going = self.schedule, True
        at, steps = schedule.now, schedule.steps
        while going:
            try:
                while schedule.step(until):
                    if schedule.now > at:
                        at, steps = schedule.now, schedule.steps
                    elif schedule.steps - steps > STEPS_MAX:
                        self.broken = self.broken or f"livelock: {STEPS_MAX} turns, and no time passes"
                        return
                going = False
            except SimCrash:
                pass  # crash() has done all there is to do

    @property
    def complete(self) -> bool:
        """Whether every server lives."""
        return all(server.alive for server in self.servers.values())

    # -- what is told ------------------------------------------------------------------------------------------------

    def tell(self, sid: int, what: Any) -> None:
        """Add to the story."""
        moment = Moment(self.now_ms, sid, what)
        self.trace.append(moment)
        for watcher in self.watchers:
            watcher(moment)

    def _happened(self, server: Server, process: Process, happening: Happening) -> None:
        if process.alive:
            self.tell(server.sid, happening)

    def count_fault(self, kind: str) -> None:
        """One more fault of this kind."""
        self._faults[kind] = self._faults.get(kind, 0) + 1

    @property
    def faults(self) -> dict[str, int]:
        """How many of each kind there were."""
        return dict(sorted(self._faults.items()))
