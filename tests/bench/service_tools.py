"""What the benchmarks measure with: the load generator, /proc, and a session that only pings."""

import json
import os
import resource
import socket
import statistics
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ensemble import HOST, Node

SOURCE = Path(__file__).resolve().parent / "zkload.c"
SESSION_TIMEOUT_MS = 30000
CONNECT_REQUEST = struct.pack(">iiqiqi16s?", 45, 0, 0, SESSION_TIMEOUT_MS, 0, 16, bytes(16), False)
PING = struct.pack(">iii", 8, -2, 11)
CLOSE = struct.pack(">iii", 8, 1, -11)
PING_PAUSE_S = 0.001
POLL_S = 0.01
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def listed(nodes: Node | Sequence[Node]) -> Sequence[Node]:
    """One server or several, as several."""
    return [nodes] if isinstance(nodes, Node) else nodes


class Loader:
    """The load generator, built once for a run. complaints: what went wrong under load, a line each."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="zktw-bench-")
        self._program = str(Path(self._directory.name) / "zkload")
        subprocess.run(["gcc", "-O2", "-o", self._program, str(SOURCE)], check=True)
        self.complaints: list[str] = []

    def command(self, nodes: Node | Sequence[Node], operation: str, *options: object) -> list[str]:
        """The command line; the sessions are spread evenly over these servers."""
        several = listed(nodes)
        addresses = ",".join(node.address for node in several)
        processes = ",".join(str(pid(node)) for node in several)
        return [
            self._program,
            *("-h", addresses, "-o", operation, "-t", str(SESSION_TIMEOUT_MS), "-P", processes),
            *map(str, options),
        ]

    def run(
        self, nodes: Node | Sequence[Node], operation: str, *options: object, timeout_s: float = 600.0
    ) -> dict[str, Any]:
        """Run to the end; what it measured. Errors and lost sessions become complaints."""
        command = self.command(nodes, operation, *options)
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        return self.judged(nodes, operation, done.stdout, done.stderr)

    def judged(self, nodes: Node | Sequence[Node], operation: str, output: str, errors: str) -> dict[str, Any]:
        """Parse what it printed. Raises RuntimeError if that is no result."""
        node = listed(nodes)[0]
        try:
            result: dict[str, Any] = json.loads(output)
        except ValueError:
            raise RuntimeError(
                f"{operation} on {node.kind}: {output!r} {errors!r}\n{node.log_text()[-2000:]}"
            ) from None
        if "failed" in result or result["errors"] or result["lost_sessions"] or result["opened"] < result["sessions"]:
            self.complaints.append(
                f"{node.kind}, {operation}, {result['sessions']} sessions of which {result['opened']} opened: "
                f"{result.get('failed', '')} {result.get('errors')} errors, "
                f"{result.get('lost_sessions')} sessions lost. {errors[:300]}"
            )
        return result

    def close(self) -> None:
        """Remove the program."""
        self._directory.cleanup()


class Held:
    """A load that goes on in the background. ready() waits until it says that all is set up; leave with done()."""

    def __init__(self, loader: Loader, node: Node, operation: str, *options: object) -> None:
        self._loader, self._node, self._operation = loader, node, operation
        self._first = ""
        self._process = subprocess.Popen(
            loader.command(node, operation, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def ready(self) -> None:
        """Read the first part of its output; it comes when all sessions are open (idle), all watches set (watches)."""
        assert self._process.stdout is not None
        self._first = os.read(self._process.stdout.fileno(), 65536).decode()

    def done(self, timeout_s: float = 120.0) -> dict[str, Any]:
        """Wait for its end; what it measured."""
        output, errors = self._process.communicate(timeout=timeout_s)
        return self._loader.judged(self._node, self._operation, self._first + output.decode(), errors.decode())

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End it, if it still runs."""
        self._process.kill()
        self._process.wait()


def pid(node: Node) -> int:
    """The process of a running server."""
    assert node.process is not None
    return node.process.pid


def favour(process: int | str, nice: int | None) -> None:
    """Weigh a process and all of its Unix session against the rest of the machine; plain nice does not cross these."""
    if nice is not None:
        Path(f"/proc/{process}/autogroup").write_text(str(nice))


def resident_mb(node: Node) -> float:
    """MB of memory the server occupies."""
    status = Path(f"/proc/{pid(node)}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def cpu_s(node: Node) -> float:
    """Seconds of CPU the server has used, all threads, user and system; in steps of 10 ms."""
    user, system = Path(f"/proc/{pid(node)}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / CLOCK_TICKS


def busy_s() -> float:
    """Seconds of CPU that all processes of the machine have used since it started."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, *_ = map(int, words)
    return (user + nice + system + irq + softirq) / CLOCK_TICKS


def read_exactly(link: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = link.recv(count - len(data))
        if not piece:
            raise ConnectionError("the server closed the connection")
        data += piece
    return bytes(data)


def open_session(node: Node, timeout_s: float = 60.0) -> socket.socket:
    """A new session. Raises OSError if the server does not give one."""
    link = socket.create_connection((HOST, node.client_port), timeout_s)
    try:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.settimeout(timeout_s)
        link.sendall(CONNECT_REQUEST)
        (length,) = struct.unpack(">i", read_exactly(link, 4))
        if not struct.unpack_from(">ii", read_exactly(link, length))[1]:
            raise ConnectionError("the server refused the session")
    except BaseException:
        link.close()
        raise
    return link


def wait_for_session(node: Node, timeout_s: float = 300.0) -> None:
    """Wait until the server gives a session, which is more than that it answers. Raises TimeoutError, RuntimeError."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        if not node.alive():
            raise RuntimeError(f"{node.kind} ended:\n{node.log_text()[-4000:]}")
        # Asked by its word first: 3.8 never answers nor closes a session that comes while it loads.
        if node.mode() is not None:
            with suppress(OSError), open_session(node, 5.0) as link:
                link.sendall(CLOSE)
                return
        time.sleep(POLL_S)
    raise TimeoutError(f"{node.kind} gave no session in {timeout_s:g} s:\n{node.log_text()[-4000:]}")


class Pinger:
    """A session of its own thread that pings again and again, and notes how long each answer took.

    The longest answer is the longest turn of the server's loop as a client sees it (and what the kernel adds to it).
    """

    def __init__(self, node: Node) -> None:
        self._link = open_session(node)
        self._ending = threading.Event()
        self._trips: list[tuple[float, float]] = []
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self._ending.wait(PING_PAUSE_S):
                sent = time.monotonic()
                self._link.sendall(PING)
                (length,) = struct.unpack(">i", read_exactly(self._link, 4))
                read_exactly(self._link, length)
                self._trips.append((sent, time.monotonic() - sent))
        except OSError as error:
            self.failure = str(error)

    def longest_ms(self, since: float = 0.0) -> float:
        """Of the pings answered since a time of the monotonic clock, milliseconds."""
        return max((trip for sent, trip in self._trips if sent + trip >= since), default=float("nan")) * 1000

    def median_ms(self) -> float:
        """Of all pings."""
        return statistics.median(trip for _, trip in self._trips) * 1000

    def __enter__(self) -> "Pinger":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join(60)
        with suppress(OSError):
            self._link.sendall(CLOSE)
        self._link.close()


def allow_open_files(count: int) -> bool:
    """Raise the bound of this process and its children; whether that many are allowed now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count) if hard >= 0 else hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft == resource.RLIM_INFINITY or soft >= count
