"""Data directories change hands: after one workload ours opens Apache's and Apache opens ours, and the trees are equal.

Stopped and killed under load, both directions, 3.8 and 3.9; and Apache's own tools read our logs and snapshots.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from compare_replies import CONFIG
from compare_run import LINES, PROPERTIES, TICK_MS, Comparison, NodeFacts, tree_of
from ensemble import DEBIAN_JARS, Ensemble, Node, missing, wait_until
from rawclient import Link, Reader, connect_body, create_body, i32
from workload import OPEN

STEPS = int(os.environ.get("ZKTW_EXCHANGE_OPS", "800"))
SEED = int(os.environ.get("ZKTW_SEED", "1"))
# So that there are several logs and snapshots.
OFTEN = [line for line in LINES if not line.startswith("snapCount")] + ["snapCount=300"]
LOAD_S = 0.5
WINDOW = 20
APACHES = ("apache38", "apache39")

pytestmark = pytest.mark.live

each_release = pytest.mark.parametrize(
    "apache",
    [
        pytest.param(kind, marks=pytest.mark.skipif(missing(kind) is not None, reason=str(missing(kind))))
        for kind in APACHES
    ],
)


def tree(node: Node) -> dict[str, NodeFacts]:
    """Its tree, without what each server makes anew at its start."""
    found = tree_of(node.client_port)
    del found[CONFIG]
    return found


def differences(one: dict[str, NodeFacts], other: dict[str, NodeFacts]) -> list[str]:
    """Paths of nodes that are not equal, with both."""
    paths = sorted(one.keys() | other.keys())
    return [f"{path}: {one.get(path)} and {other.get(path)}" for path in paths if one.get(path) != other.get(path)]


@contextmanager
def four(apache: str) -> Iterator[tuple[Ensemble, Node, Node, Node, Node]]:
    """Apache's and ours with equal contents, and one more of each, not started."""
    kinds = [apache, "zktw", apache, "zktw"]
    with Ensemble(kinds, standalone=True, extra=OFTEN, properties=PROPERTIES, tick_ms=TICK_MS) as ensemble:
        theirs, ours, their_heir, our_heir = ensemble.nodes
        started(ensemble, theirs, ours)
        # What they answer is another test's matter.
        Comparison(theirs, ours, SEED, keep_going=True).run(STEPS)
        yield ensemble, theirs, ours, their_heir, our_heir


def started(ensemble: Ensemble, *nodes: Node) -> None:
    """Start these and wait until each serves."""
    ensemble.start(*nodes)
    ensemble.wait_serving(*nodes)
    wait_until("each stands alone", lambda: all(node.mode() == "standalone" for node in nodes))


def hand_over(giver: Node, taker: Node) -> None:
    """A copy of its data directory."""
    shutil.rmtree(taker.data_dir)
    shutil.copytree(giver.data_dir, taker.data_dir)


