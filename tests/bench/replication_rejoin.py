"""Rows of the replication benchmark about servers that come back: after a kill, and far behind, by DIFF and by SNAP.

One follower is ended, the others go on without it; its files are kept as they were then, so that it can come back from
the same place several times. snapshotSizeFactor says whether the leader may send from its log files (0: always; below
0: never), and 100,000 transactions are more than the 500 that it has in memory.
"""

import os
import re
import shutil
import time

from bench_run import VALUE_BYTES
from bench_table import Board
from ensemble import Ensemble, Node
from replication_figures import Fleet, Scale, leader_and_followers, serve, zxid
from service_tools import Loader, cpu_s, favour, pid, wait_for_session

FROM_LOG, NEVER_FROM_LOG = "snapshotSizeFactor=0", "snapshotSizeFactor=-1"
FIXED = ("commitLogCount=500",)
CAUGHT_UP_S = 120.0
# What a server says when it is told how it will be brought up to date: Apache's learner, ours.
SYNC_SAID = {"diff": r"(?i)getting a diff|\bDIFF\b", "snap": r"(?i)getting a snapshot|\bSNAP\b"}


def rejoins(board: Board, loader: Loader, scale: Scale, keys: list[str]) -> None:
    """Both kinds' ensembles are up together, with the same nodes; measurements alternate."""
    with Fleet(board, scale, (*FIXED, FROM_LOG)) as fleet:
        grown: list[str] = []
        for kind in board.kinds:
            with board.attempt("growth", kind):
                grow(board, loader, scale, kind, fleet.whole(kind))
                grown.append(kind)
        if "rejoin" in keys:
            for kind in board.turns(scale.rejoins):
                if kind in grown:
                    with board.attempt("rejoin", kind):
                        rejoin(board, scale, kind, fleet.whole(kind))
        if "diff" in keys or "snap" in keys:
            catch_up(board, loader, scale, [key for key in ("diff", "snap") if key in keys], fleet, grown)


def grow(board: Board, loader: Loader, scale: Scale, kind: str, ensemble: Ensemble) -> None:
    """Make the nodes."""
    used = sum(cpu_s(node) for node in ensemble.nodes)
    options = ("-n", scale.nodes, "-s", VALUE_BYTES, "-c", 16, "-w", 64)
    result = loader.run(ensemble.nodes, "fill", *options)
    spent = sum(cpu_s(node) for node in ensemble.nodes) - used
    board.note("grow", kind, result["ops_s"], 1000 * spent / scale.nodes)


def timed_start(ensemble: Ensemble, scale: Scale, node: Node, others: list[Node]) -> tuple[float, float]:
    """Start one server; seconds until it gives a session and has all, and its CPU seconds. Raises RuntimeError."""
    due = min(zxid(other) for other in others)
    os.sync()
    began = time.monotonic()
    ensemble.start(node)
    favour(pid(node), scale.nice)
    wait_for_session(node, CAUGHT_UP_S)
    seconds = time.monotonic() - began
    spent = cpu_s(node)
    if not 0 < due <= (found := zxid(node)):
        raise RuntimeError(f"it serves at 0x{found:x}, the others were at 0x{due:x} before its start")
    return seconds, spent


def rejoin(board: Board, scale: Scale, kind: str, ensemble: Ensemble) -> None:
    """SIGKILL of a follower, nothing happens meanwhile, and its start."""
    leader, followers = leader_and_followers(ensemble)
    followers[0].kill()
    board.note("rejoin", kind, *timed_start(ensemble, scale, followers[0], [leader, followers[1]]))


class Behind:
    """A follower that was ended, the others that have written since, and its files as they were."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        leader, followers = leader_and_followers(ensemble)
        self.node = followers[0]
        self.others = [leader, followers[1]]
        self.node.kill()
        self._kept = self.node.directory / "kept"
        shutil.copytree(self.node.data_dir, self._kept)

    def put_back(self) -> None:
        """End it, and give it the files it had."""
        self.node.kill()
        shutil.rmtree(self.node.data_dir)
        shutil.copytree(self._kept, self.node.data_dir)

    def restart_others(self, scale: Scale, extra: tuple[str, ...]) -> None:
        """With other lines in their zoo.cfg; the one that is behind stays down."""
        self.ensemble.extra = list(extra)
        for node in self.others:
            self.ensemble.write_files(node)
            node.term(30)
        serve(self.ensemble, scale, *self.others)


def catch_up(board: Board, loader: Loader, scale: Scale, keys: list[str], fleet: Fleet, kinds: list[str]) -> None:
    """One way of synchronisation after the other, each several times from the same place."""
    behind: dict[str, Behind] = {}
    for kind in kinds:
        with board.attempt("sweep", kind):
            late = Behind(fleet.whole(kind))
            options = ("-n", scale.behind, "-s", VALUE_BYTES, "-c", 16, "-w", 64)
            if scale.behind > scale.nodes:
                raise RuntimeError("more transactions than nodes")
            used = sum(cpu_s(node) for node in late.others)
            result = loader.run(late.others, "sweep", *options)
            spent = sum(cpu_s(node) for node in late.others) - used
            board.note("sweep", kind, result["ops_s"], 1000 * spent / scale.behind)
            behind[kind] = late
    for key in keys:
        if key == "snap":
            for kind, late in list(behind.items()):
                with board.attempt("restart without log", kind):
                    late.put_back()
                    late.restart_others(scale, (*FIXED, NEVER_FROM_LOG))
                    continue
                del behind[kind]
        for kind in board.turns(scale.catches):
            if kind in behind:
                with board.attempt(key, kind):
                    caught(board, scale, key, kind, behind[kind])


def caught(board: Board, scale: Scale, key: str, kind: str, late: Behind) -> None:
    """Once, from where it was."""
    late.put_back()
    mark = len(late.node.log_text())
    seconds, spent = timed_start(late.ensemble, scale, late.node, late.others)
    board.note(key, kind, seconds, spent)
    if not re.search(SYNC_SAID[key], late.node.log_text()[mark:]):
        board.complain(f"{kind}: its log does not say that it was brought up to date by {key.upper()}")
