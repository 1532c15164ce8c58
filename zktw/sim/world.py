"""World: an ensemble of real servers in one process, under one seed."""

from zktw.quorum.verifier import QuorumVerifier
from zktw.sim.stage import CLIENT_PORT, DATA, TICK_MS, Moment, Server, Stage
from zktw.terms.vote import PeerState

__all__ = ["CLIENT_PORT", "DATA", "ELECTION_PORT", "QUORUM_PORT", "Moment", "Server", "World"]

QUORUM_PORT, ELECTION_PORT = 2888, 3888


class World(Stage):
    """An ensemble: its members, and what they are to each other."""

    def __init__(
        self,
        seed: int,
        *,
        voters: int = 3,
        observers: int = 0,
        quorum_lines: tuple[str, ...] = (),
        lines: tuple[str, ...] = (),
        hosts: dict[int, str] | None = None,
        names: dict[str, str] | None = None,
        start: bool = True,
    ) -> None:
        super().__init__(seed, names)
        for sid in range(1, voters + observers + 1):
            self._add_server(sid, observer=sid > voters)
        written = hosts or {}
        members = [
            f"server.{sid}={written.get(sid, server.host)}:{QUORUM_PORT}:{ELECTION_PORT}"
            + (":observer" if server.observer else "")
            for sid, server in self.servers.items()
        ]
        for server in self.servers.values():
            server.config_lines = [
                f"tickTime={TICK_MS}",
                "initLimit=8",
                "syncLimit=4",
                f"dataDir={DATA}",
                f"clientPort={CLIENT_PORT}",
                *members,
                *quorum_lines,
                *lines,
            ]
        ensemble = self._load(self.servers[1]).ensemble
        assert ensemble is not None
        self.verifier: QuorumVerifier = ensemble.verifier()
        if start:
            for server in self.servers.values():
                # Not all at the same moment.
                self.schedule.after(self.random.random() * 0.5, None, self.start, server.sid)

    @property
    def roles(self) -> dict[int, tuple[object, bool]]:
        """By server what it is, and whether it serves."""
        return {sid: (server.state and server.state.name, server.serving) for sid, server in self.servers.items()}

    def settled(self) -> bool:
        """Whether one leader serves and every other living server serves under it."""
        living = [server for server in self.servers.values() if server.alive]
        leaders = [server for server in living if server.state == PeerState.LEADING and server.serving]
        if len(leaders) != 1 or not all(server.serving for server in living):
            return False
        return all(server.node is not None and server.node.server.leader_sid() == leaders[0].sid for server in living)
