"""The simulated disk keeps what was synced, and of the rest what it likes."""

import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from zktw.node.clock import Random
from zktw.sim.disk import SimCrash, SimDisk
from zktw.storage.datadir import DataDir
from zktw.storage.files import IFile, IFiles
from zktw.storage.recovery import Rules, recover
from zktw.storage.txnlog import TxnLog
from zktw.terms.codes import OpCode
from zktw.terms.errors import StorageError
from zktw.tree.database import Database
from zktw.wire.records import OPEN_ACL
from zktw.wire.txn import CreateTxn, TxnHeader, encode_txn


def disk_with_directory(seed: int = 1) -> SimDisk:
    disk = SimDisk(Random(seed))
    disk.make_directory("/d")
    return disk


def test_it_is_what_the_servers_take_for_files() -> None:
    disk = disk_with_directory()
    verifyObject(IFiles, disk)
    disk.write("/d/b", b"text")
    disk.write("/d/a", b"")
    assert disk.read("/d/b") == b"text"
    assert disk.read("/d/b", 2) == b"te"
    assert disk.size("/d/b") == 4
    assert disk.list("/d") == ["a", "b"]
    disk.rename("/d/b", "/d/a")
    assert disk.list("/d") == ["a"]
    assert disk.read("/d/a") == b"text"
    assert disk.exists("/d/a")
    assert not disk.exists("/d/b")
    disk.remove("/d/a")
    for missing in (disk.read, disk.size, disk.sync, disk.remove, disk.list):
        with pytest.raises(FileNotFoundError):
            missing("/d/a")
    disk.full = True
    with pytest.raises(OSError, match="No space") as caught:
        disk.write("/d/c", b"1")
    assert caught.value.errno == errno.ENOSPC


def test_nothing_is_kept_for_sure_that_was_not_synced() -> None:
    """Over many seeds, an unsynced file comes out in every way there is: gone, empty, in part, whole."""
    seen: dict[bytes | None, None] = {}
    for seed in range(300):
        disk = disk_with_directory(seed)
        disk.write("/d/f", b"abc")
        assert disk.durable("/d/f") is None
        disk.lose_power()
        found = disk.read("/d/f") if disk.exists("/d/f") else None
        seen[found] = None
    assert seen.keys() == {None, b"", b"a", b"ab", b"abc"}


def test_a_replaced_file_is_the_old_or_the_new_one() -> None:
    seen: dict[bytes, int] = {}
    for seed in range(100):
        disk = disk_with_directory(seed)
        replace(disk, "/d/f", b"old")
        assert disk.durable("/d/f") == b"old"
        disk.write("/d/new", b"new")
        disk.sync("/d/new")
        disk.rename("/d/new", "/d/f")
        assert disk.read("/d/f") == b"new"
        assert disk.durable("/d/f") == b"old"
        disk.lose_power()
        seen[disk.read("/d/f")] = 1
    assert sorted(seen) == [b"new", b"old"]


def replace(disk: SimDisk, path: str, content: bytes) -> None:
    disk.write(path + ".new", content)
    disk.sync(path + ".new")
    disk.rename(path + ".new", path)
    disk.sync_directory(path.rpartition("/")[0])


@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc")), max_size=40))
def test_what_was_synced_is_there_after_any_crash(seed: int, steps: list[tuple[int, str]]) -> None:
    """durable() is a promise: a name and content that it shows, and that nobody touches, survive."""
    disk = disk_with_directory(seed)
    for number, (step, name) in enumerate(steps):
        path = f"/d/{name}"
        operations: list[Any] = [
            lambda path=path, number=number: disk.write(path, b"%d" % number),
            lambda path=path: disk.sync(path),
            lambda: disk.sync_directory("/d"),
            lambda path=path, number=number: replace(disk, path, b"%d" % number),
        ]
        if step != 1 or disk.exists(path):
            operations[step]()
    promised = {name: disk.durable(f"/d/{name}") for name in "abc"}
    settled = [
        name
        for name in "abc"
        if promised[name] is not None
        and disk.exists(f"/d/{name}")
        and promised[name] == disk.read(f"/d/{name}")
        and steps[-1][0] in (2, 3)
    ]
    disk.lose_power()
    for name in settled:
        assert disk.read(f"/d/{name}") == promised[name]
    # And what is there now is durable, since it was read from the platter.
    for name in "abc":
        assert disk.exists(f"/d/{name}") == (disk.durable(f"/d/{name}") is not None)


