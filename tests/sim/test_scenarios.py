"""The election bugs of Apache ZooKeeper's history, played again: each scenario file must tell the same.

After a change that is meant: SCENARIOS=write pytest tests/sim/test_scenarios.py, then look at the difference.
"""

import os
from pathlib import Path

import pytest
from scenario import play

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    text = path.read_text("utf-8")
    told = play(text)
    if os.environ.get("SCENARIOS") == "write":
        path.write_text(told, "utf-8")
    else:
        assert told == text


def test_every_scenario_shows_something() -> None:
    assert len(SCENARIOS) > 20
    for path in SCENARIOS:
        lines = path.read_text("utf-8").splitlines()
        assert lines[0].startswith("# "), path
        assert any(line.startswith("    ") for line in lines), path
