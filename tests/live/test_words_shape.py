"""Four-letter words of ours beside Apache's in the same state: the same lines in the same order, values masked."""

import re
import socket
from collections.abc import Callable, Mapping

import pytest
from ensemble import HOST, Ensemble, Node, missing, wait_until
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(missing("apache38") is not None, reason=str(missing("apache38"))),
]

WORDS = [
    *("conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr"),
    *("ruok", "srst", "srvr", "stat", "wchc", "wchp", "wchs", "stmk\0\0\0\0\0\0\0\2"),
]
STATES = ("standalone", "leader", "follower", "observer", "looking", "leaderless", "read-only")
TELNET_CLOSE = b"\xff\xf4\xff\xfd"
# What we say beyond Apache, at the very end of what it says (docs/operations.md).
ELECTION_LINES = re.compile(r"Epoch: \d+\nLeader: \d+\nLast election: [^\n]+\n\Z")
ELECTION_FIGURES = re.compile(r"(?:zk_election_[a-z]+\t\d+\n|zk_last_election_ms\t\d+\n)+\Z")
OURS_LAST = {"mntr": ELECTION_FIGURES, "srvr": ELECTION_LINES, "stat": ELECTION_LINES}
# Lines whose values belong to the shape.
KEPT = re.compile(
    r"(?:zk_server_state|zk_peer_state)\t|(?:tickTime|maxClientCnxns|minSessionTimeout|electionAlg)=|Mode:"
)
MASKS = [
    (re.compile(r"^(Zookeeper version: |zk_version\t).*"), r"\1V"),
    (re.compile(r"^((?:dataDir|dataLogDir)=).*(/version-)2$"), r"\1P\2"),
    (re.compile(r"-?\d+\.\d+(?:E-?\d+)?"), "F"),
    (re.compile(r"0x[0-9a-f]+"), "X"),
    (re.compile(r"(?<![a-z0-9])-?\d+"), "N"),
    (re.compile(r"(expire at )\w{3} \w{3} N N:N:N \w+ N:$"), r"\1D"),
]


def shape(word: str, text: str) -> list[str]:
    """The lines of an answer without their values."""
    if word in OURS_LAST:
        text = OURS_LAST[word].sub("", text)
    lines = text.split("\n")
    if word == "envi":
        return [line.partition("=")[0] for line in lines]
    if word == "dump":
        # Apache forgets an empty set of connections not before its time has come.
        lines = [line for line in lines if not line.startswith("0 expire at")]
    return [line if KEPT.match(line) else masked(line) for line in lines]


def masked(line: str) -> str:
    for pattern, instead in MASKS:
        line = pattern.sub(instead, line)
    return line


Answers = Mapping[str, Mapping[str, str]]


def words_of(node: Node) -> dict[str, str]:
    return {word: node.ask(word) for word in WORDS}


def words_by_state(kind: str) -> Answers:
    """What one kind of server answers in every state."""
    found = {}
    with Ensemble([kind]) as alone:
        alone.start()
        alone.wait_serving()
        found["standalone"] = words_of(alone[1])
    with Ensemble([kind] * 3, [kind]) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        leader = ensemble.wait_leader()
        # Apache shows a learner's figures from its first packet behind those of the synchronisation.
        learners = re.compile(r"zk_cnt_\d_learner_handler_qp_time_ms")
        wait_until("figures of three learners", lambda: len(learners.findall(leader.ask("mntr"))) == 3)
        for node in ensemble.nodes:
            mode = node.mode()
            assert mode is not None
            found[mode] = words_of(node)
        for node in ensemble.nodes[1:3]:
            node.kill()
        wait_until("nobody to serve", lambda: ensemble[1].mode() is None)
        found["leaderless"] = words_of(ensemble[1])
    with Ensemble([kind] * 3) as ensemble:
        ensemble.start(ensemble[1])
        ensemble.wait_answering(ensemble[1])
        found["looking"] = words_of(ensemble[1])
    with Ensemble([kind] * 3, properties={"readonlymode.enabled": "true"}, tick_ms=500) as ensemble:
        ensemble.start(ensemble[1])
        ensemble.wait_serving(ensemble[1])
        found["read-only"] = words_of(ensemble[1])
    return found


@pytest.fixture(scope="module")
def apache() -> Answers:
    return words_by_state("apache38")


@pytest.fixture(scope="module")
def ours() -> Answers:
    return words_by_state("zktw")


@pytest.mark.parametrize("state", STATES)
def test_every_word_has_the_shape_of_apaches(state: str, apache: Answers, ours: Answers) -> None:
    for word, text in apache[state].items():
        assert shape(word, ours[state][word]) == shape(word, text), f"{word} while {state}"
    # Nothing of the above was equal because nobody answered.
    assert apache[state]["ruok"] == ours[state]["ruok"] == "imok"


