"""Scenarios: what happens to a small ensemble, as text. A line is a command; indented lines below it are its answer.

A scenario is played by reading its commands and writing down what they answer; it holds if that is the text again.
"""

import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

from freshtree import fresh_file
from puppet import Holding, Puppet
from twisted.internet.protocol import Factory, Protocol
from wiretap import Wire

from zktw.sim.checkers import Checkers
from zktw.sim.pipe import Pipe
from zktw.sim.schedule import Process
from zktw.sim.story import describe
from zktw.sim.world import DATA, ELECTION_PORT, QUORUM_PORT, World
from zktw.storage.datadir import VERSION_DIRECTORY
from zktw.terms.codes import PacketType
from zktw.terms.vote import Notification, PeerState, Vote
from zktw.terms.zxid import format_zxid
from zktw.wire.effects import EpochAcked, PersistEpoch, PersistTree
from zktw.wire.votes import encode_notification

# Every packet takes the same time, and so does every errand of a storage thread: order does not hang on chance.
DELAY_S = 0.001
DISK_S = 0.002
INDENT = "    "

Command = Callable[..., Iterator[str]]
COMMANDS: list[tuple[re.Pattern[str], Command]] = []


def command(pattern: str) -> Callable[[Command], Command]:
    """Make a method answer the lines that match."""

    def register(method: Command) -> Command:
        COMMANDS.append((re.compile(pattern), method))
        return method

    return register


def play(text: str) -> str:
    """The text again, with what its commands answer now."""
    scenario = Scenario("puppet" not in text)
    told: list[str] = []
    for line in text.splitlines():
        if line.startswith(INDENT):
            continue
        told.append(line)
        if line and not line.startswith("#"):
            told += [INDENT + answer for answer in scenario.run(line)]
    scenario.check()
    return "\n".join(told) + "\n"


