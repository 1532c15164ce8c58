"""ThreadWorker: one thread, strictly in order, results on the reactor's thread. A queue stands for the reactor."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from zktw.storage.files import IWorker
from zktw.storage.worker import ThreadWorker

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_S = 10


class Turns:
    """What a reactor does for a worker: calls made from a thread are run here, by the test."""

    def __init__(self) -> None:
        self._calls: Queue[tuple[Callable[..., Any], tuple[Any, ...]]] = Queue()

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        self._calls.put((function, args))

    def run(self, count: int) -> None:
        for _ in range(count):
            function, args = self._calls.get(timeout=PATIENCE_S)
            function(*args)

    @property
    def idle(self) -> bool:
        try:
            call = self._calls.get_nowait()
        except Empty:
            return True
        self._calls.put(call)
        return False


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def worker(turns: Turns) -> Iterator[ThreadWorker]:
    worker = ThreadWorker(turns, "test")
    yield worker
    worker.stop()


def result_of(deferred: Deferred[Any]) -> Any:
    """What it has fired with; None is an answer too, so a list."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    return found


def test_it_is_a_worker(worker: ThreadWorker) -> None:
    assert verifyObject(IWorker, worker)


def test_there_is_no_thread_before_start(worker: ThreadWorker, turns: Turns) -> None:
    before = threading.active_count()
    done = result_of(worker.run(threading.get_ident))
    assert threading.active_count() == before
    assert turns.idle
    worker.start()
    turns.run(1)
    assert done[0] != threading.get_ident()


def test_all_run_in_one_thread_in_order(worker: ThreadWorker, turns: Turns) -> None:
    ran: list[tuple[int, int]] = []
    told: list[tuple[int, int]] = []

    def work(number: int) -> int:
        ran.append((number, threading.get_ident()))
        return number

    worker.start()
    for number in range(200):
        worker.run(work, number).addCallback(lambda number: told.append((number, threading.get_ident())))
    turns.run(200)
    assert [number for number, _ in ran] == [number for number, _ in told] == list(range(200))
    assert len({thread for _, thread in ran}) == 1
    assert {thread for _, thread in told} == {threading.get_ident()}
    assert ran[0][1] != threading.get_ident()


def test_arguments_go_in_and_results_come_out(worker: ThreadWorker, turns: Turns) -> None:
    worker.start()
    done = result_of(worker.run(divmod, 17, 5))
    turns.run(1)
    assert done == [(3, 2)]


def test_what_is_raised_is_told_and_the_next_runs(worker: ThreadWorker, turns: Turns) -> None:
    worker.start()
    failed = result_of(worker.run(int, "x"))
    done = result_of(worker.run(int, "7"))
    turns.run(2)
    assert failed[0].check(ValueError)
    assert "invalid literal" in failed[0].getErrorMessage()
    assert done == [7]


def test_stop_comes_after_all_that_was_given(worker: ThreadWorker, turns: Turns) -> None:
    gate = threading.Event()
    order: list[str] = []
    worker.start()
    worker.run(gate.wait, PATIENCE_S).addCallback(lambda _: order.append("first"))
    worker.run(lambda: None).addCallback(lambda _: order.append("second"))
    worker.stop().addCallback(lambda _: order.append("stopped"))
    assert turns.idle, "the first still runs"
    gate.set()
    turns.run(3)
    assert order == ["first", "second", "stopped"]


def test_the_thread_is_gone_after_stop(worker: ThreadWorker, turns: Turns) -> None:
    worker.start()
    named = [thread for thread in threading.enumerate() if thread.name == "zktw-test"]
    assert len(named) == 1
    worker.stop()
    turns.run(1)
    named[0].join(PATIENCE_S)
    assert not named[0].is_alive()


@pytest.mark.parametrize("started", [True, False])
def test_stop_may_be_said_twice(started: bool, turns: Turns) -> None:
    worker = ThreadWorker(turns, "twice")
    if started:
        worker.start()
    first, second = result_of(worker.stop()), result_of(worker.stop())
    if started:
        turns.run(1)
    assert first == [None]
    assert second == [None]


def test_one_that_was_never_stopped_does_not_keep_the_interpreter() -> None:
    code = "from zktw.storage.worker import ThreadWorker; ThreadWorker(None, 'left').start()"
    ended = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, timeout=30, check=False)
    assert ended.returncode == 0
