"""Real servers for the live tests: ours and Apache's, on loopback, in directories of their own.

A Node is one server process; an Ensemble starts, torments and ends several. Only processes started here are ended, by pid.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DEBIAN_JARS = [f"/usr/share/java/{name}.jar" for name in ("zookeeper", "slf4j-log4j12", "log4j-1.2")]
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
LOG4J1 = """log4j.rootLogger=INFO, C
log4j.appender.C=org.apache.log4j.ConsoleAppender
log4j.appender.C.layout=org.apache.log4j.PatternLayout
log4j.appender.C.layout.ConversionPattern=%d{ABSOLUTE} %-5p [%t] %c{1} - %m%n
"""
LOGBACK = """<configuration><appender name="C" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%d{HH:mm:ss.SSS} %-5p [%t] %c{1} - %m%n</pattern></encoder></appender>
<root level="INFO"><appender-ref ref="C"/></root></configuration>
"""


def has_apache38() -> bool:
    """Whether Debian's packages are there."""
    return shutil.which("java") is not None and all(os.path.exists(jar) for jar in DEBIAN_JARS)


def has_apache39() -> bool:
    """Whether ZK39_LIB names a directory with the jars of a 3.9 release."""
    return shutil.which("java") is not None and bool(os.environ.get("ZK39_LIB"))


def _ephemeral_start() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32768


def free_port(taken: set[int]) -> int:
    """A port that nobody listens on, below the ephemeral range: no outgoing connection can take it meanwhile."""
    for _ in range(1000):
        port = 10_000 + int.from_bytes(os.urandom(4), "big") % (_ephemeral_start() - 10_000)
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        return port
    raise RuntimeError("no free port")