def loaded_and_killed(node: Node) -> None:
    """Kill it while it takes writes."""
    link = Link(node.client_port)
    link.send(connect_body(0, None, 600_000))
    assert link.read() is not None
    ends = time.monotonic() + LOAD_S
    number = 0
    while time.monotonic() < ends:
        flags = 1 if number % 3 == 0 else 0
        link.send(
            *(
                i32(number + k) + i32(1) + create_body(f"/load{number + k:07d}", bytes(number % 400), OPEN, flags)
                for k in range(WINDOW)
            )
        )
        number += WINDOW
        for _ in range(WINDOW // 2):
            assert link.read() is not None
    node.kill()
    link.close()


@each_release
def test_a_stopped_server_s_directory(apache: str) -> None:
    with four(apache) as (ensemble, theirs, ours, their_heir, our_heir):
        of_theirs, of_ours = tree(theirs), tree(ours)
        assert len(of_theirs) > 50
        for node in (theirs, ours):
            node.term()
        hand_over(theirs, our_heir)
        hand_over(ours, their_heir)
        started(ensemble, their_heir, our_heir)
        assert differences(of_theirs, tree(our_heir)) == []
        assert differences(of_ours, tree(their_heir)) == []
        # And back, after each has written its own after the other's.
        for node in (their_heir, our_heir):
            node.term()
        hand_over(our_heir, theirs)
        hand_over(their_heir, ours)
        started(ensemble, theirs, ours)
        assert differences(of_theirs, tree(theirs)) == []
        assert differences(of_ours, tree(ours)) == []


@each_release
def test_a_killed_server_s_directory(apache: str) -> None:
    """What a server of the same kind makes of it is the measure: requests were under way."""
    with four(apache) as (ensemble, theirs, ours, their_heir, our_heir):
        for node in (theirs, ours):
            loaded_and_killed(node)
        hand_over(theirs, our_heir)
        hand_over(ours, their_heir)
        started(ensemble, theirs, ours, their_heir, our_heir)
        of_theirs, of_ours = tree(theirs), tree(ours)
        assert sum(path.startswith("/load") for path in of_theirs) >= WINDOW
        assert sum(path.startswith("/load") for path in of_ours) >= WINDOW
        assert differences(of_theirs, tree(our_heir)) == []
        assert differences(of_ours, tree(their_heir)) == []
        counts = [acked_sessions(node) for node in (theirs, our_heir, ours, their_heir)]
        assert counts[0] == counts[1]
        assert counts[2] == counts[3]


def acked_sessions(node: Node) -> set[int]:
    """Owners of the ephemerals that are there: sessions that must live on."""
    return {facts[1][7] for facts in tree(node).values() if facts[1][7]}


def tool(apache: str, name: str, *arguments: str) -> str:
    """What a tool of Apache's prints; it must end well."""
    jars = os.environ.get("ZK38_CP") or ":".join(DEBIAN_JARS)
    if apache == "apache39":
        jars = os.path.join(os.environ["ZK39_LIB"], "*")
    command = [os.environ.get("JAVA", "java"), "-Xmx128m", "-cp", jars, f"org.apache.zookeeper.server.{name}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@each_release
def test_apache_s_tools_read_our_files(apache: str) -> None:
    with four(apache) as (_ensemble, _theirs, ours, _their_heir, _our_heir):
        whole = tree(ours)
        ours.term()
        directory = ours.data_dir / "version-2"
        logs, snapshots = files(directory, "log."), files(directory, "snapshot.")
        assert len(logs) > 1
        assert len(snapshots) > 1
        told: list[int] = []
        for path in logs:
            printed = tool(apache, "persistence.TxnLogToolkit", "-d", str(path))
            assert "CRC" not in printed
            assert re.search(r"EOF reached after \d+ txns", printed)
            told += [int(zxid, 16) for zxid in re.findall(r" zxid 0x([0-9a-f]+) ", printed)]
        assert told == list(range(told[0], told[0] + len(told)))
        assert told[-1] >= max(facts[1][1] for facts in whole.values())
        for path in snapshots:
            printed = tool(apache, "SnapshotFormatter", str(path))
            listed = re.findall(r"^(/.*)$", printed, re.MULTILINE)
            assert "/zookeeper/quota" in listed
        last = {path for path in listed if "\\" not in path}
        assert len(last) > 20
        assert [path for path in last & whole.keys() if not mentions(printed, path, whole[path])] == []


def mentions(printed: str, path: str, facts: NodeFacts) -> bool:
    """Whether the formatter's figures for a node which did not change since are those of the tree."""
    start = printed.index(f"\n{path}\n")
    block = printed[start : start + 700]
    changed = re.search(r"cZxid = 0x([0-9a-f]+)", block)
    return changed is not None and int(changed.group(1), 16) == facts[1][0]


def files(directory: Path, prefix: str) -> list[Path]:
    """The files so named, in the order of their zxids."""
    found = [path for path in directory.iterdir() if path.name.startswith(prefix)]
    return sorted(found, key=lambda path: int(path.name.removeprefix(prefix), 16))


def test_what_is_compared_is_told_apart() -> None:
    stat = Reader(bytes(68)).stat()
    one: dict[str, NodeFacts] = {"/": (b"", stat, [], ("a",)), "/a": (None, stat, [], ())}
    other: dict[str, NodeFacts] = {"/": (b"", stat, [], ("a",)), "/a": (b"", stat, [], ())}
    assert differences(one, dict(one)) == []
    assert [line.partition(":")[0] for line in differences(one, other)] == ["/a"]
    assert [line.partition(":")[0] for line in differences(one, {"/": one["/"]})] == ["/a"]
