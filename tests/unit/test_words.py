"""The four-letter words: whitelist, states, and each text to the byte."""

import pytest
from wordfacts import MEMBERS, FakeConnection, FakeFacts, FakeServed, member

from zktw.admin.commands import NOT_SERVING, TELNET_CLOSE_NAME, WORDS, answer, set_trace_mask
from zktw.config import Config
from zktw.config.data import DataConfig
from zktw.pipeline.request import Client, Request
from zktw.pipeline.sessions import Session
from zktw.terms.codes import OpCode

ALWAYS = {"envi", "gtmk", "isro", "ruok", "stmk"}


def with_words(*words: str) -> FakeFacts:
    return FakeFacts(Config("zoo.cfg", "/d", client_port=2181, four_letter_words=frozenset(words)))


@pytest.mark.parametrize("word", sorted(WORDS - {"srvr"} | {TELNET_CLOSE_NAME}))
def test_what_is_not_in_the_whitelist_is_refused(word: str) -> None:
    facts = with_words("srvr")
    refusal = f"{word} is not executed because it is not in the whitelist.\n".encode()
    assert answer(word, facts) == refusal
    # Whether anybody is served is none of the business of those who may not ask.
    facts.is_serving = False
    assert answer(word, facts) == refusal


def test_a_mask_is_not_set_by_those_who_may_not() -> None:
    facts = with_words("gtmk")
    assert set_trace_mask(7, facts) == b"stmk is not executed because it is not in the whitelist.\n"
    assert answer("gtmk", facts) == b"306"


def test_what_is_in_the_whitelist_is_answered() -> None:
    facts = with_words("ruok", "gtmk", "stmk")
    assert answer("ruok", facts) == b"imok"
    assert answer("stmk", facts) == b""
    assert set_trace_mask(7, facts) == b"7"
    assert answer("gtmk", facts) == b"7"


def test_only_a_whitelist_of_all_has_a_telnets_end() -> None:
    assert answer(TELNET_CLOSE_NAME, FakeFacts()) == b""


@pytest.mark.parametrize("word", sorted(WORDS - ALWAYS))
def test_who_does_not_serve_says_so(word: str) -> None:
    text = answer(word, FakeFacts(is_serving=False)).decode()
    assert text == (NOT_SERVING.rstrip("\n") if word == "hash" else NOT_SERVING)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("ruok", "imok"),
        ("isro", "null"),
        ("gtmk", "306"),
        ("envi", f"Environment:\nzookeeper.version={FakeFacts.version}\nhost.name=here\n"),
    ],
)
def test_some_words_are_answered_whether_anybody_is_served_or_not(word: str, text: str) -> None:
    assert answer(word, FakeFacts(is_serving=False)).decode() == text


@pytest.mark.parametrize("read_only", [False, True])
def test_isro(read_only: bool) -> None:
    assert answer("isro", FakeFacts(is_read_only=read_only)) == (b"ro" if read_only else b"rw")


EMPTY = {
    "crst": "Connection stats reset.\n",
    "srst": "Server stats reset.\n",
    "dirs": "datadir_size: 426\nlogdir_size: 67108880\n",
    "hash": "",
    "wchc": "\n",
    "wchp": "\n",
    "wchs": "0 connections watching 0 paths\nTotal watches:0\n",
    "cons": "\n",
    "srvr": (
        "Zookeeper version: 3.9.5-x, built on 2026-11-24 00:00 UTC\nLatency min/avg/max: 0/0.0/0\n"
        "Received: 0\nSent: 0\nConnections: 0\nOutstanding: 0\nZxid: 0x0\nMode: standalone\nNode count: 5\n"
    ),
    "conf": (
        "clientPort=2181\nsecureClientPort=-1\ndataDir=/d/version-2\ndataDirSize=426\ndataLogDir=/l/version-2\n"
        "dataLogSize=67108880\ntickTime=3000\nmaxClientCnxns=60\nminSessionTimeout=6000\nmaxSessionTimeout=60000\n"
        "clientPortListenBacklog=-1\nserverId=0\n"
    ),
    "dump": (
        "SessionTracker dump:\nSession Sets (0)/(0):\nephemeral nodes dump:\nSessions with Ephemerals (0):\n"
        "Connections dump:\nConnections Sets (0)/(0):\n"
    ),
}


@pytest.mark.parametrize("word", EMPTY)
def test_a_server_alone_that_nobody_uses(word: str) -> None:
    assert answer(word, FakeFacts()).decode() == EMPTY[word]


def test_connections_are_told_and_their_counts_reset() -> None:
    one, other = FakeConnection("/192.0.2.1:4711", received=3, sent=2), FakeConnection("/[0:0:0:0:0:0:0:1]:1", False, 1)
    facts = FakeFacts(clients=[one, other])
    lines = " /192.0.2.1:4711[1](queued=0,recved=3,sent=2)\n /[0:0:0:0:0:0:0:1]:1[0](queued=0,recved=1,sent=0)\n\n"
    assert answer("cons", facts).decode() == lines
    version, rest = EMPTY["srvr"].split("\n", 1)
    rest = rest.replace("Connections: 0", "Connections: 2")
    assert answer("stat", facts).decode() == f"{version}\nClients:\n{lines}{rest}"
    answer("crst", facts)
    assert (one.received, one.sent, other.received) == (0, 0, 0)


