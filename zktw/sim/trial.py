"""Trial: what any seed's run goes through, whatever its world: chaos, healing, the way back, the verdict."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from traceback import extract_tb
from typing import Self

from zktw.sim.plan import Plan
from zktw.sim.stage import Stage
from zktw.sim.story import tell


@dataclass
class Verdict:
    """What any run has shown. violation is "" where all invariants held; healed_ms is how long the way back took."""

    seed: int
    violation: str = ""
    simulated_ms: float = 0.0
    healed_ms: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)

    def add(self, other: Self) -> None:
        """Sum up all figures, by kind where they have kinds; of the way back the longest."""
        for name in (each.name for each in fields(self)):
            mine, more = getattr(self, name), getattr(other, name)
            if isinstance(mine, dict):
                for kind, count in more.items():
                    mine[kind] = mine.get(kind, 0) + count
            elif name == "healed_ms":
                self.healed_ms = max(mine, more)
            elif isinstance(mine, int | float) and name not in ("seed", "fingerprint"):
                setattr(self, name, mine + more)


def torment(
    outcome: Verdict,
    world: Stage,
    plan: Plan,
    chaos_ms: float,
    settle: Callable[[], float],
    *,
    with_story: bool,
) -> None:
    """Let a plan rage, heal, and settle, which returns the milliseconds of the way back; then note what came of it.

    What the servers or the simulator itself raise is a finding too, and is told as one. A story is told of findings,
    and where it is wanted.
    """
    try:
        world.run(chaos_ms)
        plan.stop()
        world.heal()
        outcome.healed_ms = settle()
    except Exception as error:
        where = extract_tb(error.__traceback__)[-1]
        world.broken = world.broken or f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"
        world.tell(0, world.broken)
    outcome.violation = world.broken
    outcome.simulated_ms = world.now_ms
    outcome.faults = world.faults
    if with_story or outcome.violation:
        outcome.story = list(tell(world.trace))


def way_back(world: Stage, whole: Callable[[], bool], limit_ms: int, states: Callable[[], str]) -> float:
    """The milliseconds until all is whole after healing; where that takes too long, states says how far they came."""
    began_ms = world.now_ms
    if not world.run_until(whole, limit_ms=limit_ms) and not world.broken:
        world.broken = f"no progress in {limit_ms} ms after healing: {states()}"
    return world.now_ms - began_ms
