"""zktw sim: ensembles, with clients or without, or a server alone, in one process under seeds; ranges are checked."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import Pool
from typing import Any, Generic, TypeVar

from zktw.node.clock import wall_ms
from zktw.sim.data_faults import DataFaults
from zktw.sim.data_run import DataOutcome, DataShape, data_shape_of, run_data_seed
from zktw.sim.ensemble_faults import EnsembleFaults
from zktw.sim.ensemble_run import EnsembleOutcome, EnsembleShape, ensemble_shape_of, run_ensemble_seed
from zktw.sim.faults import Faults
from zktw.sim.run import Outcome, Shape, run_seed, shape_of
from zktw.sim.trial import Verdict

EXPLANATION = """\
zktw sim --seed 7                     the story of one run
zktw sim --seed 7 --servers 5 --observers 1 --seconds 60
zktw sim --seeds 1..10000 --jobs 2    many runs of 3 to 7 servers; stories of failing ones only
zktw sim --replicated --seeds 1..2000 many runs of an ensemble, its clients and its disks
zktw sim --standalone --seeds 1..2000 many runs of one server, its clients and its disk
"""

W = TypeVar("W")
R = TypeVar("R")
S = TypeVar("S")
V = TypeVar("V", bound=Verdict)

# A day: the story of a run is kept in memory.
SECONDS_MAX = 86_400


def add_parser(commands: Any) -> None:
    """The subcommand's options."""
    parser = commands.add_parser(
        "sim",
        help="simulate ensembles, their elections and their clients, or a server alone, under seeded faults",
        epilog=EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, help="run this seed and tell its story (default 1)")
    which.add_argument("--seeds", type=_range, metavar="A..B", help="run the seeds A to B and sum up")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--replicated", action="store_true", help="an ensemble that has clients")
    kind.add_argument("--standalone", action="store_true", help="one server outside of an ensemble, which has clients")
    parser.add_argument("--clients", type=_at_least(1), help="clients, if there are any (default: by the seed, 2 to 4)")
    parser.add_argument("--reorder", action="store_true", help="a server alone writes sectors in any order")
    parser.add_argument("--servers", type=_at_least(2), help="voting servers (default: by the seed, 3 to 7, or to 5)")
    parser.add_argument("--observers", type=_at_least(0), help="observers (default: by the seed, 0 to 2)")
    parser.add_argument("--hierarchical", action="store_true", help="quorums by groups of three")
    parser.add_argument("--seconds", type=_seconds, help="simulated seconds of faults (default 15; --replicated: 8)")
    parser.add_argument("--calm", action="store_true", help="no faults at all")
    parser.add_argument("--jobs", type=_at_least(1), default=1, help="processes for a range of seeds (default 1)")
    parser.set_defaults(run=run, refuse=parser.error)


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
    alone, replicated = bool(options.standalone), bool(options.replicated)
    if options.seconds is None:
        options.seconds = 8.0 if replicated else 15.0
    if alone and (options.servers is not None or options.observers is not None or options.hierarchical):
        options.refuse("argument --standalone: there are no other servers then")
    if not alone and options.reorder:
        options.refuse("argument --reorder: of a server alone only (--standalone)")
    if not alone and not replicated and options.clients is not None:
        options.refuse("argument --clients: with --replicated or --standalone only")
    if replicated and options.hierarchical:
        options.refuse("argument --hierarchical: not with --replicated")
    if alone:
        return _run_kind(STANDALONE, options)
    if replicated:
        return _run_kind(REPLICATED, options)
    return _run_kind(ELECTING, options)


@dataclass(frozen=True, slots=True)
class _Kind(Generic[S, V]):
    """What is simulated: how a seed's shape is found and run, and how what came of it is told."""

    shape_of: Callable[[argparse.Namespace, int], S]
    # As run(seed, shape, with_story=...).
    run: Callable[..., V]
    verdict: Callable[[V, argparse.Namespace], str]
    total: Callable[[], V]
    # What was done in a range of seeds, in lines of their own.
    done: Callable[[V], list[str]]
    # To what the way back after healing leads.
    whole: str = "all clients served"


def _run_kind(kind: _Kind[S, V], options: argparse.Namespace) -> int:
    if options.seeds is None:
        seed = 1 if options.seed is None else options.seed
        outcome = kind.run(seed, kind.shape_of(options, seed), with_story=True)
        print("\n".join(outcome.story))
        print(kind.verdict(outcome, options))
        return 1 if outcome.violation else 0
    began_ms = wall_ms()
    total = kind.total()
    failed = 0
    work = [(kind.run, seed, kind.shape_of(options, seed)) for seed in options.seeds]
    for outcome in _in_processes(options.jobs, _run_one, work):
        total.add(outcome)
        if outcome.violation:
            failed += 1
            print("\n".join(outcome.story[-60:]))
            print(kind.verdict(outcome, options), flush=True)
    faults = ", ".join(f"{name} {count}" for name, count in sorted(total.faults.items()))
    print(f"seeds: {len(options.seeds)}, failed: {failed}")
    print(f"simulated: {total.simulated_ms / 3_600_000:.1f} hours in {(wall_ms() - began_ms) / 1000:.0f} s")
    print(*kind.done(total), sep="\n")
    print(f"faults: {faults or 'none'}")
    print(f"longest way back to {kind.whole} after healing: {total.healed_ms:.0f} ms")
    return 1 if failed else 0


