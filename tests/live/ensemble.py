"""Servers as real processes, ours and Apache's, in any mix, on loopback: for the live tests.

A node's kind is "zktw", "apache38" (class path $ZK38_CP, else Debian's jars) or "apache39" (jars in $ZK39_LIB).
$ZKTW_CMD replaces the command of ours; CFG in it stands for the path of zoo.cfg. All files of an ensemble lie in one
temporary directory. Processes are signalled by the ids of those started here, and by nothing else.
"""

import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
DEBIAN_JARS = [f"/usr/share/java/{name}.jar" for name in ("zookeeper", "slf4j-log4j12", "log4j-1.2")]
JAVA_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
# A server with an empty tree: start quickly, stay small.
JVM_FLAGS = "-Xmx192m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"
LOG4J = """log4j.rootLogger=INFO, C
log4j.appender.C=org.apache.log4j.ConsoleAppender
log4j.appender.C.layout=org.apache.log4j.PatternLayout
log4j.appender.C.layout.ConversionPattern=%d{ABSOLUTE} %-5p [%t] %c{1} - %m%n
"""
LOGBACK = """<configuration><appender name="C" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%d{HH:mm:ss.SSS} %-5p [%t] %c{1} - %m%n</pattern></encoder></appender>
<root level="INFO"><appender-ref ref="C"/></root></configuration>
"""
POLL_S = 0.02
LOG_TAIL_CHARS = 4000

_used_ports: list[int] = []


def missing(*kinds: str) -> str | None:
    """Why servers of these kinds cannot run here; None if they can. For pytest.mark.skipif."""
    for kind in kinds:
        if kind.startswith("apache") and shutil.which(os.environ.get("JAVA", "java")) is None:
            return f"{kind} needs Java"
        if kind == "apache38" and not os.environ.get("ZK38_CP"):
            gone = [jar for jar in DEBIAN_JARS if not os.path.exists(jar)]
            if gone:
                return f"apache38 needs $ZK38_CP or {gone[0]} (Debian's package libzookeeper-java)"
        if kind == "apache39" and not os.path.isdir(os.environ.get("ZK39_LIB", "")):
            return "apache39 needs $ZK39_LIB, the lib directory of a 3.9 distribution"
    return None


def free_port() -> int:
    """A port that is free now, below the ephemeral range, so that no outgoing connection takes it later."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        highest = int(file.read().split()[0]) - 1
    while True:
        port = random.randint(10500, max(highest, 11500))
        if port in _used_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        _used_ports.append(port)
        return port


def ask(port: int, word: str, timeout_s: float = 2.0) -> str:
    """What the server on this port answers to a four-letter word; "" if nothing."""
    try:
        with socket.create_connection((HOST, port), timeout_s) as link:
            link.settimeout(timeout_s)
            link.sendall(word.encode())
            answer = bytearray()
            while piece := link.recv(65536):
                answer += piece
    except OSError:
        return ""
    return answer.decode("utf-8", "replace")


def wait_until(what: str, happened: Callable[[], bool], timeout_s: float = 60.0) -> float:
    """Ask again and again; the seconds it took. Raises TimeoutError naming what did not happen."""
    began = time.monotonic()
    while not happened():
        if time.monotonic() - began > timeout_s:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(POLL_S)
    return time.monotonic() - began


@dataclass
class Node:
    """One server. Its files stay between a kill and the next start."""

    sid: int
    kind: str
    directory: Path
    observer: bool = False
    client_port: int = field(default_factory=free_port)
    quorum_port: int = field(default_factory=free_port)
    election_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data_dir(self) -> Path:
        """Its dataDir."""
        return self.directory / "data"

    @property
    def config_path(self) -> Path:
        """Its zoo.cfg."""
        return self.directory / "zoo.cfg"

    @property
    def log_path(self) -> Path:
        """All it printed, over all its starts."""
        return self.directory / "out.log"

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"{HOST}:{self.client_port}"

    def start(self, properties: Mapping[str, str], jvm_flags: str) -> None:
        """Start the process, unless it runs."""
        if self.alive():
            return
        environment = dict(os.environ)
        if self.kind.startswith("apache"):
            command = self._java(properties, jvm_flags)
        else:
            command = self._ours()
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH", "")]))
        log: IO[bytes]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT if self.kind == "zktw" else self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _ours(self) -> list[str]:
        twistd = Path(sys.executable).parent / "twistd"
        text = os.environ.get("ZKTW_CMD", f"{shlex.quote(str(twistd))} -n --pidfile= zkq -c CFG")
        return [word.replace("CFG", str(self.config_path)) for word in shlex.split(text)]

    def _java(self, properties: Mapping[str, str], jvm_flags: str) -> list[str]:
        above = self.directory.parent
        jars = os.environ.get("ZK38_CP") or ":".join(DEBIAN_JARS)
        if self.kind == "apache39":
            jars = os.path.join(os.environ["ZK39_LIB"], "*")
        return [
            os.environ.get("JAVA", "java"),
            *shlex.split(jvm_flags),
            "-Dzookeeper.jmx.log4j.disable=true",
            f"-Dlog4j.configuration=file:{above}/log4j.properties",
            f"-Dlogback.configurationFile={above}/logback.xml",
            *(f"-D{name}={value}" for name, value in properties.items()),
            "-cp",
            jars,
            JAVA_MAIN,
            str(self.config_path),
        ]

    def alive(self) -> bool:
        """Whether its process is there (a stopped one is)."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if its process is there."""
        if self.alive():
            assert self.process is not None
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(30)

    def term(self, timeout_s: float = 10.0) -> int:
        """SIGTERM, and wait for the end; its exit status (negative: a signal). Raises TimeoutExpired."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(timeout_s)

    def stop(self) -> None:
        """SIGSTOP: it keeps its connections and says nothing."""
        self.signal(signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Take away its data, myid excepted. Only while it does not run."""
        assert not self.alive()
        shutil.rmtree(self.data_dir / "version-2", ignore_errors=True)

    def ask(self, word: str, timeout_s: float = 2.0) -> str:
        """Its answer to a four-letter word."""
        return ask(self.client_port, word, timeout_s)

    def mode(self, timeout_s: float = 2.0) -> str | None:
        """leader, follower, observer, standalone, read-only; None while it does not serve."""
        found = re.search(r"^Mode: (\S+)", self.ask("srvr", timeout_s), re.M)
        return found.group(1) if found else None

    def log_text(self) -> str:
        """All it printed."""
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""


