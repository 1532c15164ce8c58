"""mntr: its keys by role, its order, and how its numbers are written."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wordfacts import FakeFacts, member

from zktw.admin.commands import answer
from zktw.admin.monitor import format_double


def pairs(facts: FakeFacts) -> list[tuple[str, str]]:
    lines = answer("mntr", facts).decode().splitlines()
    assert all(re.fullmatch(r"zk_\w+\t[^\t]+", line) for line in lines)
    return [(key, value) for key, value in (line.split("\t") for line in lines)]


def every_role() -> list[FakeFacts]:
    return [FakeFacts(), *(member(role) for role in ("leader", "follower", "observer", "read-only"))]


@pytest.mark.parametrize("facts", every_role(), ids=lambda facts: facts.role)
def test_every_key_is_there_once_and_has_a_value(facts: FakeFacts) -> None:
    facts.learners = [1, 2, 4]
    found = pairs(facts)
    assert len(found) > 480
    assert len(dict(found)) == len(found)


@pytest.mark.parametrize("facts", every_role(), ids=lambda facts: facts.role)
def test_version_and_state_come_first(facts: FakeFacts) -> None:
    found = pairs(facts)
    assert found[0] == ("zk_version", facts.version)
    assert found[1] == ("zk_server_state", facts.role)


OF_LEADERS = {"zk_learners", "zk_synced_followers", "zk_leader_uptime", "zk_pending_syncs", "zk_last_proposal_size"}


@pytest.mark.parametrize("facts", every_role(), ids=lambda facts: facts.role)
def test_only_leaders_have_learners(facts: FakeFacts) -> None:
    assert OF_LEADERS & dict(pairs(facts)).keys() == (OF_LEADERS if facts.role == "leader" else set())


def test_a_leader_tells_of_each_learner() -> None:
    facts = member("leader")
    facts.learners = [1, 4]
    facts.stats.add_for("learner_handler_qp_size", "4", 2)
    found = dict(pairs(facts))
    assert (found["zk_learners"], found["zk_quorum_size"], found["zk_leader_uptime"]) == ("2", "3", "1078")
    assert (found["zk_max_1_learner_handler_qp_size"], found["zk_max_4_learner_handler_qp_size"]) == ("0", "2")
    assert "zk_p999_4_learner_handler_qp_time_ms" in found
    # One that left keeps what was counted of it.
    facts.learners = [1]
    assert dict(pairs(facts))["zk_avg_4_learner_handler_qp_size"] == "2.0"


def test_an_observer_names_its_leader() -> None:
    assert dict(pairs(member("observer")))["zk_observer_master_id"] == "4"


def test_summaries_have_five_lines_or_nine() -> None:
    facts = FakeFacts()
    for value in (1, 2, 2):
        facts.stats.add("election_time", value)
        facts.stats.add("readlatency", value)
    found = pairs(facts)
    assert [(key, value) for key, value in found if key.endswith("_election_time")] == [
        ("zk_avg_election_time", "1.6667"),
        ("zk_min_election_time", "1"),
        ("zk_max_election_time", "2"),
        ("zk_cnt_election_time", "3"),
        ("zk_sum_election_time", "5"),
    ]
    assert [key for key, _ in found if key.endswith("_readlatency")] == [
        f"zk_{kind}_readlatency" for kind in ("avg", "min", "max", "cnt", "sum", "p50", "p95", "p99", "p999")
    ]


def test_the_election_comes_last() -> None:
    facts = member("leader")
    facts.learners = [1]
    facts.figures = [("election_epoch", 7), ("last_election_ms", 12)]
    assert pairs(facts)[-2:] == [("zk_election_epoch", "7"), ("zk_last_election_ms", "12")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (7.0, "7.0"),
        (0.3333, "0.3333"),
        (-1.5, "-1.5"),
        (0.001, "0.001"),
        (0.0005, "5.0E-4"),
        (0.00012, "1.2E-4"),
        (9_999_999.0, "9999999.0"),
        (10_000_000.0, "1.0E7"),
        (12_345_678.5, "1.23456785E7"),
        (-2e10, "-2.0E10"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_numbers_are_written_as_java_writes_them(value: float, text: str) -> None:
    assert format_double(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_they_were(value: float) -> None:
    text = format_double(value)
    assert float(text) == value
    assert re.fullmatch(r"-?\d+\.\d+(E-?\d+)?", text)
