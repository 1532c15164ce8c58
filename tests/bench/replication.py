"""An ensemble of three beside Apache's: throughput, gaps after faults, coming back; kinds alternate in one run.

    python tests/bench/replication.py [--quick] [--only load,kill,diff] [--kinds zktw,apache39]

All servers of both kinds run on this host with fsync on and values of 100 bytes; sessions are spread evenly over the
three. A figure is the median of its rounds, with the least and the greatest, unless it says max. Ratios are first kind
to last: of throughputs the median of the ratios of neighbouring rounds, of gaps the ratio of the medians (of the
greatest, where it says max). CPU is that of all three servers, user and system, seconds for 1000 operations unless a
line says otherwise. The load generator, and the sessions whose gaps are told, are the same for both kinds.

Needs gcc, and about 11 minutes (--quick: 2). Exit status 1 if something failed on the way, a lost write among it; a
bound that is missed is told in the table only.

$ZKTW_CMD and $ZK39_LIB are as in the live tests. How Python was built tells: with one that was built without
--enable-optimizations (pyenv's default) a write needs a fifth to a quarter more CPU time than with Debian's. Debian's
runs the servers, with Twisted from a virtual environment of the same version, by

    PYTHONPATH=.:VENV/lib/python3.11/site-packages \\
    ZKTW_CMD='/usr/bin/python3.11 VENV/bin/twistd -n --pidfile= zkq -c CFG' VENV/bin/python tests/bench/replication.py
"""

import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "live"))

from bench_run import begin, conclude, kinds_of, parser_of
from bench_table import Board, foreign, table
from replication_faults import faults
from replication_figures import BULK, FAULTS, LOADS, NAMES, QUICK, Scale, declared, loads
from replication_rejoin import rejoins
from service_tools import Loader, favour

GROUPS = {"load": tuple(LOADS), "fault": FAULTS, "bulk": BULK}


def wanted(text: str | None) -> set[str]:
    """The names of --only. Raises SystemExit for a name that is none."""
    names: set[str] = set()
    for name in (text or ",".join(GROUPS)).split(","):
        if name not in GROUPS and name not in NAMES:
            sys.exit(f"{name} is none of {', '.join((*GROUPS, *NAMES))}")
        names.update(GROUPS.get(name, (name,)))
    return names


def main() -> None:
    only = f"of {', '.join((*GROUPS, *NAMES))}"
    parser = parser_of(__doc__, "few rounds, 20,000 nodes and transactions", only, "of each load")
    parser.add_argument("--kills", type=int, help="rounds of kill")
    options = parser.parse_args()
    kinds = kinds_of(options)
    names = wanted(options.only)
    scale = QUICK if options.quick else Scale()
    scale = replace(scale, rounds=options.rounds or scale.rounds, kills=options.kills or scale.kills, nice=options.nice)
    begin(options)
    # Threads that write must not wait for one that prepares.
    sys.setswitchinterval(0.0005)
    began, before = time.monotonic(), os.getloadavg()[0]
    loader = Loader()
    board = Board(kinds, declared(scale))
    try:
        for group, run in (("load", loads), ("fault", faults), ("bulk", rejoins)):
            if keys := [name for name in GROUPS[group] if name in names]:
                run(board, loader, scale, keys)
    finally:
        loader.close()
        favour("self", None if options.nice is None else 0)
        print(f"\n{table(board)}\n")
        print(
            f"{os.environ.get('ZKTW_CMD') or 'Python ' + platform.python_version()}; "
            f"{os.cpu_count()} cores; load average {before:.2f} before, {os.getloadavg()[0]:.2f} after; "
            f"{foreign(board)}; {time.monotonic() - began:.0f} s."
        )
    conclude(board, loader)


if __name__ == "__main__":
    main()
