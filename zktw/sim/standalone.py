"""StandaloneWorld: one real server outside of an ensemble, its clients, and its disk, under one seed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from zktw.config import Config
from zktw.node.build import Node
from zktw.node.clock import Random
from zktw.sim.crowd import make_clients, revive
from zktw.sim.reactor import SimReactor, SimWorker
from zktw.sim.schedule import Process
from zktw.sim.stage import CLIENT_PORT, DATA, TICK_MS, Server, Stage
from zktw.storage.datadir import VERSION_DIRECTORY
from zktw.storage.recovery import Recovered

SID = 1
LOGS = "/logs"


class WatchedNode(Node):
    """The server itself; it tells what it has recovered, and purges when the world wants it to."""

    told: Callable[[Recovered], None]

    def _recovered(self, recovered: Recovered) -> None:
        self.told(recovered)
        super()._recovered(recovered)

    def purge(self) -> None:
        """Now, not in an hour."""
        if self.running and self.keeper is not None:
            self._purge()


class StandaloneWorld(Stage):
    """A server alone and its clients. Who ends by a fault is started again, as by a supervisor."""

    def __init__(self, seed: int, *, clients: int = 3, lines: tuple[str, ...] = (), own_log: bool = False) -> None:
        super().__init__(seed)
        self.logs = f"{LOGS if own_log else DATA}/{VERSION_DIRECTORY}"
        self.on_recovered: Callable[[Recovered], None] = lambda recovered: None
        self.on_stopped: Callable[[Node], None] = lambda node: None
        # Since the server has started, its disk has failed: it may end by itself.
        self.disk_failed = False
        self._add_server(SID)
        server = self.servers[SID]
        server.config_lines = [
            f"tickTime={TICK_MS}",
            f"dataDir={DATA}",
            *((f"dataLogDir={LOGS}",) if own_log else ()),
            f"clientPort={CLIENT_PORT}",
            "preAllocSize=8",
            "autopurge.purgeInterval=1",
            "znode.container.checkIntervalMs=1500",
            *lines,
        ]
        self.clients = make_clients(self, clients, [(server.host, CLIENT_PORT)])
        self.schedule.after(0.05, None, self.start, SID)

    def config(self) -> Config:
        """The server's; purge leaves less than anybody may configure, so that it has something to do."""
        return replace(self._load(self.servers[SID]), purge_retain=1)

    def _make_node(self, server: Server, process: Process, reactor: SimReactor) -> Node:
        self.disk_failed = server.disk.full
        node = WatchedNode(
            self.config(),
            reactor,
            server.disk,
            lambda _name: SimWorker(self.schedule, process, self._disk_latency),
            Random(self.random.random()),
            fail=lambda code, reason: self._failed(server, process, code, reason),
        )
        node.told = lambda recovered: self.on_recovered(recovered)
        return node

    @property
    def node(self) -> WatchedNode | None:
        """The server's, while its process runs."""
        server = self.servers[SID]
        return server.node if server.alive and isinstance(server.node, WatchedNode) else None

    def _failed(self, server: Server, process: Process, code: int, reason: str) -> None:
        if process.alive and not self.disk_failed:
            self.broken = self.broken or f"the server ends itself with status {code}, and its disk is well: {reason}"
        super()._failed(server, process, code, reason)

    def _end(self, server: Server, process: Process) -> None:
        was_alive = process.alive
        super()._end(server, process)
        if was_alive:
            self.schedule.after(0.1 + self.random.random(), None, self.start, server.sid)

    def _terminate(self, server: Server, node: Node, process: Process) -> None:
        if node.running:
            node.stopService().addBoth(lambda result: self._stopped(server, node, process, result))

    def _stopped(self, server: Server, node: Node, process: Process, result: Any) -> None:
        if process.alive and not self.disk_failed:
            self.on_stopped(node)
        self._end(server, process)

    def heal(self) -> None:
        """All links good, the disk fast and with room, the server running, all clients alive."""
        super().heal()
        revive(self, self.clients)
