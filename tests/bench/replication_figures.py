"""The figures of the replication benchmark: what they are, and the ensembles of each kind that they are taken on."""

import re
import time
from dataclasses import dataclass
from functools import partial

from bench_run import JVM_FLAGS, LOADED_NODES, VALUE_BYTES, Effort
from bench_table import Board, Figure, longest
from ensemble import Ensemble, Node
from service_tools import Loader, busy_s, cpu_s, favour, pid, wait_for_session

SERVERS = 3
# operation, sessions, window, and the servers that the sessions are spread over
LOADS = {
    "set32x32": ("set", 32, 32, "all"),
    "set32x1": ("set", 32, 1, "all"),
    "get32x32": ("get", 32, 32, "all"),
    "set1": ("set", 1, 1, "follower"),
    "set1leader": ("set", 1, 1, "leader"),
}
FAULTS = ("kill", "term", "rolling")
BULK = ("rejoin", "diff", "snap")
NAMES = (*LOADS, *FAULTS, *BULK)


@dataclass(frozen=True, slots=True)
class Scale(Effort):
    """How much of everything."""

    rounds: int = 4
    seconds: float = 2.5
    warm_s: float = 14.0
    kills: int = 30
    terms: int = 8
    rolls: int = 2
    nodes: int = 100_000
    behind: int = 100_000
    rejoins: int = 3
    catches: int = 2


QUICK = Scale(
    rounds=1,
    seconds=1.5,
    warm_s=3.0,
    kills=3,
    terms=2,
    rolls=1,
    nodes=20_000,
    behind=20_000,
    rejoins=1,
    catches=1,
)


def declared(scale: Scale) -> dict[str, Figure]:
    """The lines of the table."""
    ops, ms = "ops/s", "ms"
    kill, term = "leader SIGKILL to the next write", "leader SIGTERM, longest gap"
    behind = f"a follower {scale.behind:,} transactions behind, start to serving"
    killed = partial(Figure, unit=ms, must=0.4, aim_at=60.0, paired=False)
    return {
        "set32x32": Figure("setData 32 x 32", ops, True, 1.0, 2.0),
        "set32x1": Figure("setData 32 x 1", ops, True, 1.0, 1.5),
        "get32x32": Figure("getData 32 x 32", ops, True, 1.0, 2.0),
        "set1": Figure("set, one at a time, at a follower, p50", ms, False, 1.3, 0.8),
        "set1leader": Figure("set, one at a time, at the leader, p50", ms, False, 1.3, 0.8),
        "kill": killed(f"{kill}, session of a follower, median of {scale.kills}"),
        "kill_max": killed(f"{kill}, session of a follower, max of {scale.kills}", of=longest),
        "kill_moved": killed(f"{kill}, session of the leader, median of {scale.kills}"),
        "kill_moved_max": killed(f"{kill}, session of the leader, max of {scale.kills}", of=longest),
        "term": Figure(f"{term}, writer at a follower", ms, must=0.25, aim_at=40.0, paired=False),
        "term_moved": Figure(f"{term}, writer at the leader", ms, must=0.25, aim_at=40.0, paired=False),
        "rolling": Figure("rolling restart, a session's time without writes", ms, must=0.4, aim=0.15, paired=False),
        "rejoin": Figure(f"killed server, {scale.nodes:,} nodes, start to serving (CPU: s)", "s", False, 1.0, 0.5),
        "diff": Figure(f"{behind}, DIFF from disk (CPU: s)", "s", False, 1.5, 0.8),
        "snap": Figure(f"{behind}, SNAP (CPU: s)", "s", False, 1.5, 0.8),
        "grow": Figure(f"{scale.nodes:,} nodes created, 16 x 64", ops, True),
        "sweep": Figure("setData 16 x 64, one follower down", ops, True),
    }


def serve(ensemble: Ensemble, scale: Scale, *nodes: Node) -> None:
    """Start these servers, or all, and wait until each gives a session."""
    ensemble.start(*nodes)
    for node in nodes or ensemble.nodes:
        favour(pid(node), scale.nice)
    for node in nodes or ensemble.nodes:
        wait_for_session(node, 90)


def zxid(node: Node) -> int:
    """The last transaction it has, by its own word; -1 if it does not say."""
    found = re.search(r"^Zxid: 0x([0-9a-f]+)", node.ask("srvr"), re.M)
    return int(found.group(1), 16) if found else -1


