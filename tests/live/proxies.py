"""TCP proxies between the servers of an ensemble, so that single links can be silenced, reset, slowed or cut one way.

Every ordered pair of servers has a proxy of its own for either port: server i is told the proxy (i, j) where server j
should be. All run on the asyncio loop of the harness. A server's hello on the election port names where it can be
called back; the proxy writes the callee's proxy there, or the call back would go around us.
"""

import asyncio
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ensemble import HOST, Ensemble, Node, free_port

# The versions of the hello on the election port which carry addresses.
HELLO_VERSIONS = (-65536, -65535)
HELLO = struct.Struct(">qqi")
PIECE = 1 << 16
# A follower that is refused by a leader not ready yet dials again; behind us it would be accepted, closed, and would
# vote anew. So we dial for it, for about as long.
PATIENCE_S = 2.0


@dataclass
class Gate:
    """What happens to bytes from one server to another, whoever dialled: held while shut, delayed by delay_s."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        self.opened.set()


class Links:
    """The links of one ensemble. Make it before the ensemble starts and call start(); it writes each zoo.cfg anew."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.nodes = ensemble.nodes
        self._gates = {(a.sid, b.sid): Gate() for a in self.nodes for b in self.nodes if a is not b}
        self._ports = {pair: (free_port(), free_port()) for pair in self._gates}
        self._refused: set[frozenset[int]] = set()
        self._writers: dict[frozenset[int], set[asyncio.StreamWriter]] = {
            frozenset(pair): set() for pair in self._gates
        }
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        for node in self.nodes:
            self._readdress(node)

    def _readdress(self, node: Node) -> None:
        """Give a server the proxies' ports in place of the others' own."""
        path: Path = node.config_path
        lines = []
        for line in path.read_text().splitlines():
            name, _, value = line.partition("=")
            sid = int(name.removeprefix("server.")) if name.startswith("server.") else node.sid
            if sid != node.sid:
                _, _, _, *rest = value.split(":")
                line = f"{name}={':'.join([HOST, *map(str, self._ports[node.sid, sid]), *rest])}"
            lines.append(line)
        path.write_text("\n".join(lines) + "\n")

    async def start(self) -> None:
        """Listen on all ports."""
        for (a, b), (quorum_port, election_port) in self._ports.items():
            target = self.nodes[b - 1]
            for port, there, is_election in (
                (quorum_port, target.quorum_port, False),
                (election_port, target.election_port, True),
            ):
                self._servers.append(await self._listen(a, b, port, there, is_election))

    async def _listen(self, a: int, b: int, port: int, there: int, is_election: bool) -> asyncio.Server:
        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._carry(a, b, there, is_election, reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                # A cancelled handler's only caller is stop().
                pass
            finally:
                self._tasks.discard(task)
                writer.transport.abort()

        return await asyncio.start_server(accepted, HOST, port)

    async def _carry(
        self,
        a: int,
        b: int,
        there: int,
        is_election: bool,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """One connection that a made to b."""
        pair = frozenset((a, b))
        if pair in self._refused:
            return
        self._writers[pair].add(writer)
        far_writer: asyncio.StreamWriter | None = None
        try:
            hello = await self._hello(a, b, reader) if is_election else b""
            await self._gates[a, b].opened.wait()
            far_reader, far_writer = await self._dial(there, 0.0 if is_election else PATIENCE_S)
            self._writers[pair].add(far_writer)
            far_writer.write(hello)
            pumps = [
                asyncio.create_task(self._pump(reader, far_writer, self._gates[a, b])),
                asyncio.create_task(self._pump(far_reader, writer, self._gates[b, a])),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                # What is already on its way the other way may still arrive.
                await asyncio.sleep(0.05)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._writers[pair].discard(writer)
            if far_writer is not None:
                self._writers[pair].discard(far_writer)
                far_writer.transport.abort()

    @staticmethod
    async def _dial(port: int, patience_s: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; while it is refused again, for so long. Raises OSError."""
        while True:
            try:
                return await asyncio.open_connection(HOST, port)
            except ConnectionRefusedError:
                if patience_s <= 0:
                    raise
            await asyncio.sleep(0.05)
            patience_s -= 0.05

    async def _hello(self, a: int, b: int, reader: asyncio.StreamReader) -> bytes:
        """The first bytes on an election port, with our address for the call back."""
        head = await reader.readexactly(8)
        if int.from_bytes(head, "big", signed=True) not in HELLO_VERSIONS:
            return head
        head += await reader.readexactly(HELLO.size - 8)
        version, sid, length = HELLO.unpack(head)
        await reader.readexactly(length)
        address = f"{HOST}:{self._ports[b, a][1]}".encode()
        return HELLO.pack(version, sid, len(address)) + address

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: Gate) -> None:
        while piece := await reader.read(PIECE):
            await gate.opened.wait()
            if gate.delay_s:
                await asyncio.sleep(gate.delay_s)
                await gate.opened.wait()
            writer.write(piece)
            await writer.drain()
        # A silenced link does not bring the end of a connection either.
        await gate.opened.wait()

    # -------------------------------------------------------------------------------------------------- faults

    def silence(self, senders: Iterable[int], receivers: Iterable[int]) -> None:
        """Nothing passes from these to those; their connections stay."""
        for a in senders:
            for b in receivers:
                if a != b:
                    self._gates[a, b].opened.clear()

    def cut(self, side: Iterable[int], other: Iterable[int], *, reset: bool = False) -> None:
        """Nothing passes between the sides; with reset, connections are reset and new ones refused."""
        left, right = list(side), list(other)
        if reset:
            self._refused |= {frozenset((a, b)) for a in left for b in right if a != b}
            self.reset(left, right)
        else:
            self.silence(left, right)
            self.silence(right, left)

    def reset(self, side: Iterable[int], other: Iterable[int]) -> None:
        """Reset all connections between the sides."""
        right = list(other)
        for a in side:
            for b in right:
                if a != b:
                    for writer in list(self._writers[frozenset((a, b))]):
                        writer.transport.abort()

    def slow(self, sid: int, delay_s: float) -> None:
        """Delay each piece to and from a server."""
        for pair, gate in self._gates.items():
            if sid in pair:
                gate.delay_s = delay_s

    def heal(self, *, reset: bool = False) -> None:
        """All links as new. What was held is delivered late, or with reset never: those connections end."""
        if reset:
            for pair, gate in self._gates.items():
                if not gate.opened.is_set():
                    self.reset(pair[:1], pair[1:])
        self._refused.clear()
        for gate in self._gates.values():
            gate.delay_s = 0.0
            gate.opened.set()

    async def stop(self) -> None:
        """Close all."""
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
