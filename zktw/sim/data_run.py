"""One seed of the data service from start to verdict: chaos under the checkers, then healing, then quiet."""

from dataclasses import dataclass, field
from traceback import extract_tb

from zktw.sim.data_checkers import DataCheckers
from zktw.sim.data_faults import DataFaultPlan, DataFaults
from zktw.sim.standalone import SID, StandaloneWorld
from zktw.sim.story import tell
from zktw.sim.surroundings import surroundings

# All clients are served again, and have their answers, in so much time after healing.
PROGRESS_MS = 30_000
# Longer than any session that nobody speaks for, with the ticks that its end may come late.
QUIET_MS = 6000


@dataclass(frozen=True, slots=True)
class DataShape:
    """How the server is configured, how many clients it has, and how long it is tormented."""

    clients: int = 3
    own_log: bool = False
    lines: tuple[str, ...] = ("snapCount=60",)
    chaos_ms: float = 15_000
    faults: DataFaults = field(default_factory=DataFaults)
    # Whether the disk brings the sectors of a write to the platter in any order.
    reorders: bool = False


def data_shape_of(seed: int, chaos_ms: float = 15_000, faults: DataFaults | None = None) -> DataShape:
    """A shape for each seed, so that a range of seeds covers them all."""
    lines = [f"snapCount={(20, 60, 200)[seed % 3]}"]
    compression = ("", "", "gz", "snappy")[seed // 3 % 4]
    if compression:
        lines.append(f"snapshot.compression.method={compression}")
    if seed % 5 == 0:
        lines.append("txnLogSizeLimitInKb=4")
    if seed % 7 == 0:
        lines.append("globalOutstandingLimit=3")
    return DataShape(2 + seed % 3, seed % 2 == 0, tuple(lines), chaos_ms, faults or DataFaults())


@dataclass
class DataOutcome:
    """What a run has shown. violation is "" where all invariants held. fingerprint: of all that was told."""

    seed: int
    violation: str = ""
    simulated_ms: float = 0.0
    healed_ms: float = 0.0
    txns: int = 0
    replies: int = 0
    events: int = 0
    restarts: int = 0
    clean_stops: int = 0
    fingerprint: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)

    def add(self, other: "DataOutcome") -> None:
        """Sum up; of the way back the longest."""
        for name in ("simulated_ms", "txns", "replies", "events", "restarts", "clean_stops"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.healed_ms = max(self.healed_ms, other.healed_ms)
        for kind, count in other.faults.items():
            self.faults[kind] = self.faults.get(kind, 0) + count


def run_data_seed(seed: int, shape: DataShape, *, with_story: bool = False) -> DataOutcome:
    """Run one seed. What the server or the simulator itself raise is a finding too, and is told as one."""
    outcome = DataOutcome(seed)
    world = StandaloneWorld(seed, clients=shape.clients, lines=shape.lines, own_log=shape.own_log)
    world.servers[SID].disk.reorders = shape.reorders
    checkers = DataCheckers(world)
    with surroundings(world):
        plan = DataFaultPlan(world, shape.faults)
        try:
            world.run(shape.chaos_ms)
            plan.stop()
            world.heal()
            outcome.healed_ms = _settle(world, checkers)
        except Exception as error:
            where = extract_tb(error.__traceback__)[-1]
            world.broken = world.broken or f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"
            world.tell(0, world.broken)
    outcome.violation = world.broken
    outcome.simulated_ms = world.now_ms
    outcome.txns, outcome.replies, outcome.events = len(checkers.txns), checkers.replies, checkers.events
    outcome.restarts, outcome.clean_stops = checkers.restarts, checkers.clean_stops
    outcome.fingerprint = checkers.fingerprint
    outcome.faults = world.faults
    if with_story or outcome.violation:
        outcome.story = list(tell(world.trace))
    return outcome


def _settle(world: StandaloneWorld, checkers: DataCheckers) -> float:
    """After healing all are answered; then half of the clients vanish, and in time nothing is left of them.

    Returns the milliseconds that the first took.
    """
    began_ms = world.now_ms
    for client in world.clients:
        client.busy = False
    if not world.run_until(lambda: all(client.idle for client in world.clients), limit_ms=PROGRESS_MS):
        states = {client.host: (client.connected, client.waiting) for client in world.clients}
        world.broken = world.broken or f"no progress in {PROGRESS_MS} ms after healing: {states}"
    healed_ms = world.now_ms - began_ms
    for client in world.clients[::2]:
        client.die()
    world.run(QUIET_MS)
    living = {client.session_id for client in world.clients[1::2]}
    if not world.broken:
        checkers.check_end(living)
    world.stop(SID)
    world.run(2000)
    return healed_ms