class Fleet:
    """One ensemble of each kind, for a group of rows; when one is asked for it is mended, or made anew."""

    def __init__(self, board: Board, scale: Scale, extra: tuple[str, ...] = ()) -> None:
        self._board = board
        self.scale = scale
        self._extra = extra
        self._ensembles: dict[str, Ensemble] = {}

    def whole(self, kind: str) -> Ensemble:
        """All three serve, one of them leads. Raises what starting them raises."""
        ensemble = self._ensembles.get(kind)
        if ensemble is not None:
            try:
                return self._mended(ensemble)
            except (OSError, RuntimeError, TimeoutError) as error:
                self._board.complain(f"{kind} does not come back, a new ensemble: {error}\n{ensemble.logs()}")
                self._ensembles.pop(kind).close()
        ensemble = self._ensembles[kind] = Ensemble([kind] * SERVERS, extra=self._extra, jvm_flags=JVM_FLAGS)
        return self._mended(ensemble)

    def _mended(self, ensemble: Ensemble) -> Ensemble:
        serve(ensemble, self.scale)
        ensemble.wait_leader(30)
        return ensemble

    def close(self) -> None:
        """End them all."""
        for ensemble in self._ensembles.values():
            ensemble.close()

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def leader_and_followers(ensemble: Ensemble) -> tuple[Node, list[Node]]:
    """Who leads, and the others."""
    leader = ensemble.wait_leader(30)
    return leader, [node for node in ensemble.nodes if node is not leader]


def warm(loader: Loader, ensemble: Ensemble, scale: Scale) -> None:
    """Make the nodes; read and write for a while: a JVM compiles what is used."""
    at_nodes = ("-n", LOADED_NODES, "-s", VALUE_BYTES)
    loader.run(ensemble.nodes, "fill", *at_nodes, "-c", 9, "-w", 16)
    for operation in ("get", "set"):
        loader.run(ensemble.nodes, operation, *at_nodes, "-c", 32, "-w", 8, "-d", scale.warm_s / 2)


def loads(board: Board, loader: Loader, scale: Scale, keys: list[str]) -> None:
    """Both ensembles are up together; each measurement goes to one and then to the other."""
    with Fleet(board, scale) as fleet:
        started: list[str] = []
        for kind in board.kinds:
            with board.attempt("start", kind):
                warm(loader, fleet.whole(kind), scale)
                started.append(kind)
        for key in keys:
            for kind in board.turns(scale.rounds):
                if kind in started:
                    with board.attempt(key, kind):
                        load(board, loader, scale, key, kind, fleet.whole(kind))


def load(board: Board, loader: Loader, scale: Scale, key: str, kind: str, ensemble: Ensemble) -> None:
    """One measurement of one load; CPU is that of all three servers."""
    operation, sessions, window, where = LOADS[key]
    leader, followers = leader_and_followers(ensemble)
    # A load on one server: the others' processes count all the same.
    nodes = {"all": ensemble.nodes, "leader": [leader], "follower": followers[:1]}[where]
    options = ("-n", LOADED_NODES, "-s", VALUE_BYTES, "-c", sessions, "-w", window, "-d", scale.seconds, "-u", 0.5)
    began, busy, used = time.monotonic(), busy_s(), {node.sid: cpu_s(node) for node in ensemble.nodes}
    result = loader.run(nodes, operation, *options)
    took = time.monotonic() - began
    spent = {node.sid: cpu_s(node) - used[node.sid] for node in ensemble.nodes}
    share = scale.seconds / (scale.seconds + 0.5)
    board.foreign_cores.append(
        max(0.0, (busy_s() - busy - sum(spent.values()) - result["client_cpu_s"] / share) / took)
    )
    number = result["lat_us"]["p50"] / 1000 if sessions == 1 else result["ops_s"]
    thousands = result["ops"] / 1000
    board.note(key, kind, number, sum(spent.values()) * share / thousands if thousands else None)
    followed = [f"{spent[node.sid] / took:.2f}" for node in followers]
    print(
        f"    p50 {result['lat_us']['p50'] / 1000:.3g} ms, p99 {result['lat_us']['p99'] / 1000:.3g} ms; cores: leader "
        f"{spent[leader.sid] / took:.2f}, followers {' and '.join(followed)}, load {result['client_cpu_s'] / took:.2f}",
        flush=True,
    )
