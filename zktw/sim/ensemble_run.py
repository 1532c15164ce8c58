"""One seed of an ensemble with data from start to verdict: chaos under the checkers, then healing, then quiet."""

from dataclasses import dataclass, field

from zktw.sim.crowd import all_answered, half_vanish, let_rest, where_they_are
from zktw.sim.ensemble import EnsembleWorld
from zktw.sim.ensemble_faults import EnsembleFaultPlan, EnsembleFaults
from zktw.sim.replica_checkers import ReplicaCheckers
from zktw.sim.surroundings import surroundings
from zktw.sim.trial import Verdict, torment, way_back

# All servers serve again, and all clients have their answers, in so much time after healing.
PROGRESS_MS = 40_000


@dataclass(frozen=True, slots=True)
class EnsembleShape:
    """What ensemble, how it is configured, how many clients it has, and how long it is tormented."""

    voters: int = 3
    observers: int = 0
    clients: int = 3
    lines: tuple[str, ...] = ("snapCount=60",)
    # Committed transactions that a server keeps in memory for its learners.
    ring: int = 20
    chaos_ms: float = 8000
    faults: EnsembleFaults = field(default_factory=EnsembleFaults.usual)


def ensemble_shape_of(seed: int, chaos_ms: float = 8000, faults: EnsembleFaults | None = None) -> EnsembleShape:
    """A shape for each seed, so that a range of seeds covers them all: mostly 3 voters, up to 5, up to 2 observers."""
    lines = [f"snapCount={(20, 60, 1000)[seed % 3]}"]
    if seed % 5 == 0:
        lines.append("txnLogSizeLimitInKb=4")
    if seed % 7 == 0:
        lines.append("globalOutstandingLimit=3")
    # 0: any length of log may be sent; below: none.
    lines.append(f"snapshotSizeFactor={('0', '0', '0.33', '-1')[seed // 3 % 4]}")
    return EnsembleShape(
        (3, 3, 3, 4, 5)[seed % 5],
        (0, 1, 0, 0, 2, 0)[seed // 5 % 6],
        2 + seed // 2 % 3,
        tuple(lines),
        (3, 20, 500)[seed // 7 % 3],
        chaos_ms,
        faults or EnsembleFaults.usual(),
    )


@dataclass
class EnsembleOutcome(Verdict):
    """What a run of an ensemble with clients has shown. fingerprint: of all that was told."""

    elections: int = 0
    epochs: int = 0
    packets: int = 0
    txns: int = 0
    replies: int = 0
    events: int = 0
    expired: int = 0
    clean_stops: int = 0
    databases: int = 0
    fingerprint: int = 0
    syncs: dict[str, int] = field(default_factory=dict)


def run_ensemble_seed(seed: int, shape: EnsembleShape, *, with_story: bool = False) -> EnsembleOutcome:
    """Run one seed; see trial.torment."""
    outcome = EnsembleOutcome(seed)
    world = EnsembleWorld(
        seed,
        voters=shape.voters,
        observers=shape.observers,
        clients=shape.clients,
        lines=shape.lines,
        ring=shape.ring,
    )
    checkers = ReplicaCheckers(world)
    with surroundings(world):
        plan = EnsembleFaultPlan(world, shape.faults)
        torment(outcome, world, plan, shape.chaos_ms, lambda: _settle(world, checkers), with_story=with_story)
    _sum_up(outcome, world, checkers)
    return outcome


def _sum_up(outcome: EnsembleOutcome, world: EnsembleWorld, checkers: ReplicaCheckers) -> None:
    outcome.elections, outcome.epochs = checkers.zab.elections, len(checkers.zab.established)
    outcome.packets, outcome.syncs = checkers.zab.packets, checkers.zab.syncs
    outcome.txns, outcome.replies, outcome.events = len(checkers.ledger.zxids), checkers.replies, checkers.events
    outcome.expired = sum(client.expired for client in world.clients)
    outcome.clean_stops, outcome.databases = checkers.clean_stops, checkers.databases
    outcome.fingerprint = checkers.fingerprint


def _settle(world: EnsembleWorld, checkers: ReplicaCheckers) -> float:
    """After healing all are answered; then half of the clients vanish, and in time nothing is left of them.

    Returns the milliseconds that the first took.
    """
    clients = world.clients
    let_rest(clients)
    healed_ms = way_back(
        world,
        lambda: world.complete and world.settled() and all_answered(clients),
        PROGRESS_MS,
        lambda: f"{world.roles}, {where_they_are(clients)}",
    )
    living = half_vanish(world, clients)
    if not world.broken:
        checkers.check_end(living)
        checkers.check_registers(clients)
    return healed_ms
