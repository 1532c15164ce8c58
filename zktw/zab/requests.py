"""Requests: what a leader's data service is asked by its learners' clients (wire document, e.1, e.6)."""

from typing import Protocol

from zktw.wire.peers import QuorumPacket


class Requests(Protocol):
    """Learners are known by the number of their connection. WireError and ProtocolError end that connection."""

    def on_request(self, connection: int, packet: QuorumPacket) -> None:
        """A request of one of its clients."""

    def on_touched(self, connection: int, touched: bytes) -> None:
        """The sessions of its clients that were heard of: (id i64, timeout i32) each."""

    def on_revalidate(self, connection: int, data: bytes) -> None:
        """A client has come to it with a session: id i64, timeout i32. REVALIDATE is the answer."""

    def left(self, connection: int) -> None:
        """It is gone."""
