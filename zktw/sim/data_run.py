"""One seed of the data service from start to verdict: chaos under the checkers, then healing, then quiet."""

from dataclasses import dataclass, field

from zktw.sim.crowd import all_answered, half_vanish, let_rest, where_they_are
from zktw.sim.data_checkers import DataCheckers
from zktw.sim.data_faults import DataFaultPlan, DataFaults
from zktw.sim.standalone import SID, StandaloneWorld
from zktw.sim.surroundings import surroundings
from zktw.sim.trial import Verdict, torment, way_back

# All clients are served again, and have their answers, in so much time after healing.
PROGRESS_MS = 30_000


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
class DataOutcome(Verdict):
    """What a run of a server alone has shown. fingerprint: of all that was told."""

    txns: int = 0
    replies: int = 0
    events: int = 0
    restarts: int = 0
    clean_stops: int = 0
    fingerprint: int = 0


def run_data_seed(seed: int, shape: DataShape, *, with_story: bool = False) -> DataOutcome:
    """Run one seed; see trial.torment."""
    outcome = DataOutcome(seed)
    world = StandaloneWorld(seed, clients=shape.clients, lines=shape.lines, own_log=shape.own_log)
    world.servers[SID].disk.reorders = shape.reorders
    checkers = DataCheckers(world)
    with surroundings(world):
        plan = DataFaultPlan(world, shape.faults)
        torment(outcome, world, plan, shape.chaos_ms, lambda: _settle(world, checkers), with_story=with_story)
    outcome.txns, outcome.replies, outcome.events = len(checkers.txns), checkers.replies, checkers.events
    outcome.restarts, outcome.clean_stops = checkers.restarts, checkers.clean_stops
    outcome.fingerprint = checkers.fingerprint
    return outcome


def _settle(world: StandaloneWorld, checkers: DataCheckers) -> float:
    """After healing all are answered; then half of the clients vanish, and in time nothing is left of them.

    Returns the milliseconds that the first took.
    """
    clients = world.clients
    let_rest(clients)
    healed_ms = way_back(world, lambda: all_answered(clients), PROGRESS_MS, lambda: where_they_are(clients))
    living = half_vanish(world, clients)
    if not world.broken:
        checkers.check_end(living)
    world.stop(SID)
    world.run(2000)
    return healed_ms
