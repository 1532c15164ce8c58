"""Snapshotter: slices on the reactor, pieces in flight; in the end a durable file or nothing. Threads are played."""

import errno
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from heldworker import HeldWorker
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Reactor

from zktw.node.clock import Clock, Random
from zktw.sim.disk import SimDisk
from zktw.storage.datadir import NEW_PREFIX, DataDir
from zktw.storage.recovery import Rules, recover
from zktw.storage.snapshots import SLICES_AHEAD_MAX, Snapshotter
from zktw.terms.codes import OpCode
from zktw.tree.database import Database
from zktw.tree.image import Image
from zktw.wire.records import OPEN_ACL
from zktw.wire.txn import CreateTxn, TxnHeader, encode_txn

DIRECTORY = "/d/version-2"
# More than rounding makes of the present moment.
TURN_S = 1e-6


def filled(count: int) -> Database:
    database = Database()
    for zxid in range(1, count + 1):
        header = TxnHeader(1, zxid, zxid, zxid, OpCode.CREATE)
        database.replay(encode_txn(header, CreateTxn(f"/n{zxid}", b"x" * 20, OPEN_ACL, False, zxid), None))
    return database


class Bench:
    """A snapshotter, its disk, thread and reactor, and what it has told."""

    def __init__(self, **options: Any) -> None:
        self.disk = SimDisk(Random(1))
        self.datadir = DataDir(self.disk, "/d", "/d")
        self.datadir.prepare(True)
        self.worker = HeldWorker()
        self.reactor = Reactor()
        self.snapshotter = Snapshotter(self.datadir, self.worker, Clock(self.reactor), **options)
        self.told: list[Any] = []

    def take(self, image: Image) -> None:
        self.snapshotter.take(image).addBoth(self.told.append)

    def run(self) -> None:
        """Let thread and reactor do all there is."""
        while self.worker.held or self.reactor.getDelayedCalls():
            if self.worker.held:
                self.worker.let()
            self.reactor.advance(TURN_S)

    def names(self) -> list[str]:
        return self.disk.list(DIRECTORY)


@pytest.mark.parametrize("compression", ["", "gz", "snappy"])
@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("serialize", [True, False])
def test_what_is_taken_is_recovered(compression: str, digest: bool, serialize: bool) -> None:
    bench = Bench(compression=compression, digest=digest, serialize_last_zxid=serialize)
    database = filled(1234)
    bench.take(database.image())
    assert bench.snapshotter.busy
    bench.run()
    name = "snapshot.4d2" + (f".{compression}" if compression else "")
    assert bench.told == [f"{DIRECTORY}/{name}"]
    assert not bench.snapshotter.busy
    bench.disk.lose_power()
    assert bench.names() == [name]
    recovered = recover(bench.datadir, Database, Rules(epochs=False))
    assert recovered.last_zxid == 1234
    assert recovered.database.tree.nodes == database.tree.nodes
    assert recovered.database.digest_mismatches == 0


def test_the_one_that_was_taken_last_is_the_newest() -> None:
    """A leader's tree may be older than what we had; until it is there, ours is not touched."""
    bench = Bench()
    for count in (30, 20, 10):
        bench.take(filled(count).image())
        bench.worker.let()
        if count < 30:
            assert bench.names()[-1] == f"zktw-new.snapshot.{count:x}"
            assert len(bench.names()) == 2
        bench.run()
        assert bench.names() == [f"snapshot.{count:x}"]
    bench.take(filled(15).image())
    bench.run()
    assert bench.names() == ["snapshot.a", "snapshot.f"]


def test_what_happens_meanwhile_is_not_in_it() -> None:
    bench = Bench()
    database = filled(500)
    bench.take(database.image())
    bench.worker.let()
    header = TxnHeader(1, 501, 501, 501, OpCode.CREATE)
    database.replay(encode_txn(header, CreateTxn("/late", b"", OPEN_ACL, False, 501), None))
    bench.run()
    recovered = recover(bench.datadir, Database, Rules(epochs=False))
    assert "/late" not in recovered.database.tree.nodes
    assert len(recovered.database.tree.nodes) == len(database.tree.nodes) - 1


