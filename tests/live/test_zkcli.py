"""One scripted session through Apache's own zkCli, of each release, on Apache's server and on ours: the same output.

The script is programs/zkcli_session.txt; a line that begins with %% starts another process of zkCli. Watch events come
from a thread of their own, so they are compared apart from the answers, in their order. Times and session ids are
masked; transaction ids are not: from an empty directory on, both servers have to count alike.
"""

import difflib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ensemble import DEBIAN_JARS, Ensemble, missing

pytestmark = pytest.mark.live

SCRIPT = Path(__file__).parent / "programs" / "zkcli_session.txt"
MAIN = "org.apache.zookeeper.ZooKeeperMain"
JVM = ["-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dzookeeper.jmx.log4j.disable=true"]
PROPERTIES = {
    "extendedTypesEnabled": "true",
    "enforceQuota": "true",
    # super:test
    "DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
}
SERVER_PROPERTIES = {f"zookeeper.{name}": value for name, value in PROPERTIES.items()}
# Printed in two pieces, between which a piece of an answer may come.
EVENT_HEAD = "\nWATCHER::\n"
EVENT = re.compile(r"\nWatchedEvent ([^\n]*)\n")
MASKS = [
    (re.compile(r"^([cm]time = )(?!Thu Jan 01 00:00:00).*$", re.MULTILINE), r"\1T"),
    (re.compile(r"^(ephemeralOwner = )0x[0-9a-f]{2,}$", re.MULTILINE), r"\1S"),
    (re.compile(r"(127\.0\.0\.1:)\d+"), r"\1P"),
]
# whoami's list; Apache keeps it in the order of a hash table.
IDENTITIES = re.compile(r"(?<=^Auth scheme: User\n)(?:[a-z]+: .*\n)+", re.MULTILINE)
RELEASES = {"zkCli 3.8": "apache38", "zkCli 3.9": "apache39"}


@dataclass(frozen=True)
class Session:
    """What one process of zkCli said: its answers, the events between them, and its exit status."""

    answers: str
    events: list[str]
    status: int


def sessions_of_script() -> Iterator[str]:
    lines: list[str] = []
    for line in SCRIPT.read_text("utf-8").splitlines(keepends=True):
        if line.startswith("%%"):
            yield "".join(lines)
            lines = []
        elif not line.startswith("#"):
            lines.append(line)
    yield "".join(lines)


def class_path(kind: str) -> str:
    if kind == "apache39":
        # With JLine, prompts and events would be drawn over each other.
        jars = sorted(Path(os.environ["ZK39_LIB"]).glob("*.jar"))
        return ":".join(str(jar) for jar in jars if not jar.name.startswith("jline"))
    return os.environ.get("ZK38_CP") or ":".join(DEBIAN_JARS)


def zkcli(kind: str, address: str, typed: str, logging: Path, *arguments: str) -> Session:
    """Run zkCli of Apache's release `kind` with this on its standard input (no terminal, so no prompts)."""
    quiet = [
        f"-Dlog4j.configuration=file:{logging}/quiet.properties",
        f"-Dlogback.configurationFile={logging}/quiet.xml",
    ]
    (logging / "quiet.properties").write_text("log4j.rootLogger=OFF\n")
    (logging / "quiet.xml").write_text('<configuration><root level="OFF"/></configuration>\n')
    command = [os.environ.get("JAVA", "java"), *JVM, *quiet, "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"]
    command += ["-cp", class_path(kind), MAIN, "-server", address, *arguments]
    run = subprocess.run(
        command, input=typed.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False
    )
    said = run.stdout.decode("utf-8", "replace")
    for pattern, instead in MASKS:
        said = pattern.sub(instead, said)
    without = said.replace(EVENT_HEAD, "")
    answers = IDENTITIES.sub(lambda found: "".join(sorted(found[0].splitlines(keepends=True))), EVENT.sub("", without))
    return Session(answers, EVENT.findall(without), run.returncode)


def run_script(client: str, server: str) -> list[Session]:
    with Ensemble([server], properties=SERVER_PROPERTIES) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        return [
            zkcli(RELEASES[client], ensemble[1].address, typed, ensemble.directory) for typed in sessions_of_script()
        ]


def difference(apache: str, ours: str) -> str:
    lines = difflib.unified_diff(apache.splitlines(), ours.splitlines(), "apache", "ours", n=8, lineterm="")
    return "\n".join(lines)


@pytest.mark.parametrize("client", RELEASES)
def test_a_scripted_session_reads_the_same(client: str) -> None:
    reason = missing(RELEASES[client])
    if reason is not None:
        pytest.skip(reason)
    apache, ours = run_script(client, RELEASES[client]), run_script(client, "zktw")
    # Nothing is equal because nothing was said.
    assert len(apache[0].answers) > 5000
    assert len(apache[0].events) > 15
    assert len(apache) == len(ours)
    for theirs, mine in zip(apache, ours, strict=True):
        assert theirs.answers == mine.answers, difference(theirs.answers, mine.answers)
        assert theirs.events == mine.events, difference("\n".join(theirs.events), "\n".join(mine.events))
        assert theirs.status == mine.status


ONE_SHOTS = [["ls", "/"], ["ls", "/missing"], ["create", "/one", "x"], ["create", "/one", "x"], ["get", "-s", "/one"]]


@pytest.mark.skipif(missing("apache38") is not None, reason=str(missing("apache38")))
def test_single_commands_answer_and_exit_the_same() -> None:
    said: dict[str, list[Session]] = {}
    for server in ("apache38", "zktw"):
        with Ensemble([server]) as ensemble:
            ensemble.start()
            ensemble.wait_serving()
            said[server] = [
                zkcli("apache38", ensemble[1].address, "", ensemble.directory, *command) for command in ONE_SHOTS
            ]
    assert [session.status for session in said["apache38"]] == [0, 1, 0, 1, 0]
    assert said["zktw"] == said["apache38"]
