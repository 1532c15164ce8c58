"""Four-letter words of ours beside Apache's in the same state: the same lines in the same order, values masked."""

import re
import socket
from collections.abc import Mapping

import pytest
from ensemble import HOST, Ensemble, Node, missing, wait_until

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
