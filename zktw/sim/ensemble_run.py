"""One seed of an ensemble with data from start to verdict: chaos under the checkers, then healing, then quiet."""

from dataclasses import dataclass, field
from traceback import extract_tb

from zktw.sim.ensemble import EnsembleWorld
from zktw.sim.ensemble_faults import EnsembleFaultPlan, EnsembleFaults
from zktw.sim.replica_checkers import ReplicaCheckers
from zktw.sim.story import tell
from zktw.sim.surroundings import surroundings

# All servers serve again, and all clients have their answers, in so much time after healing.
PROGRESS_MS = 40_000
# Longer than any session that nobody speaks for, with the ticks that its end may come late.
QUIET_MS = 6000


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
class EnsembleOutcome:
    """What a run has shown. violation is "" where all invariants held. fingerprint: of all that was told."""

    seed: int
    violation: str = ""
    simulated_ms: float = 0.0
    healed_ms: float = 0.0
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
    faults: dict[str, int] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)

    def add(self, other: "EnsembleOutcome") -> None:
        """Sum up; of the way back the longest."""
        for name in ("simulated_ms", "elections", "epochs", "packets", "txns", "replies", "events", "expired"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.clean_stops += other.clean_stops
        self.databases += other.databases
        self.healed_ms = max(self.healed_ms, other.healed_ms)
        for mine, more in ((self.syncs, other.syncs), (self.faults, other.faults)):
            for kind, count in more.items():
                mine[kind] = mine.get(kind, 0) + count


def run_ensemble_seed(seed: int, shape: EnsembleShape, *, with_story: bool = False) -> EnsembleOutcome:
    """Run one seed. What the servers or the simulator itself raise is a finding too, and is told as one."""
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
        try:
            world.run(shape.chaos_ms)
            plan.stop()
            world.heal()
            outcome.healed_ms = _settle(world, checkers)
        except Exception as error:
            where = extract_tb(error.__traceback__)[-1]
            world.broken = world.broken or f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"
            world.tell(0, world.broken)
    _sum_up(outcome, world, checkers)
    if with_story or outcome.violation:
        outcome.story = list(tell(world.trace))
    return outcome


def _sum_up(outcome: EnsembleOutcome, world: EnsembleWorld, checkers: ReplicaCheckers) -> None:
    outcome.violation = world.broken
    outcome.simulated_ms = world.now_ms
    outcome.elections, outcome.epochs = checkers.zab.elections, len(checkers.zab.established)
    outcome.packets, outcome.syncs = checkers.zab.packets, checkers.zab.syncs
    outcome.txns, outcome.replies, outcome.events = len(checkers.ledger.zxids), checkers.replies, checkers.events
    outcome.expired = sum(client.expired for client in world.clients)
    outcome.clean_stops, outcome.databases = checkers.clean_stops, checkers.databases
    outcome.fingerprint = checkers.fingerprint
    outcome.faults = world.faults


def _settle(world: EnsembleWorld, checkers: ReplicaCheckers) -> float:
    """After healing all are answered; then half of the clients vanish, and in time nothing is left of them.

    Returns the milliseconds that the first took.
    """
    began_ms = world.now_ms
    for client in world.clients:
        client.busy = False

    def whole() -> bool:
        return world.complete and world.settled() and all(client.idle for client in world.clients)

    if not world.run_until(whole, limit_ms=PROGRESS_MS) and not world.broken:
        roles = {sid: (server.state and server.state.name, server.serving) for sid, server in world.servers.items()}
        states = {client.host: (client.connected, client.waiting) for client in world.clients}
        world.broken = f"no progress in {PROGRESS_MS} ms after healing: {roles}, {states}"
    healed_ms = world.now_ms - began_ms
    for client in world.clients[::2]:
        client.die()
    world.run(QUIET_MS)
    if not world.broken:
        checkers.check_end({client.session_id for client in world.clients[1::2]})
        checkers.check_registers(world.clients)
    return healed_ms
