"""An end before any file operation: what was promised is kept, and no start finds anything that was never so.

A power cut loses what was not synced; a killed process loses nothing yet, but leaves it to the next power cut.

D1 and D2 are the wire document's names: acceptedEpoch >= currentEpoch >= epoch of the history, and neither epoch ever
decreases.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_files import MemoryFiles, PowerCut
from wholefiles import fresh_body, snapshot_file

from zktw.storage.datadir import NEW_PREFIX, DataDir
from zktw.storage.recovery import recover
from zktw.terms.zxid import epoch_of
from zktw.tree.database import Database
from zktw.wire.effects import EpochName

DATA = "/data/version-2"
BODY = fresh_body(b"server.1=h:1:2:participant\nversion=0")


@dataclass
class Found:
    """The numbers that a server starts with."""

    last_zxid: int
    current_epoch: int
    accepted_epoch: int


def start(files: MemoryFiles) -> Found:
    datadir = DataDir(files, "/data", "/data")
    datadir.prepare(True)
    recovered = recover(datadir, Database)
    return Found(recovered.last_zxid, recovered.current_epoch, recovered.accepted_epoch)


def established() -> tuple[MemoryFiles, DataDir]:
    """A server that has lived through epoch 9."""
    files = MemoryFiles()
    files.put(f"{DATA}/snapshot.900000000", snapshot_file(BODY))
    files.put(f"{DATA}/acceptedEpoch", b"9")
    files.put(f"{DATA}/currentEpoch", b"9")
    return files, DataDir(files, "/data", "/data")


# Files as they are before, and what is then done to them.
Making = Callable[[], tuple[MemoryFiles, Callable[[], object]]]


def done_by(make: Making) -> list[tuple[str, str]]:
    files, act = make()
    act()
    return files.operations


def every_crash(make: Making) -> list[tuple[int, MemoryFiles]]:
    """Each state that a power cut can leave: operations done, and the files after the power is back."""
    left = []
    for cut_after in range(len(done_by(make)) + 1):
        files, act = make()
        files.cut_after = cut_after
        with suppress(PowerCut):
            act()
        for index in range(len(list(files.losses()))):
            copy, again = make()
            copy.cut_after = cut_after
            with suppress(PowerCut):
                again()
            copy.lose_power(*list(copy.losses())[index])
            left.append((cut_after, copy))
    return left


@pytest.mark.parametrize("name", ["acceptedEpoch", "currentEpoch"])
def test_an_epoch_is_the_old_or_the_new_one_never_garbage(name: EpochName) -> None:
    def make() -> tuple[MemoryFiles, Callable[[], object]]:
        files, datadir = established()
        return files, lambda: datadir.write_epoch(name, 10)

    done = len(done_by(make))
    found = []
    for cut_after, files in every_crash(make):
        text = files.read(f"{DATA}/{name}")
        assert text in ((b"10",) if cut_after == done else (b"9", b"10"))
        found.append(text)
    assert {b"9", b"10"} == set(found)


def test_a_snapshot_is_there_or_not_never_a_part() -> None:
    def make() -> tuple[MemoryFiles, Callable[[], object]]:
        files, datadir = established()
        return files, lambda: datadir.put_snapshot(10 << 32, snapshot_file(BODY))

    done = len(done_by(make))
    for cut_after, files in every_crash(make):
        if cut_after == done:
            assert files.exists(f"{DATA}/snapshot.a00000000")
        if files.exists(f"{DATA}/snapshot.a00000000"):
            assert files.read(f"{DATA}/snapshot.a00000000") == snapshot_file(BODY)
        assert start(files).last_zxid == (10 << 32 if files.exists(f"{DATA}/snapshot.a00000000") else 9 << 32)


def test_a_first_start_that_was_cut_off_is_a_first_start_again() -> None:
    def make() -> tuple[MemoryFiles, Callable[[], object]]:
        files = MemoryFiles()
        return files, lambda: start(files)

    for _, files in every_crash(make):
        assert start(files) == Found(0, 0, 0)
        assert files.list(DATA) == ["acceptedEpoch", "currentEpoch", "snapshot.0"]


def test_mending_the_epoch_can_itself_be_cut_off() -> None:
    """History of epoch 9 behind epoch 7: the state of a crash between synchronised history and its epoch."""

    def make() -> tuple[MemoryFiles, Callable[[], object]]:
        files, _ = established()
        files.put(f"{DATA}/currentEpoch", b"7")
        files.put(f"{DATA}/acceptedEpoch", b"8")
        return files, lambda: start(files)

    written = [path for operation, path in done_by(make) if operation == "rename"]
    assert written == [f"{DATA}/acceptedEpoch", f"{DATA}/currentEpoch"]
    for _, files in every_crash(make):
        accepted, current = int(files.read(f"{DATA}/acceptedEpoch")), int(files.read(f"{DATA}/currentEpoch"))
        assert accepted >= current
        assert start(files) == Found(9 << 32, 9, 9)


@pytest.mark.parametrize("name", ["acceptedEpoch", "currentEpoch"])
def test_what_a_start_has_found_a_power_cut_does_not_take_away(name: EpochName) -> None:
    """The process before died between rename and sync: its word is read, so it must be made to last."""
    for cut_after in range(5):
        files, datadir = established()
        if name == "currentEpoch":
            files.put(f"{DATA}/acceptedEpoch", b"10")
        files.cut_after = cut_after
        with suppress(PowerCut):
            datadir.write_epoch(name, 10)
        files.cut_after = None
        found = start(files)
        files.lose_power(0, lambda durable, now: durable)
        assert start(files) == found


@dataclass
class Promised:
    """What a server has said to others on the strength of its files."""

    accepted: int = 0
    current: int = 0
    zxid: int = 0


def follow(files: MemoryFiles, epoch: int, snap: bool, promised: Promised) -> None:
    """A learner's writes of one term of office, in its order; each promise is made once the write has returned."""
    datadir = DataDir(files, "/data", "/data")
    datadir.write_epoch("acceptedEpoch", epoch)
    promised.accepted = epoch
    if snap:
        datadir.put_snapshot(epoch << 32, snapshot_file(BODY))
        promised.zxid = epoch << 32
    datadir.write_epoch("currentEpoch", epoch)
    promised.current = epoch


