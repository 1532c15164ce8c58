"""The servers of zktw ensemble: where each sits, its files, the command that starts it, and its process."""

import enum
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import zktw
from zktw.node.clock import Random
from zktw.tools.common import ToolError

HOST = "127.0.0.1"
KINDS = ("zktw", "apache38", "apache39")
# Ports of one purpose follow each other: with 2181, clients find 2181, 2182, ..., and peers 2281, ... and 2381, ...
PORT_STEP = 100
MEMBERS_MAX = PORT_STEP - 1
# What would be the same for all, and must not be, or what says who is who.
OWN_KEYS = ("dataDir", "dataLogDir", "clientPort", "clientPortAddress", "secureClientPort", "dynamicConfigFile")

_DEBIAN_JARS = [f"/usr/share/java/{name}.jar" for name in ("zookeeper", "slf4j-log4j12", "log4j-1.2")]
_JAVA_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
# An empty tree on a developer's desk: start quickly, stay small. $JVMFLAGS comes after these.
_JVM_FLAGS = ["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
# Without the line that Apache's servers write for each srvr they are asked.
_LOG4J = """log4j.rootLogger=INFO, C
log4j.logger.org.apache.zookeeper.server.NIOServerCnxn=WARN
log4j.appender.C=org.apache.log4j.ConsoleAppender
log4j.appender.C.layout=org.apache.log4j.PatternLayout
log4j.appender.C.layout.ConversionPattern=%d{ABSOLUTE} %-5p [%t] %c{1} - %m%n
"""
_LOGBACK = """<configuration><appender name="C" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%d{HH:mm:ss.SSS} %-5p [%t] %c{1} - %m%n</pattern></encoder></appender>
<logger name="org.apache.zookeeper.server.NIOServerCnxn" level="WARN"/>
<root level="INFO"><appender-ref ref="C"/></root></configuration>
"""
_TWISTD = "from twisted.scripts.twistd import run; run()"
_TAIL_BYTES = 65_536
_FIRST_PORT, _PORT_MAX, _EPHEMERAL_DEFAULT, _TRIES = 10_500, 65_535, 32_768, 200


# -- seats -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seat:
    """A place in the ensemble: number, kind of server, role it is meant for, and ports."""

    sid: int
    kind: str
    observer: bool
    client_port: int

    @property
    def quorum_port(self) -> int:
        """Where a leader listens for learners."""
        return self.client_port + PORT_STEP

    @property
    def election_port(self) -> int:
        """Where votes come in."""
        return self.client_port + 2 * PORT_STEP

    @property
    def ports(self) -> dict[int, str]:
        """Each port, and what it is for."""
        return {self.client_port: "clients", self.quorum_port: "learners", self.election_port: "elections"}


def seats(voters: Sequence[str], observers: Sequence[str], base_port: int) -> list[Seat]:
    """Seats from 1 on, voters first, by their kinds."""
    return [
        Seat(sid, kind, sid > len(voters), base_port + sid - 1) for sid, kind in enumerate([*voters, *observers], 1)
    ]


def config_text(seat: Seat, all_seats: Sequence[Seat], data_dir: Path, tick_ms: int, extra: Mapping[str, str]) -> str:
    """Its zoo.cfg. A lone seat is a server outside of an ensemble."""
    settings = {
        "tickTime": str(tick_ms),
        "initLimit": "10",
        "syncLimit": "5",
        "dataDir": str(data_dir),
        "clientPort": str(seat.client_port),
        "clientPortAddress": HOST,
        "4lw.commands.whitelist": "*",
        "maxClientCnxns": "0",
    }
    if seat.kind != "zktw":
        # They would all want port 8080.
        settings["admin.enableServer"] = "false"
    if len(all_seats) > 1:
        if seat.observer:
            settings["peerType"] = "observer"
        for other in all_seats:
            role = ":observer" if other.observer else ""
            settings[f"server.{other.sid}"] = f"{HOST}:{other.quorum_port}:{other.election_port}{role}"
    return "".join(f"{key}={value}\n" for key, value in {**settings, **extra}.items())


# -- ports -----------------------------------------------------------------------------------------------------------


def port_trouble(port: int) -> str | None:
    """Why nobody can listen on this port now; None if somebody can."""
    with socket.socket() as probe:
        # As servers listen: connections that are merely fading away do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def check_ports(taken: Iterable[Seat]) -> None:
    """Raises ToolError for the first port on which its server could not listen."""
    for seat in taken:
        for port, purpose in seat.ports.items():
            if port > _PORT_MAX:
                raise ToolError(f"port {port} (server {seat.sid}, {purpose}) is none: --base-port chooses lower ones")
            trouble = port_trouble(port)
            if trouble is not None:
                raise ToolError(
                    f"port {port} (server {seat.sid}, {purpose}): {trouble}; --base-port chooses others,"
                    " and without it they are free ones"
                )


def free_base_port(count: int, random: Random) -> int:
    """A base from which all ports of so many servers are free, below those that outgoing connections get."""
    try:
        ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        ephemeral = _EPHEMERAL_DEFAULT
    highest = max(ephemeral - 3 * PORT_STEP, _FIRST_PORT + PORT_STEP)
    for _ in range(_TRIES):
        base = random.randint(_FIRST_PORT, highest)
        wanted = [port for seat in seats(["zktw"] * count, [], base) for port in seat.ports]
        if all(port_trouble(port) is None for port in wanted):
            return base
    raise ToolError(f"no free ports for {count} servers between {_FIRST_PORT} and {ephemeral}; give a --base-port")


# -- kinds -----------------------------------------------------------------------------------------------------------


def _java(environment: Mapping[str, str]) -> str:
    home = environment.get("JAVA_HOME")
    wanted = environment.get("JAVA") or (f"{home}/bin/java" if home else "java")
    found = shutil.which(wanted, path=environment.get("PATH"))
    if found is None:
        raise ToolError(f"Apache's servers need Java: no {wanted} here ($JAVA, $JAVA_HOME and $PATH are looked at)")
    return found


def _class_path(kind: str, environment: Mapping[str, str]) -> str:
    if kind == "apache39":
        jars = environment.get("ZK39_LIB", "")
        if not jars or not any(Path(jars).glob("zookeeper-3.*.jar")):
            said = f"there is no zookeeper-3.*.jar in {jars}" if jars else "it is not set"
            raise ToolError(f"apache39 needs $ZK39_LIB, the lib directory of an Apache ZooKeeper 3.9: {said}")
        return str(Path(jars).absolute() / "*")
    given = environment.get("ZK38_CP")
    if given:
        return given
    gone = [jar for jar in _DEBIAN_JARS if not Path(jar).exists()]
    if gone:
        raise ToolError(
            f"apache38 needs {gone[0]} (Debian: apt install libzookeeper-java),"
            " or $ZK38_CP, the class path of an Apache ZooKeeper 3.8"
        )
    return ":".join(_DEBIAN_JARS)


def command_of(kind: str, config: Path, above: Path, environment: Mapping[str, str]) -> list[str]:
    """What starts a server of this kind. above: where write_logging has written. Raises ToolError: cannot run here."""
    if kind == "zktw":
        # By the interpreter that runs this, whatever twistd a search would find.
        return [sys.executable, "-c", _TWISTD, "--nodaemon", "--pidfile=", "zkq", "-c", str(config)]
    java, jars = _java(environment), _class_path(kind, environment)
    return [
        java,
        *_JVM_FLAGS,
        *shlex.split(environment.get("JVMFLAGS", "")),
        "-Dzookeeper.jmx.log4j.disable=true",
        f"-Dlog4j.configuration=file:{above}/log4j.properties",
        f"-Dlogback.configurationFile={above}/logback.xml",
        "-cp",
        jars,
        _JAVA_MAIN,
        str(config),
    ]


def environment_of(kind: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What a server finds in its environment: ours run from where this package lies."""
    made = dict(environment)
    if kind == "zktw":
        here = str(Path(zktw.__file__).absolute().parents[1])
        made["PYTHONPATH"] = os.pathsep.join(filter(None, [here, made.get("PYTHONPATH")]))
    return made


def write_logging(above: Path) -> None:
    """Logging of Apache's servers: to standard output, as ours."""
    (above / "log4j.properties").write_text(_LOG4J, "utf-8")
    (above / "logback.xml").write_text(_LOGBACK, "utf-8")


# -- processes -------------------------------------------------------------------------------------------------------


class Process(Protocol):
    """What is needed of subprocess.Popen."""

    @property
    def pid(self) -> int:
        """Its id."""

    def poll(self) -> int | None:
        """Its exit status (negative: the signal that ended it); None while it is there."""

    def send_signal(self, sig: int) -> None:
        """Send it, unless it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """As poll, when it has ended. Raises subprocess.TimeoutExpired."""


Spawn = Callable[[Sequence[str], Path, Mapping[str, str]], Process]


def spawn(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
    """A process in a session of its own, so that Ctrl-C at the terminal is not for it; it writes into its log."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            cwd=log.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


class State(enum.Enum):
    """What was done to its process last."""

    DOWN = "down"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"


class Member:
    """A server: its files stay between an end and the next start."""

    def __init__(
        self, seat: Seat, directory: Path, command: Sequence[str], environment: Mapping[str, str], spawn: Spawn = spawn
    ) -> None:
        self.seat = seat
        self.directory = directory
        self.state = State.DOWN
        self.process: Process | None = None
        self._command = command
        self._environment = environment
        self._spawn = spawn

    @property
    def sid(self) -> int:
        """Its number."""
        return self.seat.sid

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"{HOST}:{self.seat.client_port}"

    @property
    def log_path(self) -> Path:
        """All it printed, over all its starts."""
        return self.directory / "out.log"

    def write_files(self, config: str, *, alone: bool) -> None:
        """Its zoo.cfg, and its myid unless it is alone; data that is there stays."""
        data_dir = self.directory / "data"
        data_dir.mkdir(parents=True, exist_ok=True)
        (self.directory / "zoo.cfg").write_text(config, "utf-8")
        if not alone:
            (data_dir / "myid").write_text(f"{self.sid}\n", "ascii")

    def start(self) -> None:
        """Start its process. Only while it is down."""
        assert self.state is State.DOWN
        self.process = self._spawn(self._command, self.log_path, self._environment)
        self.state = State.RUNNING

    def signal(self, number: signal.Signals, state: State) -> None:
        """Send a signal, after which it is in this state."""
        assert self.process is not None
        self.process.send_signal(number)
        self.state = state

    def kill(self) -> None:
        """SIGKILL, and its end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.state = State.DOWN

    def ended(self) -> int | None:
        """The exit status of a process that has ended since it was last asked; else None."""
        if self.state is State.DOWN or self.process is None:
            return None
        status = self.process.poll()
        if status is not None:
            self.state = State.DOWN
        return status

    def log_tail(self, count: int) -> list[str]:
        """The last lines of its log, at most so many."""
        try:
            with open(self.log_path, "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = log.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-count:]