class TestHandles:
    def test_they_are_what_the_log_takes_for_files(self) -> None:
        disk = disk_with_directory()
        file = disk.open("/d/f", sync=False)
        verifyObject(IFile, file)
        file.write(0, b"0123456789")
        file.write(4, b"abc")
        file.write(12, b"z")
        assert disk.read("/d/f") == b"0123abc789\0\0z"
        assert disk.read("/d/f", 3, 4) == b"abc"
        assert disk.read("/d/f", offset=11) == b"\0z"
        file.allocate(1000)
        file.allocate(10)
        assert disk.size("/d/f") == 1000
        assert disk.read("/d/f", offset=12) == b"z" + bytes(987)
        file.truncate(5)
        assert disk.read("/d/f") == b"0123a"
        file.close()
        disk.open("/d/f", sync=True).close()
        assert disk.read("/d/f") == b""
        disk.write("/d/f", b"12345")
        disk.sync_directory("/d")
        disk.truncate("/d/f", 2)
        assert disk.durable("/d/f") == b"12"

    def test_with_sync_a_write_lasts(self) -> None:
        for seed in range(50):
            disk = disk_with_directory(seed)
            file = disk.open("/d/f", sync=True)
            disk.sync_directory("/d")
            file.write(0, b"abc")
            file.allocate(6)
            file.write(3, b"d")
            disk.lose_power()
            assert disk.read("/d/f") == b"abcd\0\0"

    def test_without_it_any_beginning_of_what_was_done_may_be_left(self) -> None:
        seen = set()
        for seed in range(400):
            disk = disk_with_directory(seed)
            file = disk.open("/d/f", sync=False)
            disk.sync_directory("/d")
            file.write(0, b"ab")
            file.sync()
            file.write(2, b"cd")
            file.allocate(6)
            file.write(4, b"ef")
            disk.lose_power()
            seen.add(disk.read("/d/f"))
        assert seen == {b"ab", b"abc", b"abcd", b"abcd\0\0", b"abcde\0", b"abcdef"}

    def test_a_crash_in_the_middle_of_a_write_leaves_any_part_of_it(self) -> None:
        seen = set()
        for seed in range(200):
            disk = disk_with_directory(seed)
            file = disk.open("/d/f", sync=True)
            disk.sync_directory("/d")
            file.write(0, b"ab")

            def dies(operation: str, path: str) -> None:
                raise SimCrash

            disk.before = dies
            with pytest.raises(SimCrash):
                file.write(2, b"cd")
            if seed % 2:
                disk.lose_power()
            seen.add(disk.read("/d/f"))
        assert seen == {b"ab", b"abc", b"abcd"}

    def test_a_full_disk_takes_what_has_its_room_already(self) -> None:
        disk = disk_with_directory()
        file = disk.open("/d/f", sync=True)
        file.allocate(4)
        disk.full = True
        file.write(0, b"abcd")
        for offset, data in ((4, b"e"), (3, b"de")):
            with pytest.raises(OSError, match="No space"):
                file.write(offset, data)
        with pytest.raises(OSError, match="No space"):
            file.allocate(5)
        assert disk.read("/d/f") == b"abcd"

    def test_a_byte_rots(self) -> None:
        disk = disk_with_directory()
        file = disk.open("/d/f", sync=True)
        disk.sync_directory("/d")
        file.write(0, b"abc")
        disk.flip_byte("/d/f", 1)
        assert disk.read("/d/f") == disk.durable("/d/f") == bytes([0x61, 0x62 ^ 0xFF, 0x63])


