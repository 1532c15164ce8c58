"""The simulated disk keeps what was synced, and of the rest what it likes."""

import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from zktw.node.clock import Random
from zktw.sim.disk import SimDisk
from zktw.storage.files import IFiles


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
