"""Every four-letter word beside Apache's, in every state: the same lines once their values are masked."""

import re
import time
from functools import partial

import pytest
from ensemble import Ensemble, Node, missing, wait_until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(missing("apache38") is not None, reason=str(missing("apache38"))),
]

WORDS = [
    *("conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr"),
    *("ruok", "srst", "srvr", "stat", "wchc", "wchp", "wchs"),
]
STMK = "stmk\0\0\0\0\0\0\0\2"
# Our own lines, behind all that Apache says (docs/operations.md).
OURS = re.compile(r"^(Epoch|Leader|Last election): |^zk_(election_\w+|last_election_ms)\t")
# Figures that come and go: a set's members appear at their first event.
SETS = re.compile(
    r"^zk_\w+_(learner_handler_qp_size|learner_handler_qp_time_ms|read_per_namespace|write_per_namespace)\t"
)


def mask(line: str) -> str:
    """A line without its values."""
    if line.startswith("zk_"):
        key, value = line.split("\t")
        return f"{key}\t{'N' if re.fullmatch(r'-?[0-9.]+(E-?[0-9]+)?', value) else 'TEXT'}"
    for pattern, masked in (
        (r"^( |\tip: )/\S+:\d+", r"\1ADDRESS"),
        (r"^\d+ expire at .*", "N expire at DATE:"),
        (r"^(Zookeeper version: |[a-z]+\.[\w.]+=|[A-Za-z]+=).*", r"\1VALUE"),
        (r"0x[0-9a-f]+", "0xN"),
        (r"(?<![a-zA-Z])\d+(\.\d+)*", "N"),
    ):
        line = re.sub(pattern, masked, line)
    return line


def shape(text: str) -> list[str]:
    """Its lines masked; those of connections once, since their number is a matter of the moment."""
    lines: list[str] = []
    for line in text.split("\n"):
        masked = mask(line)
        of_connection = masked.startswith((" ADDRESS", "\tip: ", "N expire"))
        if not (OURS.match(line) or SETS.match(line) or (of_connection and masked in lines)):
            lines.append(masked)
    return lines


def answers(node: Node) -> dict[str, list[str]]:
    return {word: shape(node.ask(word)) for word in [*WORDS, STMK]}


def compare(apache: Node, ours: Node) -> None:
    expected, found = answers(apache), answers(ours)
    for word in expected:
        assert found[word] == expected[word], word


def has_mode(node: Node, mode: str | None) -> bool:
    return node.mode() == mode


def pair(voters: int, observers: int = 0, **options: object) -> tuple[Ensemble, Ensemble]:
    kinds = [["apache38"] * voters, ["zktw"] * voters]
    return tuple(  # type: ignore[return-value]  # two of them
        Ensemble(kind, [kind[0]] * observers, **options)  # type: ignore[arg-type]
        for kind in kinds
    )


def test_standalone() -> None:
    apache, ours = pair(1)
    with apache, ours:
        for ensemble in (apache, ours):
            ensemble.start()
            ensemble.wait_serving()
        compare(apache[1], ours[1])


def test_leader_follower_observer_and_looking() -> None:
    apache, ours = pair(3, 1)
    with apache, ours:
        for ensemble in (apache, ours):
            ensemble.start()
            ensemble.wait_serving()
        # Gauges of learners settle with the first pings.
        time.sleep(2)
        by_mode = [{node.mode(): node for node in ensemble.nodes} for ensemble in (apache, ours)]
        for mode in ("leader", "follower", "observer"):
            compare(by_mode[0][mode], by_mode[1][mode])
        for ensemble in (apache, ours):
            for node in ensemble.nodes[1:3]:
                node.kill()
        for ensemble in (apache, ours):
            wait_until("nobody serves", partial(has_mode, ensemble[1], None))
        compare(apache[1], ours[1])


def test_read_only() -> None:
    apache, ours = pair(3, properties={"readonlymode.enabled": "true"}, tick_ms=500)
    with apache, ours:
        for ensemble in (apache, ours):
            ensemble.start(ensemble[1])
        for ensemble in (apache, ours):
            wait_until("a read-only server", partial(has_mode, ensemble[1], "read-only"))
        compare(apache[1], ours[1])


def test_words_that_are_not_allowed() -> None:
    apache, ours = pair(1, extra=["4lw.commands.whitelist=ruok"])
    with apache, ours:
        for ensemble in (apache, ours):
            ensemble.start()
            ensemble.wait_answering()
        for word in [*WORDS, STMK]:
            if word not in ("ruok", "srvr"):
                assert ours[1].ask(word) == apache[1].ask(word), word
        assert ours[1].ask("mntr") == "mntr is not executed because it is not in the whitelist.\n"
