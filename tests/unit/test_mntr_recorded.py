"""mntr beside what Apache 3.8 answered in the same role: the same keys, in the same order, with values of one kind."""

import json
import re
from pathlib import Path

import pytest
from wordfacts import FakeFacts, FakeServed, member

from zktw.admin.commands import answer

RECORDING = Path(__file__).parents[1] / "wire" / "recordings" / "mntr-apache38.jsonl"
ROLES = ("standalone", "leader", "follower", "observer", "read-only")
OURS: list[tuple[str, object]] = [("election_epoch", 7), ("last_election_ms", 12)]


def recorded(role: str) -> str:
    """The answer of the server that played this role."""
    lines = RECORDING.read_text().splitlines()[1:]
    texts: dict[str, str] = {line["role"]: line["text"] for line in map(json.loads, lines)}
    return texts[role]


def facts_of(role: str) -> FakeFacts:
    facts = FakeFacts() if role == "standalone" else member(role)
    if role == "leader":
        facts.learners = [
            int(sid) for sid in re.findall(r"^zk_cnt_(\d)_learner_handler_qp_size\t", recorded(role), re.M)
        ]
        assert len(facts.learners) == 3
    return facts


def kind_of(value: str) -> str:
    """How a value is written: a whole number, one with a point, or a text, which says itself."""
    if re.fullmatch(r"-?\d+", value):
        return "whole"
    if re.fullmatch(r"-?\d+\.\d+(E-?\d+)?", value):
        return "with a point"
    return "a version" if value.startswith("3.") else value


def shape(text: str) -> list[tuple[str, str]]:
    """Keys and kinds of values, line by line."""
    assert text.endswith("\n")
    return [(key, kind_of(value)) for key, value in (line.split("\t") for line in text.splitlines())]


@pytest.mark.parametrize("role", ROLES)
def test_every_line_stands_where_apache_has_it(role: str) -> None:
    assert shape(answer("mntr", facts_of(role)).decode()) == shape(recorded(role))


@pytest.mark.parametrize("role", ROLES)
def test_our_own_lines_stand_behind_all_of_apaches(role: str) -> None:
    facts = facts_of(role)
    facts.figures = OURS
    found = shape(answer("mntr", facts).decode())
    assert found[: -len(OURS)] == shape(recorded(role))
    assert found[-len(OURS) :] == [("zk_election_epoch", "whole"), ("zk_last_election_ms", "whole")]
    # Nothing of ours goes by a name of Apache's.
    assert len(dict(found)) == len(found)


def test_every_value_is_that_of_its_fact() -> None:
    facts = member("leader")
    facts.node_count = 11
    facts.stats.received, facts.stats.sent = 21, 22
    for latency in (31, 34):
        facts.stats.latency.add(latency)
    facts.learners = [1, 2, 4, 5]
    found = dict(line.split("\t") for line in answer("mntr", facts).decode().splitlines())
    expected = {
        "peer_state": "leading - broadcast",
        "znode_count": "11",
        "packets_received": "21",
        "packets_sent": "22",
        "min_latency": "31",
        "avg_latency": "32.5",
        "max_latency": "34",
        "num_alive_connections": "0",
        "approximate_data_size": "44",
        "open_file_descriptor_count": "17",
        "max_file_descriptor_count": "1024",
        "uptime": "1077",
        "leader_uptime": "1078",
        "learners": "4",
        "synced_followers": "2",
        "synced_non_voting_followers": "0",
        "synced_observers": "1",
        "quorum_size": "3",
    }
    assert {key: found[f"zk_{key}"] for key in expected} == expected


def test_every_value_of_sessions_and_tree_is_that_of_its_fact() -> None:
    facts = FakeFacts()
    facts.served = FakeServed(1, 2, 3, 4, 5, 7, limited=[("app_quota_count_limit_per_namespace", 6)])
    facts.stats.note_replies([bytes(4 + 16), bytes(4 + 98), bytes(4 + 54)], 180)
    text = answer("mntr", facts).decode()
    found = dict(line.split("\t") for line in text.splitlines())
    expected = {
        "outstanding_requests": "1",
        "global_sessions": "2",
        "local_sessions": "7",
        "ephemerals_count": "3",
        "watch_count": "4",
        "auth_failed_count": "5",
        "app_quota_count_limit_per_namespace": "6",
        "min_client_response_size": "16",
        "max_client_response_size": "98",
        "last_client_response_size": "54",
        "response_bytes": "168",
    }
    assert {key: found[f"zk_{key}"] for key in expected} == expected
    # Where Apache has it: behind the other gauges.
    assert (
        "\nzk_non_mtls_local_conn_count\t0\nzk_app_quota_count_limit_per_namespace\t6\nzk_proposal_count\t0\n" in text
    )
    facts.stats.note_replies([bytes(4 + 20)], 24)
    found = dict(line.split("\t") for line in answer("mntr", facts).decode().splitlines())
    assert [found[f"zk_{which}_client_response_size"] for which in ("min", "last", "max")] == ["16", "20", "98"]


# What changes with the moment and the machine, or what an ensemble's start leaves behind.
_MOVING = re.compile(
    r"zk_(?:version|uptime|leader_uptime|(?:open|max)_file_descriptor_count|approximate_data_size|packets_\w+|"
    r"num_alive_connections|(?:min|avg|max)_latency|bytes_received_count|(?:avg|min|max|cnt|sum|p\d+)_\w+)\t"
)


def test_a_fresh_server_alone_counts_what_apache_counts() -> None:
    """What has not happened stands at the same 0 or -1."""
    ours, apaches = (
        [line for line in text.splitlines() if not _MOVING.match(line)]
        for text in (answer("mntr", FakeFacts()).decode(), recorded("standalone"))
    )
    assert ours == apaches
    assert "zk_last_client_response_size\t-1" in ours
    assert "zk_connection_drop_probability\t0.0" in ours
