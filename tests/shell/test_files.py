"""RealFiles: the file system behind IFiles, and that a DataDir on it survives what a DataDir must."""

import os
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from zktw.storage.datadir import DataDir, Recovered
from zktw.storage.files import IFiles, RealFiles
from zktw.terms.errors import StorageError


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
    assert datadir.load(True) == Recovered(0, 0, 0)
    datadir.write_epoch("acceptedEpoch", 12)
    datadir.write_epoch("currentEpoch", 12)
    assert datadir.load(True) == Recovered(0, 12, 12)
    assert sorted(path.name for path in (tmp_path / "new" / "data" / "version-2").iterdir()) == [
        "acceptedEpoch",
        "currentEpoch",
        "snapshot.0",
    ]


def test_a_file_in_the_way_is_named(files: RealFiles, tmp_path: Path) -> None:
    (tmp_path / "version-2").touch()
    datadir = DataDir(files, str(tmp_path), str(tmp_path))
    datadir.prepare(True)
    with pytest.raises(StorageError, match=rf"^{tmp_path}/version-2: Not a directory$"):
        datadir.load(True)