def ask(port: int, word: bytes, timeout: float = 2.0) -> bytes:
    """Send a four-letter word; b"" where nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as cnxn:
            cnxn.sendall(word)
            answer = b""
            while data := cnxn.recv(65536):
                answer += data
            return answer
    except OSError:
        return b""


class Node:
    """One server. kind is zktw, apache38 or apache39."""

    def __init__(self, ensemble: "Ensemble", sid: int, kind: str, observer: bool) -> None:
        self.ensemble = ensemble
        self.sid = sid
        self.kind = kind
        self.observer = observer
        self.client_port, self.quorum_port, self.election_port = (free_port(ensemble.taken) for _ in range(3))
        self.directory = ensemble.directory / f"n{sid}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def config_path(self) -> Path:
        return self.directory / "zoo.cfg"

    @property
    def log_path(self) -> Path:
        return self.directory / "out.log"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def write_files(self, lines: Sequence[str]) -> None:
        """Its configuration and myid."""
        data = self.directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        (data / "myid").write_text(f"{self.sid}\n")
        own = [f"dataDir={data}", f"clientPort={self.client_port}", "clientPortAddress=127.0.0.1"]
        if self.observer:
            own.append("peerType=observer")
        self.config_path.write_text("\n".join([*own, *lines]) + "\n")

    def command(self) -> list[str]:
        """What runs it."""
        if self.kind == "zktw":
            twistd = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
            return [sys.executable, "-c", twistd, "-n", "--pidfile=", "zkq", "-c", str(self.config_path)]
        jars = ":".join(DEBIAN_JARS) if self.kind == "apache38" else os.path.join(os.environ["ZK39_LIB"], "*")
        return [
            "java",
            "-Xmx128m",
            "-Dzookeeper.jmx.log4j.disable=true",
            f"-Dlog4j.configuration=file:{self.ensemble.directory}/log4j.properties",
            f"-Dlogback.configurationFile={self.ensemble.directory}/logback.xml",
            "-cp",
            jars,
            MAIN,
            str(self.config_path),
        ]

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, with the checkout's code and plugin."""
        environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.directory, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal, if it lives."""
        if self.alive:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(10)

    def terminate(self, timeout: float = 10.0) -> int:
        """SIGTERM, and its exit status."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(timeout)

    # -- looks -------------------------------------------------------------------------------------------------------

    def ask(self, word: str | bytes, timeout: float = 2.0) -> str:
        """The answer to a four-letter word; "" where there is none."""
        data = word if isinstance(word, bytes) else word.encode()
        return ask(self.client_port, data, timeout).decode("utf-8", "replace")

    def mode(self, timeout: float = 2.0) -> str:
        """leader, follower, observer, standalone, read-only; "" where it does not serve."""
        found = re.search(r"^Mode: (\S+)$", self.ask("srvr", timeout), re.MULTILINE)
        return found.group(1) if found else ""

    def log(self) -> str:
        """What it has logged."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


class Ensemble:
    """Several servers with one list of members. kinds are the voters', observers the observers' kinds."""

    def __init__(
        self,
        kinds: Sequence[str],
        observers: Sequence[str] = (),
        *,
        lines: Sequence[str] = (),
        quorum_lines: Sequence[str] = (),
        standalone: bool = False,
    ) -> None:
        self.taken: set[int] = set()
        self.directory = Path(tempfile.mkdtemp(prefix="zktw-live-"))
        (self.directory / "log4j.properties").write_text(LOG4J1)
        (self.directory / "logback.xml").write_text(LOGBACK)
        self.nodes = [
            Node(self, sid, kind, sid > len(kinds)) for sid, kind in enumerate([*kinds, *observers], start=1)
        ]
        common = ["tickTime=1000", "initLimit=10", "syncLimit=5", "4lw.commands.whitelist=*", "admin.enableServer=false"]
        common += ["maxClientCnxns=0", *lines]
        if not standalone:
            common += [
                f"server.{node.sid}=127.0.0.1:{node.quorum_port}:{node.election_port}"
                + (":observer" if node.observer else "")
                for node in self.nodes
            ]
            common += quorum_lines
        for node in self.nodes:
            node.write_files(common)

    def __enter__(self) -> "Ensemble":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(keep_logs=kind is not None)

    def close(self, *, keep_logs: bool = False) -> None:
        """End what lives; show the logs if something went wrong."""
        for node in self.nodes:
            node.signal(signal.SIGCONT)
            node.kill()
        if keep_logs:
            for node in self.nodes:
                print(f"---- {node.kind} {node.sid}\n{node.log()[-6000:]}")
        shutil.rmtree(self.directory, ignore_errors=True)

    def node(self, sid: int) -> Node:
        """By its sid."""
        return self.nodes[sid - 1]

    def start(self) -> None:
        """Start all."""
        for node in self.nodes:
            if not node.alive:
                node.start()

    def alive(self) -> list[Node]:
        """Those that run."""
        return [node for node in self.nodes if node.alive]

    def leader(self) -> Node | None:
        """The one that says it leads."""
        return next((node for node in self.alive() if node.mode() == "leader"), None)

    def whole(self, nodes: Sequence[Node] | None = None) -> bool:
        """Whether every living server serves, exactly one of them as leader."""
        modes = [node.mode() for node in (nodes or self.alive())]
        return all(modes) and modes.count("leader") == 1

    def wait(self, condition: Callable[[], bool], what: str, timeout: float = 30.0, poll: float = 0.02) -> float:
        """Seconds until the condition held; fails with the roles at hand if it never did."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > timeout:
                roles = {f"{node.kind} {node.sid}": node.mode() or "-" for node in self.nodes}
                raise AssertionError(f"no {what} in {timeout} s: {roles}")
            time.sleep(poll)
        return time.monotonic() - began

    def wait_whole(self, timeout: float = 30.0) -> float:
        """Wait until all that live serve."""
        return self.wait(self.whole, "whole ensemble", timeout)


@contextlib.contextmanager
def running(kinds: Sequence[str], observers: Sequence[str] = (), **options: object) -> Iterator[Ensemble]:
    """An ensemble that serves; its logs are shown where the test fails."""
    with Ensemble(kinds, observers, **options) as ensemble:  # type: ignore[arg-type]  # passed on as they are
        ensemble.start()
        ensemble.wait_whole(60)
        yield ensemble
