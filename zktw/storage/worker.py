"""ThreadWorker: the real thread behind IWorker."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from zktw.storage.files import IWorker

_Job = tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]


@implementer(IWorker)
class ThreadWorker:
    """One thread, one queue. No thread exists before start(), since twistd forks after the service is made."""

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._stopped: Deferred[None] = Deferred()

    def start(self) -> None:
        """See IWorker."""
        assert self._thread is None
        # A daemon: an interpreter that ends without stop() would wait for this thread for ever. An end without stop()
        # is a crash, and files are written so as to survive one.
        self._thread = threading.Thread(target=self._work, name=f"zktw-{self._name}", daemon=True)
        self._thread.start()

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """See IWorker."""
        done: Deferred[Any] = Deferred()
        self._queue.put((done, function, args))
        return done

    def stop(self) -> Deferred[None]:
        """See IWorker."""
        if not self._stopping:
            self._stopping = True
            if self._thread is None:
                self._stopped.callback(None)
            else:
                self._queue.put(None)
        return self._stopped

    def _work(self) -> None:
        while True:
            job = self._queue.get()
            if job is None:
                self._reactor.callFromThread(self._stopped.callback, None)
                return
            done, function, args = job
            try:
                result = function(*args)
            except Exception as error:
                self._reactor.callFromThread(done.errback, error)
            else:
                self._reactor.callFromThread(done.callback, result)
