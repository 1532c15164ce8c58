"""The figures of the data service's benchmark, each measured on one kind of server after the other."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from bench_run import JVM_FLAGS, LOADED_NODES, VALUE_BYTES, Effort
from bench_table import Board, Figure
from ensemble import Ensemble, Node, wait_until
from service_tools import Held, Loader, Pinger, busy_s, cpu_s, favour, pid, resident_mb, wait_for_session

LOADS = {
    "get32x32": ("get", 32, 32),
    "get32x1": ("get", 32, 1),
    "set32x32": ("set", 32, 32),
    "set32x1": ("set", 32, 1),
    "get1": ("get", 1, 1),
    "set1": ("set", 1, 1),
    "setread": ("set", 1, 1),
}
SCALES = ("sessions", "fire", "watches", "nodes")
NAMES = (*LOADS, "memory", *SCALES)


@dataclass(frozen=True, slots=True)
class Scale(Effort):
    """How much of everything."""

    rounds: int = 5
    seconds: float = 2.5
    warm_s: float = 8.0
    sessions: int = 10_000
    nodes: int = 1_000_000
    watchers: int = 100
    watched: int = 10_000
    # Apache's default; it takes a snapshot after between half of it and all of it.
    snap_count: int = 100_000
    fires: int = 3


QUICK = Scale(
    rounds=1,
    seconds=1.0,
    warm_s=3.0,
    sessions=2_000,
    nodes=100_000,
    watchers=20,
    watched=5_000,
    snap_count=20_000,
    fires=2,
)


def declared(scale: Scale) -> dict[str, Figure]:
    """The lines of the table."""
    ops, ms, mb = "ops/s", "ms", "MB"
    thousands = f"{scale.nodes:,} nodes of {VALUE_BYTES} bytes"
    watches = f"{scale.watchers * scale.watched:,} watches"
    return {
        "get32x32": Figure("getData, 32 sessions x window 32", ops, True, 1.0, 2.0),
        "get32x1": Figure("getData, 32 x 1", ops, True, 0.6, 0.9),
        "set32x32": Figure("setData with fsync, 32 x 32", ops, True, 1.0, 2.0),
        "set32x1": Figure("setData with fsync, 32 x 1", ops, True, 0.6, 0.9),
        "get1": Figure("one session, one at a time: p50 of get", ms, False, 1.2, 0.8),
        "set1": Figure("one session, one at a time: p50 of set", ms, False, 1.2, 0.8),
        "setread": Figure("one session's set while 8 x 8 read: p50", ms),
        "setread99": Figure("one session's set while 8 x 8 read: p99", ms),
        "memory": Figure("resident memory after these loads", mb, False, 0.4, 0.25),
        "resident": Figure(f"{thousands}: resident memory after a start", mb, False, 1.2, 0.75),
        "start": Figure(f"{thousands}: start to serving after SIGTERM (CPU: s a start)", "s", False, 2.0, 1.0),
        "restart": Figure(f"{thousands}: start to serving after SIGKILL (CPU: s a start)", "s", False, 2.0, 1.0),
        "grown": Figure(f"{thousands}: resident memory after growth", mb),
        "growth": Figure(f"{thousands}: growth, 16 sessions x window 64", ops, True),
        "idle": Figure(f"{scale.sessions:,} idle sessions (CPU: cores)", "kB each", False, 1.0, 0.5),
        "connect": Figure(f"{scale.sessions:,} sessions opened", "s"),
        "fire": Figure(f"{scale.sessions:,} watches fired by one write, last event", "s", False, 1.5, 0.8),
        "watches": Figure(f"{watches}, {scale.watchers} sessions x {scale.watched:,} nodes", "bytes each"),
        "turn_growth": Figure("longest ping during growth", ms),
        "turn_snapshot": Figure(f"longest ping during a snapshot of {scale.nodes:,} nodes", ms),
    }


class Bench(Board):
    """Runs what is asked for."""

    def __init__(self, kinds: list[str], scale: Scale, wanted: set[str], loader: Loader) -> None:
        super().__init__(kinds, declared(scale))
        self.scale = scale
        self.wanted = wanted
        self.loader = loader

    def ensemble(self, kind: str, *extra: str) -> Ensemble:
        """A standalone server, started and serving."""
        ensemble = Ensemble([kind], extra=extra, jvm_flags=JVM_FLAGS)
        try:
            ensemble.start()
            favour(pid(ensemble.nodes[0]), self.scale.nice)
            wait_for_session(ensemble.nodes[0], 60)
        except BaseException:
            ensemble.close()
            raise
        return ensemble

    def run(self) -> None:
        """All that is wanted."""
        if self.wanted & {*LOADS, "memory"}:
            self.loads()
        if self.wanted & {"sessions", "fire"}:
            for kind in self.turns(min(2, self.scale.rounds)):
                with self.attempt("sessions", kind), self.ensemble(kind) as ensemble:
                    self.crowd(kind, ensemble.nodes[0])
        if "watches" in self.wanted:
            for kind in self.turns(1):
                with self.attempt("watches", kind), self.ensemble(kind) as ensemble:
                    self.watches(kind, ensemble.nodes[0])
        if "nodes" in self.wanted:
            for kind in self.turns(max(1, self.scale.rounds // 5)):
                with (
                    self.attempt("nodes", kind),
                    self.ensemble(kind, f"snapCount={self.scale.snap_count}") as ensemble,
                ):
                    self.nodes(kind, ensemble)

    # -- operations a second ---------------------------------------------------------------------------------------

    def loads(self) -> None:
        """Both servers are up together; each measurement goes to one and then to the other."""
        ensembles: dict[str, Ensemble] = {}
        try:
            for kind in self.kinds:
                with self.attempt("start", kind):
                    ensembles[kind] = self.ensemble(kind)
                    self.warm(ensembles[kind].nodes[0])
            for key in (key for key in LOADS if key in self.wanted):
                for kind in self.turns(self.scale.rounds):
                    if kind in ensembles:
                        with self.attempt(key, kind):
                            self.load(key, kind, ensembles[kind].nodes[0])
            if "memory" in self.wanted:
                for kind, ensemble in ensembles.items():
                    self.note("memory", kind, resident_mb(ensemble.nodes[0]))
        finally:
            for ensemble in ensembles.values():
                ensemble.close()

    def warm(self, node: Node) -> None:
        """Make the nodes; read and write for a while: a JVM compiles what is used."""
        at_nodes = ("-n", LOADED_NODES, "-s", VALUE_BYTES)
        self.loader.run(node, "fill", *at_nodes, "-c", 8, "-w", 16)
        for operation in ("get", "set"):
            self.loader.run(node, operation, *at_nodes, "-c", 32, "-w", 8, "-d", self.scale.warm_s / 2)

    def load(self, key: str, kind: str, node: Node) -> None:
        operation, sessions, window = LOADS[key]
        options = ("-n", LOADED_NODES, "-s", VALUE_BYTES, "-c", sessions, "-w", window, "-d", self.scale.seconds)
        if key == "setread":
            readers = ("-n", LOADED_NODES, "-c", 8, "-w", 8, "-d", self.scale.seconds + 2)
            with Held(self.loader, node, "get", *readers) as held:
                result = self.loader.run(node, operation, *options, "-u", 0.5)
                held.done()
            self.note("setread", kind, result["lat_us"]["p50"] / 1000)
            self.note("setread99", kind, result["lat_us"]["p99"] / 1000)
            return
        began, busy, used = time.monotonic(), busy_s(), cpu_s(node)
        result = self.loader.run(node, operation, *options, "-u", 0.5)
        ours = cpu_s(node) - used + result["client_cpu_s"] * (self.scale.seconds + 0.5) / self.scale.seconds
        self.foreign_cores.append(max(0.0, (busy_s() - busy - ours) / (time.monotonic() - began)))
        number = result["lat_us"]["p50"] / 1000 if sessions == 1 else result["ops_s"]
        self.note(key, kind, number, 1000 * result["server_cpu_s"] / result["ops"] if result["ops"] else None)

    # -- many sessions, many watches ---------------------------------------------------------------------------------

    def crowd(self, kind: str, node: Node) -> None:
        """Idle sessions on a fresh server; then a watch of each on one node, and one write."""
        count = self.scale.sessions
        # A few sessions first, so that what a server loads once is not counted as theirs.
        self.loader.run(node, "watch", "-c", 50, "-k", 1)
        if "sessions" in self.wanted:
            before = resident_mb(node)
            with Held(self.loader, node, "idle", "-c", count, "-d", 5) as held:
                held.ready()
                time.sleep(1.0)
                used, began = cpu_s(node), time.monotonic()
                time.sleep(2.0)
                cores = (cpu_s(node) - used) / (time.monotonic() - began)
                during = resident_mb(node)
                result = held.done()
            self.note("idle", kind, 1024 * (during - before) / count, cores)
            self.note("connect", kind, result["connect_s"])
        if "fire" in self.wanted:
            result = self.loader.run(node, "watch", "-c", count, "-k", self.scale.fires)
            for each in result["rounds"]:
                if each["wrong"]:
                    self.complaints.append(f"{kind}: {each['wrong']} of {count} watches did not fire just once")
                self.note("fire", kind, each["all_events_s"], 1000 * each["server_cpu_s"] / count)

    def watches(self, kind: str, node: Node) -> None:
        """Data watches of some sessions on all of many nodes, held; the memory they take."""
        at_nodes = ("-n", self.scale.watched, "-s", VALUE_BYTES)
        self.loader.run(node, "fill", *at_nodes, "-c", 8, "-w", 32)
        self.loader.run(node, "get", *at_nodes, "-c", self.scale.watchers, "-w", 32, "-d", 1)
        before = resident_mb(node)
        with Held(self.loader, node, "watches", *at_nodes, "-c", self.scale.watchers, "-w", 32, "-d", 2) as held:
            held.ready()
            time.sleep(0.5)
            during = resident_mb(node)
            result = held.done()
        each = 2**20 * (during - before) / result["ops"]
        self.note("watches", kind, each, 1000 * result["server_cpu_s"] / result["ops"])

    # -- many nodes --------------------------------------------------------------------------------------------------

    def nodes(self, kind: str, ensemble: Ensemble) -> None:
        """Growth, a snapshot of it all, and two starts on it; a session pings meanwhile."""
        node, scale = ensemble.nodes[0], self.scale
        with Pinger(node) as pinger:
            fill = ("-n", scale.nodes, "-s", VALUE_BYTES, "-c", 16, "-w", 64)
            result = self.loader.run(node, "fill", *fill, timeout_s=900)
            self.note("growth", kind, result["ops_s"], 1000 * result["server_cpu_s"] / scale.nodes)
            self.note("turn_growth", kind, pinger.longest_ms())
            self.note("grown", kind, resident_mb(node))
        if pinger.failure:
            self.complaints.append(f"{kind}: the pinging session during growth: {pinger.failure}")
        with self.attempt("snapshot", kind):
            self.snapshot(kind, node)
        for key, end in (("restart", node.kill), ("start", partial(node.term, 60))):
            end()
            began = time.monotonic()
            ensemble.start()
            favour(pid(node), scale.nice)
            wait_for_session(node)
            self.note(key, kind, time.monotonic() - began, cpu_s(node))
        self.note("resident", kind, resident_mb(node))

    def snapshot(self, kind: str, node: Node) -> None:
        """Write until the server takes a snapshot, and go on until it is complete."""
        directory = node.data_dir / "version-2"

        def sizes() -> dict[str, int]:
            found: dict[str, int] = {}
            for path in directory.glob("*snapshot.*"):
                # Purged or renamed between the two calls, perhaps; ours have another name until they are complete.
                with suppress(FileNotFoundError):
                    found["snapshot." + path.name.partition("snapshot.")[2]] = path.stat().st_size
            return found

        settle(sizes)
        before = sizes()
        with Pinger(node) as pinger:
            writing = ("-n", self.scale.nodes, "-s", VALUE_BYTES, "-c", 8, "-w", 8, "-d", 600)
            with Held(self.loader, node, "set", *writing):
                wait_until("a snapshot", lambda: bool(sizes().keys() - before.keys()), 120)
                began = time.monotonic()
                first = min(sizes().keys() - before.keys(), key=lambda name: int(name.split(".")[1], 16))
                settle(lambda: {first: sizes().get(first, -1)})
                self.note("turn_snapshot", kind, pinger.longest_ms(began - 0.1))
        if pinger.failure:
            self.complaints.append(f"{kind}: the pinging session during a snapshot: {pinger.failure}")


def settle(sizes: Callable[[], dict[str, int]], quiet_s: float = 0.6, timeout_s: float = 120.0) -> None:
    """Wait until names and sizes stay as they are for a while."""
    began = changed = time.monotonic()
    last = sizes()
    while time.monotonic() - changed < quiet_s:
        if time.monotonic() - began > timeout_s:
            raise TimeoutError("snapshots change without end")
        time.sleep(0.05)
        if (now := sizes()) != last:
            last, changed = now, time.monotonic()
