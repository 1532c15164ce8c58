"""Rows of the replication benchmark about faults: how long a session that writes must wait when servers go.

Two writers (three in a rolling restart), each a session of its own on a server of its own. After each round every
number that was acknowledged last must be found.
"""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from bench_run import VALUE_BYTES
from bench_table import Board
from ensemble import Ensemble, Node
from replication_figures import Fleet, Scale, leader_and_followers, serve, warm
from replication_session import Writer
from service_tools import Loader

BEFORE_S = 0.4
# Servers that are ended again and again are never as warm as those of a long load.
WARM_S = 6.0
# A process that was sent SIGKILL may still run on another core for a moment.
DYING_S = 0.001
LIMIT_S = 60.0
SETTLED_S = 0.3
TERM_S = 30.0
# Longer than a write takes here, with the 2 ms that a writer pauses.
GAP_S = 0.010
ROLLING_PAUSE_S = 1.0


def faults(board: Board, loader: Loader, scale: Scale, keys: list[str]) -> None:
    """Rounds of the kinds alternate; the other kind's ensemble is idle meanwhile."""
    rounds = {"kill": scale.kills, "term": scale.terms, "rolling": scale.rolls}
    how = {"kill": kill, "term": term, "rolling": roll}
    with Fleet(board, scale) as fleet:
        for kind in board.kinds:
            with board.attempt("start", kind):
                warm(loader, fleet.whole(kind), replace(scale, warm_s=min(WARM_S, scale.warm_s)))
        for key in keys:
            for number, kind in enumerate(board.turns(rounds[key])):
                with board.attempt(key, kind):
                    ensemble = fleet.whole(kind)
                    os.sync()
                    how[key](board, scale, kind, ensemble, f"/{key}{number}")


def writers(ensemble: Ensemble, first: Sequence[Node], path: str) -> list[Writer]:
    """A writer on each of these, with the addresses of all, warmed up."""
    ports = [node.client_port for node in ensemble.nodes]
    made = [
        Writer(f"{path}-{number}", ports, ensemble.nodes.index(node), VALUE_BYTES) for number, node in enumerate(first)
    ]
    for writer in made:
        writer.start()
    time.sleep(BEFORE_S)
    return made


def finish(board: Board, kind: str, what: str, made: list[Writer]) -> None:
    """Halt the writers; what was acknowledged must be there."""
    for writer in made:
        wrong = writer.finish()
        if wrong is not None:
            board.complain(f"{kind}, {what}: writer {writer.path}: {wrong}")


def kill(board: Board, scale: Scale, kind: str, ensemble: Ensemble, path: str) -> None:
    """SIGKILL of the leader; then it is brought back."""
    leader, followers = leader_and_followers(ensemble)
    made = writers(ensemble, [followers[0], leader], path)
    try:
        began = time.monotonic()
        leader.signal(signal.SIGKILL)
        since = time.monotonic() + DYING_S
        while any(writer.first_sent_after(since) is None and writer.is_alive() for writer in made):
            if time.monotonic() - began > LIMIT_S:
                raise TimeoutError(f"no write {LIMIT_S:g} s after the leader's end\n{ensemble.logs()}")
            time.sleep(0.01)
        time.sleep(SETTLED_S)
        for key, writer in zip(("kill", "kill_moved"), made, strict=True):
            written = writer.first_sent_after(since)
            if written is not None:
                board.note(key, kind, 1000 * (written - began))
                board.note(f"{key}_max", kind, 1000 * (written - began))
        leader.kill()
    finally:
        finish(board, kind, "SIGKILL", made)
    serve(ensemble, scale, leader)
    time.sleep(SETTLED_S)


def term(board: Board, scale: Scale, kind: str, ensemble: Ensemble, path: str) -> None:
    """SIGTERM of the leader, to its end and a while longer; then it is brought back."""
    leader, followers = leader_and_followers(ensemble)
    made = writers(ensemble, [followers[0], leader], path)
    try:
        began = time.monotonic()
        leader.term(TERM_S)
        ended = time.monotonic()
        while any(writer.first_sent_after(ended) is None and writer.is_alive() for writer in made):
            if time.monotonic() - began > LIMIT_S:
                raise TimeoutError(f"no write {LIMIT_S:g} s after the leader was asked to end\n{ensemble.logs()}")
            time.sleep(0.01)
        time.sleep(SETTLED_S)
        for key, writer in zip(("term", "term_moved"), made, strict=True):
            board.note(key, kind, 1000 * max(writer.gaps(began), default=float("nan")))
    finally:
        finish(board, kind, "SIGTERM", made)
    serve(ensemble, scale, leader)
    time.sleep(SETTLED_S)


def roll(board: Board, scale: Scale, kind: str, ensemble: Ensemble, path: str) -> None:
    """Each server is ended by SIGTERM, started, and waited for until it gives sessions; the mean of three writers."""
    made = writers(ensemble, ensemble.nodes, path)
    try:
        began = time.monotonic()
        for step in [partial(restart, ensemble, scale, node) for node in ensemble.nodes]:
            step()
            time.sleep(ROLLING_PAUSE_S)
        away = [sum(writer.gaps(began, GAP_S)) for writer in made]
        print(
            f"    {', '.join(f'{1000 * each:.0f}' for each in away)} ms; writes under way when a connection was lost: "
            f"{sum(writer.failed for writer in made)}",
            flush=True,
        )
        board.note("rolling", kind, 1000 * sum(away) / len(away))
    finally:
        finish(board, kind, "rolling restart", made)


def restart(ensemble: Ensemble, scale: Scale, node: Node) -> None:
    """SIGTERM, start, wait until it serves."""
    node.term(TERM_S)
    serve(ensemble, scale, node)