def test_silent_connections_are_dumped_by_when_they_end() -> None:
    one, two, three = (FakeConnection(f"/192.0.2.{number}:1") for number in (1, 2, 3))
    facts = FakeFacts(buckets=[("Tue Nov 24 09:27:54 UTC 2026", [one, two]), ("Tue Nov 24 09:28:04 UTC 2026", [three])])
    assert answer("dump", facts).decode().split("Connections dump:\n")[1] == (
        "Connections Sets (2)/(3):\n2 expire at Tue Nov 24 09:27:54 UTC 2026:\n"
        "\tip: /192.0.2.1:1 sessionId: 0x0\n\tip: /192.0.2.2:1 sessionId: 0x0\n"
        "1 expire at Tue Nov 24 09:28:04 UTC 2026:\n\tip: /192.0.2.3:1 sessionId: 0x0\n"
    )


@pytest.mark.parametrize("role", ["follower", "observer", "read-only"])
def test_a_learner_does_not_know_when_sessions_end(role: str) -> None:
    assert answer("dump", member(role)).startswith(
        b"SessionTracker dump:\nGlobal Sessions(0):\nephemeral nodes dump:\n"
    )


def test_a_leader_does() -> None:
    assert answer("dump", member("leader")).startswith(b"SessionTracker dump:\nSession Sets (0)/(0):\n")


def test_srvr_of_a_leader_tells_of_proposals_and_then_of_the_election() -> None:
    facts = member("leader")
    facts.last_zxid = 0x100000000
    facts.stats.received, facts.stats.sent = 12, 10
    for latency in (0, 1, 1):
        facts.stats.latency.add(latency)
    facts.lines = ["Epoch: 1", "Leader: 3"]
    assert answer("srvr", facts).decode().split("\n")[1:] == [
        "Latency min/avg/max: 0/0.6667/1",
        "Received: 12",
        "Sent: 10",
        "Connections: 0",
        "Outstanding: 0",
        "Zxid: 0x100000000",
        "Mode: leader",
        "Node count: 5",
        "Proposal sizes last/min/max: -1/-1/-1",
        "Epoch: 1",
        "Leader: 3",
        "",
    ]


def test_a_reader_is_told_that_he_may_only_read() -> None:
    for word in ("srvr", "stat"):
        text = answer(word, member("read-only")).decode()
        assert text.split("\n")[1] == "READ-ONLY mode; serving only read-only clients"


@pytest.mark.parametrize(
    ("role", "sid", "ports"),
    [("leader", 3, ("3890", "2890", 0)), ("observer", 4, ("3891|3892", "2891|2892", 1))],
)
def test_conf_of_a_member(role: str, sid: int, ports: tuple[str, str, int]) -> None:
    election, quorum, kind = ports
    text = answer("conf", member(role, my_sid=sid)).decode()
    assert text.split(f"serverId={sid}\n")[1] == (
        f"initLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort={election}\nquorumPort={quorum}\npeerType={kind}\n"
        f"membership: \n{MEMBERS}"
    )


def test_conf_of_a_reader_has_no_members_that_a_quorum_would_have_confirmed() -> None:
    assert answer("conf", member("read-only")).decode().endswith("peerType=0\n")


def test_srst_resets_what_mntr_counts() -> None:
    facts = FakeFacts()
    facts.stats.count("snap_count", 3)
    facts.stats.received = 9
    answer("srst", facts)
    assert facts.stats.counters["snap_count"] == facts.stats.received == 0


# -- sessions and their nodes

SESSION = -0x7FFF_FFFF_FFFF_FFFF


def asking(session_id: int = SESSION) -> FakeConnection:
    """A connection with a session of 10 s that was established at 1700000000000."""
    cnxn = FakeConnection("/192.0.2.1:4711", received=3, sent=2)
    cnxn.client = Client(1, "192.0.2.1", cnxn)
    cnxn.client.session = Session(session_id, 10_000, 0.0)
    cnxn.client.established_ms = 1_700_000_000_000
    return cnxn


def of_session(cnxn: FakeConnection) -> str:
    """What cons says of it from its session on."""
    line, *rest = answer("cons", FakeFacts(clients=[cnxn])).decode().split("\n")
    assert rest == ["", ""]
    head, _, tail = line.partition(",sid=")
    assert head == " /192.0.2.1:4711[1](queued=0,recved=3,sent=2"
    return tail