def test_the_reactor_is_only_a_little_ahead_of_the_disk() -> None:
    bench = Bench()
    bench.take(filled(12_000).image())
    bench.reactor.advance(TURN_S)
    assert len(bench.worker.held) <= 1, "nothing is encoded before the file is there"
    seen = set()
    while bench.told == []:
        bench.worker.let()
        bench.reactor.advance(TURN_S)
        seen.add(len(bench.worker.held))
    # The last slice is followed at once by what ends the file.
    assert max(seen) in (SLICES_AHEAD_MAX, SLICES_AHEAD_MAX + 1)


def test_a_slice_has_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece takes 0.7 ms here, so three fit."""
    bench = Bench()
    image = filled(2000).image()
    pieces = Image.pieces
    handed: list[float] = []
    run = bench.worker.run

    def slow(self: Image, count: int = 500) -> Any:
        for piece in pieces(self, count):
            bench.reactor.rightNow += 0.0007
            yield piece

    def noted(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        handed.append(bench.reactor.seconds())
        return run(function, *args)

    monkeypatch.setattr(Image, "pieces", slow)
    monkeypatch.setattr(bench.worker, "run", noted)
    bench.take(image)
    bench.run()
    slices = [after - before for before, after in itertools.pairwise(handed)]
    assert 0.0019 < max(slices) < 0.0029
    assert len(slices) > 5


@pytest.mark.parametrize("steps", [0, 1, 3, 4])
def test_one_that_is_abandoned_leaves_nothing(steps: int) -> None:
    bench = Bench()
    bench.take(filled(12_000).image())
    for _ in range(steps):
        bench.worker.let()
        bench.reactor.advance(TURN_S)
    assert bench.told == []
    bench.snapshotter.abandon()
    bench.run()
    assert bench.told == [None]
    assert bench.names() == []
    bench.take(filled(3).image())
    bench.run()
    assert bench.names() == ["snapshot.3"]
    bench.snapshotter.abandon()


def test_the_end_of_one_is_not_taken_back() -> None:
    bench = Bench()
    bench.take(filled(1).image())
    bench.worker.let()
    bench.reactor.advance(TURN_S)
    while len(bench.worker.held) > 1:
        bench.worker.let()
    bench.snapshotter.abandon()
    bench.run()
    assert bench.told == [f"{DIRECTORY}/snapshot.1"]


def test_only_one_at_a_time() -> None:
    bench = Bench()
    bench.take(filled(1).image())
    with pytest.raises(AssertionError):
        bench.snapshotter.take(filled(2).image())


def count_of_operations() -> int:
    bench = Bench()
    before = bench.disk.operations
    bench.take(filled(1000).image())
    bench.run()
    return bench.disk.operations - before


@pytest.mark.parametrize("at", range(count_of_operations()))
def test_a_disk_that_fails_once_is_told_and_leaves_nothing(at: int) -> None:
    """Whichever operation it is, and with pieces under way behind it: with one missing there must be no snapshot."""
    bench = Bench()
    due = bench.disk.operations + at + 1

    def before(operation: str, path: str) -> None:
        if bench.disk.operations == due:
            raise OSError(errno.EIO, "Input/output error")

    bench.disk.before = before
    bench.take(filled(1000).image())
    bench.run()
    (failure,) = bench.told
    assert failure.getErrorMessage() == f"{DIRECTORY}/snapshot.3e8: cannot be written: Input/output error"
    last = at == count_of_operations() - 1
    # The last one makes the name durable: the file is whole, and may stay.
    assert bench.names() == (["snapshot.3e8"] if last else [])
    assert not bench.snapshotter.busy
    bench.take(filled(2).image())
    bench.run()
    assert "snapshot.2" in bench.names()


def test_a_power_cut_leaves_it_whole_or_not_at_all() -> None:
    for cut in range(1, count_of_operations() + 1):
        bench = Bench()
        bench.take(filled(1000).image())
        due = bench.disk.operations + cut
        while bench.worker.held and bench.disk.operations < due:
            bench.worker.let()
            bench.reactor.advance(TURN_S)
        bench.disk.lose_power()
        whole = "snapshot.3e8" in bench.names()
        assert whole or all(name.startswith(NEW_PREFIX) for name in bench.names())
        recovered = recover(bench.datadir, Database, Rules(epochs=False))
        assert recovered.last_zxid == (1000 if whole else 0)
        assert [name for name in bench.names() if name.startswith(NEW_PREFIX)] == []
