"""One seed from start to verdict: chaos under the checkers, then healing, then progress in bounded time."""

from dataclasses import dataclass, field
from traceback import extract_tb

from zktw.sim.checkers import Checkers
from zktw.sim.faults import FaultPlan, Faults
from zktw.sim.story import tell
from zktw.sim.world import World

# initLimit and syncLimit are 4 s and 2 s in a simulation, a cut link is noticed after some more: a server may sit out
# two such waits before it votes with the others.
PROGRESS_MS = 40_000


@dataclass(frozen=True, slots=True)
class Shape:
    """What ensemble, and how long it is tormented."""

    voters: int = 3
    observers: int = 0
    hierarchical: bool = False
    chaos_ms: float = 15_000
    faults: Faults = field(default_factory=Faults)

    @property
    def quorum_lines(self) -> tuple[str, ...]:
        """Groups of three, where quorums are to be hierarchical."""
        if not self.hierarchical:
            return ()
        sids = list(range(1, self.voters + 1))
        groups = [sids[start : start + 3] for start in range(0, len(sids), 3)]
        return tuple(f"group.{number}={':'.join(map(str, group))}" for number, group in enumerate(groups, start=1))

    @property
    def options(self) -> str:
        """The command line's words for it."""
        words = f"--servers {self.voters} --observers {self.observers} --seconds {self.chaos_ms / 1000:g}"
        return words + (" --hierarchical" if self.hierarchical else "")


def shape_of(seed: int, chaos_ms: float = 15_000) -> Shape:
    """A shape for each seed, so that a range of seeds covers them all: 3 to 7 voters, up to 2 observers, groups."""
    voters = 3 + seed % 5
    return Shape(voters, (seed // 5) % 3 if voters < 7 else 0, seed % 11 == 0 and voters >= 5, chaos_ms)


@dataclass
class Outcome:
    """What a run has shown. violation is "" where all invariants held."""

    seed: int
    violation: str = ""
    simulated_ms: float = 0.0
    healed_ms: float = 0.0
    elections: int = 0
    epochs: int = 0
    packets: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)


def run_seed(seed: int, shape: Shape, *, with_story: bool = False) -> Outcome:
    """Run one seed. What the servers or the simulator itself raise is a finding too, and is told as one."""
    outcome = Outcome(seed)
    world = World(seed, voters=shape.voters, observers=shape.observers, quorum_lines=shape.quorum_lines)
    checkers = Checkers(world)
    plan = FaultPlan(world, shape.faults)
    try:
        world.run(shape.chaos_ms)
        plan.stop()
        world.heal()
        began_ms = world.now_ms
        if not world.run_until(lambda: world.complete and world.settled(), limit_ms=PROGRESS_MS) and not world.broken:
            roles = {sid: (server.state and server.state.name, server.serving) for sid, server in world.servers.items()}
            world.broken = f"no progress in {PROGRESS_MS} ms after healing: {roles}"
        outcome.healed_ms = world.now_ms - began_ms
    except Exception as error:
        where = extract_tb(error.__traceback__)[-1]
        world.broken = f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"
        world.tell(0, world.broken)
    outcome.violation = world.broken
    outcome.simulated_ms = world.now_ms
    outcome.elections = checkers.elections
    outcome.epochs = len(checkers.established)
    outcome.packets = checkers.packets
    outcome.faults = world.faults
    if with_story or outcome.violation:
        outcome.story = list(tell(world.trace))
    return outcome
