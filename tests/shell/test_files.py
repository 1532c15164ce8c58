"""RealFiles: the file system behind IFiles, and that a DataDir on it survives what a DataDir must."""

import errno
import os
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from zktw.storage.datadir import DataDir
from zktw.storage.files import IFile, IFiles, RealFiles
from zktw.storage.recovery import recover
from zktw.terms.errors import StorageError
from zktw.tree.database import Database


@pytest.fixture
def files() -> RealFiles:
    return RealFiles()


def test_it_is_files(files: RealFiles) -> None:
    assert verifyObject(IFiles, files)


def test_reading_and_writing(files: RealFiles, tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    files.write(path, b"0123456789")
    files.write(path, b"abc")
    assert files.read(path) == b"abc"
    assert files.read(path, 2) == b"ab"
    assert files.size(path) == 3
    files.sync(path)
    files.rename(path, str(tmp_path / "b"))
    files.sync_directory(str(tmp_path))
    assert not files.exists(path)
    files.make_directory(str(tmp_path / "c" / "d"))
    files.make_directory(str(tmp_path / "c" / "d"))
    assert files.list(str(tmp_path)) == ["b", "c"]
    files.remove(str(tmp_path / "b"))
    assert files.list(str(tmp_path)) == ["c"]


@pytest.mark.parametrize("sync", [True, False])
def test_an_open_file(files: RealFiles, tmp_path: Path, sync: bool) -> None:
    path = str(tmp_path / "a")
    files.write(path, b"older")
    before = len(os.listdir("/proc/self/fd"))
    file = files.open(path, sync=sync)
    assert verifyObject(IFile, file)
    assert files.size(path) == 0
    file.write(3, b"abc")
    file.allocate(100_000)
    file.allocate(10)
    assert files.size(path) == 100_000
    assert os.stat(path).st_blocks * 512 >= 100_000, "room on the disk, not a hole"
    file.write(6, b"def")
    file.sync()
    assert files.read(path, 12) == b"\0\0\0abcdef\0\0\0"
    assert files.read(path, 4, 5) == b"cdef"
    assert files.read(path, offset=99_999) == b"\0"
    file.truncate(5)
    file.close()
    assert files.read(path) == b"\0\0\0ab"
    files.truncate(path, 4)
    assert files.read(path) == b"\0\0\0a"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_may_only_be_read_is_made_durable(
    files: RealFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "a")
    files.write(path, b"put back from a backup")
    system_open = os.open

    def open_to_read(path: str, flags: int) -> int:
        # As the system does for everybody but root.
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return system_open(path, flags)

    monkeypatch.setattr(os, "open", open_to_read)
    files.sync(path)
    with pytest.raises(PermissionError):
        files.truncate(path, 0)


def test_a_directory_is_writable_or_not(files: RealFiles, tmp_path: Path) -> None:
    assert files.is_writable(str(tmp_path))
    assert not files.is_writable(str(tmp_path / "missing"))


def test_with_sync_the_system_is_asked_for_it_at_each_write(files: RealFiles, tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    for sync in (True, False):
        file = files.open(path, sync=sync)
        links = {link: os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
        (descriptor,) = [link.name for link, target in links.items() if target == path]
        flags = Path(f"/proc/self/fdinfo/{descriptor}").read_text().split("flags:")[1].split()[0]
        assert bool(int(flags, 8) & os.O_DSYNC) == sync
        file.close()


def test_a_write_that_the_system_takes_in_parts(
    files: RealFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:3], offset))
    file = files.open(str(tmp_path / "a"), sync=True)
    file.write(2, b"0123456789")
    file.close()
    assert files.read(str(tmp_path / "a")) == b"\0\x000123456789"


def test_a_file_system_that_cannot_reserve(files: RealFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(descriptor: int, offset: int, size: int) -> None:
        raise OSError(code, "no")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    file = files.open(str(tmp_path / "a"), sync=True)
    code = errno.EOPNOTSUPP
    file.allocate(5000)
    file.allocate(100)
    assert files.read(str(tmp_path / "a")) == bytes(5000)
    code = errno.ENOSPC
    with pytest.raises(OSError, match="no"):
        file.allocate(9000)
    file.close()


def test_failures_are_the_system_s(files: RealFiles, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for operation in (files.read, files.sync, files.sync_directory, files.remove, files.list, files.size):
        with pytest.raises(FileNotFoundError):
            operation(missing)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        files.sync_directory(str(tmp_path / "file"))


def test_both_syncs_reach_the_system(files: RealFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no descriptor is left open."""
    synced: list[str] = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    (tmp_path / "file").touch()
    before = len(os.listdir("/proc/self/fd"))
    files.sync(str(tmp_path / "file"))
    files.sync_directory(str(tmp_path))
    assert synced == [str(tmp_path / "file"), str(tmp_path)]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_server_s_directory_from_start_to_start(files: RealFiles, tmp_path: Path) -> None:
    datadir = DataDir(files, str(tmp_path / "new" / "data"), str(tmp_path / "new" / "logs"))
    datadir.prepare(True)
    assert recover(datadir, Database).current_epoch == 0
    datadir.write_epoch("acceptedEpoch", 12)
    datadir.write_epoch("currentEpoch", 12)
    recovered = recover(datadir, Database)
    assert (recovered.last_zxid, recovered.current_epoch, recovered.accepted_epoch) == (0, 12, 12)
    assert sorted(path.name for path in (tmp_path / "new" / "data" / "version-2").iterdir()) == [
        "acceptedEpoch",
        "currentEpoch",
        "snapshot.0",
    ]


def test_a_file_in_the_way_is_named(files: RealFiles, tmp_path: Path) -> None:
    (tmp_path / "version-2").touch()
    datadir = DataDir(files, str(tmp_path), str(tmp_path))
    with pytest.raises(StorageError, match=rf"^{tmp_path}/version-2: Not a directory$"):
        datadir.prepare(True)
