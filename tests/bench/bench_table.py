"""What the benchmarks share: figures of kinds that alternate in one run, their ratios and bounds, the table."""

import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Value:
    """One measurement; cpu is the servers' seconds for 1000 operations, or what the figure's name says."""

    number: float
    cpu: float | None = None


def middle(numbers: list[float]) -> float:
    """The median; not a number if there are none."""
    return statistics.median(numbers) if numbers else math.nan


def longest(numbers: list[float]) -> float:
    """The greatest; not a number if there are none."""
    return max(numbers, default=math.nan)


@dataclass(slots=True)
class Figure:
    """One line of the table. must and aim are bounds of the ratio of the first kind to the last.

    aim_at: an aim in the figure's own unit, in place of aim. of: what stands for all values of a kind. paired: the
    ratio is the median of those of neighbouring rounds; otherwise that of what stands for the two kinds.
    """

    name: str
    unit: str
    more_is_better: bool = False
    must: float | None = None
    aim: float | None = None
    aim_at: float | None = None
    of: Callable[[list[float]], float] = middle
    paired: bool = True
    values: dict[str, list[Value]] = field(default_factory=dict)

    def numbers(self, kind: str) -> list[float]:
        """What was measured of a kind."""
        return [value.number for value in self.values.get(kind, [])]

    def spent(self, kind: str) -> list[float]:
        """The CPU time that went with it, where it was taken."""
        return [value.cpu for value in self.values.get(kind, []) if value.cpu is not None]

    def ratio(self, ours: str, theirs: str) -> float:
        """First kind to last."""
        if self.paired:
            return ratio(self.numbers(ours), self.numbers(theirs))
        other = self.of(self.numbers(theirs))
        return self.of(self.numbers(ours)) / other if other > 0 else math.nan


class Board:
    """Takes down what a run measures and what fails on its way; figures holds the table's lines in their order."""

    def __init__(self, kinds: list[str], figures: dict[str, Figure]) -> None:
        self.kinds = kinds
        self.figures = figures
        self.complaints: list[str] = []
        self.foreign_cores: list[float] = []

    def note(self, key: str, kind: str, number: float, cpu: float | None = None) -> None:
        """One value more of a figure."""
        self.figures[key].values.setdefault(kind, []).append(Value(number, cpu))
        rate = "" if cpu is None else f", CPU {cpu:.4f}"
        print(f"  {kind}: {self.figures[key].name}: {number:.4g} {self.figures[key].unit}{rate}", flush=True)

    def complain(self, text: str) -> None:
        """Something went wrong: said at once, and again at the end."""
        self.complaints.append(text)
        print(f"  FAILED: {text}", flush=True)

    @contextmanager
    def attempt(self, what: str, kind: str) -> Iterator[None]:
        """A failure costs the figure, not the run; it is told at the end."""
        try:
            yield
        except (OSError, RuntimeError, TimeoutError, AssertionError) as error:
            self.complain(f"{what} on {kind}: {type(error).__name__}: {error}")

    def turns(self, rounds: int) -> Iterator[str]:
        """A B, then B A, and so on: what drifts on the machine meets both."""
        for number in range(rounds):
            yield from self.kinds if number % 2 == 0 else reversed(self.kinds)


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of the ratios of what was measured one after the other."""
    return middle([mine / other for mine, other in zip(ours, theirs, strict=False) if other > 0])


def shown(number: float, digits: int = 3) -> str:
    """Three significant digits, without an exponent; a dash for what was not measured."""
    if math.isnan(number):
        return "-"
    if number >= 1000:
        return f"{number:,.0f}"
    return f"{number:.{digits}g}"


def verdict(figure: Figure, found: float, measured: float) -> str:
    """Whether the bounds are met, by the ratio found, or by what was measured of the first kind."""
    if math.isnan(found) or (figure.must is None and figure.aim is None and figure.aim_at is None):
        return "-"
    for bound, number, word in (
        (figure.aim, found, "aim"),
        (figure.aim_at, measured, "aim"),
        (figure.must, found, "must"),
    ):
        if bound is not None and (number >= bound if figure.more_is_better else number <= bound):
            return word
    return "**no**"


def line(figure: Figure, kinds: list[str]) -> str:
    """One row of the table."""
    cells = [f"{figure.name}, {figure.unit}"]
    for kind in kinds:
        numbers = figure.numbers(kind)
        extent = f" ({shown(min(numbers))} to {shown(max(numbers))})" if len(numbers) > 1 else ""
        cells.append(shown(figure.of(numbers)) + (extent if figure.of is middle else ""))
    found = figure.ratio(kinds[0], kinds[-1])
    sign = ">=" if figure.more_is_better else "<="
    aim = f"{sign} {figure.aim_at:g} {figure.unit}" if figure.aim_at is not None else None
    cells.append(shown(found))
    cells.append("-" if figure.must is None else f"{sign} {figure.must:g}")
    cells.append(aim or ("-" if figure.aim is None else f"{sign} {figure.aim:g}"))
    cells.append(verdict(figure, found, figure.of(figure.numbers(kinds[0]))))
    cells += [shown(middle(figure.spent(kind))) for kind in kinds]
    cells.append(shown(ratio(figure.spent(kinds[0]), figure.spent(kinds[-1]))))
    return f"| {' | '.join(cells)} |"


def table(board: Board) -> str:
    """All that was measured, in Markdown."""
    spent = [f"CPU {kind}" for kind in board.kinds]
    heads = ["figure", *board.kinds, "ratio", "must", "aim", "met", *spent, "CPU ratio"]
    rows = [line(figure, board.kinds) for figure in board.figures.values() if figure.values]
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *rows])


def foreign(board: Board) -> str:
    """How much others used the machine while operations were counted."""
    return (
        f"cores taken by others while operations were counted: {shown(middle(board.foreign_cores), 2)} at the median, "
        f"{shown(longest(board.foreign_cores), 2)} at most"
    )
