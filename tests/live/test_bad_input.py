"""Garbage on every port of a running ensemble: that one connection ends with one line, and nobody else notices."""

import re
import socket
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from ensemble import HOST, ROOT, Ensemble, Node, wait_until

pytestmark = pytest.mark.live

OPENING = struct.pack(">qqi", -65536, 77, 14) + b"127.0.0.1:3888"
FOLLOWERINFO = struct.pack(">iqi", 11, 0, 20) + struct.pack(">qiq", 77, 0x10000, 0) + struct.pack(">i", -1)

ELECTION = {
    "noise": b"\xde\xad\xbe\xef" * 64,
    "unknown version": struct.pack(">qqi", -4, 1, 4) + b"a:12",
    "no address": struct.pack(">qqi", -65536, 1, 0),
    "long address": struct.pack(">qqi", -65536, 1, 1 << 30) + b"x" * 100,
    "address that is none": struct.pack(">qqi", -65536, 1, 4) + b"nono",
    "huge frame": OPENING + struct.pack(">i", 1 << 30),
    "negative frame": OPENING + struct.pack(">i", -5),
    "short notification": OPENING + struct.pack(">i", 12) + b"x" * 12,
    "unknown state": OPENING + struct.pack(">i", 28) + struct.pack(">iqqq", 9, 1, 0, 1),
    "long configuration": OPENING + struct.pack(">i", 44) + struct.pack(">iqqqqii", 0, 1, 0, 1, 0, 2, 1 << 20),
}
QUORUM = {
    "noise": b"\xde\xad\xbe\xef" * 64,
    "unknown packet": struct.pack(">iqii", 99, 0, -1, -1),
    "impossible length": struct.pack(">iqi", 11, 0, 1 << 30),
    "negative length": struct.pack(">iqi", 11, 0, -7),
    "many identities": struct.pack(">iqii", 11, 0, -1, 1 << 30),
    "out of turn": struct.pack(">iqii", 3, 0, -1, -1),
    "no name, old protocol": struct.pack(">iqii", 11, 0, -1, -1),
    "a request": FOLLOWERINFO + struct.pack(">iqii", 1, -1, -1, -1),
    "wrong acknowledgement": FOLLOWERINFO + struct.pack(">iqii", 3, 5, -1, -1),
}
CLIENT = {
    "noise": b"\xde\xad\xbe\xef" * 64,
    "negative frame": struct.pack(">i", -5),
    "huge frame": struct.pack(">i", 1 << 30),
    "web browser": b"GET / HTTP/1.1\r\nHost: zk\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


def is_closed_by(port: int, data: bytes) -> bool:
    with socket.create_connection((HOST, port), 5) as cnxn:
        cnxn.settimeout(5)
        try:
            cnxn.sendall(data)
            while cnxn.recv(4096):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
    return True


def has_logged_since(node: Node, lines: int) -> bool:
    return len(node.log_text().splitlines()) > lines


def epochs(ensemble: Ensemble) -> list[str]:
    return [re.findall(r"^Epoch: .*$", node.ask("srvr"), re.M)[0] for node in ensemble.nodes]


def test_nobody_else_notices() -> None:
    with Ensemble(["zktw"] * 3) as ensemble:
        ensemble.start()
        ensemble.wait_serving()
        leader = ensemble.wait_leader()
        before = epochs(ensemble)
        for node in (leader, next(node for node in ensemble.nodes if node is not leader)):
            own_sid = {"its own sid": struct.pack(">qqi", -65536, node.sid, 14) + b"127.0.0.1:3888"}
            attacks = [(node.client_port, CLIENT), (node.election_port, ELECTION | own_sid)]
            attacks += [(node.quorum_port, QUORUM)] if node is leader else []
            for port, kinds in attacks:
                for name, data in kinds.items():
                    lines = len(node.log_text().splitlines())
                    assert is_closed_by(port, data), f"{name} is not closed"
                    wait_until(f"a line about {name}", partial(has_logged_since, node, lines), 5)
        assert epochs(ensemble) == before
        assert [node.mode() for node in ensemble.nodes].count("leader") == 1
        for node in ensemble.nodes:
            assert "Traceback" not in node.log_text()
            assert node.log_text().count("looking for a leader") == 1


def zkq(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    twistd = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
    command = [sys.executable, "-c", twistd, "-n", "--pidfile=", "zkq", "-c", str(config), *arguments]
    return subprocess.run(
        command,
        cwd=config.parent,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("clientPort=2181\n", "zkq: {}: dataDir: dataDir is not set\n"),
        ("dataDir=/d\ntickTime=two\n", "zkq: {}: tickTime=two: not a number\n"),
        (None, "zkq: {}: cannot be read: No such file or directory\n"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, text: str | None, line: str) -> None:
    config = tmp_path / "zoo.cfg"
    if text is not None:
        config.write_text(text)
    for arguments in ((), ("--check",)):
        done = zkq(config, *arguments)
        assert (done.returncode, done.stderr, done.stdout) == (2, line.format(config), "")


def test_a_check_says_what_a_configuration_means(tmp_path: Path) -> None:
    config = tmp_path / "zoo.cfg"
    config.write_text(f"dataDir={tmp_path}\nclientPort=2181\nfoo=bar\n")
    done = zkq(config, "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "mode: standalone" in done.stdout
    assert "foo=bar" in done.stdout
    assert not (tmp_path / "version-2").exists()


def ends(node: Node) -> bool:
    return not node.alive()


@pytest.mark.parametrize(
    ("damage", "status", "words"),
    [("currentEpoch", 3, "currentEpoch: damaged at byte 0"), ("port", 1, "cannot bind the client port")],
)
def test_what_can_not_be_used_ends_the_process(damage: str, status: int, words: str) -> None:
    with Ensemble(["zktw"], quorum=True, extra=["standaloneEnabled=false"]) as ensemble, socket.socket() as taken:
        (node,) = ensemble.nodes
        if damage == "port":
            taken.bind((HOST, node.client_port))
            taken.listen()
        else:
            (node.data_dir / "version-2").mkdir()
            (node.data_dir / "version-2" / damage).write_text("seven")
        ensemble.start()
        wait_until("its end", lambda: ends(node), 20)
        assert node.process is not None
        assert node.process.returncode == status
        assert words in node.log_text()
        assert "Traceback" not in node.log_text()
