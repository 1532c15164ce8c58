"""Eager writes: what is to be sent is handed to the socket at once where nothing waits before it.

A transport only notes what it is given, and writes when it is asked next: that costs three system calls and a turn of
the reactor more, several times for each write of a client that waits for an ensemble.
"""

from collections.abc import Callable
from typing import Any


def eager_write(transport: Any) -> Callable[[bytes], None]:
    """What writes to this transport; its own write() where that is no plain socket's: others buffer otherwise."""
    write: Callable[[bytes], None] = transport.write
    if not all(hasattr(transport, name) for name in ("writeSomeData", "dataBuffer", "_tempDataLen")):
        return write

    def eagerly(data: bytes) -> None:
        if transport.connected and not transport.dataBuffer and not transport._tempDataLen:
            sent = transport.writeSomeData(data)
            if sent == len(data):
                return
            if isinstance(sent, int):
                data = data[sent:]
        write(data)

    return eagerly
