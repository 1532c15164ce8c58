"""The simulated reactor, its threads and its names."""

import pytest
from simulated import Pair
from twisted.internet.error import AlreadyCancelled
from zope.interface.verify import verifyObject

from zktw.node.clock import Random
from zktw.sim.disk import SimCrash, SimDisk
from zktw.sim.reactor import SimWorker
from zktw.storage.files import IWorker


def test_calls_come_at_their_time_and_equal_times_in_their_order() -> None:
    pair = Pair()
    reactor = pair.one.reactor
    rung: list[tuple[str, float]] = []
    for name, delay in (("c", 0.2), ("a", 0.1), ("b", 0.1), ("never", 0.15), ("moved", 0.05)):
        call = reactor.callLater(delay, lambda name=name: rung.append((name, reactor.seconds())))
        if name == "never":
            call.cancel()
            assert not call.active()
            with pytest.raises(AlreadyCancelled):
                call.cancel()
        if name == "moved":
            call.reset(0.3)
            assert call.active()
            assert call.getTime() == pytest.approx(0.3)
    pair.run()
    assert [name for name, _ in rung] == ["a", "b", "c", "moved"]
    assert [at for _, at in rung] == pytest.approx([0.1, 0.1, 0.2, 0.3])


def test_clocks_of_hosts_differ_and_run_alike() -> None:
    pair = Pair()
    pair.run(3)
    assert pair.one.reactor.seconds() == pytest.approx(3)
    assert pair.two.reactor.seconds() == pytest.approx(5003)
    assert pair.two.reactor.callLater(1, print).getTime() == pytest.approx(5004)


class _Names:
    def __init__(self) -> None:
        self.told: list[str] = []

    def resolutionBegan(self, resolution: object) -> None:
        pass

    def addressResolved(self, address: object) -> None:
        self.told.append(address.host)  # type: ignore[attr-defined]  # an IPv4Address; the interface says less

    def resolutionComplete(self) -> None:
        self.told.append("done")


def test_names_are_found_not_found_or_never_answered() -> None:
    pair = Pair()
    found, missing, silent = _Names(), _Names(), _Names()
    for receiver, name in ((found, "two.example"), (missing, "nowhere.example"), (silent, "slow.example")):
        pair.one.reactor.nameResolver.resolveHostName(receiver, name)  # type: ignore[arg-type]  # not declared as one
    assert found.told == []
    pair.run(60)
    assert found.told == ["10.0.0.2", "done"]
    assert missing.told == ["done"]
    assert silent.told == []


def test_a_worker_does_one_thing_after_the_other_and_then_stops() -> None:
    pair = Pair()
    latencies = iter([0.5, 0.1, 0.1])
    worker = SimWorker(pair.schedule, pair.one.process, lambda: next(latencies))
    verifyObject(IWorker, worker)
    done: list[tuple[str, float]] = []
    worker.start()

    def fail() -> None:
        raise OSError(5, "broken")

    for name, function in (("slow", str), ("fails", fail), ("quick", str)):
        worker.run(function).addBoth(lambda _, name: done.append((name, pair.schedule.now)), name)
    worker.stop().addCallback(lambda _: done.append(("stopped", pair.schedule.now)))
    assert done == []
    pair.run()
    assert [name for name, _ in done[:3]] == ["slow", "fails", "quick"]
    assert "stopped" in [name for name, _ in done]
    assert [at for _, at in done] == pytest.approx([0.5, 0.6, 0.7, 0.7])


def test_what_a_worker_is_at_dies_with_its_process() -> None:
    pair = Pair()
    disk = SimDisk(Random(1))
    worker = SimWorker(pair.schedule, pair.one.process, lambda: 0.1)
    done: list[object] = []

    def two_writes() -> None:
        disk.write("/a", b"1")
        disk.write("/b", b"2")

    def before(operation: str, path: str) -> None:
        if path == "/b":
            pair.one.process.alive = False
            raise SimCrash

    disk.before = before
    worker.run(two_writes).addBoth(done.append)
    worker.run(disk.write, "/c", b"3").addBoth(done.append)
    with pytest.raises(SimCrash):
        pair.run()
    pair.run(10)
    assert done == []
    assert disk.list("/") == ["a"]