def test_a_session_is_shown_from_its_first_answer_on() -> None:
    cnxn = asking()
    client = cnxn.client
    assert client is not None
    always = "0x8000000000000001,lop={},est=1700000000000,to=10000"
    none = ",llat=0,minlat=0,avglat=0,maxlat=0)"
    assert of_session(cnxn) == always.format("null") + ",lcxid=0x0,lzxid=0x0,lresp=0" + none
    client.note_answer(OpCode.CREATE, 0x1F, 0x2A, 5000.9, 7)
    assert of_session(cnxn) == (
        always.format("CREA") + ",lcxid=0x1f,lzxid=0x2a,lresp=5000,llat=7,minlat=7,avglat=7,maxlat=7)"
    )
    # A ping has a number below 0: that of the request before it stays.
    client.note_answer(OpCode.PING, -2, 0x2B, 5001.0, 0)
    assert of_session(cnxn) == (
        always.format("PING") + ",lcxid=0x1f,lzxid=0x2b,lresp=5001,llat=0,minlat=0,avglat=3,maxlat=7)"
    )
    client.note_answer(None, 0x20, 0x2C, 5002.0, 2)
    assert ",lop=NA," in of_session(cnxn)
    client.reset_stats()
    assert of_session(cnxn) == always.format("NA") + ",lzxid=0xffffffffffffffff,lresp=0" + none


def test_every_operation_has_a_name() -> None:
    cnxn = asking()
    assert cnxn.client is not None
    internal = {OpCode.ERROR, OpCode.DELETE_CONTAINER, OpCode.AUTH, OpCode.SASL}
    names = {}
    for op in set(OpCode) - internal:
        cnxn.client.note_answer(op, 1, 1, 1.0, 0)
        names[op] = of_session(cnxn).split("lop=")[1].split(",")[0]
    assert "NA" not in names.values()
    assert names[OpCode.GET_CHILDREN2] == "GETC"
    assert names[OpCode.WHO_AM_I] == "HOMI"


def test_what_waits_is_queued_and_outstanding() -> None:
    cnxn = asking()
    assert cnxn.client is not None
    cnxn.client.waiting.append(Request(cnxn.client, SESSION, 1, OpCode.CREATE, b"", (), 0.0))
    facts = FakeFacts(clients=[cnxn], served=FakeServed(outstanding=4))
    assert answer("stat", facts).decode().split("\n")[2] == " /192.0.2.1:4711[1](queued=1,recved=3,sent=2)"
    assert b"\nOutstanding: 4\n" in answer("srvr", facts)


def test_sessions_and_their_nodes_are_dumped() -> None:
    cnxn = asking(0x20)
    served = FakeServed(
        timeouts=[(0x10, 6000), (SESSION, 30_000)],
        buckets=[("Tue Nov 24 09:27:54 UTC 2026", [0x10]), ("Tue Nov 24 09:28:00 UTC 2026", [SESSION, 0x20])],
        owned=[(SESSION, ["/a/e", "/b"])],
    )
    rest = (
        "ephemeral nodes dump:\nSessions with Ephemerals (1):\n0x8000000000000001:\n\t/a/e\n\t/b\n"
        "Connections dump:\nConnections Sets (1)/(1):\n1 expire at Tue Nov 24 09:28:10 UTC 2026:\n"
        "\tip: /192.0.2.1:4711 sessionId: 0x20\n"
    )
    facts = FakeFacts(served=served, buckets=[("Tue Nov 24 09:28:10 UTC 2026", [cnxn])])
    assert answer("dump", facts).decode() == (
        "SessionTracker dump:\nSession Sets (2)/(3):\n1 expire at Tue Nov 24 09:27:54 UTC 2026:\n\t0x10\n"
        "2 expire at Tue Nov 24 09:28:00 UTC 2026:\n\t0x8000000000000001\n\t0x20\n" + rest
    )
    facts.role = "follower"
    assert answer("dump", facts).decode() == (
        "SessionTracker dump:\nGlobal Sessions(2):\n0x10\t6000ms\n0x8000000000000001\t30000ms\n" + rest
    )


def test_watches_are_shown_by_session_and_by_path() -> None:
    facts = FakeFacts(served=FakeServed(watched=[(1, "/a"), (2, "/a"), (1, "/b")]))
    assert answer("wchc", facts) == b"0x1\n\t/a\n\t/b\n0x2\n\t/a\n\n"
    assert answer("wchp", facts) == b"/a\n\t0x1\n\t0x2\n/b\n\t0x1\n\n"
    assert answer("wchs", facts) == b"2 connections watching 2 paths\nTotal watches:3\n"


def test_digests_stand_beside_their_zxids() -> None:
    facts = FakeFacts(served=FakeServed(digested=[(0x80, 7), (0x1_0000_0100, 2**64 - 1)]))
    assert answer("hash", facts) == b"80: 7\n100000100: -1\n"


def test_conf_keeps_the_superdigest() -> None:
    secret = "super:gG7s8t3oDEtIqF6DM9LlI/R+9Ss="
    config = Config("zoo.cfg", "/d", client_port=2181, four_letter_words=None, data=DataConfig(super_digest=secret))
    facts = FakeFacts(config)
    for word in ("conf", "envi", "mntr", "stat"):
        assert b"gG7s" not in answer(word, facts)
