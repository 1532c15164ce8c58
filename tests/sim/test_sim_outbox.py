"""Outbox on a simulated connection: all in order, and no more of a stream than the peer takes."""

from collections.abc import Callable, Iterator

from simulated import Pair

from zktw.net.outbox import Outbox
from zktw.sim.pipe import WINDOW_BYTES


class Pieces:
    """A stream of a million bytes that counts what was asked of it."""

    def __init__(self) -> None:
        self.made = 0
        self.all = b"".join(bytes([number]) * 10_000 for number in range(100))

    def made_on_demand(self) -> Iterator[bytes]:
        """Ten thousand at a time."""
        while self.made < len(self.all):
            self.made += 10_000
            yield self.all[self.made - 10_000 : self.made]


def test_on_a_simulated_connection() -> None:
    pair = Pair(1)
    near, far = pair.connected()
    due: list[Callable[[], None]] = []
    outbox = Outbox(near.transport, due.append)
    pieces = Pieces()
    outbox.write(b"before")
    outbox.stream(pieces.made_on_demand())
    outbox.write(b"behind")
    due.pop()()
    assert WINDOW_BYTES < pieces.made <= WINDOW_BYTES + 10_000
    for _ in range(1000):
        pair.run(0.01)
        while due:
            due.pop()()
    assert far.received == b"before" + pieces.all + b"behind"
    assert outbox.backlog == 0
    near.transport.abortConnection()
    pair.run()
    outbox.write(b"late")
    assert far.received.endswith(b"behind")


def test_a_peer_that_does_not_read_holds_a_simulated_stream_up() -> None:
    pair = Pair(1)
    near, far = pair.connected()
    due: list[Callable[[], None]] = []
    outbox = Outbox(near.transport, due.append)
    far.transport.pauseProducing()
    pieces = Pieces()
    outbox.stream(pieces.made_on_demand())
    outbox.write(b"behind")
    for _ in range(100):
        while due:
            due.pop()()
        pair.run(0.01)
    assert pieces.made <= WINDOW_BYTES + 10_000
    assert outbox.backlog == 6
    far.transport.resumeProducing()
    for _ in range(1000):
        while due:
            due.pop()()
        pair.run(0.01)
    assert far.received == pieces.all + b"behind"
