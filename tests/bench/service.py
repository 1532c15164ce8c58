"""The data service beside Apache's: speed, CPU time, memory; kinds alternate in one run, a Markdown table results.

    python tests/bench/service.py [--quick] [--only get32x32,nodes] [--rounds 3] [--kinds zktw,apache39]

A figure is the median of its rounds; its ratio is the median of the ratios of neighbouring rounds, first kind to last.
CPU is what the server's process used (user and system, all threads), seconds for 1000 operations unless a line says
otherwise. Needs gcc, and about 8 minutes (--quick: 2). Exit status 1 if something failed on the way; a bound that is
missed is told in the table only.

How Python was built tells: one without --enable-optimizations needs a fifth more CPU time for a setData than Debian's.
$ZKTW_CMD chooses another, as in the live tests.
"""

import argparse
import math
import os
import platform
import signal
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "live"))

from dataclasses import replace

from ensemble import missing
from service_figures import LOADS, NAMES, QUICK, Bench, Figure, Scale
from service_tools import Loader, allow_open_files, favour


def middle(numbers: list[float]) -> float:
    """The median; not a number if there are none."""
    return statistics.median(numbers) if numbers else math.nan


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


def verdict(figure: Figure, number: float) -> str:
    """Whether the bounds are met."""
    if figure.must is None or figure.aim is None or math.isnan(number):
        return "-"
    for bound, word in ((figure.aim, "aim"), (figure.must, "must")):
        if number >= bound if figure.more_is_better else number <= bound:
            return word
    return "**no**"


def line(figure: Figure, kinds: list[str]) -> str:
    """One row of the table."""
    numbers = {kind: [value.number for value in figure.values.get(kind, [])] for kind in kinds}
    spent = {kind: [value.cpu for value in figure.values.get(kind, []) if value.cpu is not None] for kind in kinds}
    cells = [f"{figure.name}, {figure.unit}"]
    for kind in kinds:
        extent = f" ({shown(min(numbers[kind]))} to {shown(max(numbers[kind]))})" if len(numbers[kind]) > 1 else ""
        cells.append(shown(middle(numbers[kind])) + extent)
    found = ratio(numbers[kinds[0]], numbers[kinds[-1]])
    sign = ">=" if figure.more_is_better else "<="
    cells.append(shown(found))
    cells += ["-", "-"] if figure.must is None else [f"{sign} {figure.must:g}", f"{sign} {figure.aim:g}"]
    cells.append(verdict(figure, found))
    cells += [shown(middle(spent[kind])) for kind in kinds]
    cells.append(shown(ratio(spent[kinds[0]], spent[kinds[-1]])))
    return f"| {' | '.join(cells)} |"


def table(bench: Bench) -> str:
    """All that was measured, in Markdown."""
    spent = [f"CPU {kind}" for kind in bench.kinds]
    heads = ["figure", *bench.kinds, "ratio", "must", "aim", "met", *spent, "CPU ratio"]
    rows = [line(figure, bench.kinds) for figure in bench.figures.values() if figure.values]
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *rows])


def wanted(text: str | None) -> set[str]:
    """The names of --only. Raises SystemExit for a name that is none."""
    if text is None:
        return set(NAMES)
    names: set[str] = set()
    for name in text.split(","):
        if name == "load":
            names |= {*LOADS, "memory"}
        elif name in NAMES:
            names.add(name)
        else:
            sys.exit(f"{name} is none of load, {', '.join(NAMES)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the nodes, a fifth of the sessions, one round")
    parser.add_argument("--only", metavar="NAME,...", help=f"of load, {', '.join(NAMES)}; load is the first eight")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--kinds", default="zktw,apache39" if missing("apache39") is None else "zktw,apache38")
    parser.add_argument(
        "--nice", type=int, help="-20 to 19, by autogroup (root): weight of servers and load on a machine in use"
    )
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    if reason := missing(*kinds):
        sys.exit(reason)
    scale = QUICK if options.quick else Scale()
    scale = replace(scale, rounds=options.rounds or scale.rounds, nice=options.nice)
    favour("self", options.nice)
    if not allow_open_files(scale.sessions + 200):
        sys.exit(f"{scale.sessions} sessions need {scale.sessions + 200} open files (ulimit -n)")
    # So that a run which is ended takes its servers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began, loads = time.monotonic(), [os.getloadavg()]
    loader = Loader()
    bench = Bench(kinds, scale, wanted(options.only), loader)
    try:
        bench.run()
    finally:
        loader.close()
        loads.append(os.getloadavg())
        print(f"\n{table(bench)}\n")
        print(
            f"Python {platform.python_version()}{' ($ZKTW_CMD set)' if 'ZKTW_CMD' in os.environ else ''}; "
            f"{os.cpu_count()} cores; load average {loads[0][0]:.2f} before, {loads[1][0]:.2f} after; cores taken by "
            f"others while operations were counted: {shown(middle(bench.foreign_cores), 2)} at the median, "
            f"{shown(max(bench.foreign_cores, default=math.nan), 2)} at most; {time.monotonic() - began:.0f} s."
        )
    complaints = bench.complaints + loader.complaints
    for complaint in complaints:
        print(f"FAILED: {complaint}")
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