class Ensemble:
    """Nodes that know each other; observers come after the voters. Use it as a context: leaving it kills them all.

    extra: more lines of every zoo.cfg. properties: lines too, given to Apache's servers as -Dname=value besides. One
    lone voter is a standalone server unless quorum=True, several are with standalone=True. If the block fails, the ends
    of all logs are printed.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        observers: Sequence[str] = (),
        *,
        extra: Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        tick_ms: int = 2000,
        quorum: bool = False,
        standalone: bool = False,
        jvm_flags: str = JVM_FLAGS,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="zktw-live-"))
        self.extra = list(extra)
        self.properties = dict(properties or {})
        self.tick_ms = tick_ms
        self._jvm_flags = jvm_flags
        all_kinds = [*kinds, *observers]
        self._quorum = quorum or (len(all_kinds) > 1 and not standalone)
        self.nodes = [
            Node(sid, kind, self.directory / f"n{sid}", observer=sid > len(kinds))
            for sid, kind in enumerate(all_kinds, 1)
        ]
        (self.directory / "log4j.properties").write_text(LOG4J)
        (self.directory / "logback.xml").write_text(LOGBACK)
        for node in self.nodes:
            self.write_files(node)

    def write_files(self, node: Node) -> None:
        """Its zoo.cfg and myid."""
        node.data_dir.mkdir(parents=True, exist_ok=True)
        lines = [
            f"tickTime={self.tick_ms}",
            "initLimit=10",
            "syncLimit=5",
            f"dataDir={node.data_dir}",
            f"clientPort={node.client_port}",
            f"clientPortAddress={HOST}",
            "4lw.commands.whitelist=*",
            "admin.enableServer=false",
            "maxClientCnxns=0",
            *self.extra,
            *(f"{name}={value}" for name, value in self.properties.items()),
        ]
        if self._quorum:
            lines += ["peerType=observer"] if node.observer else []
            lines += [
                f"server.{other.sid}={HOST}:{other.quorum_port}:{other.election_port}"
                + (":observer" if other.observer else "")
                for other in self.nodes
            ]
            (node.data_dir / "myid").write_text(f"{node.sid}\n")
        node.config_path.write_text("\n".join(lines) + "\n")

    def __getitem__(self, sid: int) -> Node:
        return self.nodes[sid - 1]

    def start(self, *nodes: Node) -> None:
        """Start these, or all."""
        for node in nodes or self.nodes:
            node.start(self.properties, self._jvm_flags)

    def wait_serving(self, *nodes: Node, timeout_s: float = 60.0) -> float:
        """Wait until these, or all, say what their mode is; the seconds it took. Raises if one ends instead."""
        waiting = list(nodes or self.nodes)

        def all_serve() -> bool:
            for node in waiting:
                if not node.alive():
                    raise RuntimeError(f"server {node.sid} ({node.kind}) ended:\n{node.log_text()[-LOG_TAIL_CHARS:]}")
            waiting[:] = [node for node in waiting if node.mode() is None]
            return not waiting

        return wait_until("every server in a role", all_serve, timeout_s)

    def wait_answering(self, *nodes: Node, timeout_s: float = 60.0) -> float:
        """Wait until these, or all, answer on their client ports, serving or not."""
        waiting = list(nodes or self.nodes)
        return wait_until("every server answers ruok", lambda: all(n.ask("ruok") == "imok" for n in waiting), timeout_s)

    def leader(self) -> Node | None:
        """Who says that it leads (or stands alone)."""
        return next((node for node in self.nodes if node.alive() and node.mode() in ("leader", "standalone")), None)

    def wait_leader(self, timeout_s: float = 60.0, *, other_than: Node | None = None) -> Node:
        """Wait for a leader, if so wished for another one."""
        found: list[Node] = []

        def there_is_one() -> bool:
            node = self.leader()
            if node is not None and node is not other_than:
                found.append(node)
            return bool(found)

        wait_until("a leader", there_is_one, timeout_s)
        return found[0]

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(
            f"--- server {node.sid} ({node.kind}), pid {node.process.pid if node.process else None}, "
            f"{'running' if node.alive() else 'not running'}\n{node.log_text()[-LOG_TAIL_CHARS:]}"
            for node in self.nodes
        )

    def close(self) -> None:
        """Kill all and remove their files."""
        for node in self.nodes:
            node.signal(signal.SIGKILL)
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "Ensemble":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None:
            print(f"{kind.__name__}: {error}\n{self.logs()}")
        self.close()
