"""Lean polling: the epoll reactor's loop without the log context that it enters anew for each event of each socket.

Nothing here asks Twisted's old log for that context, and entering it costs ten calls an event: a tenth of the CPU time
of a write. What a handler raises is caught further in (_doReadOrWrite), as before. Other reactors are left as they are.
"""

import errno
from typing import Any


def lean(reactor: Any) -> None:
    """Let this reactor poll without it, if it is Twisted's own epoll reactor."""
    # A subclass may do something of its own.
    if type(reactor).__name__ != "EPollReactor" or not type(reactor).__module__.startswith("twisted."):
        return
    selectables, handle, poll = reactor._selectables, reactor._doReadOrWrite, reactor._poller.poll

    def iterate(timeout_s: float | None) -> None:
        try:
            events = poll(-1 if timeout_s is None else timeout_s, len(selectables) or 1)
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        for fd, event in events:
            selectable = selectables.get(fd)
            if selectable is not None:
                handle(selectable, fd, event)

    reactor.doIteration = iterate
