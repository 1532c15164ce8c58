"""Votes and the messages that carry them (wire document, section d)."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

# What a server that is no voter proposes: below every real server and zxid.
NO_SID = -(2**63)


class PeerState(IntEnum):
    """The role a server plays; the numbers are the wire's."""

    LOOKING = 0
    FOLLOWING = 1
    LEADING = 2
    OBSERVING = 3


class Vote(NamedTuple):
    """A proposed leader. The order of the fields is the order of votes: epoch, then zxid, then sid."""

    peer_epoch: int
    zxid: int
    leader: int


@dataclass(frozen=True, slots=True)
class Notification:
    """One message of the election port.

    sid is the sender, known from the connection; round is the sender's electionEpoch; config_text is the sender's
    committed configuration or None where the message had none (28- and 40-byte formats).
    """

    sid: int
    state: PeerState
    vote: Vote
    round: int
    config_text: str | None = None
