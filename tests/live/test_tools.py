"""Our side tools beside Apache's, on the same files: the same zxids, types, paths and figures, the same copies.

The files are those that Apache's servers left, recorded, and those of a server of ours after a workload.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from compare_run import LINES, PROPERTIES, TICK_MS, Comparison
from ensemble import DEBIAN_JARS, ROOT, Ensemble, missing, wait_until

RECORDINGS = ROOT / "tests" / "wire" / "recordings"
DATADIRS = [f"datadir-apache{release}-{end}" for release in ("38", "39") for end in ("kill", "stop", "snap")]
STEPS = 800
UTF8 = [f"-D{name}.encoding=UTF-8" for name in ("file", "stdout", "sun.stdout")]
HEAD = re.compile(r"^.* session 0x([0-9a-f]+) cxid 0x([0-9a-f]+) zxid 0x([0-9a-f]+) (\w+) ?", re.MULTILINE)
NODE = re.compile(
    r"^(/.*)\n  cZxid = 0x(\w+)\n  ctime = .*\n  mZxid = 0x(\w+)\n  mtime = .*\n  pZxid = 0x(\w+)\n"
    r"  cversion = (-?\d+)\n  dataVersion = (-?\d+)\n  aclVersion = (-?\d+)\n"
    r"  ephemeralOwner = 0x(\w+)\n  dataLength = (\d+)$",
    re.MULTILINE,
)
SESSION = re.compile(r"^0x(\w+), (\d+), \d+$", re.MULTILINE)

pytestmark = pytest.mark.live

each_release = pytest.mark.parametrize(
    "apache",
    [
        pytest.param(kind, marks=pytest.mark.skipif(missing(kind) is not None, reason=str(missing(kind))))
        for kind in ("apache38", "apache39")
    ],
)


def theirs(apache: str, name: str, *arguments: str, stdin: str = "", cwd: Path | None = None) -> str:
    """What a tool of Apache's prints; it must end well."""
    jars = os.environ.get("ZK38_CP") or ":".join(DEBIAN_JARS)
    if apache == "apache39":
        jars = os.path.join(os.environ["ZK39_LIB"], "*")
    java = [os.environ.get("JAVA", "java"), "-Xmx128m", "-XX:TieredStopAtLevel=1", *UTF8, "-cp", jars]
    done = subprocess.run(
        [*java, f"org.apache.zookeeper.server.{name}", *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=60,
        check=False,
        input=stdin,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def ours(*arguments: str | Path, status: int = 0) -> str:
    """What the zktw command prints, which must end with this status."""
    command = [sys.executable, "-m", "zktw.tools.main", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=60, check=False, env=environment, cwd=ROOT
    )
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def objects(*arguments: str | Path) -> list[dict[str, Any]]:
    """The same of --json."""
    return [json.loads(line) for line in ours(*arguments, "--json").splitlines()]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a server of ours, after a workload of all kinds of requests."""
    lines = [line for line in LINES if not line.startswith("snapCount")] + ["snapCount=200"]
    kinds = ["zktw", "zktw"]
    with Ensemble(kinds, standalone=True, extra=lines, properties=PROPERTIES, tick_ms=TICK_MS) as ensemble:
        node, other = ensemble.nodes
        ensemble.start(node, other)
        ensemble.wait_serving(node, other)
        wait_until("each stands alone", lambda: all(one.mode() == "standalone" for one in ensemble.nodes))
        Comparison(node, other, 1, keep_going=True).run(STEPS)
        node.term()
        kept = tmp_path_factory.mktemp("ours") / "data"
        shutil.copytree(node.data_dir, kept)
    return kept


each_directory = pytest.mark.parametrize("name", [*DATADIRS, "ours"])


def of_directory(name: str, request: pytest.FixtureRequest, prefix: str) -> list[Path]:
    """The files of a directory that are so named, in the order of their zxids."""
    directory: Path = request.getfixturevalue("written") if name == "ours" else RECORDINGS / name
    found = [path for path in (directory / "version-2").iterdir() if path.name.startswith(prefix)]
    return sorted(found, key=lambda path: int(path.name.removeprefix(prefix), 16))


@each_release
@each_directory
def test_the_same_transactions(apache: str, name: str, request: pytest.FixtureRequest) -> None:
    count = 0
    for path in of_directory(name, request, "log."):
        mine = objects("log", "dump", path)
        count += len(mine)
        printed = theirs(apache, "persistence.TxnLogToolkit", "-d", str(path))
        heads = list(HEAD.finditer(printed))
        numbers = [[int(number, 16) for number in head.groups()[:3]] for head in heads]
        assert numbers == [[int(one["session"], 16), one["cxid"] % 2**64, int(one["zxid"], 16)] for one in mine]
        ends = [head.start() for head in heads[1:]] + [printed.rindex("EOF reached after")]
        for head, end, one in zip(heads, ends, mine, strict=True):
            assert head.group(4).lower() == one["type"].lower()
            assert tells(printed[head.end() : end], one), (one, printed[head.start() : end])
    assert count > 60


def tells(text: str, one: dict[str, Any]) -> bool:
    """Whether Apache's text says the same of a transaction as our fields."""
    if "path" in one:
        return text.removeprefix("'").startswith((f"{one['path']},", f"{one['path']}\n"))
    if "err" in one:
        return text == f"{one['err']}\n"
    if "timeout_ms" in one:
        return text == f"{one['timeout_ms']}\n"
    if "txns" in one:
        # Its parts are printed as bytes, each behind its type.
        parts = ";".join(f"{part['type']}:.*{re.escape(part.get('path', ''))}.*" for part in one["txns"])
        return re.fullmatch(parts, text.removesuffix("\n"), re.DOTALL | re.IGNORECASE) is not None
    return all(path in text for path in one["paths"])


@each_release
@each_directory
def test_the_same_nodes(apache: str, name: str, request: pytest.FixtureRequest) -> None:
    paths = of_directory(name, request, "snapshot.")
    for path in paths:
        head, *records = objects("snapshot", "dump", path)
        nodes = {one["path"]: one for one in records if one["record"] == "node"}
        printed = theirs(apache, "SnapshotFormatter", str(path))
        found = {match.group(1): match.groups()[1:] for match in NODE.finditer(printed)}
        assert found.keys() == nodes.keys()
        assert len(found) == head["nodes"]
        for where, (czxid, mzxid, pzxid, cversion, version, aversion, owner, length) in found.items():
            one = nodes[where]
            assert [int(text, 16) for text in (czxid, mzxid, pzxid, owner)] == [
                int(one[field], 16) for field in ("czxid", "mzxid", "pzxid", "owner")
            ], where
            assert [int(cversion), int(version), int(aversion)] == [
                one["cversion_stored"],
                one["version"],
                one["aversion"],
            ], where
            # It counts quotas anew, and shows the sums that it makes.
            assert int(length) == (one["bytes"] or 0) or where.endswith("zookeeper_stats"), where
        sessions = {int(number, 16): int(timeout) for number, timeout in SESSION.findall(printed)}
        assert sessions == {int(one["session"], 16): one["timeout_ms"] for one in records if one["record"] == "session"}
    assert paths


@each_release
@each_directory
def test_the_same_copy_up_to_a_transaction(
    apache: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = of_directory(name, request, "log.")[0]
    mine = objects("log", "dump", path)
    zxid = int(mine[len(mine) // 2]["zxid"], 16)
    ours("log", "chop", path, hex(zxid), "-o", tmp_path / "ours")
    theirs(apache, "util.LogChopper", str(zxid), str(path), str(tmp_path / "theirs"))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@each_release
def test_the_same_repair_of_checksums(apache: str, tmp_path: Path) -> None:
    path = tmp_path / "log.1"
    content = bytearray((RECORDINGS / DATADIRS[0] / "version-2" / "log.1").read_bytes())
    for one in objects("log", "dump", RECORDINGS / DATADIRS[0])[5:40:7]:
        content[one["offset"] + 6] ^= 1
    path.write_bytes(content)
    ours("log", "dump", path, status=1)
    ours("log", "repair", path, "-o", tmp_path / "ours")
    theirs(apache, "persistence.TxnLogToolkit", "-r", "-y", str(path))
    fixed = (tmp_path / "log.1.fixed").read_bytes()
    mine = (tmp_path / "ours").read_bytes()
    assert fixed[: len(mine)] == mine
    assert not fixed[len(mine) :].strip(b"\0")
    assert "CRC" not in theirs(apache, "persistence.TxnLogToolkit", "-d", str(tmp_path / "ours"))


def test_our_own_directory_is_whole(written: Path) -> None:
    found = json.loads(ours("check", "--json", written))
    assert found["damage"] == []
    assert len(found["snapshots"]) > 2
    assert found["replay"]["digests_compared"] > 200
    assert found["replay"]["snapshots_compared"] > 1