@pytest.mark.parametrize("state", ["leader", "follower", "observer"])
def test_the_election_stands_behind_all_that_apache_says(state: str, ours: Answers) -> None:
    for word, lines in OURS_LAST.items():
        assert lines.search(ours[state][word]), word


@pytest.mark.parametrize("state", ["standalone", "looking", "leaderless", "read-only"])
def test_where_nobody_leads_nothing_is_said_of_an_election(state: str, ours: Answers) -> None:
    for word, lines in OURS_LAST.items():
        assert not lines.search(ours[state][word]), word


def test_the_mask_sees_a_difference() -> None:
    assert shape("mntr", "zk_uptime\t5\n") == shape("mntr", "zk_uptime\t17\n")
    assert shape("mntr", "zk_uptime\t5\n") != shape("mntr", "zk_uptime\t5.0\n")
    assert shape("mntr", "zk_uptime\t5\n") != shape("mntr", "zk_downtime\t5\n")
    assert shape("mntr", "zk_server_state\tleader\n") != shape("mntr", "zk_server_state\tfollower\n")
    assert shape("srvr", "Mode: leader\nEpoch: 1\nLeader: 3\nLast election: now\n") == shape("srvr", "Mode: leader\n")


# -- with sessions

LIMITS = b"count=20,bytes=100"
# What both say the same of the same requests; all else of mntr differs by its nature (docs/operations.md).
COUNTED = re.compile(
    r"zk_(?:ephemerals_count|num_alive_connections|outstanding_requests|znode_count|global_sessions|watch_count|"
    r"(?:last|max|min)_client_response_size|\w+_quota_\w+|watch_bytes|response_bytes|connection_request_count|"
    r"stale_sessions_expired|cnt_(?:fsynctime|updatelatency|readlatency|connection_token_deficit)|"
    r"(?:cnt|sum)_node_\w+_watch_count)\t.*"
)
_SESSION_MASKS = [
    (re.compile(r"/127\.0\.0\.1:\d+"), "/client"),
    (re.compile(r"\b(est|lresp|llat|minlat|avglat|maxlat)=\d+"), r"\1=N"),
]


def use(node: Node, first: KazooClient, second: KazooClient) -> None:
    """Requests of many kinds, refused ones among them, one after the other."""
    first.create("/app", b"0123456789")
    first.create("/app/c", b"x")
    first.create("/app/e", ephemeral=True)
    second.create("/app/f", ephemeral=True)
    first.create("/other")
    first.get("/app", watch=lambda event: None)
    first.get_children("/app", watch=lambda event: None)
    first.exists("/nope", watch=lambda event: None)
    second.get("/app", watch=lambda event: None)
    first.ensure_path("/zookeeper/quota/app")
    first.create("/zookeeper/quota/app/zookeeper_limits", LIMITS)
    first.create("/zookeeper/quota/app/zookeeper_stats", b"count=0,bytes=0")
    first.set("/app/c", b"yy")
    refused: list[tuple[Callable[[str], object], str]] = [
        (first.get, "/none"),
        (first.delete, "/app"),
        (first.create, "/app"),
    ]
    for request, path in refused:
        with pytest.raises(KazooException):
            request(path)
    transaction = first.transaction()
    transaction.create("/app/t")
    transaction.delete("/app/t")
    assert transaction.commit() == ["/app/t", True]
    second.add_auth("digest", "me:secret")
    wait_until("events", lambda: "zk_watch_count\t3\n" in node.ask("mntr"))


def of_sessions(node: Node) -> dict[str, list[str]]:
    """What the words say of two sessions, in order of their names, each step of the way."""
    # kazoo sends a ping every third of this: none comes within the test.
    first, second = (KazooClient(node.address, timeout=timeout_s) for timeout_s in (40, 30))
    names: dict[str, str] = {}
    found: dict[str, list[str]] = {}

    def note(step: str) -> None:
        for word in ("cons", "dump", "wchc", "wchp", "wchs", "srvr", "stat"):
            found[f"{word} {step}"] = [told_of_session(line, names) for line in node.ask(word).split("\n")]
            if word in ("cons", "dump", "wchc", "wchp", "stat"):
                found[f"{word} {step}"].sort()
        figures = [line for line in node.ask("mntr").split("\n") if COUNTED.fullmatch(line)]
        # Ours measures the answer to a handshake, too: later it is neither the smallest nor the largest.
        if step == "at the start":
            figures = [line for line in figures if "_client_response_size" not in line]
        found[f"mntr {step}"] = figures

    try:
        for name, client in (("first", first), ("second", second)):
            client.start()
            names[f"0x{client.client_id[0]:x}"] = name
        note("at the start")
        use(node, first, second)
        note("in use")
        node.ask("crst")
        node.ask("srst")
        note("after resets")
        first.get("/other")
        note("after a read")
        second.stop()
        note("after an end")
    finally:
        for client in (first, second):
            client.stop()
            client.close()
    return found