def _run_one(work: tuple[Callable[..., V], int, object]) -> V:
    run_it, seed, shape = work
    return run_it(seed, shape)


def _in_processes(jobs: int, function: Callable[[W], R], work: Sequence[W]) -> Iterator[R]:
    """The results in the order of the work."""
    if jobs <= 1:
        yield from map(function, work)
        return
    with Pool(jobs) as pool:
        yield from pool.imap(function, work, chunksize=20)
        # They end by themselves: the signal that would end them is deaf where a program has made it its own.
        pool.close()
        pool.join()


# -- an ensemble without clients ---------------------------------------------------------------------------------------


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


def _done(total: Outcome) -> list[str]:
    return [f"elections: {total.elections}, epochs established: {total.epochs}, quorum packets: {total.packets}"]


ELECTING = _Kind(_shape, run_seed, _verdict, lambda: Outcome(0), _done, "a whole ensemble")


# -- a server alone ----------------------------------------------------------------------------------------------------


def _data_shape(options: argparse.Namespace, seed: int) -> DataShape:
    shape = data_shape_of(seed, options.seconds * 1000)
    return replace(
        shape,
        clients=options.clients or shape.clients,
        reorders=options.reorder,
        faults=DataFaults.none() if options.calm else shape.faults,
    )


def _data_verdict(outcome: DataOutcome, options: argparse.Namespace) -> str:
    if not outcome.violation:
        return (
            f"seed {outcome.seed}: all invariants held; {outcome.txns} transactions, {outcome.replies} replies,"
            f" {outcome.events} events, {outcome.restarts} starts; trace {outcome.fingerprint:08x}"
        )
    words = f"--standalone --seed {outcome.seed} --clients {_data_shape(options, outcome.seed).clients}"
    replay = f"zktw sim {words} --seconds {options.seconds:g}" + (" --calm" if options.calm else "")
    replay += " --reorder" if options.reorder else ""
    return f"seed {outcome.seed}: {outcome.violation}\nreplay: {replay}"


def _data_done(total: DataOutcome) -> list[str]:
    return [
        f"transactions: {total.txns}, replies: {total.replies}, events: {total.events}",
        f"starts: {total.restarts}, orderly stops: {total.clean_stops}",
    ]


STANDALONE = _Kind(_data_shape, run_data_seed, _data_verdict, lambda: DataOutcome(0), _data_done)


# -- an ensemble with clients ------------------------------------------------------------------------------------------


def _ensemble_shape(options: argparse.Namespace, seed: int) -> EnsembleShape:
    shape = ensemble_shape_of(seed, options.seconds * 1000)
    servers, observers = options.servers, options.observers
    return replace(
        shape,
        voters=servers or shape.voters,
        observers=(shape.observers if servers is None else 0) if observers is None else observers,
        clients=options.clients or shape.clients,
        faults=EnsembleFaults.none() if options.calm else shape.faults,
    )


def _ensemble_verdict(outcome: EnsembleOutcome, options: argparse.Namespace) -> str:
    if not outcome.violation:
        syncs = ", ".join(f"{mode} {count}" for mode, count in sorted(outcome.syncs.items()))
        return (
            f"seed {outcome.seed}: all invariants held; {outcome.txns} transactions, {outcome.replies} replies,"
            f" {outcome.events} events, {outcome.epochs} epochs, learners brought up to date: {syncs};"
            f" whole again {outcome.healed_ms:.0f} ms after healing; trace {outcome.fingerprint:08x}"
        )
    shape = _ensemble_shape(options, outcome.seed)
    words = f"--servers {shape.voters} --observers {shape.observers} --clients {shape.clients}"
    replay = f"zktw sim --replicated --seed {outcome.seed} {words} --seconds {options.seconds:g}"
    return f"seed {outcome.seed}: {outcome.violation}\nreplay: {replay}" + (" --calm" if options.calm else "")


def _ensemble_done(total: EnsembleOutcome) -> list[str]:
    syncs = ", ".join(f"{mode} {count}" for mode, count in sorted(total.syncs.items()))
    return [
        f"transactions: {total.txns}, replies: {total.replies}, events: {total.events}, sessions lost: {total.expired}",
        f"elections: {total.elections}, epochs established: {total.epochs}, quorum packets: {total.packets}",
        f"learners brought up to date: {syncs}; memories compared: {total.databases}",
    ]


REPLICATED = _Kind(_ensemble_shape, run_ensemble_seed, _ensemble_verdict, lambda: EnsembleOutcome(0), _ensemble_done)