def create(zxid: int) -> bytes:
    header = TxnHeader(1, zxid, zxid, zxid, OpCode.CREATE)
    return encode_txn(header, CreateTxn(f"/{zxid}", b"x" * (zxid % 7 * 30), OPEN_ACL, False, zxid), None)


def recovered(disk: SimDisk) -> tuple[int, list[int]]:
    """The last zxid, and the transactions whose nodes are there."""
    datadir = DataDir(disk, "/d", "/d")
    datadir.prepare(True)
    found = recover(datadir, Database, Rules(epochs=False))
    nodes = sorted(int(path[1:]) for path in found.database.tree.nodes if path[1:].isdigit())
    return found.last_zxid, nodes


@pytest.mark.parametrize("power_cut", [True, False], ids=["power cut", "kill"])
def test_a_log_on_it_keeps_what_was_acknowledged(power_cut: bool) -> None:
    """Lives that end at any operation and in the middle of writes, one after the other on one disk."""
    torn = lives = 0
    for seed in range(60):
        disk = disk_with_directory(seed)
        random = Random(seed)
        last = promised = 0
        for _ in range(6):
            disk.before = lambda operation, path: None
            if power_cut:
                disk.lose_power()
            last, nodes = recovered(disk)
            assert last >= promised
            assert nodes == list(range(1, last + 1))
            torn += last > promised
            promised = last
            due = disk.operations + random.randint(1, 15)

            def dies(operation: str, path: str, due: int = due, disk: SimDisk = disk) -> None:
                if disk.operations >= due:
                    raise SimCrash

            disk.before = dies
            log = TxnLog(DataDir(disk, "/d", "/d"), preallocate_bytes=4096, size_limit_bytes=1500)
            try:
                while True:
                    batch = [(zxid, create(zxid)) for zxid in range(last + 1, last + random.randint(2, 6))]
                    log.append(batch)
                    last = promised = batch[-1][0]
            except SimCrash:
                lives += 1
    assert lives == 360
    assert torn > 20, "some crashes left a part of a batch"


def test_a_rotten_byte_is_refused_or_was_behind_all_that_counts() -> None:
    """Only in the newest log's last entry can it pass for a crash's tail."""
    refused = []
    kept = set()
    for place in range(0, 2000, 7):
        disk = disk_with_directory()
        recovered(disk)
        log = TxnLog(DataDir(disk, "/d", "/d"), preallocate_bytes=1024)
        log.append([(zxid, create(zxid)) for zxid in range(1, 11)])
        log.close()
        if place >= disk.size("/d/version-2/log.1"):
            break
        disk.flip_byte("/d/version-2/log.1", place)
        try:
            last, nodes = recovered(disk)
        except StorageError as error:
            refused.append(str(error))
            continue
        assert nodes == list(range(1, last + 1))
        kept.add(last)
    assert all(text.startswith("/d/version-2/log.1: damaged at byte ") for text in refused)
    assert len(refused) > 100
    assert kept == {9, 10}


def test_a_disk_that_reorders_leaves_any_sectors_of_the_write_it_died_in() -> None:
    left = set()
    for seed in range(40):
        disk = SimDisk(Random(seed))
        disk.reorders = True
        file = disk.open("/log", sync=True)
        file.allocate(2048)
        disk.sync_directory("/")

        def before(operation: str, path: str) -> None:
            raise SimCrash

        disk.before = before
        with pytest.raises(SimCrash):
            file.write(500, b"x" * 1000)
        disk.lose_power()
        content = disk.read("/log")
        assert len(content) == 2048
        left.add(tuple(set(content[begin:end]) for begin, end in ((500, 512), (512, 1024), (1024, 1500))).__repr__())
    # Of three sectors any may be there.
    assert len(left) == 8
