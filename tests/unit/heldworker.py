"""HeldWorker: a storage thread that the tests play."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from zktw.storage.files import IWorker


@implementer(IWorker)
class HeldWorker:
    """Keeps what it is given to run until the test lets it. What is not of `expected` is the test's own failure."""

    def __init__(self, expected: type[Exception] = Exception) -> None:
        self._expected = expected
        self.held: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def start(self) -> None:
        """See IWorker."""

    def stop(self) -> Deferred[None]:
        """See IWorker."""
        return succeed(None)

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """See IWorker."""
        done: Deferred[Any] = Deferred()
        self.held.append((done, function, args))
        return done

    def let(self) -> None:
        """Run the oldest."""
        done, function, args = self.held.pop(0)
        try:
            result = function(*args)
        except self._expected as error:
            done.errback(error)
        else:
            done.callback(result)
