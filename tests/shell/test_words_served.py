"""The words of a server alone that serves: each figure of sessions, nodes and watches, from the port to the text."""

import re

import pytest
from dataport import PING, DataLink, DataPort, create, framed, get_data, request, set_data, text

from zktw.terms.codes import CreateMode, OpCode


@pytest.fixture
def port() -> DataPort:
    return DataPort()


def figure(port: DataPort, key: str) -> str | None:
    found = re.search(rf"^zk_{key}\t(.*)$", port.text("mntr"), re.M)
    return found.group(1) if found else None


def hexed(link: DataLink) -> str:
    return f"0x{link.session:x}"


def test_cons_shows_what_a_client_did_last(port: DataPort) -> None:
    link = port.session(8000)
    port.reactor.advance(0.007)
    link.send(create(5, "/a"))
    port.reactor.advance(0.003)
    port.settle()
    line = port.text("cons").splitlines()[0]
    shown = re.fullmatch(
        rf" /192\.0\.2\.1:40001\[1\]\(queued=0,recved=2,sent=2,sid={hexed(link)},lop=CREA,est=\d+,to=8000,lcxid=0x5,"
        r"lzxid=0x2,lresp=100010,llat=3,minlat=0,avglat=1,maxlat=3\)",
        line,
    )
    assert shown, line
    link.send(create(6, "/a"))
    port.settle()
    assert ",lop=NA," in port.text("cons")
    link.send(get_data(7, "/a") + framed(PING))
    assert ",lop=PING," in port.text("cons")
    assert ",lcxid=0x7,lzxid=0x3," in port.text("cons")
    port.text("crst")
    assert "(queued=0,recved=0,sent=0," in port.text("cons")
    assert ",lop=NA," in port.text("cons")


def test_requests_that_wait_are_outstanding(port: DataPort) -> None:
    link = port.session()
    link.send(create(1, "/a") + get_data(2, "/a"))
    assert "(queued=2," in port.text("cons")
    assert "\nOutstanding: 2\n" in port.text("srvr")
    assert figure(port, "outstanding_requests") == "2"
    port.settle()
    assert "\nOutstanding: 0\n" in port.text("srvr")


def test_dump_shows_sessions_by_their_end_with_their_nodes(port: DataPort) -> None:
    short, long = port.session(6000), port.session(30_000)
    short.send(create(1, "/e", flags=CreateMode.EPHEMERAL))
    port.settle()
    lines = port.text("dump").splitlines()
    assert lines[1] == "Session Sets (2)/(2):"
    assert lines[2].startswith("1 expire at ")
    assert lines[3] == f"\t{hexed(short)}"
    assert lines[5] == f"\t{hexed(long)}"
    assert lines[6:10] == ["ephemeral nodes dump:", "Sessions with Ephemerals (1):", f"{hexed(short)}:", "\t/e"]
    assert f"\tip: /192.0.2.1:40001 sessionId: {hexed(short)}" in lines
    assert (figure(port, "global_sessions"), figure(port, "ephemerals_count")) == ("2", "1")
    short.end()
    port.advance(9000)
    assert "Session Sets (1)/(1):" in port.text("dump")
    assert (figure(port, "global_sessions"), figure(port, "ephemerals_count")) == ("1", "0")


def test_watches_are_shown_as_long_as_they_wait(port: DataPort) -> None:
    one, two = port.session(), port.session()
    one.send(create(1, "/a"))
    port.settle()
    one.send(get_data(2, "/a", watch=True) + request(3, OpCode.EXISTS, text("/b") + b"\1"))
    # One of children is counted by mntr alone.
    two.send(get_data(1, "/a", watch=True) + request(2, OpCode.GET_CHILDREN, text("/") + b"\1"))
    assert port.text("wchc") == f"{hexed(one)}\n\t/a\n\t/b\n{hexed(two)}\n\t/a\n\n"
    assert port.text("wchp") == f"/a\n\t{hexed(one)}\n\t{hexed(two)}\n/b\n\t{hexed(one)}\n\n"
    assert port.text("wchs") == "2 connections watching 2 paths\nTotal watches:3\n"
    assert figure(port, "watch_count") == "4"
    one.send(set_data(4, "/a", b"x"))
    port.settle()
    assert port.text("wchs") == "1 connections watching 1 paths\nTotal watches:1\n"
    assert figure(port, "cnt_node_changed_watch_count") == "1"
    assert figure(port, "sum_node_changed_watch_count") == "2"
    # Twice the header, type, state and path.
    assert figure(port, "watch_bytes") == str(2 * (16 + 8 + 4 + 2))
    one.end()
    assert port.text("wchc") == "\n"
    assert figure(port, "watch_count") == "1"


def test_hash_has_a_line_for_each_128_transactions_also_after_a_restart(port: DataPort) -> None:
    link = port.session(60_000)
    link.send(create(1, "/a"))
    for xid in range(300):
        link.send(set_data(xid, "/a", b"%d" % xid))
        port.settle()
    lines = port.text("hash").splitlines()
    assert [line.split(": ")[0] for line in lines] == ["80", "100"]
    assert len({line.split(": ")[1] for line in lines}) == 2
    assert DataPort(disk=port.disk).text("hash") == port.text("hash")


def test_replies_are_counted_and_events_and_handshakes_apart(port: DataPort) -> None:
    link = port.session()
    assert figure(port, "response_bytes") == "0"
    link.send(framed(PING))
    link.send(create(1, "/a", b"12345"))
    port.settle()
    link.send(get_data(2, "/a", watch=True))
    link.send(set_data(3, "/a", b""))
    port.settle()
    replies = 16 + (16 + 4 + 2) + (16 + 4 + 5 + 68) + (16 + 68)
    assert figure(port, "response_bytes") == str(replies)
    assert figure(port, "max_client_response_size") == "93"
    assert figure(port, "min_client_response_size") == "16"
    port.text("srst")
    assert figure(port, "max_client_response_size") == "-1"


def test_reads_and_writes_have_latencies(port: DataPort) -> None:
    link = port.session()
    port.text("srst")
    link.send(get_data(1, "/") + get_data(2, "/"))
    link.send(create(3, "/a"))
    port.reactor.advance(0.009)
    port.settle()
    assert "\nLatency min/avg/max: 0/3.0/9\n" in port.text("srvr")
    assert [figure(port, f"cnt_{kind}latency") for kind in ("read", "update")] == ["2", "1"]


def test_quotas_of_one_part_of_the_tree_are_added_up(port: DataPort) -> None:
    link = port.session()
    nodes = ["/app", "/app/in", "/zookeeper/quota/app", "/zookeeper/quota/app/in"]
    link.send(*[create(xid, path) for xid, path in enumerate(nodes)])
    for path, limits in (
        ("/app", b"count=20,bytes=-1"),
        ("/app/in", b"count=7,bytes=9=;byteHardLimit=50;countHardLimit=9"),
    ):
        link.send(create(8, f"/zookeeper/quota{path}/zookeeper_limits", limits))
        link.send(create(9, f"/zookeeper/quota{path}/zookeeper_stats", b"count=0,bytes=0"))
    link.send(set_data(10, "/app/in", b"123"))
    port.settle()
    assert {err for _, err in link.replies()} == {0}
    found = [line for line in port.text("mntr").splitlines() if "_quota_" in line]
    assert found == [
        "zk_app_quota_bytes_limit_per_namespace\t49",
        "zk_app_quota_count_usage_per_namespace\t3",
        "zk_app_quota_count_limit_per_namespace\t29",
        "zk_app_quota_bytes_usage_per_namespace\t3",
    ]
