"""The command's own words: what it refuses, what it prints, and the line that replays a failing seed."""

import re

import pytest

from zktw.sim.world import World
from zktw.storage.journal import Journal
from zktw.storage.txnlog import TxnLog
from zktw.tools.main import main


@pytest.mark.parametrize(
    "words",
    [
        "--servers 0",
        "--servers 1",
        "--servers three",
        "--observers -1",
        "--seconds nan",
        "--seconds -1",
        "--seconds 1e9",
        "--seeds 5",
        "--seeds 5..4",
        "--seeds 1..2 --seed 1",
        "--jobs 0",
        "--standalone --servers 3",
        "--standalone --hierarchical",
        "--standalone --clients 0",
        "--standalone --replicated",
        "--replicated --hierarchical",
        "--replicated --reorder",
        "--replicated --clients 0",
        "--clients 3",
        "--reorder",
    ],
)
def test_a_wrong_call_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["sim", *words.split()])
    assert refused.value.code == 2
    assert "zktw sim: error: argument" in capsys.readouterr().err


def test_a_seed_tells_its_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--seed", "3", "--servers", "3", "--observers", "1", "--seconds", "2", "--calm"]) == 0
    told = capsys.readouterr().out
    for what in (
        "server 1  votes in round 1 for 1",
        "is LEADING",
        "is OBSERVING",
        "serves in epoch 1",
        "world     heals",
    ):
        assert what in told
    assert "server 5" not in told
    assert re.search(r"^seed 3: all invariants held; whole again \d+ ms after healing$", told, re.MULTILINE)


def test_observers_can_be_given_without_servers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--seed", "5", "--observers", "2", "--seconds", "1", "--calm"]) == 0
    told = capsys.readouterr().out
    assert "server 5  is OBSERVING" in told
    assert "server 6" not in told


def test_a_range_is_summed_up_alike_by_any_number_of_processes(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for jobs in ("1", "2"):
        assert main(["sim", "--seeds", "1..4", "--seconds", "3", "--jobs", jobs]) == 0
        told.append(re.sub(r"hours in \d+ s", "hours", capsys.readouterr().out))
    assert told[0] == told[1]
    assert "seeds: 4, failed: 0" in told[0]
    assert re.search(r"^faults: .*crash \d+", told[0], re.MULTILINE)


def test_a_range_of_servers_alone_is_summed_up_alike_by_any_number_of_processes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = []
    for jobs in ("1", "2"):
        assert main(["sim", "--standalone", "--seeds", "1..4", "--seconds", "5", "--jobs", jobs]) == 0
        told.append(re.sub(r"hours in \d+ s", "hours", capsys.readouterr().out))
    assert told[0] == told[1]
    assert "seeds: 4, failed: 0" in told[0]
    assert re.search(r"^transactions: \d{2,}, replies: \d{3,}, events: \d+$", told[0], re.MULTILINE)
    assert re.search(r"^faults: .*power_cut \d+", told[0], re.MULTILINE)


def test_an_ensemble_with_clients_tells_its_story(capsys: pytest.CaptureFixture[str]) -> None:
    words = "sim --replicated --seed 2 --servers 3 --observers 1 --clients 2 --seconds 2 --calm"
    assert main(words.split()) == 0
    told = capsys.readouterr().out
    assert "server 4  is OBSERVING" in told
    assert re.search(r"^seed 2: all invariants held; \d{2,} transactions, .* 1 epochs", told, re.MULTILINE)


def test_a_range_of_ensembles_with_clients_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--replicated", "--seeds", "1..2", "--seconds", "3", "--jobs", "2"]) == 0
    told = capsys.readouterr().out
    assert "seeds: 2, failed: 0" in told
    assert re.search(r"^learners brought up to date: .*DIFF \d+.*; memories compared: \d+$", told, re.MULTILINE)
    assert re.search(r"^faults: .*client_moves \d+", told, re.MULTILINE)


def test_what_an_ensemble_with_clients_fails_in_is_printed_with_its_replay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TxnLog, "write", lambda self, zxid, data: len(data))
    assert main(["sim", "--replicated", "--seeds", "1..1", "--servers", "3", "--seconds", "2"]) == 1
    told = capsys.readouterr().out
    assert "seeds: 1, failed: 1" in told
    line = re.findall(r"^replay: zktw (.*)$", told, re.MULTILINE)[0]
    verdict = re.search(r"^seed 1: .*$", told, re.MULTILINE)
    assert verdict is not None
    assert main(line.split()) == 1
    assert verdict.group() in capsys.readouterr().out


def test_what_a_server_alone_fails_in_is_printed_with_its_replay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TxnLog, "write", lambda self, zxid, data: len(data))
    assert main(["sim", "--standalone", "--seeds", "1..2", "--seconds", "2"]) == 1
    told = capsys.readouterr().out
    assert "seeds: 2, failed: 2" in told
    line = re.findall(r"^replay: zktw (.*)$", told, re.MULTILINE)[1]
    verdict = re.search(r"^seed 2: .*$", told, re.MULTILINE)
    assert verdict is not None
    assert main(line.split()) == 1
    assert verdict.group() in capsys.readouterr().out


def test_what_fails_is_printed_with_its_replay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Journal, "write_epoch", lambda self, name, epoch: self.drained())
    assert main(["sim", "--seeds", "1..2", "--seconds", "2"]) == 1
    told = capsys.readouterr().out
    assert "seeds: 2, failed: 2" in told
    for line in re.findall(r"^replay: zktw (.*)$", told, re.MULTILINE):
        verdict = re.search(rf"^seed {line.split()[2]}: .*$", told, re.MULTILINE)
        assert verdict is not None
        assert main(line.split()) == 1
        assert verdict.group() in capsys.readouterr().out


def test_what_is_raised_is_a_finding_and_ends_no_range(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raises(self: World, condition: object, *, limit_ms: float) -> bool:
        raise KeyError("of the simulator's own")

    monkeypatch.setattr(World, "run_until", raises)
    assert main(["sim", "--seeds", "1..2", "--seconds", "2"]) == 1
    told = capsys.readouterr().out
    assert "seeds: 2, failed: 2" in told
    assert re.search(r"^seed 2: KeyError: .*of the simulator's own.* line \d+\)$", told, re.MULTILINE)
