"""EnsembleFaults: what goes wrong around members and clients, drawn from the world's seed.

On top of what befalls an ensemble without clients: leaders that have logged what nobody was sent, all servers at once,
disks that fail, dates and clients.
"""

from dataclasses import dataclass

from zktw.sim.data_faults import FILES, OPERATIONS
from zktw.sim.disk import SimCrash
from zktw.sim.ensemble import EnsembleWorld
from zktw.sim.faults import FaultPlan, Faults
from zktw.terms.codes import PacketType


@dataclass(frozen=True, slots=True)
class EnsembleFaults:
    """How often, on average, each kind comes (milliseconds; 0: never); `members` has those of any ensemble."""

    members: Faults
    operation_every_ms: float = 5000
    packet_every_ms: float = 2000
    diverge_every_ms: float = 6000
    all_at_once_every_ms: float = 15_000
    leader_stop_every_ms: float = 12_000
    failing_sync_every_ms: float = 20_000
    date_every_ms: float = 3000
    purge_every_ms: float = 2000
    fresh_observer_every_ms: float = 6000
    client_dies_every_ms: float = 4000
    client_sleeps_every_ms: float = 5000
    client_leaves_every_ms: float = 5000
    client_moves_every_ms: float = 2000
    client_cut_every_ms: float = 5000

    @classmethod
    def usual(cls) -> "EnsembleFaults":
        """As often as an ensemble can bear and still do something in between."""
        members = Faults(
            crash_every_ms=10_000,
            crash_point_every_ms=15_000,
            stop_every_ms=15_000,
            pause_every_ms=12_000,
            partition_every_ms=12_000,
            one_way_every_ms=12_000,
            reset_every_ms=5000,
            slow_link_every_ms=10_000,
            slow_disk_every_ms=12_000,
            full_disk_every_ms=30_000,
            ambush_every_ms=4000,
            loss=0.004,
        )
        return cls(members)

    @classmethod
    def none(cls) -> "EnsembleFaults":
        """All is well, all the time."""
        return cls(Faults.none(), **dict.fromkeys(cls.__slots__[1:], 0.0))


# Behind which packet a server is struck down, by whoever has said it or whoever was to hear it.
PACKETS = (
    PacketType.PROPOSAL,
    PacketType.ACK,
    PacketType.COMMIT,
    PacketType.NEWLEADER,
    PacketType.UPTODATE,
    PacketType.DIFF,
    PacketType.TRUNC,
    PacketType.SNAP,
    PacketType.REQUEST,
    PacketType.REVALIDATE,
    PacketType.SYNC,
)


