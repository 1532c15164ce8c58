"""How fast beside Apache: cold start, a leader lost by SIGKILL and SIGTERM, idle memory; kinds alternate in one run.

    python tests/bench/election.py [--rounds 20] [--kinds zktw,apache38]

Each figure is the median (and the longest) of the rounds; ratios are against the last kind. A time after a fault
starts just before the signal and ends when a survivor says "Mode: leader" to srvr, asked every 5 ms.
"""

import argparse
import signal
import statistics
import sys
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "live"))

from ensemble import Ensemble, Node, wait_until

POLL_S = 0.005
IDLE_S = 3.0


def whole(ensemble: Ensemble) -> bool:
    modes = [node.mode() for node in ensemble.nodes if node.alive()]
    return all(modes) and modes.count("leader") == 1


def cold_start(kind: str) -> tuple[float, float]:
    """Seconds from exec to all three in a role; MB resident of one of them when it has been idle for a while."""
    with Ensemble([kind] * 3) as ensemble:
        began = time.monotonic()
        ensemble.start()
        while not whole(ensemble):
            time.sleep(POLL_S)
        seconds = time.monotonic() - began
        time.sleep(IDLE_S)
        return seconds, statistics.median(resident_mb(node) for node in ensemble.nodes)


def resident_mb(node: Node) -> float:
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def idle_standalone(kind: str) -> float:
    """MB resident of a standalone server that nobody talks to."""
    with Ensemble([kind]) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        time.sleep(IDLE_S)
        return resident_mb(ensemble.nodes[0])


def lose_leader(ensemble: Ensemble, number: signal.Signals) -> float:
    """Seconds until another server leads; then the old one is brought back."""
    old = ensemble.wait_leader()
    others = [node for node in ensemble.nodes if node is not old]
    began = time.monotonic()
    old.signal(number)
    while not any(node.mode(0.5) == "leader" for node in others):
        assert time.monotonic() - began < 60, ensemble.logs()
        time.sleep(POLL_S)
    seconds = time.monotonic() - began
    assert old.process is not None
    old.process.wait(30)
    wait_until("the others", lambda: whole(ensemble), 60)
    ensemble.start(old)
    wait_until("a whole ensemble", lambda: whole(ensemble), 60)
    time.sleep(0.3)
    return seconds


def measure(kinds: list[str], rounds: int) -> dict[str, dict[str, list[float]]]:
    """figure -> kind -> values"""
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(max(3, rounds // 4)):
        for kind in kinds:
            seconds, megabytes = cold_start(kind)
            figures["three servers, exec to all in a role, ms"][kind].append(seconds * 1000)
            figures["resident memory, idle member, MB"][kind].append(megabytes)
    for kind in kinds:
        figures["resident memory, idle standalone, MB"][kind].append(idle_standalone(kind))
    ensembles = {kind: Ensemble([kind] * 3) for kind in kinds}
    try:
        for ensemble in ensembles.values():
            ensemble.start()
            wait_until("a whole ensemble", partial(whole, ensemble), 60)
        for name, number in (("SIGKILL", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)):
            for _ in range(rounds):
                for kind, ensemble in ensembles.items():
                    figures[f"leader {name} to a new leader, ms"][kind].append(lose_leader(ensemble, number) * 1000)
    finally:
        for ensemble in ensembles.values():
            ensemble.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kinds", default="zktw,apache38")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    figures = measure(kinds, options.rounds)
    print(f"| figure | {' | '.join(kinds)} | ratio |\n|---|{'---|' * len(kinds)}---|")
    for figure, values in figures.items():
        medians = [statistics.median(values[kind]) for kind in kinds]
        cells = [f"{median:.0f} (longest {max(values[kind]):.0f})" for kind, median in zip(kinds, medians, strict=True)]
        print(f"| {figure} | {' | '.join(cells)} | {medians[0] / medians[-1]:.2f} |")


if __name__ == "__main__":
    main()
