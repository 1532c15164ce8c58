"""Collector: the oldest generation is collected in quiet moments, after growth, and not by Python itself."""

import gc
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock as Reactor

from zktw.node.clock import Clock
from zktw.node.collector import GROWTH, LOOK_MS, NEVER, PATIENCE_MS, Collector


class Garbage:
    """Plays the garbage collector of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.collected = 0
        self.frozen = False
        self.thresholds: tuple[int, ...] = ()
        self.growth = 0
        monkeypatch.setattr(gc, "collect", self._collect)
        monkeypatch.setattr(gc, "freeze", self._freeze)
        monkeypatch.setattr(gc, "set_threshold", self._set_threshold)
        monkeypatch.setattr(gc, "get_count", lambda: (0, 0, self.growth))

    def _collect(self) -> int:
        self.collected += 1
        self.growth = 0
        return 0

    def _freeze(self) -> None:
        assert self.collected, "what is garbage at the start would stay for ever"
        self.frozen = True

    def _set_threshold(self, *thresholds: int) -> None:
        self.thresholds = thresholds


class Bench:
    """A collector that was started, and whether the server is quiet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.garbage = Garbage(monkeypatch)
        self.reactor = Reactor()
        self.quiet = True
        self.collector = Collector(Clock(self.reactor), lambda: self.quiet)
        self.collector.start()
        self.garbage.collected = 0

    def look(self) -> int:
        """How often it has collected until after its next look."""
        self.reactor.advance(LOOK_MS / 1000)
        return self.garbage.collected


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(monkeypatch)
    yield bench
    bench.collector.stop()
    assert not bench.reactor.getDelayedCalls()


def test_what_is_there_at_the_start_is_never_looked_at_again(bench: Bench) -> None:
    assert bench.garbage.frozen
    assert bench.garbage.thresholds[2] == NEVER


def test_without_growth_there_is_nothing_to_do(bench: Bench) -> None:
    bench.garbage.growth = GROWTH - 1
    assert [bench.look() for _ in range(3)] == [0, 0, 0]


def test_after_growth_the_next_quiet_look_collects(bench: Bench) -> None:
    bench.garbage.growth = GROWTH
    bench.quiet = False
    assert bench.look() == 0
    bench.quiet = True
    assert bench.look() == 1
    assert bench.look() == 1, "once is enough"


def test_a_server_that_is_never_quiet_collects_after_some_minutes(bench: Bench) -> None:
    bench.garbage.growth = GROWTH
    bench.quiet = False
    looks = int(PATIENCE_MS // LOOK_MS)
    assert [bench.look() for _ in range(looks)] == [0] * looks
    assert bench.look() == 1
