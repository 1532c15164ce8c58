"""zktw sim: elections of whole ensembles in one process, under seeds. One seed tells its story; a range is checked."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import Pool
from typing import Any

from zktw.node.clock import wall_ms
from zktw.sim.faults import Faults
from zktw.sim.run import Outcome, Shape, run_seed, shape_of

EXPLANATION = """\
zktw sim --seed 7                     the story of one run
zktw sim --seed 7 --servers 5 --observers 1 --seconds 60
zktw sim --seeds 1..10000 --jobs 2    many runs of 3 to 7 servers; stories of failing ones only
"""

# A day: the story of a run is kept in memory.
SECONDS_MAX = 86_400


def add_parser(commands: Any) -> None:
    """The subcommand's options."""
    parser = commands.add_parser(
        "sim",
        help="simulate ensembles and their elections under seeded faults",
        epilog=EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, help="run this seed and tell its story (default 1)")
    which.add_argument("--seeds", type=_range, metavar="A..B", help="run the seeds A to B and sum up")
    parser.add_argument("--servers", type=_at_least(2), help="voting servers (default: by the seed, 3 to 7)")
    parser.add_argument("--observers", type=_at_least(0), help="observers (default: by the seed, 0 to 2)")
    parser.add_argument("--hierarchical", action="store_true", help="quorums by groups of three")
    parser.add_argument("--seconds", type=_seconds, default=15.0, help="simulated seconds of faults (default 15)")
    parser.add_argument("--calm", action="store_true", help="no faults at all")
    parser.add_argument("--jobs", type=_at_least(1), default=1, help="processes for a range of seeds (default 1)")
    parser.set_defaults(run=run)


def _range(text: str) -> range:
    first, dots, last = text.partition("..")
    if not dots or not first.isdigit() or not last.isdigit() or int(last) < int(first):
        raise argparse.ArgumentTypeError(f"{text!r} is no range A..B")
    return range(int(first), int(last) + 1)


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least}")
        return int(text)

    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to {SECONDS_MAX}")
    return seconds


def run(options: argparse.Namespace) -> int:
    """The subcommand itself."""
    if options.seeds is None:
        seed = 1 if options.seed is None else options.seed
        outcome = run_seed(seed, _shape(options, seed), with_story=True)
        print("\n".join(outcome.story))
        print(_verdict(outcome, options))
        return 1 if outcome.violation else 0
    return _run_range(options)


def _shape(options: argparse.Namespace, seed: int) -> Shape:
    shape = shape_of(seed, options.seconds * 1000)
    servers, observers = options.servers, options.observers
    if servers is None:
        # Groups that the seed has chosen stay, so that a range covers them too.
        servers, hierarchical = shape.voters, shape.hierarchical or options.hierarchical
        observers = shape.observers if observers is None else observers
    else:
        hierarchical = options.hierarchical
    return replace(
        shape,
        voters=servers,
        observers=observers or 0,
        hierarchical=hierarchical,
        faults=Faults.none() if options.calm else shape.faults,
    )


def _verdict(outcome: Outcome, options: argparse.Namespace) -> str:
    if not outcome.violation:
        return f"seed {outcome.seed}: all invariants held; whole again {outcome.healed_ms:.0f} ms after healing"
    return f"seed {outcome.seed}: {outcome.violation}\nreplay: {_replay(outcome.seed, options)}"


def _replay(seed: int, options: argparse.Namespace) -> str:
    """The command that shows a seed again."""
    return f"zktw sim --seed {seed} {_shape(options, seed).options}" + (" --calm" if options.calm else "")


def _run_range(options: argparse.Namespace) -> int:
    began_ms = wall_ms()
    total = Outcome(0)
    failed = 0
    slowest_ms = 0.0
    for outcome in _outcomes(options):
        total.simulated_ms += outcome.simulated_ms
        total.elections += outcome.elections
        total.epochs += outcome.epochs
        total.packets += outcome.packets
        slowest_ms = max(slowest_ms, outcome.healed_ms)
        for kind, count in outcome.faults.items():
            total.faults[kind] = total.faults.get(kind, 0) + count
        if outcome.violation:
            failed += 1
            print("\n".join(outcome.story[-60:]))
            print(_verdict(outcome, options), flush=True)
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(total.faults.items()))
    print(f"seeds: {len(options.seeds)}, failed: {failed}")
    print(f"simulated: {total.simulated_ms / 3_600_000:.1f} hours in {(wall_ms() - began_ms) / 1000:.0f} s")
    print(f"elections: {total.elections}, epochs established: {total.epochs}, quorum packets: {total.packets}")
    print(f"faults: {faults or 'none'}")
    print(f"longest way back to a whole ensemble after healing: {slowest_ms:.0f} ms")
    return 1 if failed else 0


def _outcomes(options: argparse.Namespace) -> Iterator[Outcome]:
    work = [(seed, _shape(options, seed)) for seed in options.seeds]
    if options.jobs <= 1:
        yield from (run_seed(seed, shape) for seed, shape in work)
        return
    with Pool(options.jobs) as pool:
        yield from pool.imap(_run_one, work, chunksize=20)
        # They end by themselves: the signal that would end them is deaf where a program has made it its own.
        pool.close()
        pool.join()


def _run_one(work: tuple[int, Shape]) -> Outcome:
    return run_seed(*work)
