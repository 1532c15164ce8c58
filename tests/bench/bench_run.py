"""What a benchmark of alternating kinds is run with: its options, the size of its loads, how it begins and ends."""

import argparse
import signal
import sys
from dataclasses import dataclass

from bench_table import Board
from ensemble import missing
from service_tools import Loader, favour

VALUE_BYTES = 100
LOADED_NODES = 1000
# As Apache's own start script sets them; the rest of the JVM is at its defaults.
JVM_FLAGS = "-Xmx1000m"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of any load: rounds of each row, seconds of a load and of the load before it, that a JVM is warm."""

    rounds: int
    seconds: float
    warm_s: float
    # The weight of servers and load, where others work on the machine.
    nice: int | None = None


def parser_of(doc: str | None, quick: str, only: str, rounds: str | None = None) -> argparse.ArgumentParser:
    """The options that all have; the texts are the help of three of them."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--only", metavar="NAME,...", help=only)
    parser.add_argument("--rounds", type=int, help=rounds)
    parser.add_argument("--kinds", default="zktw,apache39" if missing("apache39") is None else "zktw,apache38")
    parser.add_argument(
        "--nice", type=int, help="-20 to 19, by autogroup (root): weight of servers and load on a machine in use"
    )
    return parser


def kinds_of(options: argparse.Namespace) -> list[str]:
    """What is measured. Raises SystemExit if one of them is not here."""
    kinds: list[str] = options.kinds.split(",")
    if reason := missing(*kinds):
        sys.exit(reason)
    return kinds


def begin(options: argparse.Namespace) -> None:
    """This process has the weight that was asked for, and takes its servers with it when it is ended."""
    favour("self", options.nice)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def conclude(board: Board, loader: Loader) -> None:
    """Say what failed, and exit by that."""
    complaints = board.complaints + loader.complaints
    for complaint in complaints:
        print(f"FAILED: {complaint}")
    sys.exit(bool(complaints))