class EnsembleFaultPlan(FaultPlan):
    """Brings faults over a world until it is told to stop."""

    def __init__(self, world: EnsembleWorld, faults: EnsembleFaults) -> None:
        super().__init__(world, faults.members)
        self._ensemble = world
        self._awaited_packet: tuple[PacketType, bool] | None = None
        world.packet_watchers.append(self._watch_packet)
        self._plan_all(faults, EnsembleFaults.__slots__)

    # -- where it hurts ----------------------------------------------------------------------------------------------

    def _packet(self) -> bool:
        """Behind the next packet of a kind its sender or its receiver is struck."""
        self._awaited_packet = (self._random.choice(PACKETS), self._random.random() < 0.5)
        return False

    def _watch_packet(self, kind: PacketType, sender: int, receiver: int) -> None:
        if self._awaited_packet is None or not self._on or kind != self._awaited_packet[0]:
            return
        victim = sender if self._awaited_packet[1] else receiver
        self._awaited_packet = None
        self._world.count_fault(f"struck at {kind.name}")
        strike = self._random.choice((self._crash_one, self._crash_one, self._isolate, self._pause_one))
        self._later(0.0, 0.004, strike, victim)

    def _operation(self) -> None:
        """A process dies at a disk operation to come; which it is counts, not when."""
        random, world, sid = self._random, self._world, self._some_sid()
        if not world.servers[sid].alive:
            return
        power, operation, file = random.random() < 0.7, random.choice(OPERATIONS), random.choice((*FILES, "Epoch"))

        def die(name: str, path: str) -> None:
            world.tell(sid, f"dies at {name} of {path}")
            world.count_fault(f"died at {name}")
            world.crash(sid, power=power)
            self._later(0.1, 2.0, world.start, sid)
            raise SimCrash

        disk = world.servers[sid].disk
        disk.strike_later(random.randint(0, 3), lambda name, path: operation == name and file in path, die)

    def _diverge(self) -> None:
        """A leader goes on logging what its clients want, and nobody hears of it; then it dies."""
        leader = self._ensemble.leader()
        if leader is None:
            return
        network = self._world.network
        for other in self._world.servers.values():
            if other is not leader:
                network.cut(leader.host, other.host)
        self._world.tell(leader.sid, "is heard by nobody, and will die")
        self._later(0.05, 0.6, self._crash_cut_off, leader.sid)

    def _crash_cut_off(self, sid: int) -> None:
        self._world.crash(sid, power=self._random.random() < 0.5)
        self._mend()
        self._later(0.1, 4.0, self._world.start, sid)

    def _all_at_once(self) -> None:
        """The power of a whole room, or of all but one in it."""
        spared = self._some_sid() if self._random.random() < 0.3 else 0
        power = self._random.random() < 0.7
        for sid in self._world.servers:
            if sid != spared:
                self._world.crash(sid, power=power)
                self._later(0.05, 1.5, self._world.start, sid)

    def _leader_stop(self) -> None:
        leader = self._ensemble.leader()
        if leader is not None:
            self._world.stop(leader.sid)
            self._later(0.3, 2.0, self._world.start, leader.sid)

    # -- disks and dates ---------------------------------------------------------------------------------------------

    def _full_disk(self) -> None:
        sid = self._some_sid()
        self._ensemble.disk_failed[sid] = None
        self._world.servers[sid].disk.full = True
        self._world.tell(sid, "has a full disk")
        self._later(0.3, 2.0, self._room, sid)

    def _failing_sync(self) -> None:
        """One write or sync to come fails; what it was to write may be on the platter later, or never."""
        sid = self._some_sid()
        self._ensemble.fail_write(sid, self._random.randint(0, 10))

    def _date(self) -> None:
        self._ensemble.step_date(self._some_sid(), (self._random.random() - 0.5) * 7_200_000)

    def _purge(self) -> None:
        server = self._world.servers[self._some_sid()]
        node = server.node
        if server.alive and node is not None and node.running and not server.disk.full:
            self._world.schedule.after(0.0, server.process, self._ensemble.purge, node)

    def _fresh_observer(self) -> None:
        """An observer is put up anew, with an empty disk: it counts for nothing that was promised."""
        observers = [server for server in self._world.servers.values() if server.observer]
        if observers:
            sid = self._random.choice(observers).sid
            self._world.crash(sid)
            self._ensemble.wipe(sid)
            self._later(0.1, 1.0, self._world.start, sid)

    # -- clients -----------------------------------------------------------------------------------------------------

    def _client_dies(self) -> None:
        client = self._random.choice(self._ensemble.clients)
        client.die()
        self._later(0.1, 3.0, client.start_again)

    def _client_sleeps(self) -> None:
        client = self._random.choice(self._ensemble.clients)
        client.process.paused = True
        self._later(0.1, 2.2 * client.timeout_ms / 1000, self._world.schedule.resume, client.process)

    def _client_leaves(self) -> None:
        self._random.choice(self._ensemble.clients).close_session()

    def _client_moves(self) -> None:
        self._random.choice(self._ensemble.clients).move()

    def _client_cut(self) -> None:
        pair = [
            self._random.choice(self._ensemble.clients).host,
            self._random.choice(list(self._world.servers.values())).host,
        ]
        self._random.shuffle(pair)
        self._world.network.cut(*pair)
        self._world.tell(0, f"nothing gets from {pair[0]} to {pair[1]}")
        self._later(0.2, 3.0, self._mend)
