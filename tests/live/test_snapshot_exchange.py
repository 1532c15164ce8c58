"""Files given from one kind of server to the other: Apache starts on a snapshot of ours, and ours on an empty one's."""

import re
import shutil
from pathlib import Path

import pytest
from ensemble import Ensemble, Node, missing, wait_until

from zktw.storage.datadir import DataDir
from zktw.storage.files import RealFiles
from zktw.storage.recovery import recover
from zktw.storage.snapformat import SnapshotEncoder
from zktw.tree.database import Database

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(missing("apache38") is not None, reason=str(missing("apache38"))),
]


# Its root is counted under two names.
NODES_OF_AN_EMPTY_APACHE = 5


def directory_of(node: Node) -> Path:
    return node.directory / "data" / "version-2"


def ours_in(node: Node) -> DataDir:
    data = str(node.directory / "data")
    datadir = DataDir(RealFiles(), data, data)
    datadir.prepare(True)
    return datadir


def fresh_file() -> bytes:
    """The fresh tree as a whole file."""
    encoder = SnapshotEncoder()
    body = b"".join(Database().image().pieces())
    return encoder.begin() + encoder.add(body) + encoder.end(0, digest=None, last_zxid=None)


def zxid_of(node: Node) -> int:
    found = re.search(r"^Zxid: 0x([0-9a-f]+)$", node.ask("srvr"), re.MULTILINE)
    assert found is not None
    return int(found.group(1), 16)


def test_apache_starts_on_our_snapshot() -> None:
    with Ensemble(["apache38"], standalone=True) as ensemble:
        (apache,) = ensemble.nodes
        # Not 0: an Apache server that took no notice of the file would begin at 0.
        ours_in(apache).put_snapshot(3 << 32, fresh_file())
        ensemble.start(apache)
        ensemble.wait_serving(apache)
        assert apache.mode() == "standalone"
        assert zxid_of(apache) == 3 << 32
        counted = re.search(r"^Node count: (\d+)$", apache.ask("srvr"), re.MULTILINE)
        assert counted is not None
        assert int(counted.group(1)) == NODES_OF_AN_EMPTY_APACHE


def test_apache_starts_on_what_our_first_start_writes() -> None:
    with Ensemble(["apache38"], standalone=True) as ensemble:
        (apache,) = ensemble.nodes
        assert recover(ours_in(apache), Database).last_zxid == 0
        ensemble.start(apache)
        ensemble.wait_serving(apache)
        assert zxid_of(apache) == 0


def test_apache_refuses_our_snapshot_with_a_flipped_bit() -> None:
    """That it reads ours to the seal, so that the other tests mean something."""
    with Ensemble(["apache38"], standalone=True) as ensemble:
        (apache,) = ensemble.nodes
        ours_in(apache).put_snapshot(3 << 32, fresh_file())
        path = directory_of(apache) / "snapshot.300000000"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        ensemble.start(apache)
        wait_until("end or service", lambda: not apache.alive() or bool(apache.mode()))
        assert not apache.alive()
        assert "snapshot.300000000" in apache.log_text()


def test_ours_starts_on_an_empty_apache_server_s_directory() -> None:
    with Ensemble(["apache38", "zktw"], standalone=True) as ensemble:
        apache, ours = ensemble.nodes
        ensemble.start(apache)
        ensemble.wait_serving(apache)
        apache.term()
        left = sorted(path.name for path in directory_of(apache).iterdir())
        assert "snapshot.0" in left
        shutil.copytree(directory_of(apache), directory_of(ours))
        ensemble.start(ours)
        ensemble.wait_serving(ours)
        assert ours.mode() == "standalone"