class Scenario:
    """One world and what was said on its wires. Puppets may lie, so the checkers look on only where there are none."""

    def __init__(self, checked: bool) -> None:
        self._checked = checked
        self._world: World | None = None
        self._names: dict[str, str] = {}
        self._puppets: dict[int, Puppet] = {}
        self._told: dict[int, int] = {}
        self._heard: dict[int, int] = {}
        self._packets: list[tuple[str, str, str]] = []
        self._parsers: dict[tuple[int, bool], Wire] = {}
        self._openings: dict[tuple[str, str], bytes] = {}

    @property
    def world(self) -> World:
        """The world, once there is one."""
        assert self._world is not None, "the first command says how many voters there are"
        return self._world

    def run(self, line: str) -> list[str]:
        """Carry out one command; its answer."""
        for pattern, method in COMMANDS:
            match = pattern.fullmatch(line)
            if match is not None:
                return list(method(self, *match.groups()))
        raise ValueError(f"no such command: {line!r}")

    def check(self) -> None:
        """No invariant may be broken at the end, and no server may have found a bug in itself."""
        assert not self.world.broken, self.world.broken

    # -- the stage ---------------------------------------------------------------------------------------------------

    @command(r"(\d+) voters(?:, (\d+) observers?)?")
    def _voters(self, voters: str, observers: str | None) -> Iterator[str]:
        world = World(1, voters=int(voters), observers=int(observers or 0), names=self._names, start=False)
        world.network.delay_s = (DELAY_S, DELAY_S)
        world.disk_s = (DISK_S, DISK_S)
        self._world = world
        if self._checked:
            Checkers(world)
        self._checkers_tap = world.network.tap
        world.network.tap = self._tap
        yield from ()

    @command(r"server (\d+|\*): (.*)")
    def _config(self, sid: str, line: str) -> Iterator[str]:
        for server in self.world.servers.values():
            if sid in ("*", str(server.sid)):
                key = line.partition("=")[0]
                kept = [old for old in server.config_lines if old.partition("=")[0] != key]
                server.config_lines = [*kept, line]
        yield from ()

    @command(r"the name (\S+) is (\S+)")
    def _name(self, name: str, address: str) -> Iterator[str]:
        self._names.pop(name, None)
        if address != "unknown":
            self._names[name] = address
        yield from ()

    @command(r"disk of (\d+): (\S+) holds \"(.*)\"")
    def _file(self, sid: str, name: str, content: str) -> Iterator[str]:
        self._put(int(sid), name, content.encode())
        yield from ()

    @command(r"disk of (\d+): the fresh tree of (0x\w+)")
    def _snapshot(self, sid: str, zxid: str) -> Iterator[str]:
        self._put(int(sid), f"snapshot.{int(zxid, 16):x}", fresh_file())
        yield from ()

    @command(r"disk of (\d+) is full")
    def _full(self, sid: str) -> Iterator[str]:
        self.world.servers[int(sid)].disk.full = True
        yield from ()

    def _put(self, sid: int, name: str, content: bytes) -> None:
        disk = self.world.servers[sid].disk
        directory = f"{DATA}/{VERSION_DIRECTORY}"
        for path in (DATA, directory):
            disk.make_directory(path)
        where = DATA if name == "initialize" else directory
        disk.write(f"{where}/{name}", content)
        disk.sync(f"{where}/{name}")
        disk.sync_directory(where)

    @command(r"another process holds port (\d+) of (\d+)")
    def _hold_port(self, port: str, sid: str) -> Iterator[str]:
        world = self.world
        process = self._intruder = Process("intruder")
        world.network.listen(process, world.servers[int(sid)].host, int(port), Factory.forProtocol(Protocol))
        yield from ()

    @command(r"that process ends")
    def _free_port(self) -> Iterator[str]:
        self._intruder.alive = False
        self.world.network.process_died(self._intruder)
        yield from ()

    # -- what happens ------------------------------------------------------------------------------------------------

    @command(r"(start|crash|cut the power of|stop|pause|resume) ([\d ]+)")
    def _act(self, verb: str, sids: str) -> Iterator[str]:
        world = self.world
        for sid in map(int, sids.split()):
            match verb:
                case "start":
                    world.start(sid)
                case "crash":
                    world.crash(sid)
                case "cut the power of":
                    world.crash(sid, power=True)
                case "stop":
                    world.stop(sid)
                case "pause":
                    world.pause(sid)
                case "resume":
                    world.resume(sid)
        yield from ()

    @command(r"(\d+) loses power at its file operation (\d+) from here")
    def _crash_at(self, sid: str, operation: str) -> Iterator[str]:
        self.world.crash_at(int(sid), int(operation), power=True)
        yield from ()

    @command(r"cut (\d+) -> (\d+)")
    def _cut(self, source: str, target: str) -> Iterator[str]:
        servers = self.world.servers
        self.world.network.cut(servers[int(source)].host, servers[int(target)].host)
        yield from ()

    @command(r"links are whole")
    def _whole(self) -> Iterator[str]:
        self.world.network.heal()
        yield from ()

    @command(r"wait (\d+) ms")
    def _wait(self, duration: str) -> Iterator[str]:
        self.world.run(float(duration))
        yield from ()

    @command(r"settled within (\d+) ms\?")
    def _settled(self, limit: str) -> Iterator[str]:
        yield "yes" if self.world.run_until(self.world.settled, limit_ms=float(limit)) else "no"

    # -- puppets -----------------------------------------------------------------------------------------------------

    @command(r"puppet ([\d ]+)")
    def _puppet(self, sids: str) -> Iterator[str]:
        for sid in map(int, sids.split()):
            self._puppets[sid] = Puppet(self.world, sid)
        yield from ()

    @command(r"(\d+) (dials|hangs up on) (\d+)")
    def _dial(self, sid: str, verb: str, target: str) -> Iterator[str]:
        puppet = self._puppets[int(sid)]
        (puppet.dial if verb == "dials" else puppet.hang_up)(int(target))
        yield from ()

    @command(r"(\d+) says (\w+) (\d+), epoch (\d+), zxid (0x\w+), round (\d+)(?: (to) (\d+))?(?: in (28|40) bytes)?")
    def _say(
        self, sid: str, state: str, leader: str, epoch: str, zxid: str, round_: str, _: str, to: str, size: str
    ) -> Iterator[str]:
        vote = Vote(int(epoch), int(zxid, 16), int(leader))
        message = encode_notification(Notification(int(sid), PeerState[state], vote, int(round_)))
        if size == "40":
            message = message[:36] + struct.pack(">i", 1)
        elif size == "28":
            message = message[:28]
        self._send(sid, to, struct.pack(">i", len(message)) + message)
        yield from ()

    @command(r"(\d+) says LOOKING (\d+), round (\d+), and configuration version (\w+) of \"(.*)\"")
    def _say_config(self, sid: str, leader: str, round_: str, version: str, members: str) -> Iterator[str]:
        text = members.replace(", ", "\n") + f"\nversion={version}"
        notification = Notification(int(sid), PeerState.LOOKING, Vote(0, 0, int(leader)), int(round_), text)
        message = encode_notification(notification)
        self._send(sid, None, struct.pack(">i", len(message)) + message)
        yield from ()

    @command(r"(\d+) sends ([0-9a-f ]+?)(?: to (\d+))?")
    def _send_bytes(self, sid: str, data: str, to: str | None) -> Iterator[str]:
        self._send(sid, to, bytes.fromhex(data))
        yield from ()

    def _send(self, sid: str, to: str | None, data: bytes) -> None:
        puppet = self._puppets[int(sid)]
        targets = puppet.connected() if to is None else [int(to)]
        assert targets, f"puppet {sid} has no connection"
        for target in targets:
            puppet.tell(target, data)

    @command(r"(\d+) opens with ([0-9a-f ]+)")
    def _open_with(self, sid: str, opening: str) -> Iterator[str]:
        self._puppets[int(sid)].opening = bytes.fromhex(opening)
        yield from ()

    @command(r"(\d+) opens as server (\d+) at (\S+)")
    def _open_as(self, sid: str, said: str, address: str) -> Iterator[str]:
        text = address.encode()
        self._puppets[int(sid)].opening = struct.pack(">qqi", -65536, int(said), len(text)) + text
        yield from ()

    @command(r"(\d+) reads no more")
    def _stop_reading(self, sid: str) -> Iterator[str]:
        self._puppets[int(sid)].stop_reading()
        yield from ()

    @command(r"(\d+) follows (\d+), accepted epoch (\d+), current epoch (\d+), zxid (0x\w+)")
    def _follow(self, sid: str, leader: str, accepted: str, current: str, zxid: str) -> Iterator[str]:
        self._puppets[int(sid)].follow(int(leader), Holding(int(accepted), int(current), int(zxid, 16)))
        yield from ()

    @command(r"(\d+) leads epoch (\d+) by (DIFF|SNAP)")
    def _lead(self, sid: str, epoch: str, mode: str) -> Iterator[str]:
        self._puppets[int(sid)].lead(int(epoch), PacketType[mode])
        yield from ()

    @command(r"puppet (\d+) dies")
    def _die(self, sid: str) -> Iterator[str]:
        self._puppets.pop(int(sid)).die()
        yield from ()

    # -- what is to be seen ------------------------------------------------------------------------------------------

    @command(r"roles\?")
    def _roles(self) -> Iterator[str]:
        for sid, server in self.world.servers.items():
            if sid in self._puppets:
                continue
            if server.state is None or server.node is None or server.node.peer is None:
                yield f"{sid} is down" if not server.alive else f"{sid} is starting"
                continue
            leader = server.node.server.leader_sid()
            peer = server.node.peer
            under = f" under {leader} in epoch {peer.history.current_epoch}" if server.serving else ""
            under = under or ("" if server.state == PeerState.LOOKING else ", not serving")
            yield f"{sid} is {server.state.name}{under}, round {peer.election.round}"

    @command(r"story of (\d+)\?")
    def _story(self, sid: str) -> Iterator[str]:
        """What a server did since it was last asked for; writes are left to "disk of"."""
        trace = self.world.trace
        since = self._told.get(int(sid), 0)
        self._told[int(sid)] = len(trace)
        for moment in trace[since:]:
            if moment.sid == int(sid) and not isinstance(moment.what, PersistEpoch | PersistTree | EpochAcked):
                text = describe(moment.what)
                if text:
                    yield text

    @command(r"disk of (\d+)\?")
    def _disk(self, sid: str) -> Iterator[str]:
        """What would survive a power cut at this moment."""
        disk = self.world.servers[int(sid)].disk
        directory = f"{DATA}/{VERSION_DIRECTORY}"
        if not disk.exists(directory):
            yield "empty"
            return
        for name in disk.list(directory):
            content = disk.durable(f"{directory}/{name}")
            if content is not None:
                yield f"{name}: {content.decode()}" if name.endswith("Epoch") else name

    @command(r"packets between (\d+) and (\d+)\?")
    def _between(self, one: str, other: str) -> Iterator[str]:
        """What was said on the quorum port between two servers since it was last asked for; pings are left out."""
        hosts = [self.world.servers[int(sid)].host for sid in (one, other)]
        rest = []
        for source, target, text in self._packets:
            if source in hosts and target in hosts:
                yield f"{source.rpartition('.')[2]}: {text}"
            else:
                rest.append((source, target, text))
        self._packets = rest

    @command(r"heard by (\d+)(?: from (\d+))?\?")
    def _heard_by(self, sid: str, sender: str | None) -> Iterator[str]:
        heard = self._puppets[int(sid)].heard
        since = self._heard.get(int(sid), 0)
        self._heard[int(sid)] = len(heard)
        for word in heard[since:]:
            if sender in (None, str(word.sid)):
                vote = word.vote
                yield (
                    f"{word.sid}: {word.state.name} {vote.leader}, epoch {vote.peer_epoch}, "
                    f"zxid {format_zxid(vote.zxid)}, round {word.round}"
                )

    @command(r"election connections\?")
    def _connections(self) -> Iterator[str]:
        """Those that are open, the dialler first."""
        found = [
            (_sid(pipe.dialler), _sid(pipe.listener))
            for pipe in self.world.network.pipes()
            if pipe.port == ELECTION_PORT and _is_open(pipe)
        ]
        yield ", ".join(f"{dialler}-{listener}" for dialler, listener in sorted(found)) or "none"

    @command(r"opening of (\d+) to (\d+)\?")
    def _opening(self, sid: str, target: str) -> Iterator[str]:
        servers = self.world.servers
        data = self._openings[(servers[int(sid)].host, servers[int(target)].host)]
        yield f"{data[:8].hex()} {data[8:16].hex()} {data[16:20].hex()} {data[20:].decode()}"

    @command(r"is port (\d+) of (\d+) open\?")
    def _port(self, port: str, sid: str) -> Iterator[str]:
        bound = self.world.network.port(self.world.servers[int(sid)].host, int(port))
        yield "no" if bound is None else "yes"

    def _tap(self, pipe: Pipe, from_dialler: bool, data: bytes) -> None:
        if self._checkers_tap is not None:
            self._checkers_tap(pipe, from_dialler, data)
        source, target = (pipe.dialler, pipe.listener) if from_dialler else (pipe.listener, pipe.dialler)
        if pipe.port == ELECTION_PORT and from_dialler:
            self._openings.setdefault((source, target), data)
        if pipe.port == QUORUM_PORT:
            wire = self._parsers.setdefault((pipe.number, from_dialler), Wire())
            self._packets += [(source, target, text) for text in wire.feed(data)]


def _sid(host: str) -> int:
    return int(host.rpartition(".")[2])


def _is_open(pipe: Pipe) -> bool:
    ends: list[Any] = [pipe.near, pipe.far]
    return all(end is not None and end.connected and not end.disconnecting and end.process.alive for end in ends)