def told_of_session(line: str, names: Mapping[str, str]) -> str:
    for session, name in names.items():
        line = re.sub(rf"{session}\b", name, line)
    for pattern, instead in _SESSION_MASKS:
        line = pattern.sub(instead, line)
    if line.startswith(("Latency", "Zookeeper version", "Received", "Sent")):
        # Apache answered more of those who asked whether it serves yet.
        line = line.partition(":")[0]
    return re.sub(r"^(Session|Connections) Sets .*", r"\1 Sets", line)


def test_sessions_are_told_of_as_apache_tells_of_them() -> None:
    told = {}
    for kind in ("apache38", "zktw"):
        with Ensemble([kind], tick_ms=2000) as alone:
            alone.start()
            alone.wait_serving()
            told[kind] = of_sessions(alone[1])
    for question, lines in told["apache38"].items():
        # Which of them end within the same ten seconds depends on the second of the day.
        ours, apaches = (
            [line for line in some if " expire at " not in line] for some in (told["zktw"][question], lines)
        )
        assert ours == apaches, question
    # Nothing of the above was equal because nothing was there.
    assert any("lop=MULT" in line for line in told["zktw"]["cons in use"])
    assert "zk_app_quota_count_limit_per_namespace\t20" in told["zktw"]["mntr in use"]
    assert told["zktw"]["wchs in use"] == ["2 connections watching 2 paths", "Total watches:3", ""]


def digests_of(node: Node) -> list[str]:
    client = KazooClient(node.address, timeout=30)
    client.start()
    try:
        client.create("/a")
        for number in range(300):
            client.set("/a", b"%d" % number)
        return node.ask("hash").split("\n")
    finally:
        client.stop()
        client.close()


def test_hash_has_the_lines_that_apache_has() -> None:
    zxids = {}
    for kind in ("apache38", "zktw"):
        with Ensemble([kind]) as alone:
            alone.start()
            alone.wait_serving()
            lines = digests_of(alone[1])
            assert all(re.fullmatch(r"[0-9a-f]+: -?\d+|", line) for line in lines)
            zxids[kind] = [line.partition(":")[0] for line in lines]
            # It is told again by one who has read it from the log.
            alone[1].kill()
            alone.start()
            alone.wait_serving()
            assert alone[1].ask("hash").split("\n") == lines
    assert zxids["zktw"] == zxids["apache38"] == ["80", "100", ""]


# No mask in pieces: Apache reads what there is of it just then, and closes without a word where that is not all.
TALKS: dict[str, list[bytes]] = {
    "a telnet's line end": [b"ruok\r\n"],
    "a word in pieces": [b"r", b"uo", b"k"],
    "two words at once": [b"ruokruok"],
    "what telnet sends at its end": [TELNET_CLOSE],
    "a word in capitals": [b"RUOK"],
    "HTTP": [b"GET / HTTP/1.1\r\n\r\n"],
    "a frame of no bytes": [b"\x00\x00\x00\x00"],
    "a mask and another word": [b"stmk" + (5).to_bytes(8, "big") + b"gtmk"],
}


def told(port: int, pieces: list[bytes]) -> bytes:
    """All that comes back for these pieces; a connection that is cut ends it as well as one that is closed."""
    answer = bytearray()
    with socket.create_connection((HOST, port), 5) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                link.sendall(piece)
            while data := link.recv(65536):
                answer += data
        except ConnectionError:
            pass
    return bytes(answer)


def test_odd_talks_are_answered_byte_for_byte() -> None:
    answers: dict[str, dict[str, bytes]] = {}
    for kind in ("apache38", "zktw"):
        with Ensemble([kind]) as alone:
            alone.start()
            alone.wait_serving()
            answers[kind] = {name: told(alone[1].client_port, pieces) for name, pieces in TALKS.items()}
    assert answers["zktw"] == answers["apache38"]
    assert answers["zktw"]["two words at once"] == b"imok"


@pytest.mark.parametrize("whitelist", ["", "4lw.commands.whitelist=ruok, isro,srvr"])
def test_words_that_are_not_allowed_are_refused_byte_for_byte(whitelist: str) -> None:
    refusals: dict[str, dict[bytes, bytes]] = {}
    for kind in ("apache38", "zktw"):
        with Ensemble([kind]) as alone:
            text = alone[1].config_path.read_text()
            alone[1].config_path.write_text(text.replace("4lw.commands.whitelist=*", whitelist))
            alone.start()
            alone.wait_serving()
            words = [*(word.encode() for word in WORDS if word != "srvr"), TELNET_CLOSE]
            refusals[kind] = {word: told(alone[1].client_port, [word]) for word in words}
    assert refusals["zktw"] == refusals["apache38"]
    assert refusals["zktw"][b"mntr"] == b"mntr is not executed because it is not in the whitelist.\n"
    assert (refusals["zktw"][b"ruok"] == b"imok") == bool(whitelist)
