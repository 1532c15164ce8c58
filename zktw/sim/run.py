"""One seed from start to verdict: chaos under the checkers, then healing, then progress in bounded time."""

from dataclasses import dataclass, field

from zktw.sim.checkers import Checkers
from zktw.sim.faults import FaultPlan, Faults
from zktw.sim.trial import Verdict, torment, way_back
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
class Outcome(Verdict):
    """What a run of an ensemble without clients has shown."""

    elections: int = 0
    epochs: int = 0
    packets: int = 0


def run_seed(seed: int, shape: Shape, *, with_story: bool = False) -> Outcome:
    """Run one seed; see trial.torment."""
    outcome = Outcome(seed)
    world = World(seed, voters=shape.voters, observers=shape.observers, quorum_lines=shape.quorum_lines)
    checkers = Checkers(world)
    plan = FaultPlan(world, shape.faults)

    def settle() -> float:
        return way_back(world, lambda: world.complete and world.settled(), PROGRESS_MS, lambda: str(world.roles))

    torment(outcome, world, plan, shape.chaos_ms, settle, with_story=with_story)
    outcome.elections = checkers.elections
    outcome.epochs = len(checkers.established)
    outcome.packets = checkers.packets
    return outcome
