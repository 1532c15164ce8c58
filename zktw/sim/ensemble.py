"""EnsembleWorld: an ensemble of real servers and its clients, under one seed."""

from collections.abc import Callable
from dataclasses import replace

from zktw.config import Config
from zktw.node.build import Node
from zktw.node.clock import Random
from zktw.node.datahost import DataHost
from zktw.node.keeper import Keeper
from zktw.sim.crowd import make_clients, revive
from zktw.sim.disk import SimDisk
from zktw.sim.schedule import Process
from zktw.sim.world import CLIENT_PORT, Server, World
from zktw.terms.codes import PacketType

# Nodes to which each write is a request of its own: what is answered of them is searched for an order.
REGISTERS = ("/r0", "/r1")
MEMBER_TICK_MS = 250
# A server ends in so much time after a write has failed, unless it is paused meanwhile.
DISK_FAILED_S = 8.0


class EnsembleWorld(World):
    """Members and clients. Who ends by a fault is started again, as by a supervisor."""

    def __init__(
        self,
        seed: int,
        *,
        voters: int = 3,
        observers: int = 0,
        clients: int = 3,
        lines: tuple[str, ...] = (),
        ring: int = 20,
        start: bool = True,
    ) -> None:
        # How many committed transactions a server keeps in memory, which nobody may configure to so few.
        self.ring = ring
        self.on_stopped: Callable[[Server, Node], None] = lambda server, node: None
        # Told of all that is said on the quorum port: its kind, sender and receiver.
        self.packet_watchers: list[Callable[[PacketType, int, int], None]] = []
        # Servers whose disks have failed since they started: they may end by themselves.
        self.disk_failed: dict[int, None] = {}
        super().__init__(
            seed,
            voters=voters,
            observers=observers,
            lines=(
                f"tickTime={MEMBER_TICK_MS}",
                "preAllocSize=8",
                "autopurge.purgeInterval=1",
                "znode.container.checkIntervalMs=1500",
                *lines,
            ),
            start=start,
        )
        for server in self.servers.values():
            server.rate = 1 + (self.random.random() - 0.5) * 0.04
            server.wall_ms = (self.random.random() - 0.5) * 20_000
        members = [(server.host, CLIENT_PORT) for server in self.servers.values()]
        self.clients = make_clients(self, clients, members, registers=REGISTERS)

    def _load(self, server: Server) -> Config:
        config = super()._load(server)
        return replace(config, purge_retain=1, replication=replace(config.replication, commit_log_count=self.ring))

    def keeper(self, server: Server) -> Keeper | None:
        """Of a server: its database, its log; None while it has none."""
        if not server.alive or server.node is None or not server.node.running:
            return None
        return server.node.keeper

    def host(self, server: Server) -> DataHost | None:
        """What serves its clients."""
        return server.node.server.data if server.alive and server.node is not None else None

    def _failed(self, server: Server, process: Process, code: int, reason: str) -> None:
        if process.alive and server.sid not in self.disk_failed:
            self.broken = self.broken or f"server {server.sid} ends itself with status {code}, disk well: {reason}"
        super()._failed(server, process, code, reason)

    def start(self, sid: int) -> None:
        """See Stage."""
        if not self.servers[sid].alive and not self.servers[sid].disk.full:
            self.disk_failed.pop(sid, None)
        super().start(sid)

    def _end(self, server: Server, process: Process) -> None:
        was_alive = process.alive
        super()._end(server, process)
        if was_alive and not self._healed:
            self.schedule.after(0.1 + self.random.random(), None, self.start, server.sid)

    def _terminate(self, server: Server, node: Node, process: Process) -> None:
        if node.running:
            node.stopService().addBoth(lambda _: self._stopped(server, node, process))

    def _stopped(self, server: Server, node: Node, process: Process) -> None:
        if process.alive and server.sid not in self.disk_failed:
            self.on_stopped(server, node)
        self._end(server, process)

    def step_date(self, sid: int, by_ms: float) -> None:
        """Somebody sets the date on a host."""
        server = self.servers[sid]
        server.wall_ms += by_ms
        if server.process is not None:
            server.process.wall_ms = server.wall_ms
        self.tell(sid, f"its date is set by {by_ms:+.0f} ms")

    def fail_write(self, sid: int, skipped: int) -> None:
        """After so many others a write or sync of a server fails."""

        def tell(name: str, path: str) -> None:
            self.disk_failed[sid] = None
            self.count_fault("sync failed")
            self.tell(sid, f"{name} of {path} fails")
            self.schedule.after(DISK_FAILED_S, None, self._check_ended, sid, self.servers[sid].process)

        self.servers[sid].disk.fail_later(skipped, tell)

    def _check_ended(self, sid: int, process: Process | None) -> None:
        if process is not None and process.alive and not process.paused:
            self.broken = self.broken or f"2247: server {sid} goes on after a write that failed"

    def purge(self, node: Node) -> None:
        """Let it remove what it needs no more; now, not in an hour."""
        if node.running and node.keeper is not None:
            node._purge()

    def wipe(self, sid: int) -> None:
        """A server that is down gets an empty disk."""
        assert not self.servers[sid].alive
        self.servers[sid].disk = SimDisk(Random(self.random.random()))
        self.tell(sid, "has an empty disk")

    def leader(self) -> Server | None:
        """Who leads and serves; of several the one of the latest epoch."""
        found = [server for server in self.servers.values() if server.serving and server.is_leading]
        return max(found, key=lambda server: server.epoch, default=None)

    def heal(self) -> None:
        """All links good, all disks fast and with room, all servers running, all clients alive."""
        super().heal()
        revive(self, self.clients)
