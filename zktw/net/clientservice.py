"""Pipeline and Service: what the client port needs of its server."""

from typing import Protocol as Interface

from twisted.python.failure import Failure

from zktw.pipeline.request import Client
from zktw.wire.client import ConnectRequest


class Pipeline(Interface):
    """What serves clients that have a session. enter() and leave() bound each piece of work."""

    # Requests of more bytes than this need room of their own: has_room_for is asked.
    large_from: int

    @property
    def room(self) -> int:
        """How many more requests may wait; below 0 none are taken from clients that have some waiting."""

    def enter(self) -> None:
        """Something has come: look at the clock."""

    def leave(self, client: Client) -> None:
        """All that came from it has been taken: let clients be told what they are to be told, soon."""

    def flush(self) -> None:
        """Let them be told now."""

    def opened(self, client: Client) -> None:
        """A connection has sent its first frame."""

    def closed(self, client: Client) -> None:
        """It has ended."""

    def connect(self, client: Client, asked: ConnectRequest) -> str:
        """The first frame; why the client is turned away without an answer, or ""."""

    def heard(self, client: Client) -> None:
        """It has said something that is not taken yet: it is alive."""

    def on_frame(self, client: Client, frame: bytes) -> None:
        """A request."""

    def has_room_for(self, size: int) -> bool:
        """Whether a request of this size may be taken now."""

    def end(self, client: Client) -> None:
        """Nothing more is taken from it: end its connection when it has been told what it is to be told."""

    def throttled(self, client: Client) -> None:
        """Requests of this client are left unread until there is room again."""

    def broken(self, failure: Failure) -> None:
        """An invariant of ours does not hold."""


class Service(Interface):
    """What the client port needs of its server."""

    @property
    def pipeline(self) -> Pipeline | None:
        """What serves sessions; None while there are none."""

    @property
    def hold_ms(self) -> float:
        """How long a client that comes now may wait until sessions are served; 0 or less: not at all."""

    def word_for(self, first: bytes) -> str | None:
        """The four-letter word that these four bytes are, or None."""

    def answer(self, word: str) -> bytes:
        """What the word is answered; nothing to stmk if it is allowed, since its mask is still to come."""

    def answer_mask(self, mask: int) -> bytes:
        """What stmk with this mask is answered."""

    def count(self, name: str, by: int = 1) -> None:
        """Something happened that mntr counts."""

    def packets_received(self, count: int) -> None:
        """So many packets or words have come."""

    def packets_sent(self, count: int) -> None:
        """So many answers have left."""
