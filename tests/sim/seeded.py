"""What tests of simulated runs share, whatever is simulated: looking for a finding, and telling a seed twice."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from zktw.node.keeper import Keeper
from zktw.sim.trial import Verdict
from zktw.storage.journal import Journal

CHECKOUT = Path(__file__).resolve().parents[2]
V = TypeVar("V", bound=Verdict)


def python(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """An interpreter that finds the checkout, to its end."""
    environment = {**os.environ, **environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False, cwd=CHECKOUT
    )


def told_twice(*words: str) -> list[str]:
    """What `zktw sim` with these words prints, under one hash seed and under another."""
    runs = [python("-m", "zktw.tools.main", "sim", *words, PYTHONHASHSEED=hash_seed) for hash_seed in ("1", "2")]
    for run in runs:
        assert run.returncode == 0, run.stderr
    return [run.stdout for run in runs]


def assert_whole(outcome: Verdict, options: str) -> None:
    """No invariant broke; where one did, the end of the story and the command that shows it again are told."""
    story = "\n".join(outcome.story[-60:])
    replay = f"replay: zktw sim {options}"
    assert not outcome.violation, f"{story}\n{outcome.violation}\n{replay}"


def first_finding(run: Callable[[int], V], seeds: range) -> V:
    """The first run that a checker ended."""
    for seed in seeds:
        outcome = run(seed)
        if outcome.violation:
            return outcome
    pytest.fail(f"not caught in {len(seeds)} seeds")


def caught_as(words: tuple[str, ...], run: Callable[[int], V], seeds: range) -> V:
    """The first finding in the seeds; it must be of an expected kind."""
    outcome = first_finding(run, seeds)
    assert any(word in outcome.violation for word in words), outcome.violation
    return outcome


def acknowledge_before_the_write(monkeypatch: pytest.MonkeyPatch, log: type[Keeper] | type[Journal]) -> None:
    """A log that takes for written what it has only begun to write."""
    append: Any = log.append

    def hasty(self: Any, zxid: int, payload: bytes) -> None:
        append(self, zxid, payload)
        self.on_persisted(zxid)

    monkeypatch.setattr(log, "append", hasty)
