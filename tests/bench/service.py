"""The data service beside Apache's: speed, CPU time, memory; kinds alternate in one run, a Markdown table results.

    python tests/bench/service.py [--quick] [--only get32x32,nodes] [--rounds 3] [--kinds zktw,apache39]

A figure is the median of its rounds; its ratio is the median of the ratios of neighbouring rounds, first kind to last.
CPU is what the server's process used (user and system, all threads), seconds for 1000 operations unless a line says
otherwise. Needs gcc, and about 8 minutes (--quick: 2). Exit status 1 if something failed on the way; a bound that is
missed is told in the table only.

How Python was built tells: one without --enable-optimizations needs a fifth more CPU time for a setData than Debian's.
$ZKTW_CMD chooses another, as in the live tests.
"""

import os
import platform
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "live"))

from dataclasses import replace

from bench_run import begin, conclude, kinds_of, parser_of
from bench_table import foreign, table
from service_figures import LOADS, NAMES, QUICK, Bench, Scale
from service_tools import Loader, allow_open_files


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
    only = f"of load, {', '.join(NAMES)}; load is the first eight"
    options = parser_of(__doc__, "a tenth of the nodes, a fifth of the sessions, one round", only).parse_args()
    kinds = kinds_of(options)
    scale = QUICK if options.quick else Scale()
    scale = replace(scale, rounds=options.rounds or scale.rounds, nice=options.nice)
    if not allow_open_files(scale.sessions + 200):
        sys.exit(f"{scale.sessions} sessions need {scale.sessions + 200} open files (ulimit -n)")
    begin(options)
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
            f"{os.cpu_count()} cores; load average {loads[0][0]:.2f} before, {loads[1][0]:.2f} after; "
            f"{foreign(bench)}; {time.monotonic() - began:.0f} s."
        )
    conclude(bench, loader)


if __name__ == "__main__":
    main()