@given(data=st.data())
def test_a_life_with_crashes_keeps_d1_and_d2(data: st.DataObject) -> None:
    files = MemoryFiles()
    promised = Promised()
    epoch = 0
    for _ in range(data.draw(st.integers(1, 4), label="lives")):
        files.operations.clear()
        files.cut_after = data.draw(st.integers(0, 30), label="operations until the power cut")
        try:
            recovered = start(files)
            for _ in range(data.draw(st.integers(0, 3), label="terms")):
                epoch = max(epoch, recovered.accepted_epoch) + data.draw(st.integers(1, 3), label="step")
                follow(files, epoch, data.draw(st.booleans(), label="snap"), promised)
        except PowerCut:
            pass
        files.cut_after = None
        if data.draw(st.booleans(), label="power cut"):
            files.lose_power(*data.draw(st.sampled_from(list(files.losses())), label="what is left"))

        recovered = start(files)
        assert recovered.accepted_epoch >= recovered.current_epoch >= epoch_of(recovered.last_zxid) >= 0
        assert recovered.accepted_epoch >= promised.accepted
        assert recovered.current_epoch >= promised.current
        assert recovered.last_zxid >= promised.zxid
        assert recovered.accepted_epoch <= epoch, "an epoch that nobody wrote"
        assert not [name for name in files.list(DATA) if name.startswith(NEW_PREFIX)]
        assert start(files) == recovered, "what a start has found, the next finds too"
        promised = Promised(recovered.accepted_epoch, recovered.current_epoch, recovered.last_zxid)
